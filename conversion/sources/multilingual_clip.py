"""Multilingual-CLIP (M-CLIP): a multilingual text tower trained towards a published CLIP, which is the image part.

The models of 2022 are one folder. The models of 2021 are a plain BERT or DistilBERT with a head in a separate pickle.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layouts import towers, unused
from ..layouts.hf_config import bert_shapes, distilbert_shapes, tower_config
from ..mapping import Rule, Shape, drop, matrix, rename, transpose
from ..reading.companions import HEAD, LEGACY_HEAD
from ..reading.read import Checkpoint
from ..source import Files, Relative, Signature, Source, TextSide, Tower
from ..tokenizers.vocabularies import MULTILINGUAL
from ..words import Words

LIMITS = (
    Words(
        "It was trained with texts of at most 32 tokens. It takes longer texts up to its limit, but the quality for "
        "longer texts is not known.",
        "它训练时的文本最长 32 个词元；更长的文本在上限之内照样接受，但效果如何没有资料。",
    ),
)
"""multilingual_clip/TeacherLearning/Dataset.py leaves out longer captions; inference does not cut texts."""

BODY = "transformer."
WEIGHT, BIAS = HEAD + "0", HEAD + "1"
BASE = "base_config"
"""The field in which `describe` gets the base model's config.json."""

WITH_LINEAR = (
    *towers.bert(BODY),
    drop(BODY + "pooler.*"),
    rename("LinearTransformation.*", "text_projection.*"),
)
# legacy_multilingual_clip.py, _load_head: Keras stores (in, out), and the class transposes it.
PICKLED = (transpose(WEIGHT, "text_projection.weight"), rename(BIAS, "text_projection.bias"))
BERT = (*towers.bert(""), drop("pooler.*"), *PICKLED)
DISTILBERT = (*towers.distilbert(""), *PICKLED)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table for a whole folder, or for a tower with its head beside it."""
    if WEIGHT not in keys:
        return WITH_LINEAR
    return DISTILBERT if any(key.startswith("transformer.layer.") for key in keys) else BERT


def base_model(config: Mapping[str, Any]) -> str | None:
    """The base model to which a config.json leaves the tower's facts."""
    name = config.get("modelBase")
    return name if isinstance(name, str) else None


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> TextSide:
    """Reads the tower from its base's config.json, or from its own, checked against the shapes."""
    shapes = checkpoint.shapes
    pickled = WEIGHT in shapes
    sizes: Callable[[Mapping[str, Shape], str], dict[str, int]] = bert_shapes
    kinds: tuple[str, ...] = ("xlm-roberta", "bert")
    if pickled:
        sizes, kinds = (
            (distilbert_shapes, ("distilbert",)) if rules(shapes) is DISTILBERT else (bert_shapes, ("bert",))
        )
    base = config.get(BASE, config)
    text = _tower(base, kinds, sizes(shapes, "" if pickled else BODY))
    rows, columns = matrix(shapes, WEIGHT)[::-1] if pickled else matrix(shapes, "LinearTransformation.weight")
    _check_sizes(config, {"transformerDimensions": columns, "numDims": rows})
    kind = text["model_type"]
    return TextSide(
        architecture=f"{TITLES[kind]} {columns}, Multilingual-CLIP {rows}",
        text=Tower(text, "mean", "linear_bias", rows),
        # README.md: pictures go through the transform of OpenAI's CLIP, or of open_clip.
        image_order="crop_then_rgb",
        context_length=text["max_position_embeddings"] - (text["pad_token_id"] + 1 if kind == "xlm-roberta" else 0),
        limits=LIMITS,
    )


TITLES = {"xlm-roberta": "XLM-RoBERTa", "bert": "BERT", "distilbert": "DistilBERT"}


def _tower(base: Mapping[str, Any], kinds: Collection[str], found: Mapping[str, int]) -> dict[str, Any]:
    """The tower's config.

    Raises:
        InputError: nothing states the config, or the stated config has another kind or contradicts the shapes.
    """
    kind: Any = base.get("model_type")
    if kind not in kinds:
        said = f"states model_type {kind!r}" if base else "is missing"
        raise InputError(
            f"The config.json of the text tower {said}; the keys are the keys of {' or '.join(kinds)}. Pass the "
            "config.json of the text tower's base model (xlm-roberta-large, LaBSE ...): --config FILE."
        )
    return tower_config(kind, [base], found, "text tower")


def _check_sizes(config: Mapping[str, Any], found: Mapping[str, int]) -> None:
    """Checks the widths in an M-CLIP config.json against the weights."""
    wrong = [
        f"{key}: stated {config[key]!r}, the weights say {size}"
        for key, size in found.items()
        if key in config and config[key] != size
    ]
    if wrong:
        raise InputError(
            f"config.json does not fit the weights: {'; '.join(wrong)}. Take weights and config.json from the same "
            "folder."
        )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own tokenizer: XLM-R's, or BERT's, cased or not."""
    from ..tokenizers.builders import bert_tokenizer, xlm_roberta_tokenizer
    from ..tokenizers.vocabularies import is_unigram

    unigram = vocabulary is not None and is_unigram(vocabulary)
    return (xlm_roberta_tokenizer if unigram else bert_tokenizer)(vocabulary, context_length)


LOAD = """\
import json

import torch
from multilingual_clip.pt_multilingual_clip import MultilingualCLIP
from transformers import AutoTokenizer

stated = json.load(open(f"{folder}/config.json", encoding="utf-8"))
config = MultilingualCLIP.config_class(stated["modelBase"], stated["transformerDimensions"], stated["numDims"])
text_model = MultilingualCLIP(config).eval()
text_model.load_state_dict(torch.load(f"{folder}/pytorch_model.bin", map_location="cpu", weights_only=True))
tokenizer = AutoTokenizer.from_pretrained(folder)"""
"""The class's from_pretrained does not run with transformers 5."""


def _of_2021(files: Mapping[str, Any]) -> str | None:
    """Why a model of 2021 is not written: its config.json is the plain tower's, and its head lies in a pickle."""
    if base_model(files.get("config.json", {})) is not None:
        return None
    return (
        "its head lay in a pickle beside a plain tower, as in the models of 2021; only models of 2022 name a modelBase"
    )


FILES = Files(
    weights=("pytorch_model.bin",),
    config="config.json",
    own_vocabulary=True,
    unused=lambda tensors: unused.bert_pooler(BODY, tensors),
    load=lambda config, stated: LOAD,
    refused=_of_2021,
)


RELATIVES = (
    Relative(
        "the tower of a Multilingual-CLIP without its LinearTransformation",
        ("transformer.embeddings.word_embeddings.weight", "transformer.encoder.layer.{}.*"),
        "Its vectors cannot be compared with pictures. Convert a file or folder that also holds the "
        "LinearTransformation.",
    ),
)


SOURCE = Source(
    name="multilingual_clip",
    title="Multilingual-CLIP (M-CLIP)",
    part="text",
    signatures=(
        Signature(
            required=(
                "transformer.embeddings.word_embeddings.weight",
                "transformer.encoder.layer.{}.intermediate.dense.weight",
                "LinearTransformation.weight",
                "LinearTransformation.bias",
            ),
        ),
        *(
            Signature(required=("embeddings.word_embeddings.weight", layer, WEIGHT, BIAS))
            for layer in ("encoder.layer.{}.intermediate.dense.weight", "transformer.layer.{}.ffn.lin1.weight")
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: _home(config["text_config"]["model_type"]),
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=MULTILINGUAL,
    limits=LIMITS,
    languages=("multilingual",),
    base_model=base_model,
    relatives=RELATIVES,
    undecided={"embeddings.word_embeddings.weight": LEGACY_HEAD},
)


def _home(model_type: str) -> tuple[Rule, ...]:
    """The table of a whole folder with this kind of tower, if such folders exist."""
    return DISTILBERT if model_type == "distilbert" else WITH_LINEAR
