"""Published sizes, whose heads, activations and eps no weight file holds: our tables beside those of the reference.

Both sides look them up by the size of the weights, so that this is asked at full size, on the meta device: there the
reference's formulas run on shapes alone, and what they are told of heads, activation and eps is written down.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch

from hf_zhclip.conversion.detection.parts import Part, _facts
from hf_zhclip.conversion.layouts import bases
from hf_zhclip.conversion.layouts import cn_clip as cn_clip_model
from hf_zhclip.conversion.proof import witnesses
from hf_zhclip.conversion.proof.reference import layers
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.reading.evidence import Evidence, Testimony
from hf_zhclip.conversion.source import ImageSide, Texts
from hf_zhclip.conversion.sources import open_clip_xlm_roberta, prd2, taiyi_finetune, wukong

from tests import published
from tests.conversion.proof.planting import FOLDER, everywhere
from tests.published import KEYS

ONE_PLACE = {
    "CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
    "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
}
"""Entries of the catalogue whose own `config` states the heads of the image tower, the activation and the pooling.

Nothing was published beside these weights, so that it is stated in this one place: the witness takes it, as it takes
what a user states with --config. A number that is wrong there is noticed by the published scores alone, and the card
says where it stands (catalogue.STATED_HERE).
"""


# Published sizes of which no keys are recorded: put together from those that are


def under(prefix: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + key: shape for key, shape in keys.items()}


def keys_of(name: str, prefix: str = "") -> dict[str, Any]:
    return {key.removeprefix(prefix): shape for key, shape in KEYS[name]["keys"].items() if key.startswith(prefix)}


def finetune(text: str, clip: str) -> dict[str, Any]:
    """Fengshen's fine-tune of this Taiyi with this CLIP."""
    keys = {**under("text_encoder.", keys_of(text)), **under("clip_model.", keys_of(clip))}
    return {**KEYS["taiyi_finetune"], "keys": keys}


def m_clip(base: str, body: Mapping[str, Any], words: int | None = None) -> dict[str, Any]:
    """A Multilingual-CLIP of 2022 on this base; `words` is the size of another vocabulary."""
    keys = under("transformer.", body)
    table = "transformer.embeddings.word_embeddings.weight"
    keys[table] = [words or keys[table][0], keys[table][1]]
    keys |= {"LinearTransformation.weight": [512, keys[table][1]], "LinearTransformation.bias": [512]}
    config = {"model_type": "M-CLIP", "modelBase": base, "numDims": 512, "transformerDimensions": keys[table][1]}
    return {**KEYS["multilingual_clip-xlm-r-vit-b-32"], "config": config, "keys": keys}


def owned(name: str) -> dict[str, Any]:
    """An open_clip of XLM-R whose config names the body by its owner's repository."""
    config = KEYS[name]["config"]
    text = config["model_cfg"]["text_cfg"]
    text = {**text, "hf_model_name": f"FacebookAI/{text['hf_model_name']}"}
    return {**KEYS[name], "config": {**config, "model_cfg": {**config["model_cfg"], "text_cfg": text}}}


XLM_R_BASE, XLM_R_LARGE = "open_clip-xlm-roberta-base-vit-b-32", "open_clip-xlm-roberta-large-vit-h-14"
PUBLISHED: dict[str, dict[str, Any]] = {
    **KEYS,
    "taiyi_finetune-large-vit-b-16": finetune("taiyi-326m", "hf_clip-vit-base-patch16"),
    "taiyi_finetune-vit-l-14": finetune("taiyi-102m", "hf_clip-vit-large-patch14"),
    "multilingual_clip-xlm-r-base": m_clip("xlm-roberta-base", keys_of(XLM_R_BASE, "text.transformer.")),
    "multilingual_clip-m-bert": m_clip(
        "bert-base-multilingual-cased", keys_of("multilingual_clip-labse-vit-l-14", "transformer."), 119547
    ),
    f"{XLM_R_BASE}-owned": owned(XLM_R_BASE),
    f"{XLM_R_LARGE}-owned": owned(XLM_R_LARGE),
}


# What our description states and what the reference computes with


@cache
def recorded(name: str) -> Part:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KEYS, name, PUBLISHED[name])
        return published.part(name, FOLDER / "published")


def part_of(name: str) -> Part:
    """A published size as the part of a model that reading its files would make, its base's config included."""
    part = recorded(name)
    own = {key: value for key, value in part.config.items() if key != "base_config"}
    again = replace(part, config=_facts(part.source, name, own, {})[0])
    vars(again)["plan"] = part.plan
    return again


@cache
def description_of(name: str) -> Texts | ImageSide:
    """What is stated of it while nothing is planted."""
    return part_of(name).describe()


def files(part: Part) -> dict[str, Any]:
    """The JSON of a published size, each file's under its name."""
    config = {key: value for key, value in part.config.items() if key not in ("base_config", "modules")}
    names = {"open_clip": "open_clip_config.json", "open_clip_xlm_roberta": "open_clip_config.json"}
    names["modelscope"] = "text_model_config.json"
    found = {names.get(part.source.name, "config.json"): config} if config else {}
    if part.source.name == "sentence_transformers":
        modules = {each["type"]: each for each in part.config["modules"]}
        listed = [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in modules]
        found |= {f"{kind}/config.json": modules[kind] for kind in ("Pooling", "Dense")} | {"modules.json": listed}
        found["sentence_bert_config.json"] = modules["Transformer"]
    return found


@dataclass
class Seen:
    """What the reference's formulas are told: a set each, for an answer in two ways is none."""

    heads: set[int] = field(default_factory=set)
    activation: set[str] = field(default_factory=set)
    eps: set[float] = field(default_factory=set)


def watch(patch: pytest.MonkeyPatch) -> Seen:
    """Lets the reference compute nothing, and notes what it is told on the way."""
    seen = Seen()

    def linear(tensors: layers.Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(*x.shape[:-1], len(tensors[f"{name}.weight"]))

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, *masks: Any, **more: Any):
        seen.heads.add(heads)
        return query

    def layer_norm(tensors: layers.Tensors, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
        seen.eps.add(eps)
        return x

    def activation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def note(x: torch.Tensor) -> torch.Tensor:
            seen.activation.add(name)
            return x

        return note

    everywhere(patch, layers, "linear", linear)
    everywhere(patch, layers, "attention", attention)
    everywhere(patch, layers, "layer_norm", layer_norm)
    for name in layers.ACTIVATIONS:
        noting = activation(name)
        if hasattr(layers, name):
            everywhere(patch, layers, name, noting)
        patch.setitem(layers.ACTIVATIONS, name, noting)
    return seen


FIELDS = {
    "heads": ("num_attention_heads", "n_heads"),
    "activation": ("hidden_act", "activation"),
    "eps": ("layer_norm_eps",),
}


def differences(part: Part, description: Texts | ImageSide) -> list[str]:
    """Facts in which our description of a published size and the reference do not agree: "text heads" and so on."""
    reader = witnesses._Reader(
        Testimony(part.source.name, "whole", part.checkpoint.tensors, Evidence(files(part), {}, {}))
    )
    different = []
    if isinstance(description, Texts):
        ids = torch.zeros(2, 3, dtype=torch.int64, device="meta")
        different += _differences("text", description.text.config, reader, ids)
        if description.context_length != reader.context_length():
            different.append("context_length")
    if isinstance(description, ImageSide):
        size = description.image_size
        different += _differences("vision", description.vision.config, reader, torch.empty(2, 3, size, size))
        if size != reader.image_size():
            different.append("image_size")
    return different


def _differences(
    side: str, config: Mapping[str, Any], reader: witnesses._Reader, inputs: torch.Tensor
) -> Iterator[str]:
    encode = {"text": "encode_text", "vision": "encode_image"}[side]
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        seen = watch(patch)
        getattr(reader.module, encode)(reader.part.tensors, inputs.to("meta"), reader.config)
    for fact, names in FIELDS.items():
        stated = {config[name] for name in names if name in config}
        # DistilBERT's eps and the activations of a ResNet are of the class, and no config states them.
        if stated and stated != getattr(seen, fact):
            yield f"{side} {fact}"


@pytest.mark.quick(8)
@pytest.mark.parametrize("name", PUBLISHED)
def test_both_know_the_same_of_a_published_size(name):
    assert differences(part_of(name), description_of(name)) == []


# What is planted


@dataclass(frozen=True)
class Wrong:
    """A fact of a table with another value, and what has to differ at the published sizes that it is of."""

    table: str
    key: Any
    plant: Callable[[pytest.MonkeyPatch], None]
    differs: str

    def __str__(self) -> str:
        return f"{self.table}-{self.key}-{self.differs}".replace(" ", "_")


OTHERS: Mapping[str, tuple[str, Any]] = {
    "num_attention_heads": ("heads", lambda heads: heads // 2),
    "hidden_act": ("activation", lambda name: "relu"),
    "layer_norm_eps": ("eps", lambda eps: 10 * eps),
}
"""By field: what it is called above, and another value."""


def fields(name: str, table: Mapping[Any, Mapping[str, Any]], side: str) -> Iterator[Wrong]:
    """The rows of a table that has the fields of a config by published size."""
    for key, found in table.items():
        for each, (fact, other) in OTHERS.items():
            plant = _entry(found, each, other(found[each]))
            yield Wrong(name, key[0] if isinstance(key, tuple) else key, plant, f"{side} {fact}")


def numbers(name: str, table: Mapping[Any, int], side: str) -> Iterator[Wrong]:
    """The rows of a table that has heads, or the width of one, by published size."""
    for key, found in table.items():
        yield Wrong(name, key[0], _entry(table, key, found // 2), f"{side} heads")


def _entry(table: Any, key: Any, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(table, key, value)


def _constant(module: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(module, name, value)


WRONG = [
    *numbers("VISION_HEAD_WIDTH", cn_clip_model.VISION_HEAD_WIDTH, "vision"),
    *numbers("RESNET_HEAD_WIDTH", cn_clip_model.RESNET_HEAD_WIDTH, "vision"),
    *numbers("TEXT_HEADS", cn_clip_model.TEXT_HEADS, "text"),
    Wrong("TEXT_ACTIVATION", "", _constant(cn_clip_model, "TEXT_ACTIVATION", "relu"), "text activation"),
    *fields("prd2.VISION", prd2.VISION, "vision"),
    *fields("prd2.TEXT", prd2.TEXT, "text"),
    *fields("taiyi_finetune.text", taiyi_finetune.PUBLISHED["text_config"], "text"),
    *fields("taiyi_finetune.vision", taiyi_finetune.PUBLISHED["vision_config"], "vision"),
    *fields("BASES", bases.BASES, "text"),
    *fields("BODIES", open_clip_xlm_roberta.BODIES, "text"),
    *(
        Wrong("wukong.PUBLISHED", name, _entry(wukong.PUBLISHED, key, (name, heads // 2)), "text heads")
        for key, (name, heads) in wukong.PUBLISHED.items()
    ),
]

FORMATS = {
    "VISION_HEAD_WIDTH": "cn_clip",
    "RESNET_HEAD_WIDTH": "cn_clip",
    "TEXT_HEADS": "cn_clip",
    "TEXT_ACTIVATION": "cn_clip",
    "prd2.VISION": "prd2",
    "prd2.TEXT": "prd2",
    "taiyi_finetune.text": "taiyi_finetune",
    "taiyi_finetune.vision": "taiyi_finetune",
    "BASES": "multilingual_clip",
    "BODIES": "open_clip_xlm_roberta",
    "wukong.PUBLISHED": "wukong",
}
"""By table: the format that reads it."""


@pytest.mark.quick(8)
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_table_that_is_wrong_differs_from_the_reference_for_it_has_its_own(wrong, monkeypatch):
    names = [name for name, found in PUBLISHED.items() if found["format"] == FORMATS[wrong.table]]
    right = {name: description_of(name) for name in names}
    wrong.plant(monkeypatch)

    stated = {name: part_of(name).describe() for name in names}
    reached = [name for name in names if stated[name] != right[name]]

    assert {each for name in reached for each in differences(part_of(name), stated[name])} == {wrong.differs}


def test_what_stands_in_one_place_alone_is_the_catalogue_s_own_word():
    assert {entry.name for entry in catalogue.entries() if entry.config} == ONE_PLACE
