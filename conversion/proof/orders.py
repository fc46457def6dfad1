"""Pictures that distinguish every two image orders at a model's own size; found by trial, not listed."""

from collections.abc import Iterator
from itertools import combinations

from PIL import Image
from transformers.image_utils import PILImageResampling, SizeDict

from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS

from . import samples

MOST_WIDER = 64
"""The most pixels by which a tried picture is wider than high; a crop splits an odd number unevenly."""


def telling_pictures(size: int) -> list[tuple[str, Image.Image]]:
    """Names and pictures: for any two orders, at least one picture gives different pixels.

    Args:
        size: the side of the model's square input, in pixels.

    Raises:
        LookupError: no such pictures were found.
    """
    taken, left = [], set(combinations(IMAGE_ORDERS, 2))
    for name, picture in _tried(size):
        prepared = _prepared(picture, size)
        if told := {(a, b) for a, b in left if prepared[a] != prepared[b]}:
            taken.append((name, picture))
            left -= told
        if not left:
            return taken
    raise LookupError(f"no picture that tells {left.pop()} apart at {size} pixels")


def _tried(size: int) -> Iterator[tuple[str, Image.Image]]:
    # With transparency, which shows whether a picture is converted to RGB before or after resizing.
    for wider in range(1, MOST_WIDER):
        yield f"RGBA {size + wider}x{size}", samples.transparent_picture(size + wider, size)


def _prepared(picture: Image.Image, size: int) -> dict[str, bytes]:
    square = SizeDict(height=size, width=size)
    return {order: _through(steps, picture, square).tobytes() for order, steps in IMAGE_ORDERS.items()}


def _through(steps: tuple, picture: Image.Image, size: SizeDict) -> Image.Image:
    for step in steps:
        picture = step(picture, size, PILImageResampling.BICUBIC)
    return picture
