"""inspect(): what a checkpoint is, why, and what convert would say about it, from its headers and its scale."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_zhclip.telling import shown, shown_lines

from .detection.parts import describe, detect_published, identify, part_of
from .errors import InputError, OlderRepo, UnknownFormat
from .mapping import fold
from .pipeline import prepare
from .reading.catalogue import Entry
from .reading.hub import published, read_source
from .reading.namesakes import mending
from .reading.read import Checkpoint, choose, without
from .reading.wrappers import WRAPPERS
from .stated import Stated

VERDICTS = {
    "unknown": "a format that is not converted",
    "mixed": "a known model together with other keys",
    "undecided": "undecided: say --format",
    "contradicted": "not the format that was stated",
    "converted": "already converted",
    "older": "a repo of an older version",
}
"""What the page says about a checkpoint without a format, by the `verdict` of UnknownFormat."""


@dataclass(frozen=True)
class Inspection:
    """The findings; `format` is None if no source matches the checkpoint.

    In this case `verdict` is one of `VERDICTS`, and `why` says what the checkpoint may be. Otherwise `verdict` is
    "known", or "refused" if the format is known but convert refuses the checkpoint; a refused checkpoint has no
    `certainty`. `refusal` is convert's message, or None if convert would write the repo.
    """

    name: str
    container: str
    file: str
    left_aside: tuple[str, ...]
    format: str | None
    title: str | None
    certainty: str | None
    verdict: str
    why: str
    refusal: str | None
    architecture: str | None
    wrappers: tuple[str, ...]
    average: str | None
    training: Mapping[str, Any]
    dtypes: Mapping[str, int]
    parameters: Mapping[str, int]
    keys: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """A page for people: the summary, then every key and shape, with layers folded."""
        return "\n".join([self.summary(), "  keys:", *(f"    {key}" for key in self.keys)])

    def summary(self) -> str:
        """The page without the keys."""
        sure = self.certainty or "but convert refuses it"
        what = f"{self.title} [{self.format}], {sure}" if self.format else VERDICTS[self.verdict]
        lines = [f"{self.name}: {what}", f"  container: {self.container}"]
        lines += [f"  read: {self.file}; not read: {', '.join(self.left_aside)}"] if self.left_aside else []
        lines += [f"  architecture: {self.architecture}"] if self.architecture else []
        unknown = f"an unknown prefix; without it, the keys are the keys of {self.format}"
        lines += [f"  wrapper removed: {prefix} ({WRAPPERS.get(prefix, unknown)})" for prefix in self.wrappers]
        if self.average:
            lines += [
                f"  beside the weights: {self.average} ({WRAPPERS[self.average]}); choose with --ema use or ignore"
            ]
        lines += [f"  {key}: {value}" for key, value in self.training.items()]
        lines += [f"  dtypes: {', '.join(f'{dtype} x{count}' for dtype, count in self.dtypes.items())}"]
        lines += [f"  parameters, {tower}: {count:,}" for tower, count in self.parameters.items()]
        first, *others = map(shown, lines)
        said = [f"  why: {shown_lines(self.why)}"]
        if self.refusal not in (None, self.why):
            said += [f"  convert says: {shown_lines(self.refusal)}"]
        return "\n".join([first, *said, *others])


def inspect(
    source: str | Path,
    *,
    vision: str | Path | None = None,
    format: str | None = None,
    tokenizer: str | Path | None = None,
    config: str | Path | None = None,
    vision_format: str | None = None,
    vision_config: str | Path | None = None,
    ema: str | None = None,
) -> Inspection:
    """Says what a checkpoint is, and whether convert accepts it; reads headers, shapes and the scale.

    Makes all checks that `convert` makes before it writes. Does not find what only the other numbers show: NaN, or
    embeddings that differ from the original's.

    Args:
        source: a file, a folder, a name of the catalogue, or `user/repo[:file]` on the hub.
        format: check the checkpoint against this format instead of finding a format.
        vision, tokenizer, config, vision_format, vision_config, ema: as for `convert`. Without `ema` the page
            describes the raw weights and names the average.

    Raises:
        InputError: the source is not a checkpoint.
        WorkError: the source could not be read.
    """
    stated = Stated(
        source,
        vision=vision,
        format=format,
        vision_format=vision_format,
        tokenizer=tokenizer,
        config=config,
        vision_config=vision_config,
        ema=ema,
    )
    return _inspect(stated)


def _inspect(stated: Stated) -> Inspection:
    checkpoint = read_source(stated.source)
    if stated.ema is not None:
        checkpoint = choose(checkpoint, stated.ema)
    entry, detection, refusal = published(stated.source), None, None
    try:
        detection = detect_published(checkpoint, stated.format, entry)
        why = detection.why
        refusal = _refusal(stated, checkpoint)
        checkpoint = without(checkpoint, detection.prefix)
        verdict = "refused" if refusal else "known"
    except UnknownFormat as error:
        verdict, why = error.verdict, mending(checkpoint) or str(error)
        refusal = None if isinstance(error, OlderRepo) else str(error)
    return Inspection(
        name=checkpoint.name,
        container=checkpoint.container,
        file=checkpoint.files[0].name,
        left_aside=checkpoint.left_aside,
        format=detection.source.name if detection else None,
        title=detection.source.title if detection else None,
        certainty=detection.certainty if detection and refusal is None else None,
        verdict=verdict,
        why=why,
        refusal=refusal,
        architecture=_architecture(checkpoint, stated, entry) if detection else None,
        wrappers=checkpoint.wrappers,
        average=checkpoint.average.name if checkpoint.average else None,
        training=checkpoint.training,
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.tensors.values())),
        parameters=_parameters(checkpoint),
        keys=tuple(fold(f"{key} {list(shape)}" for key, shape in checkpoint.shapes.items())),
    )


def _refusal(stated: Stated, checkpoint: Checkpoint) -> str | None:
    """What `convert` would say before it writes; None if it would write the repo."""
    try:
        parts = identify(stated, checkpoint)
        prepare(parts, describe(parts), stated)
    except InputError as error:
        return str(error)
    return None


def _architecture(checkpoint: Checkpoint, stated: Stated, entry: Entry | None) -> str | None:
    """The architecture of the tensors that were read; None if a part of it is not stated."""
    try:
        part = part_of(checkpoint, stated, entry)
        side = part if part.holds_text else part.image_part()
        return side.describe().architecture
    except InputError:
        return None


def _parameters(checkpoint: Checkpoint) -> dict[str, int]:
    """The count of numbers in floating-point tensors, by the first word of their key."""
    counts: dict[str, int] = defaultdict(int)
    for key, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point():
            counts[key.split(".")[0]] += tensor.numel()
    return dict(counts)
