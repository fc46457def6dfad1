"""Runs an ONNX export of hf_zhclip: texts and pictures -> embeddings. This file needs nothing else of hf_zhclip.

It imports onnxruntime, tokenizers, NumPy and Pillow (11 or later), and neither torch nor transformers. Every export
holds a copy of it, and a program can import that copy:

    import sys

    sys.path.append("my-onnx")
    from zhclip_onnx import ZhCLIPOnnx

    model = ZhCLIPOnnx("my-onnx")
    texts = model.encode_text(["一只猫", "一只狗"])  # (2, d)
    pictures = model.encode_image(["cat.jpg", "dog.jpg"])  # (2, d)
    cosines = pictures @ texts.T  # (2, 2), from -1 to 1

The ids and the pixels are those of the repository's own processor. What this file has to know of a model stands in the
export's `zhclip_onnx.json`. Licence: Apache-2.0, like hf_zhclip.
"""

import hashlib
import json
import logging
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime
import PIL.Image
from tokenizers import Tokenizer

FACTS = "zhclip_onnx.json"
"""The file of an export that says how its texts and pictures are prepared."""

FORMAT = 1
"""The version of this file's fields."""

Texts = str | Sequence[str]
Picture = PIL.Image.Image | str | os.PathLike[str] | bytes | BinaryIO
"""A Pillow image of any mode, the path of a picture, the bytes of its file, or its file, open."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """The text side of `FACTS`.

    Args:
        model: the file of the graph: `input_ids` and `attention_mask`, (n, length) -> `text_embeds`, (n, d).
        tokenizer: the tokenizer's file.
        context_length: the most tokens of a text, the first and the last token included.
        truncation_side: the side from which a longer text loses tokens.
        padding_side: the side on which a shorter text is filled up.
        pad_token: the token that fills it up.
        pad_id: the id of this token.
        split_special_tokens: whether the name of a special token in a text is read as ordinary text.
        attends_to_padding: whether the number of padding tokens changes a text's embedding.
    """

    model: str
    tokenizer: str
    context_length: int
    truncation_side: str
    padding_side: str
    pad_token: str
    pad_id: int
    split_special_tokens: bool
    attends_to_padding: bool


@dataclass(frozen=True)
class Vision:
    """The picture side of `FACTS`.

    Args:
        model: the file of the graph: `pixel_values`, (n, 3, height, width) -> `image_embeds`, (n, d).
        height: in pixels.
        width: in pixels.
        steps: keys of `STEPS`, in the order in which they are done.
        resample: the number of Pillow's filter.
        divisor: by which the bytes are divided.
        mean: of red, green and blue, subtracted afterwards.
        std: of red, green and blue, by which the difference is divided.
    """

    model: str
    height: int
    width: int
    steps: Sequence[str]
    resample: int
    divisor: float
    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True)
class Facts:
    """The content of `FACTS`.

    Args:
        embedding_size: d, the width of an embedding.
        logit_scale: the logarithm of the factor between cosines and logits; None if there is a text side alone.
        text: None if the export has no text side.
        vision: None if the export has no picture side.
        files: by the name of each file that is used, its mark (see `mark`); None if nobody has to compare them.
    """

    embedding_size: int
    logit_scale: float | None
    text: Text | None
    vision: Vision | None
    files: Mapping[str, str] | None = None


class ZhCLIPOnnx:
    """An ONNX export of hf_zhclip.

    A graph is loaded when it is first used: a program that encodes texts alone never loads the graph of the pictures.

    Args:
        folder: the export.
        providers: onnxruntime's execution providers, such as "CUDAExecutionProvider"; by default the CPU alone.
        session_options: onnxruntime's options, such as the number of threads. Without them, the memory of a graph is
            bounded in proportion to the size of its file, and on the CPU onnxruntime logs nothing.

    Attributes:
        logit_scale: the logarithm of the factor between cosines and logits, as the repository holds it: the logits
            are `np.exp(logit_scale) * cosines`. None if the export has no picture side.
        embedding_size: d, the width of an embedding.

    Raises:
        ValueError: the folder is no export, a file of it is missing or damaged, or this onnxruntime does not have the
            providers.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        providers: Sequence[str | tuple[str, dict[str, Any]]] = ("CPUExecutionProvider",),
        session_options: onnxruntime.SessionOptions | None = None,
    ):
        self.folder = Path(folder)
        self.facts = _read_facts(self.folder)
        self.logit_scale = self.facts.logit_scale
        self.embedding_size = self.facts.embedding_size
        self._providers = _checked_providers(providers)
        self._session_options = session_options
        self._warned_of_a_cut = False

    def encode_text(self, texts: Texts, batch_size: int = 32) -> np.ndarray:
        """Embeds texts.

        Args:
            texts: a text or several.
            batch_size: so many texts are computed at once.

        Returns:
            (n, d), float32, L2-normalised; one row for a single text.

        Raises:
            TypeError: something else than texts is given.
            ValueError: a text is no valid Unicode, or the export has no text side.
        """
        texts = _listed_texts(texts)
        if self._text.attends_to_padding:
            batch_size = max(len(texts), 1)  # all texts get the padding of the longest, as in the repository
        embeddings = np.empty((len(texts), self.embedding_size), np.float32)
        for batch in _batches(len(texts), batch_size):
            embeddings[batch] = self.computed("text", self.tokenize(texts[batch]))
        return embeddings

    def encode_image(self, pictures: Picture | Sequence[Picture], batch_size: int = 32) -> np.ndarray:
        """Embeds pictures.

        Args:
            pictures: a picture or several. Of paths, `batch_size` pictures are open at once.
            batch_size: so many pictures are computed at once.

        Returns:
            (n, d), float32, L2-normalised; one row for a single picture.

        Raises:
            TypeError: something else than pictures is given.
            ValueError: a picture is missing or damaged, or the export has no picture side.
        """
        pictures = _listed_pictures(pictures)
        embeddings = np.empty((len(pictures), self.embedding_size), np.float32)
        for batch in _batches(len(pictures), batch_size):
            embeddings[batch] = self.computed("image", {"pixel_values": self.pixels(pictures[batch])})
        return embeddings

    def computed(self, side: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Runs a graph.

        Args:
            side: "text" or "image".
            inputs: what `tokenize` or `pixels` gives.

        Returns:
            (n, d), floats, as the graph gives them.

        Raises:
            ValueError: the graph fails, or gives something else.
        """
        name = _OUTPUTS[side]
        session = self._text_session if side == "text" else self._vision_session
        try:
            (rows,) = session.run([name], dict(inputs))
        except Exception as error:  # onnxruntime's errors share no other class
            raise ValueError(_NOT_COMPUTED.format(name, self.folder, _shown(error))) from error
        wanted = (len(next(iter(inputs.values()))), self.embedding_size)
        if not isinstance(rows, np.ndarray) or rows.dtype.kind != "f" or rows.shape != wanted:
            found = f"{rows.dtype}, {rows.shape}" if isinstance(rows, np.ndarray) else f"a {type(rows).__name__}"
            raise ValueError(
                f"found {name} of {self.folder}: {found}; floats of the shape {wanted} were wanted. {_MIXED}"
            )
        return rows

    def tokenize(self, texts: Texts) -> dict[str, np.ndarray]:
        """Gives the inputs of the text graph: `input_ids` and `attention_mask`, (n, length), int64.

        Texts are cut at the context length, which is logged once, and filled up to the longest of them.

        Raises:
            TypeError: something else than texts is given.
            ValueError: a text is no valid Unicode, or the export has no text side.
        """
        texts = _listed_texts(texts)
        rows = self._tokenizer.encode_batch(texts or [""])
        self._warn_of_a_cut(sum(bool(row.overflowing) for row in rows), len(rows))
        inputs = {
            "input_ids": np.array([row.ids for row in rows], np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        }
        return {name: values[: len(texts)] for name, values in inputs.items()}

    def pixels(self, pictures: Picture | Sequence[Picture]) -> np.ndarray:
        """Gives the input of the picture graph: (n, 3, height, width), float32.

        Alpha is dropped and an EXIF orientation is not applied, as in the originals' own pipelines.

        Raises:
            TypeError: something else than pictures is given.
            ValueError: a picture is missing or damaged, or the export has no picture side.
        """
        pictures, facts = _listed_pictures(pictures), self._vision
        pixels = np.empty((len(pictures), 3, facts.height, facts.width), np.float32)
        for values, picture in zip(pixels, pictures, strict=True):
            values[:] = np.asarray(_prepared(_opened(picture), facts)).transpose(2, 0, 1)
        # In this order and in float32, like torchvision's ToTensor and Normalize: another order gives other bits.
        pixels /= np.float32(facts.divisor)
        pixels -= np.array(facts.mean, np.float32).reshape(3, 1, 1)
        pixels /= np.array(facts.std, np.float32).reshape(3, 1, 1)
        return pixels

    @property
    def _text(self) -> Text:
        if self.facts.text is None:
            raise ValueError(f"found no text side in {self.folder}; it takes pictures: encode_image([...]).")
        return self.facts.text

    @property
    def _vision(self) -> Vision:
        if self.facts.vision is None:
            raise ValueError(f"found no picture side in {self.folder}; it takes texts: encode_text([...]).")
        return self.facts.vision

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        facts, file = self._text, self.folder / self._text.tokenizer
        try:
            tokenizer = Tokenizer.from_file(str(file))
            tokenizer.encode("a\u16a0")  # some faults show in use alone: no token for the unknown rune, for example
        except BaseException as error:  # the library raises plain Exception, and panics that are no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ValueError(_DAMAGED.format(file, _shown(error))) from error
        self._check_marks(facts.tokenizer)
        tokenizer.enable_truncation(facts.context_length, direction=facts.truncation_side)
        tokenizer.enable_padding(direction=facts.padding_side, pad_id=facts.pad_id, pad_token=facts.pad_token)
        tokenizer.encode_special_tokens = facts.split_special_tokens
        return tokenizer

    @cached_property
    def _text_session(self) -> onnxruntime.InferenceSession:
        return self._session("text", self._text.model, ("input_ids", "attention_mask"))

    @cached_property
    def _vision_session(self) -> onnxruntime.InferenceSession:
        return self._session("image", self._vision.model, ("pixel_values",))

    def _session(self, side: str, name: str, inputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
        file = self.folder / name
        _check_content(file)
        options = self._session_options or _options(file, _names(self._providers) <= {"CPUExecutionProvider"})
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=self._providers)
        except Exception as error:  # onnxruntime's errors share no other class
            raise ValueError(_NOT_LOADED.format(file, onnxruntime.__version__, _shown(error))) from error
        # onnxruntime goes on with the CPU if, for example, CUDA's libraries are of another version.
        if failed := _names(self._providers) - set(session.get_providers()):
            raise ValueError(
                f"found that onnxruntime cannot start {', '.join(sorted(failed))}; its log above says why. Mend the "
                "cause, or leave the provider out."
            )
        self._check_graph(file, session, inputs, _OUTPUTS[side])
        self._check_marks(name, f"{name}_data")
        return session

    def _check_graph(
        self, file: Path, session: onnxruntime.InferenceSession, wanted: tuple[str, ...], output: str
    ) -> None:
        found = [each.name for each in session.get_inputs()]
        if sorted(found) != sorted(wanted):
            raise ValueError(
                f"found {file}, which takes {_shown(' and '.join(found))}; wanted a graph that takes "
                f"{' and '.join(wanted)}. {_MIXED}"
            )
        outputs = {each.name: each for each in session.get_outputs()}
        if output not in outputs:
            raise ValueError(
                f"found {file}, which gives {_shown(' and '.join(outputs))}; wanted a graph that gives {output}. "
                f"{_MIXED}"
            )
        shape = outputs[output].shape
        if shape and isinstance(width := shape[-1], int) and width != self.embedding_size:
            raise ValueError(
                f"found {file}, whose vectors have {width} numbers; wanted {self.embedding_size}, as {FACTS} says. "
                f"{_MIXED}"
            )

    def _check_marks(self, *names: str) -> None:
        """Refuses a file of another export: two models may have graphs of the same shapes."""
        for name in names:
            wanted = (self.facts.files or {}).get(name)
            if wanted is not None and (not (self.folder / name).is_file() or mark(self.folder / name) != wanted):
                raise ValueError(
                    f"found another {name} in {self.folder} than {FACTS} was written for. {_MIXED} If you changed the "
                    f"file yourself, take the field files out of {FACTS}."
                )

    def _warn_of_a_cut(self, cut: int, count: int) -> None:
        if cut and not self._warned_of_a_cut:
            self._warned_of_a_cut = True
            logger.warning(
                "%d of %d texts have more than %d tokens, the first and the last token included, and were cut. This "
                "warning appears once.",
                cut,
                count,
                self._text.context_length,
            )


# Graphs


_MOST_PARTS = 50_000  # nodes, attributes and tensors of a graph; a tower of 48 layers has about 6,000
_MOST_NODES, _BYTES_PER_NODE = 3_000, 2**12  # and a node more for so many bytes: some steps cost more behind others
_MOST_NAME = 1_000  # bytes of a name that are looked at
_SPARE_MEMORY, _MEMORY_PER_BYTE = 2**28, 64  # a graph of 2 KB may have large pictures to work on
_TEXTS = 8  # the type of a tensor of texts
_DOMAINS = (b"", b"ai.onnx", b"com.microsoft", b"com.microsoft.nchwc")  # onnxruntime's optimizer uses the last two

_WITHIN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""By the kind of a message in an ONNX file, the numbers of the fields that are messages, and their kinds."""


def _is_any(value: Any) -> bool:
    return True


def _is_a_constant_text(value: Any) -> bool:
    return value in (b"value_string", b"value_strings")


def _is_the_type_of_texts(value: Any) -> bool:
    return isinstance(value, int) and value % 2**32 == _TEXTS  # protobuf leaves out the higher bits, too


def _is_of_a_stranger(value: Any) -> bool:
    return value not in _DOMAINS


def _leads_away(value: Any) -> bool:
    return not isinstance(value, bytes) or value == b".." or bool(set(value) & set(b"/\\:\0"))


_LOOP = (_is_any, "a loop, a branch or another graph within")
_SPARSE = (_is_any, "sparse weights, which grow when they are loaded")
_REFUSED: Mapping[tuple[str, int], tuple[Callable[[Any], bool], str]] = {
    ("model", 20): (_is_any, "a graph for training"),
    ("model", 25): (_is_any, "functions of its own"),
    ("graph", 15): _SPARSE,
    ("node", 7): (_is_of_a_stranger, "an operator that is neither ONNX's nor onnxruntime's"),
    ("attribute", 1): (_is_a_constant_text, "a constant text"),
    ("attribute", 6): _LOOP,
    ("attribute", 11): _LOOP,
    ("attribute", 22): _SPARSE,
    ("attribute", 23): _SPARSE,
    ("tensor", 2): (_is_the_type_of_texts, "a tensor of texts"),
    ("entry", 2): (_leads_away, "weights in another folder"),
}
"""By kind and number of a field, which values no export has, and what they mean. A few bytes of these may cost any
time and memory, or lead out of the folder."""


def _check_content(file: Path) -> None:
    """Refuses a graph that holds what no export has, before onnxruntime reads it."""
    if not file.stat().st_size:
        raise ValueError(_NOT_LOADED.format(file, onnxruntime.__version__, "it is empty"))
    nodes, most_nodes = 0, _MOST_NODES + _size(file) // _BYTES_PER_NODE
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[4:8] == b"ORTM":  # onnxruntime would give the file to another reader
            raise ValueError(_STRANGE.format(file, "a model in onnxruntime's own format"))
        try:
            for kind, number, value in _content(content):
                refuses, what = _REFUSED.get((kind, number), (None, ""))
                if refuses is not None and refuses(value):
                    raise ValueError(_STRANGE.format(file, what))
                nodes += (kind, number) == ("graph", 1)
                if nodes > most_nodes:
                    raise ValueError(_STRANGE.format(file, f"more than {most_nodes:,} nodes, too many for its size"))
        except IndexError as error:
            raise ValueError(_NOT_LOADED.format(file, onnxruntime.__version__, "it ends early")) from error
        except OverflowError as error:
            raise ValueError(_STRANGE.format(file, error)) from error


def _content(content: mmap.mmap) -> Iterator[tuple[str, int, int | bytes]]:
    """The fields of an ONNX file: the kind of the message, the field's number, and its number or its first bytes.

    Raises:
        IndexError: a field is longer than its message, or is none of protobuf's.
        OverflowError: there are too many messages.
    """
    waiting, parts = [("model", 0, len(content))], 1
    while waiting:
        kind, place, end = waiting.pop()
        while place < end:
            key, place = _varint(content, place)
            number, way = key % 2**32 >> 3, key & 7
            value, start = _varint(content, place) if way in (0, 2) else (0, place)
            place = start + {0: 0, 1: 8, 2: value, 5: 4}.get(way, end)
            if place > end:
                raise IndexError
            if way == 2 and number in _WITHIN[kind]:
                waiting.append((_WITHIN[kind][number], start, place))
                parts += 1
                if parts > _MOST_PARTS:
                    raise OverflowError(f"more than {_MOST_PARTS:,} nodes, attributes and tensors")
            yield kind, number, value if way == 0 else content[start : min(place, start + _MOST_NAME)]


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    """A number of protobuf, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError


def _options(file: Path, is_quiet: bool) -> onnxruntime.SessionOptions:
    """Options that bound what a graph takes.

    Args:
        file: the graph.
        is_quiet: whether onnxruntime logs nothing. Its log holds names of the graph as they are, which a terminal
            would obey; an error says the same.
    """
    options, most = onnxruntime.SessionOptions(), _SPARE_MEMORY + _MEMORY_PER_BYTE * _size(file)
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # A session keeps the allocator that it began with; the next session gets its own under the same name.
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(most, -1, -1, -1))
    options.add_session_config_entry("session.use_env_allocators", "1")
    # What onnxruntime computes while it loads a graph lies elsewhere.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(most // 4))
    if is_quiet:
        options.log_severity_level = 4
    return options


def _size(file: Path) -> int:
    """The bytes of a graph and of the file of its weights."""
    return sum(each.stat().st_size for each in (file, file.with_name(f"{file.name}_data")) if each.is_file())


# Pictures


def _rgb(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    return image.convert("RGB")


def _squash(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    return image.resize((facts.width, facts.height), facts.resample)


def _short_side(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    short, width, height = facts.height, *image.size
    wide, high = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if wide * high > _MOST_PIXELS:  # a small file may hold a line of a million pixels
        raise ValueError(
            f"found a picture of {width} x {height} pixels, which has {wide:,} x {high:,} when its shorter side has "
            f"{short}; at most {_MOST_PIXELS:,} pixels were wanted. Cut the picture to a shape that is less long."
        )
    return image.resize((wide, high), facts.resample)


def _crop_rounded(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    # A half goes to the even number, as in torchvision.
    return _cropped(image, facts, round((image.width - facts.width) / 2), round((image.height - facts.height) / 2))


def _crop_down(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    return _cropped(image, facts, (image.width - facts.width) // 2, (image.height - facts.height) // 2)


def _crop_up(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    return _cropped(image, facts, (image.width - facts.width + 1) // 2, (image.height - facts.height + 1) // 2)


def _cropped(image: PIL.Image.Image, facts: Vision, left: int, top: int) -> PIL.Image.Image:
    return image.crop((left, top, left + facts.width, top + facts.height))


STEPS: Mapping[str, Callable[[PIL.Image.Image, Vision], PIL.Image.Image]] = {
    "rgb": _rgb,
    "squash": _squash,
    "short_side": _short_side,
    "crop_rounded": _crop_rounded,
    "crop_down": _crop_down,
    "crop_up": _crop_up,
}
"""What can be done with a picture; each family of models has an order of its own."""


def _prepared(image: PIL.Image.Image, facts: Vision) -> PIL.Image.Image:
    for step in facts.steps:
        image = STEPS[step](image, facts)
    if image.size != (facts.width, facts.height):  # an export whose steps do not resize
        raise ValueError(
            f"found a picture of {image.width} x {image.height} pixels; wanted {facts.width} x {facts.height}. Resize "
            "it: this export takes pictures as they are."
        )
    return image


def _opened(picture: Any) -> PIL.Image.Image:
    if isinstance(picture, str | os.PathLike):
        shown = repr(os.fspath(picture))
        if not os.path.isfile(picture):
            raise ValueError(
                f"found {shown}, which is no file; wanted the path of a picture. Nothing is fetched here."
            )
        with open(picture, "rb") as file:
            return _read(file, shown)
    if isinstance(picture, bytes | bytearray | memoryview):
        return _read(BytesIO(picture), f"{len(picture)} bytes")
    if hasattr(picture, "read"):
        return _read(picture, f"the open file {getattr(picture, 'name', type(picture).__name__)!r}")
    if not isinstance(picture, PIL.Image.Image):
        raise TypeError(
            f"found a {type(picture).__name__}; wanted a Pillow image, the path of a picture, its bytes, an open "
            "binary file, or a list of them. An array becomes a picture with PIL.Image.fromarray(array)."
        )
    return _loaded(picture, repr(getattr(picture, "filename", "") or "a Pillow image"), _CLOSED)


def _read(file: Any, shown: str) -> PIL.Image.Image:
    try:
        image = PIL.Image.open(file)
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"found {shown}, which holds no picture in a format that Pillow reads.") from error
    except Exception as error:
        raise ValueError(_CUT_OFF.format(shown, error)) from error
    with image:
        _check_size(image, file, shown)
        return _loaded(image, shown)


_MOST_FACTS = 2**20  # bytes of the JSON beside the graphs; it has under 2 KB
_MOST_PIXELS, _PIXELS_PER_BYTE = 2**26, 32  # a small file may state any size; a photo has under 10 pixels a byte
_MOST_LONG = 2**20  # pixels of a side, for each of which Pillow's filters take up to 48 bytes


def _check_size(image: PIL.Image.Image, file: Any, shown: str) -> None:
    place = file.tell()
    most = _MOST_PIXELS + _PIXELS_PER_BYTE * file.seek(0, 2)
    file.seek(place)
    if image.width * image.height > most:
        raise ValueError(
            f"found {shown}, a picture of {image.width} x {image.height} pixels; at most {most:,} pixels were wanted "
            "for a file of this size."
        )
    if max(image.size) > _MOST_LONG:
        raise ValueError(
            f"found {shown}, a picture of {image.width} x {image.height} pixels; a side of at most {_MOST_LONG:,} was "
            "wanted."
        )


def _loaded(image: PIL.Image.Image, shown: str, damaged: str | None = None) -> PIL.Image.Image:
    try:
        image.load()
    except Exception as error:  # Pillow's readers raise many kinds, and their words name no file
        raise ValueError((damaged or _CUT_OFF).format(shown, error)) from error
    if 0 in image.size:
        raise ValueError(f"found a picture of {image.width} x {image.height} pixels; no side may be 0.")
    return image


_CUT_OFF = "found {}, which cannot be read as a picture: {}. It may be cut off: fetch it again."


# Arguments


def _listed_texts(texts: Any) -> list[str]:
    listed = list(texts) if isinstance(texts, list | tuple) else [texts]
    for text in listed:
        if not isinstance(text, str):
            raise TypeError(f"found a {type(text).__name__}; wanted a text or a list of texts.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"found {text[:80]!r}, which holds half a character (a lone surrogate); wanted valid Unicode. Leave "
                "the half out: text.encode('utf-8', 'ignore').decode()."
            ) from error
    return listed


def _listed_pictures(pictures: Any) -> list[Any]:
    return list(pictures) if isinstance(pictures, list | tuple) else [pictures]


def _batches(count: int, size: int) -> Iterator[slice]:
    if size < 1:
        raise ValueError(f"found batch_size={size}; wanted 1 or more.")
    return (slice(start, start + size) for start in range(0, count, size))


def _checked_providers(providers: Any) -> list[Any]:
    listed = [providers] if isinstance(providers, str) else list(providers)
    if missing := _names(listed) - set(there := onnxruntime.get_available_providers()):
        raise ValueError(
            f"found the providers {', '.join(sorted(missing))}, which this onnxruntime does not have; it has "
            f"{', '.join(there)}. Name one of these, or install a package with the provider, such as onnxruntime-gpu."
        )
    return listed


def _names(providers: Sequence[str | tuple[str, dict[str, Any]]]) -> set[str]:
    return {each if isinstance(each, str) else each[0] for each in providers}


# The export's folder


_OUTPUTS: Mapping[str, str] = {"text": "text_embeds", "image": "image_embeds"}
_BLOCKS, _BLOCK_BYTES = 64, 2**16


def mark(file: Path) -> str:
    """What tells a file from other exports' files of the same name: its size, and a hash of up to 4 MB of it.

    The parts lie at equal distances, the first and the last bytes included, so that a large file costs no time.
    """
    size, digest = file.stat().st_size, hashlib.sha256()
    with file.open("rb", buffering=0) as content:
        for number in range(_BLOCKS):
            content.seek((size - _BLOCK_BYTES) * number // (_BLOCKS - 1) if size > _BLOCKS * _BLOCK_BYTES else 0)
            if size <= _BLOCKS * _BLOCK_BYTES:
                digest.update(content.read(size))
                break
            digest.update(content.read(_BLOCK_BYTES))
    return f"{size}-{digest.hexdigest()[:32]}"


_MOST_SHOWN = 1_000  # characters


def _shown(text: object) -> str:
    """The beginning of text of a file that others wrote: what a terminal would obey is escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text)[:_MOST_SHOWN])


_NOT_LOADED = (
    "found {}, which onnxruntime {} cannot load: {}. It may be cut off: copy the whole export again. Or the graph is "
    "newer than onnxruntime: install a newer onnxruntime."
)
_STRANGE = (
    "found {}, which holds {}; wanted a graph as `zhclip export --to onnx` writes it, which holds nothing of this "
    "kind. Export the repository again."
)
_DAMAGED = "found {}, which cannot be read: {}. It may be cut off: copy the whole export again."
_NOT_COMPUTED = (
    "onnxruntime cannot compute {} of {}: {}. The files may be of two exports, or the batch is too large for the "
    "memory: take a smaller batch."
)
_MIXED = "The files may be of two exports: copy the whole export again."
_OTHER_FIELDS = (
    "found {}, whose {} has not the fields of format {}: {}. Take the file as the export wrote it: copy the whole "
    "export again."
)
_CLOSED = "found {}, which cannot be read as a picture: {}. Open it again. If that fails, its file is cut off."


def _read_facts(folder: Path) -> Facts:
    file = folder / FACTS
    if not file.is_file():
        raise ValueError(f"found no {FACTS} in {folder}; wanted a folder that `zhclip export --to onnx` wrote.")
    try:
        if file.stat().st_size > _MOST_FACTS:
            raise ValueError(f"it has more than {_MOST_FACTS:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(_DAMAGED.format(file, error)) from error
    if version != FORMAT:
        raise ValueError(
            f"found format {version!r:.60} in {file}; wanted {FORMAT}. Use the zhclip_onnx.py that lies beside this "
            "file."
        )
    for name, kind in (("content", Facts), ("text", Text), ("vision", Vision)):
        part = content if kind is Facts else content[name]
        if isinstance(part, dict) and (told := _other_fields(part, kind)):
            raise ValueError(_OTHER_FIELDS.format(file, name, FORMAT, told))
    try:
        facts = _checked_facts(**content)
    except (ValueError, TypeError) as error:
        raise ValueError(_DAMAGED.format(file, error)) from error
    for name in _files(facts):
        if Path(name).name != name:
            raise ValueError(_DAMAGED.format(file, f"it names {name!r:.200}, and a file of its own folder was wanted"))
        if not (folder / name).is_file():
            raise ValueError(f"found no {name} in {folder}, although {FACTS} names it. Copy the whole export again.")
    return facts


def _other_fields(part: dict[str, Any], kind: Any) -> str:
    """Which fields of a part are unknown, and which are missing."""
    named = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    unknown, missing = sorted(part.keys() - named), sorted(needed - part.keys())
    words = [*(f"{_shown(each)} is unknown" for each in unknown), *(f"{each} is missing" for each in missing)]
    return ", ".join(words)


def _checked_facts(text: Any, vision: Any, **content: Any) -> Facts:
    text, vision = None if text is None else Text(**text), None if vision is None else Vision(**vision)
    facts = Facts(text=text, vision=vision, **content)
    for part in (facts, text, vision):
        for field in fields(part) if part is not None else ():
            value = getattr(part, field.name)
            if not _KINDS.get(field.type, _is_any)(value) or not _VALUES.get(field.name, _is_any)(value):
                raise ValueError(f"{field.name} is {value!r:.200}")
    return facts


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_KINDS: Mapping[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int and 0 <= value < 2**31,
    float: _is_number,
    float | None: lambda value: value is None or _is_number(value),
    Mapping[str, str] | None: lambda value: (
        value is None or (isinstance(value, dict) and all(isinstance(each, str) for each in value.values()))
    ),
    Sequence[float]: lambda value: isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)),
    Sequence[str]: lambda value: (
        isinstance(value, list) and all(isinstance(each, str) for each in value) and set(value) <= STEPS.keys()
    ),
}
"""By the type of a field, whether a value from `FACTS` fits it."""

_VALUES: Mapping[str, Callable[[Any], bool]] = {
    "model": lambda value: value.endswith(".onnx"),  # by another ending, onnxruntime takes another reader
    "divisor": lambda value: value > 0,
    "embedding_size": lambda value: 0 < value <= 2**17,
    **dict.fromkeys(("height", "width"), lambda value: 0 < value <= 2**13),
    **dict.fromkeys(("truncation_side", "padding_side"), lambda value: value in ("left", "right")),
    "context_length": lambda value: value > 2,  # the first and the last token, and a token between them
    "resample": lambda value: value in set(PIL.Image.Resampling),
    "std": lambda value: min(value) > 0,
}
"""By the name of a field, whether a value of the right type fits it."""


def _files(facts: Facts) -> Iterator[str]:
    if facts.text:
        yield from (facts.text.model, facts.text.tokenizer)
    if facts.vision:
        yield facts.vision.model
