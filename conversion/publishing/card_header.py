"""What a user states about a card's metadata: by arguments, or in the existing card's header."""

from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from hf_zhclip.budget import MOST_RECIPE_BYTES
from hf_zhclip.json_files import brief

from ..errors import InputError
from ..reading.hub import HUB_ID
from .card_file import read_card
from .hub_values import LICENSES


@dataclass(frozen=True)
class Header:
    """What a user may state about a card's metadata; a field that nobody states is None.

    `stated_now`: an argument states the licence, not the existing card.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    base_model: tuple[str, ...] | None = None
    stated_now: bool = False


NOTHING_STATED = Header()


def header_stated(license: str | None, base_model: str | None) -> Header:
    """What the arguments of `card` state.

    Raises:
        InputError: the hub does not accept a value.
    """
    stated = Header(license, base_model=None if base_model is None else (base_model,))
    _check_header(stated, "--license", "--base-model", "")
    return replace(stated, stated_now=license is not None)


def header_of(path: Path, stated: Header) -> Header:
    """What a card's metadata states, overridden by what is stated now; both must have values that the hub accepts."""
    merged = _merge(_read_header(path), stated)
    _check_header(merged, "license:", "base_model:", f" in the header of {path}")
    return merged


def _check_header(header: Header, license: str, base_model: str, place: str) -> None:
    if header.license is not None and not (isinstance(header.license, str) and header.license in LICENSES):
        raise InputError(
            f"{license} {_told(header.license)}{place} is no licence id of the hub. Examples of ids are apache-2.0, "
            "mit and cc-by-nc-4.0; the list is at hf.co/docs/hub/repositories-licenses."
        )
    for base in header.base_model or ():
        match = HUB_ID.fullmatch(base) if isinstance(base, str) else None
        if match is None or match["file"]:
            raise InputError(f"{base_model} {_told(base)}{place} is no model on the hub. Wanted: user/name.")


def _told(value: object) -> str:
    """A value for a message: YAML's aliases make a short text stand for billions of items."""
    return value if isinstance(value, str) else brief(value)


def _read_header(path: Path) -> Header:
    if not path.is_file():
        return NOTHING_STATED
    text = read_card(path)
    if text.startswith("---") and len(text.partition("\n---")[0]) > MOST_RECIPE_BYTES:
        raise InputError(
            f"The metadata of {path} has more than {MOST_RECIPE_BYTES:,} characters; the metadata of a card was "
            "wanted. Correct the metadata, or remove the file."
        )
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            f"The metadata of {path} can't be read: {error}. Correct the metadata, or remove the file."
        ) from error
    base = data.get("base_model")
    bases = None if base is None else tuple(base if isinstance(base, list) else [base])
    return Header(data.get("license"), data.get("license_name"), data.get("license_link"), bases)


def _merge(old: Header, new: Header) -> Header:
    """The new values, else the old ones. A new licence brings its own name and link, or none."""
    licence = old if new.license in (None, old.license) else new
    return replace(licence, base_model=new.base_model or old.base_model, stated_now=new.stated_now)
