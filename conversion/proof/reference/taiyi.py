"""Taiyi-CLIP's text part. The paired CLIP gives the image tower and the logit scale; none is in these files.

Source: Fengshenbang-doc, the model pages of the Taiyi series. The 102M and 326M releases are
BertForSequenceClassification whose logits are the feature; those paired with ViT-L and ViT-H are a BertModel whose
tanh pooler output is the feature.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, hf_config, pictures, vocabularies, wordpiece
from .files import Files, config_json
from .layers import Config, Tensors, linear, normalize
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.stated_wordpiece


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings of ids `(n, length)` padded with 0.

    Args:
        config: the text part's config.json. With `attend_to_padding` true, padding is attended to as in the published
            usage, which gives no attention mask: an embedding then depends on the longest text of its batch.

    Returns:
        `(n, projection)`, or `(n, hidden)` where the checkpoint has no classifier.
    """
    facts = hf_config.flat(config, hf_config.BERT)
    mask = None if config.get("attend_to_padding", False) else bert.padding_bias(ids)
    prefix = _prefix(tensors)
    states = bert.last_hidden(tensors, prefix, ids, facts.heads, facts.activation, facts.eps, mask)
    pooled = bert.tanh_pooler(tensors, prefix, states)
    return normalize(linear(tensors, "classifier", pooled) if _has_classifier(tensors) else pooled)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: as many as there are positions."""
    return bert.positions(tensors, _prefix(tensors))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """What config.json keeps of the text tower for a later training."""
    return hf_config.of_training({**hf_config.BERT, **config}, "bert")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as BertTokenizerFast gives them."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32, in the order of the processor that each release was published with.

    With a classifier that is transformers' CLIPProcessor (RGB, short side, crop); without, open_clip's transform
    (short side, crop, RGB).
    """
    return pictures.rgb_then_crop(image, size) if _has_classifier(tensors) else pictures.crop_then_rgb(image, size)


def _prefix(tensors: Tensors) -> str:
    return "bert." if _has_classifier(tensors) else ""


def _has_classifier(tensors: Tensors) -> bool:
    return "classifier.weight" in tensors
