"""Reload a repo through the Auto classes in a fresh process, and compare it with the original, step by step."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from ..detection.parts import Part, identify, join_tensors, witness_vocabulary
from ..errors import InputError, ParityError, WorkError, ZhclipError
from ..mapping import check_claims, claimed, inverse, plan
from ..reading import evidence
from ..reading.json_files import read_json, read_python_json
from ..reading.namesakes import refuse_namesake
from ..reading.read import Checkpoint
from ..repos.prepared import check_tokenizer
from ..repos.repo import Repo, is_text_alone, read_repo
from ..repos.report import COUNT, FILE, Comparison, Level, Report, changed_files, read_report
from ..repos.write import DTYPES, same_bits, target_dtype
from ..sources import SOURCES
from ..words import Words
from . import compared, samples, witnesses
from .precision import Side, bounded, compare_logits, compare_tower, difference, measure, normalized, shows_nothing
from .witness import Witness
from .witnesses import Testimony

PROGRAM = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "from hf_zhclip.conversion.proof.verification import main; main(sys.argv[1:])"
)
"""The fresh process; a torch.py that lies in the current folder is not the one to import."""


GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""Lets glibc give freed weights back at once: it keeps blocks of up to 32 MB, which widened layers are, for later."""


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
    """Compares a converted repo with its original, or without one with its own tensors mapped back.

    Without the original nothing is seen of what lies in it: see `unseen`.

    Args:
        out: a converted folder.
        against: the checkpoint it was converted from; `vision`, `format`, `config`, `tokenizer`, `vision_format`,
            `vision_config` and `ema` as for `convert`.

    Raises:
        ParityError: when a comparison fails; its `report` holds all of them.
        InputError: when `out` is no converted folder.
    """
    out = Path(out)
    if not (out / "config.json").exists():
        raise InputError(f"{out} is no converted repo: it has no config.json. `zhclip convert SOURCE OUT` makes one.")
    refuse_namesake(out)
    kind = read_json(out / "config.json").get("model_type")
    if kind != "hf_zhclip":
        raise InputError(
            f"{out} is no converted repo: its config.json is of model_type {kind!r}. `zhclip convert {out} OUT` makes "
            "one; verify OUT."
        )
    before = read_report(out)
    _check_formats(out, before)
    request = Request(
        out=str(out),
        parts=[],
        dtype=before.conversion["dtype"],
        vocabulary=str(recorded_vocabulary(before, out)),
        context_length=before.conversion["stated_context_length"],
        recorded=before.sources,
    )
    if against is not None:
        parts = identify(against, vision, format, config, ema, vision_format, vision_config)
        vocabulary = str(witness_vocabulary(parts, tokenizer))
        requests = [part.request() for part in parts]
        request = replace(request, parts=requests, vocabulary=vocabulary, recorded=())
    level, comparisons = in_fresh_process(request)
    comparisons = [_compare_files(out, before), *comparisons]
    report = Report(before.sources, before.conversion, level, comparisons, before.files)
    if not report.passed:
        raise ParityError(f"{out} does not compute what the original computes:\n{report.failures()}", report)
    return report


def _compare_files(out: Path, report: Report) -> Comparison:
    what = compared.FILES.filled(count=len(report.files))
    return _exact("files", what, Words.same(FILE), len(changed_files(out, report)))


def _check_formats(out: Path, report: Report) -> None:
    """Refuses a report of sources that are not known here: it lies, or a later version wrote it."""
    formats = [source["format"] for source in report.sources]
    if not formats or any(each not in SOURCES for each in formats):
        raise InputError(
            f"{out / FILE} names the formats {', '.join(map(repr, formats)) or 'none'}; known are "
            f"{', '.join(sorted(SOURCES))}. Convert it again."
        )


def unseen(out: str | Path) -> str:
    """What `verify` can't see of a repo without its original: a sentence with the command that sees it."""
    out = Path(out)
    own = recorded_vocabulary(read_report(out), out) == out
    what = "the weights and the vocabulary" if own else "the weights"
    return (
        f"Without the original this compares {what} of {out} with themselves, and takes what the original states "
        f"beside them from the repo's own report: it can't see whether these are the original's. `zhclip verify {out} "
        "--against SOURCE` can."
    )


def recorded_vocabulary(report: Report, out: Path) -> Path:
    """The vocabulary that a report names where it ships with the package, else the repo's own."""
    default = SOURCES[report.sources[0]["format"]].vocabulary.default
    if default is not None and evidence.vocabulary_hashes(default) == report.conversion["vocabulary"]:
        return default
    return out


@dataclass(frozen=True)
class Request:
    """What the fresh process is asked; either the `parts` of the original, or what a report `recorded` of them.

    `vocabulary` is the file or folder that the witness reads; `context_length` is the user's own word, if any.
    """

    out: str
    parts: Sequence[Mapping[str, Any]]
    dtype: str
    vocabulary: str
    context_length: int | None
    recorded: Sequence[Mapping[str, Any]] = ()
    tensors_only: bool = False


def in_fresh_process(request: Request) -> tuple[Level, list[Comparison]]:
    """Runs the comparisons in a new interpreter, which has loaded nothing but what the repo itself brings."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(answer)],
            input=json.dumps(asdict(request)).encode(),
            capture_output=True,
            env={**os.environ, **GIVES_BACK},
        )
        if done.returncode or not answer.exists():
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
            raise WorkError(f"The process that verifies failed:\n{said}")
        result = read_python_json(answer)
    if "error" in result:
        raise (InputError if result["exit_code"] == InputError.exit_code else WorkError)(result["error"])
    return result["level"], [Comparison.from_json(each) for each in result["comparisons"]]


def main(arguments: Sequence[str]) -> None:
    """The fresh process: a request on standard input, the answer into the file named."""
    request = Request(**json.load(sys.stdin))
    try:
        level, comparisons = compare(request)
        answer: dict[str, Any] = {"level": level, "comparisons": [asdict(each) for each in comparisons]}
    except ZhclipError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    Path(arguments[0]).write_text(json.dumps(answer), encoding="utf-8")


@torch.no_grad()
def compare(request: Request) -> tuple[Level, list[Comparison]]:
    """All comparisons of one repo with one original, and the level that they reach."""
    import transformers

    import hf_zhclip  # noqa: F401 (registers the Auto classes)

    transformers.logging.set_verbosity_error()
    out = Path(request.out)
    repo = read_repo(out)
    parts = [Part.from_request(each) for each in request.parts]
    model = _load(out)
    comparisons = list(_compare_tensors(parts, repo.tensors, model, request.dtype))
    if request.tensors_only:
        return "tensors", comparisons
    testimonies = [_testimony(part, request.dtype) for part in parts] or _mapped_back(repo, request)
    witness = witnesses.build(testimonies, Path(request.vocabulary), request.context_length)
    numbers = _compare_numbers(model, repo.processor, witness, request.dtype)
    del model
    comparisons += numbers
    return "tensors" if any(map(shows_nothing, comparisons)) else witness.level, comparisons


def _compare_numbers(model: Any, processor: Any, witness: Witness, dtype: str) -> Iterator[Comparison]:
    """Fields that no number shows, ids, pixels, vectors and logits.

    The model is let go before the witness computes: a peer's package is in double as a whole.
    """
    own = model.dtype
    check_tokenizer(getattr(processor, "tokenizer", processor), model.config)
    yield from _compare_training(model.config, witness)
    _check_vocabulary(witness, model)
    if is_text_alone(model.config.to_dict()):
        ids, comparisons = _compare_ids(partial(processor, truncation=True), processor.pad_token_id, witness)
        yield from comparisons
        measured = [measure(each, own) for each in _text_alone(model, witness, ids, processor.pad_token_id)]
        logits: list[Comparison] = []
    else:
        ids, comparisons = _compare_ids(processor, processor.tokenizer.pad_token_id, witness)
        yield from comparisons
        pixels, comparisons = _compare_pixels(processor, witness)
        yield from comparisons
        measured = [measure(each, own) for each in (_text(model, witness, ids), _image(model, witness, pixels))]
        text, image = (each.vectors for each in measured)
        logits = list(compare_logits(model, _with_rounded_scale(witness, dtype), text, image))
    del model
    for each in measured:
        yield from compare_tower(each, witness)
    yield from logits


def _load(out: Path) -> Any:
    """The model as users load it, in the dtype that its config states."""
    import transformers

    try:
        return transformers.AutoModel.from_pretrained(out, dtype="auto", attn_implementation="sdpa").eval()
    except (StrictDataclassError, ValueError, LookupError, TypeError, RuntimeError, OSError) as error:
        raise WorkError(f"{out} does not load through AutoModel: {error}") from error


def _testimony(part: Part, dtype: str) -> Testimony:
    return Testimony(part.source.name, part.role, _rounded(part.checkpoint.tensors, dtype), part.evidence)


def _mapped_back(repo: Repo, request: Request) -> list[Testimony]:
    """What the original was, as far as a repo tells: its tensors by the inverse tables, the rest by the report."""
    found = []
    for each in request.recorded:
        given = evidence.of_report(each["evidence"])
        written = Checkpoint(repo.path, (), "mapped back", repo.tensors)
        part = Part(SOURCES[each["format"]], written, {}, "recorded", each["role"], given.stated)
        table = inverse(part.home(repo.config))
        own = {key: repo.tensors[key] for key in claimed(table, repo.tensors)}
        backwards = plan(table, {key: tuple(tensor.shape) for key, tensor in own.items()})
        check_claims(backwards)
        found.append(Testimony(part.source.name, part.role, dict(backwards.run(own)), given))
    return found


def _rounded(tensors: Mapping[str, torch.Tensor], dtype: str) -> Mapping[str, torch.Tensor]:
    """The original's tensors after the rounding that `--dtype` asked for, so that the bound need not widen.

    A scalar stays as it is: it is a scale, or a temperature whose logarithm is rounded and not the temperature.
    """
    if dtype not in DTYPES:
        return tensors
    return {key: tensor.to(target_dtype(tensor, dtype)) if tensor.dim() else tensor for key, tensor in tensors.items()}


def _with_rounded_scale(witness: Witness, dtype: str) -> Witness:
    """The witness with its scale after the rounding that `--dtype` asked for."""
    if dtype not in DTYPES:
        return witness
    return replace(witness, logit_scale=lambda: float(torch.tensor(witness.logit_scale()).to(DTYPES[dtype])))


def _compare_tensors(
    parts: Sequence[Part], written: Mapping[str, torch.Tensor], model: torch.nn.Module, dtype: str
) -> Iterator[Comparison]:
    if parts:
        expected = join_tensors(parts)
        different = [
            key
            for key in expected.keys() | written.keys()
            if key not in expected
            or key not in written
            or not same_bits(expected[key].to(target_dtype(expected[key], dtype)), written[key])
        ]
        yield _exact("tensors", compared.FILE_TENSORS, compared.SOURCE_TENSORS, len(different))
    loaded = model.state_dict()
    different = [
        key
        for key in loaded.keys() | written.keys()
        if key not in loaded or key not in written or not same_bits(loaded[key], written[key].to(loaded[key].dtype))
    ]
    yield _exact("tensors", compared.LOADED, compared.WRITTEN_TENSORS, len(different))


def _exact(step: str, what: Words, witness: Words, count: int) -> Comparison:
    return Comparison(step, what, witness, COUNT, 0, count, count == 0)


def _compare_training(config: Any, witness: Witness) -> Iterator[Comparison]:
    """Fields of config.json that change no vector and a later training: dropout, initial values, unused ids."""
    towers = {"text_config": witness.text_training, "vision_config": witness.image_training}
    for side, training in towers.items():
        fields, own = training() if training else {}, config.to_dict().get(side) or {}
        if not fields:
            continue
        different = [name for name, value in fields.items() if name not in own or own[name] != value]
        what = compared.TRAINING_DIFFERS if different else compared.TRAINING
        told = what.filled(count=len(fields), side=side, fields=", ".join(different))
        yield _exact("config", told, witness.name, len(different))


def _check_vocabulary(witness: Witness, model: Any) -> None:
    """Refuses a vocabulary of more words than the model has rows, before it is asked for one of them."""
    highest, rows = max(map(max, witness.token_ids(samples.TEXTS))), model.config.text_config.vocab_size
    if highest >= rows:
        raise InputError(
            f"The vocabulary of the original goes up to id {highest} at least, and the model has {rows} rows for its "
            "words: they are not of one model. Pass the one that it was converted with: --tokenizer PATH."
        )


def _compare_ids(
    encode: Callable[..., Any], pad: int, witness: Witness
) -> tuple[list[torch.Tensor], list[Comparison]]:
    """Batches of the witness's ids: short texts padded together, a cut one, one by itself; and the comparison."""
    expected = witness.token_ids(samples.TEXTS)
    ours = [encode(text=[text])["input_ids"][0] for text in samples.TEXTS]
    different = sum(list(a) != list(b) for a, b in zip(ours, expected, strict=True))
    rows = [torch.tensor(ids) for ids in expected]
    short = torch.nn.utils.rnn.pad_sequence(rows[: samples.PROVED_TEXTS], batch_first=True, padding_value=pad)
    # Some embeddings hang on how far a text is padded, so that the first comes by itself, too.
    batches = [short, rows[-1][None], rows[0][None]]
    return batches, [_exact("ids", compared.TOKEN_IDS.filled(count=len(rows)), witness.name, different)]


def _compare_pixels(processor: Any, witness: Witness) -> tuple[torch.Tensor, list[Comparison]]:
    pixels, comparisons = [], []
    for name, image in samples.pictures():
        expected = witness.pixels(image)
        ours = processor(images=[image], return_tensors="pt")["pixel_values"][0]
        comparisons.append(bounded("pixels", compared.picture(name), witness.name, 0, difference(ours, expected)))
        pixels.append(expected)
    return torch.stack(pixels[: samples.PROVED_PICTURES]), comparisons


def _text(model: Any, witness: Witness, batches: Sequence[torch.Tensor]) -> Side:
    modules = [model.text_model, model.text_projection]
    return Side("text", compared.EMBEDDINGS, modules, model.encode_text, witness.encode_text, batches)


def _image(model: Any, witness: Witness, pixels: torch.Tensor) -> Side:
    modules = [model.vision_model, model.visual_projection]
    return Side(
        "image", compared.EMBEDDINGS, modules, model.encode_image, witness.encode_image, [pixels[1:], pixels[:1]]
    )


def _text_alone(model: Any, witness: Witness, batches: Sequence[torch.Tensor], pad: int) -> Iterator[Side]:
    """The states of all tokens but padding, and what is pooled of them; neither is an embedding."""

    def states(encode: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        # A model that pads by itself gives states behind those of its text.
        return lambda ids: encode(ids)[:, : ids.shape[1]][ids != pad]

    def last_hidden(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids).last_hidden_state

    def pooled(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids).pooler_output

    modules = [model.text_model]
    yield Side(
        "states", compared.STATES, modules, states(normalized(last_hidden)), states(witness.text_states), batches
    )
    yield Side("pooled", compared.POOLED, modules, normalized(pooled), witness.encode_text, batches)
