"""Fengshen's TaiyiCLIPModel: BertCLIP's towers, with the state of [CLS] instead of the tanh pooler.

Source: Fengshenbang-LM, fengshen/models/clip/modeling_taiyi_clip.py, `get_text_features` and `get_image_features`,
which fengshen/examples/pretrain_taiyi_clip/pretrain.py trains; processing_taiyi_clip.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bert, bert_clip, chinese_clip, clip_vision, pictures, vocabularies, wordpiece
from .files import Files, config_json, text_limit
from .layers import Config, Tensors
from .pictures import CLIP, How
from .vocabularies import WordPieces

CONTEXT_LENGTH = 77
"""--seq_length in fengshen/examples/pretrain_taiyi_clip/pretrain.py."""

config = config_json
vocabulary = vocabularies.stated_wordpiece


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)`, of ids `(n, length)` padded with 0."""
    return chinese_clip.first_state(_without_lightning(tensors), ids, config)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)`, of pixels `(n, 3, r, r)`."""
    return bert_clip.encode_image(_without_lightning(tensors), pixels, config)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(_without_lightning(tensors)["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(_without_lightning(tensors))


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the folder's tokenizer limit or 77, at most the number of positions."""
    return min(text_limit(files, CONTEXT_LENGTH), bert.positions(_without_lightning(tensors), "text_model."))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return bert_clip.text_training(_without_lightning(tensors), config)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return bert_clip.image_training(_without_lightning(tensors), config)


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size, how)


def _without_lightning(tensors: Tensors) -> Tensors:
    """The tensors without the model's name in the training's LightningModule."""
    return {key.removeprefix("model."): tensor for key, tensor in tensors.items()}
