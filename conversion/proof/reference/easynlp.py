"""EasyNLP's CLIPApp with cn_clip's model: cn_clip's formulas under `chinese_clip.`, on its own ids and pixels.

Source: EasyNLP, easynlp/appzoo/clip/{model,data,predictor}.py and modelzoo/models/clip/modeling_chineseclip.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import cn_clip, pictures, vocabularies, wordpiece
from .files import config_json
from .layers import Config, Tensors
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.stated_wordpiece
context_length = cn_clip.context_length

PREFIX = "chinese_clip."
HEADS = {"vision_head_width": 64}  # fixed in the class for every width


def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`; the class makes its own mask and ignores `attention_mask`."""
    return cn_clip.encode_text(_bare(tensors), ids, config)


def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`."""
    return cn_clip.encode_image(_bare(tensors), pixels, {**config, **HEADS})


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return cn_clip.logit_scale(_bare(tensors), config)


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input in pixels, from the position table."""
    return cn_clip.image_size(_bare(tensors), config)


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return cn_clip.text_training(_bare(tensors), config)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return cn_clip.image_training(_bare(tensors), config)


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, as from transformers' BertTokenizer."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side, centre crop rounded up, in the image's own mode, then RGB."""
    return pictures.crop_up_then_rgb(image, size, how)


def _bare(tensors: Tensors) -> Tensors:
    return {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
