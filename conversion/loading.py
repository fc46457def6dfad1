"""load(): an original checkpoint -> a model and its processor, through a converted copy in the cache."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub.constants import HF_HOME

from hf_zhclip.configuration_zhclip import ZhCLIPConfig
from hf_zhclip.json_files import read_json
from hf_zhclip.paths import resolved

from .detection.beside import PACKAGED, is_packaged
from .errors import InputError
from .pipeline import convert
from .reading.files import sha256
from .reading.hub import locate, published
from .reading.namesakes import refuse_older_folder
from .reading.read import FSDP_FILE, WEIGHTS, read
from .repos.repo import load_processor
from .repos.report import FILE, versions
from .repos.write import write_json
from .stated import Stated

MODEL_TYPE = ZhCLIPConfig.model_type
"""Part of the cache's key: earlier code of this package version wrote model types that AutoModel does not know."""


def load(
    source: str | Path,
    *,
    vision: str | Path | None = None,
    format: str | None = None,
    tokenizer: str | Path | None = None,
    config: str | Path | None = None,
    context_length: int | None = None,
    ema: str | None = None,
    **from_pretrained: Any,
) -> tuple[Any, Any]:
    """Loads `(model, processor)` from an original checkpoint, or `(model, tokenizer)` from a text tower alone.

    The first call converts and verifies the source into a cache folder (under `ZHCLIP_CACHE`, else under `zhclip` in
    `HF_HOME`). Hashes of the source's files name this folder. Later calls only load it.

    Args:
        source: as for `convert`; the other arguments have the same names and meanings as for `convert`.
        **from_pretrained: the arguments of `AutoModel.from_pretrained`: `device_map`, `dtype`, …

    Raises:
        InputError, ParityError, WorkError: as for `convert`.
    """
    from transformers import AutoModel

    if entry := published(source):
        vision, format = vision or entry.vision, format or entry.format
    stated = Stated(
        source,
        vision=vision,
        format=format,
        tokenizer=tokenizer,
        config=config,
        context_length=context_length,
        ema=ema,
    )
    places = _places(stated)
    if places["source"].is_dir():
        refuse_older_folder(places["source"], source)
    folder = _cache() / _key(stated, places)
    if not (folder / FILE).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):  # one of several processes converts, the others wait
            if not (folder / FILE).exists():
                convert(out=folder, **vars(stated))
    return AutoModel.from_pretrained(folder, **from_pretrained), load_processor(folder)


def _existing(path: str | Path) -> Path:
    if not Path(path).exists():
        raise InputError(f"{path} does not exist. Wanted: the path of a file or a folder.")
    return Path(path)


def _cache() -> Path:
    return Path(os.environ.get("ZHCLIP_CACHE") or Path(HF_HOME) / "zhclip")


def _places(stated: Stated) -> dict[str, Path]:
    """The local path of everything that is read, by the name of the field that states it."""
    places = {
        "vision": locate(stated.vision) if stated.vision else None,
        "tokenizer": _existing(stated.tokenizer) if stated.tokenizer and not is_packaged(stated.tokenizer) else None,
        "config": _existing(stated.config) if stated.config else None,
        "source": locate(stated.source),
    }
    return {name: place for name, place in places.items() if place is not None}


def _key(stated: Stated, places: Mapping[str, Path]) -> str:
    parts = {
        **({"tokenizer": PACKAGED} if is_packaged(stated.tokenizer) else {}),
        **{name: _content(place, weights=name in ("source", "vision")) for name, place in places.items()},
        **{name: getattr(stated, name) for name in ("format", "context_length", "ema")},
        "versions": versions(),
        "model_type": MODEL_TYPE,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _content(place: Path, weights: bool = True) -> list[str]:
    """Hashes of the files that a conversion reads: a folder's weights, and the small files beside them."""
    if not place.is_dir() and place.name not in (*WEIGHTS, FSDP_FILE):
        return [_hash(place)]
    folder = place if place.is_dir() else place.parent
    files = {file for file in folder.iterdir() if file.suffix in (".json", ".txt")}
    files.update(read(place).files if weights else ())
    return [f"{file.name}:{_hash(file)}" for file in sorted(files)]


def _hash(file: Path) -> str:
    """The file's SHA-256; it is cached by the file's size and times, so that a second call does not read the file."""
    stat = file.stat()
    identity = [str(resolved(file)), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    note = _cache() / "hashes" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, LookupError):  # missing, or half written by another process
        return read_json(note)["sha256"]
    digest = sha256(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"sha256": digest})
    return digest
