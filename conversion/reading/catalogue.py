"""The published checkpoints: model_cards/<name>.yaml, one file each, read strictly."""

import builtins
import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ..errors import InputError
from ..words import Words

PACKAGE = "hf_zhclip.model_cards"

STATED_HERE = Words(
    "No file beside the weights states the heads, activation and pooling of this model. The values are taken from the "
    "catalogue of hf_zhclip. No second source was found to check these values.",
    "权重旁边没有任何文件写明这个模型的注意力头数、激活函数和池化方式：这里取 hf_zhclip 目录中的值，没有找到第二处说"
    "明可以核对。",
)
"""The card's sentence about an entry with a `config`."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is ten times as fast; PyYAML has it only if PyYAML was built with libyaml."""

MODELSCOPE = "modelscope:"
"""The prefix of names on ModelScope."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where something is published; without `file` the whole repo, without `revision` no known revision.

    `repo` is `user/name` on the hub, `modelscope:user/name` on ModelScope, or the address of a page from which a
    person must download `file`.
    """

    repo: str
    file: str | None
    revision: str | None

    @property
    def by_hand(self) -> bool:
        """Whether only a person can download it, because this package does not know how."""
        return self.repo.startswith("https://")

    @property
    def on_hub(self) -> bool:
        return not self.by_hand and not self.repo.startswith(MODELSCOPE)

    @property
    def source(self) -> str:
        """The source as `convert` takes it; for a file that is downloaded by hand, its name."""
        if self.by_hand:
            return str(self.file)
        return f"{self.repo}:{self.file}" if self.file else self.repo

    @property
    def title(self) -> str:
        """The text of a link to this place."""
        return self.source if self.by_hand else self.repo

    @property
    def url(self) -> str:
        """The page that shows this place."""
        if self.by_hand:
            return self.repo
        if self.on_hub:
            return f"https://huggingface.co/{self.repo}"
        return f"https://www.modelscope.cn/models/{self.repo.removeprefix(MODELSCOPE)}"


@dataclasses.dataclass(frozen=True)
class Text:
    """The text tower: pooling and projection, positions, the original's longest text in tokens, and its casing.

    `projection` is None if the tower stands alone: its pooled vector is no embedding.
    """

    tower: str
    model_type: str
    pooling: str
    projection: str | None
    positions: int
    context_length: int
    lower_case: bool


@dataclasses.dataclass(frozen=True)
class Image:
    """The image tower: its projection, how pictures are prepared, and the prepared picture's side in pixels."""

    tower: str
    model_type: str
    projection: str
    order: str
    size: int


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The count of trained numbers, in all and in the image tower with its projection; buffers do not count."""

    total: int
    image: int


@dataclasses.dataclass(frozen=True)
class License:
    """`id` is None if no license is known. `published` holds every id that was read, `read` the places it was read."""

    id: str | None
    published: tuple[str, ...]
    en: str
    zh: str
    read: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Training:
    """The training data, as published at `source`; `datasets` are hub ids."""

    datasets: tuple[str, ...]
    en: str
    zh: str
    source: str


ROWS = {
    "task": {
        "text-to-image retrieval": "以文搜图",
        "image-to-text retrieval": "以图搜文",
        "zero-shot image classification": "零样本图片分类",
    },
    "split": {"validation": "验证集", "test": "测试集"},
    "setup": {"zero-shot": "零样本", "fine-tuned": "微调"},
}
"""The values that a published table may have in these fields, with the Chinese."""


MEASURED_BY = {
    "authors": Words("measured by the authors", "由原作者测得"),
    "others": Words("measured by others", "由第三方测得"),
}
"""Who measured published figures, in a card's words."""

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a published table; values stay as printed, `ROWS` lists the values of the other fields."""

    task: str
    dataset: str
    split: str | None
    setup: str
    values: Mapping[str, str]

    def words(self, field: str) -> Words | None:
        """A field of `ROWS` in both languages; None if the field is not stated."""
        english = getattr(self, field)
        return None if english is None else Words(english, ROWS[field][english])


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures that were published for this checkpoint, and what a reader must know to read them.

    `date` is that of the version of the page that was read. `by` says who measured, a key of `MEASURED_BY`.
    `headline` names the value of the first row that stands at the top of a card. `metric` is what the values are,
    where the names of the values do not say it (where they name languages, for example).
    """

    name: str
    url: str
    date: str
    by: str
    headline: str
    metric: str | None
    en: str
    zh: str
    rows: tuple[Row, ...]

    def name_of(self, value: str) -> str:
        """The full name of a value."""
        return value if self.metric is None else f"{self.metric} {value}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One published checkpoint; `source` and `vision` are as `convert` takes them, `width` is its vectors' width.

    `config` is what `--config` would state if no file beside the weights states it. A text tower that was published
    alone has no `image`; its `width` is the pooled vector's width.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    family: str
    format: str
    published: Place
    image_part: Place | None
    config: Mapping[str, Any] | None
    text: Text
    image: Image | None
    width: int
    parameters: Parameters
    license: License
    languages: tuple[str, ...]
    training: Training
    citation: str | None
    links: tuple[str, ...]
    figures: tuple[Figures, ...]

    @property
    def source(self) -> str:
        """`user/repo[:file]` on the hub, the same on ModelScope, or the name of a file that is downloaded by hand."""
        return self.published.source

    @property
    def vision(self) -> str | None:
        """The image part of the pair, if it was published apart."""
        return self.image_part.source if self.image_part else None

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the entry's parts are published."""
        return (self.published, self.image_part) if self.image_part else (self.published,)

    def command(self, out: str) -> tuple[str, ...]:
        """The command's words that convert the entry; a file that is downloaded by hand must lie here."""
        if not self.published.by_hand:
            return "zhclip", "convert", self.name, out
        vision = ("--vision", self.vision) if self.vision else ()
        return "zhclip", "convert", self.source, out, "--format", self.format, *vision

    @property
    def towers(self) -> str:
        return f"{self.image.tower} + {self.text.tower}" if self.image else self.text.tower

    def to_json(self) -> dict[str, Any]:
        """Every fact, and the sources that `convert` takes."""
        return {**dataclasses.asdict(self), "source": self.source, "vision": self.vision}


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, sorted by name.

    Raises:
        InputError: a file is no valid entry; the message names the file and the field.
    """
    files = [each for each in resources.files(PACKAGE).iterdir() if each.name.endswith(".yaml")]
    found = [
        parse(each.read_text(encoding="utf-8"), each.name)
        for each in sorted(files, key=lambda each: each.name.casefold())
    ]
    owners: dict[str, str] = {}
    for entry in found:
        for name in (entry.name, *entry.aliases):
            if (owner := owners.setdefault(name.casefold(), entry.name)) != entry.name:
                raise InputError(f"{owner} and {entry.name} both have the name {name}. Rename one of the two.")
    return tuple(found)


list = entries
"""`zhclip list` prints these entries; this function has the command's name."""


def parse(text: str, file: str) -> Entry:
    """Parses the text of one entry's file."""
    try:
        value = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML: {error}") from error
    entry = _read(Entry, value, file, "")
    if f"{entry.name}.yaml" != file:
        raise InputError(f"{file}: field name is {entry.name!r}; wanted the name of the file.")
    if any(place.by_hand and not place.file for place in entry.places):
        raise InputError(f"{file}: field published.file is None; wanted the name of the file on the page.")
    for number, figures in enumerate(entry.figures):
        _check_figures(figures, file, f"figures[{number}]")
    return entry


def _check_figures(figures: Figures, file: str, field: str) -> None:
    for row in figures.rows:
        _check_row(row, file)
    if figures.by not in MEASURED_BY:
        raise InputError(f"{file}: field {field}.by is {figures.by!r}; wanted one of {', '.join(MEASURED_BY)}.")
    if not DATE.fullmatch(figures.date):
        raise InputError(f"{file}: field {field}.date is {figures.date!r}; wanted a date as 2022-12-31.")
    if not figures.rows or figures.headline not in figures.rows[0].values:
        raise InputError(f"{file}: field {field}.headline is {figures.headline!r}; wanted a value of the first row.")


def _check_row(row: Row, file: str) -> None:
    for field, known in ROWS.items():
        if (value := getattr(row, field)) is not None and value not in known:
            raise InputError(f"{file}: field figures.rows.{field} is {value!r}; wanted one of {', '.join(known)}.")


def find(name: str) -> Entry | None:
    """The entry with this name or alias; upper and lower case do not matter."""
    wanted = name.casefold()
    return next((each for each in entries() if wanted in map(str.casefold, (each.name, *each.aliases))), None)


def find_by_hub(repo: str, file: str | None) -> Entry | None:
    """The entry published as `user/repo` or `modelscope:user/repo`; `file` None is the whole repo."""
    wanted = repo.casefold(), file
    return next((each for each in entries() if (each.published.repo.casefold(), each.published.file) == wanted), None)


COLUMNS = ("name", "family", "towers", "parameters", "licence", "source")


def table() -> str:
    """The catalogue as a table for people, one entry a line."""
    rows = [COLUMNS, *map(_line, entries())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _line(entry: Entry) -> tuple[str, ...]:
    source = entry.published.url if entry.published.by_hand else entry.source
    source = f"{source} --vision {entry.vision}" if entry.vision else source
    parameters = f"{entry.parameters.total / 1e6:.0f}M"
    names = ", ".join((entry.name, *entry.aliases))
    return names, entry.family, entry.towers, parameters, entry.license.id or "unknown", source


def _read(wanted: Any, value: Any, file: str, field: str) -> Any:
    """Reads and checks a value of a type that the dataclasses above use."""
    if wanted is Any:
        return _read_json(value, file, field)
    if dataclasses.is_dataclass(wanted):
        return _read_fields(typing.cast(type, wanted), value, file, field)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, file, field)
    if origin is tuple:
        _check(value, builtins.list, file, field)
        return tuple(_read(arguments[0], each, file, f"{field}[{place}]") for place, each in enumerate(value))
    if origin is Mapping:
        _check(value, dict, file, field)
        return {_read(str, key, file, field): _read(arguments[1], value[key], file, f"{field}.{key}") for key in value}
    _check(value, wanted, file, field)
    return value


def _read_json(value: Any, file: str, field: str) -> Any:
    """Reads a value that JSON can hold; YAML also has dates, sets and keys that are not strings."""
    if isinstance(value, dict):
        return _read(Mapping[str, Any], value, file, field)
    if isinstance(value, builtins.list):
        return [_read_json(each, file, f"{field}[{place}]") for place, each in enumerate(value)]
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise InputError(f"{file}: field {field} is {value!r}; wanted a value of JSON.")
    return value


def _read_fields(wanted: type, value: Any, file: str, field: str) -> Any:
    _check(value, dict, file, field or "the whole file")
    hints = typing.get_type_hints(wanted)
    place = f"{field}." if field else ""
    if unknown := sorted(map(str, set(value) - set(hints))):
        raise InputError(f"{file}: unknown field {place}{unknown[0]}; the fields are {', '.join(hints)}.")
    if missing := [name for name in hints if name not in value]:
        raise InputError(f"{file}: field {place}{missing[0]} is missing; write null if the value is not known.")
    return wanted(**{name: _read(hint, value[name], file, place + name) for name, hint in hints.items()})


def _check(value: Any, wanted: type, file: str, field: str) -> None:
    if type(value) is not wanted:
        raise InputError(f"{file}: field {field} is {value!r}; wanted {wanted.__name__}.")
