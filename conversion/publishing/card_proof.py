"""What a card says about a report: its level, its comparisons folded into rows, its sources, how to repeat it."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..repos.report import COSINE, MEASURES, STEPS, Report
from ..telling import shown
from ..words import Words, joined
from .card_words import LEVELS

KEPT = Words("bit for bit those of the source", "与原文件逐位相同")
CAST = Words("cast with --dtype {dtype}", "由 --dtype {dtype} 转换而来")
SEVERAL = Words("{count}: {words}", "{count} 项：{words}")


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
        "level": LEVELS[level],
        "comparisons": () if level in ("edited", "doubted") else folded(report),
        "source_files": [
            {
                "name": _origin(source),
                "format": source["format"],
                "revision": (source["hub"] or {}).get("revision") or "-",
                "file": file,
                "sha256": digest,
            }
            for source in report.sources
            for file, digest in source["files"].items()
        ],
        "command": shown(report.conversion["command"]),
        "against": shown(shlex.join(_against(report))),
        "versions": ", ".join(f"{package} {version}" for package, version in sorted(report.versions.items())),
        "dtype": KEPT if dtype == "keep" else CAST.filled(dtype=dtype),
    }


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


def folded(report: Report) -> list[dict[str, Any]]:
    """The comparisons; one row joins comparisons of the same step and witness, with the worst result."""
    rows: dict[tuple, list] = {}
    for each in report.comparisons:
        rows.setdefault((each.step, each.witness, each.measure, each.bound), []).append(each)
    return [
        {
            "step": STEPS.get(step, Words.in_english(step)),
            "what": _listed([each.what for each in group]),
            "witness": witness,
            "measure": MEASURES.get(measure, Words.in_english(measure)),
            "result": _number(_worst([each.result for each in group], lowest=measure == COSINE)),
            "bound": ("≥ " if measure == COSINE else "≤ ") + (f"{bound:.10g}" if bound > 0.5 else f"{bound:.1g}"),
            "passed": all(each.passed for each in group),
        }
        for (step, witness, measure, bound), group in rows.items()
    ]


def _listed(words: Sequence[Words]) -> Words:
    return words[0] if len(words) == 1 else SEVERAL.filled(count=len(words), words=joined(words))


def _worst(results: Sequence[float], lowest: bool) -> float:
    if any(map(math.isnan, results)):
        return math.nan
    return min(results) if lowest else max(results)


def _number(value: float) -> str:
    return f"{value:.9f}" if 0.5 < value < 1.5 and value != 1 else f"{value:.3g}"
