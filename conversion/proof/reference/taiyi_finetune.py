"""Fengshen's fine-tune of Taiyi-CLIP: Taiyi's classifier on texts of 77 ids without a mask, and an OpenAI CLIP.

Source: Fengshenbang-LM, fengshen/examples/clip_finetune/clip_finetune_flickr.py (`validation_step`) and
fengshen/data/clip_dataloader/flickr.py (`__getitem__`, `image_transform`).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, vocabularies, wordpiece
from .files import Files, stated_alone
from .layers import Config, Tensors, linear, normalize
from .pictures import CLIP, How
from .vocabularies import WordPieces

config = stated_alone
vocabulary = vocabularies.stated_wordpiece

HEADS = {768: 12, 1024: 16}  # hfl/chinese-roberta-wwm-ext* and openai/clip-vit-*, by width
PADDED = 77  # `context_length`: the tokenizer pads to it; the model gets only input_ids


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, labels)`, of ids `(n, up to 77)` padded with 0.

    All 77 positions are attended to, including padding.

    Raises:
        ValueError: if the texts are longer; the original cuts such texts.
    """
    if ids.shape[1] > PADDED:
        raise ValueError(f"texts of {ids.shape[1]} ids, and the original cuts at {PADDED}: truncate them")
    tensors = _bare(tensors)
    width = len(tensors["text_encoder.bert.embeddings.LayerNorm.weight"])
    facts = hf_config.of_size(config, "text_config", hf_config.BERT, HEADS, width)
    ids = F.pad(ids, (0, PADDED - ids.shape[1]), value=bert.PAD)
    states = bert.last_hidden(tensors, "text_encoder.bert.", ids, facts.heads, facts.activation, facts.eps, None)
    pooled = bert.tanh_pooler(tensors, "text_encoder.bert.", states)
    return normalize(linear(tensors, "text_encoder.classifier", pooled))


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)`."""
    tensors = _clip(tensors)
    width = len(tensors["vision_model.embeddings.class_embedding"])
    facts = hf_config.of_size(config, "vision_config", hf_config.CLIP_VISION, HEADS, width)
    return clip_vision.embed(tensors, pixels, facts)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale of the CLIP, as stored."""
    return _clip(tensors)["logit_scale"].item()


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input in pixels, from the position table."""
    return clip_vision.image_size(_clip(tensors))


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids."""
    return PADDED


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training: what its class starts with."""
    return hf_config.of_training(hf_config.BERT, "bert")


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return hf_config.of_training(hf_config.CLIP_VISION, "clip")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizer."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side, torchvision's centre crop, then RGB."""
    return pictures.crop_then_rgb(image, size, how)


def _bare(tensors: Tensors) -> Tensors:
    """The keys as in the LightningModule; some files have the prefix `model.`."""
    return {key.removeprefix("model."): tensor for key, tensor in tensors.items()}


def _clip(tensors: Tensors) -> Tensors:
    return {key.removeprefix("clip_model."): tensor for key, tensor in _bare(tensors).items()}
