"""Fengshen's TaiyiCLIPModel: BertCLIP's towers, with the state of [CLS] in place of the tanh pooler.

Source: Fengshenbang-LM, fengshen/models/clip/modeling_taiyi_clip.py, `get_text_features` and `get_image_features`,
which fengshen/examples/pretrain_taiyi_clip/pretrain.py trains; processing_taiyi_clip.py.
"""

from collections.abc import Sequence

import torch
from PIL import Image

from . import bert, clip_vision, hf_config, pictures, wordpiece
from .layers import Config, Tensors, normalize, weight


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, projection)` float32, of ids `(n, length)` padded with 0."""
    tensors = _without_lightning(tensors)
    facts = hf_config.nested(config, "text_config", hf_config.BERT)
    mask = bert.padding_bias(ids)
    states = bert.last_hidden(tensors, "text_model.", ids, facts.heads, facts.activation, facts.eps, mask)
    return normalize(states[:, 0] @ weight(tensors, "text_projection.weight").T)


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, projection)` float32, of pixels `(n, 3, r, r)`."""
    facts = hf_config.nested(config, "vision_config", hf_config.CLIP_VISION)
    return clip_vision.embed(_without_lightning(tensors), pixels, facts)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(_without_lightning(tensors)["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return clip_vision.image_size(_without_lightning(tensors))


def token_ids(texts: Sequence[str], vocab: Sequence[str], context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids; as BertTokenizerFast gives them."""
    return wordpiece.transformers_ids(texts, vocab, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: RGB, short side to `size`, centre crop as transformers rounds it."""
    return pictures.rgb_then_crop(image, size)


def _without_lightning(tensors: Tensors) -> Tensors:
    """The same tensors, without the name that the training's LightningModule gives the model."""
    return {key.removeprefix("model."): tensor for key, tensor in tensors.items()}
