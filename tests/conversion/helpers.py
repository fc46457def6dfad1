"""What several tests of the conversion share."""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hf_zhclip.conversion import pipeline, upgrade
from hf_zhclip.conversion.detection.parts import Part
from hf_zhclip.conversion.exports import native_process
from hf_zhclip.conversion.proof import samples, texts, verification
from hf_zhclip.conversion.publishing import card_file, cards
from hf_zhclip.conversion.repos import repo
from hf_zhclip.conversion.repos.report import COSINE, COUNT, DIFFERENCE, Comparison, Report
from hf_zhclip.conversion.words import Words

from tests.checkpoints.common import Original

PICTURES = tuple(itertools.islice(samples.pictures(), samples.EMBEDDED))
"""Those that are embedded; all of them are compared where the process is a fresh one."""

TRANSPARENT = cache(samples.transparent_picture)
"""Draws each size once: a conversion tries several, and changes none."""


@dataclass(frozen=True)
class Repo:
    """A converted checkpoint."""

    path: Path
    report: Report
    original: Original


def complete(*first: Comparison) -> list[Comparison]:
    """The comparisons that a proof of a pair has at least, by the reference, all of them passed, behind others."""
    reference = Words("reference", "参考实现")
    counted = [
        Comparison(step, Words.same("x"), reference, COUNT, 0, 0, True) for step in ("tensors", "config", "ids")
    ]
    exact = [
        Comparison(step, Words.same("x"), reference, DIFFERENCE, bound, 0.0, True)
        for step, bound in {"pixels": 0, "text": 1e-9, "image": 1e-9, "logits": 1e-9}.items()
    ]
    cosines = [Comparison(step, Words.same("x"), reference, COSINE, 1 - 1e-9, 1.0, True) for step in ("text", "image")]
    return [*first, *counted, *exact, *cosines]


def compare_here(request: verification.Request, waiting: Any = None) -> Any:
    """Stands in for `in_fresh_process`, which costs seconds; the request still has to survive JSON."""
    return verification.compare(verification.Request(**json.loads(json.dumps(asdict(request)))))


def answer_here(request: Mapping[str, Any]) -> Any:
    """Stands in for the process without hf_zhclip, which costs seconds; what is asked still has to survive JSON."""
    return json.loads(json.dumps(native_process.compute(json.loads(json.dumps(request)))))


def list_operators_once(patch: pytest.MonkeyPatch) -> None:
    """Lets torch's exporter list its operators once a process: for each graph this takes half a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))


def save_time(patch: pytest.MonkeyPatch) -> None:
    """Verifies as `verify_here`, and writes a card of one line: a card reads the whole folder again."""
    verify_here(patch)
    read_once(patch)
    for module in (pipeline, upgrade):
        patch.setattr(module, "write_card", plain_card)


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Loads a repo's processor, builds its empty model and its family's tokenizer once a process for each content."""
    patch.setattr(repo, "load_processor", processor_of)
    patch.setattr(repo, "build", built_from)
    patch.setattr(verification, "_built_tokenizer", tokenizer_of)


def processor_of(folder: Path) -> Any:
    """What `load_processor` gives, once for each content of the folder's JSON files."""
    return _once("processor", folder, lambda folder: counted_once(LOAD_PROCESSOR(folder)), "*.json", "*.txt")


def counted_once(processor: Any) -> Any:
    """The processor, or a tokenizer alone, whose thousands of words are given by one call for all comparisons."""
    tokenizer = getattr(processor, "tokenizer", processor)
    tokenizer.get_vocab = cache(tokenizer.get_vocab)
    return processor


def built_from(folder: Path) -> Any:
    """What `build` gives, once for each config.json."""
    return _once("model", folder, BUILD, "config.json")


def tokenizer_of(parts: Sequence[Part], request: verification.Request, context_length: int) -> Any:
    """What `_built_tokenizer` gives, once for each family, vocabulary and length."""
    family = parts[0].source.name if parts else request.recorded[0]["format"]
    place = Path(request.vocabulary)
    folder, name = (place, "*") if place.is_dir() else (place.parent, place.name)
    what = f"tokenizer of {family} for {context_length}, {place.is_dir() or place.suffixes}"
    return _once(what, folder, lambda folder: BUILD_TOKENIZER(parts, request, context_length), name)


LOAD_PROCESSOR, BUILD, BUILD_TOKENIZER = repo.load_processor, repo.build, verification._built_tokenizer
WEIGHTS = (".safetensors", ".bin", ".pt")
_KNOWN: dict[tuple, Any] = {}


def _once(what: str, folder: Path, call: Callable[[Path], Any], *patterns: str) -> Any:
    files = sorted(
        path for pattern in patterns for path in folder.glob(pattern) if path.is_file() and path.suffix not in WEIGHTS
    )
    key = (what, *((path.name, hashlib.sha256(path.read_bytes()).digest()) for path in files))
    if key not in _KNOWN:
        _KNOWN[key] = call(folder)
    return _KNOWN[key]


def plain_card(folder: Path, report: Report, name: str) -> None:
    """Stands in for `write_card`, which costs a third of a conversion."""
    card_file.write_whole(folder / "README.md", card_file.stamped(f"# {name}\n"))


def verify_here(patch: pytest.MonkeyPatch) -> None:
    """Verifies in this process, on few texts, on pictures that are drawn once, and loads no class of one tower.

    The card is as users get it, also where the test that is running has one of one line.
    """
    for module in (pipeline, upgrade):
        patch.setattr(module, "write_card", cards.write_card)
    patch.setattr(verification, "in_fresh_process", compare_here)
    patch.setattr(verification, "waiting_process", nullcontext)
    patch.setattr(verification, "_with_towers", lambda whole, *given: whole)
    patch.setattr(texts, "whole", lambda special, context_length: texts.SENTENCES)
    patch.setattr(samples, "pictures", lambda: iter(PICTURES))
    patch.setattr(samples, "transparent_picture", TRANSPARENT)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def entries(folder: Path) -> set[str]:
    """Names of everything in a folder, hidden files too."""
    return {path.name for path in folder.iterdir()}
