"""Published figures on a card: the figure at the top, and the tables, whose columns are a task and a setup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..reading.catalogue import MEASURED_BY, Figures, Row
from ..words import Words

CLASSIFICATION = "zero-shot image classification"

HEADLINE = Words(
    "{dataset} {task}, {setup}, {metric} {value} ([{name}](<{url}>), {date}, {by})",
    "{dataset} {task}（{setup}）{metric} {value}（[{name}](<{url}>)，{date}，{by}）",
)
ORIGIN = Words(
    "Published in [{name}](<{url}>), {date}, {by}; not measured again here. {note}",
    "公布于 [{name}](<{url}>)，{date}，{by}，没有在这里重新测量。{note}",
)
COLUMN = Words("{task}, {setup}", "{task}，{setup}")
CLASSIFIED = Words("{task} ({metrics}): {values}", "{task}（{metrics}）：{values}")
SLASH, MIDDLE_DOT = " / ", " · "


@dataclass(frozen=True)
class Line:
    """A dataset's row: its name with the split and the metrics, and a cell for each column of its table."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """What one page published: retrieval as rows and columns, classification as a sentence, if there is any."""

    origin: Words
    columns: tuple[Words, ...]
    rows: tuple[Line, ...]
    classified: Words | None


def headline(figures: Figures) -> Words:
    """The figure at the top of a card, with its source and date."""
    row = figures.rows[0]
    return HEADLINE.filled(
        dataset=row.dataset,
        task=row.words("task"),
        setup=row.words("setup"),
        metric=figures.name_of(figures.headline),
        value=row.values[figures.headline],
        **_page(figures),
    )


def table_of(figures: Figures) -> Table:
    """All figures of a page."""
    retrieval = [row for row in figures.rows if row.task != CLASSIFICATION]
    columns = tuple(dict.fromkeys(map(_column, retrieval)))
    lines: dict[tuple[str, str | None, str], dict[Words, Row]] = {}
    for row in retrieval:
        lines.setdefault((row.dataset, row.split, figures.name_of(SLASH.join(row.values))), {})[_column(row)] = row
    return Table(
        origin=ORIGIN.filled(note=Words(figures.en, figures.zh), **_page(figures)),
        columns=columns,
        rows=tuple(_line(*key, [found.get(column) for column in columns]) for key, found in lines.items()),
        classified=_classified([row for row in figures.rows if row.task == CLASSIFICATION]),
    )


def _page(figures: Figures) -> Mapping[str, str | Words]:
    return {"name": figures.name, "url": figures.url, "date": figures.date, "by": MEASURED_BY[figures.by]}


def _column(row: Row) -> Words:
    return COLUMN.filled(task=row.words("task"), setup=row.words("setup"))


def _line(dataset: str, split: str | None, metrics: str, cells: Sequence[Row | None]) -> Line:
    name = f"{dataset} {split}" if split else dataset
    return Line(f"{name}: {metrics}", tuple(SLASH.join(cell.values.values()) if cell else "-" for cell in cells))


def _classified(rows: Sequence[Row]) -> Words | None:
    """All classifications, which share their metrics, as a sentence."""
    if not rows:
        return None
    values = MIDDLE_DOT.join(f"{row.dataset} {SLASH.join(row.values.values())}" for row in rows)
    return CLASSIFIED.filled(task=rows[0].words("task"), metrics=SLASH.join(rows[0].values), values=values)
