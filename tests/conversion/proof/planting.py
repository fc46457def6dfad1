"""A conversion with something planted in it, quick enough to be run a thousand times.

What no description can change is made once a family: its checkpoint, what is read of it, the tensors that are written,
the tokenizer, and the numbers of the witness. Everything else runs as it does for users, from `convert` on.
"""

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel

from hf_zhclip import conversion
from hf_zhclip.conversion import convert, pipeline
from hf_zhclip.conversion.detection.parts import Part, describe, identify, join_tensors
from hf_zhclip.conversion.errors import InputError, MappingError, ParityError
from hf_zhclip.conversion.proof import verification, witnesses
from hf_zhclip.conversion.proof.witness import Witness
from hf_zhclip.conversion.repos import repo, report
from hf_zhclip.conversion.repos.report import Comparison
from hf_zhclip.conversion.repos.write import write_weights
from hf_zhclip.conversion.source import Description
from hf_zhclip.conversion.sources import SOURCES
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.checkpoints.common import Original
from tests.conversion.helpers import counted_once
from tests.facts import REFUSED

FOLDER = Path(tempfile.mkdtemp(prefix="planted_facts_"))
"""The small checkpoints, which rows are made of when tests are collected: fixtures come too late for that."""
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

MADE: dict[str, Callable[[Path], Original]] = {
    **FAMILIES,
    "bert_from_clip": lambda folder: Original(
        checkpoints.taiyi.taiyi_folder(folder / "bert", head=False), {"format": "bert_from_clip"}
    ),
    "dual_encoder": lambda folder: Original(
        checkpoints.dual_encoder.dual_encoder_folder(folder / "dual", checkpoints.bert_clip.bert_clip())
    ),
}

WITNESSES = {
    # transformers is the original's own package.
    **dict.fromkeys(("hf_clip", "chinese_clip", "taiyi_head", "taiyi_plain"), "transformers"),
    **dict.fromkeys(("taiyi_finetune", "bert_from_clip", "dual_encoder"), "transformers"),
    # A package of its own, installed by `make parity`.
    **dict.fromkeys(("cn_clip_vit", "cn_clip_flash", "cn_clip_resnet", "easynlp", "modelscope"), "parity"),
    **dict.fromkeys(("openai_clip", "open_clip", "open_clip_xlm_roberta"), "parity"),
    **dict.fromkeys(("multilingual_clip", "sentence_transformers"), "parity"),
    # Only a repository, whose outputs are recorded under tests/parity/recorded/.
    **dict.fromkeys(("bert_clip", "taiyi_clip", "r2d2", "wukong", "zh_clip"), "reference alone"),
}
"""By family: where the original's own package can be asked."""


@dataclass(frozen=True)
class Prepared:
    """A family's small checkpoint, read and described, with the weights of its repo."""

    original: Original
    parts: tuple[Part, ...]
    description: Description
    tensors: dict[str, torch.Tensor]
    folder: Path

    def anew(self, tokenizer: bool) -> "Prepared":
        """The same, of which nothing is kept but what was read; nor its `tokenizer`, if that is asked."""
        parts = (replace(part, source=SOURCES[part.source.name] if tokenizer else part.source) for part in self.parts)
        return replace(self, parts=tuple(parts))

    @cached_property
    def weights(self) -> Path:
        """The file that a conversion writes."""
        write_weights(self.folder, self.tensors, "keep", "5GB", False)
        return self.folder / "model.safetensors"


@cache
def make(name: str, build: Callable[[Path], Original]) -> Prepared:
    """A checkpoint, made and read once; its tokenizer is made once for each length."""
    folder = FOLDER / name
    folder.mkdir()
    made = build(folder)
    first, *others = identify(Stated(made.source, **made.arguments))
    once = replace(first.source, tokenizer=cache(lambda *given: counted_once(first.source.tokenizer(*given))))
    parts = (replace(first, source=once), *others)
    return Prepared(made, parts, describe(parts), join_tensors(parts), folder)


def prepared(family: str) -> Prepared:
    """The small checkpoint of a family."""
    return make(family, MADE[family])


def remembering(witness: Witness) -> Witness:
    """The witness, asked once for each of its answers: it depends on what it is given and on nothing else."""
    known: dict[tuple, Any] = {}
    dtypes = [torch.float32]

    @contextmanager
    def computing_in(dtype: torch.dtype) -> Iterator[None]:
        with witness.computing_in(dtype):
            dtypes.append(dtype)
            yield
            dtypes.pop()

    def once(name: str) -> Callable:
        call = getattr(witness, name)

        def answer(*given: Any) -> Any:
            key = (name, dtypes[-1], *map(_key, given))
            if key not in known:
                known[key] = call(*given)
            return known[key]

        return answer

    calls = (name for name in witnesses.CALLS if hasattr(witness, name))
    return replace(witness, computing_in=computing_in, **{name: once(name) for name in calls})


def _key(given: Any) -> Any:
    if torch.is_tensor(given):
        return tuple(given.shape), given.numpy().tobytes()
    if isinstance(given, Image.Image):
        return given.mode, given.size, given.tobytes(), str(given.info)
    return tuple(given) if isinstance(given, (list, tuple)) else id(given)


@cache
def _witness(family: str, level: str) -> list[Witness]:
    """Where the family's witness of this level is kept, once it was built."""
    return []


def share_witness(patch: pytest.MonkeyPatch, family: str, level: str) -> None:
    """Builds the family's witness once, by the request of the first comparison, for all that follow."""
    kept, build = _witness(family, level), witnesses.build

    def built(*given: Any) -> Witness:
        if not kept:
            kept.append(remembering(build(*given)))
        return kept[0]

    patch.setattr(witnesses, "build", built)


_PROCESSORS: dict[str, Any] = {}


VERSIONS = report.versions()


def share(patch: pytest.MonkeyPatch, made: Prepared) -> None:
    """Lets `convert` and its proof take what is prepared, and end at the first comparison that fails."""
    load, numbers = repo.load_processor, verification._compare_numbers

    def load_processor(folder: Path) -> Any:
        names = ("processor_config.json", "tokenizer_config.json", "tokenizer.json")
        files = [folder / name for name in names if (folder / name).is_file()]
        key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        if key not in _PROCESSORS:
            _PROCESSORS[key] = counted_once(load(folder))
        return _PROCESSORS[key]

    def until_one_fails(*given: Any) -> Iterator[Comparison]:
        for comparison in numbers(*given):
            yield comparison
            if not comparison.passed:
                return

    def built(folder: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
        # The shapes were held against the config before anything was written.
        return AutoConfig.from_pretrained(folder), {key: tuple(tensor.shape) for key, tensor in made.tensors.items()}

    def loaded(folder: Path) -> Any:
        # What `from_pretrained` makes of this config.json, in half its time.
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
        model.load_state_dict(made.tensors, assign=True)
        return model.eval()

    def link(folder: Path, *given: Any) -> None:
        os.link(made.weights, folder / made.weights.name)

    def read_again(request: dict[str, Any]) -> Part:
        return next(part for part in made.parts if part.role == request["role"])

    patch.setattr(pipeline, "identify", lambda *given: made.parts)
    patch.setattr(pipeline, "join_tensors", lambda parts: made.tensors)
    patch.setattr(pipeline, "write_weights", link)
    patch.setattr(verification, "from_request", read_again)
    patch.setattr(verification, "join_tensors", lambda parts: made.tensors)
    patch.setattr(repo, "load_processor", load_processor)
    patch.setattr(repo, "build", built)
    patch.setattr(verification, "_load", loaded)
    patch.setattr(verification, "_compare_numbers", until_one_fails)
    patch.setattr(report, "versions", VERSIONS.copy)
    for module in (torch.nn.Linear, torch.nn.Embedding):
        # The weights are loaded; what they would be without costs a third of a row.
        patch.setattr(module, "reset_parameters", lambda module: None)


def without_packages(patch: pytest.MonkeyPatch) -> None:
    """Proves as if no package of an original were installed."""
    patch.setattr(witnesses, "_peer_module", lambda format: None)


@dataclass(frozen=True)
class Outcome:
    """What stopped a conversion: a step of its proof or what `REFUSED` it before; None where nothing did."""

    step: str | None
    level: str | None = None
    why: str = ""


def outcome(original: Original) -> Outcome:
    """Converts it and says what stopped it."""
    try:
        found = convert(original.source, FOLDER / "OUT", force=True, **original.arguments)
    except ParityError as error:
        found = error.report
    except (InputError, MappingError) as error:
        return Outcome(REFUSED, why=str(error))
    failed = [each for each in found.comparisons if not each.passed]
    return Outcome(failed[0].step if failed else None, found.level, found.failures())


def everywhere(patch: pytest.MonkeyPatch, module: Any, name: str, value: Any) -> None:
    """Another function in the place of one, under every name by which a module of this project has imported it."""
    original = getattr(module, name)
    for each in [each for key, each in sys.modules.items() if key.startswith(f"{conversion.__name__}.")]:
        for found in [key for key, held in vars(each).items() if held is original]:
            patch.setattr(each, found, value)
