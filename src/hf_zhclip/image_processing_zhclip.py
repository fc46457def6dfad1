"""The image processor: five image orders. Each order is bit-identical to the pipeline of the families that use it."""

from collections.abc import Callable, Collection
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import PIL.Image
from huggingface_hub import get_session
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
)
from transformers.processing_utils import ImagesKwargs
from transformers.utils import TensorType

from .compat_zhclip import PilBackend, SizeDict
from .configuration_zhclip import other_image_processor
from .pictures_zhclip import MOST_PIXELS, flat_pictures, from_array, open_picture, read_picture
from .saving_zhclip import SavesProcessorCode

if TYPE_CHECKING:  # not to check types: these lines bring all files, see saving_zhclip.py
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .modeling_zhclip_resnet import ZhCLIPResNetModel  # noqa: F401
    from .processing_zhclip import ZhCLIPProcessor  # noqa: F401
    from .typed_inputs_zhclip import Place  # noqa: F401

ImageStep = Callable[[PIL.Image.Image, SizeDict, int], PIL.Image.Image]


def to_rgb(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Drops alpha, as the authors' code does; transformers 5 composites it on white.
    return image.convert("RGB")


def _squash(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    # Whatever the filter, Pillow resizes RGBA and LA with premultiplied alpha, and P and 1 by the nearest pixel.
    return image.resize((size.width, size.height), resample)


def shorten(image: PIL.Image.Image, size: SizeDict, resample: int) -> PIL.Image.Image:
    short, width, height = size.height, *image.size
    wide, high = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if wide * high > MOST_PIXELS:  # a small file may hold a line of a million pixels
        raise ValueError(
            f"found a picture of {width} x {height} pixels, which has {wide:,} x {high:,} when its shorter side has "
            f"{short}; at most {MOST_PIXELS:,} pixels were wanted. Cut the picture to a shape that is less long."
        )
    return image.resize((wide, high), resample)


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
    """The options of a call; all but the last three are also settings of the processor."""

    image_order: str | None
    size: int | dict | None
    resample: PILImageResampling | int | None
    do_resize: bool | None
    do_rescale: bool | None
    do_normalize: bool | None
    image_mean: float | list | tuple | None
    image_std: float | list | tuple | None
    input_data_format: str | ChannelDimension | None
    return_tensors: str | TensorType | None
    device: Any


OPTIONS = tuple(ZhCLIPImagesKwargs.__annotations__)
SWITCHES = ("do_resize", "do_rescale", "do_normalize")

# What a saved file or an Auto class gives beside the options.
_SAVED = ("auto_map", "feature_extractor_type", "image_processor_type", "processor_class")
_LOADING = (
    *("backend", "code_revision", "return_unused_kwargs", "trust_remote_code", "use_fast"),
    # Before 5.0, also what finds the files.
    *("_from_auto", "_from_pipeline", "cache_dir", "force_download", "local_files_only", "proxies", "revision"),
    *("subfolder", "token"),
)


class ZhCLIPImageProcessor(SavesProcessorCode, PilBackend):
    """Turns pictures into pixel values, by the steps with which the checkpoint was trained.

    A call takes one picture or a list of them: Pillow images of any mode, paths, http(s) URLs, base64 text, bytes,
    open binary files, or arrays and tensors. An array holds uint8 RGB values, `(height, width, 3)` or
    `(3, height, width)` (`input_data_format` settles a doubt), or uint8 grey values, `(height, width)`. The call
    returns `pixel_values`, `(batch, 3, height, width)` float32: `(value / 255 - mean) / std`. A call can override
    every setting. An option that this class does not have is refused, wherever it is given.

    Alpha is dropped and an EXIF orientation is not applied, as in the original pipelines. A path or a URL gives the
    numbers of `PIL.Image.open`. transformers' pipelines call `transformers.image_utils.load_image` instead, which
    turns the picture upright and makes it RGB before the steps here.

    Args:
        image_order: a key of `IMAGE_ORDERS`. It is a fact of the checkpoint and has no default.
        size: `{"height": n, "width": n}` in pixels, or n; a square for the orders that crop. It is a fact of the
            checkpoint and has no default.
        resample: Pillow's filter; by default bicubic, which every CLIP uses.
        do_resize: with False, every picture has to have the size already; nothing is resized or cropped.
        do_rescale: with False, arrays hold floats from 0 to 1, which were divided by 255 already. A picture that is
            resized is rounded to bytes first, because every checkpoint was trained on resized bytes. Bytes are then
            only taken with `do_normalize=False`, and their pixels are 0 to 255.
        do_normalize: with False, the pixels are from 0 to 1.
        image_mean: red, green and blue, on a scale of 0 to 1; by default OpenAI CLIP's mean, which every family uses.
        image_std: the standard deviation, like the mean.
        device: where the result goes, with `return_tensors="pt"`; the steps run on the CPU.

    Raises:
        TypeError: an option is given that this class does not have.
        ValueError: `image_order` or `size` is missing, or an option has no valid value.
    """

    valid_kwargs = ZhCLIPImagesKwargs
    model_input_names = ["pixel_values"]
    resample = PILImageResampling.BICUBIC
    do_resize = do_rescale = do_normalize = True
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD

    def __init__(self, **kwargs):
        kwargs.pop("auto_map", None)  # saving writes it anew
        super().__init__(**kwargs)
        self._refuse_unknown(name for name in kwargs if name not in _SAVED)

    @classmethod
    def get_image_processor_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads the settings as every image processor does, and refuses the settings of another class.

        Raises:
            ValueError: the settings are another class's, and neither they nor the caller state an `image_order`.
        """
        # A pipeline also hands over the options of the model, and a ZhCLIPProcessor those of its tokenizer.
        shared = kwargs.get("_from_pipeline") is not None
        fields, kwargs = super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)
        found = fields.get("image_processor_type") or "image processor without a name"
        if found != cls.__name__ and "image_order" not in {**fields, **kwargs}:
            raise ValueError(other_image_processor(pretrained_model_name_or_path, found))
        if shared:
            kwargs = {name: value for name, value in kwargs.items() if name in _FOR_IMAGES}
        return fields, kwargs

    @classmethod
    def from_dict(cls, image_processor_dict, **kwargs):
        """Builds the processor from saved settings and from options that stand in for them.

        Raises:
            TypeError: an option is given that this class does not have, and `return_unused_kwargs` is not set.
        """
        options = {name: value for name, value in kwargs.items() if name not in _LOADING}
        unused = {name: value for name, value in options.items() if name not in OPTIONS}
        if not kwargs.get("return_unused_kwargs"):
            cls._refuse_unknown(unused)
        processor = cls(**image_processor_dict | {name: value for name, value in options.items() if name in OPTIONS})
        return (processor, unused) if kwargs.get("return_unused_kwargs") else processor

    @classmethod
    def _refuse_unknown(cls, names) -> None:
        if unknown := sorted(set(names) - set(OPTIONS)):
            raise TypeError(
                f"found the option {', '.join(unknown)}; the options are {', '.join(OPTIONS)}. The other steps (RGB, "
                "crop, division by 255) are fixed by image_order, which is a fact of the checkpoint."
            )

    def to_dict(self, **kwargs) -> dict[str, Any]:
        """The settings as they are saved: a step that is done is not written, nor is a device of this machine."""
        settings = super().to_dict(**kwargs)
        left_out = {"device"} | {switch for switch in SWITCHES if settings.get(switch) is True}
        return {name: value for name, value in settings.items() if name not in left_out}

    def preprocess(self, images, **kwargs) -> BatchFeature:
        """Prepares pictures; a call of the processor calls this method.

        Raises:
            TypeError: an option is given that this processor does not have.
            ValueError: a picture or an option cannot be used.
        """
        self._refuse_unknown(kwargs)
        # As when the processor is built, None stands for the setting.
        return super().preprocess(images, **{name: value for name, value in kwargs.items() if value is not None})

    def fetch_images(self, image_url_or_urls):
        """Opens paths, URLs, base64 text and bytes and leaves the pictures as they are; pictures pass through."""
        if isinstance(image_url_or_urls, list | tuple):
            return [self.fetch_images(each) for each in image_url_or_urls]
        if isinstance(image_url_or_urls, str) and image_url_or_urls.startswith(("http://", "https://")):
            return _fetched(image_url_or_urls)
        return open_picture(image_url_or_urls)

    def _prepare_images_structure(self, images, expected_ndims: int = 3) -> list:
        return flat_pictures(self.fetch_images(images))

    def process_image(
        self, image, image_order, size, resample, do_resize, do_rescale, input_data_format=None, **kwargs
    ) -> np.ndarray:
        """A picture after the steps of the order: `(height, width, 3)`, uint8, or float32 if nothing had to resize."""
        if isinstance(image, PIL.Image.Image):
            floats, (width, height) = False, image.size
        else:
            image = from_array(image, input_data_format, rescaled=not do_rescale)
            floats, (height, width) = image.dtype != np.uint8, image.shape[:2]
        _check_size(width, height, None if do_resize else size)
        if floats and not do_resize:
            return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
        if not isinstance(image, PIL.Image.Image):
            image = PIL.Image.fromarray(np.rint(image * np.float32(255)).astype(np.uint8) if floats else image)
        for step in IMAGE_ORDERS[image_order] if do_resize else (to_rgb,):
            image = step(image, size, resample)
        pixels = np.asarray(image)
        return pixels.astype(np.float32) / np.float32(255) if floats else pixels

    def _preprocess(
        self,
        images,
        size,
        do_rescale,
        do_normalize,
        image_mean,
        image_std,
        return_tensors=None,
        device=None,
        **kwargs,
    ) -> BatchFeature:
        mean = np.asarray(image_mean, dtype=np.float32).reshape(3, 1, 1)
        std = np.asarray(image_std, dtype=np.float32).reshape(3, 1, 1)
        pixels = np.empty((len(images), 3, size.height, size.width), dtype=np.float32)
        for picture, image in zip(pixels, images, strict=True):
            if not do_rescale and do_normalize and image.dtype == np.uint8:
                raise ValueError(_BYTES_NOT_RESCALED)
            # float32, and in this order: this gives the bits of torchvision's ToTensor and Normalize, and of
            # transformers' numpy.
            np.divide(image.transpose(2, 0, 1), np.float32(255 if do_rescale else 1), out=picture)
            if do_normalize:
                picture -= mean
                picture /= std
        prepared = BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)
        return prepared if device is None else prepared.to(device)

    def _validate_preprocess_kwargs(self, return_tensors=None, device=None, **kwargs) -> None:
        # transformers' own check asks for a rescale_factor, which is no option here.
        if device is not None and return_tensors not in ("pt", TensorType.PYTORCH):
            raise ValueError(f'found device={device!r} without return_tensors="pt"; only tensors lie on a device.')

    def _standardize_kwargs(self, image_order=None, size=None, **kwargs) -> dict:
        if image_order not in IMAGE_ORDERS:
            raise ValueError(
                f"found image_order={image_order!r}, wanted one of {', '.join(IMAGE_ORDERS)}. It is a fact of the "
                "checkpoint: take it from the repo's processor_config.json or from its card."
            )
        size = _size(size)
        if image_order in SQUARE_ORDERS and size.height != size.width:
            raise ValueError(f"found a size of {size.height} x {size.width}, wanted a square for {image_order}.")
        checked = {name: check(name, kwargs[name]) for name, check in _CHECKS.items() if kwargs.get(name) is not None}
        return super()._standardize_kwargs(size=size, **kwargs | checked) | {"image_order": image_order}


# The options of images that transformers or this class knows; an image processor has to take or refuse each of them.
_FOR_IMAGES = {*OPTIONS, *_LOADING, *ImagesKwargs.__annotations__}

_BYTES_NOT_RESCALED = (
    "found bytes (0 to 255) and do_rescale=False; mean and std are on a scale of 0 to 1. Leave do_rescale out, give "
    "floats from 0 to 1, or add do_normalize=False, which gives the bytes as they are."
)


def _size(size: int | dict | SizeDict | None) -> SizeDict:
    sides: dict[str, Any] = {}
    try:
        sides = {"height": size, "width": size} if isinstance(size, int) else dict(size or {})
        valid = sides.keys() == {"height", "width"} and min(sides.values()) >= 1
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f'found size={size!r}, wanted {{"height": n, "width": n}} in pixels, or n.')
    return SizeDict(**sides)


def _fetched(url: str) -> PIL.Image.Image:
    response = get_session().get(url)
    response.raise_for_status()
    return read_picture(BytesIO(response.content), repr(url))


def _check_size(width: int, height: int, wanted: SizeDict | None) -> None:
    if not width or not height:
        raise ValueError(f"found a picture of {width} x {height} pixels; no side may be 0.")
    if wanted is not None and (width, height) != (wanted.width, wanted.height):
        raise ValueError(
            f"found a picture of {width} x {height} pixels and do_resize=False; wanted {wanted.width} x "
            f"{wanted.height}, the size that the model takes. Leave do_resize out, or give pictures of that size."
        )


def _three(name: str, value: Any) -> tuple[float, ...]:
    numbers = np.asarray(value, dtype=object).reshape(-1).tolist()
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    valid = all(isinstance(each, int | float | np.number) and np.isfinite(each) for each in numbers)
    if len(numbers) != 3 or not valid or (name == "image_std" and 0 in numbers):
        zero = ", none of them 0" if name == "image_std" else ""
        raise ValueError(f"found {name}={value!r}, wanted a number for red, for green and for blue{zero}.")
    return tuple(numbers)


def _member(kind: type) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            names: Collection[Any] = [each.value for each in kind]  # type: ignore[attr-defined]
            raise ValueError(f"found {name}={value!r}, wanted one of {', '.join(map(str, names))}.") from error

    return check


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"found {name}={value!r}, wanted True or False.")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "resample": _member(PILImageResampling),
    "input_data_format": _member(ChannelDimension),
    "image_mean": _three,
    "image_std": _three,
    **dict.fromkeys(SWITCHES, _switch),
}
