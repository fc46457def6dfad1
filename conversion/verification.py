"""Reload a repo through the Auto classes in a fresh process, and compare it with the original, step by step."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn.functional import normalize

from . import samples
from .errors import InputError, ParityError, WorkError, ZhclipError
from .mapping import claimed, inverse, plan
from .namesakes import refuse_namesake
from .parts import Part, describe, identify, join_tensors, witness_vocabulary
from .read import Checkpoint, read, read_json
from .repo import is_text_alone, load_processor
from .report import FILE, Comparison, Level, Report, changed_files, read_report
from .source import Facts, Witness
from .sources import SOURCES
from .write import DTYPES, same_bits, target_dtype

BOUND = 1e-5
"""Largest absolute difference of L2-normalised float32 embeddings."""

COSINE = 0.999999
"""Smallest cosine between two embeddings of the same input."""


PROGRAM = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "from hf_zhclip.conversion.verification import main; main(sys.argv[1:])"
)
"""The fresh process; a torch.py that lies in the current folder is not the one to import."""


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
    request = Request(
        out=str(out),
        parts=[],
        dtype=before.conversion["dtype"],
        tokenizer=str(tokenizer) if tokenizer else None,
        context_length=before.conversion["context_length"],
    )
    if against is None:
        request = replace(request, recorded=before.sources)
    else:
        parts = identify(against, vision, format, config, ema, vision_format, vision_config)
        vocabulary = witness_vocabulary(parts, tokenizer)
        request = replace(request, parts=[part.request() for part in parts], tokenizer=vocabulary)
    level, comparisons = in_fresh_process(request)
    comparisons = [_compare_files(out, before), *comparisons]
    report = Report(before.sources, before.conversion, level, comparisons, before.files)
    if not report.passed:
        raise ParityError(f"{out} does not compute what the original computes:\n{report.failures()}", report)
    return report


def _compare_files(out: Path, report: Report) -> Comparison:
    return _exact("files", f"SHA-256 of {len(report.files)} files", FILE, len(changed_files(out, report)))


@dataclass(frozen=True)
class Request:
    """What the fresh process is asked; either the `parts` of the original, or what a report `recorded` of them."""

    out: str
    parts: Sequence[Mapping[str, Any]]
    dtype: str
    tokenizer: str | None
    context_length: int
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
        )
        if done.returncode or not answer.exists():
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
            raise WorkError(f"The process that verifies failed:\n{said}")
        result = read_json(answer)
    if "error" in result:
        raise (InputError if result["exit_code"] == InputError.exit_code else WorkError)(result["error"])
    return result["level"], [Comparison(**each) for each in result["comparisons"]]


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
    written = read(out)
    parts = [Part.from_request(each) for each in request.parts] or _mapped_back(written, request.recorded)
    model = _load(out)
    comparisons = list(_compare_tensors(parts if request.parts else [], written, model, request.dtype))
    if request.tensors_only:
        return "tensors", comparisons
    witness = _witness(parts, request, written)
    processor = load_processor(out)
    _check_vocabulary(witness, model)
    if is_text_alone(written.config):
        ids, id_comparisons = _compare_ids(partial(processor, truncation=True), processor.pad_token_id, witness)
        return witness.level, [*comparisons, *id_comparisons, *_compare_text_alone(model, witness, ids)]
    ids, id_comparisons = _compare_ids(processor, processor.tokenizer.pad_token_id, witness)
    pixels, pixel_comparisons = _compare_pixels(processor, witness)
    comparisons += id_comparisons + pixel_comparisons
    comparisons += _compare_embeddings(model, witness, ids, pixels)
    return witness.level, comparisons


def _load(out: Path) -> Any:
    import transformers

    try:
        return transformers.AutoModel.from_pretrained(out, dtype=torch.float32).eval()
    except (StrictDataclassError, ValueError, LookupError, TypeError, RuntimeError, OSError) as error:
        raise WorkError(f"{out} does not load through AutoModel: {error}") from error


def _mapped_back(written: Checkpoint, recorded: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The parts of the original, from the converted tensors by the inverse tables."""
    parts = []
    for each in recorded:
        part = Part(SOURCES[each["format"]], written, each["facts"], "recorded", each["role"])
        table = inverse(part.home(written.config))
        own = {key: written.tensors[key] for key in claimed(table, written.tensors)}
        backwards = plan(table, {key: tuple(tensor.shape) for key, tensor in own.items()})
        checkpoint = Checkpoint(written.path, (), "mapped back", dict(backwards.run(own)))
        parts.append(replace(part, checkpoint=checkpoint))
    return parts


def _witness(parts: Sequence[Part], request: Request, written: Checkpoint) -> Witness:
    """The original's own package where it is installed, the reference for whatever that leaves open."""
    # What was mapped back has no dropped keys that a description may need: its facts are those of the report.
    recorded = not request.parts
    size = (written.config["vision_config"] or {}).get("image_size") if recorded else describe(parts).image_size
    vocab = parts[0].source.vocabulary.read(Path(request.tokenizer) if request.tokenizer else written.path)
    witnesses = []
    for part in parts:
        tensors = _rounded(part.checkpoint.tensors, request.dtype)
        facts = Facts(part.config if recorded else part.describe().facts, vocab, request.context_length, size)
        reference = _reference(part.source.name, tensors, facts)
        peer = part.original(tensors, facts)
        witnesses.append(_in_role(part, _completed(peer, reference) if peer else reference))
    return _with_rounded_scale(join_witnesses(witnesses), request.dtype)


def _in_role(part: Part, witness: Witness) -> Witness:
    """Of an image part what it gives; texts and the image order are the text family's."""
    if part.role == "whole":
        return witness
    return Witness(witness.name, witness.level, encode_image=witness.encode_image, logit_scale=witness.logit_scale)


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


def _reference(name: str, tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness:
    module = import_module(f".reference.{name}", __package__)
    offers: dict[str, Callable] = {
        "encode_text": lambda ids: module.encode_text(tensors, ids, facts.config),
        "encode_image": lambda pixels: module.encode_image(tensors, pixels, facts.config),
        "token_ids": lambda texts: module.token_ids(texts, facts.vocab, facts.context_length),
        "pixels": lambda image: module.pixels(image, tensors, facts.image_size),
        "logit_scale": lambda: module.logit_scale(tensors, facts.config),
        "text_states": lambda ids: module.text_states(tensors, ids, facts.config),
    }
    return Witness("reference", "reference", **{key: call for key, call in offers.items() if hasattr(module, key)})


CALLS = ("encode_text", "encode_image", "token_ids", "pixels", "logit_scale", "text_states")


def _completed(peer: Witness, reference: Witness) -> Witness:
    return replace(peer, **{call: getattr(peer, call) or getattr(reference, call) for call in CALLS})


def join_witnesses(witnesses: Sequence[Witness]) -> Witness:
    """The witness of a pair: each call from the part that can answer it, the level that of the weaker."""
    calls = {call: next((found for each in witnesses if (found := getattr(each, call))), None) for call in CALLS}
    level: Literal["peer", "reference"] = "peer" if all(each.level == "peer" for each in witnesses) else "reference"
    return Witness(" and ".join(dict.fromkeys(each.name for each in witnesses)), level, **calls)


def _compare_tensors(
    parts: Sequence[Part], written: Checkpoint, model: torch.nn.Module, dtype: str
) -> Iterator[Comparison]:
    if parts:
        expected = join_tensors(parts)
        different = [
            key
            for key in expected.keys() | written.tensors.keys()
            if key not in expected
            or key not in written.tensors
            or not same_bits(expected[key].to(target_dtype(expected[key], dtype)), written.tensors[key])
        ]
        yield _exact("tensors", "file tensors", "the source's tensors", len(different))
    loaded = model.state_dict()
    different = [
        key
        for key in loaded.keys() | written.tensors.keys()
        if key not in loaded
        or key not in written.tensors
        or not same_bits(loaded[key], written.tensors[key].to(loaded[key].dtype))
    ]
    yield _exact("tensors", "loaded parameters and buffers", "the file's tensors", len(different))


def _exact(step: str, what: str, witness: str, count: int) -> Comparison:
    return Comparison(step, what, witness, "number that differ", 0, count, count == 0)


def _check_vocabulary(witness: Witness, model: Any) -> None:
    """Refuses a vocabulary of more words than the model has rows, before it is asked for one of them."""
    highest, rows = max(map(max, witness.token_ids(samples.TEXTS))), model.config.text_config.vocab_size
    if highest >= rows:
        raise InputError(
            f"The vocabulary of the original goes up to id {highest} at least, and the model has {rows} rows for its "
            "words: they are not of one model. Pass the one that it was converted with: --tokenizer PATH."
        )


def _compare_ids(encode: Callable[..., Any], pad: int, witness: Witness) -> tuple[torch.Tensor, list[Comparison]]:
    expected = witness.token_ids(samples.TEXTS)
    ours = [encode(text=[text])["input_ids"][0] for text in samples.TEXTS]
    different = sum(list(a) != list(b) for a, b in zip(ours, expected, strict=True))
    rows = [torch.tensor(ids) for ids in expected]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    return padded, [_exact("ids", f"token ids of {len(rows)} texts", witness.name, different)]


def _compare_pixels(processor: Any, witness: Witness) -> tuple[torch.Tensor, list[Comparison]]:
    pixels, comparisons = [], []
    for name, image in samples.pictures():
        expected = witness.pixels(image)
        ours = processor(images=[image], return_tensors="pt")["pixel_values"][0]
        difference = _difference(ours, expected)
        comparisons.append(
            Comparison("pixels", name, witness.name, "max abs difference", 0, difference, difference == 0)
        )
        pixels.append(expected)
    return torch.stack(pixels[: samples.EMBEDDED]), comparisons


def _compare_embeddings(model: Any, witness: Witness, ids: torch.Tensor, pixels: torch.Tensor) -> Iterator[Comparison]:
    alone = torch.tensor(witness.token_ids(samples.TEXTS[:1]))
    text, image = _first_alone(witness.encode_text, ids, alone), witness.encode_image(pixels)
    yield from _compare_tower("text", _first_alone(model.encode_text, ids, alone), text, witness.name)
    yield from _compare_tower("image", model.encode_image(pixel_values=pixels), image, witness.name)
    scale = torch.tensor(witness.logit_scale())
    logits = model(input_ids=ids, pixel_values=pixels).logits_per_image
    difference = _difference(logits / scale.exp(), image @ text.t())
    yield _bounded("logits", "logits_per_image / exp(logit_scale)", witness.name, BOUND, difference)
    difference = _difference(model.logit_scale.detach(), scale)
    yield _bounded("logits", "logit_scale", witness.name, 0, difference)


def _first_alone(encode: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor, alone: torch.Tensor) -> Any:
    """The embeddings of a batch, of which the first text comes by itself: some hang on how far a text is padded."""
    return torch.cat([encode(alone), encode(ids[1:])])


def _compare_text_alone(model: Any, witness: Witness, ids: torch.Tensor) -> Iterator[Comparison]:
    """The states of all tokens but padding, and what is pooled of them; neither is an embedding."""
    outputs, kept = model(input_ids=ids), ids != model.config.text_config.pad_token_id
    ours, expected = normalize(outputs.last_hidden_state, dim=-1)[kept], witness.text_states(ids)[kept]
    yield from _compare_tower("states", ours, expected, witness.name, f"states of {len(expected)} tokens")
    ours, expected = normalize(outputs.pooler_output, dim=-1), witness.encode_text(ids)
    yield from _compare_tower("pooled", ours, expected, witness.name, f"pooled states of {len(expected)} texts")


def _compare_tower(
    step: str, ours: torch.Tensor, expected: torch.Tensor, witness: str, what: str | None = None
) -> Iterator[Comparison]:
    what = what or f"embeddings of {len(expected)} inputs"
    yield _bounded(step, what, witness, BOUND, _difference(ours, expected))
    # Weights with NaN (--allow-nonfinite) give NaN on both sides, which agrees; NaN on one side alone does not.
    undefined = (ours.isnan() & expected.isnan()).any(-1)
    cosine = float((ours.double() * expected.double()).sum(-1).masked_fill(undefined, 1.0).min())
    yield Comparison(step, what, witness, "smallest cosine", COSINE, cosine, cosine >= COSINE)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (a.isnan() & b.isnan())
    return float((a.double() - b.double()).abs().masked_fill(same, 0.0).max())


def _bounded(step: str, what: str, witness: str, bound: float, result: float) -> Comparison:
    return Comparison(step, what, witness, "max abs difference", bound, result, result <= bound)
