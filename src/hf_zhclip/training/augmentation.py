"""cn_clip's augmentation of training pictures: crop, flip, and the policies of AutoAugment.

Source: `_build_transform` in cn_clip/training/data.py, which asks timm for RandomResizedCrop with a scale of 0.9 to 1,
a flip, and AutoAugment's ImageNet policy (Cubuk et al., 2018, arXiv:1805.09501). The random numbers are asked for in
timm's order.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageEnhance, ImageOps

SCALE = (0.9, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
FLIPPED = 0.5
"""The share of pictures that are mirrored; harmful where texts name left and right, or letters matter."""

LEVELS = 10
"""The strongest level of a change."""

POLICIES: Sequence[Sequence[tuple[str, float, int]]] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
"""AutoAugment's policies for ImageNet: two changes each, with their probability and level."""


@dataclass(frozen=True)
class Augmentation:
    """A random change of a picture: any picture -> RGB of `size` by `size`.

    `fill` is the colour of corners that a rotation uncovers. The random numbers come from torch's generator, so that a
    resumed training draws the same. With `crops_only`, the picture is only cropped, as Taiyi's clip_finetune does.
    """

    size: int
    fill: tuple[int, int, int]
    crops_only: bool = False

    def __call__(self, picture: Image.Image) -> Image.Image:
        draw = random.Random(int(torch.randint(2**62, ()).item()))
        picture = cropped(picture, self.size, draw)
        if self.crops_only:
            return picture.convert("RGB")
        if draw.random() < FLIPPED:
            picture = ImageOps.mirror(picture)
        return changed(picture.convert("RGB"), self.fill, draw)


def of_processor(image_processor: object, crops_only: bool) -> Augmentation:
    """The augmentation for a processor's size; corners get its mean colour."""
    size, mean = image_processor.size, image_processor.image_mean  # type: ignore[attr-defined]
    red, green, blue = (min(255, round(255 * value)) for value in mean)
    return Augmentation(size["height"], (red, green, blue), crops_only)


def cropped(picture: Image.Image, size: int, draw: random.Random) -> Image.Image:
    """A random part of the picture, resized to a square."""
    left, top, width, height = _part(*picture.size, draw)
    return picture.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)


def _part(width: int, height: int, draw: random.Random) -> tuple[int, int, int, int]:
    for _ in range(TRIES):
        area = draw.uniform(*SCALE) * width * height
        ratio = math.exp(draw.uniform(*map(math.log, RATIO)))
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if part_width <= width and part_height <= height:
            top = draw.randint(0, height - part_height)
            return draw.randint(0, width - part_width), top, part_width, part_height
    # The whole picture, or its middle where it is too narrow or too wide.
    part_width = min(width, round(height * RATIO[1]))
    part_height = min(height, round(width / RATIO[0]))
    return (width - part_width) // 2, (height - part_height) // 2, part_width, part_height


def changed(picture: Image.Image, fill: tuple[int, int, int], draw: random.Random) -> Image.Image:
    """An RGB picture after the two changes of a random policy."""
    for name, probability, level in draw.choice(POLICIES):
        if probability < 1 and draw.random() > probability:
            continue
        picture = CHANGES[name](picture, level / LEVELS, fill, draw)
    return picture


Change = Callable[[Image.Image, float, tuple[int, int, int], random.Random], Image.Image]


def _either_way(value: float, draw: random.Random) -> float:
    return -value if draw.random() > 0.5 else value


def _rotate(picture: Image.Image, level: float, fill: tuple[int, int, int], draw: random.Random) -> Image.Image:
    return picture.rotate(_either_way(30 * level, draw), Image.Resampling.BICUBIC, fillcolor=fill)


def _shear_x(picture: Image.Image, level: float, fill: tuple[int, int, int], draw: random.Random) -> Image.Image:
    matrix = (1, _either_way(0.3 * level, draw), 0, 0, 1, 0)
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC, fillcolor=fill
    )


def _posterize(picture: Image.Image, level: float, fill: tuple[int, int, int], draw: random.Random) -> Image.Image:
    bits = int(4 * level) + 4
    return picture if bits >= 8 else ImageOps.posterize(picture, bits)


def _enhanced(enhance: Callable[[Image.Image], ImageEnhance._Enhance]) -> Change:
    return lambda picture, level, fill, draw: enhance(picture).enhance(1.8 * level + 0.1)


CHANGES: Mapping[str, Change] = {
    "autocontrast": lambda picture, level, fill, draw: ImageOps.autocontrast(picture),
    "equalize": lambda picture, level, fill, draw: ImageOps.equalize(picture),
    "invert": lambda picture, level, fill, draw: ImageOps.invert(picture),
    "solarize": lambda picture, level, fill, draw: ImageOps.solarize(picture, min(256, int(256 * level))),
    "posterize": _posterize,
    "rotate": _rotate,
    "shear_x": _shear_x,
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
}
