"""transformers' ChineseCLIPModel: a BERT pooled at its first state, and a CLIP ViT.

Source: transformers, models/chinese_clip/modeling_chinese_clip.py, configuration_chinese_clip.py and the image
processor of the published repos (a square without a crop).
"""

from collections.abc import Sequence

import torch
from PIL import Image

from . import bert, bert_clip, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .bert_clip import image_training, text_training
from .files import Files, config_json, text_limit
from .layers import Config, Tensors, normalize, weight
from .pictures import CLIP, How
from .vocabularies import WordPieces

CONTEXT_LENGTH = 52
"""cn_clip/clip/utils.py; these models were trained with this length."""

config = config_json
vocabulary = vocabularies.stated_wordpiece

__all__ = ["image_training", "text_training"]


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of ids `(n, length)` padded with 0."""
    tensors = _with_new_norms(tensors)
    return first_state(tensors, ids, config)


def first_state(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """The state of [CLS] with the padding masked, projected and L2-normalised."""
    sizes = bert.sizes(tensors, "text_model.")
    facts = hf_config.facts(hf_config.fitting(config, "text_config", hf_config.BERT, sizes))
    mask = bert.behind_bias(ids)
    states = bert.last_hidden(tensors, "text_model.", ids, facts.heads, facts.activation, facts.eps, mask)
    return normalize(states[:, 0] @ weight(tensors, "text_projection.weight").T)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)`, of pixels `(n, 3, r, r)`."""
    return bert_clip.encode_image(_with_new_norms(tensors), pixels, config)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the folder's tokenizer limit or 52, at most the number of positions."""
    return min(text_limit(files, CONTEXT_LENGTH), bert.positions(tensors, "text_model."))


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, then a square whatever the aspect ratio."""
    return pictures.rgb_then_squash(image, size, how)


def _with_new_norms(tensors: Tensors) -> Tensors:
    """The same tensors; TensorFlow's gamma and beta become a layer norm's weight and bias."""
    renamed = {".gamma": ".weight", ".beta": ".bias"}
    return {
        next((key.removesuffix(old) + new for old, new in renamed.items() if key.endswith(old)), key): tensor
        for key, tensor in tensors.items()
    }
