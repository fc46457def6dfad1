"""open_clip's CustomTextCLIP with Hugging Face's XLM-R as its text tower.

Source: open_clip, hf_model.py (poolers and projections) and tokenizer.py (HFTokenizer); transformers,
models/xlm_roberta/modeling_xlm_roberta.py.
"""

from collections.abc import Sequence
from typing import Any

import torch

from . import bert, hf_config, unigram, vocabularies, xlm_roberta
from .bpe import mended
from .files import Files
from .layers import ACTIVATIONS, Config, Tensors, gelu, normalize, weight
from .open_clip import config, encode_image, image_size, image_training, logit_scale, pixels

vocabulary = vocabularies.unigram

BODY = "text.transformer."
# config.json of xlm-roberta-base and -large: heads by width.
HEADS = {768: 12, 1024: 16}
EPS = 1e-5
ACTIVATION = "gelu"
CONTEXT_LENGTH = 77
"""factory.py, `get_tokenizer`: used if a config states no length."""

__all__ = [
    "config",
    "encode_image",
    "encode_text",
    "image_size",
    "image_training",
    "logit_scale",
    "pixels",
    "token_ids",
]


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)`, padded on the right with 1.

    Args:
        config: an open_clip_config.json.

    Raises:
        LookupError: if the head count is neither stated nor published for this size.
    """
    text = config["model_cfg"]["text_cfg"]
    facts = text.get("hf_model_config") or {}
    width = tensors[BODY + "embeddings.word_embeddings.weight"].shape[1]
    heads = facts.get("num_attention_heads", HEADS.get(width))
    if heads is None:
        raise LookupError(f"a width of {width} is of no published size ({sorted(HEADS)}); state its heads")
    activation, eps = ACTIVATIONS[facts.get("hidden_act", ACTIVATION)], facts.get("layer_norm_eps", EPS)
    mask = xlm_roberta.padding_bias(ids)
    states = xlm_roberta.last_hidden(tensors, BODY, ids, heads, activation, eps, mask)
    return normalize(_project(tensors, _pool(tensors, states, ids != xlm_roberta.PAD, text.get("hf_pooler_type"))))


def _pool(tensors: Tensors, states: torch.Tensor, kept: torch.Tensor, pooler: str | None) -> torch.Tensor:
    """`(n, hidden)`: the mean over kept tokens, unless the config names one of two poolers of the first position."""
    if pooler == "cls_pooler":
        return bert.tanh_pooler(tensors, BODY, states)
    if pooler == "cls_last_hidden_state_pooler":
        return states[:, 0]
    return (states * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)


def _project(tensors: Tensors, pooled: torch.Tensor) -> torch.Tensor:
    """Projects without biases: two matrices with an exact GELU between them, one matrix, or none."""
    if "text.proj.0.weight" in tensors:
        inner = gelu(pooled @ weight(tensors, "text.proj.0.weight").T)
        return inner @ weight(tensors, "text.proj.2.weight").T
    return pooled @ weight(tensors, "text.proj.weight").T if "text.proj.weight" in tensors else pooled


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids, as the config states it."""
    return config["model_cfg"]["text_cfg"].get("context_length", CONTEXT_LENGTH)


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    stated = config["model_cfg"]["text_cfg"].get("hf_model_config") or {}
    return hf_config.of_training({**hf_config.XLM_ROBERTA, **stated}, "xlm_roberta")


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """<s> .. </s> of each text, unpadded, at most `context_length` ids, as from open_clip's HFTokenizer.

    Args:
        vocab: has the fields for `unigram.xlm_roberta_ids`.
    """
    return unigram.xlm_roberta_ids(
        [mended(text) for text in texts],
        vocab.pieces,
        vocab.unknown,
        vocab.normalizers,
        vocab.splits,
        vocab.special,
        vocab.added,
        context_length,
    )
