"""A card's header in the hub's values: licence, languages, origin, tags, published results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from ..errors import InputError
from ..reading import catalogue
from ..reading.catalogue import MEASURED_BY, Entry
from ..repos.doors import SENTENCE_TRANSFORMERS
from ..repos.report import Report
from ..sources import SOURCES
from .card_header import Header
from .card_measured import METRICS as METRICS_SHOWN
from .card_measured import Measured
from .model_facts import Model

TASKS = {"zero-shot image classification": "zero-shot-image-classification"}
"""Published task -> the hub's task; the hub has no task for retrieval, which uses features."""

METRICS = {"Top1": "accuracy", "Top5": "accuracy", "ACC1": "accuracy"}
"""Published metric of a classification -> the hub's metric; retrieval metrics are recall."""

METRIC_TYPES = {
    **dict.fromkeys(("r1", "r5", "r10", "mean_recall"), "recall"),
    **dict.fromkeys(("top1", "top5", "mean_per_class"), "accuracy"),
    **{"auc": "roc_auc"},
}
"""Measured figure -> the hub's metric; the others have the hub's names."""


WIDGET = {
    "src": "https://huggingface.co/datasets/mishig/sample_images/resolve/main/cat-dog-music.png",
    "example_title": "Cat & Dog",
}
"""The example of the hub's own documentation (hf.co/docs/hub/models-widgets-examples)."""


class CardData(ModelCardData):
    """A header whose fields stand on one line each, so that a reader of the file soon comes to its text."""

    def to_yaml(self, line_break: str | None = None, original_order: list[str] | None = None) -> str:
        return (line_break or "\n").join(f"{key}: {_on_one_line(value)}" for key, value in self.to_dict().items())


def _on_one_line(value: Any) -> str:
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf)
    return text.strip()[1:-1]


def metadata_of(
    name: str,
    entry: Entry | None,
    model: Model,
    licence: Mapping[str, str],
    bases: Sequence[str],
    relation: str,
    languages: Sequence[str],
    labels: Sequence[str],
    measured: Sequence[Measured],
) -> ModelCardData:
    """The header. Its relation `quantized` (same model, other files) is the hub's nearest to a changed format.

    `labels` are the classes of the example that the hub shows; `measured` are figures of the repo itself.
    """
    results = (_results(entry) if entry else []) + _measured_results(measured)
    return CardData(
        **licence,
        language=list(languages),
        library_name="transformers",
        pipeline_tag="feature-extraction" if model.is_text_alone else "zero-shot-image-classification",
        base_model=list(bases) or None,
        base_model_relation=relation if bases else None,
        datasets=list(entry.training.datasets) or None if entry else None,
        tags=[
            *(
                ["hf_zhclip", model.config["text_config"]["model_type"]]
                if model.is_text_alone
                else ["clip", "hf_zhclip"]
            ),
            *(["chinese"] if "zh" in languages else []),
            *([] if model.is_text_alone else ["image-text-retrieval"]),
            "safetensors",
        ]
        + (["sentence-transformers"] if set(SENTENCE_TRANSFORMERS) <= model.files else []),
        widget=None if model.is_text_alone else [{**WIDGET, "candidate_labels": ", ".join(labels)}],
        model_name=name if results else None,
        eval_results=results or None,
    )


def _results(entry: Entry) -> list[EvalResult]:
    """The published zero-shot figures; figures after fine-tuning belong to other weights."""
    return [
        EvalResult(
            task_type=TASKS.get(row.task, "feature-extraction"),
            task_name=row.task if row.task in TASKS else "image-text retrieval",
            dataset_type=row.dataset.lower(),
            dataset_name=row.dataset,
            dataset_split=row.split,
            metric_type=METRICS.get(metric, "recall") if row.task in TASKS else "recall",
            metric_name=f"{row.task}, {row.setup}: {figures.name_of(metric)}",
            metric_value=float(value.rstrip("%")),
            verified=False,
            source_name=f"{figures.name}, {figures.date}, {MEASURED_BY[figures.by].en}",
            source_url=figures.url,
        )
        for figures in entry.figures
        for row in figures.rows
        if row.setup == "zero-shot"
        for metric, value in row.values.items()
    ]


def _measured_results(measured: Sequence[Measured]) -> list[EvalResult]:
    """The figures that were measured on the repo itself, with the date and the command."""
    return [
        EvalResult(
            task_type=TASKS.get(each.words.en, "feature-extraction"),
            task_name=each.words.en,
            dataset_type=each.dataset.lower(),
            dataset_name=each.dataset,
            dataset_split=each.split,
            metric_type=METRIC_TYPES.get(name, name),
            metric_name=f"{each.words.en}: {METRICS_SHOWN[name]}",
            metric_value=value,
            metric_args={"date": each.date, "command": each.command, "hf_zhclip": each.version},
            verified=False,
        )
        for each in measured
        for name, value in each.values.items()
    ]


def licence_of(entry: Entry | None, header: Header) -> str | None:
    """The licence that users state for their own model; for a published model, the published licence."""
    if entry is None or entry.license.id is None or header.license is None:
        return header.license or (entry.license.id if entry else None)
    if header.license not in entry.license.published:
        raise InputError(
            f"{header.license} is stated as the licence, but {entry.name} was published under "
            f"{' or '.join(entry.license.published)} ({', '.join(entry.license.read)}). A conversion does not change "
            "the licence. State the published licence, or leave the licence out."
        )
    return header.license


def whose_word(entry: Entry | None, header: Header, made_from: set[str]) -> str:
    """Who stated the licence; if an earlier card took it from the catalogue, nobody has stated it since."""
    if entry is not None and entry.license.id is not None:
        return "published"
    published = (each.license.published for each in catalogue.entries() if each.published.repo in made_from)
    inherited = not header.stated_now and any(header.license in ids for ids in published)
    return "inherited" if inherited else "stated"


def licence_fields(licence: str | None, header: Header) -> dict[str, str]:
    """The fields of a known licence; the hub needs a name and a link for a licence that is not on its list."""
    stated = {"license": licence, "license_name": header.license_name, "license_link": header.license_link}
    return {key: value for key, value in stated.items() if licence and value}


def hub_repos(entry: Entry | None, report: Report | None) -> tuple[str, ...]:
    """The hub repos of the parts, if all of them are published; for trained weights the repo they started from."""
    if report is not None and report.lineage is not None:
        return (report.lineage["hub"]["repo"],) if report.lineage["hub"] else ()
    if report is not None:
        places = [source["hub"] for source in report.sources]
        return tuple(place["repo"] for place in places) if all(places) else ()
    if entry is None:
        return ()
    return tuple(place.repo for place in entry.places) if all(place.on_hub for place in entry.places) else ()


def languages_of(entry: Entry | None, report: Report | None) -> tuple[str, ...]:
    """The training languages: published, or of the original format; without a report Chinese, as for most models."""
    if entry:
        return entry.languages
    return SOURCES[report.sources[0]["format"]].languages if report else ("zh",)
