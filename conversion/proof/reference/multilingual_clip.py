"""Multilingual-CLIP's text part. The paired CLIP gives the image tower and the logit scale, which are not here.

Source: Multilingual-CLIP, multilingual_clip/pt_multilingual_clip.py and legacy_multilingual_clip.py; the towers are
transformers' XLMRobertaModel, BertModel and DistilBertModel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, distilbert, hf_config, pictures, unigram, vocabularies, wordpiece, xlm_roberta
from .files import Files, Json
from .layers import ACTIVATIONS, Config, Tensors, linear, normalize, weight, wide
from .pictures import CLIP, How

DISTILBERT_EPS = 1e-12
"""A constant in its layers (transformers, models/distilbert/modeling_distilbert.py)."""


vocabulary = vocabularies.multilingual

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_XLM_ROBERTA = {
    "model_type": "xlm-roberta",
    "layer_norm_eps": 1e-5,
    "vocab_size": 250002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
BASES: Mapping[str, Config] = {
    "xlm-roberta-base": _XLM_ROBERTA,
    "xlm-roberta-large": {**_XLM_ROBERTA, **_LARGE},
    "LaBSE": {"model_type": "bert", "vocab_size": 501153},
    "bert-base-multilingual-cased": {"model_type": "bert", "vocab_size": 119547},
}
"""Published config.json fields of the base models that differ from their class's defaults."""

DEFAULTS: Mapping[str, Config] = {
    "bert": hf_config.BERT,
    "xlm-roberta": hf_config.XLM_ROBERTA,
    "distilbert": hf_config.DISTILBERT,
}
TRAINING = {"bert": "bert", "xlm-roberta": "xlm_roberta", "distilbert": "distilbert"}


OWNERS = ("FacebookAI/", "google-bert/", "sentence-transformers/")


def _published(name: str) -> Config | None:
    owner = next((owner for owner in OWNERS if name.startswith(owner)), "")
    return BASES.get(name.removeprefix(owner))


def config(files: Files, stated: Json) -> Json:
    """The tower's fields under `base_config`: from the base model that config.json names, else from its own.

    The base's fields are what the user stated, else its published fields, else its downloaded config.json.

    Raises:
        LookupError: if neither the user, nor this module, nor a download gives the base.
        ValueError: if the tower has another kind.
    """
    own = files.get("config.json") or stated
    base = own
    if isinstance(name := own.get("modelBase"), str):
        base = (stated if own is not stated else {}) or _published(name) or files[f"{name}:config.json"]
    kind: Any = base.get("model_type")
    if kind not in DEFAULTS:
        raise ValueError(f"the text tower's model_type is {kind!r}; this reference has {sorted(DEFAULTS)}")
    return {"base_config": {**DEFAULTS[kind], **base}}


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of padded ids `(n, length)`.

    Args:
        config: the config.json of the tower's base model, under `base_config`.

    Raises:
        LookupError: if the tower has another kind.
    """
    base = config["base_config"]
    pad, states = TOWERS[base["model_type"]]
    prefix = _prefix(tensors)
    kept = wide(~bert.behind(ids, pad)).unsqueeze(-1)
    pooled = (states(tensors, prefix, ids, base) * kept).sum(dim=1) / kept.sum(dim=1)
    if prefix:
        return normalize(linear(tensors, "LinearTransformation", pooled))
    return normalize(pooled @ weight(tensors, "head.0") + weight(tensors, "head.1"))


def _bert(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    return bert.last_hidden(tensors, prefix, ids, *_facts(base), bert.behind_bias(ids))


def _xlm_roberta(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    return xlm_roberta.last_hidden(tensors, prefix, ids, *_facts(base), xlm_roberta.behind_bias(ids))


def _distilbert(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    activation = ACTIVATIONS[base["activation"]]
    mask = bert.behind_bias(ids)
    return distilbert.last_hidden(tensors, prefix, ids, base["n_heads"], activation, DISTILBERT_EPS, mask)


def _facts(base: Config) -> tuple[int, Callable[[torch.Tensor], torch.Tensor], float]:
    return base["num_attention_heads"], ACTIVATIONS[base["hidden_act"]], base["layer_norm_eps"]


States = Callable[[Tensors, str, torch.Tensor, Config], torch.Tensor]
TOWERS: Mapping[str, tuple[int, States]] = {
    "bert": (bert.PAD, _bert),
    "xlm-roberta": (xlm_roberta.PAD, _xlm_roberta),
    "distilbert": (bert.PAD, _distilbert),
}
"""By model type: the pad id, and the function that computes the last layer's states."""


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions; XLM-R's positions start after its pad id."""
    places = bert.positions(tensors, _prefix(tensors))
    return places - xlm_roberta.PAD - 1 if config["base_config"]["model_type"] == "xlm-roberta" else places


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    base = config["base_config"]
    return hf_config.of_training(base, TRAINING[base["model_type"]])


def _prefix(tensors: Tensors) -> str:
    return "transformer." if "LinearTransformation.weight" in tensors else ""


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids between <s> and </s>, or [CLS] and [SEP], of each text, unpadded, at most `context_length`.

    Args:
        vocab: has `pieces` and the other fields for `unigram.xlm_roberta_ids`, or is the vocabulary for
            `wordpiece.folder_ids`.
    """
    if hasattr(vocab, "pieces"):
        return unigram.xlm_roberta_ids(
            texts,
            vocab.pieces,
            vocab.unknown,
            vocab.normalizers,
            vocab.splits,
            vocab.special,
            vocab.added,
            context_length,
        )
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side to `size`, crop, RGB, as in OpenAI's CLIP and open_clip."""
    return pictures.crop_then_rgb(image, size, how)
