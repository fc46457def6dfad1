"""Files -> Checkpoint: lazy tensors under the upstream's keys, transport wrappers removed, no pickle ever executed.

Tensors are memory-mapped: this module reads their headers, and a later computation reads their values.
`Checkpoint.container` says so if tensors cannot be mapped.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch

from hf_zhclip.budget import check_regular, most_made
from hf_zhclip.json_files import read_json, read_python_json
from hf_zhclip.paths import resolved

from ..errors import InputError, WorkError
from .companions import companions
from .containers import open_file
from .files import is_file_name
from .hints import in_place_of
from .modules_json import body
from .pickles import some
from .wrappers import DEEPSPEED, LOCAL_SHARDS, TRAINER_STATE, WRAPPERS, Average, Unwrapped, scalar, unwrap

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weight files of a Hugging Face folder, in the order in which transformers looks for them."""

OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Weight files of an open_clip folder, in the order in which open_clip looks for them (factory.py)."""

OPEN_CLIP_CONFIG = "open_clip_config.json"

MODELSCOPE = ("vision_model_config.json", "text_model_config.json")
"""The configs in a folder of ModelScope's CLIP; if both state a field, the second config counts, as upstream."""

CONFIGS = (MODELSCOPE, ("config.json",), (OPEN_CLIP_CONFIG,))
"""JSON files that describe the weights beside them, by the kind of folder; the first existing kind is read."""

HALVES = (torch.float16, torch.bfloat16)

KINDS = {
    "weights without values (a meta device's), which can't be converted:": lambda tensor: tensor.is_meta,
    "quantised weights, which can't be turned back (convert the checkpoint from before the quantisation):": (
        lambda tensor: tensor.is_quantized
    ),
    "sparse tensors (save them after to_dense()):": lambda tensor: tensor.layout != torch.strided,
}
"""What cannot be converted, how it is recognised, and what to do about it."""

ADAPTER_CONFIG = "adapter_config.json"

MERGE = """\
a PEFT / LoRA adapter, not a model. Merge it into BASE, the model that it was trained on, and convert TRAINED:
    import hf_zhclip
    from peft import PeftModel
    from transformers import AutoModel

    model = PeftModel.from_pretrained(AutoModel.from_pretrained("BASE"), "ADAPTER")
    model.merge_and_unload().save_pretrained("TRAINED")
If BASE is a repo of this package, the command is `zhclip convert TRAINED OUT --base BASE`"""

MERGE_IN_MEMORY = """\
a model with a PEFT / LoRA adapter that is not merged, and without the adapter's settings. Merge it where it was
trained, or build it again from BASE with the settings of the training, and convert TRAINED:
    import hf_zhclip
    from peft import get_peft_model
    from transformers import AutoModel

    model = get_peft_model(AutoModel.from_pretrained("BASE"), LORA_CONFIG)  # the LoraConfig of the training
    ...  # load the trained state into it
    model.merge_and_unload().save_pretrained("TRAINED")
If BASE is a repo of this package, the command is `zhclip convert TRAINED OUT --base BASE`"""

REFUSED_FOLDERS = {
    ADAPTER_CONFIG: MERGE,
    "encoder_config.json": "a ModelScope model from before August 2022. It has another architecture under the same "
    "name and is not converted: fetch today's version of the model",
}
"""Files that mark a folder as not convertible, and what to do with the folder."""

FSDP_FILE, FSDP_FOLDER, FSDP_RANKS = "pytorch_model_fsdp.bin", "pytorch_model_fsdp_0", "pytorch_model_fsdp_rank*.bin"
"""Where accelerate writes FSDP weights: gathered, as a folder of torch.distributed.checkpoint, or by ranks."""

KNOWN_NAMES = (*WEIGHTS, *OPEN_CLIP_WEIGHTS, FSDP_FILE)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: `tensors` maps source keys to memory-mapped tensors.

    If a file holds a moving average beside the weights, `average` is this average until `choose` has selected one of
    the two; `ema` then says how. `prefix` is the prefix that `without` removed. `left_aside` names the folder's files
    with other sets of weights.
    """

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
    average: Average | None = None
    ema: str | None = None
    prefix: str = ""
    left_aside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The checkpoint's name on the hub, or the last part of the path; for `.` the folder's own name."""
        return self.hub_id or Path(os.path.abspath(self.path)).name

    @cached_property
    def ordered(self) -> Sequence[str]:
        """The keys, sorted."""
        return sorted(self.tensors)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


def read(path: Path) -> Checkpoint:
    """Reads a weight file, a Hugging Face folder, or a folder of torch.distributed.checkpoint or DeepSpeed.

    Raises:
        InputError: the path is no checkpoint, is damaged, or would have to run code to be read.
        WorkError: the system could not read the file.
    """
    if not path.is_dir():
        check_regular(path, "a checkpoint")
    try:
        return replace(_read_folder(path) if path.is_dir() else _read_single(path), path=path)
    except OSError as error:
        raise WorkError(f"{path} could not be read: {error.strerror or error}.") from error


EMA = ("use", "ignore")
"""The user's choices for an average beside the weights."""


def choose(checkpoint: Checkpoint, ema: str | None) -> Checkpoint:
    """The checkpoint with one set of weights: the average beside them (`use`), or the raw weights (`ignore`).

    Raises:
        InputError: there are two sets, and nothing says which set is meant.
    """
    if ema not in (None, *EMA):
        raise InputError(f"There is no --ema {ema!r}; wanted {' or '.join(EMA)}.")
    average = checkpoint.average
    if average is None:
        return checkpoint
    if ema is None:
        raise InputError(
            f"{checkpoint.name} holds two sets of weights: the raw weights, and {average.name!r}, "
            f"{WRAPPERS[average.name]}. The two sets give different embeddings, so the choice is not guessed. Pass "
            "--ema use for the average, or --ema ignore for the raw weights."
        )
    if ema == "ignore":
        return replace(checkpoint, average=None, ema=ema)
    return replace(checkpoint, tensors=average.tensors, wrappers=average.wrappers, average=None, ema=ema)


def without(checkpoint: Checkpoint, prefix: str) -> Checkpoint:
    """The tensors under a prefix, with the prefix removed; `wrappers` then names the prefix."""
    if not prefix:
        return checkpoint
    tensors = {key.removeprefix(prefix): each for key, each in checkpoint.tensors.items() if key.startswith(prefix)}
    return replace(checkpoint, tensors=tensors, wrappers=(*checkpoint.wrappers, prefix), prefix=prefix)


def check_ema(ema: str | None, checkpoints: Iterable[Checkpoint]) -> None:
    """Refuses an `--ema` without a choice to make: the user expects an average that does not exist."""
    if ema is not None and not any(checkpoint.ema for checkpoint in checkpoints):
        raise InputError(f"--ema {ema} was given, but there is only one set of weights. Leave --ema out.")


# Folders


def _read_folder(folder: Path) -> Checkpoint:
    # What sentence-transformers' files of a converted repo state, the verification checks: its weights lie at the top.
    if converted := _is_converted(folder):
        inner = folder
    else:
        refuse_marked(folder, {path.name for path in folder.iterdir()})
        inner = body(folder)
    if found := _weights(inner):
        _refuse_two_steps(inner, found)
        first, *others = found
        checkpoint = replace(_with_config(inner, _read_weights(inner / first)), left_aside=tuple(others))
        return _with_step(folder, checkpoint if converted else _with_companions(folder, checkpoint))
    for is_one, read_one in FOLDERS:
        if is_one(folder):
            return _with_step(folder, read_one(folder))
    raise InputError(
        f"{inner} holds none of {', '.join((*WEIGHTS, *OPEN_CLIP_WEIGHTS))}. {in_place_of(folder, _is_model)}".rstrip()
    )


def _weights(folder: Path) -> list[str]:
    """The names of a folder's weight files; the first file is read."""
    of_transformers, of_open_clip = (
        [name for name in names if (folder / name).exists()] for names in (WEIGHTS, OPEN_CLIP_WEIGHTS)
    )
    own_first = of_open_clip and not (of_transformers and is_transformers(folder))
    return [*of_open_clip, *of_transformers] if own_first else [*of_transformers, *of_open_clip]


def is_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is transformers': timm's repos also hold a config.json, beside open_clip's."""
    path = folder / "config.json"
    return path.exists() and "model_type" in read_json(path)


def _with_companions(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Adds the last layers if they lie in other files of the folder."""
    for companion in companions(folder):
        if twice := sorted(companion.tensors.keys() & checkpoint.tensors.keys()):
            also = some(map(str, companion.files))
            raise InputError(f"{folder} holds {some(twice)} twice: in its weights and in {also}.")
        _refuse_kinds(companion.tensors, companion.files[0])
        average = checkpoint.average
        checkpoint = replace(
            checkpoint,
            tensors={**checkpoint.tensors, **companion.tensors},
            average=average and replace(average, tensors={**average.tensors, **companion.tensors}),
            files=(*checkpoint.files, *companion.files),
            config={**checkpoint.config, **companion.config},
        )
    return checkpoint


def refuse_marked(place: str | Path, names: Collection[str]) -> None:
    """Refuses a folder, local or on a hub, with a file that marks something that is not convertible."""
    if marker := next((marker for marker in REFUSED_FOLDERS if marker in names), None):
        raise InputError(f"{place} is {REFUSED_FOLDERS[marker]}. (Seen: {marker}.)")


def refuse_adapter(place: Path, seen: str) -> NoReturn:
    """Refuses weights to which an adapter belongs that is not merged."""
    what = MERGE if (place / ADAPTER_CONFIG).is_file() else MERGE_IN_MEMORY
    raise InputError(f"{place} is {what}. (Seen: {seen}.)")


def _is_converted(folder: Path) -> bool:
    """Whether the folder is a repo of this package, which holds sentence-transformers' files too."""
    path = folder / "config.json"
    return path.exists() and read_json(path).get("model_type") == "hf_zhclip"


def _refuse_two_steps(folder: Path, found: Iterable[str]) -> None:
    """Refuses weights in two formats from a Trainer: one step writes one format, so that two formats are two runs."""
    if (folder / TRAINER_STATE).exists() and len(names := list(found)) > 1:
        raise InputError(
            f"{folder} is a checkpoint of the Trainer and holds weights of different steps: {' and '.join(names)}. "
            "Instead of the folder, name the file that you want."
        )


def _with_step(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Adds the step of a Trainer's checkpoint."""
    if not (folder / TRAINER_STATE).is_file():
        return checkpoint
    state = read_python_json(folder / TRAINER_STATE)
    step: dict[str, Any] = {key: scalar(state[key]) for key in ("epoch", "global_step") if key in state}
    wrappers = (TRAINER_STATE, *checkpoint.wrappers)
    average = checkpoint.average and replace(
        checkpoint.average, wrappers=(TRAINER_STATE, *checkpoint.average.wrappers)
    )
    return replace(checkpoint, wrappers=wrappers, training={**step, **checkpoint.training}, average=average)


def _is_model(folder: Path) -> bool:
    """Whether a folder holds weights under a model's file names, and is no repo of this package."""
    try:
        return (bool(_weights(folder)) or any(is_one(folder) for is_one, _ in FOLDERS)) and not _is_converted(folder)
    except InputError:  # its config.json is invalid
        return False


def _read_distributed(folder: Path) -> Checkpoint:
    from .distributed import Folder  # torch.distributed is slow to import

    stored = Folder(folder)
    found = unwrap(stored.top, folder)
    tensors = stored.load(found.tensors)
    average = found.average and replace(found.average, tensors=stored.load(found.average.tensors))
    checkpoint = _checkpoint(
        folder,
        stored.files,
        "torch.distributed.checkpoint folder, read into memory",
        replace(found, tensors=tensors, average=average),
    )
    # accelerate writes it into a folder of its own, beside the step's config.json.
    outer = folder.parent if folder.name.startswith("pytorch_model_fsdp_") else folder
    return _with_config(outer, checkpoint) if _config_files(outer, CONFIGS) else checkpoint


def _read_deepspeed(folder: Path) -> Checkpoint:
    """Reads the folder that DeepSpeed saves into, where `latest` names the step, or the folder of one step."""
    step = folder
    if (folder / "latest").is_file():
        tag = (folder / "latest").read_text(encoding="utf-8", errors="replace").strip()
        if not is_file_name(tag) or not (step := folder / tag).is_dir():
            raise InputError(f"{folder / 'latest'} names {tag!r}, but {folder} holds no such folder.")
    home = folder if any((folder / name).is_file() for name in DEEPSPEED_HOME) else resolved(folder).parent
    states = sorted(path.name for path in step.glob("*_model_states.pt"))
    if any(name.startswith("zero_pp_rank_") for name in states):
        raise InputError(
            f"{step} is a DeepSpeed ZeRO-3 checkpoint, whose weights are divided among ranks. Run DeepSpeed's own "
            f"`python zero_to_fp32.py . OUT` in {home}, and convert OUT. (Seen: {states[0]}.)"
        )
    if len(states) != 1:
        found = f"{len(states)} files of model states ({some(states)})" if states else "no *_model_states.pt"
        raise InputError(
            f"{step} holds {found}; a single file was wanted, which DeepSpeed writes without tensor parallelism. Run "
            f"DeepSpeed's own `python zero_to_fp32.py . OUT` in {home}, and convert OUT."
        )
    checkpoint = _read_weights(step / states[0])
    return _with_config(folder, checkpoint) if _config_files(folder, CONFIGS) else checkpoint


def _refuse_ranks(folder: Path) -> Checkpoint:
    names = some(sorted(path.name for path in folder.glob(FSDP_RANKS)))
    raise InputError(f"{folder} holds {LOCAL_SHARDS} (Seen: {names}.)")


DEEPSPEED_HOME = ("latest", "zero_to_fp32.py")
"""Files in the folder that DeepSpeed saves into, above the steps' folders."""

DEEPSPEED_FILES = (*DEEPSPEED_HOME, "*_model_states.pt", "*_optim_states.pt")

FOLDERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Checkpoint]], ...] = (
    (lambda folder: (folder / ".metadata").is_file(), _read_distributed),
    (lambda folder: (folder / FSDP_FILE).is_file(), lambda folder: _read_single(folder / FSDP_FILE)),
    (
        lambda folder: (folder / FSDP_FOLDER / ".metadata").is_file(),
        lambda folder: _read_distributed(folder / FSDP_FOLDER),
    ),
    (lambda folder: any(any(folder.glob(name)) for name in DEEPSPEED_FILES), _read_deepspeed),
    (lambda folder: any(folder.glob(FSDP_RANKS)), _refuse_ranks),
)
"""Training folders without a file of `WEIGHTS`: how each is recognised, and which function reads it."""


# Files


def _read_single(path: Path) -> Checkpoint:
    if path.match(FSDP_RANKS):
        return _refuse_ranks(path.parent)
    checkpoint = _read_weights(path)
    # Only these folders' file names prove that the config beside the weights belongs to them.
    return _with_config(path.parent, checkpoint) if path.name in KNOWN_NAMES else checkpoint


def _read_weights(path: Path) -> Checkpoint:
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    container = open_file(path)
    return _checkpoint(path, (path,), container.kind, unwrap(container.top, path))


def _checkpoint(path: Path, files: tuple[Path, ...], container: str, found: Unwrapped) -> Checkpoint:
    _refuse_kinds(found.tensors, path)
    _refuse_repeated(found.tensors, files)
    if DEEPSPEED[0] in found.wrappers and any(tensor.dtype in HALVES for tensor in found.tensors.values()):
        container += ", 16-bit weights of DeepSpeed"
    return Checkpoint(
        path=path,
        files=files,
        container=container,
        tensors=found.tensors,
        wrappers=found.wrappers,
        training=found.training,
        average=found.average,
    )


def _refuse_repeated(tensors: Mapping[str, torch.Tensor], files: Sequence[Path]) -> None:
    """Refuses tensors that together are far larger than their files: many names of the same numbers."""
    made, stored = sum(tensor.nbytes for tensor in tensors.values()), sum(file.stat().st_size for file in files)
    if made > most_made(stored):
        raise InputError(
            f"{files[0]} holds tensors of {made:,} bytes in {stored:,} bytes of files: names of the same numbers, "
            "or numbers that repeat (stride 0). A state dict of ordinary tensors was wanted."
        )


def _with_config(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    of_open_clip = checkpoint.files[0].name in OPEN_CLIP_WEIGHTS
    paths = _config_files(folder, ((OPEN_CLIP_CONFIG,),) if of_open_clip else CONFIGS)
    config = {key: value for path in paths for key, value in read_json(path).items()}
    if quantization := config.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise InputError(
            f"{paths[0]} says that the weights are quantised ({method}). Quantisation cannot be undone: convert the "
            "checkpoint from before the quantisation."
        )
    return replace(checkpoint, files=(*checkpoint.files, *paths), folder=folder, config=config)


def _config_files(folder: Path, kinds: Iterable[tuple[str, ...]]) -> tuple[Path, ...]:
    for kind in kinds:
        there = [name for name in kind if (folder / name).exists()]
        if there and len(there) < len(kind):
            absent = ", ".join(name for name in kind if name not in there)
            raise InputError(f"{folder} holds {', '.join(there)} but no {absent}. Fetch {absent}, too.")
        if there:
            return tuple(folder / name for name in kind)
    return ()


def _read_shards(index: Path) -> Checkpoint:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map; a Hugging Face index was wanted.")
    if wrong := [f"{key}: {name!r}" for key, name in places.items() if not is_file_name(name)]:
        raise InputError(f"{index}: weight_map names {some(wrong)}; wanted names of files in the index's own folder.")
    names = sorted(set(places.values()))
    if absent := [name for name in names if not (index.parent / name).is_file()]:
        raise InputError(f"{index} names missing shards: {some(absent)}. Fetch these files and try again.")
    tensors: dict[Any, Any] = {}
    for name in names:
        shard = open_file(index.parent / name)
        # At once, because thousands of links may lead to one shard.
        if twice := [key for key in shard.top if key in tensors]:
            raise InputError(f"{index}: several shards hold {some(twice)}, so the shards are not from the same model.")
        if not shard.top:
            raise InputError(f"{index} names {name}, which holds no tensors; a shard of the model was wanted.")
        tensors |= shard.top
    if wrong := sorted(map(str, tensors.keys() ^ places.keys())):
        raise InputError(f"{index} and its shards do not hold the same keys: {some(wrong)}.")
    files = (index, *(index.parent / name for name in names))
    return _checkpoint(index, files, f"{shard.kind}, {len(names)} shards", unwrap(tensors, index))


def _refuse_kinds(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses tensors that do not store their numbers one by one."""
    kinds: dict[str, list[str]] = {}
    for key, tensor in tensors.items():
        if kind := next((kind for kind, is_one in KINDS.items() if is_one(tensor)), None):
            kinds.setdefault(kind, []).append(key)
    if kinds:
        raise InputError(f"{path} holds " + "; ".join(f"{kind} {some(keys)}" for kind, keys in kinds.items()) + ".")
