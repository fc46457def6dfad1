"""Any number of texts and pictures -> L2-normalised vectors, in memory that does not grow with them."""

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ..amounts import Advance, shown_amount
from ..errors import InputError
from ..typed_inputs_zhclip import prepare_pictures
from .compiled import CompiledModel
from .fused import fuse
from .loading import EXPORT, best_device, check_path, load_pair, trouble_with
from .tokens import tokens_of

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 2048
"""The texts that are sorted by length at a time."""

AHEAD = 2
"""The batches of pictures that are prepared while the model computes a batch."""

SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")
"""The words of a `device_map` that name no device."""


class Embedder:
    """Embeds texts and pictures in batches; every row is L2-normalised float32, in the order of the inputs.

    Args:
        model: a ZhCLIPModel, or what has its `encode_text`, `encode_image`, `config` and `_input_device`.
        processor: its ZhCLIPProcessor.
        batch_size: the texts or pictures that the model computes at once.
        context_length: the longest text in tokens, the special tokens included; None keeps the repo's own.
        threads: the threads that read and decode pictures ahead; by default one for each processor, at most 8.

    Attributes:
        dim: the width of a row.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        batch_size: int = 32,
        context_length: int | None = None,
        threads: int | None = None,
    ):
        check_counts(batch_size=batch_size, **({} if threads is None else {"threads": threads}))
        self.model, self.processor = model, processor
        self.batch_size, self.context_length = batch_size, context_length
        self._tokens = tokens_of(processor)
        self.threads = threads or min(os.cpu_count() or 1, 8)
        self.dim: int = model.config.projection_dim

    @classmethod
    def from_pretrained(
        cls,
        repo: str | os.PathLike[str],
        engine: str = "torch",
        *,
        device_map: Any = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> "Embedder":
        """Loads a converted repo, or an ONNX export of it; no code of the folder runs.

        Args:
            repo: a folder, or a name on the hub; with `engine="onnx"`, a folder that `zhclip export --to onnx` wrote.
            engine: what computes: "torch"; "compile" for torch.compile, which takes a minute at the first batch and
                pays on a GPU; or "onnx" for onnxruntime on the CPU. "torch" and "compile" give the vectors of
                `model.encode_text` and `model.encode_image` to rounding, from layers that are fused.
            device_map: a device, or what transformers takes; by default a CUDA device if there is one, else the CPU.
            dtype: a dtype, its name, or "auto" for the dtype that the repo states. The rows are float32 always.
            batch_size: see the class.
            threads: see the class.

        Raises:
            InputError: the place holds nothing that the engine loads, or an argument is wrong.
        """
        if not isinstance(engine, str) or engine not in ENGINES:
            raise InputError(f"found engine={engine!r}; wanted one of {', '.join(ENGINES)}.")
        check_counts(batch_size=batch_size, **({} if threads is None else {"threads": threads}))
        place = check_path(repo, "repo", "a folder, or a name on the hub,")
        model, processor = ENGINES[engine](place, device_map, dtype)
        return cls(model, processor, batch_size, threads=threads)

    def encode_texts(self, texts: str | Iterable[str], out: np.ndarray | None = None) -> np.ndarray:
        """Embeds texts as `model.encode_text` does, but pads a batch to its own longest text.

        Texts of like length share a batch. If the model's text tower sees padding as text, all texts are padded to
        the longest text, as by `model.encode_text`; an iterator is then read to its end first.

        Args:
            texts: texts, or a single text; an iterator is read in steps.
            out: where the rows go, an array of float32 with at least as many rows, such as a `numpy.memmap`; by
                default a new array.

        Returns:
            (texts, dim), float32, on the CPU; a part of `out` if that is given.

        Raises:
            InputError: something else than texts is given, `out` does not fit, or the vectors are not finite.
        """
        texts = [texts] if isinstance(texts, str) else texts
        _check_several(texts, "texts")
        return self._collected("Encoding texts", texts, self.text_rows, out)

    def encode_images(
        self, pictures: Any, out: np.ndarray | None = None, broken: MutableMapping[int, str] | None = None
    ) -> np.ndarray:
        """Embeds pictures as `model.encode_image` does; threads read and decode them ahead.

        Args:
            pictures: pictures in any form that `model.encode_image` takes, or a single picture; an iterator is read
                in steps.
            out: as for `encode_texts`.
            broken: a dict for the pictures that cannot be read: the number of each, from 0, and why. They get no row.
                By default the first such picture is an error.

        Returns:
            (pictures that can be read, dim), float32, on the CPU; a part of `out` if that is given.

        Raises:
            InputError: a picture cannot be read, `out` does not fit, or the vectors are not finite.
            TypeError: something else than a picture is given.
        """
        if not isinstance(broken, MutableMapping | None):
            raise InputError(f"found broken of the type {type(broken).__name__}; wanted a dict, or None.")

        def rows(items: Iterable[Any], advance: Advance) -> Iterator[np.ndarray]:
            return self.picture_rows(items, advance, broken)

        pictures = [pictures] if _is_picture(pictures) else pictures
        _check_several(pictures, "pictures")
        return self._collected("Encoding pictures", pictures, rows, out)

    def _collected(
        self,
        what: str,
        items: Iterable[Any],
        rows: Callable[[Iterable[Any], Advance], Iterator[np.ndarray]],
        out: np.ndarray | None,
    ) -> np.ndarray:
        total = len(items) if isinstance(items, Sized) else None
        _check_out(out, total, self.dim)
        with shown_amount(what, total, "done") as advance:
            return collected(rows(items, advance), total, self.dim, out)

    def text_rows(self, texts: Iterable[str], advance: Advance = int) -> Iterator[np.ndarray]:
        """The rows of texts in their order, in blocks.

        Args:
            texts: the texts.
            advance: called with the number of texts that are done since its last call.
        """
        config = self.model.config
        left = self.processor.tokenizer.padding_side == "left"  # there, padding moves a text to other positions
        by_padding = left or (config.text_attends_to_padding and config.text_padded_length is None)
        for window in [list(texts)] if by_padding else batches(texts, WINDOW):
            if window:
                yield self._window(window, advance, by_padding)

    def _window(self, texts: list[str], advance: Advance, by_padding: bool) -> np.ndarray:
        inputs = self._tokenized(texts)
        lengths = inputs["attention_mask"].sum(axis=1)
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        # The longest first: what does not fit into memory is known at once.
        for numbers in batches(np.argsort(-lengths, kind="stable"), self.batch_size):
            longest = max(int(lengths[numbers[0]]), 1)
            part = slice(None if by_padding else longest)
            batch = {name: torch.from_numpy(ids[numbers, part]) for name, ids in inputs.items()}
            rows[numbers] = self._computed(self.model.encode_text, batch)
            advance(len(numbers))
        return rows

    def _tokenized(self, texts: list[str]) -> dict[str, np.ndarray]:
        _check_texts(texts)
        return self._tokens(texts, self.context_length)

    def picture_rows(
        self, pictures: Iterable[Any], advance: Advance = int, broken: MutableMapping[int, str] | None = None
    ) -> Iterator[np.ndarray]:
        """The rows of pictures in their order, in blocks; see `text_rows` and `encode_images`.

        A picture may also be a call without arguments that gives the picture: a thread makes it, ahead.
        """
        # Generators that are left early are closed, so that their threads end.
        with (
            closing(ahead(self._pixels, _loaded(pictures), self.threads, AHEAD * self.batch_size)) as prepared,
            closing(_readable(prepared, advance, broken)) as readable,
        ):
            for batch in batches(readable, self.batch_size):
                yield self._computed(self.model.encode_image, {"pixel_values": torch.cat(batch)})
                advance(len(batch))

    def _pixels(self, picture: Any) -> torch.Tensor:
        pixels = prepare_pictures(self.processor, [picture() if callable(picture) else picture])
        if len(pixels) != 1:
            raise TypeError(f"found {len(pixels)} pictures where one was wanted; give the pictures as a flat list")
        return pixels

    def _computed(self, encode: Callable[..., torch.Tensor], inputs: dict[str, torch.Tensor]) -> np.ndarray:
        device, dtype = self.model._input_device(), self.model.dtype
        moved = {name: each.to(device, dtype if each.is_floating_point() else None) for name, each in inputs.items()}
        with torch.inference_mode():
            found = encode(**moved)
            rows = found.float().cpu()
            if found.dtype != torch.float32:  # a length of 1 in that dtype is none in float32
                rows = torch.nn.functional.normalize(rows, dim=-1)
        if not rows.isfinite().all():
            raise InputError(
                "The model gives vectors that are not finite; finite vectors were wanted. Its weights may be damaged: "
                "run `zhclip verify REPO`."
            )
        return rows.numpy()


def collected(blocks: Iterable[np.ndarray], total: int | None, dim: int, out: np.ndarray | None = None) -> np.ndarray:
    """Puts blocks of rows one below the other, into `out` or into an array that is made once if `total` is known.

    Raises:
        InputError: `out` has too few rows.
    """
    rows = np.empty((total or 0, dim), dtype=np.float32) if out is None else out
    done = 0
    for block in blocks:
        if (needed := done + len(block)) > len(rows):
            if out is not None:
                raise _too_small(out, needed)
            rows.resize((max(needed, 2 * len(rows)), dim), refcheck=False)  # no view of it is out yet
        rows[done:needed] = block
        done = needed
    return rows[:done]


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, most: int
) -> Generator[Callable[[], Result], None, None]:
    """Calls a function in threads, in the order of the items; at most `most` results wait.

    Yields:
        A call that gives the result of an item, or raises its error.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "hf_zhclip_pictures") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > most:
                    yield waiting.popleft().result
            while waiting:
                yield waiting.popleft().result
        finally:
            for each in waiting:
                each.cancel()


def _loaded(pictures: Iterable[Any]) -> Iterator[Any]:
    """The pictures; Pillow images are loaded here, because two threads may not load an image that is given twice."""
    for picture in pictures:
        if isinstance(picture, Image.Image):
            with suppress(Exception):  # it fails again in its thread, with words
                picture.load()
        yield picture


def _readable(
    prepared: Iterable[Callable[[], torch.Tensor]], advance: Advance, broken: MutableMapping[int, str] | None
) -> Generator[torch.Tensor, None, None]:
    """The pixels of the pictures that can be read; notes why the others cannot, or refuses the first of them."""
    for number, pixels in enumerate(prepared):
        try:
            yield pixels()
        except (ValueError, OSError) as error:
            if broken is None:
                raise InputError(f"picture {number}, counted from 0: {error}") from error
            broken[number] = str(InputError(error))  # escaped and masked as in an error
            advance(1)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    rest, size = iter(items), min(size, sys.maxsize)
    while batch := list(islice(rest, size)):
        yield batch


def _is_picture(value: Any) -> bool:
    """Whether a value is a single picture, although some kinds of pictures can be iterated over."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim < 4
    single = (Image.Image, str, os.PathLike, bytes, bytearray, memoryview)
    return isinstance(value, single) or hasattr(value, "read") or not isinstance(value, Iterable)


def check_counts(**counts: int) -> None:
    """Refuses what is no whole number of 1 or more; the names are those of arguments."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise InputError(f"found {name}={count!r}; a whole number was wanted.")
        if count < 1:
            raise InputError(f"found {name}={count}; 1 or more was wanted.")


def _check_several(items: Any, what: str) -> None:
    """Refuses what has no items, and a dict, whose items would be its keys."""
    try:
        iter(items)
    except TypeError:
        pass
    else:
        if not isinstance(items, Mapping):
            return
    raise InputError(f"found a {type(items).__name__} as {what}; a list of {what}, or one of them, was wanted.")


def _check_texts(texts: list[Any]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"found a {type(text).__name__} among the texts; texts were wanted.")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        half = next(text for text in texts if _HALF.search(text))
        raise InputError(
            f"found {half[:80]!r}, which holds half a character (a lone surrogate); wanted valid Unicode. Leave the "
            "half out: text.encode('utf-8', 'ignore').decode()."
        ) from None


_HALF = re.compile("[\ud800-\udfff]")


def _with_torch(repo: str, device_map: Any, dtype: str | torch.dtype) -> tuple[Any, Any]:
    model, processor = _loaded_pair(repo, device_map, dtype)
    return fuse(model), processor


def _with_compile(repo: str, device_map: Any, dtype: str | torch.dtype) -> tuple[Any, Any]:
    model, processor = _loaded_pair(repo, device_map, dtype)
    return CompiledModel(fuse(model)), processor


def _loaded_pair(repo: str, device_map: Any, dtype: str | torch.dtype) -> tuple[Any, Any]:
    if os.path.isfile(os.path.join(repo, EXPORT)):
        raise InputError(f'{repo} holds an ONNX export; a converted repo was wanted. Give engine="onnx" with it.')
    device_map = best_device() if device_map is None else device_map
    _check_device(device_map)
    model, processor = load_pair(repo, device_map=device_map, dtype=_dtype(dtype))
    return model.eval(), processor


def _with_onnx(folder: str, device_map: Any, dtype: str | torch.dtype) -> tuple[Any, Any]:
    given = [] if _is_cpu(device_map) else [f"device_map={device_map!r} (--device)"]
    if dtype != "auto":
        given.append(f"dtype={dtype!r} (--dtype)")
    if given:
        raise InputError(
            f"found {' and '.join(given)} for an ONNX export, which runs on the CPU in the precision of its graphs. "
            f"Leave {'both' if len(given) > 1 else 'it'} out."
        )
    from .exported import load_export

    return load_export(folder)


def _is_cpu(device_map: Any) -> bool:
    if isinstance(device_map, str):
        with suppress(RuntimeError):
            device_map = torch.device(device_map)
    return device_map is None or (isinstance(device_map, torch.device) and device_map.type == "cpu")


ENGINES: dict[str, Callable[[str, Any, str | torch.dtype], tuple[Any, Any]]] = {
    "torch": _with_torch,
    "compile": _with_compile,
    "onnx": _with_onnx,
}
"""The engines: each loads a model and a processor."""


_DEVICES = f'a device, such as "cpu", one of {", ".join(SPREADS)}, or a map of the model\'s parts.'


def _check_device(device_map: Any) -> None:
    if isinstance(device_map, dict) and device_map:
        return
    if isinstance(device_map, bool) or not isinstance(device_map, str | int | torch.device):
        raise InputError(f"found device_map={device_map!r}; wanted {_DEVICES}")
    if device_map in SPREADS:
        return
    if trouble := trouble_with(device_map):
        raise InputError(
            f"found device_map={str(device_map)!r}, which this machine does not have: {trouble}. Wanted is {_DEVICES}"
        ) from trouble


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype != "auto" and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise InputError(f'found dtype={dtype!r} (--dtype); wanted "auto" or a floating dtype, such as "float16".')
    return dtype if found is None else found


def _check_out(out: np.ndarray | None, total: int | None, dim: int) -> None:
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise InputError(f"found an out of the type {type(out).__name__}; wanted an array of NumPy.")
    if out.dtype != np.float32 or out.ndim != 2 or out.shape[1] != dim:
        raise InputError(f"found an out of {out.dtype}, {out.shape}; wanted float32, (rows, {dim}).")
    if not out.flags.writeable:
        raise InputError("found an out that cannot be written; wanted an array that can.")
    if total is not None and len(out) < total:
        raise _too_small(out, total)


def _too_small(out: np.ndarray, needed: int) -> InputError:
    return InputError(f"found {len(out)} rows in out; at least {needed} were wanted, one for each input.")
