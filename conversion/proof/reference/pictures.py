"""A Pillow image -> normalised pixels, in the orders of the originals' own code.

With transparency, a palette or one bit a pixel, resizing in the picture's own mode and resizing its RGB form give
different pixels, so the order matters. `convert` drops alpha, and never composites it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FACTOR = 1 / 255

ROUNDED = 1e-6
"""Files round numbers by this much."""

Size = int | tuple[int, int]
"""A short side, or height and width, in pixels."""


@dataclass(frozen=True)
class How:
    """What a folder states of its pictures. Without `shape` the family alone says how a picture becomes a square.

    `shape` is the size to which a picture is resized, and the height and width of the crop, or None without a crop.
    """

    shape: tuple[Size, tuple[int, int] | None] | None = None
    filter: int = Image.Resampling.BICUBIC
    factor: float = FACTOR
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD


CLIP = How()
"""CLIP's own numbers, for families whose folders state nothing."""

OF_CLASS: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "do_rescale": True,
    "rescale_factor": FACTOR,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "do_convert_rgb": True,
}
"""CLIPImageProcessor's defaults (transformers, models/clip/image_processing_clip.py), for what a file leaves out."""

NEEDED = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")
"""Steps that every family here makes; a file that switches such a step off states another preparation."""


def stated(fields: Mapping[str, Any] | None) -> How:
    """What the fields of an image processor state; None: no file states anything.

    Raises:
        ValueError: a field has a value that is not computed here.
    """
    if fields is None:
        return CLIP
    found = {name: otherwise if fields.get(name) is None else fields[name] for name, otherwise in OF_CLASS.items()}
    if off := [name for name in NEEDED if found[name] is not True]:
        raise ValueError(f"the image processor states {off[0]} {found[off[0]]!r}; this reference makes that step")
    crop = _sides(found["crop_size"], "crop_size") if found["do_center_crop"] else None
    numbers = {"factor": ("rescale_factor", FACTOR), "mean": ("image_mean", MEAN), "std": ("image_std", STD)}
    return How(
        shape=(_size(found["size"]), crop),
        filter=_filter(found["resample"]),
        **{name: _rounded(found[field], due, field) for name, (field, due) in numbers.items()},
    )


def _size(value: Any) -> Size:
    if isinstance(value, Mapping) and "shortest_edge" in value:
        return _whole(value["shortest_edge"], "size")
    # Before transformers 4.25 a size was one number, the short side.
    return _whole(value, "size") if isinstance(value, int) else _sides(value, "size")


def _sides(value: Any, name: str) -> tuple[int, int]:
    height, width = (value.get(side) for side in ("height", "width")) if isinstance(value, Mapping) else (value, value)
    return _whole(height, name), _whole(width, name)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 < value < 1 << 16:
        raise ValueError(f"the image processor states {name} {value!r}; a number of pixels was wanted")
    return value


def _filter(value: Any) -> int:
    if value not in list(Image.Resampling):
        raise ValueError(f"the image processor states resample {value!r}; Pillow's filters are 0 to 5")
    return int(value)


def _rounded(value: Any, due: Any, name: str) -> Any:
    """The stated numbers, or CLIP's where the file only rounds them."""
    values, numbers = (tuple(each) if isinstance(each, (list, tuple)) else (each,) for each in (value, due))
    if len(values) != len(numbers) or any(type(each) not in (int, float) for each in values):
        raise ValueError(f"the image processor states {name} {value!r}; {len(numbers)} numbers were wanted")
    if all(abs(a - b) <= ROUNDED for a, b in zip(values, numbers, strict=True)):
        return due
    return values if isinstance(due, tuple) else values[0]


def squash_then_rgb(image: Image.Image, size: int, how: How = CLIP) -> torch.Tensor:
    """Resizes to a square whatever the aspect ratio, then RGB: cn_clip/clip/utils.py, `image_transform`."""
    return _normalised(_squashed(image, size, how).convert("RGB"), how)


def rgb_then_squash(image: Image.Image, size: int, how: How = CLIP) -> torch.Tensor:
    """RGB, then a square whatever the aspect ratio, as in R2D2 (prd2_inference_demo.py) and ChineseCLIP."""
    return _normalised(_squashed(image.convert("RGB"), size, how), how)


def crop_then_rgb(image: Image.Image, size: int, how: How = CLIP) -> torch.Tensor:
    """Short side, centre crop, then RGB; the offset rounds half to even: torchvision, transforms/functional.py."""
    return _normalised(_cropped(image, size, how, _half_to_even).convert("RGB"), how)


def crop_up_then_rgb(image: Image.Image, size: int, how: How = CLIP) -> torch.Tensor:
    """Short side, centre crop, then RGB; the offset rounds up: EasyNLP, appzoo/clip/data.py, `_center_crop`."""
    return _normalised(_cropped(image, size, how, _up).convert("RGB"), how)


def rgb_then_crop(image: Image.Image, size: int, how: How = CLIP) -> torch.Tensor:
    """RGB, short side, then centre crop; the offset rounds down: transformers' CLIP image processor."""
    return _normalised(_cropped(image.convert("RGB"), size, how, _down), how)


Offset = Callable[[int], int]
"""The pixels beside a picture's crop, both sides together -> the pixels on the left."""


def _half_to_even(beside: int) -> int:
    return int(round(beside / 2.0))


def _up(beside: int) -> int:
    return int((beside + 1) * 0.5)


def _down(beside: int) -> int:
    return beside // 2


def _squashed(image: Image.Image, size: int, how: How) -> Image.Image:
    return _shaped(image, how.shape or ((size, size), None), how, _down)


def _cropped(image: Image.Image, size: int, how: How, offset: Offset) -> Image.Image:
    return _shaped(image, how.shape or (size, (size, size)), how, offset)


def _shaped(image: Image.Image, shape: tuple[Size, tuple[int, int] | None], how: How, offset: Offset) -> Image.Image:
    size, crop = shape
    if isinstance(size, int):
        resized = _short_side(image, size, how.filter)
    else:
        resized = image.resize((size[1], size[0]), how.filter)
    if crop is None:
        return resized
    height, width = crop
    left, top = offset(resized.width - width), offset(resized.height - height)
    return resized.crop((left, top, left + width, top + height))


def _short_side(image: Image.Image, size: int, filter: int) -> Image.Image:
    """The short side to `size`; both libraries truncate the long side to a whole number."""
    short, long = sorted(image.size)
    scaled = int(size * long / short)
    width, height = image.size
    return image.resize((size, scaled) if width <= height else (scaled, size), filter)


def _normalised(image: Image.Image, how: How) -> torch.Tensor:
    """`(3, height, width)`: bytes times the factor, then (x - mean) / std, each step in float32."""
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    values = data.view(image.height, image.width, 3).permute(2, 0, 1).to(torch.float32)
    scaled = values / 255 if how.factor == FACTOR else values * how.factor
    return ((scaled - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.std).view(3, 1, 1)).contiguous()
