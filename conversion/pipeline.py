"""convert(): read -> detect -> describe -> map -> write -> verify in a staging folder beside `out`, then rename it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from hf_zhclip.budget import ATTENDED_PER_BYTE, BYTES_PER_LAYER, MOST_ATTENDED, MOST_LAYERS, MOST_SIDE
from hf_zhclip.json_files import read_json
from hf_zhclip.replacing import REPO, is_mark
from hf_zhclip.staging import check_absent, check_apart, staging

from . import mapping
from .detection.parts import Parts, describe, find_vocabulary, identify, join_tensors, witness_vocabulary
from .errors import ConvertedRepo, InputError, OlderRepo, ParityError
from .finetuned import Writing, finish
from .proof import verification
from .proof.fresh_process import Answer
from .publishing.cards import write_card
from .reading.evidence import vocabulary_hashes
from .reading.hashing import Hashes
from .reading.hub import read_source
from .reading.read import check_ema, choose
from .repos.doors import add_legacy, add_sentence_transformers, remove_code
from .repos.prepared import OTHER_VOCABULARY, check_tokenizer, spare_rows
from .repos.provenance import DEFAULTS, command, entry_name, record
from .repos.report import FILE, Report, write_beside
from .repos.scale import scale_limits
from .repos.write import (
    DTYPES,
    SPARE_BYTES,
    check_dtypes,
    check_shard_size,
    total_bytes,
    widest_float,
    write_json,
    write_weights,
)
from .source import Description, TextAlone, Whole
from .stated import Stated
from .upgrade import upgrade
from .words import Words

TEXT_ALONE = "The model is a text tower alone and has no projection, so its vectors cannot be compared with pictures"


def convert(
    source: str | Path,
    out: str | Path,
    *,
    vision: str | Path | None = None,
    base: str | Path | None = None,
    format: str | None = None,
    dtype: str = "keep",
    tokenizer: str | Path | None = None,
    config: str | Path | None = None,
    vision_format: str | None = None,
    vision_config: str | Path | None = None,
    context_length: int | None = None,
    ema: str | None = None,
    max_shard_size: str = "5GB",
    report: str | Path | None = None,
    with_code: bool = True,
    also_legacy: bool = False,
    force: bool = False,
    skip_verify: bool = False,
    allow_nonfinite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:
    """Turns a checkpoint into a repo that the Auto classes load and that computes what the original computes.

    Args:
        source: a file, a folder, a name of the catalogue, or `user/repo[:file]` on the hub.
        out: the folder to create; it must not exist, except with `force`.
        base: the converted repo that the training started from, for a source that training saved of it; without
            `base`, the report that still lies in the source.
        vision: the image part, for a text model that was published without an image part.
        format: the source's format, if the keys cannot decide it.
        dtype: `keep`, or the dtype that floats are cast to.
        tokenizer: a vocabulary (vocab.txt, tokenizer.json, or their folder) that replaces the source's own; `packaged`
            is the vocabulary that ships for the source's family.
        config: a JSON file that states what the weights do not show, with the fields of cn_clip's model_configs.
        vision_format: `format` of the image part.
        vision_config: `config` of the image part.
        context_length: the longest text in tokens, at most the model's positions; the default is the original's.
        ema: `use` or `ignore`, if a file holds a moving average (EMA) beside the weights; this is never guessed.
        report: a second path for the report; the report is written there even if verification fails.
        with_code: put the model's code beside the weights, for `trust_remote_code=True` on machines without this
            package. Without it, only machines with this package load the repo.
        also_legacy: also write preprocessor_config.json and vocab.txt, for readers older than transformers 5.
        skip_verify: compare only tensors; such a repo is not called verified.
        allow_nonfinite: continue if the weights hold NaN or Inf.
        progress: called with one line before each long step.

    Raises:
        InputError: the input or an argument is wrong; nothing has been written.
        ParityError: the result does not compute what the original computes; nothing is left at `out`.
        WorkError: the system failed; nothing is left at `out`.
    """
    out = Path(out)
    _check_arguments(out, dtype, max_shard_size, report, force)
    stated = Stated(
        source,
        vision=vision,
        format=format,
        vision_format=vision_format,
        tokenizer=tokenizer,
        config=config,
        vision_config=vision_config,
        context_length=context_length,
        ema=ema,
    )
    options = {
        **stated.options(),
        "dtype": dtype,
        "max_shard_size": max_shard_size,
        "without_code": not with_code,
        "also_legacy": also_legacy,
        "skip_verify": skip_verify,
        "allow_nonfinite": allow_nonfinite,
    }
    progress(f"Reading {source}")
    writing = Writing(dtype, max_shard_size, report, with_code, also_legacy, force, skip_verify, allow_nonfinite)
    if base is not None:
        _refuse_facts(source, stated, base)
        trained = choose(read_source(source), ema)
        check_ema(ema, [trained])
        return finish(trained, base, out, writing, progress)
    try:
        parts = identify(stated)
    except OlderRepo as found:
        check_apart(out, found.checkpoint.path, report)
        _refuse_options(source, {**options, "vision": vision, "report": report})
        return upgrade(found.checkpoint, out, force, progress)
    except ConvertedRepo as found:
        _refuse_facts(source, stated, base)
        return finish(found.checkpoint, base, out, writing, progress)
    check_apart(out, *(part.checkpoint.path for part in parts), tokenizer, config, vision_config, report)
    with Hashes() as hashes, verification.waiting_process() as waiting:
        hashes.begin(file for part in parts for file in part.checkpoint.files)
        description = describe(parts)
        _tell(parts, description, progress)
        prepared = prepare(parts, description, stated)
        settings = _settings(description, stated, dtype, prepared.context_length)
        settings["catalogue"] = entry_name(stated, parts)
        settings["command"] = command(parts, out, options)
        settings["vocabulary"] = vocabulary_hashes(prepared.vocabulary)
        for limit in prepared.limits:
            progress(limit.en)
        settings["limits"] += prepared.limits
        model_config, processor, tensors = prepared.config, prepared.processor, prepared.tensors
        model_config.dtype = widest_float(tensors, dtype)
        with staging(out, total_bytes(tensors, dtype) + SPARE_BYTES, force) as folder:
            progress(f"Writing {len(tensors)} tensors")
            write_weights(folder, tensors, dtype, max_shard_size, allow_nonfinite)
            hashes.begin(folder.iterdir())
            processor.save_pretrained(folder)
            model_config.save_pretrained(folder)
            settings["config"] = read_json(folder / "config.json")
            _open_doors(folder, description, processor, with_code, also_legacy)
            progress("Verifying in a fresh process")
            proof = _prove(folder, parts, settings, stated, skip_verify, hashes, waiting)
            write_json(folder / FILE, proof.to_json())
            if report is not None:
                write_beside(Path(report), proof, force)
            if not proof.passed:
                raise ParityError(f"The result does not compute the same as {source}:\n{proof.failures()}", proof)
            write_card(folder, proof, out.name)
    return proof


def _tell(parts: Parts, description: Description, progress: Callable[[str], None]) -> None:
    """Tells what was found, and which findings a reader may not expect."""
    paired = ", paired with ".join(f"{part.checkpoint.name} ({part.source.title})" for part in parts)
    progress(f"Found {description.architecture}: {paired}")
    for checkpoint in (part.checkpoint for part in parts if part.checkpoint.left_aside):
        progress(f"Read {checkpoint.files[0].name}; not read: {', '.join(checkpoint.left_aside)}")
    for checkpoint in (part.checkpoint for part in parts if part.checkpoint.prefix):
        progress(f"Removed the prefix {checkpoint.prefix!r} from the keys of {checkpoint.name}")
    for part in parts:
        for key in part.plan.zeros:
            progress(f"{part.checkpoint.name} holds no {key}, and its model needs no {key}: {key} is written as 0")
    if isinstance(description, TextAlone):
        progress(TEXT_ALONE)


def _refuse_options(source: str | Path, given: Mapping[str, Any]) -> None:
    """Refuses options that would change a repo of an older version, because `convert` copies its weights unchanged."""
    changed = (name for name, value in given.items() if value and value != DEFAULTS.get(name))
    if options := [f"--{name.replace('_', '-')}" for name in changed]:
        raise InputError(
            f"{source} is a repo of an older version, and is converted without options. Leave out "
            f"{', '.join(options)}. To use options, convert the original, which the repo's card names."
        )


def _refuse_facts(source: str | Path, stated: Stated, base: str | Path | None) -> None:
    """Refuses options that state facts of an original, because what training saved has the base's facts."""
    given = [name for name, value in vars(stated).items() if value is not None and name not in ("source", "ema")]
    if options := [f"--{name.replace('_', '-')}" for name in given]:
        named = f"{base}, which --base names" if base is not None else "its report"
        raise InputError(
            f"The facts of {source} come from {named}. Leave out {', '.join(options)}. If {source} is an original and "
            "no model of this package, leave out --base."
        )


def _check_arguments(out: Path, dtype: str, max_shard_size: str, report: str | Path | None, force: bool) -> None:
    if dtype not in ("keep", *DTYPES):
        raise InputError(f"There is no dtype {dtype!r}; wanted one of keep, {', '.join(DTYPES)}.")
    check_shard_size(max_shard_size)
    check_absent(out, force)
    if report is not None:
        _check_report(Path(report), force)


def _check_report(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise InputError(f"--report {path}: the folder does not exist. Make the folder, or choose another place.")
    if os.path.lexists(path) and not (force and path.is_file()):
        raise InputError(f"--report {path} exists already, and is not overwritten. Choose another place.")
    if path.is_file() and not is_mark(path, REPO.marks[FILE]):
        raise InputError(
            f"--report {path} exists already and is no report, so --force does not replace it. Choose another place."
        )


@dataclass(frozen=True)
class Prepared:
    """What will be written: the model's config, its processor, and the target tensors, still uncomputed.

    `vocabulary` is what the witness reads. `limits` are the card's sentences about these vocabulary rows and this
    scale.
    """

    config: Any
    processor: Any
    tensors: Mapping[str, torch.Tensor]
    context_length: int
    vocabulary: Path
    limits: tuple[Words, ...]


def prepare(parts: Parts, description: Description, stated: Stated) -> Prepared:
    """Does the whole conversion up to writing, with all checks; `inspect` calls it too.

    Raises:
        InputError: towers, tokenizer, keys, shapes or dtypes do not form one model.
    """
    config, shapes = build(description)
    longest = _longest_text(description, stated.context_length, config.max_text_positions)
    words = _tokenizer(parts, description, stated, longest)
    check_tokenizer(words, config)
    vocabulary = witness_vocabulary(parts, stated)
    mapping.check([part.plan for part in parts], shapes)
    tensors = join_tensors(parts)
    check_dtypes(tensors)
    _check_cost(config, sum(tensor.nbytes for tensor in tensors.values()))
    limits = (*spare_rows(words, config), *scale_limits([part.plan for part in parts], tensors))
    return Prepared(config, _processor(description, words), tensors, longest, vocabulary, limits)


def _check_cost(config: Any, size: int) -> None:
    """Refuses a model of `size` bytes whose use costs far more than its weights do."""
    most = MOST_ATTENDED + int(ATTENDED_PER_BYTE * size)
    towers = {"text": (config.text_config, config.text_padded_length or 0)}
    if (vision := config.vision_config) is not None:
        if vision.image_size > MOST_SIDE:
            raise InputError(
                f"The model takes pictures of {vision.image_size} pixels; at most {MOST_SIDE} were wanted."
            )
        step = getattr(vision, "patch_size", 32)
        towers["image"] = vision, (vision.image_size // step) ** 2 + 1
    for name, (tower, positions) in towers.items():
        if (layers := getattr(tower, "num_hidden_layers", 0)) > MOST_LAYERS + size // BYTES_PER_LAYER:
            raise InputError(
                f"The {name} tower has {layers:,} layers in weights of {size:,} bytes; at most "
                f"{MOST_LAYERS + size // BYTES_PER_LAYER} layers were wanted."
            )
        if tower.num_attention_heads * positions**2 > most:
            raise InputError(
                f"The {name} tower attends to {positions:,} positions with {tower.num_attention_heads} heads at once; "
                f"at most {most:,} numbers were wanted in an attention for weights of {size:,} bytes."
            )


def _longest_text(description: Description, context_length: int | None, positions: int) -> int:
    longest = context_length if context_length is not None else description.context_length
    if not 3 <= longest <= positions:
        raise InputError(f"--context-length is {longest}, but the model takes 3 to {positions} tokens.")
    return longest


def _settings(description: Description, stated: Stated, dtype: str, longest: int) -> dict[str, Any]:
    return {
        "architecture": description.architecture,
        "dtype": dtype,
        "context_length": longest,
        "trained_context_length": description.context_length,
        "stated_context_length": stated.context_length,
        "limits": list(description.limits),
        "image_order": description.image_order if isinstance(description, Whole) else None,
    }


def _tokenizer(parts: Parts, description: Description, stated: Stated, context_length: int) -> Any:
    """The family's tokenizer on the found vocabulary, or on the packaged one if it fits the model's rows."""
    found, rows = find_vocabulary(parts, stated), description.text.config["vocab_size"]
    tokenizer = parts[0].source.tokenizer(found, context_length)
    if found is None and len(tokenizer) != rows:
        raise InputError(
            f"There is no vocabulary beside the weights. The packaged vocabulary has {len(tokenizer)} words, but the "
            f"model has {rows} rows for words. {OTHER_VOCABULARY}"
        )
    return tokenizer


def _processor(description: Description, tokenizer: Any) -> Any:
    """What prepares the inputs: the tokenizer, with the family's image order if the model has an image tower."""
    from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor

    if isinstance(description, TextAlone):
        return tokenizer
    size = {"height": description.image_size, "width": description.image_size}
    image_processor = ZhCLIPImageProcessor(image_order=description.image_order, size=size)
    return ZhCLIPProcessor(image_processor=image_processor, tokenizer=tokenizer)


def _open_doors(folder: Path, description: Description, processor: Any, with_code: bool, also_legacy: bool) -> None:
    """Writes files for users who load the repo without this package."""
    if isinstance(description, Whole):  # a tower's pooled output is no embedding that sentence-transformers compares
        add_sentence_transformers(folder)
    if not with_code:
        remove_code(folder)
    if also_legacy:
        add_legacy(folder, processor)


def build(description: Description) -> tuple[Any, dict[str, mapping.Shape]]:
    """The model's config, and the keys and shapes of the model that it builds on the meta device.

    Raises:
        InputError: the two towers have embeddings of different widths, or the stated facts form no model.
    """
    from hf_zhclip import ZhCLIPConfig, ZhCLIPModel, ZhCLIPTextModel

    fields = _text_fields(description)
    if isinstance(description, Whole):
        fields |= _pair_fields(description)
    try:
        config = ZhCLIPConfig(**fields)
        with torch.device("meta"):
            model = ZhCLIPModel(config) if isinstance(description, Whole) else ZhCLIPTextModel(config)
    except (StrictDataclassError, ValueError, ArithmeticError) as error:
        raise InputError(f"No model can be built from the stated facts. {error}") from error
    return config, {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _text_fields(description: Description) -> dict[str, Any]:
    return {
        "text_config": dict(description.text.config),
        "text_pooling": description.text.pooling,
        "text_attends_to_padding": description.text_attends_to_padding,
        "text_padded_length": description.text_padded_length,
        "text_masks_pad_token": description.text_masks_pad_token,
        "architectures": ["ZhCLIPModel" if isinstance(description, Whole) else "ZhCLIPTextModel"],
    }


def _pair_fields(description: Whole) -> dict[str, Any]:
    text, vision = description.text, description.vision
    if text.width != vision.width:
        raise InputError(
            f"The text tower gives vectors of {text.width} numbers, and the image tower gives vectors of "
            f"{vision.width} numbers. The two are no pair. With --vision, name the image model that this text model "
            "was trained for. If both towers are in the same file, their projections are not from the same model."
        )
    return {
        "vision_config": dict(vision.config),
        "projection_dim": text.width,
        "text_projection_type": text.projection,
        "vision_pooling": vision.pooling,
        "visual_projection_type": vision.projection,
    }


def _prove(
    folder: Path,
    parts: Parts,
    settings: Mapping[str, Any],
    stated: Stated,
    skip: bool,
    hashes: Hashes,
    waiting: Answer,
) -> Report:
    request = verification.Request(
        out=str(folder),
        parts=[part.request() for part in parts],
        dtype=settings["dtype"],
        vocabulary=str(witness_vocabulary(parts, stated)),
        context_length=settings["stated_context_length"],
        tensors_only=skip,
    )
    level, comparisons = verification.in_fresh_process(request, waiting)
    return Report(
        sources=[record(part, hashes) for part in parts],
        conversion={**settings, "verification_skipped": skip},
        level=level,
        comparisons=comparisons,
        files={
            path.relative_to(folder).as_posix(): hashes.of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
