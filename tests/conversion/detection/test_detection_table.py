"""`inspect` on every family in every wrapper and container: the right format and the right wrapper, or a question.

A row of `FAMILIES` is taken as it is; what its weights are without the files beside them is said in `ALONE`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint import save as save_distributed

from hf_zhclip.conversion import inspect
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.mapping import fold
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.reading.wrappers import AVERAGES, TRAINER_STATE, WRAPPERS
from hf_zhclip.conversion.sources import SOURCES

from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.thorough import SHARES, cases

Tensors = Mapping[str, torch.Tensor]

NAMED_AFTER = {"r2d2": "prd2"}
"""Families whose name does not begin with that of their format."""

COMPANIONS = ("2_Dense.", "head.")
"""How the keys begin that come from another file of the folder; a wrapper is around the weights alone."""

BERT_DUAL = {"bert_clip", "chinese_clip", "taiyi_clip"}
PLAIN_BERT = {"bert_from_clip", "taiyi"}

ALONE: dict[str, str | set[str]] = {
    "bert_clip": BERT_DUAL,
    "taiyi_clip": BERT_DUAL,
    "taiyi_head": {"taiyi"},
    "taiyi_plain": PLAIN_BERT,
    "modelscope": "cn_clip",
    "open_clip": {"openai_clip", "open_clip"},
    "sentence_transformers": set(),
}
"""Families that their weights alone do not name: the candidates that are asked about, or the format that they are.

No candidate: it is refused by its name, since a part of the model lies in another file.
The small Taiyi is not of a published size; ModelScope's weights are cn_clip's, and its other facts lie beside them.
"""

ASKED = {"taiyi_head": {"taiyi"}, "taiyi_plain": PLAIN_BERT}
"""The same with every file that lies beside them: a plain BERT's config.json does not say what it was trained for."""


# Wrappers


@dataclass(frozen=True)
class Wrap:
    """What is done to a state dict, the wrappers that are then named, and whether it then lies in a nest."""

    put: Callable[[Tensors], Mapping[str, Any]]
    wrappers: tuple[str, ...] = ()
    nest: bool = False
    ema: str | None = None


def prefixed(prefix: str) -> Callable[[Tensors], dict[str, torch.Tensor]]:
    return lambda tensors: {prefix + key: tensor for key, tensor in tensors.items()}


def inside(prefix: str) -> Callable[[Tensors], dict[str, torch.Tensor]]:
    """The wrapper around each submodule at the top."""
    return lambda tensors: {key.replace(".", f".{prefix}", 1): tensor for key, tensor in tensors.items()}


def averaged(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {"n_averaged": torch.tensor(5), **prefixed("module.")(tensors)}


def lightning(tensors: Tensors, **extra: Any) -> dict[str, Any]:
    parameters = {"lr": 1e-4, "batch_size": 32}
    return {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
        "state_dict": tensors,
        "hyper_parameters": parameters,
    } | extra


def deepspeed(tensors: Tensors) -> dict[str, Any]:
    return {"module": tensors, "ds_version": "0.16.0", "mp_world_size": 1, "buffer_names": [], "param_shapes": []}


def swapped(tensors: Tensors) -> dict[str, Any]:
    state = {"n_averaged": torch.tensor(5)}
    return lightning(
        prefixed("model.")(tensors), current_model_state=prefixed("model.")(tensors), averaging_state=state
    )


def beside(prefix: str) -> Callable[[Tensors], dict[str, torch.Tensor]]:
    return lambda tensors: {**tensors, **prefixed(prefix)(tensors)}


def nested(name: str) -> Callable[[Tensors], dict[str, Any]]:
    return lambda tensors: {"model": tensors, name: tensors, "optimizer": {"state": {}}}


VERSION = "pytorch-lightning_version"
WRAPS = {
    "bare": Wrap(dict),
    "ddp": Wrap(prefixed("module."), ("module.",)),
    "compile": Wrap(prefixed("_orig_mod."), ("_orig_mod.",)),
    "ddp of compile": Wrap(prefixed("module._orig_mod."), ("module.", "_orig_mod.")),
    "compile of ddp": Wrap(prefixed("_orig_mod.module."), ("_orig_mod.", "module.")),
    "compile inside": Wrap(inside("_orig_mod."), ("_orig_mod.",)),
    "lightning with deepspeed": Wrap(prefixed("_forward_module."), ("_forward_module.",)),
    "fsdp": Wrap(prefixed("_fsdp_wrapped_module."), ("_fsdp_wrapped_module.",)),
    "fsdp inside": Wrap(inside("_fsdp_wrapped_module."), ("_fsdp_wrapped_module.",)),
    "checkpoint inside": Wrap(inside("_checkpoint_wrapped_module."), ("_checkpoint_wrapped_module.",)),
    "averaged": Wrap(averaged, ("n_averaged",)),
    **{f"{name} beside": Wrap(beside(name), (name,), ema="use") for name in ("ema.", "model_ema.", "ema_model.")},
    "state_dict": Wrap(lambda tensors: {"state_dict": tensors, "epoch": 3}, nest=True),
    "model": Wrap(lambda tensors: {"model": tensors, "optimizer": {"state": {}}, "epoch": 3}, nest=True),
    "lightning": Wrap(lightning, (VERSION,), nest=True),
    "lightning's model": Wrap(lambda tensors: lightning(prefixed("model.")(tensors)), (VERSION, "model."), nest=True),
    "lightning's net": Wrap(lambda tensors: lightning(prefixed("net.")(tensors)), (VERSION, "net."), nest=True),
    "lightning's average": Wrap(swapped, (VERSION, "state_dict", "model."), nest=True, ema="use"),
    "lightning's weights": Wrap(swapped, (VERSION, "model."), nest=True, ema="ignore"),
    "deepspeed": Wrap(deepspeed, ("ds_version",), nest=True),
    **{name: Wrap(nested(name), (name,), nest=True, ema="use") for name in AVERAGES},
}


# Containers


def as_file(name: str, **settings: Any) -> Callable[[Path, Mapping[str, Any]], None]:
    def save(folder: Path, top: Mapping[str, Any]) -> None:
        torch.save(top, folder / name, **settings)

    return save


def as_safetensors(folder: Path, top: Tensors) -> None:
    save_file({key: tensor.clone().contiguous() for key, tensor in top.items()}, folder / "model.safetensors")


def as_shards(suffix: str, save: Callable[[Tensors, Path], None]) -> Callable[[Path, Tensors], None]:
    stem = "model" if suffix == "safetensors" else "pytorch_model"

    def write(folder: Path, top: Tensors) -> None:
        names = [f"{stem}-{number:05}-of-00002.{suffix}" for number in (1, 2)]
        places = {key: names[number % 2] for number, key in enumerate(top)}
        for name in names:
            save({key: top[key].clone().contiguous() for key in top if places[key] == name}, folder / name)
        index = folder / f"{stem}.{suffix}.index.json"
        index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}), encoding="utf-8")

    return write


def as_distributed(name: str) -> Callable[[Path, Mapping[str, Any]], None]:
    def save(folder: Path, top: Mapping[str, Any]) -> None:
        save_distributed({"model": top}, checkpoint_id=folder / name)

    return save


def as_deepspeed(folder: Path, top: Tensors) -> None:
    (folder / "global_step7").mkdir()
    torch.save(deepspeed(top), folder / "global_step7" / "mp_rank_00_model_states.pt")
    (folder / "latest").write_text("global_step7", encoding="utf-8")
    (folder / "zero_to_fp32.py").write_text("raise SystemExit", encoding="utf-8")


CONTAINERS: dict[str, Callable[[Path, Any], None]] = {
    "bin": as_file("pytorch_model.bin"),
    "legacy bin": as_file("pytorch_model.bin", _use_new_zipfile_serialization=False),
    "gathered fsdp": as_file("pytorch_model_fsdp.bin"),
    "safetensors": as_safetensors,
    "shards of safetensors": as_shards("safetensors", save_file),
    "shards of bin": as_shards("bin", torch.save),
    "sharded fsdp": as_distributed("pytorch_model_fsdp_0"),
    "distributed": as_distributed(""),
    "deepspeed": as_deepspeed,
}
"""How weights are written into a folder, beside the other files of a family's own."""

ADDED = {"deepspeed": ("ds_version",)}
"""The wrapper that a container is itself."""

SHARDS = "an index names the keys of one state dict, and nothing around them"
ROOT = "it has a nest of its own, `model`; test_distributed.py has the others"
OWN_TRAINERS = {
    "modelscope": "ModelScope's trainer writes pytorch_model.bin alone",
    "sentence_transformers": "its projection lies in a file of its own, which only whole models are saved with",
}
TRAINING = ("gathered fsdp", "sharded fsdp", "distributed", "deepspeed")
IMPOSSIBLE = {
    ("nest", "safetensors"): "the format holds tensors by name, and nothing around them",
    ("nest", "shards of safetensors"): SHARDS,
    ("nest", "shards of bin"): SHARDS,
    ("nest", "sharded fsdp"): ROOT,
    ("nest", "distributed"): ROOT,
    ("nest", "deepspeed"): "DeepSpeed has a nest of its own",
    **{(family, container): why for family, why in OWN_TRAINERS.items() for container in TRAINING},
}
"""Pairs of a wrapper around the state dict, or of a family, with a container, and why nobody has such a one."""


# The table


def format_of(family: str) -> str:
    """The format that a family is named after, the longest name first: `taiyi_clip` is not `taiyi`."""
    names = [NAMED_AFTER.get(family), *sorted(filter(family.startswith, SOURCES), key=len, reverse=True)]
    return next(filter(None, names))


def files_of(family: str) -> list[str]:
    """Names of `WRAPS` for the weights alone: all of them, but of the ten names of an average two, by turns."""
    turn = 2 * list(FAMILIES).index(family)
    due = {AVERAGES[turn % len(AVERAGES)], AVERAGES[(turn + 1) % len(AVERAGES)]}
    return [name for name in WRAPS if name not in AVERAGES or name in due]


@cache
def folders() -> dict[str, list[tuple[str, str, bool]]]:
    """Of each family all containers, each with one of the wrappers that it can hold and a Trainer's step, by turns."""
    drawn: dict[str, list[tuple[str, str, bool]]] = {family: [] for family in FAMILIES}
    turns: Counter[bool] = Counter()
    for number, (family, container) in enumerate(product(FAMILIES, CONTAINERS)):
        if (family, container) in IMPOSSIBLE:
            continue
        nests = ("nest", container) not in IMPOSSIBLE
        wraps = [name for name, wrap in WRAPS.items() if nests or not wrap.nest]
        drawn[family].append((container, wraps[turns[nests] % len(wraps)], number % 2 == 0))
        turns[nests] += 1
    return drawn


@dataclass(frozen=True)
class Weights:
    """A family's fixture: its weights with one number for all, as only headers are looked at, and their file."""

    family: str
    place: Path
    file: Path
    tensors: Tensors


@pytest.fixture
def weights(request, original) -> Weights:
    place = original(request.param).source
    found = read(place)
    own = {key: value for key, value in found.tensors.items() if not key.startswith(COMPANIONS)}
    number = {dtype: torch.zeros((), dtype=dtype) for dtype in {value.dtype for value in own.values()}}
    tensors = {key: number[value.dtype].expand(value.shape) for key, value in own.items()}
    return Weights(request.param, place, found.files[0], tensors)


def turn(weights: Weights) -> int:
    """A family's place among the others."""
    return list(FAMILIES).index(weights.family)


def check(place: Path, wrap: Wrap, before: tuple[str, ...], keys: Iterable[str], format: str | set[str]) -> None:
    """Holds what `inspect` says of a place against what was put there, and the format or the candidates."""
    found = inspect(place, ema=wrap.ema)
    assert (found.wrappers, found.keys) == ((*before, *wrap.wrappers), tuple(keys))
    if isinstance(format, str):
        assert found.format == format, found.why
    else:
        asked = {name for name in SOURCES if f"--format {name} (" in found.why}
        assert (found.format, asked) == (None, format), found.why


@pytest.mark.quick(7)
@SHARES
@pytest.mark.parametrize("weights", FAMILIES, indirect=True)
def test_a_family_is_named_in_every_wrapper_by_its_weights_alone(weights, share, tmp_path):
    keys = fold(f"{key} {list(tensor.shape)}" for key, tensor in weights.tensors.items())
    expected = ALONE.get(weights.family, format_of(weights.family))
    for name in cases(files_of(weights.family), turn(weights), share):
        torch.save(WRAPS[name].put(weights.tensors), tmp_path / "file.pt")
        check(tmp_path / "file.pt", WRAPS[name], (), keys, expected)


@pytest.mark.quick(7)
@pytest.mark.filterwarnings("ignore:torch.distributed")
@SHARES
@pytest.mark.parametrize("weights", FAMILIES, indirect=True)
def test_a_family_is_named_in_every_folder_with_the_files_that_lie_beside(weights, share, tmp_path):
    keys = inspect(weights.place).keys
    expected = ASKED.get(weights.family, format_of(weights.family))
    for container, name, step in cases(folders()[weights.family], turn(weights), share):
        folder, before = tmp_path / container, ADDED.get(container, ())
        inner = copied(weights, folder)
        if step:
            (folder / TRAINER_STATE).write_text('{"epoch": 1.5, "global_step": 500}', encoding="utf-8")
            before = (TRAINER_STATE, *before)
        CONTAINERS[container](inner, WRAPS[name].put(weights.tensors))
        check(folder, WRAPS[name], before, keys, expected)


def copied(weights: Weights, folder: Path) -> Path:
    """Copies everything of the family's but its weights, and gives the folder in which these lay."""
    if weights.place.is_file():
        folder.mkdir()
        return folder
    shutil.copytree(weights.place, folder)
    file = folder / weights.file.relative_to(weights.place)
    file.unlink()
    return file.parent


@pytest.mark.parametrize("family", [name for name, candidates in ALONE.items() if isinstance(candidates, set)])
def test_a_format_that_is_stated_is_taken_where_the_weights_do_not_decide(family, original, tmp_path):
    torch.save(dict(read(original(family).source).tensors), tmp_path / "file.pt")
    for format in ALONE[family]:
        assert inspect(tmp_path / "file.pt", format=format).format == format


UNDECIDED = {
    "a BertCLIP, or one of its relatives, without a config": (checkpoints.bert_clip.bert_clip(), None, BERT_DUAL),
    "the same under a class that has no format": (checkpoints.bert_clip.bert_clip(), "BlipModel", set()),
    "a plain BERT without a config": (checkpoints.taiyi.taiyi(head=False), None, PLAIN_BERT),
    "a plain BERT with its own config": (checkpoints.taiyi.taiyi(head=False), "BertModel", PLAIN_BERT),
    "OpenAI's keys without what its archives add": (
        checkpoints.open_clip.open_clip(),
        None,
        {"openai_clip", "open_clip"},
    ),
    "a classifier of a size that was not published": (checkpoints.taiyi.taiyi(head=True), None, {"taiyi"}),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_where_nothing_decides_the_candidates_are_named_and_the_format_asked_for(name, tmp_path):
    shapes, architecture, candidates = UNDECIDED[name]
    tensors = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    if architecture:
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}), encoding="utf-8")

    keys = fold(f"{key} {list(shape)}" for key, shape in shapes.items())
    check(tmp_path / "pytorch_model.bin", WRAPS["bare"], (), keys, candidates)


def test_keys_that_bert_and_roberta_have_too_claim_no_xlm_r(tmp_path):
    tensors = {
        key: torch.zeros(()).expand(shape) for key, shape in checkpoints.open_clip.open_clip_xlm_roberta(50).items()
    }
    torch.save(tensors, tmp_path / "file.pt")

    found = detect(read(tmp_path / "file.pt"))

    assert (found.source.name, found.certainty) == ("open_clip_xlm_roberta", "certain")
    assert found.source.title == "open_clip's CLIP with a BERT, RoBERTa or XLM-R of Hugging Face as its text tower"


def test_the_table_holds_every_wrapper_in_every_kind_and_every_container():
    assert {each for wrap in WRAPS.values() for each in wrap.wrappers} | {TRAINER_STATE} == WRAPPERS.keys()
    assert {name for family in FAMILIES for name in files_of(family)} == WRAPS.keys()
    drawn = [each for family in folders().values() for each in family]
    assert {name for _, name, _ in drawn} == WRAPS.keys()
    assert {(container, step) for container, _, step in drawn} == {
        (each, step) for each in CONTAINERS for step in (0, 1)
    }
