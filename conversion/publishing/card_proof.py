"""What a card says about a report: its level, its comparisons folded into rows, its sources, how to repeat it."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hf_zhclip.telling import shown

from ..repos.report import COSINE, DIFFERENCE, MEASURES, STEPS, Comparison, Report
from ..sources import SOURCES
from ..words import SEMICOLON, Words, joined
from .card_words import CHANGED_TENSORS, LEVELS, LINEAGE, NOT_COUNTED, TRAINED_LEVELS, UNCHANGED
from .markdown import plain

KEPT = Words("bit for bit the same as in the source", "与原文件逐位相同")
AS_TRAINED = Words("as training saved them", "与训练保存的相同")
CAST = Words("cast with --dtype {dtype}", "由 --dtype {dtype} 转换而来")
SEVERAL = Words("{count}: {words}", "{count} 项：{words}")
RESULT = Words("{measure} {result} ({bound})", "{measure} {result}（{bound}）")
MEASURED = Words(
    "its vectors differ from the vectors of {compared} by at most {result}, in float64 "
    "([conversion_report.json](conversion_report.json))",
    "向量与{compared}最多相差 {result}（float64，见 [conversion_report.json](conversion_report.json)）",
)
THE_ORIGINAL = Words("the original", "原模型")
TRAINED_IN = Words("{format} with these weights", "用这些权重计算的 {format}")

VECTORS = ("text", "image", "states", "pooled")
"""The steps that compare what the model computes."""

SAME = 1e-9
"""Bounds up to this are those of float64; the bounds of narrower dtypes are larger."""

FILES_SHOWN = 4
"""The files of a source whose hashes the card shows; the report has all."""


def level_of(report: Report, unverified: Words | None, edited: bool) -> str:
    """The proof's level, a key of LEVELS."""
    if edited:
        return "edited"
    if not report.passed:
        return "failed"
    return "doubted" if unverified and report.level != "tensors" else report.level


def proof_words(report: Report, level: str) -> dict[str, Any]:
    """The template's words about a report of this level."""
    dtype = report.conversion["dtype"]
    return {
        "level": _level_words(report, level),
        "lineage": _lineage_words(report),
        "comparisons": () if level in ("edited", "doubted") else folded(report),
        "source_files": [_source_words(source) for source in report.sources],
        "command": shown(report.conversion["command"]),
        "against": "" if report.lineage else shown(shlex.join(_against(report))),
        "versions": ", ".join(f"{package} {version}" for package, version in sorted(report.versions.items())),
        "dtype": (AS_TRAINED if report.lineage else KEPT) if dtype == "keep" else CAST.filled(dtype=dtype),
    }


def _source_words(source: Mapping[str, Any]) -> dict[str, Any]:
    """A source with the hashes of its first files, and the number of its other files."""
    files = [{"name": name, "sha256": digest} for name, digest in source["files"].items()]
    return {
        "name": _origin(source),
        "format": source["format"],
        "revision": (source["hub"] or {}).get("revision"),
        "files": files[:FILES_SHOWN],
        "more": len(files[FILES_SHOWN:]),
    }


def _level_words(report: Report, level: str) -> Words:
    if report.lineage is None or level not in TRAINED_LEVELS:
        return LEVELS[level]
    return TRAINED_LEVELS[level].filled(format=SOURCES[report.sources[0]["format"]].title)


def _lineage_words(report: Report) -> Words | None:
    """From which repo the weights were trained, and how many tensors of each tower changed."""
    if report.lineage is None:
        return None
    towers, hub = report.lineage["towers"], report.lineage["hub"]
    changed = NOT_COUNTED
    if towers is not None:
        named = {tower: counts for tower, counts in towers.items() if tower in UNCHANGED}
        told = [
            (CHANGED_TENSORS if counts["changed"] else UNCHANGED)[tower].filled(**counts)
            for tower, counts in named.items()
        ]
        changed = joined(told)
    return LINEAGE.filled(
        base=plain(hub["repo"] if hub else report.lineage["base"]),
        report=plain(report.lineage["report"]),
        changed=changed,
    )


def _against(report: Report) -> list[str]:
    """The arguments that tell `verify` about the original."""
    first, *others = report.sources
    words = shlex.split(report.conversion["command"])
    flags = "--format", "--vision-format", "--tokenizer", "--config", "--vision-config", "--ema"
    stated = [words[words.index(flag) :][:2] for flag in flags if flag in words]
    pairs = [["--against", _origin(first)], *(["--vision", _origin(other)] for other in others), *stated]
    return [word for pair in pairs for word in pair]


def _origin(source: Mapping[str, Any]) -> str:
    """A source as `convert` takes it: its hub name, or its own name."""
    place = source["hub"]
    if not place:
        return source["name"]
    return f"{place['repo']}:{place['file']}" if place["file"] else place["repo"]


def measured(report: Report) -> Words | None:
    """The largest difference of a vector from the original's in float64, as a sentence; None if none was measured."""
    found = [
        each.result
        for each in report.comparisons
        if each.step in VECTORS and each.measure == DIFFERENCE and 0 < each.bound <= SAME
    ]
    if not found:
        return None
    other = SOURCES[report.sources[0]["format"]].title if report.lineage else None
    compared = THE_ORIGINAL if other is None else TRAINED_IN.filled(format=other)
    return MEASURED.filled(result=_number(_worst(found, lowest=False)), compared=compared)


def folded(report: Report) -> list[dict[str, Any]]:
    """The comparisons; one row joins those of the same step, with the worst result of each measure.

    Comparisons that failed have rows of their own.
    """
    rows: dict[tuple, list[Comparison]] = {}
    for each in report.comparisons:
        rows.setdefault((each.step, each.passed), []).append(each)
    return [
        {
            "step": STEPS.get(step, Words.in_english(step)),
            "what": _listed([each.what for each in group]),
            "witness": joined(list(dict.fromkeys(each.witness for each in group))),
            "results": joined(_results(group), SEMICOLON),
            "passed": passed,
        }
        for (step, passed), group in rows.items()
    ]


def _results(group: Sequence[Comparison]) -> list[Words]:
    kinds: dict[tuple, list[float]] = {}
    for each in group:
        kinds.setdefault((each.measure, each.bound), []).append(each.result)
    return [_result(measure, bound, results) for (measure, bound), results in kinds.items()]


def _result(measure: str, bound: float, results: Sequence[float]) -> Words:
    cosine = measure == COSINE
    return RESULT.filled(
        measure=MEASURES.get(measure, Words.in_english(measure)),
        result=_number(_worst(results, lowest=cosine)),
        bound=("≥ " if cosine else "≤ ") + (f"{bound:.10g}" if bound > 0.5 else f"{bound:.1g}"),
    )


def _listed(words: Sequence[Words]) -> Words:
    return words[0] if len(words) == 1 else SEVERAL.filled(count=len(words), words=joined(words))


def _worst(results: Sequence[float], lowest: bool) -> float:
    if any(map(math.isnan, results)):
        return math.nan
    return min(results) if lowest else max(results)


def _number(value: float) -> str:
    return f"{value:.9f}" if 0.5 < value < 1.5 and value != 1 else f"{value:.3g}"
