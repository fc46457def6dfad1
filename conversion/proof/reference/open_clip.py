"""open_clip's CLIP and CustomTextCLIP with its own text transformer.

Source: open_clip, model.py, transformer.py, modified_resnet.py, tokenizer.py and transform.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from . import bpe, openai_text, openai_vision, pictures, vocabularies
from .files import Files, Json
from .layers import ACTIVATIONS, Activation, Config, Tensors, normalize
from .pictures import CLIP, How

vocabulary = vocabularies.openai_bpe

SPECIAL_IN_TEXTS = False
"""open_clip's names for the two are others, as its card says; a text that holds OpenAI's is not compared."""

TEXT_HEADS = 8
HEAD_WIDTH = 64
EPS = 1e-5
"""The default of open_clip's dataclasses."""


def config(files: Files, stated: Json) -> Json:
    """The open_clip_config.json beside the weights or from the user; a file of model_configs is its model_cfg."""
    found = files.get("open_clip_config.json") or stated
    whole = found if "model_cfg" in found else {"model_cfg": found}
    _check_computed(whole)
    return whole


TEXT_COMPUTED: Config = {"no_causal_mask": False, "pool_type": "argmax", "act_kwargs": {}, "embed_cls": False}
VISION_COMPUTED: Config = {
    "pool_type": "tok",
    "act_kwargs": {},
    "attentional_pool": False,
    "global_average_pool": False,
}
PICTURES_COMPUTED: Config = {
    **{"resize_mode": "shortest", "mode": "RGB"},
    **{"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
}
"""Fields that change vectors or pixels, with the value that is computed here, which is open_clip's default."""


def _check_computed(config: Json) -> None:
    """Refuses what this reference does not compute.

    Raises:
        ValueError: a field of the config states something else.
    """
    model = config["model_cfg"]
    for part, computed in (
        (model.get("text_cfg") or {}, TEXT_COMPUTED),
        (model.get("vision_cfg") or {}, VISION_COMPUTED),
        (config.get("preprocess_cfg") or {}, PICTURES_COMPUTED),
    ):
        for name, value in computed.items():
            found = part.get(name)
            if found is not None and (list(found) if isinstance(found, (list, tuple)) else found) != value:
                raise ValueError(f"{name} is {found!r}; this reference computes {value!r}")


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised text embeddings, `(n, embed)`, of ids `(n, length)`, padded with ids that are not higher.

    The state is taken at the first occurrence of a text's highest id, which is its end ("argmax").

    Args:
        config: an open_clip_config.json.
    """
    prefix = _prefix(tensors)
    text = config["model_cfg"]["text_cfg"]
    ends, heads = ids.argmax(dim=1), text.get("heads", TEXT_HEADS)
    return openai_text.embed(
        tensors, prefix, f"{prefix}transformer.resblocks.", ids, ends, heads, activation(config), eps(text)
    )


@torch.no_grad()
def encode_image(tensors: Tensors, pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """L2-normalised image embeddings, `(n, embed)`, of pixels `(n, 3, r, r)`."""
    vision = config["model_cfg"]["vision_cfg"]
    heads = openai_vision.width(tensors) // vision.get("head_width", HEAD_WIDTH)
    if openai_vision.is_resnet(tensors):
        return normalize(openai_vision.resnet(tensors, pixels, heads))
    return normalize(openai_vision.vit(tensors, pixels, heads, activation(config), eps(vision)))


def logit_scale(tensors: Tensors, config: Config) -> float:
    """The log scale, as stored."""
    return float(tensors["logit_scale"])


def image_size(tensors: Tensors, config: Config) -> int:
    """Side of the square input, in pixels."""
    return openai_vision.image_size(tensors)


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return openai_text.positions(tensors, _prefix(tensors))


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training; the two last words are a text's ends."""
    prefix = _prefix(tensors)
    words = len(tensors[f"{prefix}token_embedding.weight"])
    return openai_text.training(tensors, prefix, first=words - 2, last=words - 1, pad=words - 1)


def image_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The image tower's fields of config.json for later training."""
    return openai_vision.training(tensors)


def _prefix(tensors: Tensors) -> str:
    return "text." if "text.positional_embedding" in tensors else ""


def token_ids(texts: Sequence[str], vocab: Any, context_length: int) -> list[list[int]]:
    """Ids of each text, unpadded, at most `context_length`, as from open_clip's SimpleTokenizer.

    Args:
        vocab: has `ids` and `merges`, see `bpe.openai_ids`.
    """
    return bpe.openai_ids(texts, vocab.ids, vocab.merges, context_length)


def pixels(image: Image.Image, tensors: Tensors, size: int, how: How = CLIP) -> torch.Tensor:
    """`(3, size, size)` float32: short side to `size`, torchvision's centre crop, RGB."""
    return pictures.crop_then_rgb(image, size, how)


def activation(config: Config) -> Activation:
    """QuickGELU if the config states it, else the exact GELU."""
    return ACTIVATIONS["quick_gelu" if config["model_cfg"].get("quick_gelu") else "gelu"]


def eps(tower: Config) -> float:
    """The eps of a tower's norms."""
    return (tower.get("norm_kwargs") or {}).get("eps", EPS)
