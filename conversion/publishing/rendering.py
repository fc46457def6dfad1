"""The text of a card: facts about a model, its catalogue entry and its report, filled into the template."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hf_zhclip.telling import shown

from ..errors import InputError
from ..exports.natives import fits
from ..reading import catalogue
from ..reading.catalogue import Entry
from ..reading.files import CARD
from ..repos.doors import SENTENCE_TRANSFORMERS
from ..repos.report import FILE, Report, changed_files, check_formats, read_report
from ..sources import SOURCES
from ..ways_out import finishing
from ..words import Words
from .card_figures import headline, table_of
from .card_file import stamped
from .card_header import NOTHING_STATED, Header, header_of
from .card_measured import Measured, figures_of
from .card_metadata import hub_repos, languages_of, licence_fields, licence_of, metadata_of, whose_word
from .card_proof import level_of, measured, proof_words
from .card_words import (
    ALONE,
    ALONE_SIZE,
    COMPARED,
    IMAGE_ORDERS,
    LANGUAGES,
    LICENCE_BY,
    MULTILINGUAL,
    PADDING,
    PAIR,
    PAIR_SIZE,
    PUBLISHED,
    TEXT_ALONE,
    Language,
)
from .markdown import code, plain, sentence
from .model_facts import Model, model_of_entry, model_of_folder
from .unverified import NO_REPORT, why_unverified

RELATED = {
    "finetune": Words("", ""),
    "quantized": Words(
        "`quantized` in the metadata: of the hub's four words, this word is nearest to a change of format. No weight "
        "was quantised.",
        "元数据里的 `quantized` 是 hub 的四个词中最接近“换了格式”的一个，不表示做过量化。",
    ),
}
"""The card's words beside the hub's name of the relation to the base model."""

PROVEN = ("peer", "reference")
"""The levels of a report whose figures a card shows at the top."""

CASING = "lower-cased"
"""A limit that contains this word is about casing."""


def render(folder: Path, *, repo: str, unverified: Words | None = None) -> str:
    """The text of README.md for a converted folder.

    Args:
        folder: the folder.
        repo: what the code blocks load: `user/name`, or the folder's name.
        unverified: why nothing proves that the repo computes what its original computes, if this is so.

    Raises:
        InputError: the folder lacks facts that a card needs, or its README.md cannot be read.
    """
    report = _readable_report(folder, unverified)
    edited = report is not None and unverified is not None and bool(changed_files(folder, report))
    if report is not None:
        check_formats(folder, report)
    header = header_of(folder / CARD, NOTHING_STATED)
    return render_folder(folder, report, repo, why_unverified(report, unverified), header, edited)


def render_entry(entry: Entry) -> str:
    """The card of a published checkpoint that has not been converted yet."""
    return _render(model_of_entry(entry), entry, None, entry.name, None, NOTHING_STATED, (), edited=False)


def _readable_report(folder: Path, unverified: Words | None) -> Report | None:
    if not (folder / FILE).exists():
        return None
    try:
        return read_report(folder)
    except InputError:
        if unverified is None:
            raise
        return None


def render_folder(
    folder: Path, report: Report | None, repo: str, unverified: Words | None, header: Header, edited: bool
) -> str:
    """A folder's card; a folder edited after its report is another model, whose base is the model in the report."""
    model = model_of_folder(folder)
    name = report.conversion["catalogue"] if report else None
    entry = catalogue.find(name) if name and not edited else None
    why = unverified or (NO_REPORT if report is None else None)
    figures = figures_of(folder, None if edited else report)
    return _render(model, entry, report, repo, why, header, figures, edited)


def _render(
    model: Model,
    entry: Entry | None,
    report: Report | None,
    repo: str,
    unverified: Words | None,
    header: Header,
    figures: Sequence[Measured],
    edited: bool,
) -> str:
    name = repo.rpartition("/")[2]
    licence = licence_of(entry, header)
    sources = hub_repos(entry, report)
    bases = header.base_model or sources
    trained = edited or (report is not None and report.lineage is not None)
    relation = "quantized" if not trained and bases == sources else "finetune"
    licence_by = LICENCE_BY[whose_word(entry, header, {*bases, *sources})]
    languages = languages_of(entry, report)
    language = LANGUAGES.get(languages, MULTILINGUAL)
    fields = licence_fields(licence, header)
    metadata = metadata_of(name, entry, model, fields, bases, relation, languages, language.labels, figures)
    level = level_of(report, unverified, edited) if report else None
    words = {
        **_words(model, entry, report, repo, name),
        **_model_words(model, entry, language),
        **_figure_words(entry, report if level in PROVEN else None),
        **(proof_words(report, level) if report and level else {}),
        "relation": RELATED[relation],
        "entry": entry,
        "entry_only": report is None and entry is not None,
        "unverified": unverified,
        "licence": licence,
        "licence_by": licence_by,
        "base_models": bases,
        "measured": figures,
    }
    template = (resources.files(catalogue.PACKAGE) / "template.md").read_text(encoding="utf-8")
    body = ModelCard.from_template(metadata, template_str=template, **words).text
    text = f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}"
    return stamped(re.sub(r"\n{3,}", "\n\n", text.replace("\r\n", "\n")).strip() + "\n")


def _model_words(model: Model, entry: Entry | None, language: Language) -> dict[str, Any]:
    """What the model is for, what it is, and the texts of the code blocks."""
    text = plain(entry.text.tower if entry else model.config["text_config"]["model_type"])
    alone = model.is_text_alone
    if alone:
        kind = ALONE.filled(text=text)
    else:
        image = entry.image.tower if entry and entry.image else model.config["vision_config"]["model_type"]
        kind = PAIR.filled(model=language.of_model, image=plain(image), text=text)
    size = (ALONE_SIZE if alone else PAIR_SIZE).filled(parameters=f"{model.parameters:,}", width=model.width)
    return {
        "language": language,
        "purpose": TEXT_ALONE if alone else language.purpose,
        "kind": kind,
        "size": size,
        "names": _python(list(language.names)),
        "query": _python(list(language.names[-1:])),
        "texts": _python(list(language.texts)),
    }


def _figure_words(entry: Entry | None, proof: Report | None) -> dict[str, Any]:
    """The figure at the top, published or else measured by a proof that holds, and the tables of published figures."""
    published = entry.figures if entry else ()
    return {
        "figure": headline(published[0]) if published else measured(proof) if proof else None,
        "figure_of": PUBLISHED if published else COMPARED,
        "tables": [table_of(figures) for figures in published],
        "citation": " ".join(entry.citation.split()) if entry and entry.citation else None,
    }


def _published_limits(entry: Entry) -> tuple[Words, ...]:
    """A published checkpoint's sentences before it is converted."""
    return (*SOURCES[entry.format].limits, *((catalogue.STATED_HERE,) if entry.config else ()))


def _words(model: Model, entry: Entry | None, report: Report | None, repo: str, name: str) -> dict[str, Any]:
    """The values for the template's placeholders."""
    limits = report.conversion["limits"] if report else _published_limits(entry) if entry else ()
    return {
        "plain": plain,
        "code": code,
        "name": name,
        "report": report,
        "title": entry.title if entry else report.conversion["architecture"] if report else name,
        **({} if model.image_order is None else _pair_words(model, model.image_order)),
        "alone": model.is_text_alone,
        "width": model.width,
        "published": f"[{entry.published.title}]({entry.published.url})" if entry else "",
        **_door_words(repo, name),
        # Not every file of CODE_FILES: a repo of an earlier version has the code of that version.
        "has_code": "modeling_zhclip.py" in model.files,
        "has_sentence_transformers": set(SENTENCE_TRANSFORMERS) <= model.files,
        "context_length": model.context_length,
        "positions": model.positions,
        "trained_length": report.conversion["trained_context_length"] if report else None,
        "lower_case": model.lower_case and not any(CASING in limit.en for limit in limits),
        "limits": [Words(sentence(each.en), sentence(each.zh)) for each in limits],
        "ends": model.ends,
        "padding": PADDING[_padding(model.config)],
        "dtypes": ", ".join(model.dtypes),
        **({"command": shown(_entry_command(entry))} if entry and not report else {}),
    }


def _pair_words(model: Model, image_order: str) -> dict[str, Any]:
    """Values that a text tower alone lacks: pictures, and other projects' classes or formats for both towers."""
    nearest = fits(model.config)[0]
    return {
        "native": None if nearest.lost else nearest.native.name,
        "losses": nearest.lost,
        "cn_clip": model.cn_clip,
        "image_order": IMAGE_ORDERS[image_order],
        "image_size": model.image_size,
    }


def _padding(config: Mapping[str, Any]) -> str:
    if config["text_config"]["model_type"] == "clip_text_model":
        return "causal"
    if config.get("text_padded_length") is not None:
        return "padded"
    return "attended" if config["text_attends_to_padding"] else "masked"


def _door_words(repo: str, folder: str) -> dict[str, str]:
    """Names as Python and the shell read them; a hub repo is downloaded before it is exported."""
    words = {
        "repo_py": _python(repo),
        "finishing": finishing(repo),
        "folder_sh": shlex.quote(folder),
        "native_sh": shlex.quote(f"{folder}-native"),
        "native_py": _python(f"{folder}-native"),
        "pt_sh": shlex.quote(f"{folder}.pt"),
        "download": "" if repo == folder else shlex.join(["hf", "download", repo, "--local-dir", folder]),
    }
    # A line break in a name would end the code block that contains the name.
    return {name: shown(word) for name, word in words.items()}


def _entry_command(entry: Entry) -> str:
    return shlex.join(entry.command(entry.name))


def _python(text: str | list[str]) -> str:
    return json.dumps(text, ensure_ascii=False)
