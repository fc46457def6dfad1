"""`read`: a place in any of the formats -> a split."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..paths import resolved
from ..telling import near
from .formats import Format
from .readers import captions_file, hub_datasets, lmdb_folder, picture_folder, taiyi_captions, tsv_files
from .split import Split

FORMATS: Mapping[str, Format] = {
    "tsv": tsv_files.FORMAT,
    "lmdb": lmdb_folder.FORMAT,
    "captions": captions_file.FORMAT,
    "taiyi": taiyi_captions.FORMAT,
    "folder": picture_folder.FORMAT,
    "datasets": hub_datasets.FORMAT,
}


def read(
    place: str | os.PathLike[str],
    split: str | None = None,
    format: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
) -> Split:
    """Reads the texts and the pictures' ids of a split; pictures are decoded when they are asked for.

    Args:
        place: a file, a folder, or `user/name` on the Hugging Face hub.
        split: the split's name, where the place holds several splits.
        format: a name of `FORMATS`, where several formats claim the place.
        pictures: the folder of the pictures, where a file of captions does not lie in it.

    Raises:
        InputError: no format or several formats claim the place, the split is not there or must be named, or the data
            are wrong.
    """
    place = os.fspath(place)
    chosen, folder = _chosen(place, format, pictures)
    return chosen.read(place, _one(place, split, chosen.splits(place)), folder)


def read_splits(
    place: str | os.PathLike[str],
    only: str | None = None,
    format: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
) -> list[Split]:
    """Reads every split of a place, or one; see `read`."""
    place = os.fspath(place)
    chosen, folder = _chosen(place, format, pictures)
    found = chosen.splits(place)
    names = found if only is None and found else [_one(place, only, found)]
    return [chosen.read(place, name, folder) for name in names]


def read_pictures(
    place: str | os.PathLike[str],
    split: str | None = None,
    format: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
) -> Split:
    """Like `read`, for whoever needs no texts, where they are not read: the texts may be missing.

    A folder gives all its pictures, whatever their names; a picture's id then is its path under the folder.
    """
    place = os.fspath(place)
    chosen, folder = _chosen(place, format, pictures)
    joined = split is None and chosen.joined and folder is None
    name = None if joined else _one(place, split, chosen.splits(place))
    if chosen.read_pictures is not None and folder is None:
        return chosen.read_pictures(place, name)
    return chosen.read(place, str(name), folder)


def _chosen(place: str, format: str | None, pictures: str | os.PathLike[str] | None) -> tuple[Format, Path | None]:
    name = format_of(place, format)
    if pictures is not None and not FORMATS[name].pictures_elsewhere:
        raise InputError(
            f"{place} is read as {name}, which holds its pictures itself, so that pictures (--pictures) has no "
            "effect. Leave it out."
        )
    return FORMATS[name], None if pictures is None else Path(pictures)


def format_of(place: str, format: str | None = None) -> str:
    """The name of the format that claims a place.

    Raises:
        InputError: no format or several formats claim it, or the stated name is no format.
    """
    if format is not None:
        if format not in FORMATS:
            raise InputError(
                f"{format} is no format of data.{near(format, FORMATS)} The formats are:{_wanted(FORMATS)}"
            )
        return format
    claims = [name for name, each in FORMATS.items() if each.claims(place)]
    if len(claims) == 1:
        return claims[0]
    if claims:
        raise InputError(
            f"{place} can be read as {' and as '.join(claims)}. Say which you mean with format (--format of `zhclip "
            f"data`):{_wanted(claims)}"
        )
    found = "holds data of no format" if os.path.exists(place) else "does not exist, and is no name on the hub"
    raise InputError(f"{place} {found}. Wanted is one of these:{_wanted(FORMATS)}")


def check_outside(out: str | os.PathLike[str], place: str | os.PathLike[str], format: str | None = None) -> None:
    """Refuses an `out` in a folder of data whose inner folders are read, too: it would become a part of the data.

    Raises:
        InputError: see above; or no format or several formats claim the place.
    """
    inside = resolved(place) in resolved(out).parents
    if inside and FORMATS[format_of(os.fspath(place), format)].below:
        raise InputError(
            f"{out} lies in {place}, whose inner folders are read, too: it would become a part of the data. Choose a "
            "place outside."
        )


def _wanted(names: Sequence[str] | Mapping[str, Format]) -> str:
    return "".join(f"\n  {name}: {FORMATS[name].wants}" for name in names)


def _one(place: str, split: str | None, found: Sequence[str]) -> str:
    if split is not None and split in found:
        return split
    names = ", ".join(found)
    if split is not None:
        raise InputError(f"{place} holds no split {split}; it holds {names or 'none'}.{near(split, found)}")
    if not found:
        raise InputError(f"{place} holds no data of this format. The formats want:{_wanted(FORMATS)}")
    if len(found) > 1:
        raise InputError(f"{place} holds the splits {names}. Name one of them with split (--split).")
    return found[0]
