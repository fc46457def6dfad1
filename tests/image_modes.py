"""Pictures of every Pillow mode that a dataset may hold, drawn by integer arithmetic: the same on every machine."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
"""The EXIF tag that says how to turn a photo upright."""


def values(width: int, height: int, channels: int, levels: int = 256) -> np.ndarray:
    """Slopes with noise on top, so that every filter, crop and rounding shows; `(height, width, channels)`, int64."""
    y, x, c = np.ogrid[:height, :width, :channels]
    noise = ((x * 7919 + y * 104729 + c * 1299709 + 12345) * 2654435761 >> 11) % (levels // 4)
    slope = (x * (5 + c) * levels // 512 + y * (3 + 2 * c) * levels // 512) % levels
    return np.minimum(slope * 3 // 4 + noise, levels - 1)


def rgb(width: int, height: int) -> Image.Image:
    return Image.fromarray(values(width, height, 3).astype(np.uint8))


def with_alpha(channels: int) -> Image.Image:
    """Half-transparent, with a corner that is wholly transparent and still has colours."""
    picture = values(97, 61, channels).astype(np.uint8)
    picture[:20, :30, -1] = 0
    picture[40:, 50:, -1] = 255
    return Image.frombytes("RGBA" if channels == 4 else "LA", (97, 61), picture.tobytes())


def palette(transparency: int | bytes | None) -> Image.Image:
    picture = Image.frombytes("P", (97, 61), values(97, 61, 1, levels=64).astype(np.uint8).tobytes())
    picture.putpalette([(index * step + 40) % 256 for index in range(256) for step in (7, 91, 173)])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


def photo_on_its_side() -> Image.Image:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = BytesIO()
    rgb(97, 61).save(file, "PNG", exif=exif)
    return Image.open(file)


def of_mode(mode: str) -> Image.Image:
    return rgb(97, 61).convert(mode)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "RGB 97x61": lambda: rgb(97, 61),
    "RGB 224x224": lambda: rgb(224, 224),
    "RGB 227x224": lambda: rgb(227, 224),
    "RGB 224x229": lambda: rgb(224, 229),
    "RGB 640x427": lambda: rgb(640, 427),
    "RGB 1x1": lambda: rgb(1, 1),
    "RGB 2000x20": lambda: rgb(2000, 20),
    "RGB 20x2000": lambda: rgb(20, 2000),
    "RGB on its side": photo_on_its_side,
    "RGBA": lambda: with_alpha(4),
    "LA": lambda: with_alpha(2),
    "L": lambda: of_mode("L"),
    "P": lambda: palette(None),
    "P, one colour transparent": lambda: palette(3),
    "P, alpha for each colour": lambda: palette(bytes(range(0, 256, 4))),
    "1": lambda: of_mode("1"),
    "I;16": lambda: Image.fromarray(values(97, 61, 1, levels=65536)[..., 0].astype(np.uint16)),
    "I": lambda: Image.fromarray(values(97, 61, 1)[..., 0].astype(np.int32)),
    "CMYK": lambda: of_mode("CMYK"),
    "YCbCr": lambda: of_mode("YCbCr"),
    "HSV": lambda: of_mode("HSV"),
}
