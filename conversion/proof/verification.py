"""Loads a repo through the Auto classes in a fresh process, and compares it with the original, step by step."""

import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image

from hf_zhclip.amounts import expect
from hf_zhclip.json_files import read_json
from hf_zhclip.repo_files import check_files
from hf_zhclip.saving_zhclip import CODE_VERSION

from ..detection.parts import Part, from_request, join_tensors, witness_vocabulary
from ..errors import InputError, ParityError, WorkError, ZhclipError
from ..reading import evidence
from ..reading.containers import open_file
from ..reading.evidence import Testimony
from ..reading.namesakes import refuse_namesake
from ..repos.backwards import mapped_back
from ..repos.own_code import own_code
from ..repos.pieces import same_bits, write_safetensors
from ..repos.prepared import check_tokenizer
from ..repos.repo import Repo, read_repo
from ..repos.report import FILE, Comparison, Level, Report, changed_files, check_formats, read_report
from ..repos.write import DTYPES, target_dtype, widest_float
from ..sources import SOURCES
from ..stated import Stated
from ..ways_out import finish_it, refuse_no_folder
from ..words import Words
from . import compared, samples, texts, witnesses
from .calls import OF_ONE_TOWER, Batches, Pair, compare_logits, picture_batches, text_alone_sides, text_batches
from .fresh_process import Answer, answered, awaited, started
from .precision import Measured, bounded, compare_tower, computations, difference, exact, measure, shows_nothing
from .restated import identify_again
from .stated_modules import stated_modules
from .vocabulary import compare_steps, compare_vocabulary
from .witness import Witness, WitnessOfPair, WitnessOfTextAlone

PROGRAM = "from hf_zhclip.conversion.proof.verification import main; main(sys.argv[1:])"
"""The fresh process's program."""


def verify(
    out: str | Path,
    against: str | Path | None = None,
    *,
    vision: str | Path | None = None,
    format: str | None = None,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    vision_format: str | None = None,
    vision_config: str | Path | None = None,
    ema: str | None = None,
) -> Report:
    """Compares a converted repo with its original, or without the original, with its own tensors mapped back.

    Without the original, a difference from the original's files is not found: see `unseen`.

    Args:
        out: a converted folder.
        against: the checkpoint it was converted from; `vision`, `format`, `config`, `tokenizer`, `vision_format`,
            `vision_config` and `ema` as for `convert`. What the report recorded of them need not be stated again;
            it does not record the paths of an image model and of a vocabulary.

    Raises:
        ParityError: a comparison fails; `report` holds all comparisons.
        InputError: `out` is no converted folder.
    """
    out = Path(out)
    refuse_no_folder(out)
    if not (out / "config.json").exists():
        raise InputError(f"{out} is no converted repo: it has no config.json. `zhclip convert SOURCE OUT` makes one.")
    refuse_namesake(out)
    kind = read_json(out / "config.json").get("model_type")
    if kind != "hf_zhclip":
        raise InputError(
            f"{out} is no converted repo: its config.json is of model_type {kind!r}. `zhclip convert "
            f"{shlex.quote(str(out))} OUT` makes a converted repo. Then verify OUT."
        )
    before = read_report(out)
    check_formats(out, before)
    check_files(out)
    if against is not None:
        _refuse_original(out, before)
    request = Request(
        out=str(out),
        parts=[],
        dtype=before.conversion["dtype"],
        vocabulary=str(recorded_vocabulary(before, out)),
        context_length=before.conversion["stated_context_length"],
        recorded=before.sources,
    )
    if against is not None:
        stated = Stated(
            against,
            vision=vision,
            format=format,
            vision_format=vision_format,
            tokenizer=tokenizer,
            config=config,
            vision_config=vision_config,
            ema=ema,
        )
        parts, stated = identify_again(stated, before)
        vocabulary = str(witness_vocabulary(parts, stated))
        requests = [part.request() for part in parts]
        request = replace(request, parts=requests, vocabulary=vocabulary, recorded=())
    level, comparisons = in_fresh_process(request)
    comparisons = [_compare_files(out, before), *_compare_code(out), *comparisons]
    report = Report(before.sources, before.conversion, level, comparisons, before.files)
    if not report.passed:
        raise ParityError(f"{out} does not compute the same as the original:\n{report.failures()}", report)
    return report


def _compare_files(out: Path, report: Report) -> Comparison:
    what = compared.FILES.filled(count=len(report.files))
    return exact("files", what, Words.same(FILE), len(changed_files(out, report)))


def _compare_code(out: Path) -> Iterator[Comparison]:
    """Compares the repo's code with the versions of hf_zhclip; it is run neither here nor in the fresh process."""
    code = own_code(out)
    if code.foreign:
        what = compared.FOREIGN_CODE.filled(names=", ".join(code.foreign))
        yield exact("code", what, compared.OWN_CODE.filled(version=CODE_VERSION), len(code.foreign))
    elif code.version is not None:
        what = compared.CODE.filled(count=code.files)
        yield exact("code", what, compared.OWN_CODE.filled(version=code.version), 0)


def _refuse_original(out: Path, report: Report) -> None:
    """Refuses to compare trained weights with the original's weights, which are others."""
    if report.lineage is not None:
        raise InputError(
            f"The weights of {out} were trained from {report.lineage['base']}, so no original has these weights. "
            f"Leave out --against: `zhclip verify {shlex.quote(str(out))}` compares the repo with "
            f"{SOURCES[report.sources[0]['format']].title}, which computes with the same weights."
        )


def unseen(out: str | Path) -> str:
    """What `verify` cannot check without the original: a sentence with the command that checks it."""
    out = Path(out)
    report = read_report(out)
    if report.lineage is not None:
        return (
            f"This check maps the weights of {out} back, and compares the repo with the original's format on these "
            "weights. The check can't see which weights the training gave. The training started from "
            f"{report.lineage['base']}."
        )
    own = recorded_vocabulary(report, out) == out
    what = "the weights and the vocabulary" if own else "the weights"
    return (
        f"Without the original, this check compares {what} of {out} with themselves. The original's other facts come "
        f"from the repo's own report. The check can't see whether {what} and the facts are the original's. `zhclip "
        f"verify {shlex.quote(str(out))} --against SOURCE` can see this."
    )


def recorded_vocabulary(report: Report, out: Path) -> Path:
    """The packaged vocabulary if the report names it, else the repo's own."""
    default = SOURCES[report.sources[0]["format"]].vocabulary.default
    if default is not None and evidence.vocabulary_hashes(default) == report.conversion["vocabulary"]:
        return default
    return out


@dataclass(frozen=True)
class Request:
    """The fresh process's request: either the `parts` of the original, or what a report `recorded` about them.

    `vocabulary` is the file or folder that the witness reads; `context_length` is what the user stated, if anything.
    """

    out: str
    parts: Sequence[Mapping[str, Any]]
    dtype: str
    vocabulary: str
    context_length: int | None
    recorded: Sequence[Mapping[str, Any]] = ()
    tensors_only: bool = False


def waiting_process() -> AbstractContextManager[Answer]:
    """A fresh process for `in_fresh_process` that imports what it needs while this process still writes the repo."""
    return started(PROGRAM)


def in_fresh_process(request: Request, waiting: Answer | None = None) -> tuple[Level, list[Comparison]]:
    """Runs the comparisons in a new interpreter, which has loaded nothing except the repo's own files.

    Args:
        waiting: the interpreter, if it was begun before.
    """
    asked = asdict(request)
    result = answered(PROGRAM, asked) if waiting is None else waiting(asked)
    if "error" in result:
        raise (InputError if result["exit_code"] == InputError.exit_code else WorkError)(result["error"])
    return result["level"], [Comparison.from_json(each) for each in result["comparisons"]]


def main(arguments: Sequence[str]) -> None:
    """The fresh process: reads a request from the first file, and writes the answer into the second."""
    asked, answered = map(Path, arguments)
    _import_classes()
    request = Request(**awaited(asked))
    try:
        level, comparisons = compare(request)
        answer: dict[str, Any] = {"level": level, "comparisons": [asdict(each) for each in comparisons]}
    except ZhclipError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    answered.write_text(json.dumps(answer), encoding="utf-8")


def _import_classes() -> None:
    """Imports the modules that take seconds and that every comparison needs."""
    from transformers import AutoModel, AutoProcessor  # noqa: F401

    from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor  # noqa: F401

    from . import orders  # noqa: F401


@torch.no_grad()
def compare(request: Request) -> tuple[Level, list[Comparison]]:
    """All comparisons of one repo with one original, and the level that they reach."""
    import transformers

    import hf_zhclip  # noqa: F401 (registers the Auto classes)

    transformers.logging.set_verbosity_error()
    out = Path(request.out)
    repo = read_repo(out)
    parts = [from_request(each) for each in request.parts]
    comparisons = list(_compare_tensors(parts, repo.tensors, request.dtype))
    if request.tensors_only:
        stated = getattr(torch, repo.config["dtype"])
        return "tensors", [*comparisons, _compare_dtype(stated, repo.tensors)]
    model = _load(out)
    comparisons += _compare_loaded(model, repo.tensors)
    testimonies = [_testimony(part, request.dtype) for part in parts] or _mapped_back(repo, request)
    witness = witnesses.build(testimonies, Path(request.vocabulary), request.context_length)
    _check_sides(repo, witness)
    if Path(request.vocabulary) != out:
        comparisons.append(compare_steps(repo.tokenizer, _built_tokenizer(parts, request, witness.context_length)))
    numbers = _compare_numbers(model, repo, witness, request.dtype)
    del model
    comparisons += numbers
    return "tensors" if any(map(shows_nothing, comparisons)) else witness.level, comparisons


def _built_tokenizer(parts: Sequence[Part], request: Request, context_length: int) -> Any:
    """The tokenizer that the format of the texts makes of the original's vocabulary."""
    source = parts[0].source if parts else SOURCES[request.recorded[0]["format"]]
    vocabulary = Path(request.vocabulary)
    return source.tokenizer(None if vocabulary == source.vocabulary.default else vocabulary, context_length)


def _check_sides(repo: Repo, witness: Witness) -> None:
    """Refuses to compare a text tower alone with a pair, or a pair with a text tower alone."""
    alone = repo.is_text_alone
    if alone != isinstance(witness, WitnessOfTextAlone):
        ours, theirs = ("a text tower alone", "both towers") if alone else ("both towers", "a text tower alone")
        raise InputError(
            f"{repo.path} holds {ours}, but the checkpoint of --against holds {theirs}: they are not the same model. "
            f"With --against, name the checkpoint that {repo.path} was converted from."
        )


def _compare_numbers(
    model: Any, repo: Repo, witness: WitnessOfPair | WitnessOfTextAlone, dtype: str
) -> Iterator[Comparison]:
    """Compares ids, pixels, vectors, logits, and the fields of config.json that change no number.

    The model is released before the witness computes, because a peer's package is in float64 as a whole.
    """
    own = model.dtype
    check_tokenizer(repo.tokenizer, model.config)
    yield from _compare_training(model.config, witness)
    _check_vocabulary(witness, model)
    ids, comparisons = _compare_ids(repo, witness)
    yield from comparisons
    rows = text_batches(ids, repo.tokenizer.pad_token_id)
    logits: list[Comparison] = []
    if isinstance(witness, WitnessOfTextAlone):
        with _running(repo.path):
            alone = list(text_alone_sides(partial(_load, repo.path), repo.tokenizer, witness, rows))
            expect(sum(computations(each, own) for each in alone))
            measured = [measure(each, own) for each in alone]
    else:
        # Imported here, because it imports the image processor, which only the fresh process needs.
        from .orders import telling_pictures

        pictures = [*samples.pictures(), *telling_pictures(repo.image_size)]
        with _running(repo.path):
            pixels, comparisons = _compare_pixels(repo.processor, pictures, witness)
        yield from comparisons
        batches = Batches(rows, picture_batches(pixels))
        with _running(repo.path):
            pair = Pair(repo.processor, stated_modules(repo.path), [picture for _, picture in pictures])
            sides = list(pair.sides(model, witness, batches))
            expect(sum(computations(each, own) + OF_ONE_TOWER for each in sides))
            measured = [measure(each, own) for each in sides]
            del sides
            text, image = (torch.cat([found.vectors for found in each.found]) for each in measured)
            logits = list(compare_logits(model, _with_rounded_scale(witness, dtype), text, image))
            del model
            measured = [_with_towers(each, pair, repo.path, own) for each in measured]
    for each in measured:
        yield from compare_tower(each, witness)
    yield from logits


@contextmanager
def _running(out: Path) -> Iterator[None]:
    """Reports in words why a repo that loads cannot compute."""
    try:
        yield
    except ZhclipError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, ImportError) as error:
        raise WorkError(f"{out} loads but does not compute: {error}. {finish_it(out)}") from error


def _with_towers(whole: Measured, pair: Pair, out: Path, own: torch.dtype) -> Measured:
    """The measurements of one side and of the classes that hold only this tower."""
    sides = pair.tower_sides(partial(_load_tower, out), whole)
    return replace(whole, found=[*whole.found, *(found for each in sides for found in measure(each, own).found)])


def _load(out: Path) -> Any:
    """The model as users load it, in the dtype of its config."""
    import transformers

    return _loaded(transformers.AutoModel, out)


def _load_tower(out: Path, name: str) -> Any:
    """A class that holds one tower, loaded in the same way."""
    import hf_zhclip

    return _loaded(getattr(hf_zhclip, name), out)


def _loaded(model_class: Any, out: Path) -> Any:
    try:
        return model_class.from_pretrained(out, dtype="auto", attn_implementation="sdpa").eval()
    except (
        StrictDataclassError,
        ArithmeticError,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        OSError,
        ImportError,
    ) as error:
        raise WorkError(f"{out} does not load through {model_class.__name__}: {error}") from error


def _testimony(part: Part, dtype: str) -> Testimony:
    return Testimony(part.source.name, part.role, _rounded(part.checkpoint.tensors, dtype), part.evidence)


def _mapped_back(repo: Repo, request: Request) -> list[Testimony]:
    """What a witness of the original is built from, as far as a repo and its report show it."""
    return mapped_back(repo.tensors, repo.config, request.recorded)


def _rounded(tensors: Mapping[str, torch.Tensor], dtype: str) -> Mapping[str, torch.Tensor]:
    """The original's tensors after the rounding of `--dtype`, so that the bound need not widen.

    A scalar is not rounded: it is a scale, or a temperature; for a temperature only the logarithm is rounded. The
    rounded tensors lie in a file without a name, because they may not fit into memory.
    """
    keys = [key for key, tensor in tensors.items() if tensor.dim() and target_dtype(tensor, dtype) != tensor.dtype]
    if not keys:
        return tensors
    names = {str(number): key for number, key in enumerate(keys)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, "rounded.safetensors")
        cast = {name: tensors[key] for name, key in names.items()}
        write_safetensors(file, cast, dict.fromkeys(names, DTYPES[dtype]), True, lambda amount: None)
        return {**tensors, **{names[name]: tensor for name, tensor in open_file(file).top.items()}}


def _with_rounded_scale(witness: WitnessOfPair, dtype: str) -> WitnessOfPair:
    """The witness with its scale after the rounding of `--dtype`."""
    if dtype not in DTYPES:
        return witness
    return replace(witness, logit_scale=lambda: float(torch.tensor(witness.logit_scale()).to(DTYPES[dtype])))


def _compare_tensors(parts: Sequence[Part], written: Mapping[str, torch.Tensor], dtype: str) -> Iterator[Comparison]:
    """Compares the repo's file with the source's file, piece by piece."""
    if not parts:
        return
    expected = join_tensors(parts)
    different = [
        key
        for key in expected.keys() | written.keys()
        if key not in expected
        or key not in written
        or not same_bits(expected[key], written[key], cast=target_dtype(expected[key], dtype))
    ]
    yield exact("tensors", compared.FILE_TENSORS, compared.SOURCE_TENSORS, len(different))


def _compare_loaded(model: Any, written: Mapping[str, torch.Tensor]) -> Iterator[Comparison]:
    loaded = model.state_dict()
    different = [
        key
        for key in loaded.keys() | written.keys()
        if key not in loaded or key not in written or not same_bits(written[key], loaded[key], cast=loaded[key].dtype)
    ]
    yield exact("tensors", compared.LOADED, compared.WRITTEN_TENSORS, len(different))
    yield _compare_dtype(model.dtype, written)


def _compare_dtype(stated: torch.dtype, written: Mapping[str, torch.Tensor]) -> Comparison:
    narrowed = int(stated != widest_float(written, "keep"))
    return exact("config", compared.DTYPE, compared.WRITTEN_TENSORS, narrowed)


def _compare_training(config: Any, witness: Witness) -> Iterator[Comparison]:
    """Compares fields of config.json that only affect later training: dropout, initial values, unused ids."""
    towers = {"text_config": witness.text_training}
    if isinstance(witness, WitnessOfPair):
        towers["vision_config"] = witness.image_training
    for side, training in towers.items():
        fields, own = training(), config.to_dict().get(side) or {}
        if not fields:
            continue
        different = [name for name, value in fields.items() if name not in own or own[name] != value]
        what = compared.TRAINING_DIFFERS if different else compared.TRAINING
        told = what.filled(count=len(fields), side=side, fields=", ".join(different))
        yield exact("config", told, witness.name, len(different))


def _check_vocabulary(witness: Witness, model: Any) -> None:
    """Refuses a vocabulary with more words than the model has rows, before any row is used."""
    highest, rows = max(map(max, witness.token_ids(samples.TEXTS))), model.config.text_config.vocab_size
    if highest >= rows:
        raise InputError(
            f"The original's vocabulary has ids up to at least {highest}, but the model has {rows} rows for words: "
            "the two do not belong together. Pass the vocabulary that the repo was converted with: --tokenizer PATH."
        )


def _compare_ids(repo: Repo, witness: Witness) -> tuple[dict[str, list[int]], list[Comparison]]:
    """The witness's ids of each embedded text, and the comparison of the whole tokenizer with the witness's."""
    embedded = (*samples.TEXTS, *samples.HOLDING_PADDING)
    given = [*embedded, *texts.whole(witness.vocabulary.special, witness.context_length)]
    expected = witness.token_ids(given)
    ours = repo.tokenizer(given, truncation=True)["input_ids"]
    different = sum(list(a) != list(b) for a, b in zip(ours, expected, strict=True))
    comparisons = [
        *compare_vocabulary(repo.tokenizer, witness),
        exact("ids", compared.TOKEN_IDS.filled(count=len(given)), witness.name, different),
    ]
    return dict(zip(embedded, expected[: len(embedded)], strict=True)), comparisons


def _compare_pixels(
    processor: Any, pictures: Sequence[tuple[str, Image.Image]], witness: WitnessOfPair
) -> tuple[list[torch.Tensor], list[Comparison]]:
    """The witness's pixels of each picture, and the repo's differences from them."""
    pixels, comparisons = [], []
    for name, image in pictures:
        expected = witness.pixels(image)
        ours = processor(images=[image], return_tensors="pt")["pixel_values"][0]
        comparisons.append(bounded("pixels", compared.picture(name), witness.name, 0, difference(ours, expected)))
        pixels.append(expected)
    return pixels, comparisons
