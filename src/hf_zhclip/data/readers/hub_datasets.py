"""What the package datasets reads: a folder of `save_to_disk`, parquet files, a data set on the Hugging Face hub.

One column holds the pictures (`datasets.Image`), one the text or a list of texts. With a column image_id, the first
row of an id gives its picture; without it, each row is a picture. The package runs no code of a data set.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...budget import check_regular
from ...errors import InputError, WorkError
from ...extras import extra
from ...hub import exchange
from ...json_files import brief
from ...paths import resolved
from ..formats import Format
from ..split import Id, Pictures, Split, Text, as_id, checked
from .captions_file import TEXT
from .foreign_tables import METADATA, README, SAVED, SEVERAL, check_metadata, check_rows, saved_files

ON_DISK = (SAVED, SEVERAL)
TEXTS = (*TEXT, "captions")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def _claims(place: str) -> bool:
    path = Path(place)
    if not path.exists():
        # Where the first part is a folder, a path is mistyped; asking the hub takes half a minute without a network.
        return NAME.fullmatch(place) is not None and not path.parent.exists()
    if path.is_file():
        return path.suffix == ".parquet"
    return any((path / name).is_file() for name in ON_DISK) or any(
        any(path.glob(pattern)) for pattern in ("*.parquet", "data/*.parquet")
    )


def _loaded(place: str) -> dict[str, Any]:
    """The data set's splits by name; they lie on disk."""
    datasets = extra("datasets", "This data set")
    path = Path(place)
    with _errors(place, path.exists()):
        for each in path.rglob("*") if path.is_dir() else (path,) if path.exists() else ():
            if not each.is_dir():  # the package would open a pipe or a device
                check_regular(each, "a file of a data set")
        if path.is_dir() and any((path / name).is_file() for name in ON_DISK):
            check_rows(saved_files(path))
            found = datasets.load_from_disk(place)
        else:
            found = _prepared(place)
    return dict(found) if isinstance(found, dict) else {str(found.split or "train"): found}


def _prepared(place: str) -> Any:
    """The splits of a parquet file, of a folder of such files, or of a data set on the hub."""
    datasets = extra("datasets", "This data set")
    path = Path(place)
    if path.is_file():
        builder = datasets.load_dataset_builder("parquet", data_files=place)
    else:
        _check_metadata(place)
        builder = datasets.load_dataset_builder(place)
    if path.exists():
        files = [Path(str(each)) for some in builder.config.data_files.values() for each in some]
        if other := [each for each in files if each.suffix != ".parquet"]:
            raise InputError(
                f"{place} holds other data beside its parquet files, which the package datasets would read instead: "
                f"{other[0].name}. Name the parquet file, or remove the other files."
            )
        check_rows(files)
    builder.download_and_prepare()
    return builder.as_dataset()


def _check_metadata(place: str) -> None:
    path = Path(place)
    for name in (README, METADATA):
        check_metadata(path / name if path.exists() else _on_the_hub(place, name), name)


def _on_the_hub(place: str, name: str) -> Path:
    """A file of a data set on the hub; a path that does not exist where it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(place, name, repo_type="dataset"))
    except EntryNotFoundError:  # also where it is not in the cache and the hub cannot be asked
        return Path(place) / name


def _splits(place: str) -> Sequence[str]:
    if not Path(place).exists():
        datasets = extra("datasets", "A data set on the hub")
        with _errors(place, False):
            _check_metadata(place)
            return datasets.get_dataset_split_names(place)
    return list(_loaded(place))


@contextmanager
def _errors(place: str, local: bool) -> Iterator[None]:
    try:
        with nullcontext() if local else exchange():
            yield
    except (InputError, WorkError):
        raise
    except (ConnectionError, TimeoutError) as error:
        raise WorkError(f"{place} is no path here, and could not be asked for on the hub: {error}") from error
    except Exception as error:  # the package raises errors of many kinds
        where = "here" if local else "and is no path here"
        raise InputError(f"{place} cannot be read by the package datasets, {where}: {error}") from error


@dataclass(frozen=True)
class Rows:
    """Pictures in rows of a data set."""

    place: str
    dataset: Any
    rows: Sequence[int]

    def content(self, row: int) -> bytes:
        (value,) = self.dataset[self.rows[row]].values()
        if value is not None and value["bytes"]:
            return value["bytes"]
        if value is not None and value["path"] and self._own(value["path"]):
            return Path(value["path"]).read_bytes()
        raise InputError(f"{self.where(row)} holds no picture, or the path of a file elsewhere.")

    def where(self, row: int) -> str:
        return f"row {self.rows[row]} of {self.place}"

    def _own(self, path: str) -> bool:
        """Whether a path leads into the data set or into the hub's caches: a foreign file could name any other."""
        config = extra("datasets", "This data set").config
        folders = (self.place, config.HF_CACHE_HOME, config.HF_DATASETS_CACHE)
        inside = resolved(path)
        return inside.is_file() and any(inside.is_relative_to(resolved(each)) for each in map(str, folders))


def read(place: str, split: str, pictures: Path | None = None) -> Split:
    """Reads texts and ids; pictures are read when they are asked for.

    Raises:
        InputError: the package datasets is missing or cannot read the place, or columns are missing or wrong.
        WorkError: the hub cannot be reached.
    """
    datasets = extra("datasets", "This data set")
    dataset = _loaded(place)[split]
    image, text = _columns(dataset.features, place)
    texts, ids, rows = _texts(dataset, text, place)
    content = dataset.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    return checked(Split(split, texts, Pictures.all_of(ids, Rows(place, content, rows))), f"{place} ({split})")


def read_pictures(place: str, split: str | None) -> Split:
    """Reads the pictures alone; no column of texts is needed.

    Raises:
        InputError: the package datasets is missing or cannot read the place, or it has not one column of pictures.
        WorkError: the hub cannot be reached.
    """
    datasets = extra("datasets", "This data set")
    dataset = _loaded(place)[str(split)]
    images = _images(dataset.features)
    if len(images) != 1:
        raise InputError(
            f"{place} has the columns {', '.join(dataset.features)}, and pictures in {len(images)} of them; wanted "
            "one column of pictures (datasets.Image). Remove the other columns."
        )
    rows: Sequence[int] = range(len(dataset))
    ids: Sequence[Id] = rows
    if "image_id" in dataset.features:
        first: dict[Id, int] = {}
        for number, row in enumerate(dataset.select_columns(["image_id"])):
            first.setdefault(_id(row["image_id"], f"{place}, row {number}"), number)
        ids, rows = list(first), list(first.values())
    content = dataset.select_columns(images).cast_column(images[0], datasets.Image(decode=False))
    return Split(str(split), (), Pictures.all_of(ids, Rows(place, content, rows)))


def _images(features: Any) -> list[str]:
    return [name for name, kind in features.items() if type(kind).__name__ == "Image"]


def _columns(features: Any, place: str) -> tuple[str, str]:
    images = _images(features)
    texts = [name for name in TEXTS if name in features]
    if len(images) != 1 or not texts:
        raise InputError(
            f"{place} has the columns {', '.join(features)}, and pictures in {len(images)} of them; wanted one column "
            f"of pictures (datasets.Image), and texts in a column {', '.join(TEXTS)}. Rename or remove columns."
        )
    return images[0], texts[0]


def _texts(dataset: Any, column: str, place: str) -> tuple[list[Text], list[Id], list[int]]:
    """The texts, the pictures' ids, and the row of each picture."""
    stated = [name for name in ("image_id", "text_id") if name in dataset.features]
    said: dict[Id, str] = {}
    images: dict[Id, list[Id]] = {}
    rows: dict[Id, int] = {}
    for number, row in enumerate(dataset.select_columns([column, *stated])):
        where = f"{place}, row {number}"
        image_id = _id(row["image_id"], where) if "image_id" in row else number
        rows.setdefault(image_id, number)
        for text in _list(row[column], where):
            text_id = _id(row["text_id"], where) if "text_id" in row else len(said)
            if said.setdefault(text_id, text) != text:
                raise InputError(
                    f"{where} gives the text id {text_id} another text than a row before; each id has one."
                )
            images.setdefault(text_id, []).append(image_id)
    texts = [Text(each, text, tuple(images[each])) for each, text in said.items()]
    return texts, list(rows), list(rows.values())


def _list(value: Any, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise InputError(f"{where} has the text {brief(value)}; a text or a list of texts was wanted.")
    return values


def _id(value: Any, where: str) -> Id:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{where} has the id {brief(value)}; a whole number or a text was wanted.")
    return as_id(str(value))


FORMAT = Format(
    wants="what the package datasets reads: a folder of save_to_disk, parquet files, or user/name on the hub; one "
    f"column of pictures and a column {TEXTS[0]} (or {', '.join(TEXTS[1:])})",
    claims=_claims,
    splits=_splits,
    read=read,
    read_pictures=read_pictures,
    below=True,
)
