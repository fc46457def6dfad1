"""Files -> Checkpoint: lazy tensors under the upstream's keys, transport wrappers removed, no pickle ever executed.

Tensors are memory-mapped: their headers are read here, their values only when somebody computes with them.
"""

import argparse
import io
import json
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from .errors import InputError, WorkError
from .mapping import fold

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f920")
"""First bytes of torch.save before torch 1.6."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weight files of a Hugging Face folder, in the order in which transformers looks for them."""

NESTED = ("state_dict", "model")
"""Top-level keys under which training scripts keep the weights."""

HARMLESS = re.compile(
    r"torch\.\w+|torch\._utils\.\w+|collections\.OrderedDict|argparse\.Namespace|_codecs\.encode"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\._?core\.multiarray\.scalar"
)
"""Globals that are data: storages, dtypes, how a tensor is put together, and what `_load_torch` allows beside."""

DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError),
    *(AssertionError, OverflowError, struct.error),
)
"""What torch.load raises for a damaged file."""

ANYWHERE = ("_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.")
"""Prefixes that wrappers of a submodule also leave in the middle of a key."""

WRAPPERS = {
    "module.": "DistributedDataParallel or DataParallel",
    "_orig_mod.": "torch.compile",
    "_forward_module.": "Lightning with DeepSpeed",
    "_fsdp_wrapped_module.": "FSDP",
}

KINDS = {
    "weights without values (a meta device's), which can't be converted:": lambda tensor: tensor.is_meta,
    "quantised weights, which can't be turned back (convert the checkpoint from before the quantisation):": (
        lambda tensor: tensor.is_quantized
    ),
    "sparse tensors (save them after to_dense()):": lambda tensor: tensor.layout != torch.strided,
}
"""What can't be converted, how it is recognised, and what to do about it."""

REFUSED_FOLDERS = {
    "adapter_config.json": "a PEFT / LoRA adapter, not a model: merge it first with merge_and_unload() and save that",
    "zero_to_fp32.py": "a DeepSpeed checkpoint folder: run its own `python zero_to_fp32.py . OUT` and convert OUT",
    ".metadata": "a torch.distributed.checkpoint folder: merge it with "
    "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE` and convert FILE",
    "open_clip_config.json": "an open_clip folder, which this version does not convert",
    "modules.json": "a sentence-transformers folder, which this version does not convert",
    "configuration.json": "a ModelScope folder, which this version does not convert",
}


@dataclass(frozen=True)
class Checkpoint:
    """What was read: `tensors` maps source keys to memory-mapped tensors."""

    path: Path
    files: tuple[Path, ...]
    container: str
    tensors: Mapping[str, torch.Tensor]
    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    hub_id: str = ""
    revision: str = ""

    @property
    def name(self) -> str:
        """The hub's name for it, or the last part of the path; of `.` the folder's own name."""
        return self.hub_id or Path(os.path.abspath(self.path)).name

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read(path: Path) -> Checkpoint:
    """Reads a weight file or a Hugging Face folder.

    Raises:
        InputError: for anything that is not a checkpoint, is damaged, or would have to run code to be read.
        WorkError: when the system could not read the file.
    """
    try:
        return replace(_read_folder(path) if path.is_dir() else _read_single(path), path=path)
    except OSError as error:
        raise WorkError(f"{path} could not be read: {error.strerror or error}.") from error


def _read_folder(folder: Path) -> Checkpoint:
    for marker, meaning in REFUSED_FOLDERS.items():
        if (folder / marker).exists() and not _is_converted(folder):
            raise InputError(f"{folder} is {meaning}. (Seen: {marker}.)")
    for name in WEIGHTS:
        if (folder / name).exists():
            return _with_config(folder, _read_weights(folder / name))
    other = sorted(p.name for p in folder.iterdir() if p.suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"))
    hint = f"It holds {', '.join(other)}: name one of them instead of the folder." if other else ""
    raise InputError(f"{folder} holds none of {', '.join(WEIGHTS)}. {hint}".rstrip())


def _is_converted(folder: Path) -> bool:
    """Whether it is a repo of this package, which holds sentence-transformers' files, too."""
    path = folder / "config.json"
    return path.exists() and read_json(path).get("model_type") == "zhclip"


def _read_single(path: Path) -> Checkpoint:
    checkpoint = _read_weights(path)
    # Only the names of a Hugging Face folder vouch that the config.json beside them is theirs.
    return _with_config(path.parent, checkpoint) if path.name in WEIGHTS else checkpoint


def _read_weights(path: Path) -> Checkpoint:
    return _read_shards(path) if path.name.endswith(".index.json") else _read_file(path)


def _with_config(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    path = folder / "config.json"
    config = read_json(path) if path.exists() else {}
    if quantization := config.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise InputError(
            f"{path} says that the weights are quantised ({method}). They can't be turned back into the original's: "
            "convert the checkpoint from before the quantisation."
        )
    files = (*checkpoint.files, path) if path.exists() else checkpoint.files
    return replace(checkpoint, files=files, folder=folder, config=config)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an `InputError` when it is none."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {found}; a JSON file was wanted.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; a JSON object was wanted.")
    return value


def _read_shards(index: Path) -> Checkpoint:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map; a Hugging Face index was wanted.")
    if wrong := [f"{key}: {name!r}" for key, name in places.items() if not _is_file_name(name)]:
        raise InputError(f"{index}: weight_map names {_some(wrong)}; file names were wanted, none outside its folder.")
    names = sorted(set(places.values()))
    if absent := [name for name in names if not (index.parent / name).exists()]:
        raise InputError(f"{index} names shards that are not there: {', '.join(absent)}. Fetch them and try again.")
    shards = [_read_file(index.parent / name) for name in names]
    tensors = {key: tensor for shard in shards for key, tensor in shard.tensors.items()}
    counts = Counter(key for shard in shards for key in shard.tensors)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise InputError(f"{index}: more than one shard holds {_some(twice)}, so they are not of one model.")
    # The wrappers' prefixes stand in the index too.
    places = dict.fromkeys(_unwrap_keys(places, index)[0])
    if wrong := sorted(set(tensors) ^ set(places)):
        raise InputError(f"{index} and its shards do not hold the same keys: {_some(wrong)}.")
    return Checkpoint(
        path=index,
        files=(index, *(file for shard in shards for file in shard.files)),
        container=f"{shards[0].container}, {len(shards)} shards",
        tensors=tensors,
        wrappers=shards[0].wrappers,
    )


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _read_file(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        head = file.read(512)
    training: Mapping[str, Any] = {}
    if head.startswith(b"PK\x03\x04"):
        container = "torch.save zip"
        state_dict, training = _load_zip(path)
    elif head.startswith(LEGACY_MAGIC):
        container = "torch.save file from before torch 1.6"
        state_dict, training = _load_torch(path, mmap=False)
    elif head[8:9] == b"{":
        container = "safetensors"
        state_dict = _load_safetensors(path)
    else:
        raise InputError(_not_a_checkpoint(path, head))
    keys, wrappers = _unwrap_keys(state_dict, path)
    tensors = dict(zip(keys, state_dict.values(), strict=True))
    _refuse_kinds(tensors, path)
    return Checkpoint(path, (path,), container, tensors, wrappers=wrappers, training=training)


def _refuse_kinds(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses tensors that do not hold their numbers one by one."""
    kinds: dict[str, list[str]] = {}
    for key, tensor in tensors.items():
        if kind := next((kind for kind, is_one in KINDS.items() if is_one(tensor)), None):
            kinds.setdefault(kind, []).append(key)
    if kinds:
        raise InputError(f"{path} holds " + "; ".join(f"{kind} {_some(keys)}" for kind, keys in kinds.items()) + ".")


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated: {error}. Fetch it again.") from error


def _load_zip(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
            for name in names:
                if name.endswith("data.pkl"):
                    archive.read(name)  # holds the bytes against their checksum
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError) as error:
        raise InputError(
            f"{path} begins as a torch.save file but is damaged or truncated: {error}. Fetch it again."
        ) from error
    if any("/code/" in name for name in names):
        raise InputError(
            f"{path} is a TorchScript archive (OpenAI's CLIP files are): it holds code, which is not run here. "
            "Load it where you trust it with torch.jit.load(...) and save its state_dict()."
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise InputError(f"{path} is a zip file without a data.pkl; a file that torch.save wrote was wanted.")
    if compressed:
        raise InputError(
            f"{path} was compressed after torch.save wrote it, so it can't be mapped: fetch the original."
        )
    return _load_torch(path, mmap=True)


def _load_torch(path: Path, mmap: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state dict of a torch.save file, and what else a training script kept (optimizer tensors stay on disk)."""
    # A training script's arguments and numpy's step counts are data; every other global is refused by its name.
    with torch.serialization.safe_globals([argparse.Namespace, *_numpy_scalars()]):
        try:
            top = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except DAMAGE as error:
            if isinstance(error, pickle.UnpicklingError) and (names := _pickle_globals(path)):
                raise InputError(_refused_pickle(path, names)) from error
            reason = f"{str(error) or type(error).__name__}".splitlines()[0]
            raise InputError(f"{path} is damaged or truncated: {reason}. Fetch it again.") from error
        except MemoryError as error:
            raise WorkError(f"{path} does not fit into the memory, or is damaged.") from error
    if not isinstance(top, dict):
        raise InputError(f"{path} holds a {type(top).__name__}; a state dict, or a dict with one inside, was wanted.")
    return _state_dict(top, path)


def _numpy_scalars() -> list[Any]:
    import numpy as np

    # Where numpy keeps its scalar constructor has moved between its versions; files name either place.
    scalar = np.float64(0).__reduce__()[0]
    kinds = [np.dtype, *{type(np.dtype(code)) for code in "?bhilqBHILQefd"}]
    return [*kinds, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]


def _state_dict(top: dict[str, Any], path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    nested = [key for key in NESTED if isinstance(top.get(key), dict)]
    if "state_dict_ema" in top:
        raise InputError(
            f"{path} holds two sets of weights, state_dict and state_dict_ema (an average), and this version does not "
            "choose: save the one that you want as a file of its own."
        )
    if "ds_version" in top or "param_shapes" in top:
        raise InputError(
            f"{path} is a part of a DeepSpeed checkpoint; under ZeRO-3 it holds placeholders in place of weights. "
            "Run `python zero_to_fp32.py . OUT` in its folder and convert OUT."
        )
    if len(nested) > 1:
        raise InputError(f"{path} holds weights under {' and '.join(nested)}: save the one that you want on its own.")
    state_dict = top[nested[0]] if nested else top
    if numbered := [f"{key!r} ({type(key).__name__})" for key in state_dict if not isinstance(key, str)]:
        raise InputError(f"{path} holds no state dict: its keys are {_some(numbered)}; names of tensors were wanted.")
    wrong = {key: type(value).__name__ for key, value in state_dict.items() if not isinstance(value, torch.Tensor)}
    if wrong or not state_dict:
        found = _some(f"{key} ({kind})" for key, kind in wrong.items()) or "nothing"
        raise InputError(f"{path} holds no state dict: beside tensors there is {found}; tensors alone were wanted.")
    rest = {key: value for key, value in top.items() if key not in nested} if nested else {}
    return dict(state_dict), {str(key): _scalar(value) for key, value in rest.items()}


def _scalar(value: Any) -> int | float | str:
    """The value if it is a plain number or a word, a numpy scalar made plain; dots in place of anything larger."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, str)) else "…"


def _unwrap_keys(keys: Iterable[str], path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Keys without the prefixes of transport wrappers, in their order, and the wrappers that were there."""
    keys = list(keys)
    removed = []
    while wrapper := next((prefix for prefix in WRAPPERS if any(key.startswith(prefix) for key in keys)), None):
        if bare := [key for key in keys if not key.startswith(wrapper)]:
            raise InputError(
                f"{path}: some keys begin with {wrapper!r} and some do not, so the file is a mixture of two. "
                f"Without it: {_some(bare)}. Save one model's state dict alone."
            )
        keys = [key.removeprefix(wrapper) for key in keys]
        removed.append(wrapper)
    for prefix in ANYWHERE:
        if any(f".{prefix}" in key for key in keys):
            keys = [key.replace(f".{prefix}", ".") for key in keys]
            removed.append(prefix)
    if len(set(keys)) < len(keys):
        twice = sorted(key for key, count in Counter(keys).items() if count > 1)
        raise InputError(f"{path}: without the prefixes {', '.join(removed)} these keys collide: {_some(twice)}.")
    return keys, tuple(removed)


def _refused_pickle(path: Path, names: Iterable[str]) -> str:
    return (
        f"{path} is a pickle that needs code to be read, which is never run here. It names: "
        f"{_some(names) or 'nothing'}. Load it where you trust it and save the weights alone: "
        "torch.save(model.state_dict(), FILE)."
    )


def _pickle_globals(path: Path) -> set[str]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return set(_globals_of(file))
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return {found for name in names for found in _globals_of(io.BytesIO(archive.read(name)))}


def _globals_of(file: BinaryIO) -> Iterator[str]:
    """`module.name` of every global that a pickle (or several in a row) asks for, read without running it."""
    while True:
        strings: list[str] = []
        memo: dict[int, str] = {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                name = None
                if opcode.name in ("GLOBAL", "INST"):
                    name = argument.replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
                elif opcode.name.endswith("GET"):
                    strings.append(memo.get(argument, ""))
                elif opcode.name == "MEMOIZE" or opcode.name.endswith("PUT"):
                    # Whatever else is kept under a number is never asked for as a name.
                    memo[len(memo) if argument is None else argument] = strings[-1] if strings else ""
                if name and not HARMLESS.fullmatch(name):
                    yield name
        except (ValueError, MemoryError, OverflowError):  # the pickles are over; what follows is data
            return


def _not_a_checkpoint(path: Path, head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository."
    if head[:1] == b"\x80":
        return _refused_pickle(path, _pickle_globals(path))
    if head.lstrip()[:1] == b"<":
        return f"{path} is a web page, not a checkpoint: the download went wrong. Fetch it again."
    size = path.stat().st_size
    return f"{path} ({size} bytes) is no checkpoint; a file of torch.save or safetensors was wanted."


def _some(lines: Iterable[str]) -> str:
    folded = fold(lines)
    more = f" and {len(folded) - 12} more" if len(folded) > 12 else ""
    return ", ".join(folded[:12]) + more
