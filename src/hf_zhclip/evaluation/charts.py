"""Pictures of results, drawn with matplotlib: a confusion table, and precision and recall by threshold."""

from pathlib import Path
from typing import Any

from ..extras import extra
from .classification import Classification
from .threshold import Threshold

FONTS = (
    *("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC", "SimHei"),
    "DejaVu Sans",
)
"""Fonts with Chinese characters, of Linux, Windows and macOS; the last one is matplotlib's own, without them."""

MOST_NAMES = 60
"""The most classes whose names stand beside the table."""


def draw_confusion(found: Classification, path: Path) -> None:
    """Draws the confusion table: a row for each label, a column for each class that was found; shares of a row."""
    counts = found.confusion.double()
    shares = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    names = _drawable(found.names)
    size = min(4 + 0.2 * len(names), 20)
    figure, axes = _figure((size, size))
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(drawn, ax=axes, fraction=0.046, label="share of the row")
    axes.set(xlabel="class found", ylabel="label", title=f"top 1: {found.top(1):.2f} %")
    if len(names) <= MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    figure.savefig(path, dpi=150)


def draw_threshold(found: Threshold, path: Path) -> None:
    """Draws precision and recall for each threshold, and the chosen threshold."""
    figure, axes = _figure((7, 4.5))
    axes.plot(found.at, found.precision, label="precision")
    axes.plot(found.at, found.recall, label="recall")
    axes.axvline(found.cosine, color="black", linestyle=":", label=f"chosen: {found.cosine:.4f}")
    axes.set(xlabel="cosine", ylim=(0, 1.02), title=f"AUC {found.auc:.4f}")
    axes.legend()
    figure.savefig(path, dpi=150)


def check_available() -> None:
    """Refuses to begin where matplotlib is missing.

    Raises:
        InputError: matplotlib is not installed.
    """
    extra("matplotlib.figure", "--out, which draws pictures,")


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of its own, which needs no screen and changes no setting of the caller."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.family": _fonts()}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots()


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in there]


def _drawable(names: list[str]) -> list[str]:
    """Names, or numbers where no font has Chinese characters: boxes would tell nobody anything."""
    if _fonts()[0] != FONTS[-1] or all(name.isascii() for name in names):
        return names
    return [str(number) for number in range(len(names))]
