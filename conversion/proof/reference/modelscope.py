"""ModelScope's CLIP: cn_clip's formulas on its keys, which have the prefix `clip_model.` in a fine-tune.

Source: modelscope, models/multi_modal/clip/{model,modeling_bert,bert_tokenizer}.py and preprocessors/multi_modal.py.
The folder's text_model_config.json and vision_model_config.json state the fields of cn_clip's model_configs.
"""

from typing import Any

import torch
from PIL import Image

from . import cn_clip, pictures
from .files import Files, Json
from .layers import Config, Tensors
from .pictures import CLIP, How

PREFIX = "clip_model."

token_ids = cn_clip.token_ids  # the same tokenizer, on the folder's vocab.txt
vocabulary = cn_clip.vocabulary
context_length = cn_clip.context_length


def config(files: Files, stated: Json) -> Json:
    """Both files of the folder; if both state a field, the text's counts. Without them, what the user stated."""
    return {**files.get("vision_model_config.json", {}), **files.get("text_model_config.json", {})} or stated


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return cn_clip.text_training(_bare(tensors), config)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return cn_clip.image_training(_bare(tensors), config)


def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`: `forward` of CLIPForMultiModalEmbedding."""
    return cn_clip.encode_text(_bare(tensors), ids, config)


def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`."""
    return cn_clip.encode_image(_bare(tensors), pixels, config)


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored; ModelScope's `temperature` is 1 / exp of it."""
    return cn_clip.logit_scale(_bare(tensors), config)


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input in pixels, from the position table."""
    return cn_clip.image_size(_bare(tensors), config)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: squash in the image's own mode, then RGB."""
    return pictures.squash_then_rgb(image, size, how)


def _bare(tensors: Tensors) -> Tensors:
    return {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
