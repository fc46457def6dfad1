"""A Pillow image -> normalised pixels, in the orders of the originals' own code.

With transparency, a palette or one bit a pixel, resizing in the picture's own mode and resizing its RGB form give
different pixels, so the order matters. `convert` drops alpha, and never composites it.
"""

import torch
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def squash_then_rgb(image: Image.Image, size: int) -> torch.Tensor:
    """Resizes to a square whatever the aspect ratio, then RGB: cn_clip/clip/utils.py, `image_transform`."""
    return _normalised(image.resize((size, size), Image.Resampling.BICUBIC).convert("RGB"))


def rgb_then_squash(image: Image.Image, size: int) -> torch.Tensor:
    """RGB, then a square whatever the aspect ratio, as in R2D2 (prd2_inference_demo.py) and ChineseCLIP."""
    return _normalised(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def crop_then_rgb(image: Image.Image, size: int) -> torch.Tensor:
    """Short side, centre crop, then RGB; the offset rounds half to even: torchvision, transforms/functional.py."""
    resized = _short_side(image, size)
    left, top = (int(round((length - size) / 2.0)) for length in resized.size)
    return _normalised(resized.crop((left, top, left + size, top + size)).convert("RGB"))


def crop_up_then_rgb(image: Image.Image, size: int) -> torch.Tensor:
    """Short side, centre crop, then RGB; the offset rounds up: EasyNLP, appzoo/clip/data.py, `_center_crop`."""
    resized = _short_side(image, size)
    left, top = (int((length - size + 1) * 0.5) for length in resized.size)
    return _normalised(resized.crop((left, top, left + size, top + size)).convert("RGB"))


def rgb_then_crop(image: Image.Image, size: int) -> torch.Tensor:
    """RGB, short side, then centre crop; the offset rounds down: transformers' CLIP image processor."""
    resized = _short_side(image.convert("RGB"), size)
    left, top = ((length - size) // 2 for length in resized.size)
    return _normalised(resized.crop((left, top, left + size, top + size)))


def _short_side(image: Image.Image, size: int) -> Image.Image:
    """Bicubic, the short side to `size`; both libraries truncate the long side to a whole number."""
    short, long = sorted(image.size)
    scaled = int(size * long / short)
    width, height = image.size
    return image.resize((size, scaled) if width <= height else (scaled, size), Image.Resampling.BICUBIC)


def _normalised(image: Image.Image) -> torch.Tensor:
    """`(3, height, width)`: bytes / 255, then (x - mean) / std, each step in float32."""
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    scaled = data.view(image.height, image.width, 3).permute(2, 0, 1).to(torch.float32) / 255
    return ((scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).contiguous()
