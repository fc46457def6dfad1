"""A repo that an older version of this package wrote -> a repo of this version.

Names and the report change; no number changes. The older report says what the original stated. The original's own
files are not read again, and the card says so.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import read_json
from hf_zhclip.staging import staging

from .errors import InputError, ParityError
from .proof import compared, verification
from .publishing.cards import write_card
from .reading.catalogue import STATED_HERE
from .reading.evidence import Evidence, to_report, vocabulary_hashes
from .reading.files import sha256
from .reading.read import Checkpoint
from .repos.doors import add_code
from .repos.own_code import own_code, refuse_foreign_code
from .repos.provenance import command_of
from .repos.report import COUNT, FILE, Comparison, Report
from .repos.write import SPARE_BYTES, write_json
from .sources import SOURCES
from .words import Words

FORMER_VERSION = 2
"""The version of the reports whose repos have the former types."""

TYPES = {"zhclip": "hf_zhclip", "zhclip_resnet": "hf_zhclip_resnet"}

LIMIT = Words(
    "This repo was made from a repo that an older version of hf_zhclip had converted. The original's facts beside the "
    "weights are taken from the older repo's report. The original's files were not read again.",
    "本仓库由 hf_zhclip 旧版本转换得到的仓库改写而来。原文件中权重以外的说明取自旧仓库的报告，没有重新读取原文件。",
)
"""The card's sentence about an upgraded repo."""

WORDED = ("what", "witness")
"""The fields of a comparison that this version states in both languages."""

CONVERT_ORIGINAL = "Convert the original again; the repo's card names it."

Stated = Callable[[Mapping[str, Any]], Evidence]


def _as_stated(facts: Mapping[str, Any]) -> Evidence:
    return Evidence({}, {}, facts)


def _base(facts: Mapping[str, Any]) -> Evidence:
    return Evidence({}, {}, facts["base_config"])


def _modules(facts: Mapping[str, Any]) -> Evidence:
    """The pooling, in the field where sentence-transformers states it, and the one activation that converts."""
    kinds = ("Pooling", "Dense")
    files = {
        "modules.json": [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in kinds],
        "Pooling/config.json": {"pooling_mode": facts["text_pooling"]},
        "Dense/config.json": {"activation_function": "torch.nn.Identity"},
    }
    tower = {key: value for key, value in facts.items() if key != "text_pooling"}
    return Evidence(files, dict.fromkeys(files, "-"), tower)


EVIDENCE: Mapping[str, Stated] = {"multilingual_clip": _base, "sentence_transformers": _modules}
"""How a witness gets the facts of a former report; for the other formats, as if the user had stated them."""


def upgrade(
    former: Checkpoint,
    out: Path,
    force: bool,
    progress: Callable[[str], None],
) -> Report:
    """Writes the repo of this version and proves it as `verify` proves a repo without its original.

    Raises:
        InputError: the former report cannot be read, or the files differ from the files that it names.
        ParityError: the result does not compute what the report says; nothing is left at `out`.
    """
    folder = former.folder or former.path
    config, report = _renamed(read_json(folder / "config.json")), _former_report(folder)
    kept = [name for name in report["files"] if name != "config.json" and not name.endswith(".py")]
    progress(f"Found a repo of an older version: {report['conversion']['architecture']}")
    with staging(out, sum((folder / name).stat().st_size for name in kept) + SPARE_BYTES, force) as place:
        _copy(folder, place, kept)
        positions = _write_config(place, config)
        if not 3 <= (length := report["conversion"]["context_length"]) <= positions:
            raise InputError(
                f"{folder / FILE} states context_length {length}, but the model takes 3 to {positions} tokens. "
                f"{CONVERT_ORIGINAL}"
            )
        add_code(place)
        refuse_foreign_code(folder, own_code(place))
        progress("Verifying in a fresh process")
        proof = _prove(place, folder, report, out.name)
        write_json(place / FILE, proof.to_json())
        if not proof.passed:
            raise ParityError(f"The result does not compute the same as {folder}:\n{proof.failures()}", proof)
        write_card(place, proof, out.name)
    return proof


def _former_report(folder: Path) -> dict[str, Any]:
    """The former report in this version's fields; all its files exist and are unchanged.

    Raises:
        InputError: something is wrong with the report or its files; the message says what.
    """
    report = read_json(folder / FILE)
    if report.get("format_version") != FORMER_VERSION:
        raise InputError(
            f"{folder / FILE} has version {report.get('format_version')!r}; version {FORMER_VERSION} was wanted. "
            f"{CONVERT_ORIGINAL}"
        )
    try:
        report = _of_today(report)
        read = Report.from_json(report)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{folder / FILE} is no valid report: {error}. {CONVERT_ORIGINAL}") from error
    _check_proved(folder, report)
    return {**report, "conversion": read.conversion}


def _of_today(report: Mapping[str, Any]) -> dict[str, Any]:
    """The former report in this version's fields; on other content, raises what `Report.from_json` raises."""
    conversion = report["conversion"]
    sources = [_source(each) for each in report["sources"]]
    if not sources:
        raise LookupError("it names no source")
    known = _sentences([each["format"] for each in sources])
    added = {
        "stated_context_length": conversion["context_length"],
        "vocabulary": {},
        "limits": [_words(each, known) for each in conversion["limits"]],
    }
    comparisons = [{**each, **{name: _words(each[name], {}) for name in WORDED}} for each in report["comparisons"]]
    return {**report, "conversion": {**conversion, **added}, "sources": sources, "comparisons": comparisons}


def _sentences(formats: Sequence[str]) -> dict[str, Words]:
    """This version's sentences of these formats, by their English text; a former report holds only English."""
    said = [words for each in formats for words in (*SOURCES[each].limits, *SOURCES[each].limits_of_some)]
    return {words.en: words for words in (*said, STATED_HERE)}


def _words(english: Any, known: Mapping[str, Words]) -> dict[str, str]:
    if not isinstance(english, str):
        raise TypeError(f"a sentence is {english!r}")
    return asdict(known.get(english, Words.in_english(english)))


def _source(former: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in former.items() if key != "facts"}
    if former["format"] not in SOURCES:
        raise LookupError(f"the format {former['format']!r}")
    if not isinstance(former["facts"], Mapping):
        raise TypeError(f"facts is {former['facts']!r}")
    given = EVIDENCE.get(former["format"], _as_stated)(former["facts"])
    if not isinstance(given.stated, Mapping):
        raise TypeError(f"{former['format']} stated {given.stated!r}")
    return {**kept, "evidence": to_report(given)}


def _check_proved(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuses a repo that was not verified, or whose files differ from the verified files."""
    changed = sorted(name for name, digest in report["files"].items() if _differs(folder, name, digest))
    proved = report["passed"] is True and report["level"] != "tensors" and report["comparisons"]
    if changed or not proved:
        why = f"changed: {', '.join(changed)}" if changed else "it was not verified"
        raise InputError(
            f"{folder} differs from the repo that its report describes ({why}), and is not converted. "
            f"{CONVERT_ORIGINAL}"
        )


def _differs(folder: Path, name: str, digest: str) -> bool:
    """Whether a file is missing, lies outside of the folder, or does not have the hash in the report."""
    path = folder / name
    inside = ".." not in Path(name).parts and not Path(name).is_absolute()
    try:
        return not inside or not path.is_file() or sha256(path) != digest
    except OSError:  # no file system accepts this name
        return True


def _renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with this version's types; the repo's model code is written again."""
    fields = {key: value for key, value in config.items() if key != "auto_map"}
    vision = fields.get("vision_config")
    if isinstance(vision, Mapping):
        kind = vision.get("model_type")
        fields["vision_config"] = {**vision, "model_type": TYPES.get(str(kind), kind)}
    return {**fields, "model_type": TYPES["zhclip"]}


def _write_config(place: Path, fields: Mapping[str, Any]) -> int:
    """Writes config.json, and returns the longest text in tokens that its model takes."""
    from huggingface_hub.errors import StrictDataclassError

    from hf_zhclip import ZhCLIPConfig

    try:
        config = ZhCLIPConfig.from_dict(dict(fields))
        config.save_pretrained(place)
        return config.max_text_positions
    except (StrictDataclassError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"No model can be built from the config.json of the older repo. {error}") from error


def _copy(folder: Path, place: Path, names: Sequence[str]) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, place / name)


def _prove(place: Path, folder: Path, former: Mapping[str, Any], name: str) -> Report:
    conversion = {
        **former["conversion"],
        "vocabulary": vocabulary_hashes(place),
        "limits": list(dict.fromkeys((*former["conversion"]["limits"], LIMIT))),
        "command": command_of([folder.name], name),
        "former_report": sha256(folder / FILE),
    }
    sources = former["sources"]
    request = verification.Request(
        out=str(place),
        parts=[],
        dtype=conversion["dtype"],
        vocabulary=str(place),
        context_length=conversion["context_length"],
        recorded=sources,
    )
    level, comparisons = verification.in_fresh_process(request)
    files = {path.relative_to(place).as_posix(): sha256(path) for path in sorted(place.rglob("*")) if path.is_file()}
    return Report(sources, conversion, level, [_same_weights(former, files), *comparisons], files)


def _same_weights(former: Mapping[str, Any], files: Mapping[str, str]) -> Comparison:
    weights = [name for name in former["files"] if name.endswith((".safetensors", ".safetensors.index.json"))]
    different = sum(files.get(name) != former["files"][name] for name in weights)
    what = compared.FILES.filled(count=len(weights))
    return Comparison("tensors", what, compared.OLDER_REPO, COUNT, 0, different, different == 0)
