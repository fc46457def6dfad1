"""Finds the source that claims a checkpoint's keys; exactly one source must claim them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hf_zhclip.telling import near

from ..errors import ConvertedRepo, InputError, UnknownFormat
from ..mapping import claimed, fold, has_match, plan
from ..reading.namesakes import refuse_older_checkpoint
from ..reading.read import Checkpoint, without
from ..reading.wrappers import OWN_SCRIPT
from ..source import Signature, Source
from ..sources import SOURCES
from ..ways_out import finishing
from . import relatives
from .prefixes import Model, common, find_models, only, without_empty, words

SHARED_TYPES = ("clip",)
"""Model types that other projects' classes (BertCLIP, TaiyiCLIP) inherit from their base class."""


@dataclass(frozen=True)
class Detection:
    """The source that claims a checkpoint, how sure the claim is, why, and whether files beside the weights agree.

    `prefix` stands before all its keys and does not belong to the format.
    """

    source: Source
    certainty: str
    why: str
    beside: bool = False
    prefix: str = ""


def detect(checkpoint: Checkpoint, format: str | None = None) -> Detection:
    """Finds the only source whose signature fits, or checks the checkpoint against the user's stated format.

    Raises:
        UnknownFormat: no single source fits. The message names a known relative, the candidates for `--format`, or the
            nearest format and the keys that differ.
    """
    _refuse_placeholders(checkpoint)
    _refuse_converted(checkpoint)
    refuse_older_checkpoint(checkpoint)
    if refused := relatives.stock(checkpoint) or relatives.altered(checkpoint):
        raise UnknownFormat(refused)
    if format not in (None, *SOURCES):
        raise InputError(
            f"There is no format {format!r}; the formats are {', '.join(SOURCES)}.{near(str(format), SOURCES)}"
        )
    if not any(_fitting(source, checkpoint) for source in SOURCES.values()):
        if format is None and (known := relatives.known(checkpoint)):
            raise UnknownFormat(known)
        if under := _under_prefix(checkpoint, format):
            return under
    found = _claimed(checkpoint) if format is None else _named(checkpoint, SOURCES[format])
    own = set(claimed(found.source.rules(checkpoint.tensors), checkpoint.tensors))
    if models := _models(only(checkpoint, checkpoint.tensors.keys() - own), SOURCES.values()):
        raise UnknownFormat(words(checkpoint, [Model("", (found.source,)), *models]), "mixed")
    return found


def _claimed(checkpoint: Checkpoint) -> Detection:
    found = [detection for source in SOURCES.values() if (detection := _claim(source, checkpoint))]
    found = [detection for detection in found if detection.beside] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise _choose(checkpoint, [detection.source for detection in found])
    if open_ := [source for source in SOURCES.values() if _fitting(source, checkpoint)]:
        raise _choose(checkpoint, open_)
    raise UnknownFormat(_nearest(checkpoint))


def _named(checkpoint: Checkpoint, source: Source) -> Detection:
    signature = _fitting(source, checkpoint)
    if signature is None:
        raise UnknownFormat(
            f"{checkpoint.name} is not {source.title}.\n{_difference(source, checkpoint)}", "contradicted"
        )
    if (other := _told(checkpoint)) and _contradicts(checkpoint, source, other):
        raise UnknownFormat(
            f"config.json names {', '.join(_classes(checkpoint))}, which is {other.title} [{other.name}]. --format "
            f"says {source.name}, whose model computes something else. Correct config.json or --format.",
            "contradicted",
        )
    if (kind := _other_type(source, checkpoint)) is not None:
        raise UnknownFormat(
            f"config.json says model_type {kind!r}, and --format says {source.name}, whose model_type is "
            f"{' or '.join(signature.types)}. The two models compute different vectors from the same keys. If the "
            "config.json belongs to other weights, put the right config.json in its place. If it belongs to these "
            "weights, the weights are not converted.",
            "contradicted",
        )
    _refuse_beside(checkpoint, source)
    return Detection(source, "stated", f"--format {source.name}, and the keys agree")


def _other_type(source: Source, checkpoint: Checkpoint) -> object:
    """The model type of config.json, if the source's models have other types; else None."""
    signature, kind = _fitting(source, checkpoint), checkpoint.config.get("model_type")
    wrong = source.reads_config_json and signature is not None and signature.types and kind not in signature.types
    return kind if wrong else None


def _under_prefix(checkpoint: Checkpoint, format: str | None) -> Detection | None:
    """The format of all keys without a common prefix that is unknown here.

    Raises:
        UnknownFormat: a known model lies under a prefix and is not alone, or is not convertible.
    """
    candidates = [SOURCES[format]] if format is not None else list(SOURCES.values())
    for prefix in common(checkpoint.tensors):
        inside = without(checkpoint, prefix)
        if fitting := [source for source in candidates if _fitting(source, inside)]:
            decided = format is not None and all(_other_type(source, inside) is None for source in fitting)
            if not decided and (own := _of_own_class(inside, prefix, fitting)):
                raise UnknownFormat(own)
            found = detect(inside, format)
            return replace(found, why=f"{found.why}, under the prefix {prefix!r}", prefix=prefix)
        if format is None and (known := relatives.known(inside)):
            raise UnknownFormat(f"Without the prefix {prefix!r}, {known}")
    if models := _models(checkpoint, candidates):
        raise UnknownFormat(words(checkpoint, models), "mixed")
    return None


def _of_own_class(inside: Checkpoint, prefix: str, fitting: Sequence[Source]) -> str | None:
    """The message for a class of the user's own around a known model; None if config.json names no unknown class."""
    classes = _classes(inside)
    if not classes or _told(inside) or any(_claim(source, inside) for source in fitting):
        return None
    ways = [
        f"  {source.title} [{source.name}]: {', '.join(stated)}"
        for source in fitting
        if (signature := _fitting(source, inside)) and (stated := _stating(signature))
    ]
    if not ways:
        return None
    return "\n".join(
        [
            f"config.json names {', '.join(classes)}, which is not converted. Without the prefix {prefix!r} its keys "
            "are the keys of a known format. If the class only holds a model of this format, and config.json states "
            "this model, write the model's own names into config.json:",
            *ways,
        ]
    )


def _stating(signature: Signature) -> list[str]:
    """The fields of config.json that name a format's class and model type."""
    named = {name: name[:1].isupper() for name in signature.architectures}
    classes = [f'"architectures": ["{name}"]' for name, is_class in named.items() if is_class][:1]
    types = [*signature.types, *(name for name, is_class in named.items() if not is_class)]
    return [*classes, *(f'"model_type": "{name}"' for name in types[:1])]


def _models(checkpoint: Checkpoint, candidates: Iterable[Source]) -> list[Model]:
    """Known models under prefixes, beside other keys: a student and its teacher, or a model and a head."""

    def fits(inside: Checkpoint) -> list[Source]:
        # A BERT beside other keys is part of another model.
        return [
            source
            for source in candidates
            if (signature := _fitting(source, inside)) and (source.part == "dual" or signature.decides == "keys")
        ]

    return find_models(checkpoint, fits)


def _refuse_beside(checkpoint: Checkpoint, source: Source) -> None:
    """Refuses a stated format if files beside the weights state another format's facts, which it does not read."""
    for other in SOURCES.values():
        signature = _fitting(other, checkpoint)
        if other is not source and signature is not None and signature.beside:
            raise UnknownFormat(
                f"{_names(signature.beside)} beside the weights of {checkpoint.name}, so the checkpoint is "
                f"{other.title} [{other.name}]. --format {source.name} would not read these files. Leave --format "
                "out: the format is found without it.",
                "contradicted",
            )


def _names(beside: Sequence[str]) -> str:
    return f"{' and '.join(beside)} {'lies' if len(beside) == 1 else 'lie'}"


def _claim(source: Source, checkpoint: Checkpoint) -> Detection | None:
    """The source's claim, if its keys fit and every other deciding fact agrees."""
    signature = _fitting(source, checkpoint)
    if signature is None:
        return None
    said = set(_classes(checkpoint)) & set(signature.architectures)
    if signature.decides == "architectures" and said:
        return Detection(source, "certain", f"keys, and config.json names {', '.join(sorted(said))}")
    if signature.architectures and _classes(checkpoint) and not said:
        return None
    sizes = all(checkpoint.shapes.get(key) in allowed for key, allowed in signature.sizes.items())
    if signature.decides == "keys" and sizes:
        shapes = ", ".join(f"{key} {list(checkpoint.shapes[key])}" for key in signature.sizes)
        why = f"{len(signature.required)} keys that no other known format has together"
        if signature.beside:
            why = f"{len(signature.required)} keys, and {' and '.join(signature.beside)} beside the weights"
        certainty = "likely" if shapes else "certain"
        return Detection(source, certainty, f"{why}{', and ' + shapes if shapes else ''}", bool(signature.beside))
    return None


def _classes(checkpoint: Checkpoint) -> list[str]:
    """The names in config.json: its classes, or else its model type, which several classes may share."""
    found, kind = checkpoint.config.get("architectures"), checkpoint.config.get("model_type")
    named = [str(name) for name in found] if isinstance(found, list) else []
    return named or ([kind] if isinstance(kind, str) and kind not in SHARED_TYPES else [])


def _told(checkpoint: Checkpoint) -> Source | None:
    """The source that knows a class of config.json; among several, the source that also has these keys."""
    named = set(_classes(checkpoint))
    known = [
        source
        for source in SOURCES.values()
        if any(named & set(signature.architectures) for signature in source.signatures)
    ]
    return next((source for source in known if _fitting(source, checkpoint)), known[0] if known else None)


def _contradicts(checkpoint: Checkpoint, source: Source, other: Source) -> bool:
    """Whether `other` is meant: it has these keys, or config.json would show `source` if it were the format."""
    if other is source:
        return False
    signature = _fitting(source, checkpoint)
    told = signature is not None and bool(signature.architectures or signature.types)
    return told or _fitting(other, checkpoint) is not None


def _knows_classes(source: Source, checkpoint: Checkpoint) -> bool:
    """Whether a source has these keys and its config.json would name its class."""
    signature = _fitting(source, checkpoint)
    return signature is not None and bool(signature.architectures)


def _fitting(source: Source, checkpoint: Checkpoint) -> Signature | None:
    keys, beside = checkpoint.ordered, {file.name for file in checkpoint.files}
    for signature in source.signatures:
        if (
            beside.issuperset(signature.beside)
            and all(has_match(pattern, keys) for pattern in signature.required)
            and not any(has_match(pattern, keys) for pattern in signature.absent)
        ):
            return signature
    return None


def _refuse_placeholders(checkpoint: Checkpoint) -> None:
    empty = [key for key, tensor in checkpoint.tensors.items() if tensor.numel() == 0]
    # DeepSpeed's placeholders have the shape [0].
    if any(checkpoint.tensors[key].dim() > 1 for key in empty) and 2 * len(empty) < len(checkpoint.tensors):
        raise UnknownFormat(without_empty(checkpoint, empty))
    if empty:
        raise UnknownFormat(
            f"{checkpoint.name} holds empty placeholders in place of weights ({', '.join(fold(empty)[:3])} …): the "
            f"file is a part of a DeepSpeed ZeRO-3 checkpoint. {OWN_SCRIPT}"
        )


def _refuse_converted(checkpoint: Checkpoint) -> None:
    if checkpoint.config.get("model_type") == "hf_zhclip":
        raise ConvertedRepo(
            f"{checkpoint.name} is a repo of this package, not an original. After `import hf_zhclip`, "
            "AutoModel.from_pretrained loads the repo. `zhclip export` writes the repo in another format. If training "
            f"saved the repo, {finishing(checkpoint.hub_id or checkpoint.path)} makes a complete repo from it. REPO "
            "is the converted repo that the training started from.",
            checkpoint,
        )


def _choose(checkpoint: Checkpoint, candidates: Sequence[Source]) -> UnknownFormat:
    """The error for keys that several sources have. It offers no format if config.json names another class."""
    names = ", ".join(f"--format {source.name} ({source.title})" for source in candidates)
    said = _classes(checkpoint)
    if said and all(_knows_classes(source, checkpoint) for source in candidates):
        return UnknownFormat(_named_otherwise(checkpoint, f"config.json names {', '.join(said)}"))
    word = f"config.json names {', '.join(said)}" if said else "no config.json names the model"
    helps = [
        help for source in SOURCES.values() for key, help in source.undecided.items() if key in checkpoint.tensors
    ]
    return UnknownFormat(
        f"The keys of {checkpoint.name} do not decide its format, and {word}. Models with the same keys pool "
        "differently, so the format is not guessed. If you know the format, state it: "
        f"{' '.join([f'{names}.', *helps])}",
        "undecided",
    )


def _named_otherwise(checkpoint: Checkpoint, word: str) -> str:
    """The message for a class that no source with the same keys has: none of these sources is meant."""
    if told := _told(checkpoint):
        return f"{word}, but {checkpoint.name} is not {told.title}.\n{_difference(told, checkpoint)}"
    return f"{word}, which is not converted."


def _nearest(checkpoint: Checkpoint) -> str:
    nearest = max(SOURCES.values(), key=lambda source: _likeness(source, checkpoint.ordered))
    if not _likeness(nearest, checkpoint.ordered):
        some = "\n".join(f"  {key}" for key in fold(checkpoint.tensors)[:12])
        return (
            f"The format of {checkpoint.name} is not known. The checkpoint holds {len(checkpoint.tensors)} "
            f"tensors:\n{some}"
        )
    return f"The format of {checkpoint.name} is not known.\n{_difference(nearest, checkpoint)}"


def _likeness(source: Source, keys: Sequence[str]) -> float:
    return max(
        sum(has_match(pattern, keys) for pattern in signature.required) / len(signature.required)
        for signature in source.signatures
    )


def _difference(source: Source, checkpoint: Checkpoint) -> str:
    """The keys by which a checkpoint differs from a source, folded."""
    keys = checkpoint.ordered
    best = max(source.signatures, key=lambda each: sum(has_match(pattern, keys) for pattern in each.required))
    lines = [f"The nearest format is {source.name}, {source.title}."]
    if absent := [pattern for pattern in best.required if not has_match(pattern, keys)]:
        lines.append("Keys of this format that are missing here:\n" + "\n".join(f"  {key}" for key in absent))
    if foreign := [pattern for pattern in best.absent if has_match(pattern, keys)]:
        lines.append(
            "Keys that this format does not have, but the checkpoint has:\n" + "\n".join(f"  {key}" for key in foreign)
        )
    there = {file.name for file in checkpoint.files}
    if missing := [name for name in best.beside if name not in there]:
        lines.append(
            "Files of this format that are missing beside the weights:\n" + "\n".join(f"  {name}" for name in missing)
        )
    problems = plan(source.rules(checkpoint.tensors), checkpoint.shapes).problems.get(
        "unknown keys (no rule claims them)", ()
    )
    if problems:
        lines.append(
            "Keys that no rule of this format claims:\n" + "\n".join(f"  {line}" for line in fold(problems)[:20])
        )
    return "\n".join(lines)
