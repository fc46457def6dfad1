"""Chinese CLIP checkpoints of every family as one transformers model.

`import hf_zhclip` registers the classes; `AutoModel.from_pretrained(repo)` and its siblings then load converted repos.
"""

import importlib
from typing import TYPE_CHECKING

from ._torchvision import hide_broken_torchvision

hide_broken_torchvision()  # before the first import of transformers

from ._registration import register  # noqa: E402
from .configuration_zhclip import ZhCLIPConfig, ZhCLIPResNetConfig  # noqa: E402

if TYPE_CHECKING:
    from .image_processing_zhclip import ZhCLIPImageProcessor
    from .modeling_zhclip import (
        ZhCLIPModel,
        ZhCLIPTextModel,
        ZhCLIPTextModelWithProjection,
        ZhCLIPVisionModel,
        ZhCLIPVisionModelWithProjection,
    )
    from .modeling_zhclip_resnet import ZhCLIPResNetModel
    from .processing_zhclip import ZhCLIPProcessor

# The module of each public name; a module is imported when its name is first used.
_LAZY = {
    "ZhCLIPImageProcessor": "image_processing_zhclip",
    "ZhCLIPModel": "modeling_zhclip",
    "ZhCLIPProcessor": "processing_zhclip",
    "ZhCLIPResNetModel": "modeling_zhclip_resnet",
    "ZhCLIPTextModel": "modeling_zhclip",
    "ZhCLIPTextModelWithProjection": "modeling_zhclip",
    "ZhCLIPVisionModel": "modeling_zhclip",
    "ZhCLIPVisionModelWithProjection": "modeling_zhclip",
}

__all__ = [
    "ZhCLIPConfig",
    "ZhCLIPImageProcessor",
    "ZhCLIPModel",
    "ZhCLIPProcessor",
    "ZhCLIPResNetConfig",
    "ZhCLIPResNetModel",
    "ZhCLIPTextModel",
    "ZhCLIPTextModelWithProjection",
    "ZhCLIPVisionModel",
    "ZhCLIPVisionModelWithProjection",
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
