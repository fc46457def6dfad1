"""The proof in a repo: what was compared with what, within which bound, with which result."""

import importlib.metadata
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hf_zhclip.json_files import read_json
from hf_zhclip.staging import staging_file

from ..errors import InputError
from ..reading.files import REPORT as FILE
from ..reading.files import sha256
from ..reading.namesakes import refuse_namesake
from ..ways_out import finish_it
from ..words import Words
from .write import DTYPES, write_json

FORMAT_VERSION = 3
PACKAGES = ("hf-zhclip", "transformers", "torch", "safetensors", "tokenizers", "pillow")

Level = Literal["peer", "reference", "tensors"]

STEPS = {
    "files": Words("files", "文件"),
    "code": Words("code", "代码"),
    "tensors": Words("tensors", "张量"),
    "config": Words("config", "配置"),
    "ids": Words("ids", "词元 id"),
    "pixels": Words("pixels", "像素"),
    "text": Words("text", "文本向量"),
    "image": Words("image", "图像向量"),
    "logits": Words("logits", "logit"),
    "states": Words("states", "词元的状态"),
    "pooled": Words("pooled", "池化后的状态"),
}
"""The steps of a proof, as `Comparison.step` names them."""

COUNT, DIFFERENCE, COSINE = "number that differ", "max abs difference", "smallest cosine"
MEASURES = {
    COUNT: Words(COUNT, "不同的个数"),
    DIFFERENCE: Words(DIFFERENCE, "最大绝对差"),
    COSINE: Words(COSINE, "最小余弦"),
}
"""The measures, as `Comparison.measure` names them: a result is at most its bound; a cosine is at least its bound."""


SAMENESS = 1e-9
"""Largest absolute difference of L2-normalised embeddings, and of a cosine from 1, in float64."""

EVERY_PROOF = ("tensors", "config", "ids")
OF_A_PAIR, OF_TEXT_ALONE = ("text", "image"), ("states", "pooled")
"""The steps that every proof has, and those whose vectors are compared: of two towers, or of a text tower alone."""

NARROW = 2
"""The dtypes beside float64 in which a step is measured: float32, and the repo's own."""

BY_REFERENCE = "reference"
"""The word in the name of a witness that says that no package computed."""


@dataclass(frozen=True)
class Comparison:
    """One comparison with a witness; it passes if `result` is within `bound`.

    `step` and `measure` are keys of `STEPS` and `MEASURES`; a later version of this package may have more keys.
    """

    step: str
    what: Words
    witness: Words
    measure: str
    bound: float
    result: float
    passed: bool

    def holds(self) -> bool:
        """Whether the result is within the bound; NaN holds where both sides have it, which `passed` alone knows."""
        if math.isnan(self.result):
            return self.passed
        return self.result >= self.bound if self.measure == COSINE else self.result <= self.bound

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Comparison":
        """The inverse of `dataclasses.asdict`; a null result becomes NaN.

        Raises:
            KeyError, TypeError: a part is missing or has another kind.
        """
        _check_fields("comparisons", [value], COMPARISON_KINDS)
        words = {name: Words.from_json(value[name]) for name in ("what", "witness")}
        return cls(**{**value, **words, "result": math.nan if value["result"] is None else value["result"]})


@dataclass(frozen=True)
class Report:
    """The proof. `level` is the witness of the embeddings, or `tensors` if no witness computed them.

    `lineage` says from which repo the weights were trained; None if they are the original's. `sources` then are those
    of that repo's original, which computes the same from other weights.
    """

    sources: Sequence[Mapping[str, Any]]
    conversion: Mapping[str, Any]
    level: Level
    comparisons: Sequence[Comparison]
    files: Mapping[str, str]
    lineage: Mapping[str, Any] | None = None
    format_version: int = FORMAT_VERSION
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    @property
    def passed(self) -> bool:
        return bool(self.comparisons) and all(comparison.passed for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write; null replaces NaN and infinity, which JSON does not have."""
        value = asdict(self)
        for comparison in value["comparisons"]:
            if not math.isfinite(comparison["result"]):
                comparison["result"] = None
        return {**value, "passed": self.passed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Report":
        """The inverse of `to_json`; a null result becomes NaN.

        Raises:
            KeyError, TypeError: a part is missing or has another kind.
        """
        # Reports from before this field have no lineage.
        fields = {key: value[key] for key in cls.__dataclass_fields__ if key != "lineage"}
        fields["lineage"] = value.get("lineage")
        _check_kinds(fields)
        limits = [Words.from_json(each) for each in fields["conversion"]["limits"]]
        comparisons = [Comparison.from_json(each) for each in fields["comparisons"]]
        conversion = {**fields["conversion"], "limits": limits}
        return cls(**{**fields, "conversion": conversion, "comparisons": comparisons})

    def text(self) -> str:
        """Every comparison, one a line."""
        verdict = f"level {self.level}" if self.passed else "FAILED"
        return "\n".join([f"{verdict}: {self.conversion['architecture']}", *map(_line, self.comparisons)])

    def failures(self) -> str:
        """The comparisons that failed, one a line."""
        return "\n".join(_line(each) for each in self.comparisons if not each.passed)


SOURCE_KINDS: dict[str, Any] = {
    **dict.fromkeys(("format", "role", "name"), str),
    **{"hub": dict | None, "files": dict, "evidence": dict},
}
CONVERSION_KINDS: dict[str, Any] = {
    **{"architecture": str, "dtype": str, "context_length": int, "trained_context_length": int | None},
    **{"stated_context_length": int | None, "vocabulary": dict},
    **{
        "limits": list,
        "image_order": str | None,
        "catalogue": str | None,
        "command": str,
        "verification_skipped": bool,
    },
}
ROLES = ("whole", "image")
"""What a part can give to the model."""

HUB_KINDS: dict[str, Any] = {"repo": str, "file": str | None, "revision": str | None}
EVIDENCE_KINDS: dict[str, Any] = {"files": dict, "stated": dict}
FILE_KINDS: dict[str, Any] = {"sha256": str, "content": dict | list}
LINEAGE_KINDS: dict[str, Any] = {
    **{"base": str, "hub": dict | None, "report": str, "towers": dict | None, "former": dict | None}
}
COMPARISON_KINDS: dict[str, Any] = {
    **{"step": str, "what": dict, "witness": dict, "measure": str},
    **{"bound": int | float, "result": int | float | None, "passed": bool},
}
"""The fields of a report that other modules read, with their kinds."""


def _check_kinds(fields: Mapping[str, Any]) -> None:
    if fields["level"] not in get_args(Level):
        raise TypeError(f"level is {fields['level']!r}; wanted one of {', '.join(get_args(Level))}")
    if fields["lineage"] is not None:
        _check_lineage(fields["lineage"])
    if not _are_texts(fields["files"]):
        raise TypeError("files does not give a hash for each name")
    if not isinstance(fields["versions"], dict):
        raise TypeError(f"versions is {fields['versions']!r}")
    _check_fields("conversion", [fields["conversion"]], CONVERSION_KINDS)
    if fields["conversion"]["dtype"] not in ("keep", *DTYPES):
        raise TypeError(f"dtype is {fields['conversion']['dtype']!r}")
    if not isinstance(fields["conversion"].get("config", {}), dict):  # reports from before this field have none
        raise TypeError(f"config is {fields['conversion']['config']!r}")
    stated, length = (fields["conversion"][name] for name in ("stated_context_length", "context_length"))
    if stated not in (None, length):
        raise TypeError(f"stated_context_length is {stated} and context_length {length}")
    _check_fields("sources", fields["sources"], SOURCE_KINDS)
    if wrong := [source["role"] for source in fields["sources"] if source["role"] not in ROLES]:
        raise TypeError(f"role is {wrong[0]!r}")
    if wrong := [source["files"] for source in fields["sources"] if not _are_texts(source["files"])]:
        raise TypeError(f"files is {wrong[0]!r}")
    _check_fields("hub", [source["hub"] for source in fields["sources"] if source["hub"] is not None], HUB_KINDS)
    try:
        shlex.split(fields["conversion"]["command"])
    except ValueError as error:
        raise TypeError(f"command is {fields['conversion']['command']!r}: {error}") from error
    for source in fields["sources"]:
        _check_fields("evidence", [source["evidence"]], EVIDENCE_KINDS)
        _check_fields("evidence", list(source["evidence"]["files"].values()), FILE_KINDS)


def _check_lineage(value: Mapping[str, Any]) -> None:
    _check_fields("lineage", [value], LINEAGE_KINDS)
    _check_fields("hub", [value["hub"]] if value["hub"] is not None else [], HUB_KINDS)
    towers = value["towers"] or {}
    _check_fields("towers", list(towers.values()), dict.fromkeys(("tensors", "changed"), int))
    if wrong := [tower for tower, each in towers.items() if not 0 <= each["changed"] <= each["tensors"]]:
        raise TypeError(f"towers: {wrong[0]} is {towers[wrong[0]]}")
    if value["former"] is not None:
        _check_lineage(value["former"])


def _check_agreement(report: Report, passed: Any) -> None:
    """Refuses a report whose parts contradict each other, or that leaves out what a repo cannot be without."""
    conversion = report.conversion
    if passed is not report.passed:
        raise TypeError(f"passed is {passed!r}, but the comparisons give {report.passed}")
    for each in report.comparisons:
        if each.passed != each.holds():
            raise TypeError(f"{each.what.en} passed is {each.passed}, but the result is {each.result} ({each.bound})")
    if conversion["verification_skipped"] and report.level != "tensors":
        raise TypeError(f"verification_skipped is true, but the level is {report.level!r}")
    if not (length := conversion["context_length"]) >= 3 or isinstance(length, bool):
        raise TypeError(f"context_length is {length}")
    if not _are_texts(conversion["vocabulary"]):
        raise TypeError(f"vocabulary is {conversion['vocabulary']!r}")
    names = set(report.files)
    if not {"config.json", "tokenizer.json"} <= names or not any(name.endswith(".safetensors") for name in names):
        raise TypeError(f"files names {len(names)} files; config.json, tokenizer.json or the weights are missing")


def _check_proof(report: Report) -> None:
    """Refuses a report that says it is proved, and lacks what a proof of this level has.

    Such a check sees a report that was edited carelessly. A report is no signature: see SECURITY.md.
    """
    if report.level == "tensors" or not report.passed:
        return
    pair = report.conversion["image_order"] is not None
    embedded = OF_A_PAIR if pair else OF_TEXT_ALONE
    found = {step: [each for each in report.comparisons if each.step == step] for step in STEPS}
    for step in (*EVERY_PROOF, *embedded, *(("pixels", "logits") if pair else ())):
        if not found[step]:
            raise TypeError(f"level is {report.level!r}, but nothing of the step {step} was compared")
    for each in report.comparisons:
        if not _is_possible(each):
            raise TypeError(f"{each.what.en} has a {each.measure} of {each.result} with the bound {each.bound}")
    for step in embedded:
        _check_vectors(step, found[step], report.level)
    if wrong := [name for name in ("python", *PACKAGES) if not isinstance(report.versions.get(name), str)]:
        raise TypeError(f"versions does not give the version of {', '.join(wrong)}")
    _check_versions(report)


def _is_possible(each: Comparison) -> bool:
    """Whether a comparison that passed can have this bound and this result."""
    if each.measure == COUNT:
        return each.bound == 0
    if each.measure == COSINE:
        return each.bound >= 1 - SAMENESS and each.result <= 1 + SAMENESS
    if each.measure == DIFFERENCE:
        # Only in a narrower dtype, the bound depends on the weights, and vectors may overflow on both sides.
        exact = {"pixels": 0.0, "logits": SAMENESS}.get(each.step, math.inf)
        return 0 <= each.bound <= exact and (each.result >= 0 or (math.isnan(each.result) and each.bound > SAMENESS))
    return True  # a later version's


def _check_vectors(step: str, comparisons: Sequence[Comparison], level: Level) -> None:
    """Checks that vectors were compared in float64, within its bound, with a witness of this level."""
    differences = [each for each in comparisons if each.measure == DIFFERENCE]
    exact = [each for each in differences if each.bound <= SAMENESS]
    if not exact or not any(each.measure == COSINE for each in comparisons):
        raise TypeError(
            f"level is {level!r}, but the step {step} was not compared in float64 with the bound {SAMENESS}"
        )
    if len(differences) - len(exact) > NARROW:
        raise TypeError(f"the step {step} has more than {NARROW} bounds above {SAMENESS}")
    for each in comparisons:
        if (BY_REFERENCE in each.witness.en) != (level == "reference"):
            raise TypeError(f"level is {level!r}, but {each.what.en} was compared with {each.witness.en}")


def _check_versions(report: Report) -> None:
    """Checks that a package that computed as the witness has the version that the report states of it."""
    for witness in {each.witness.en for each in report.comparisons}:
        package, _, version = witness.partition(" ")
        alone = " " not in version  # and not a package among several
        if package in PACKAGES and alone and version != report.versions[package]:
            raise TypeError(f"versions has {package} {report.versions[package]}, but the witness is {witness}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _check_fields(where: str, values: Sequence[Mapping[str, Any]], kinds: Mapping[str, Any]) -> None:
    for value in values:
        wrong = [name for name, kind in kinds.items() if not isinstance(value[name], kind)]
        if wrong:
            raise TypeError(f"{where}: {wrong[0]} is {value[wrong[0]]!r}")


def _line(each: Comparison) -> str:
    word = "ok  " if each.passed else "FAIL"
    found = f"{each.measure} {each.result:.10g} (bound {each.bound:.10g})"
    return f"  {word} {each.step}: {each.what.en} against {each.witness.en}: {found}"


def read_report(folder: Path) -> Report:
    """A converted folder's report.

    Raises:
        InputError: the folder has no report, or a report of another version.
    """
    path = folder / FILE
    if not path.exists():
        raise InputError(f"{folder} has no {FILE}, which names the original. {finish_it(folder)}")
    value = read_json(path)
    if value.get("format_version") != FORMAT_VERSION:
        refuse_namesake(folder)
        raise InputError(f"{path} has an unknown version; version {FORMAT_VERSION} was wanted. {finish_it(folder)}")
    try:
        report = Report.from_json(value)
        _check_agreement(report, value["passed"])
        _check_proof(report)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no valid report: {error}. {finish_it(folder)}") from error
    return report


def check_formats(out: Path, report: Report) -> None:
    """Refuses a report with unknown source formats: it is false, or a later version wrote it.

    Raises:
        InputError: see above.
    """
    from ..sources import SOURCES  # whose modules use this one

    formats = [source["format"] for source in report.sources]
    if not formats or any(each not in SOURCES for each in formats):
        raise InputError(
            f"{out / FILE} names the formats {', '.join(map(repr, formats)) or 'none'}; the known formats are "
            f"{', '.join(sorted(SOURCES))}. {finish_it(out)}"
        )


def write_beside(path: Path, report: Report, force: bool) -> None:
    """Writes a report outside of its repo, in one step.

    Raises:
        InputError: the file exists and `force` is off.
        WorkError: the file could not be written.
    """
    with staging_file(path, 0, force) as file:
        write_json(file, report.to_json())


def changed_files(folder: Path, report: Report) -> list[str]:
    """The report's files that are missing from the folder or have changed."""
    return [
        name
        for name, digest in report.files.items()
        if not (folder / name).is_file() or sha256(folder / name) != digest
    ]


def versions() -> dict[str, str]:
    found = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **found}
