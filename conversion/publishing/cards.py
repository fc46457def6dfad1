"""README.md of a converted repo: the catalogue's entry, the report and the folder's own files, through a template."""

import hashlib
import json
import math
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import InputError, WorkError
from ..exports.cn_clip_file import CONFIG, PROCESSOR, RESNET, VIT, home_for
from ..exports.natives import fits
from ..reading import catalogue
from ..reading.catalogue import Entry, Image, Text
from ..reading.hub import HUB_ID
from ..reading.json_files import read_json
from ..reading.namesakes import refuse_namesake
from ..repos.doors import CODE_FILES, SENTENCE_TRANSFORMERS
from ..repos.repo import Repo, read_repo
from ..repos.report import COSINE, FILE, MEASURES, STEPS, Report, changed_files, read_report
from ..sources import SOURCES
from ..telling import shown
from ..tokenizers.vocabularies import WORDPIECE
from ..words import Words, joined
from .card_words import IMAGE_ORDERS, LANGUAGES, LEVELS, LICENCE_BY, MULTILINGUAL, PADDING
from .hub_values import LICENSES

CARD = "README.md"
STAMP = re.compile(r"\n<!-- zhclip card (?P<sha256>[0-9a-f]{64}) -->\s*\Z")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Numbers of a BatchNorm that are counted, not trained."""

TASKS = {"zero-shot image classification": "zero-shot-image-classification"}
"""Published task -> the hub's; it has none for retrieval, which is done with features."""

METRICS = {"Top1": "accuracy", "Top5": "accuracy", "ACC1": "accuracy"}
"""Published metric -> the hub's, of a classification; those of a retrieval are recall."""

TENSORS_ALONE = Words("only tensors were compared", "只比较了张量")
CHANGED = Words("changed or missing since the report was written: {files}", "报告写成之后有改动或缺失：{files}")
"""Why a repo is not verified."""

KEPT = Words("bit for bit those of the source", "与原文件逐位相同")
CAST = Words("cast with --dtype {dtype}", "由 --dtype {dtype} 转换而来")
SEVERAL = Words("{count}: {words}", "{count} 项：{words}")
RELATED = {
    "finetune": Words("", ""),
    "quantized": Words(
        "`quantized` in the metadata is the nearest of the hub's four words to a change of format; nothing was "
        "quantised.",
        "元数据里的 `quantized` 是 hub 的四个词中最接近“换了格式”的一个，不表示做过量化。",
    ),
}
"""What is said beside the hub's word for how a model was made from another."""

CASING = "lower-cased"
"""The word of a limit that speaks of casing."""

HOME = ("text_pooling", "text_projection_type", "visual_projection_type", "image_order", "lower_cased")
"""What the catalogue knows of what cn_clip demands."""


@dataclass(frozen=True)
class Model:
    """What a card says of a model whatever it knows of its origin; `files` are those of the repo.

    Of a text tower alone there are no pictures to speak of.
    """

    config: Mapping[str, Any]
    image_order: str | None
    image_size: int | None
    context_length: int
    positions: int
    width: int
    parameters: int
    dtypes: tuple[str, ...]
    lower_case: bool
    ends: tuple[str, str]
    cn_clip: bool
    files: frozenset[str]

    @property
    def is_text_alone(self) -> bool:
        return self.image_order is None


@dataclass(frozen=True)
class Header:
    """What a user may state of a card's metadata: nothing is None.

    `stated_now`: the licence is stated by an argument, not by the card that is there.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    base_model: tuple[str, ...] | None = None
    stated_now: bool = False


NOTHING_STATED = Header()


def card(out: str | Path, *, license: str | None = None, base_model: str | None = None, force: bool = False) -> Path:
    """Writes or refreshes README.md alone, and says where it is.

    Args:
        out: a folder that `convert` made, or that was fine-tuned from one.
        license: an identifier of the hub; by default what the card in the folder says, then the catalogue.
        base_model: `user/name` that this one was made from; by default what the card says, then the report.
        force: replace a README.md that was not written by this, or was edited since.

    Raises:
        InputError: when the folder is no repo, an argument is wrong, contradicts what was published, or a README.md
            that somebody wrote would be lost.
        WorkError: when it could not be written; the old one is still there then.
    """
    folder = Path(out)
    _check_folder(folder)
    _check_readme(folder / CARD, force)
    report = read_report(folder) if (folder / FILE).exists() else None
    changed = changed_files(folder, report) if report else []
    why = CHANGED.filled(files=", ".join(changed)) if changed else None
    header = _header(folder / CARD, _stated(license, base_model))
    text = _render_folder(folder, report, folder.resolve().name, _unverified(report, why), header, bool(changed))
    _write(folder / CARD, text)
    return folder / CARD


def write_card(folder: Path, report: Report, name: str) -> None:
    """Writes README.md into a folder that was just converted; `name` is what the blocks load."""
    _write(folder / CARD, _render_folder(folder, report, name, _unverified(report, None), NOTHING_STATED, False))


def render(folder: Path, *, repo: str, unverified: Words | None = None) -> str:
    """The text of README.md for a converted folder.

    Args:
        folder: the folder.
        repo: what the runnable blocks load: `user/name`, or the folder's name.
        unverified: why nothing shows that it computes what its original computes, if that is so.

    Raises:
        InputError: when the folder lacks what a card is made of, or the README.md in it can't be read.
    """
    report = _readable_report(folder, unverified)
    edited = report is not None and unverified is not None and bool(changed_files(folder, report))
    header = _header(folder / CARD, NOTHING_STATED)
    return _render_folder(folder, report, repo, _unverified(report, unverified), header, edited)


def render_entry(entry: Entry) -> str:
    """The text of the card of a published checkpoint that nobody has converted yet."""
    return _render(_model_of_entry(entry), entry, None, entry.name, None, NOTHING_STATED, edited=False)


def is_generated(text: str) -> bool:
    """Whether a README.md was written by this module and not edited since."""
    text = text.replace("\r\n", "\n")
    stamp = STAMP.search(text)
    return stamp is not None and stamp["sha256"] == _digest(text[: stamp.start()])


def read_card(path: Path) -> str:
    """The text of a README.md as it is, to the ends of its lines.

    Raises:
        InputError: when it is not in UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8, which the hub reads. Save it as UTF-8.") from error


def refresh(folder: Path) -> list[Path]:
    """Writes the card of every entry of the catalogue into model_cards."""
    paths = []
    for entry in catalogue.entries():
        paths.append(folder / f"{entry.name}.md")
        _write(paths[-1], render_entry(entry))
    return paths


# What is known


def _readable_report(folder: Path, unverified: Words | None) -> Report | None:
    if not (folder / FILE).exists():
        return None
    try:
        return read_report(folder)
    except InputError:
        if unverified is None:
            raise
        return None


def _unverified(report: Report | None, why: Words | None) -> Words | None:
    if why is None and report is not None and report.level == "tensors":
        return TENSORS_ALONE
    return why


def _check_folder(folder: Path) -> None:
    refuse_namesake(folder)
    if not (folder / "config.json").is_file() or read_json(folder / "config.json").get("model_type") != "hf_zhclip":
        raise InputError(f"{folder} is no converted repo. `zhclip convert SOURCE OUT` makes one.")


def _check_readme(path: Path, force: bool) -> None:
    if path.is_file() and not force and not is_generated(read_card(path)):
        raise InputError(
            f"{path} was not written by zhclip, or was edited since, and would be lost. Keep it, or pass --force."
        )


def _stated(license: str | None, base_model: str | None) -> Header:
    stated = Header(license, base_model=None if base_model is None else (base_model,))
    _check_header(stated, "--license", "--base-model", "")
    return replace(stated, stated_now=license is not None)


def _header(path: Path, stated: Header) -> Header:
    """What a card's metadata states, and above it what is stated now; both are held against what the hub takes."""
    merged = _merge(_read_header(path), stated)
    _check_header(merged, "license:", "base_model:", f" in the header of {path}")
    return merged


def _check_header(header: Header, license: str, base_model: str, place: str) -> None:
    if header.license is not None and not (isinstance(header.license, str) and header.license in LICENSES):
        raise InputError(
            f"{license} {header.license}{place} is no identifier of the hub. It knows, for example, apache-2.0, mit "
            "and cc-by-nc-4.0; the list is at hf.co/docs/hub/repositories-licenses."
        )
    for base in header.base_model or ():
        match = HUB_ID.fullmatch(base)
        if match is None or match["file"]:
            raise InputError(f"{base_model} {base}{place} is no model on the hub. Wanted: user/name.")


def _read_header(path: Path) -> Header:
    if not path.is_file():
        return NOTHING_STATED
    text = read_card(path)
    try:
        data = ModelCard(text, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"The metadata of {path} can't be read: {error}. Correct it, or remove the file.") from error
    base = data.get("base_model")
    bases = None if base is None else tuple(map(str, base if isinstance(base, list) else [base]))
    return Header(data.get("license"), data.get("license_name"), data.get("license_link"), bases)


def _merge(old: Header, new: Header) -> Header:
    """The new where it states something. A licence brings its own name and link, or none."""
    licence = old if new.license in (None, old.license) else new
    return replace(licence, base_model=new.base_model or old.base_model, stated_now=new.stated_now)


def _model_of_folder(folder: Path) -> Model:
    repo = read_repo(folder)
    tokenizer, alone = repo.tokenizer, repo.is_text_alone
    trained = [tensor for key, tensor in repo.tensors.items() if not key.endswith(BUFFERS)]
    return Model(
        config=repo.config,
        image_order=None if alone else repo.processor.image_processor.image_order,
        image_size=None if alone else repo.image_size,
        context_length=tokenizer.model_max_length,
        positions=_positions(repo),
        width=repo.config["text_config"]["hidden_size"] if alone else repo.config["projection_dim"],
        parameters=sum(tensor.numel() for tensor in trained),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in trained})),
        lower_case=tokenizer("CLIP")["input_ids"] == tokenizer("clip")["input_ids"],
        ends=_ends(tokenizer),
        cn_clip=not alone and _goes_home(repo),
        files=frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
    )


def _positions(repo: Repo) -> int:
    """How many tokens the text tower has positions for."""
    from hf_zhclip import ZhCLIPConfig

    return ZhCLIPConfig.from_dict(dict(repo.config)).text_positions


def _ends(tokenizer: Any) -> tuple[str, str]:
    """The first and the last token of every text."""
    first, last = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    return first, last


def _goes_home(repo: Repo) -> bool:
    """Whether cn_clip has a place for all of it."""
    try:
        home_for(repo)
    except InputError:
        return False
    return True


def _model_of_entry(entry: Entry) -> Model:
    """What the catalogue knows; the towers' widths are not in it."""
    image = entry.image
    config = {
        "text_config": {"model_type": entry.text.model_type, "is_decoder": False},
        "text_pooling": entry.text.pooling,
        "text_attends_to_padding": False,
        **(_pair_config(entry.text, image) if image else {}),
    }
    return Model(
        config=config,
        image_order=image.order if image else None,
        image_size=image.size if image else None,
        context_length=entry.text.context_length,
        positions=entry.text.positions,
        width=entry.width,
        parameters=entry.parameters.total,
        dtypes=(),
        lower_case=entry.text.lower_case,
        # A source may have towers of two kinds, but a BERT's ends are always the same.
        ends=WORDPIECE.ends if entry.text.model_type == "bert" else SOURCES[entry.format].vocabulary.ends,
        cn_clip=image is not None and _entry_goes_home(entry.text, image, config),
        files=frozenset(SENTENCE_TRANSFORMERS if image else ()),
    )


def _pair_config(text: Text, image: Image) -> dict[str, Any]:
    return {
        "vision_config": {"model_type": image.model_type},
        "text_projection_type": text.projection,
        "visual_projection_type": image.projection,
        "vision_pooling": "pooler",
    }


def _entry_goes_home(text: Text, image: Image, config: Mapping[str, Any]) -> bool:
    """Whether cn_clip has a place for all that the catalogue knows of it."""
    facts = {**config, "image_order": image.order, "lower_cased": text.lower_case}
    tower = RESNET if image.model_type == "hf_zhclip_resnet" else VIT
    demands = [demand for demand in (*CONFIG, *tower, *PROCESSOR) if demand.field in HOME]
    return all(demand.loss(facts) is None for demand in demands)


# What is said


def _render_folder(
    folder: Path, report: Report | None, repo: str, unverified: Words | None, header: Header, edited: bool
) -> str:
    """A card of a folder; one that was edited since its report is another model, made from what the report names."""
    model = _model_of_folder(folder)
    name = report.conversion["catalogue"] if report else None
    entry = catalogue.find(name) if name and not edited else None
    return _render(model, entry, report, repo, unverified, header, edited)


def _render(
    model: Model,
    entry: Entry | None,
    report: Report | None,
    repo: str,
    unverified: Words | None,
    header: Header,
    edited: bool,
) -> str:
    name = repo.rpartition("/")[2]
    licence = _licence(entry, header)
    sources = _hub_repos(entry, report)
    bases = header.base_model or sources
    relation = "quantized" if not edited and bases == sources else "finetune"
    licence_by = LICENCE_BY[_licence_by(entry, header, {*bases, *sources})]
    languages = _languages(entry, report)
    metadata = _metadata(name, entry, model, _chosen(licence, header), bases, relation, languages)
    words = {
        **_words(model, entry, report, repo, name),
        **_language_words(languages),
        **(_report_words(report, _level(report, unverified, edited)) if report else {}),
        "relation": RELATED[relation],
        "entry": entry,
        "entry_only": report is None and entry is not None,
        "converted": report is not None and not edited,
        "unverified": unverified,
        "licence": licence,
        "licence_by": licence_by,
        "base_models": bases,
    }
    template = (resources.files(catalogue.PACKAGE) / "template.md").read_text(encoding="utf-8")
    text = str(ModelCard.from_template(metadata, template_str=template, **words))
    return _stamp(re.sub(r"\n{3,}", "\n\n", text.replace("\r\n", "\n")).strip() + "\n")


def _licence(entry: Entry | None, header: Header) -> str | None:
    """What the user states of a model of his own; of a published one what was published."""
    if entry is None or entry.license.id is None or header.license is None:
        return header.license or (entry.license.id if entry else None)
    if header.license not in entry.license.published:
        raise InputError(
            f"{header.license} is stated as the licence, but {entry.name} was published under "
            f"{' or '.join(entry.license.published)} ({', '.join(entry.license.read)}), and a conversion does not "
            "change that. State one of these, or leave it out."
        )
    return header.license


def _licence_by(entry: Entry | None, header: Header, made_from: set[str]) -> str:
    """Whose word the licence is; one that an earlier card took from the catalogue was stated by nobody since."""
    if entry is not None and entry.license.id is not None:
        return "published"
    published = (each.license.published for each in catalogue.entries() if each.published.repo in made_from)
    inherited = not header.stated_now and any(header.license in ids for ids in published)
    return "inherited" if inherited else "stated"


def _chosen(licence: str | None, header: Header) -> dict[str, str]:
    stated = {"license": licence, "license_name": header.license_name, "license_link": header.license_link}
    return {key: value for key, value in stated.items() if licence and value}


def _hub_repos(entry: Entry | None, report: Report | None) -> tuple[str, ...]:
    """Where the parts are published, if all of them are."""
    if report is not None:
        places = [source["hub"] for source in report.sources]
        return tuple(place["repo"] for place in places) if all(places) else ()
    if entry is None:
        return ()
    return tuple(place.repo for place in entry.places) if all(place.on_hub for place in entry.places) else ()


def _metadata(
    name: str,
    entry: Entry | None,
    model: Model,
    licence: Mapping[str, str],
    bases: Sequence[str],
    relation: str,
    languages: Sequence[str],
) -> ModelCardData:
    """The header. The hub has no word for a changed format; `quantized`, the same model in other files, is nearest."""
    results = _results(entry) if entry else []
    return ModelCardData(
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
        model_name=name if results else None,
        eval_results=results or None,
    )


def _languages(entry: Entry | None, report: Report | None) -> tuple[str, ...]:
    """What the model was trained on: published, or of the format that it had; without a report Chinese, as most."""
    if entry:
        return entry.languages
    return SOURCES[report.sources[0]["format"]].languages if report else ("zh",)


def _language_words(languages: tuple[str, ...]) -> dict[str, Any]:
    language = LANGUAGES.get(languages, MULTILINGUAL)
    return {"language": language, "names": _python(list(language.names)), "texts": _python(list(language.texts))}


def _results(entry: Entry) -> list[EvalResult]:
    """The published zero-shot figures; those after fine-tuning are of other weights."""
    if entry.figures is None:
        return []
    return [
        EvalResult(
            task_type=TASKS.get(row.task, "feature-extraction"),
            task_name=row.task if row.task in TASKS else "image-text retrieval",
            dataset_type=row.dataset.lower(),
            dataset_name=row.dataset,
            dataset_split=row.split,
            metric_type=METRICS.get(metric, "recall") if row.task in TASKS else "recall",
            metric_name=f"{row.task}, {row.setup}: {metric}",
            metric_value=float(value.rstrip("%")),
            verified=False,
            source_name=entry.figures.name,
            source_url=entry.figures.url,
        )
        for row in entry.figures.rows
        if row.setup == "zero-shot"
        for metric, value in row.values.items()
    ]


def _published_limits(entry: Entry) -> tuple[str, ...]:
    """What is said of a published checkpoint before it is converted."""
    return (*SOURCES[entry.format].limits, *((catalogue.STATED_HERE,) if entry.config else ()))


def _words(model: Model, entry: Entry | None, report: Report | None, repo: str, name: str) -> dict[str, Any]:
    """What the template puts into its places."""
    limits = report.conversion["limits"] if report else _published_limits(entry) if entry else ()
    return {
        "plain": plain,
        "name": name,
        "report": report,
        "title": entry.title if entry else report.conversion["architecture"] if report else name,
        **({} if model.is_text_alone else _pair_words(model, entry)),
        "alone": model.is_text_alone,
        "text_tower": entry.text.tower if entry else model.config["text_config"]["model_type"],
        "parameters": f"{model.parameters:,}",
        "width": model.width,
        "published": f"[{entry.published.title}]({entry.published.url})" if entry else "",
        **_door_words(repo, name),
        "has_code": set(CODE_FILES) <= model.files,
        "has_sentence_transformers": set(SENTENCE_TRANSFORMERS) <= model.files,
        "context_length": model.context_length,
        "positions": model.positions,
        "trained_length": report.conversion["trained_context_length"] if report else None,
        "lower_case": model.lower_case and not any(CASING in limit.en for limit in limits),
        "limits": limits,
        "ends": model.ends,
        "padding": PADDING[_padding(model.config)],
        "dtypes": ", ".join(model.dtypes),
        **({"command": shown(_entry_command(entry))} if entry and not report else {}),
    }


def _pair_words(model: Model, entry: Entry | None) -> dict[str, Any]:
    """What a text tower alone has not: pictures, and classes or formats of others that take both towers."""
    nearest = fits(model.config)[0]
    return {
        "image_tower": entry.image.tower if entry else model.config["vision_config"]["model_type"],
        "native": None if nearest.lost else nearest.native.name,
        "losses": nearest.lost,
        "cn_clip": model.cn_clip,
        "image_order": IMAGE_ORDERS[model.image_order],
        "image_size": model.image_size,
    }


def _padding(config: Mapping[str, Any]) -> str:
    if config["text_config"]["model_type"] == "clip_text_model":
        return "causal"
    if config.get("text_padded_length") is not None:
        return "padded"
    return "attended" if config["text_attends_to_padding"] else "masked"


def _door_words(repo: str, folder: str) -> dict[str, str]:
    """Names as python and the shell read them; a repo on the hub is downloaded before it is exported."""
    words = {
        "repo_py": _python(repo),
        "folder_sh": shlex.quote(folder),
        "native_sh": shlex.quote(f"{folder}-native"),
        "native_py": _python(f"{folder}-native"),
        "pt_sh": shlex.quote(f"{folder}.pt"),
        "download": "" if repo == folder else shlex.join(["hf", "download", repo, "--local-dir", folder]),
    }
    # A line break in a name would end the block that the name stands in.
    return {name: shown(word) for name, word in words.items()}


def _entry_command(entry: Entry) -> str:
    return shlex.join(entry.command(entry.name))


def _level(report: Report, unverified: Words | None, edited: bool) -> str:
    """What the report is worth, a key of LEVELS."""
    if edited:
        return "edited"
    if not report.passed:
        return "failed"
    return "doubted" if unverified and report.level != "tensors" else report.level


def _report_words(report: Report, level: str) -> dict[str, Any]:
    dtype = report.conversion["dtype"]
    return {
        "level": LEVELS[level],
        "comparisons": () if level in ("edited", "doubted") else _folded(report),
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
    """What `verify` is told about the original."""
    first, *others = report.sources
    words = shlex.split(report.conversion["command"])
    flags = "--format", "--vision-format", "--tokenizer", "--config", "--vision-config", "--ema"
    stated = [words[words.index(flag) :][:2] for flag in flags if flag in words]
    pairs = [["--against", _origin(first)], *(["--vision", _origin(other)] for other in others), *stated]
    return [word for pair in pairs for word in pair]


def _origin(source: Mapping[str, Any]) -> str:
    """A source as `convert` takes it: as the hub names it, or by its name."""
    place = source["hub"]
    if not place:
        return source["name"]
    return f"{place['repo']}:{place['file']}" if place["file"] else place["repo"]


def _folded(report: Report) -> list[dict[str, Any]]:
    """The comparisons, those of one step against one witness in one row, with the worst result."""
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


# How it is written


def plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|~#])", r"\\\1", shown(" ".join(str(text).split())))


def _python(text: str | list[str]) -> str:
    return json.dumps(text, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(text: str) -> str:
    return f"{text}\n<!-- zhclip card {_digest(text)} -->\n"


def _write(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(text.encode())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise WorkError(f"{path} could not be written: {error.strerror or error}. The old one is kept.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    for written in refresh(Path(sys.argv[1])):
        print(written)
