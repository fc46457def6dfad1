"""The image processor: five image orders. Each order is bit-identical to the pipeline of the families that use it."""

import base64
import binascii
import os
from collections.abc import Callable
from io import BytesIO
from typing import TypedDict

import numpy as np
import PIL.Image
from huggingface_hub import get_session
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
    infer_channel_dimension_format,
)
from transformers.utils import TensorType

from .compat_zhclip import PilBackend, SizeDict
from .configuration_zhclip import other_image_processor
from .saving_zhclip import SavesProcessorCode

ImageStep = Callable[[PIL.Image.Image, SizeDict, int], PIL.Image.Image]


def to_rgb(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Drops alpha, as the authors' code does; transformers 5 composites it on white.
    return image.convert("RGB")


def _squash(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Whatever the filter, Pillow resizes RGBA and LA with premultiplied alpha, and P and 1 by the nearest pixel.
    return image.resize((size.width, size.height), resample)


def shorten(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    short, width, height = size.height, *image.size
    if width <= height:
        return image.resize((short, int(short * height / width)), resample)
    return image.resize((int(short * width / height), short), resample)


def crop_rounded(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Half to even: torchvision/transforms/functional.py, center_crop.
    return _crop(image, size, round((image.width - size.width) / 2), round((image.height - size.height) / 2))


def _crop_floored(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Rounded down: transformers/image_transforms.py, center_crop.
    return _crop(image, size, (image.width - size.width) // 2, (image.height - size.height) // 2)


def crop_up(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Rounded up: EasyNLP, easynlp/appzoo/clip/data.py, _center_crop.
    return _crop(image, size, (image.width - size.width + 1) // 2, (image.height - size.height + 1) // 2)


def _crop(image: PIL.Image.Image, size: SizeDict, left: int, top: int) -> PIL.Image.Image:
    return image.crop((left, top, left + size.width, top + size.height))


IMAGE_ORDERS: dict[str, tuple[ImageStep, ...]] = {
    "squash_then_rgb": (_squash, to_rgb),
    "rgb_then_squash": (to_rgb, _squash),
    "crop_then_rgb": (shorten, crop_rounded, to_rgb),
    "rgb_then_crop": (to_rgb, shorten, _crop_floored),
    "crop_up_then_rgb": (shorten, crop_up, to_rgb),
}
"""The steps of each image order, for a picture of any Pillow mode."""

SQUARE_ORDERS = tuple(order for order, steps in IMAGE_ORDERS.items() if shorten in steps)
"""The orders that use a single number for the short side and for the crop."""


class ZhCLIPImagesKwargs(TypedDict, total=False):
    """The options of a call; all but the last two are also settings of the processor."""

    image_order: str | None
    size: int | dict | None
    resample: PILImageResampling | int | None
    image_mean: list | tuple | None
    image_std: list | tuple | None
    input_data_format: str | ChannelDimension | None
    return_tensors: str | TensorType | None


class ZhCLIPImageProcessor(SavesProcessorCode, PilBackend):
    """Turns pictures into pixel values, by the steps with which the checkpoint was trained.

    A call takes one picture or a list of them: Pillow images of any mode, paths, http(s) URLs, base64 text, or uint8
    RGB arrays and tensors, `(height, width, 3)` or `(3, height, width)` (`input_data_format` settles a doubt). The
    call returns `pixel_values`, `(batch, 3, height, width)` float32: `(value / 255 - mean) / std`. A call can override
    every setting.

    Alpha is dropped and an EXIF orientation is not applied, as in the original pipelines. A path or a URL gives the
    numbers of `PIL.Image.open`. transformers' pipelines call `transformers.image_utils.load_image` instead, which
    turns the picture upright and makes it RGB before the steps here.

    Args:
        image_order: a key of `IMAGE_ORDERS`. It is a fact of the checkpoint and has no default.
        size: `{"height": n, "width": n}` in pixels, or n; a square for the orders that crop. It is a fact of the
            checkpoint and has no default.
        resample: Pillow's filter; by default bicubic, which every CLIP uses.
        image_mean: red, green and blue, on a scale of 0 to 1; by default OpenAI CLIP's mean, which every family uses.
        image_std: the standard deviation, like the mean.

    Raises:
        ValueError: `image_order` or `size` is missing or has no valid value.
    """

    valid_kwargs = ZhCLIPImagesKwargs
    model_input_names = ["pixel_values"]
    resample = PILImageResampling.BICUBIC
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD

    def __init__(self, **kwargs):
        kwargs.pop("auto_map", None)  # saving writes it anew
        super().__init__(**kwargs)

    @classmethod
    def get_image_processor_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads the settings as every image processor does, and refuses the settings of another class.

        Raises:
            ValueError: the settings are another class's, and neither they nor the caller state an `image_order`.
        """
        fields, kwargs = super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)
        found = fields.get("image_processor_type") or "image processor without a name"
        if found != cls.__name__ and "image_order" not in {**fields, **kwargs}:
            raise ValueError(other_image_processor(pretrained_model_name_or_path, found))
        return fields, kwargs

    def preprocess(self, images, **kwargs) -> BatchFeature:
        """Prepares pictures; a call of the processor calls this method.

        Raises:
            TypeError: an option is given that this processor does not have.
            ValueError: a picture or an option cannot be used.
        """
        options = ZhCLIPImagesKwargs.__annotations__
        if unknown := sorted(kwargs.keys() - options.keys()):
            raise TypeError(
                f"found the option {', '.join(unknown)}; the options are {', '.join(options)}. The steps themselves "
                f"(resize, crop, RGB, rescale, normalise) are fixed by image_order={self.image_order!r}."
            )
        return super().preprocess(images, **kwargs)

    def fetch_images(self, image_url_or_urls):
        """Opens paths, URLs and base64 text and leaves the pictures as they are; everything else passes through."""
        if isinstance(image_url_or_urls, list | tuple):
            return [self.fetch_images(each) for each in image_url_or_urls]
        if isinstance(image_url_or_urls, str | os.PathLike):
            return _open(os.fspath(image_url_or_urls))
        return super().fetch_images(image_url_or_urls)

    def process_image(self, image, image_order, size, resample, input_data_format=None, **kwargs) -> np.ndarray:
        """A picture after the steps of the order: uint8, `(height, width, 3)`."""
        image = image if isinstance(image, PIL.Image.Image) else _from_array(image, input_data_format)
        for step in IMAGE_ORDERS[image_order]:
            image = step(image, size, resample)
        return np.asarray(image)

    def _preprocess(self, images, size, image_mean, image_std, return_tensors, **kwargs) -> BatchFeature:
        mean = np.asarray(image_mean, dtype=np.float32).reshape(3, 1, 1)
        std = np.asarray(image_std, dtype=np.float32).reshape(3, 1, 1)
        pixels = np.empty((len(images), 3, size.height, size.width), dtype=np.float32)
        for picture, image in zip(pixels, images, strict=True):
            # float32, and in this order: this gives the bits of torchvision's ToTensor and Normalize, and of
            # transformers' numpy.
            np.divide(image.transpose(2, 0, 1), np.float32(255), out=picture)
            picture -= mean
            picture /= std
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)

    def _standardize_kwargs(self, image_order=None, size=None, **kwargs) -> dict:
        if image_order not in IMAGE_ORDERS:
            raise ValueError(
                f"found image_order={image_order!r}, wanted one of {', '.join(IMAGE_ORDERS)}. It is a fact of the "
                "checkpoint: take it from the repo's processor_config.json or from its card."
            )
        size = _size(size)
        if image_order in SQUARE_ORDERS and size.height != size.width:
            raise ValueError(f"found a size of {size.height} x {size.width}, wanted a square for {image_order}.")
        return super()._standardize_kwargs(size=size, **kwargs) | {"image_order": image_order}


def _size(size: int | dict | SizeDict | None) -> SizeDict:
    sides = {"height": size, "width": size} if isinstance(size, int) else dict(size or {})
    if sides.keys() != {"height", "width"} or min(sides.values()) < 1:
        raise ValueError(f'found size={size!r}, wanted {{"height": n, "width": n}} in pixels, or n.')
    return SizeDict(**sides)


def _open(source: str) -> PIL.Image.Image:
    if source.startswith(("http://", "https://")):
        response = get_session().get(source)
        response.raise_for_status()
        file: str | BytesIO = BytesIO(response.content)
    elif os.path.isfile(source):
        file = source
    else:
        file = BytesIO(_decode(source))
    try:
        with PIL.Image.open(file) as image:
            image.load()
            return image
    except PIL.UnidentifiedImageError as error:
        shown = source if file is source else source[:80]  # base64 text can be very long; a path is shown whole
        raise ValueError(_NO_PICTURE.format(shown)) from error


def _decode(source: str) -> bytes:
    text = source.partition(",")[2] if source.startswith("data:image/") else source
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(_NO_PICTURE.format(source[:80])) from error


_NO_PICTURE = "found {!r}, wanted the path of an existing picture, an http(s) URL, or a picture as base64 text."


def _from_array(image, input_data_format: str | ChannelDimension | None) -> PIL.Image.Image:
    array = image if isinstance(image, np.ndarray) else image.cpu().numpy()
    if array.dtype != np.uint8 or 3 not in (array.shape[0], array.shape[-1]):
        raise ValueError(
            f"found an array of {array.dtype}, {array.shape}; wanted uint8 RGB values, (height, width, 3) or "
            "(3, height, width). Give any other picture as a Pillow image: its mode says what its values mean."
        )
    layout = input_data_format or infer_channel_dimension_format(array, num_channels=3)
    return PIL.Image.fromarray(np.moveaxis(array, 0, -1) if layout == ChannelDimension.FIRST else array)


def _files_that_come_along() -> None:
    """Is never called; `CODE_FILES` in saving_zhclip.py says why it is here."""
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .modeling_zhclip_resnet import ZhCLIPResNetModel  # noqa: F401
    from .processing_zhclip import ZhCLIPProcessor  # noqa: F401
