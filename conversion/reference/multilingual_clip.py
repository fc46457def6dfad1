"""Multilingual-CLIP's text part. The paired CLIP gives the image tower and the logit scale; none is in these files.

Source: Multilingual-CLIP, multilingual_clip/pt_multilingual_clip.py and legacy_multilingual_clip.py; the towers are
transformers' XLMRobertaModel, BertModel and DistilBertModel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, distilbert, pictures, unigram, wordpiece, xlm_roberta
from .layers import ACTIVATIONS, Config, Tensors, linear, normalize, weight

DISTILBERT_EPS = 1e-12
"""Written into its layers (transformers, models/distilbert/modeling_distilbert.py)."""


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)` float32, of padded ids `(n, length)`.

    Args:
        config: the config.json of the model that the tower is, under `base_config`.

    Raises:
        LookupError: for a tower of another kind.
    """
    base = config["base_config"]
    pad, states = TOWERS[base["model_type"]]
    prefix = "transformer." if "LinearTransformation.weight" in tensors else ""
    kept = (ids != pad).to(torch.float32).unsqueeze(-1)
    pooled = (states(tensors, prefix, ids, base) * kept).sum(dim=1) / kept.sum(dim=1)
    if prefix:
        return normalize(linear(tensors, "LinearTransformation", pooled))
    return normalize(pooled @ weight(tensors, "head.0") + weight(tensors, "head.1"))


def _bert(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    return bert.last_hidden(tensors, prefix, ids, *_facts(base), bert.padding_bias(ids))


def _xlm_roberta(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    return xlm_roberta.last_hidden(tensors, prefix, ids, *_facts(base), xlm_roberta.padding_bias(ids))


def _distilbert(tensors: Tensors, prefix: str, ids: torch.Tensor, base: Config) -> torch.Tensor:
    activation = ACTIVATIONS[base["activation"]]
    mask = bert.padding_bias(ids)
    return distilbert.last_hidden(tensors, prefix, ids, base["n_heads"], activation, DISTILBERT_EPS, mask)


def _facts(base: Config) -> tuple[int, Callable[[torch.Tensor], torch.Tensor], float]:
    return base["num_attention_heads"], ACTIVATIONS[base["hidden_act"]], base["layer_norm_eps"]


States = Callable[[Tensors, str, torch.Tensor, Config], torch.Tensor]
TOWERS: Mapping[str, tuple[int, States]] = {
    "bert": (bert.PAD, _bert),
    "xlm-roberta": (xlm_roberta.PAD, _xlm_roberta),
    "distilbert": (bert.PAD, _distilbert),
}
"""By model type: the pad id, and the states of the last layer."""


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids between <s> and </s>, or [CLS] and [SEP], of each text, unpadded, at most `context_length`.

    Args:
        vocab: with `pieces` and what else `unigram.xlm_roberta_ids` takes, or with `tokens` and what else
            `wordpiece.stated_ids` takes.
    """
    if hasattr(vocab, "pieces"):
        return unigram.xlm_roberta_ids(
            texts,
            vocab.pieces,
            vocab.unknown,
            vocab.normalizers,
            vocab.splits,
            vocab.special,
            vocab.greedy,
            context_length,
        )
    return wordpiece.stated_ids(
        texts,
        vocab.tokens,
        context_length,
        lowercase=vocab.lowercase,
        strip_accents=vocab.strip_accents,
        cjk_alone=vocab.cjk_alone,
    )


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: short side to `size`, crop, RGB, as OpenAI's CLIP and open_clip do it."""
    return pictures.crop_then_rgb(image, size)
