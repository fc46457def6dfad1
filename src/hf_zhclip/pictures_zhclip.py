"""Pictures in every form that people hold: files, bytes, arrays. Nothing here changes a pixel."""

import base64
import binascii
import os
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import torch
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format

FORMS = "a Pillow image, the path of a picture, its bytes, an open binary file, an array or a tensor"


def flat_pictures(images: Any) -> list[PIL.Image.Image | np.ndarray | torch.Tensor]:
    """One picture or (nested) lists of pictures as a flat list.

    Files and bytes are opened. Arrays are left as they are; an array with four dimensions is a batch of pictures.

    Raises:
        TypeError: something else than a picture is given.
        ValueError: a text or a file leads to no picture.
    """
    if isinstance(images, list | tuple):
        return [picture for each in images for picture in flat_pictures(each)]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return [open_picture(images)]


def open_picture(source: Any) -> PIL.Image.Image | np.ndarray | torch.Tensor:
    """Opens a path, base64 text, bytes or an open binary file; Pillow images and arrays pass through.

    Nothing is fetched from a network.

    Raises:
        TypeError: the source has another type.
        ValueError: the source leads to no picture, or the picture is cut off.
    """
    if isinstance(source, PIL.Image.Image):
        return _loaded(source, repr(getattr(source, "filename", "") or "a Pillow image"), _CLOSED)
    if isinstance(source, np.ndarray | torch.Tensor):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return read_picture(BytesIO(source), f"{len(source)} bytes")
    if hasattr(source, "read"):
        return read_picture(source, f"the open file {getattr(source, 'name', type(source).__name__)!r}")
    if isinstance(source, os.PathLike):
        return open_file(os.fspath(source))
    if not isinstance(source, str):
        raise TypeError(f"found a {type(source).__name__}; wanted {FORMS}, or a list of them.")
    return open_file(source) if os.path.isfile(source) else _from_base64(source)


def open_file(path: str | bytes) -> PIL.Image.Image:
    """Opens the picture at a path.

    Raises:
        ValueError: there is no such file, or the file holds no whole picture; the message names the path.
    """
    if not os.path.isfile(path):
        raise ValueError(_NO_FILE.format(repr(path)))
    with open(path, "rb") as file:
        return read_picture(file, repr(path))


_NO_FILE = "found {}, wanted the path of an existing picture, an http(s) URL, or a picture as base64 text."
_NO_PICTURE = "found {}, which holds no picture in a format that Pillow reads."
_DAMAGED = "found {}, which cannot be read as a picture: {}. It may be cut off: fetch it again."
_CLOSED = "found {}, which cannot be read as a picture: {}. Open it again. If that fails, its file is cut off."


MOST_PIXELS, PIXELS_PER_BYTE = 2**26, 32
"""A picture may have 67 million pixels, and 32 more for each byte of its file: a photo has under 10 for each byte.

A small file may state any size. Pillow alone would take a file of 1 MB whose picture fills several gigabytes.
"""

MOST_LONG = 2**20
"""The longer side of a picture in pixels: for each of them, Pillow's filters take up to 48 bytes."""

COPIES = {"AVIF": 2, "WEBP": 3, "JPEG2000": 4}
"""Formats whose decoders hold a picture several times: a part of these pixels is the most."""

MOST_SCANS, MOST_SCANNED = 16, 2**32
"""A JPEG may have 16 scans; or more, if all of them pass over 4 billion pixels at most. Usual are 1 and 10."""

SCAN = b"\xff\xda"

HOLDERS = {
    **{b"\0\0\1\0": "ICO", b"icns": "ICNS", b"BLP": "BLP", b"SIMPLE": "FITS"},
    **{bytes((0x1C, record)): "IPTC" for record in range(1, 10)},
}
"""The first bytes of formats that hold a picture of another format, or packed bytes, whose size shows when it fills
memory."""


def _check_size(image: PIL.Image.Image, file: BinaryIO | BytesIO, shown: str) -> None:
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    most = (MOST_PIXELS + PIXELS_PER_BYTE * size) // COPIES.get(image.format or "", 1)
    pixels = image.width * image.height
    if pixels > most:
        raise ValueError(
            f"found {shown}, a picture of {image.width} x {image.height} pixels; at most {most:,} pixels were wanted "
            "for a file of this size."
        )
    if max(image.size) > MOST_LONG:
        raise ValueError(
            f"found {shown}, a picture of {image.width} x {image.height} pixels; a side of at most {MOST_LONG:,} was "
            "wanted."
        )
    if image.format in ("JPEG", "MPO") and (scans := _scans(file)) > MOST_SCANS and scans * pixels > MOST_SCANNED:
        raise ValueError(
            f"found {shown}, a JPEG of {scans:,} scans over {image.width} x {image.height} pixels; at most "
            f"{MOST_SCANS} scans were wanted for a picture of this size."
        )
    file.seek(place)


def _scans(file: BinaryIO | BytesIO) -> int:
    """The scans of a JPEG: no other place of its picture holds these two bytes."""
    file.seek(0)
    count, last = 0, b""
    while block := file.read(2**20):
        count += block.count(SCAN) + ((last + block[:1]) == SCAN)
        last = block[-1:]
    return count


def _check_holder(file: BinaryIO | BytesIO, shown: str) -> None:
    place = file.tell()
    head = file.read(8)
    file.seek(place)
    if kind := next((kind for start, kind in HOLDERS.items() if head.startswith(start)), None):
        raise ValueError(
            f"found {shown}, a file of the type {kind}, which is not read; a PNG, a JPEG or the like was wanted."
        )


def read_picture(file: BinaryIO | BytesIO, shown: str, unknown: str = _NO_PICTURE) -> PIL.Image.Image:
    """Reads a picture; `shown` names the file in messages, and `unknown` is the message for content of another kind.

    Raises:
        ValueError: the file holds no picture, or cannot be read to its end.
    """
    _check_holder(file, shown)
    try:
        image = PIL.Image.open(file)
    except PIL.UnidentifiedImageError as error:
        raise ValueError(unknown.format(shown)) from error
    except Exception as error:
        raise ValueError(_DAMAGED.format(shown, error)) from error
    with image:
        _check_size(image, file, shown)
        return _loaded(image, shown)


def _loaded(image: PIL.Image.Image, shown: str, damaged: str = _DAMAGED) -> PIL.Image.Image:
    try:
        image.load()
    except Exception as error:  # Pillow's readers raise many kinds, and their words name no file
        raise ValueError(damaged.format(shown, error)) from error
    return image


def _from_base64(source: str) -> PIL.Image.Image:
    text = source.partition(",")[2] if source.startswith("data:image/") else source
    shown = repr(source if len(source) <= 300 else f"{source[:80]}...")
    try:
        # Encoded first, because b64decode has no words for a text that is not ASCII, as many paths are.
        data = base64.b64decode("".join(text.split()).encode("utf-8", "surrogatepass"), validate=True)
    except binascii.Error as error:
        raise ValueError(_NO_FILE.format(shown)) from error
    return read_picture(BytesIO(data), shown, unknown=_NO_FILE)


def from_array(
    array: np.ndarray | torch.Tensor, input_data_format: str | ChannelDimension | None, rescaled: bool
) -> np.ndarray:
    """Checks an array or tensor and puts its channels last.

    Args:
        array: bytes, `(height, width)` for grey or `(height, width, 3)` or `(3, height, width)` for RGB. With
            `rescaled`, also numbers from 0 to 1 of any floating type.
        input_data_format: "channels_first" or "channels_last", where the shape leaves a doubt.
        rescaled: whether the caller said that the numbers are divided by 255 already.

    Returns:
        The array, `(height, width)` or `(height, width, 3)`, uint8 or float32.

    Raises:
        ValueError: the array has another shape or other values.
    """
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    floats = np.issubdtype(array.dtype, np.floating)
    channels = array.ndim == 2 or (array.ndim == 3 and 3 in (array.shape[0], array.shape[-1]))
    if not channels or 0 in array.shape or not (array.dtype == np.uint8 or (floats and rescaled)):
        raise ValueError(_NO_ARRAY.format(array.dtype, array.shape, _advice(array, floats, rescaled)))
    if floats and not (array.min() >= 0 and array.max() <= 1):  # NaN fails both comparisons
        raise ValueError(
            f"found an array of {array.dtype} with values from {array.min()} to {array.max()}; do_rescale=False says "
            "that the values are between 0 and 1."
        )
    array = array.astype(np.float32) if floats else array
    if array.ndim == 2:
        return array
    layout = ChannelDimension(input_data_format or infer_channel_dimension_format(array, num_channels=3))
    array = np.moveaxis(array, 0, -1) if layout == ChannelDimension.FIRST else array
    if array.shape[-1] != 3:
        raise ValueError(f"found {array.shape[-1]} channels by input_data_format={layout.value!r}, wanted 3.")
    return array


def _advice(array: np.ndarray, floats: bool, rescaled: bool) -> str:
    if 0 in array.shape:
        return "No side may be 0."
    if floats and not rescaled:
        return _advice_on_floats(array)
    return "Give any other picture as a Pillow image: its mode says what its values mean."


def _advice_on_floats(array: np.ndarray) -> str:
    low, high = array.min(), array.max()
    if low >= 0 and high <= 1:
        return (
            "The processor takes values between 0 and 1 with do_rescale=False: "
            "processor(images=..., do_rescale=False, return_tensors='pt')."
        )
    if low >= 0 and high <= 255:
        return "If the values are between 0 and 255, give them as bytes: uint8."
    return f"Values from {low} to {high} are no picture's: give the picture before it was normalised."


_NO_ARRAY = (
    "found an array of {}, {}; wanted uint8 RGB values, (height, width, 3) or (3, height, width), or uint8 grey "
    "values, (height, width). {}"
)
