"""sentence-transformers' multilingual CLIP: a DistilBERT or BERT, pooled, with a Dense into a CLIP's space.

The paired CLIP is the image part: sentence-transformers/clip-ViT-B-32 is a CLIPModel in a folder 0_CLIPModel. A
Normalize after the Dense is left out, because `encode_text` normalises anyway.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..layouts import towers, unused
from ..layouts.hf_config import bert_shapes, distilbert_shapes, tower_config
from ..layouts.hf_folder import text_limit
from ..mapping import Rule, Shape, drop, matrix, rename
from ..reading.companions import LEGACY_HEAD
from ..reading.modules_json import DENSE, FILE
from ..reading.read import Checkpoint
from ..source import Files, Relative, Signature, Source, TextSide, Tower
from ..tokenizers.vocabularies import STATED_WORDPIECE, read_wordpieces
from ..words import Words

LIMITS = (
    Words(
        "sentence-transformers' encode() gives the text vectors of this model after the projection, without "
        "normalisation; encode_text gives L2-normalised vectors.",
        "sentence-transformers 的 encode() 给出投影之后未归一化的文本向量；encode_text 给出经 L2 归一化的向量。",
    ),
)

WEIGHT, BIAS = DENSE + "linear.weight", DENSE + "linear.bias"
PROJECTION = (rename(DENSE + "linear.*", "text_projection.*"),)
DISTILBERT = (*towers.distilbert(""), *PROJECTION)
BERT = (*towers.bert(""), drop("pooler.*"), *PROJECTION)
TABLES: Mapping[str, tuple[Rule, ...]] = {"distilbert": DISTILBERT, "bert": BERT}

SHAPES: Mapping[str, Callable[[Mapping[str, Shape], str], dict[str, int]]] = {
    "distilbert": distilbert_shapes,
    "bert": bert_shapes,
}

POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The switches in configs before version 5.5, and the later values (modules/pooling.py)."""

SUPPORTED_POOLINGS = ("mean", "cls")

IDENTITY = "torch.nn.modules.linear.Identity"

PLAIN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Transformer": {
        "transformer_task": ("feature-extraction",),
        "module_output_name": ("token_embeddings",),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
        "processing_kwargs": ({},),
        "unpad_inputs": (True, False),
        **dict.fromkeys(("query_length", "document_length", "query_expansion"), ()),
        **dict.fromkeys(("model_args", "tokenizer_args", "config_args", "cache_dir"), ({},)),
        **dict.fromkeys(("model_kwargs", "processor_kwargs", "config_kwargs"), ({},)),
    },
    "Pooling": {"include_prompt": (True, False)},
    "Dense": {
        "activation_function": (IDENTITY,),
        "module_input_name": ("sentence_embedding",),
        "module_output_name": ("sentence_embedding",),
        "use_residual": (False,),
    },
}
"""The fields of each module's config, and the values with which it computes the same as this package.

Null is always such a value, except for an activation: sentence-transformers cannot read a null activation.
"""

READ = {
    "Transformer": ("max_seq_length", "do_lower_case"),
    "Pooling": ("word_embedding_dimension", "embedding_dimension", "pooling_mode", *POOLINGS),
    "Dense": ("in_features", "out_features", "bias"),
}
"""Fields with a check of their own."""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """The table of the tower that has these keys, with the projection."""
    return DISTILBERT if any(key.startswith("transformer.layer.") for key in keys) else BERT


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> TextSide:
    """Reads the tower from its config.json and the rest from the modules' configs, checked against the shapes."""
    shapes = checkpoint.shapes
    transformer, pooling, dense = _modules(config)
    kind = "distilbert" if rules(shapes) is DISTILBERT else "bert"
    if (stated := config.get("model_type")) != kind:
        raise InputError(
            f"config.json states model_type {stated!r}, but the keys are the keys of {kind}. Supported are "
            f"{' and '.join(TABLES)}, each with its own keys."
        )
    text = tower_config(kind, [config], SHAPES[kind](shapes, ""), "text part")
    _check_sizes(pooling, dense, shapes)
    _check_case(transformer, checkpoint.folder)
    pooled = _pooling(pooling)
    projection = "linear_bias" if BIAS in shapes else "linear"
    rows, columns = matrix(shapes, WEIGHT)
    return TextSide(
        architecture=f"{TITLES[kind]} {columns}, {pooled} pooling, Dense {rows}",
        text=Tower(text, pooled, projection, rows),
        # sentence-transformers gives unchanged pictures to CLIPProcessor (modules/clip_model.py).
        image_order="rgb_then_crop",
        context_length=_context_length(checkpoint.folder, transformer, text["max_position_embeddings"]),
        limits=LIMITS,
    )


TITLES = {"distilbert": "DistilBERT", "bert": "BERT"}


def _modules(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configs of Transformer, Pooling and Dense.

    Raises:
        InputError: a module computes something else; the message lists each field that says so.
    """
    if not (modules := config.get("modules")):
        raise InputError(
            "No file states how the text tower is pooled, and what follows its projection. Name the folder that holds "
            "modules.json, 1_Pooling and 2_Dense."
        )
    wrong = [f"{module['type']} states {each}" for module in modules for each in _unsupported(module)]
    if prompt := config.get("default_prompt_name"):
        wrong.append(f"config_sentence_transformers.json puts the prompt {prompt!r} before every text")
    if wrong:
        raise InputError(
            f"These modules are not converted: {'; '.join(wrong)}. Supported are mean or cls pooling, and a Dense "
            f"with activation_function {IDENTITY} (without this field, sentence-transformers takes Tanh)."
        )
    return modules


def _unsupported(module: Mapping[str, Any]) -> list[str]:
    kind = module["type"]
    plain, read = PLAIN[kind], READ[kind]
    stated = {key: value for key, value in module.items() if key != "type" and key not in read}
    if kind == "Dense":
        stated = {"activation_function": "torch.nn.modules.activation.Tanh", **stated}
    return [
        f"{key} {value!r}"
        for key, value in stated.items()
        if value not in plain.get(key, ()) and (value is not None or key == "activation_function")
    ]


def _pooling(stated: Mapping[str, Any]) -> str:
    """The pooling in a Pooling's config, old or new.

    Raises:
        InputError: the config has another pooling, or several joined poolings.
    """
    mode = stated.get("pooling_mode")
    switches = [new for old, new in POOLINGS.items() if stated.get(old)]
    if mode is None:
        # Without any switch, the class's default counts. With all switches off, there is no pooling.
        mode = switches if stated.keys() & POOLINGS.keys() else "mean"
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) != 1 or modes[0] not in SUPPORTED_POOLINGS:
        raise InputError(
            f"1_Pooling states the pooling {' and '.join(map(str, modes)) or 'none'}; supported is a single pooling "
            f"of {', '.join(SUPPORTED_POOLINGS)}."
        )
    return modes[0]


def _check_sizes(pooling: Mapping[str, Any], dense: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Checks the sizes in Pooling's and Dense's configs against the Dense's weights."""
    rows, columns = matrix(shapes, WEIGHT)
    found = {
        "embedding_dimension": (pooling.get("embedding_dimension", pooling.get("word_embedding_dimension")), columns),
        "in_features": (dense.get("in_features"), columns),
        "out_features": (dense.get("out_features"), rows),
        "bias": (dense.get("bias", True), BIAS in shapes),
    }
    if wrong := [f"{key}: stated {said}, the weights say {is_}" for key, (said, is_) in found.items() if said != is_]:
        raise InputError(
            f"The modules do not fit their weights: {'; '.join(wrong)}. Take all modules from the same folder."
        )


def _check_case(transformer: Mapping[str, Any], folder: Path | None) -> None:
    """Refuses lower-casing outside of the tokenizer: it would keep the accents that BERT's lower-casing strips."""
    if not transformer.get("do_lower_case"):
        return
    if folder is None or not STATED_WORDPIECE.lies_in(folder) or not read_wordpieces(folder).lowercase:
        raise InputError(
            "sentence_bert_config.json states do_lower_case True, but the tokenizer beside it keeps capitals. "
            "Lower-casing before the tokenizer is not converted. If the model was trained with lower-casing, state "
            "do_lower_case in the tokenizer, too."
        )


def _context_length(folder: Path | None, transformer: Mapping[str, Any], positions: int) -> int:
    """The longest text in tokens: max_seq_length overrides the tokenizer's limit (modules/transformer.py)."""
    stated = transformer.get("max_seq_length")
    if stated is None:
        return min(text_limit(folder, positions), positions)
    if not isinstance(stated, int) or isinstance(stated, bool) or not 3 <= stated <= positions:
        raise InputError(
            f"sentence_bert_config.json states max_seq_length {stated!r}; wanted a number from 3 to {positions}, the "
            "number of positions of the text tower."
        )
    return stated


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer, cased or not."""
    from ..tokenizers.builders import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def _signature(layer: str) -> Signature:
    return Signature(required=("embeddings.word_embeddings.weight", layer, WEIGHT))


LOAD = """\
from sentence_transformers import SentenceTransformer

text_model = SentenceTransformer(folder)"""


def _places(files: Mapping[str, Any]) -> dict[str, str]:
    """The folders of the Transformer and of the Dense, from modules.json, which may lie above the Transformer's."""
    first, _, dense, *_ = files.get(FILE) or files[f"../{FILE}"]
    return {"": first["path"], DENSE: dense["path"]}


def _unused(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A BERT's pooler, which the mean of its states does not pass through; a DistilBERT has none."""
    return {} if rules(tensors) is DISTILBERT else unused.bert_pooler("", tensors)


FILES = Files(
    weights=("model.safetensors", "pytorch_model.bin"),
    config="config.json",
    own_vocabulary=True,
    places=_places,
    unused=_unused,
    load=lambda config, stated: LOAD,
)


RELATIVES = (
    Relative(
        "a DistilBERT alone, such as the text tower of sentence-transformers' multilingual CLIP",
        ("embeddings.word_embeddings.weight", "transformer.layer.{}.*"),
        "The projection of this multilingual CLIP lies in the folder 2_Dense. Name the folder that holds "
        "modules.json. " + LEGACY_HEAD,
    ),
)


SOURCE = Source(
    name="sentence_transformers",
    title="sentence-transformers' multilingual CLIP",
    part="text",
    signatures=(
        _signature("transformer.layer.{}.ffn.lin1.weight"),
        _signature("encoder.layer.{}.intermediate.dense.weight"),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: TABLES[config["text_config"]["model_type"]],
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=STATED_WORDPIECE,
    limits=LIMITS,
    languages=("multilingual", "zh"),
    relatives=RELATIVES,
)
