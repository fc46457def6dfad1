"""The original image pipelines of the four orders: a Pillow image to `(3, size, size)` float32."""

from collections.abc import Callable

import numpy as np
from PIL import Image

import hf_zhclip  # noqa: F401  (hides a broken torchvision, before anything imports transformers)

from tests.parity.peers import cn_clip, torchvision_transforms

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def squash_then_rgb(image: Image.Image, size: int) -> np.ndarray:
    """cn_clip/clip/utils.py, image_transform: called as it is."""
    return cn_clip("clip.utils").image_transform(size)(image).numpy()


def crop_then_rgb(image: Image.Image, size: int) -> np.ndarray:
    """openai/CLIP clip/clip.py, _transform, which open_clip, Taiyi's examples and Wukong repeat."""
    transforms = torchvision_transforms()
    transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            lambda picture: picture.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return transform(image).numpy()


def rgb_then_squash(image: Image.Image, size: int) -> np.ndarray:
    """transformers' ChineseCLIP processor, set as in OFA-Sys' repos, on the RGB image that version 4 makes."""
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

    processor = ChineseCLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False)
    return processor(_rgb(image)).pixel_values[0]


def rgb_then_crop(image: Image.Image, size: int) -> np.ndarray:
    """transformers' CLIP processor, on the RGB image that version 4 makes."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return processor(_rgb(image)).pixel_values[0]


def _rgb(image: Image.Image) -> Image.Image:
    # Through an array: convert() keeps a palette's transparent colour in `info`, which version 5 makes white.
    return Image.fromarray(np.asarray(image.convert("RGB")))


PIPELINES: dict[str, Callable[[Image.Image, int], np.ndarray]] = {
    pipeline.__name__: pipeline for pipeline in (squash_then_rgb, rgb_then_squash, crop_then_rgb, rgb_then_crop)
}
