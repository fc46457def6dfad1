"""Pictures of every kind that the image orders tell apart, the same bytes on every machine."""

import random
from collections.abc import Iterator

from PIL import Image

# (name, mode, width, height). 227 x 224 is where the two ways of rounding a crop part.
KINDS = (
    ("photo", "RGB", 320, 240),
    ("tall", "RGB", 150, 400),
    ("odd_crop", "RGB", 227, 224),
    ("exact", "RGB", 224, 224),
    ("transparent", "RGBA", 300, 260),
    ("grey_transparent", "LA", 260, 300),
    ("palette", "P", 280, 250),
    ("grey", "L", 200, 330),
    ("one_bit", "1", 240, 310),
    ("print", "CMYK", 250, 270),
    ("one_pixel", "RGB", 1, 1),
    ("ribbon", "RGB", 900, 20),
)
BYTES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
BLOCKS = 8


def seeded_pictures() -> Iterator[tuple[str, Image.Image]]:
    """Name and picture: random blocks with a fine random grain, so that resizing and cropping both show."""
    for name, mode, width, height in KINDS:
        if mode == "P":
            picture = _noise(name, "L", width, height).convert("P")
            picture.putpalette(random.Random(name).randbytes(768))
            picture.info["transparency"] = 7
        elif mode == "1":
            picture = _noise(name, "L", width, height).point(lambda value: 255 * (value > 127)).convert("1")
        else:
            picture = _noise(name, mode, width, height)
        yield name, picture


def _noise(name: str, mode: str, width: int, height: int) -> Image.Image:
    """Blocks in the upper bits, grain in the lower four; no resampling filter is involved."""
    generator = random.Random(name)
    blocks = generator.randbytes(BLOCKS * BLOCKS * BYTES[mode])
    coarse = Image.frombytes(mode, (BLOCKS, BLOCKS), blocks).resize((width, height), Image.Resampling.NEAREST)
    grain = generator.randbytes(width * height * BYTES[mode])
    upper, lower = (int.from_bytes(each, "big") for each in (coarse.tobytes(), grain))
    mixed = upper & int.from_bytes(b"\xf0" * len(grain), "big") | lower & int.from_bytes(b"\x0f" * len(grain), "big")
    return Image.frombytes(mode, (width, height), mixed.to_bytes(len(grain), "big"))
