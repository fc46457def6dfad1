"""A small corpus of given vectors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hf_zhclip.inference.corpus import (
    SIDES,
    Failure,
    Manifest,
    Shard,
    Side,
    completed,
    shard_name,
    write_manifest,
    write_shard,
)

INPUT = {"path": "pictures", "format": "folder", "split": None, "pictures": None, "root": "pictures"}


def write_corpus(
    folder: Path,
    rows: np.ndarray,
    labels: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    texts: tuple[np.ndarray, Sequence[str]] | None = None,
    failed: Sequence[Failure] = (),
    shard_size: int = 4,
    repo: str = "repo",
    files: dict[str, str] | None = None,
    engine: str = "torch",
    **given_input: str | None,
) -> Manifest:
    """Writes a complete corpus as `zhclip embed` does.

    Args:
        folder: the folder to make.
        rows: the vectors of the pictures, (n, dim); they are written as they are.
        labels: the pictures' paths.
        ids: their ids; by default the paths.
        texts: vectors and texts of the other side; a text's id is its number.
        failed: pictures without a vector, which count as the last items.
        shard_size: the items of a shard.
        repo: the manifest's `model.repo`.
        files: the manifest's `model.files`.
        engine: the manifest's `engine`.
        given_input: other fields of the manifest's `input`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {"image": (rows, list(labels if ids is None else ids), list(labels))}
    if texts is not None:
        given["text"] = (texts[0], [str(number) for number in range(len(texts[1]))], list(texts[1]))
    failures = {name: list(failed) if name == "image" else [] for name in SIDES}
    sides = {name: Side(len(each[0]) + len(failures[name])) for name, each in given.items()}
    model = {"repo": repo, "revision": None, "files": files or {"model.safetensors": "1" * 64}}
    stated = Manifest(
        model,
        engine,
        "float32",
        rows.shape[1],
        32,
        shard_size,
        {**INPUT, "fingerprint": "0" * 64, **given_input},
        sides,
    )

    def write(changed: Callable[[np.ndarray], np.ndarray]) -> None:
        for name, (vectors, its_ids, its_labels) in given.items():
            for number in range(len(stated.shard_names(name))):
                start, end = number * shard_size, (number + 1) * shard_size
                part = slice(start, end)
                lost = failures[name][max(start - len(vectors), 0) : max(end - len(vectors), 0)]
                shard = Shard(changed(vectors[part]), its_ids[part], its_labels[part], tuple(lost))
                write_shard(folder / shard_name(name, number), shard, stated.key, name, number)

    write(_of_length_1)
    found = completed(folder, stated)
    write(lambda rows: rows)
    write_manifest(folder, found, folder / ".manifest")
    return found


def _of_length_1(rows: np.ndarray) -> np.ndarray:
    """Rows that `completed` takes, in the place of any."""
    return np.eye(1, rows.shape[1], dtype=np.float32).repeat(len(rows), axis=0)
