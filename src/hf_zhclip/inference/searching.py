"""`search`: a sentence or a picture -> the nearest pictures of a corpus that `zhclip embed` wrote."""

import math
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..budget import check_regular
from ..data.split import Id, opened
from ..errors import InputError
from ..evaluation.nearest import nearest
from ..steady import whole
from ..telling import shown
from .corpus import MANIFEST, Corpus, is_weights
from .embedder import Embedder, check_counts
from .loading import check_device, check_path, file_hashes, located

TOP_K = 10

MOST_CHARACTERS = 10_000
"""A sentence: the longest context of a known model takes a fifth. A tokenizer reads all of it before it is cut."""

PICTURE = "a file with a picture"
"""What a query may be instead of a sentence."""


@dataclass(frozen=True)
class Found:
    """What a search found, the best first.

    Attributes:
        ids: the pictures' ids.
        paths: their paths, relative to the folder that was embedded; "" where a picture is no file.
        cosines: their cosines with the query. A cosine is no probability.
        rows: their numbers in the corpus, from 0.
        size: the pictures of the corpus.
        above: the pictures of the whole corpus whose cosine is at least the threshold; None without a threshold.
    """

    ids: Sequence[Id]
    paths: Sequence[str]
    cosines: Sequence[float]
    rows: Sequence[int]
    size: int
    above: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        each = zip(self.ids, self.paths, self.cosines, strict=True)
        results = [
            {"rank": rank, "id": id_, "path": path, "cosine": cosine}
            for rank, (id_, path, cosine) in enumerate(each, start=1)
        ]
        return {"size": self.size, "above": self.above, "results": results}

    def text(self) -> str:
        """A line for each picture: its rank, its cosine with the query, and its path or id."""
        names = [shown(path or str(id_)) for id_, path in zip(self.ids, self.paths, strict=True)]
        ranked = enumerate(zip(self.cosines, names, strict=True), start=1)
        lines = [f"{rank:4}  {cosine:7.4f}  {name}" for rank, (cosine, name) in ranked]
        lines = ["rank   cosine  picture", *lines] if lines else []
        if self.above is not None:
            lines.append(f"{self.above} of {self.size} pictures reach the threshold.")
        return "\n".join(lines)


def search(
    out: str | os.PathLike[str],
    query: str | None = None,
    picture: str | os.PathLike[str] | None = None,
    top_k: int = TOP_K,
    threshold: float | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """Finds the pictures of a corpus that are nearest to a sentence or to a picture, exactly: every row is compared.

    Args:
        out: the folder that `zhclip embed` wrote.
        query: a sentence in a language that the model knows; or
        picture: the path of a picture.
        top_k: the most pictures that are wanted; a smaller corpus gives all its pictures.
        threshold: the least cosine that is wanted; `Found.above` then counts the pictures that reach it.
        model: where the corpus's model lies now, if it has moved.
        device: where the query is computed; by default a CUDA device if there is one.
        tell: takes a sentence about what differs from the time of the embedding.

    Raises:
        InputError: an argument is wrong, the folder holds no whole corpus, or the model is missing or another model
            than that of the corpus.
    """
    asked = check_query(query, picture)
    check_counts(top_k=top_k)
    check_threshold(threshold)
    index = Index.open(out, model, device, tell)
    row = index.row(**asked)
    return index.found(row, top_k, threshold)


class Index:
    """A corpus whose rows are mapped into memory, and its model.

    Args:
        corpus: the vectors of the pictures.
        embedder: the corpus's model.

    Raises:
        InputError: a shard is damaged, or holds rows that have not the length 1.
    """

    def __init__(self, corpus: Corpus, embedder: Embedder):
        self.corpus, self.embedder = corpus, embedder
        self._pool = Blocks([_tensor(block) for block in corpus.blocks() if len(block)])

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        model: str | os.PathLike[str] | None,
        device: str | None,
        tell: Callable[[str], None],
    ) -> "Index":
        """Opens a corpus and loads its model; see `search`."""
        _check_out(out)
        if isinstance(device, str):
            check_device(device)
        corpus = Corpus.open(out)
        if not len(corpus):
            raise InputError(f"{out} holds no vectors: every picture failed; {MANIFEST} there says why.")
        return cls(corpus, _embedder(corpus, model, device, tell))

    def row(self, query: str = "", picture: str | os.PathLike[str] | None = None) -> torch.Tensor:
        """The vector of a sentence or of a picture, (dim,), float32.

        Raises:
            InputError: the picture cannot be read.
        """
        if picture is None:
            return torch.from_numpy(self.embedder.encode_texts([query])[0])
        place = Path(picture)
        check_regular(place, PICTURE)
        try:
            content = whole(place)
        except OSError as error:
            raise InputError(f"{picture} cannot be read: {error.strerror}; {PICTURE} was wanted.") from error
        return torch.from_numpy(self.embedder.encode_images([opened(content, str(picture))])[0])

    def found(self, row: torch.Tensor, top_k: int, threshold: float | None = None) -> Found:
        """The nearest pictures of a vector, in an order that does not depend on the shards.

        Args:
            row: (dim,), float32.
            top_k: 1 or more.
            threshold: see `search`.
        """
        numbers = nearest(row[None], self._pool, min(top_k, len(self._pool)))[0]
        cosines = _cosines(self._pool[numbers], row)
        above = None
        if threshold is not None:
            kept = cosines >= threshold
            numbers, cosines, above = numbers[kept], cosines[kept], self._count(row, threshold)
        rows = numbers.tolist()
        ids, paths = [self.corpus.ids[each] for each in rows], [self.corpus.paths[each] for each in rows]
        return Found(ids, paths, cosines.tolist(), rows, len(self.corpus), above)

    def _count(self, row: torch.Tensor, threshold: float) -> int:
        """The rows whose cosine is at least the threshold, by the same rounding as in `found`."""
        scores = torch.cat([block @ row for block in self._pool.blocks])
        unsure = ((scores - threshold).abs() < 4 * len(row) * 2.0**-24).nonzero().flatten()
        scores[unsure] = _cosines(self._pool[unsure], row)
        return int((scores >= threshold).sum())


class Blocks:
    """Blocks of rows as one pool for `nearest`, without a copy.

    Args:
        blocks: tensors (n, dim), float32; none is empty.
    """

    def __init__(self, blocks: Sequence[torch.Tensor]):
        self.blocks = blocks
        self._ends = torch.tensor(list(accumulate(map(len, blocks))))
        self.shape = (int(self._ends[-1]), blocks[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """The rows in their order, at most `size` at a time."""
        for block in self.blocks:
            yield from block.split(size)

    def __getitem__(self, numbers: torch.Tensor) -> torch.Tensor:
        """The rows of some numbers: (…) -> (…, dim)."""
        flat = numbers.flatten()
        places = zip(flat.tolist(), torch.bucketize(flat, self._ends, right=True).tolist(), strict=True)
        rows = [self.blocks[block][number - self._begin(block)] for number, block in places]
        return torch.stack(rows).view(*numbers.shape, -1) if rows else torch.empty(*numbers.shape, self.shape[1])

    def _begin(self, block: int) -> int:
        return int(self._ends[block]) - len(self.blocks[block])


def _cosines(rows: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """In float64, rounded to float32, as `nearest` compares them."""
    return (rows.double() @ row.double()).float()


def _tensor(block: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rows are read-only, and nobody writes to them
        return torch.from_numpy(block)


# Arguments


def check_query(query: str | None, picture: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The given one of the two.

    Raises:
        InputError: both or neither are given, the sentence is empty, too long or no text, or the picture is no file.
    """
    if (query is None) == (picture is None):
        found = "neither query nor picture" if query is None else "both query and picture"
        raise InputError(f'found {found}; wanted one of them: search(out, "一只狗"), or search(out, picture=PATH).')
    if query is None:
        place = check_path(picture, "picture", "the path of a picture")
        check_regular(place, PICTURE)  # before the model is loaded
        return {"picture": place}
    if not isinstance(query, str):
        raise InputError(f"found query of the type {type(query).__name__}; a sentence was wanted, as a text.")
    if len(query) > MOST_CHARACTERS:
        raise InputError(
            f"found a sentence of {len(query):,} characters; {MOST_CHARACTERS:,} at most were wanted. A model reads "
            "the first of them."
        )
    if all(map(_is_invisible, query)):
        raise InputError("found an empty sentence; wanted words that say what to find.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "found half a character (a lone surrogate) in the sentence; wanted valid Unicode, which a terminal whose "
            "locale is POSIX does not give."
        ) from error
    return {"query": query}


EMPTY = re.compile("[\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Characters that show nothing, although Unicode counts them as letters, marks or symbols."""


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Zs") or bool(EMPTY.match(character))


def check_threshold(threshold: float | None) -> None:
    """Refuses what is no number, and what no cosine can reach or miss."""
    if threshold is None:
        return
    number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
    if not (number and math.isfinite(threshold) and -1 <= threshold <= 1):
        raise InputError(f"found threshold={threshold!r}; a cosine from -1 to 1 was wanted.")


def _check_out(out: str | os.PathLike[str]) -> None:
    """Refuses a file, such as the manifest, in the place of the folder."""
    folder = Path(check_path(out, "out", "the folder of a corpus"))
    if folder.is_file():
        whole = f" Name its folder: {folder.parent}" if folder.name == MANIFEST else ""
        raise InputError(f"{folder} is a file; the folder was wanted that `zhclip embed REPO INPUT OUT` wrote.{whole}")


# The model


def _embedder(
    corpus: Corpus, model: str | os.PathLike[str] | None, device: str | None, tell: Callable[[str], None]
) -> Embedder:
    """Loads the corpus's model, in the engine and the dtype of the corpus.

    Raises:
        InputError: the model is missing, or is another model than that of the corpus.
    """
    manifest, place = corpus.manifest, _place(corpus, model)
    folder, _ = located(place, manifest.model["revision"] if model is None else None)
    # To compile a model takes longer than a search; an export has the dtype of its graphs.
    engine, dtype = ("onnx", "auto") if manifest.engine == "onnx" else ("torch", manifest.dtype)
    with ThreadPoolExecutor(1) as pool:
        hashes = pool.submit(file_hashes, folder)  # while the weights are loaded
        embedder = Embedder.from_pretrained(folder, engine, device_map=device, dtype=dtype)
    _check_same(corpus, place, hashes.result(), tell)
    if embedder.dim != manifest.dim:
        raise InputError(
            f"found vectors of {manifest.dim} numbers in {corpus.folder}; the {embedder.dim} of its model were wanted."
        )
    return embedder


def _place(corpus: Corpus, model: str | os.PathLike[str] | None) -> str:
    """Where the model lies: the given place, or the manifest's."""
    if model is not None:
        return check_path(model, "model", "a folder, or a name on the hub,")
    repo = corpus.manifest.model["repo"]
    if os.path.isabs(repo) and not os.path.isdir(repo):
        raise InputError(
            f"{corpus.folder} was embedded with the model {repo}, which is not there. If the model has moved, say "
            "where it lies now: --model REPO."
        )
    return repo


def _check_same(corpus: Corpus, place: str, found: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Refuses other weights than those of the corpus; tells of other files that differ.

    Raises:
        InputError: the weights differ.
    """
    stated = corpus.manifest.model["files"]
    other = sorted(name for name in stated.keys() | found.keys() if stated.get(name) != found.get(name))
    if weights := list(filter(is_weights, other)):
        raise InputError(
            f"found another model in {place} than {corpus.folder} was embedded with: the sha256 of {weights[0]} "
            "differs. Vectors of two models cannot be compared. Name the corpus's own model with --model REPO, or "
            "embed the pictures with this model into another folder."
        )
    if other:
        tell(
            f"{', '.join(other)} in {place} differ from the files at the time of the embedding. If they change how "
            "texts or pictures are prepared, the cosines are not right."
        )
