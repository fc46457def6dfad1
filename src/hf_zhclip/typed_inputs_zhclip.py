"""What people type into a model: texts and pictures. The processor comes from where the model was loaded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoTokenizer

from .compat_zhclip import PreTrainedConfig
from .pictures_zhclip import flat_pictures, open_file

HUB_OPTIONS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
"""The options of `from_pretrained` that say where files are."""


@dataclass(frozen=True)
class Place:
    """Where a model was loaded from.

    Args:
        source: the absolute path of a folder, or a name on the hub.
        options: the options of `from_pretrained` that find the files again.
        token: the token that the caller gave. It is not printed, and neither pickled nor copied with the model.
    """

    source: str
    options: Mapping[str, Any]
    token: str | bool | None = field(default=None, repr=False)

    @classmethod
    def of_load(cls, source: str | os.PathLike, asked: Mapping[str, Any], commit: str | None) -> "Place":
        """The place of a load.

        Args:
            source: what `from_pretrained` was given.
            asked: the options that `from_pretrained` was given.
            commit: the commit from which the model came, so that its processor comes from the same commit.
        """
        name = os.fspath(source)
        options = {option: asked[option] for option in HUB_OPTIONS if asked.get(option) is not None}
        token = options.pop("token", None)
        if os.path.isdir(name):
            options.pop("revision", None)
            return cls(os.path.abspath(name), options | {"local_files_only": True}, token)
        return cls(name, options | ({"revision": commit} if commit else {}), token)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "token": None}

    def load(self, config: PreTrainedConfig, text: bool, pictures: bool) -> Any:
        """Loads the processor; for a single side, its tokenizer or its image processor.

        No code of a repository is run: the classes are transformers' own and those beside this module.

        Raises:
            OSError: the files are not there, or cannot be reached.
        """
        if os.path.isabs(self.source) and not os.path.isdir(self.source):
            # transformers would look for a repository of that name.
            raise OSError(f"the folder {self.source} is gone")
        from .image_processing_zhclip import ZhCLIPImageProcessor
        from .processing_zhclip import ZhCLIPProcessor

        options = {**self.options, "token": self.token}
        tokenizer = image_processor = None
        if text:
            tokenizer = AutoTokenizer.from_pretrained(self.source, config=config, trust_remote_code=False, **options)
        if pictures:
            image_processor = ZhCLIPImageProcessor.from_pretrained(self.source, **options)
        return ZhCLIPProcessor(image_processor, tokenizer) if text and pictures else tokenizer or image_processor


def is_typed_text(texts: Any) -> bool:
    """Whether texts are given, and not their ids.

    Raises:
        TypeError: neither texts nor a tensor of ids are given.
    """
    if texts is None or isinstance(texts, torch.Tensor):
        return False
    each = texts if isinstance(texts, list | tuple) else [texts]
    if other := [item for item in each if not isinstance(item, str)]:
        raise TypeError(
            f"found a value of type {type(other[0]).__name__}; wanted a text, a list of texts, or a tensor of "
            "ids (n, length). What a tokenizer or a processor returned is given as encode_text(**inputs)"
        )
    return True


def is_typed_picture(pictures: Any) -> bool:
    """Whether pictures are given, and not their pixel values: a tensor of bytes is a picture, too."""
    if isinstance(pictures, torch.Tensor):
        return pictures.dtype == torch.uint8
    return pictures is not None


def check_dimensions(name: str, given: Any, wanted: tuple[str, ...]) -> None:
    """Refuses an input that is no tensor of these dimensions.

    Raises:
        TypeError: a text or a picture is given to a call that takes tensors.
        ValueError: the tensor has another number of dimensions.
    """
    if given is None:
        return
    if not isinstance(given, torch.Tensor):
        raise TypeError(
            f"found a value of type {type(given).__name__} as {name}; wanted a tensor ({', '.join(wanted)}). "
            "encode_text takes texts, and encode_image takes pictures"
        )
    if given.dim() != len(wanted):
        raise ValueError(f"found {name} of shape {tuple(given.shape)}; wanted ({', '.join(wanted)})")


def prepare_texts(processor: Any, texts: str | list[str] | tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The inputs of a model for typed texts.

    Args:
        processor: a ZhCLIPProcessor, or a tokenizer.
        texts: a text or several.
    """
    from .processing_zhclip import tokenize

    texts = [texts] if isinstance(texts, str) else list(texts)
    if hasattr(processor, "tokenizer"):
        return dict(processor(text=texts, return_tensors="pt"))
    return tokenize(processor, processor, texts, padding=True, truncation=True, return_tensors="pt")


def prepare_pictures(processor: Any, pictures: Any) -> torch.Tensor:
    """Pixel values (n, channels, height, width) for typed pictures; nothing is fetched from a network.

    Args:
        processor: a ZhCLIPProcessor, or an image processor.
        pictures: a picture or (nested) lists of pictures.

    Raises:
        TypeError: something else than a picture is given.
        ValueError: a text is not the path of a picture, or a picture cannot be read.
    """
    image_processor = getattr(processor, "image_processor", processor)
    return image_processor(flat_pictures(_from_files(pictures)), return_tensors="pt").pixel_values


def _from_files(pictures: Any) -> Any:
    if isinstance(pictures, list | tuple):
        return [_from_files(each) for each in pictures]
    if not isinstance(pictures, str):
        return pictures
    if os.path.isfile(pictures):
        return open_file(pictures)
    shown = pictures if len(pictures) <= 300 else f"{pictures[:80]}..."
    raise ValueError(
        f"found {shown!r}, which is no file; wanted the path of a picture. Nothing is fetched here: for a URL or "
        "base64 text, call encode_image(**model.processor(images=[...], return_tensors='pt').to(model.device))"
    )


NO_PROCESSOR = (
    "{name} has no processor, because {reason}. Give it one, for example "
    "model.processor = AutoProcessor.from_pretrained('REPO'), or give tensors: "
    "model.{method}(**processor({argument}=[...], return_tensors='pt').to(model.device))"
)
