"""Says what a checkpoint is, how sure this is, and why; reads only headers and shapes."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, UnknownFormat
from ..mapping import fold
from ..reading.hub import published, read_source
from ..reading.json_files import read_json
from ..reading.namesakes import mending
from ..reading.read import Checkpoint, check_ema, choose
from ..reading.wrappers import WRAPPERS
from ..telling import shown, shown_lines
from .detect import Detection
from .parts import Part, detect_published

VERDICTS = {
    "unknown": "not a format that is converted",
    "undecided": "undecided: state --format",
    "contradicted": "not the format that was stated",
    "converted": "already converted",
    "older": "a repo of an older version",
}
"""The page's first line for a checkpoint without a format, by the `verdict` of UnknownFormat."""


@dataclass(frozen=True)
class Inspection:
    """The findings; `format` is None if no source is found for the checkpoint.

    `verdict` is then a key of `VERDICTS`, otherwise "known". `why` says what the checkpoint may be.
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
        """A page for people: the summary, and every key and shape, folded."""
        return "\n".join([self.summary(), "  keys:", *(f"    {key}" for key in self.keys)])

    def summary(self) -> str:
        """The page without the keys."""
        what = f"{self.title} [{self.format}], {self.certainty}" if self.format else VERDICTS[self.verdict]
        lines = [shown(f"{self.name}: {what}"), f"  why: {shown_lines(self.why)}"]
        lines += [shown(f"  container: {self.container}")]
        if self.left_aside:
            lines += [shown(f"  read: {self.file}; left aside: {', '.join(self.left_aside)}")]
        if self.architecture:  # where it is not stated, several lines say what is missing
            lines += [f"  architecture: {shown_lines(self.architecture)}"]
        return "\n".join([*lines, *map(shown, self._contents())])

    def _contents(self) -> list[str]:
        lines = [f"  wrapper removed: {prefix} ({WRAPPERS[prefix]})" for prefix in self.wrappers]
        if self.average:
            lines += [
                f"  beside the weights: {self.average} ({WRAPPERS[self.average]}); choose with --ema use or ignore"
            ]
        lines += [f"  {key}: {value}" for key, value in self.training.items()]
        lines += [f"  dtypes: {', '.join(f'{dtype} x{count}' for dtype, count in self.dtypes.items())}"]
        return lines + [f"  parameters, {tower}: {count:,}" for tower, count in self.parameters.items()]


def inspect(
    source: str | Path, *, format: str | None = None, config: str | Path | None = None, ema: str | None = None
) -> Inspection:
    """Says what a checkpoint is; reads headers and shapes, no tensor.

    Args:
        source: a file, a folder, or `user/repo[:file]` on the hub.
        format: check the checkpoint against this format, and do not look for a format.
        config: a JSON file that states what the weights do not show, as for `convert`.
        ema: as for `convert`; by default the raw weights are described, and the average is named.

    Raises:
        InputError: the source is no checkpoint at all.
        WorkError: the source could not be read.
    """
    checkpoint = read_source(source)
    if ema is not None:
        checkpoint = choose(checkpoint, ema)
        check_ema(ema, [checkpoint])
    entry = published(source)
    known = (entry.config if entry else None) or {}
    try:
        detection: Detection | None = detect_published(checkpoint, format, entry)
        verdict, why = "known", detection.why
    except UnknownFormat as error:
        detection, verdict, why = None, error.verdict, mending(checkpoint) or str(error)
    return Inspection(
        name=checkpoint.name,
        container=checkpoint.container,
        file=checkpoint.files[0].name,
        left_aside=checkpoint.left_aside,
        format=detection.source.name if detection else None,
        title=detection.source.title if detection else None,
        certainty=detection.certainty if detection else None,
        verdict=verdict,
        why=why,
        architecture=_architecture(checkpoint, detection, read_json(Path(config)) if config else {}, known),
        wrappers=checkpoint.wrappers,
        average=checkpoint.average.name if checkpoint.average else None,
        training=checkpoint.training,
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.tensors.values())),
        parameters=_parameters(checkpoint),
        keys=tuple(fold(f"{key} {list(shape)}" for key, shape in checkpoint.shapes.items())),
    )


def _architecture(
    checkpoint: Checkpoint, detection: Detection | None, stated: Mapping[str, Any], known: Mapping[str, Any]
) -> str | None:
    if detection is None:
        return None
    try:
        own = checkpoint.config if detection.source.reads_config_json else {}
        return Part(detection.source, checkpoint, stated or own or known, detection.why).describe().architecture
    except InputError as error:
        return f"not stated in full: {error}"


def _parameters(checkpoint: Checkpoint) -> dict[str, int]:
    """The count of numbers in floating-point tensors, by the first word of the key."""
    counts: dict[str, int] = defaultdict(int)
    for key, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point():
            counts[key.split(".")[0]] += tensor.numel()
    return dict(counts)
