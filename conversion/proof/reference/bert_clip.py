"""BertCLIP: a BERT and a CLIP ViT in one model.

Source: CLIP-Chinese, component/model.py, component/configuration.py and predict_similarity.py. Its text feature is the
tanh pooler's output, projected without a bias; `token_type_ids` are dropped and the attention mask is used.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .files import Files, config_json, text_limit
from .layers import Config, Tensors, normalize, weight
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.stated_wordpiece


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of ids `(n, length)` padded with 0."""
    facts = hf_config.facts(_text(tensors, config))
    mask = bert.behind_bias(ids)
    states = bert.last_hidden(tensors, "text_model.", ids, facts.heads, facts.activation, facts.eps, mask)
    pooled = bert.tanh_pooler(tensors, "text_model.", states)
    return normalize(pooled @ weight(tensors, "text_projection.weight").T)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)`, of pixels `(n, 3, r, r)`."""
    return clip_vision.embed(_plain(tensors), pixels, hf_config.facts(_vision(tensors, config)))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(_plain(tensors))


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the folder's tokenizer limit, at most the number of positions."""
    longest = bert.positions(tensors, "text_model.")
    return min(text_limit(files, longest), longest)


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return hf_config.of_training(_text(tensors, config), "bert")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return hf_config.of_training(_vision(tensors, config), "clip")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size, how)


def _text(tensors: Tensors, config: Config) -> Config:
    return hf_config.fitting(config, "text_config", hf_config.BERT, bert.sizes(tensors, "text_model."))


def _vision(tensors: Tensors, config: Config) -> Config:
    return hf_config.fitting(config, "vision_config", hf_config.CLIP_VISION, clip_vision.sizes(_plain(tensors)))


def _plain(tensors: Tensors) -> Tensors:
    """The tensors of a VisionTextDualEncoderModel from transformers 4 with the image tower's prefix once."""
    return {key.replace("vision_model.vision_model.", "vision_model."): tensor for key, tensor in tensors.items()}
