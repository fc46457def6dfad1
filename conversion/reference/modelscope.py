"""ModelScope's CLIP: cn_clip's formulas on its keys, which in a fine-tune stand behind `clip_model.`.

Source: modelscope, models/multi_modal/clip/{model,modeling_bert,bert_tokenizer}.py and preprocessors/multi_modal.py.
The folder's text_model_config.json and vision_model_config.json state what cn_clip's model_configs state.
"""

import torch
from PIL import Image

from . import cn_clip, pictures
from .layers import Config, Tensors

PREFIX = "clip_model."

token_ids = cn_clip.token_ids  # the same tokenizer, over the folder's vocab.txt


def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)` float32: `forward` of CLIPForMultiModalEmbedding."""
    return cn_clip.encode_text(_bare(tensors), ids, config)


def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)` float32."""
    return cn_clip.encode_image(_bare(tensors), pixels, config)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored; ModelScope's `temperature` is 1 / exp of it."""
    return cn_clip.logit_scale(_bare(tensors), config)


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels, that the position table was made for."""
    return cn_clip.image_size(_bare(tensors), config)


def pixels(image: Image.Image, tensors: Tensors, size: int) -> torch.Tensor:
    """`(3, size, size)` float32: squash in the image's own mode, then RGB."""
    return pictures.squash_then_rgb(image, size)


def _bare(tensors: Tensors) -> Tensors:
    return {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
