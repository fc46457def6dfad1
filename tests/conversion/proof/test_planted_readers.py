"""The same facts planted one step earlier, in what `describe` reads them with: the witness shares none of it.

Two things are wrong at once when a reader is: the description, and whatever else reads with it. A witness that did so
would agree, and nothing would be caught.
"""

import ast
import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hf_zhclip.conversion import sources
from hf_zhclip.conversion.detection.parts import describe, identify
from hf_zhclip.conversion.layouts import bases, hf_config, hf_folder, unstated
from hf_zhclip.conversion.layouts import cn_clip as cn_clip_model
from hf_zhclip.conversion.layouts import open_clip as open_clip_model
from hf_zhclip.conversion.layouts import openai as openai_towers
from hf_zhclip.conversion.proof.reference import hf_config as reference_config
from hf_zhclip.conversion.reading import modules_json
from hf_zhclip.conversion.source import TextAlone
from hf_zhclip.conversion.sources import (
    bert_clip,
    chinese_clip,
    easynlp,
    hf_clip,
    open_clip,
    open_clip_xlm_roberta,
    openai_clip,
    prd2,
    sentence_transformers,
    taiyi_clip,
    taiyi_finetune,
    wukong,
    zh_clip,
)
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers import builders, vocabularies

from tests import checkpoints, facts
from tests.checkpoints.common import Original
from tests.conversion.proof.planting import MADE, everywhere, make, outcome, prepared, share, without_packages
from tests.thorough import in_turns, thorough

# Checkpoints that leave to their readers what the others state

SIZES = {
    "bert": ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings"),
    "distilbert": ("vocab_size", "dim", "n_layers", "hidden_dim", "max_position_embeddings"),
    "vision": ("hidden_size", "num_hidden_layers", "intermediate_size", "image_size", "patch_size"),
}
"""What weights are held against; a tower whose config states no more than these has the defaults of its class."""

HIDDEN, WIDTH = 48, 96
"""Widths that the 12 and 8 heads of those classes divide."""


def of_sizes(config: Mapping[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    return {"model_type": config["model_type"], **{name: config[name] for name in SIZES[kind]}, **more}


def wider(build: Callable[[Path], Original]) -> Callable[[Path], Original]:
    """The checkpoint at widths that the classes' heads divide."""

    def made(folder: Path) -> Original:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints.common, "HIDDEN", HIDDEN)
            patch.setattr(checkpoints.common, "WIDTH", WIDTH)
            patch.setattr(checkpoints.common, "POSITIONS", 96)
            text = {"hidden_size": HIDDEN, "max_position_embeddings": 96}
            patch.setattr(checkpoints.common, "BERT_CONFIG", {**checkpoints.common.BERT_CONFIG, **text})
            patch.setattr(checkpoints.hf_clip, "CLIP_TEXT_CONFIG", {**checkpoints.hf_clip.CLIP_TEXT_CONFIG, **text})
            distilbert = {**checkpoints.common.DISTILBERT_CONFIG, "dim": HIDDEN, "max_position_embeddings": 96}
            patch.setattr(checkpoints.common, "DISTILBERT_CONFIG", distilbert)
            vision = {**checkpoints.common.VISION_CONFIG, "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH}
            patch.setattr(checkpoints.common, "VISION_CONFIG", vision)
            return build(folder)

    return made


def bert_clip_of_sizes(folder: Path) -> Original:
    text = of_sizes(checkpoints.common.BERT_CONFIG, "bert")
    vision = of_sizes(checkpoints.common.VISION_CONFIG, "vision")
    return Original(
        checkpoints.bert_clip.bert_clip_folder(folder / "bert_clip", text_config=text, vision_config=vision)
    )


def hf_clip_of_sizes(folder: Path) -> Original:
    # Its end is the tokenizer's, which a small one does not have at the class's id.
    text = of_sizes(checkpoints.hf_clip.CLIP_TEXT_CONFIG, "bert", eos_token_id=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.hf_clip, "CLIP_TEXT_CONFIG", text)
        patch.setattr(checkpoints.common, "VISION_CONFIG", of_sizes(checkpoints.common.VISION_CONFIG, "vision"))
        return Original(checkpoints.hf_clip.clip_folder(folder / "clip"))


def distilbert_of_sizes(folder: Path) -> Original:
    clip = checkpoints.sentence_transformers.sentence_transformers_clip(folder / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checkpoints.common, "DISTILBERT_CONFIG", of_sizes(checkpoints.common.DISTILBERT_CONFIG, "distilbert")
        )
        text = checkpoints.sentence_transformers.sentence_transformers_folder(folder / "text")
    return Original(text, {"vision": clip})


def xlm_roberta_of_sizes(folder: Path) -> Original:
    base = of_sizes(
        {**checkpoints.multilingual_clip.MCLIP_BASE["xlm-roberta"], "hidden_size": HIDDEN}, "bert", type_vocab_size=1
    )
    base["max_position_embeddings"] = 96
    vision = checkpoints.hf_clip.clip_folder(folder / "clip")
    text = checkpoints.multilingual_clip.multilingual_clip_folder(folder / "mclip")
    (folder / "base.json").write_text(json.dumps(base), encoding="utf-8")
    return Original(text, {"vision": vision, "config": folder / "base.json"})


def upstream_width(folder: Path) -> Original:
    """A cn_clip whose config states its image tower, and not the width of a head."""
    stated = {
        key: value for key, value in checkpoints.modelscope.MODELSCOPE_VISION.items() if key != "vision_head_width"
    }
    (folder / "facts.json").write_text(
        json.dumps({**stated, **checkpoints.modelscope.MODELSCOPE_TEXT}), encoding="utf-8"
    )
    return Original(checkpoints.cn_clip.cn_clip_file(folder / "epoch3.pt"), {"config": folder / "facts.json"})


def open_clip_of_sizes(folder: Path) -> Original:
    """An open_clip whose config leaves its heads to open_clip's classes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, heads in (("OPEN_CLIP_TEXT", "heads"), ("OPEN_CLIP_VISION", "head_width")):
            stated = {key: value for key, value in getattr(checkpoints.open_clip, name).items() if key != heads}
            patch.setattr(checkpoints.open_clip, name, stated)
        return Original(checkpoints.open_clip.open_clip_folder(folder / "open_clip"))


def xlm_roberta_of_no_length(folder: Path) -> Original:
    """An open_clip with XLM-R whose config states neither its pooling nor how long a text may be."""
    with pytest.MonkeyPatch.context() as patch:
        text = {
            key: value for key, value in checkpoints.open_clip.OPEN_CLIP_XLM_ROBERTA.items() if key != "context_length"
        }
        patch.setattr(checkpoints.open_clip, "OPEN_CLIP_XLM_ROBERTA", text)
        patch.setattr(checkpoints.common, "POSITIONS", 96)
        body = {**checkpoints.open_clip.OPEN_CLIP_XLM_ROBERTA_BODY, "max_position_embeddings": 96}
        patch.setattr(checkpoints.open_clip, "OPEN_CLIP_XLM_ROBERTA_BODY", body)
        return Original(checkpoints.open_clip.open_clip_xlm_roberta_folder(folder / "open_clip", hf_pooler_type=None))


def openai_resnet(folder: Path) -> Original:
    file = checkpoints.openai_clip.openai_clip_file(folder / "RN.pt", checkpoints.openai_clip.openai_clip(resnet=True))
    return Original(file, {"tokenizer": checkpoints.common.bpe_folder(folder / "vocabulary")})


LEFT_OPEN: dict[str, Callable[[Path], Original]] = {
    "bert_clip of sizes": wider(bert_clip_of_sizes),
    "hf_clip of sizes": wider(hf_clip_of_sizes),
    "distilbert of sizes": wider(distilbert_of_sizes),
    "xlm-roberta of sizes": wider(xlm_roberta_of_sizes),
    "cn_clip without a head width": upstream_width,
    "open_clip of sizes": open_clip_of_sizes,
    "open_clip_xlm_roberta of no length": xlm_roberta_of_no_length,
    "openai_clip_resnet": openai_resnet,
    "taiyi_clip of 96 positions": wider(
        lambda folder: Original(checkpoints.taiyi_clip.taiyi_clip_folder(folder / "taiyi_clip"))
    ),
    "zh_clip of 96 positions": wider(lambda folder: Original(checkpoints.zh_clip.zh_clip_folder(folder / "zh_clip"))),
}


# What is planted

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Reader:
    """A reader of a family's facts that is wrong, and the steps of which the first that fails has to be one."""

    name: str
    family: str
    plant: Plant
    caught_by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}-{self.family}".replace(" ", "_")

    def planted(self) -> str:
        """What is planted, whichever family and whichever value it is planted with."""
        return "-".join(self.name.split("-")[:3])

    @property
    def is_of_tokenizers(self) -> bool:
        """Whether it may change a tokenizer, which is not made again for the others."""
        return self.name.startswith(("tokenizers", "sources.wukong"))


def constant(module: Any, name: str, value: Any) -> Plant:
    return lambda patch: patch.setattr(module, name, value)


def entry(table: dict, key: Any, value: Any) -> Plant:
    return lambda patch: patch.setitem(table, key, value)


def result(module: Any, name: str, change: Callable[[Any], Any]) -> Plant:
    """What a function gives, changed."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = getattr(module, name)

        @functools.wraps(original)
        def changed(*given: Any, **named: Any) -> Any:
            return change(original(*given, **named))

        everywhere(patch, module, name, changed)

    return plant


def with_fields(**fields: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda config: {**config, **fields}


def readers_of_defaults():
    """Each default of a tower's class that its shapes do not hold, on a checkpoint that leaves it to the class."""
    left_to = {
        "bert": ("bert_clip of sizes", "text", {"vocab_size", "type_vocab_size", *SIZES["bert"]}),
        "xlm-roberta": ("xlm-roberta of sizes", "text", {"vocab_size", "type_vocab_size", *SIZES["bert"]}),
        "distilbert": ("distilbert of sizes", "text", set(SIZES["distilbert"])),
        "clip_text_model": ("hf_clip of sizes", "text", {*SIZES["bert"], "eos_token_id"}),
        "clip_vision_model": ("hf_clip of sizes", "vision", {*SIZES["vision"], "num_channels"}),
    }
    for kind, table in hf_config.DEFAULTS.items():
        family, side, held = left_to[kind]
        for field, value in table.items():
            if field not in held:
                fact = facts.CONFIG[field]
                steps = tuple(step for each in fact.caught_by for step in _steps(each, side))
                for other in fact.others(value, {**table, "model_type": kind}):
                    name = f"DEFAULTS-{kind}-{field}-{other}"
                    yield Reader(name, family, entry(table, field, other), steps)


def _steps(step: str, side: str) -> tuple[str, ...]:
    return facts.STEPS[side] if step == facts.TOWER else (step,)


NUMERIC = {
    "bert": (("num_attention_heads", 2), ("hidden_act", "relu"), ("layer_norm_eps", 1e-5)),
    "xlm-roberta": (("num_attention_heads", 2), ("hidden_act", "relu"), ("layer_norm_eps", 1e-12)),
    "distilbert": (("n_heads", 2), ("activation", "relu")),
    "clip_text_model": (("num_attention_heads", 2), ("hidden_act", "gelu"), ("layer_norm_eps", 1e-12)),
    "clip_vision_model": (("num_attention_heads", 2), ("hidden_act", "gelu"), ("layer_norm_eps", 1e-12)),
}
READ_BY_TOWER_CONFIG = (
    *("bert_clip", "chinese_clip", "taiyi_clip", "hf_clip", "taiyi_head", "taiyi_plain", "multilingual_clip"),
    *("sentence_transformers", "bert_from_clip", "dual_encoder", "zh_clip"),
)


def readers_of_towers():
    """What `tower_config` gives of each tower that it reads, and `tower_facts` of those that nothing states."""
    for family in READ_BY_TOWER_CONFIG:
        description = prepared(family).description
        steps = facts.ALONE if isinstance(description, TextAlone) else facts.STEPS
        for side in steps:
            kind = getattr(description, side).config["model_type"]
            for field, value in NUMERIC[kind]:
                plant = result(hf_config, "tower_config", _of_kind(kind, **{field: value}))
                yield Reader(f"tower_config-{side}-{field}", family, plant, steps[side])
    for family in ("r2d2", "taiyi_finetune"):
        for side in facts.STEPS:
            for field, value in NUMERIC[prepared(family).description.text.config["model_type"]]:
                value = 1e-6 if field == "layer_norm_eps" else value
                plant = result(unstated, "tower_facts", _of_side(side, **{field: value}))
                yield Reader(f"tower_facts-{side}-{field}", family, plant, facts.STEPS[side])


def _of_kind(kind: str, **fields: Any) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda config: {**config, **fields} if config["model_type"] == kind else config


def _of_side(side: str, **fields: Any) -> Callable[[tuple], tuple]:
    def change(found: tuple) -> tuple:
        names, known = found
        return names, {**known, f"{side}_config": {**known[f"{side}_config"], **fields}}

    return change


def readers_of_openai_towers():
    """What the towers under OpenAI's names are told of heads, activation and eps."""
    towers = {
        "vit_tower": ("vision", ("openai_clip", "open_clip", "open_clip_xlm_roberta", "wukong", "cn_clip_vit")),
        "text_tower": ("text", ("openai_clip", "open_clip", "wukong")),
        "resnet_tower": ("vision", ("cn_clip_resnet", "openai_clip_resnet")),
    }
    for name, (side, families) in towers.items():
        fields = (
            {"num_attention_heads": 4} if name == "resnet_tower" else {"hidden_act": "relu", "layer_norm_eps": 1e-6}
        )
        fields = {"num_attention_heads": 8, **fields}
        for family in families:
            for field, value in fields.items():
                plant = result(openai_towers, name, _with_config(**{field: value}))
                yield Reader(f"{name}-{field}", family, plant, facts.STEPS[side])


def _with_config(**fields: Any) -> Callable[[Any], Any]:
    return lambda tower: replace(tower, config={**tower.config, **fields})


TEXT, IMAGE, PIXELS, IDS = ("text",), ("image",), ("pixels",), ("ids",)
REFUSED, TRAINING = (facts.REFUSED,), ("config",)

CONSTANTS: tuple[tuple[Any, str, Any, str, tuple[str, ...]], ...] = (
    *((cn_clip_model, "CONTEXT_LENGTH", 51, family, IDS) for family in ("cn_clip_vit", "easynlp", "modelscope")),
    *((cn_clip_model, "ORDER", "rgb_then_squash", family, PIXELS) for family in ("cn_clip_vit", "modelscope")),
    (cn_clip_model, "UPSTREAM_HEAD_WIDTH", 32, "cn_clip without a head width", IMAGE),
    (easynlp, "HEAD_WIDTH", 32, "easynlp", IMAGE),
    (openai_clip, "HEAD_WIDTH", 32, "openai_clip", TEXT),
    (openai_clip, "ACTIVATION", "gelu", "openai_clip", TEXT),
    (openai_clip, "EPS", 1e-12, "openai_clip", TEXT),
    (openai_clip, "ORDER", "rgb_then_crop", "openai_clip", PIXELS),
    (open_clip_model, "EPS", 1e-12, "open_clip", TEXT),
    (open_clip_model, "EPS", 1e-12, "open_clip_xlm_roberta", IMAGE),
    (open_clip_model, "ORDER", "rgb_then_crop", "open_clip", PIXELS),
    (open_clip_xlm_roberta, "CONTEXT_LENGTH", 76, "open_clip_xlm_roberta of no length", IDS),
    (wukong, "ACTIVATION", "gelu", "wukong", TEXT),
    (wukong, "EPS", 1e-7, "wukong", TEXT),
    (wukong, "VISION_HEAD_WIDTH", 32, "wukong", IMAGE),
    (wukong, "WORD_LIMIT", 200, "wukong", IDS),
    (prd2, "CONTEXT_LENGTH", 63, "r2d2", IDS),
    (taiyi_clip, "CONTEXT_LENGTH", 76, "taiyi_clip of 96 positions", IDS),
    (zh_clip, "CONTEXT_LENGTH", 76, "zh_clip of 96 positions", IDS),
    (taiyi_finetune, "LENGTH", 76, "taiyi_finetune", IDS),
    (chinese_clip, "CONTEXT_LENGTH", 51, "chinese_clip", IDS),
    (bert_clip, "ORDER", "rgb_then_squash", "bert_clip", PIXELS),
    (hf_clip, "ORDER", "rgb_then_squash", "hf_clip", PIXELS),
    # Beside these three lies an image processor, which the order is held against.
    (chinese_clip, "ORDER", "rgb_then_crop", "chinese_clip", REFUSED),
    (taiyi_clip, "ORDER", "rgb_then_squash", "taiyi_clip", REFUSED),
    (zh_clip, "ORDER", "rgb_then_squash", "zh_clip", REFUSED),
    # Wukong's tokenizer ends a text with [SEP], the 102nd of its words, and pads with the first.
    *((wukong, name, value, "wukong", REFUSED) for name, value in (("PAD", 1), ("SEP", 103))),
    (wukong, "CLS", 100, "wukong", TRAINING),
    (builders, "WORD_LIMIT", 100, "cn_clip_vit", IDS),
)
"""A module's constant with another value, the family, and what catches it."""

BODY = open_clip_xlm_roberta.BODIES["xlm-roberta-base"]
XLM_R = "open_clip_xlm_roberta"
TABLES: tuple[tuple[str, dict, Any, Any, str, tuple[str, ...]], ...] = (
    ("VISION_DEFAULTS", open_clip_model.VISION_DEFAULTS, "head_width", 32, "open_clip of sizes", IMAGE),
    ("DEFAULTS", open_clip.DEFAULTS, "heads", 4, "open_clip of sizes", TEXT),
    ("BODIES", BODY, "hidden_act", "quick_gelu", XLM_R, TEXT),
    ("BODIES", BODY, "layer_norm_eps", 1e-12, XLM_R, TEXT),
    ("BODIES", BODY, "pad_token_id", 0, XLM_R, REFUSED),
    ("XLM_ROBERTA_DEFAULTS", hf_config.XLM_ROBERTA_DEFAULTS, "hidden_dropout_prob", 0.2, XLM_R, TRAINING),
    ("XLM_ROBERTA_DEFAULTS", hf_config.XLM_ROBERTA_DEFAULTS, "initializer_range", 0.03, XLM_R, TRAINING),
    ("XLM_ROBERTA_DEFAULTS", hf_config.XLM_ROBERTA_DEFAULTS, "eos_token_id", 5, XLM_R, TRAINING),
    ("POOLINGS", open_clip_xlm_roberta.POOLINGS, "mean_pooler", "cls", XLM_R, TEXT),
    ("POOLINGS", open_clip_xlm_roberta.POOLINGS, None, "cls", "open_clip_xlm_roberta of no length", TEXT),
    ("PROJECTIONS", open_clip_xlm_roberta.PROJECTIONS, "mlp", "linear", XLM_R, REFUSED),
    ("POOLINGS", sentence_transformers.POOLINGS, "pooling_mode_mean_tokens", "cls", "sentence_transformers", TEXT),
)
"""A table's name and itself, one of its entries with another value, the family, and what catches it."""

FUNCTIONS: tuple[tuple[Any, str, Callable[[Any], Any], str, tuple[str, ...]], ...] = (
    (cn_clip_model, "_heads", lambda found: 2 * found, "cn_clip_vit", TEXT),
    (cn_clip_model, "_heads", lambda found: 2 * found, "cn_clip_resnet", TEXT),
    (open_clip_model, "heads", lambda found: 2 * found, "open_clip", TEXT),
    (open_clip_model, "activation", lambda found: "quick_gelu", "open_clip", TEXT),
    (open_clip_model, "activation", lambda found: "quick_gelu", "open_clip_xlm_roberta", IMAGE),
    (open_clip_model, "eps", lambda found: 1e-12, "open_clip", TEXT),
    (open_clip_model, "image_order", lambda found: "rgb_then_crop", "open_clip", PIXELS),
    (openai_clip, "_heads", lambda found: 2 * found, "openai_clip", TEXT),
    (openai_clip, "_heads", lambda found: 2 * found, "openai_clip_resnet", TEXT),
    (hf_folder, "text_limit", lambda found: found - 1, "dual_encoder", IDS),
    (hf_folder, "text_limit", lambda found: found - 1, "chinese_clip", IDS),
    (sentence_transformers, "_pooling", lambda found: "cls", "sentence_transformers", TEXT),
    (sentence_transformers, "_context_length", lambda found: found - 1, "sentence_transformers", IDS),
    (open_clip_xlm_roberta, "body_config", with_fields(num_attention_heads=2), "open_clip_xlm_roberta", TEXT),
    (hf_clip, "_stated", lambda found: [with_fields(hidden_act="gelu")(found[0])], "hf_clip", TEXT),
)


def swapped(tokens: Sequence[str]) -> list[str]:
    """A vocabulary with two words of the samples in each other's row."""
    other = {"一": "只", "只": "一"}
    return [other.get(token, token) for token in tokens]


def without_a_merge(found: vocabularies.Bpe) -> vocabularies.Bpe:
    return replace(found, merges=[pair for pair in found.merges if pair != ("c", "a")])


VOCABULARIES: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ("read_vocab", swapped, "modelscope"),
    ("default_vocab", swapped, "cn_clip_vit"),
    ("default_vocab", swapped, "r2d2"),
    ("default_vocab", swapped, "wukong"),
    ("default_vocab", swapped, "taiyi_finetune"),
    ("read_bpe", without_a_merge, "openai_clip"),
    ("read_bpe", without_a_merge, "open_clip"),
)
"""A reader of a vocabulary, how it goes wrong, and a family whose tokenizer is made of what it gives."""

CHECKED_ALONE: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ("read_vocab", swapped, "bert_clip"),
    ("read_bpe", without_a_merge, "hf_clip"),
    ("read_unigram", lambda found: replace(found, pieces=found.pieces[::-1]), "multilingual_clip"),
    ("read_unigram", lambda found: replace(found, pieces=found.pieces[::-1]), "open_clip_xlm_roberta"),
    ("read_wordpieces", lambda found: replace(found, lowercase=not found.lowercase), "sentence_transformers"),
)
"""Readers that only check what lies there: the tokenizer is made by transformers or tokenizers from the same files."""


def readers():
    yield from readers_of_defaults()
    yield from readers_of_towers()
    yield from readers_of_openai_towers()
    for module, name, value, family, steps in CONSTANTS:
        yield Reader(f"{_short(module)}.{name}", family, constant(module, name, value), steps)
    for name, table, key, value, family, steps in TABLES:
        yield Reader(f"{name}-{key}", family, entry(table, key, value), steps)
    for module, name, change, family, steps in FUNCTIONS:
        yield Reader(f"{_short(module)}.{name}", family, result(module, name, change), steps)
    for name, change, family in VOCABULARIES:
        yield Reader(f"tokenizers.vocabularies.{name}", family, result(vocabularies, name, change), IDS)


def _short(module: Any) -> str:
    return ".".join(module.__name__.split(".")[-2:])


READERS = list(readers())
FAMILIES_READ = sorted({reader.family for reader in READERS})


@pytest.fixture
def converted(monkeypatch):
    """Gives what stops the conversion of a family while its readers have something planted in them.

    Parts were read before; the description and the witness are made anew.
    """

    def convert(family, tokenizer=True):
        made = make(family, {**MADE, **LEFT_OPEN}[family])
        share(monkeypatch, made.anew(tokenizer))
        without_packages(monkeypatch)
        return outcome(made.original)

    return convert


# Those of MADE pass in test_planted_facts.py, too, where their descriptions are made once.
@pytest.mark.quick(4)
@pytest.mark.parametrize("family", [thorough(family) if family in MADE else family for family in FAMILIES_READ])
def test_what_is_read_rightly_passes(family, converted):
    assert converted(family).step is None


@pytest.mark.quick(20)
@pytest.mark.parametrize("reader", in_turns(READERS, Reader.planted), ids=str)
def test_a_reader_that_is_wrong_is_caught_for_the_witness_has_its_own(reader, converted, monkeypatch):
    reader.plant(monkeypatch)

    found = converted(reader.family, tokenizer=reader.is_of_tokenizers)

    assert found.step in reader.caught_by, found


@pytest.mark.quick(2)
@pytest.mark.parametrize(("name", "change", "family"), CHECKED_ALONE, ids=lambda value: str(value).split(" ")[0])
def test_a_reader_that_only_checks_reaches_no_tokenizer(name, change, family, converted, monkeypatch):
    result(vocabularies, name, change)(monkeypatch)

    assert converted(family).step is None


def test_what_the_modules_of_sentence_transformers_state_is_read_twice(monkeypatch):
    """Parts are read while this is wrong: it is what reads them."""

    def with_cls(found):
        first, pooling, dense = found.config["modules"]
        stated = {
            "type": pooling["type"],
            "pooling_mode": "cls",
            "word_embedding_dimension": checkpoints.common.HIDDEN,
        }
        return replace(found, config={**found.config, "modules": [first, stated, dense]})

    result(modules_json, "projection", lambda found: found and with_cls(found))(monkeypatch)
    made = prepared("sentence_transformers")
    parts = identify(Stated(made.original.source, made.original.arguments["vision"]))
    share(monkeypatch, replace(made, parts=parts))
    without_packages(monkeypatch)
    assert describe(parts).text.pooling == "cls"

    assert outcome(made.original).step == "text"


def test_were_the_witness_to_share_a_reader_nothing_would_be_caught(converted, monkeypatch):
    monkeypatch.setitem(hf_config.DEFAULTS["bert"], "hidden_act", "relu")
    monkeypatch.setitem(reference_config.BERT, "hidden_act", "relu")

    assert converted("bert_clip of sizes").step is None


# Nothing is left out

NO_FACTS = {
    "layouts.hf_folder.TOLERANCE": "of an image processor's fields, which are checked and then dropped",
    "layouts.openai.RESNET_STRIDE": "a picture's side by the grid of the weights: no ResNet has another",
    "layouts.openai.RESNET_WIDENING": "the width of a ResNet's attention pool, which is in the weights",
    "layouts.cn_clip.TEXT_ACTIVATION": "of published sizes alone: test_published_facts.py",
}
"""Numbers, activations and image orders of the readers that no row plants, and why."""


def constants_of(module: Any) -> Iterator[str]:
    """Names at a module's top that stand for a number, an activation or an image order."""
    kinds = (int, float)
    for statement in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            value = getattr(module, target.id)
            if target.id.isupper() and (type(value) in kinds or value in (*facts.ACTIVATIONS, *facts.ORDERS)):
                yield f"{_short(module)}.{target.id}"


def test_every_constant_of_a_reader_is_planted_or_said_to_be_no_fact():
    names = [each.name for each in pkgutil.iter_modules(sources.__path__)]
    modules = [importlib.import_module(f"{sources.__name__}.{name}") for name in names]
    modules += [cn_clip_model, open_clip_model, openai_towers, hf_config, hf_folder, unstated, bases]
    found = {name for module in modules for name in constants_of(module)}

    assert found - {f"{_short(module)}.{name}" for module, name, *_ in CONSTANTS} == NO_FACTS.keys()
