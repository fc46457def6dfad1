"""The inputs of a comparison: texts that meet every rule of a tokenizer, and pictures of every mode."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

TEXTS = (
    "杰尼龟",
    "一只猫",
    "两只可爱的小狗在草地上奔跑，远处有一棵大树。",
    "CLIP模型 ViT-B/16, 2022年！",
    "“弯引号”……与—破折号",
    "[MASK]不是掩码，[SEP]也不是",
    "Ünïcödé café ΑΒΓ １２３ 😀",
    "  tabs\tand\nlines  ",
    "supercalifragilisticexpialidocious" * 5,
    "很长的句子要被截断" * 80,
)

HOLDING_PADDING = ("猫[PAD]狗", "两只 <pad> 可爱的小狗")
"""Texts that hold the padding token of BERT's or of XLM-R's tokenizer: a mask made from ids hides it, another not."""

EMBEDDED = 4
"""The number of pictures, from the first, that the towers also embed."""

PROVED_TEXTS = 5
"""The number of texts, from the first, that the towers embed in float64; a few texts prove as much as many."""


CHINESE_NAMES = {
    "P with transparency 120x90": "P（带透明色）120x90",
    "EXIF-rotated 140x60": "带 EXIF 旋转标记 140x60",
}
"""Chinese names of the pictures that are named by more than mode and size."""


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures, the same on every machine, in the modes and shapes that pipelines treat differently."""
    rgb = _picture(227, 224)
    yield "RGB 227x224", rgb
    yield "RGBA 160x240", transparent_picture(160, 240)
    yield "L 300x200", _picture(300, 200).convert("L")
    yield "P with transparency 120x90", _palette()
    yield "LA 90x120", _with_alpha(_picture(90, 120)).convert("LA")
    yield "1 100x80", _picture(100, 80).convert("L").point(lambda value: 255 * (value > 127), mode="1")
    yield "I;16 80x100", _sixteen_bit()
    yield "CMYK 110x70", _picture(110, 70).convert("CMYK")
    yield "EXIF-rotated 140x60", _rotated()
    yield "RGB 1x1", Image.new("RGB", (1, 1), (200, 30, 90))
    yield "RGB 2000x20", _picture(2000, 20)


def transparent_picture(width: int, height: int) -> Image.Image:
    """An RGBA picture whose alpha grows from left to right."""
    return _with_alpha(_picture(width, height))


def _picture(width: int, height: int) -> Image.Image:
    # Plain integer arithmetic, so that no library version can change a byte.
    y, x, channel = np.ogrid[:height, :width, :3]
    values = (x * x // 3 + 7 * y * (1 + channel) + (x * y >> 3) * (channel + 2)) % 256
    return Image.frombytes("RGB", (width, height), values.astype(np.uint8).tobytes())


def _with_alpha(image: Image.Image) -> Image.Image:
    width, height = image.size
    alpha = Image.frombytes(
        "L", image.size, bytes(255 * x // max(width - 1, 1) for _ in range(height) for x in range(width))
    )
    image.putalpha(alpha)
    return image


def _palette() -> Image.Image:
    image = Image.frombytes("P", (120, 90), bytes((x // 5 + y // 7) % 16 for y in range(90) for x in range(120)))
    image.putpalette([value for n in range(16) for value in (16 * n, 255 - 16 * n, (80 * n) % 256)])
    image.info["transparency"] = 3
    return image


def _sixteen_bit() -> Image.Image:
    values = ((x * 641 + y * 257) % 65536 for y in range(100) for x in range(80))
    return Image.frombytes("I;16", (80, 100), b"".join(value.to_bytes(2, "little") for value in values))


def _rotated() -> Image.Image:
    image = _picture(140, 60)
    image.getexif()[0x0112] = 6  # "rotate by 90 degrees", which the originals ignore
    return image
