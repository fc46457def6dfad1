"""Taiyi-CLIP's text part. The paired CLIP gives the image tower and the logit scale, which are not in these files.

Source: Fengshenbang-doc, the model pages of the Taiyi series. The 102M and 326M releases are a
BertForSequenceClassification, and its logits are the feature. The releases paired with ViT-L and ViT-H are a
BertModel, and its tanh pooler's output is the feature.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, hf_config, pictures, vocabularies, wordpiece
from .files import Files, config_json
from .layers import Config, Tensors, linear, normalize
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.stated_wordpiece


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings of ids `(n, length)` padded with 0.

    Args:
        config: the text part's config.json. If `attend_to_padding` is true, padding is attended to, as in the
            published usage without an attention mask: an embedding then depends on the longest text of its batch.

    Returns:
        `(n, projection)`, or `(n, hidden)` if the checkpoint has no classifier.
    """
    facts = hf_config.flat(config, hf_config.BERT)
    mask = None if config.get("attend_to_padding", False) else bert.behind_bias(ids)
    prefix = _prefix(tensors)
    states = bert.last_hidden(tensors, prefix, ids, facts.heads, facts.activation, facts.eps, mask)
    pooled = bert.tanh_pooler(tensors, prefix, states)
    return normalize(linear(tensors, "classifier", pooled) if _has_classifier(tensors) else pooled)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return bert.positions(tensors, _prefix(tensors))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return hf_config.of_training({**hf_config.BERT, **config}, "bert")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32, in the order of the processor published with each release.

    With a classifier, this is transformers' CLIPProcessor (RGB, short side, crop). Without a classifier, it is
    open_clip's transform (short side, crop, RGB).
    """
    return (
        pictures.rgb_then_crop(image, size, how)
        if _has_classifier(tensors)
        else pictures.crop_then_rgb(image, size, how)
    )


def _prefix(tensors: Tensors) -> str:
    return "bert." if _has_classifier(tensors) else ""


def _has_classifier(tensors: Tensors) -> bool:
    return "classifier.weight" in tensors
