"""SOURCE and --vision -> the parts of a model: each is read, detected and described alone, then they are joined."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from hf_zhclip.json_files import read_json

from ..errors import InputError, MappingError
from ..layouts.bases import base_file, published_base
from ..layouts.hf_folder import check_pictures
from ..layouts.open_clip import check_order
from ..mapping import Plan, Rule, check_claims, drop, fold, plan, squeezing
from ..reading.catalogue import STATED_HERE, Entry, entries
from ..reading.evidence import Evidence, gather
from ..reading.hub import published, read_source
from ..reading.read import Checkpoint, check_ema, choose, read, without
from ..source import Description, ImageSide, Source, TextAlone, TextSide, Whole, joined
from ..sources import SOURCES
from ..stated import Stated
from .beside import is_packaged, packaged, refuse_other_vocabulary, refuse_unheeded_settings, refuse_unread_facts
from .detect import Detection, detect

Role = Literal["whole", "image"]
"""What a part gives to the model: everything in it, or only its image side."""

COMPLETE = {
    "dual": "holds both towers",
    "alone": "has no vectors that can be compared with pictures, so no image tower belongs to it",
}
"""Why a part takes no image part, by what its source holds."""

IMAGE_SIDE = ("vision_model.", "visual_projection.", "logit_scale")
"""The prefixes of an image part's target keys."""


@dataclass(frozen=True)
class Part:
    """A checkpoint, the source that claims it, and the JSON that states what its tensors do not show.

    `config` is all stated JSON, joined for `describe`. `stated` is what the user or the catalogue stated. `base` is
    the name and the config.json of a base model that was downloaded.
    """

    role: ClassVar[Role]

    source: Source
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    why: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    base: tuple[str, Path] | None = None

    def request(self) -> dict[str, Any]:
        """What another process needs to read the same part."""
        return {
            "path": str(self.checkpoint.path),
            "format": self.source.name,
            "role": self.role,
            "ema": self.checkpoint.ema,
            "prefix": self.checkpoint.prefix,
            "stated": dict(self.stated),
            "base": self.base and [self.base[0], str(self.base[1])],
        }

    @cached_property
    def evidence(self) -> Evidence:
        """What a witness is given for this part beside its tensors."""
        return gather(self.checkpoint, self.stated, self.base)

    @cached_property
    def plan(self) -> Plan:
        """What the source's table does with these keys."""
        rules, shapes = self._in_role(self.source.rules(self.checkpoint.tensors)), self.checkpoint.shapes
        return plan(squeezing(rules, shapes, "logit_scale"), shapes)

    def home(self, config: Mapping[str, Any]) -> tuple[Rule, ...]:
        """The source's table of its plainest layout, from a converted model's config; an image part gives its side."""
        return self._in_role(self.source.home(config))

    def _in_role(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return rules

    @contextmanager
    def _described_in_words(self) -> Iterator[None]:
        """Raises a MappingError if keys or shapes that `describe` needs are missing."""
        check_claims(self.plan)
        try:
            yield
        except LookupError as error:
            shapes = "\n".join(f"  {line}" for line in fold(f"{key} {shape}" for key, shape in self._shapes().items()))
            raise MappingError(
                f"The shapes of {self.checkpoint.name} are not the shapes of {self.source.title}:\n{shapes}"
            ) from error

    def _shapes(self) -> dict[str, list[int]]:
        return {key: list(shape) for key, shape in self.checkpoint.shapes.items()}


@dataclass(frozen=True)
class WholePart(Part):
    """A part that gives all it holds: both towers, or a text tower alone; `stated` may be the catalogue's."""

    role = "whole"

    from_catalogue: bool = False

    @property
    def holds_text(self) -> bool:
        """Whether this part gives a text tower."""
        return any(key.startswith("text_model.") for key in self.plan.shapes)

    def image_part(self) -> "ImagePart":
        """The same checkpoint as an image part, which gives only its image side."""
        return ImagePart(self.source, self.checkpoint, self.config, self.why, self.stated, self.base)

    def describe(self) -> Description | TextSide:
        """The source's description.

        Raises:
            MappingError: keys or shapes that the description needs are missing.
        """
        with self._described_in_words():
            described = self.source.describe(self.checkpoint, self.config)
        if isinstance(described, Whole):
            check_pictures(self.checkpoint.folder, described.image_order, described.image_size)
        return replace(described, limits=(*described.limits, STATED_HERE)) if self.from_catalogue else described


@dataclass(frozen=True)
class ImagePart(Part):
    """A part that gives its image side to a text model that was published without an image side."""

    role = "image"

    def _in_role(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return image_rules(rules)

    def describe(self) -> ImageSide:
        """The source's description of its image side.

        Raises:
            MappingError: keys or shapes that the description needs are missing.
        """
        describe = self.source.describe_image
        assert describe is not None  # a source without an image tower is refused before it becomes an image part
        with self._described_in_words():
            return describe(self.checkpoint, self.config)


Parts = tuple[WholePart] | tuple[WholePart, ImagePart]
"""The parts that make one model: a complete part, or a text part and an image part."""

OF_ROLE: Mapping[str, type[Part]] = {each.role: each for each in (WholePart, ImagePart)}


def from_request(request: Mapping[str, Any]) -> Part:
    """Reads the part of another process's request."""
    checkpoint = without(choose(read(Path(request["path"])), request["ema"]), request["prefix"])
    base = (request["base"][0], Path(request["base"][1])) if request["base"] else None
    part = OF_ROLE[request["role"]]
    return part(SOURCES[request["format"]], checkpoint, {}, "stated", request["stated"], base)


@contextmanager
def _naming_options_of_the_image_part() -> Iterator[None]:
    """Makes an image part's errors name the image part's options instead of the text part's."""
    try:
        yield
    except InputError as error:
        error.args = (re.sub(r"(?<![\w-])--(config|format)\b", r"--vision-\1", str(error)),)
        raise


def image_rules(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """A dual format's table for its image side and the scale alone; its text rules become drops.

    A zero for the scale is removed too: the text model was trained with a factor, and the factor 1 would be wrong.
    """
    kept = [rule for rule in rules if rule.op == "drop" or _is_image_rule(rule)]
    left_out = [source for rule in rules if rule not in kept for source in rule.sources]
    return (*kept, *map(drop, left_out))


def _is_image_rule(rule: Rule) -> bool:
    return rule.op != "zero" and all(map(_is_image_side, rule.targets))


def _is_image_side(target: str) -> bool:
    return target.startswith(IMAGE_SIDE)


def identify(stated: Stated, checkpoint: Checkpoint | None = None) -> Parts:
    """The parts that make one model: a complete part, or a text part and an image part.

    For a published checkpoint the catalogue knows the format, the image part and, if nothing beside the weights states
    it, the config; the user's statements take precedence. `checkpoint` is the source if it has been read already.

    Raises:
        InputError: a part has no known format, is missing, or is one too many.
    """
    parts = _parts(stated, checkpoint or read_source(stated.source))
    check_ema(stated.ema, [part.checkpoint for part in parts])
    return parts


def _parts(stated: Stated, checkpoint: Checkpoint) -> Parts:
    source, entry = stated.source, published(stated.source)
    vision = stated.vision or (entry.vision if entry else None)
    first = part_of(choose(checkpoint, stated.ema), stated, entry)
    if not first.holds_text:
        texts = ", ".join(sorted(each.name for each in SOURCES.values() if each.part == "text"))
        raise InputError(
            f"{source} is {first.source.title}, but holds an image tower alone. An image tower alone is not "
            "converted, because no text can be compared with its pictures. Pass it as --vision beside a text tower "
            f"({texts})."
        )
    if why := COMPLETE.get(first.source.part):
        options = {
            "--vision": vision,
            "--vision-format": stated.vision_format,
            "--vision-config": stated.vision_config,
        }
        if given := [name for name, value in options.items() if value is not None]:
            raise InputError(f"{source} is {first.source.title} and {why}; leave out {' and '.join(given)}.")
        return (first,)
    if vision is None:
        raise InputError(
            f"{source} is {first.source.title}: a text tower alone. Its image tower is published separately. Name the "
            f"image tower with --vision{_example(first.source)}."
        )
    return (
        first,
        _image_part(Stated(vision, format=stated.vision_format, config=stated.vision_config, ema=stated.ema)),
    )


def _example(source: Source) -> str:
    """An example: a published pair of this text source; without one, the kind of image part that is expected."""
    for entry in entries():
        if entry.format == source.name and entry.image_part and entry.image_part.on_hub:
            return f", for example --vision {entry.vision} for {entry.name}"
    return ": the whole CLIP that the text tower was trained against"


def part_of(checkpoint: Checkpoint, stated: Stated, entry: Entry | None = None) -> WholePart:
    """The checkpoint as a part, with the format that claims it and the JSON that states it.

    Raises:
        InputError: the format is unknown, or a fact is stated twice or not at all.
    """
    facts = stated_facts(stated)
    detection = detect_published(checkpoint, stated.format, entry)
    checkpoint = without(checkpoint, detection.prefix)
    why = f"{detection.certainty}: {detection.why}"
    own, from_catalogue = checkpoint.config if detection.source.reads_config_json else {}, False
    if not own and not facts and entry is not None and entry.config:
        facts, why, from_catalogue = entry.config, f"{why}; its config is the catalogue's", True
    config, base = _facts(detection.source, stated.source, own, facts)
    if not facts and (not own or base is not None):
        refuse_unread_facts(checkpoint)
    return WholePart(detection.source, checkpoint, config, why, facts, base, from_catalogue)


def stated_facts(stated: Stated) -> Mapping[str, Any]:
    """The JSON that the user states about the source."""
    return read_json(Path(stated.config)) if stated.config else {}


def detect_published(checkpoint: Checkpoint, format: str | None, entry: Entry | None) -> Detection:
    """`detect`; the catalogue states a published checkpoint's format if the user states no format."""
    if entry is None or format is not None:
        return detect(checkpoint, format)
    why = f"the checkpoint is {entry.name} of the catalogue, and the keys agree"
    return replace(detect(checkpoint, entry.format), certainty="published", why=why)


def _facts(
    source: Source, path: str | Path, own: Mapping[str, Any], stated: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, Path] | None]:
    """The facts stated beside the weights or by the user, joined with the base model's config if it is needed.

    The second value is the base's name and config.json, if it was downloaded.
    """
    base = source.base_model(own or stated) if source.base_model else None
    if own and stated and base is None:
        raise InputError(
            f"The files of {path} state the model's facts beside the weights, so --config has nothing to state. Leave "
            "--config out."
        )
    if base is None:
        return stated or own, None
    if own and stated:
        return {**own, "base_config": stated}, None
    if (published := published_base(base)) is not None:
        return {**(own or stated), "base_config": published}, None
    file = base_file(base)
    return {**(own or stated), "base_config": read_json(file)}, (base, file)


def _image_part(stated: Stated) -> ImagePart:
    """The image part; the user's statements about it are read as for a source of its own."""
    with _naming_options_of_the_image_part():
        part = part_of(choose(read_source(stated.source), stated.ema), stated)
    if part.source.describe_image is None:
        raise InputError(
            f"--vision {stated.source} is {part.source.title}: a text tower alone. A model that holds an image tower "
            "was wanted, for example a Hugging Face CLIPModel folder."
        )
    return part.image_part()


def describe(parts: Parts) -> Description:
    """The whole description: towers from the parts that hold them, everything else from the text side's family."""
    first = parts[0].describe()
    if isinstance(first, (Whole, TextAlone)):
        return first
    assert len(parts) == 2  # `identify` refuses a text side without an image part
    with _naming_options_of_the_image_part():
        image = parts[1].describe()
    if not any("logit_scale" in part.plan.shapes for part in parts):
        raise InputError(
            f"{parts[0].checkpoint.name} and {parts[1].checkpoint.name} hold no logit_scale, and no value is made up "
            "for it. With --vision, name the whole CLIP that the image tower was taken from."
        )
    for part in parts:
        check_pictures(part.checkpoint.folder, first.image_order, image.image_size)
        if (pictures := part.config.get("preprocess_cfg")) is not None:
            check_order(pictures, first.image_order, image.image_size)
    named = parts[0].source.pair_name
    return joined(first, image, named(first.text, image.vision) if named else None)


def find_vocabulary(parts: Sequence[Part], stated: Stated) -> Path | None:
    """The vocabulary that the user names, else the vocabulary beside the weights, if it exists.

    Raises:
        InputError: a vocabulary other than the packaged one lies beside a weight file that may not own its folder, or
            the user's folder states settings that the source's tokenizer does not heed.
    """
    source, checkpoint = parts[0].source, parts[0].checkpoint
    if is_packaged(stated.tokenizer):
        return packaged(source)
    if stated.tokenizer is not None:
        named = Path(stated.tokenizer)
        if named.is_dir():
            refuse_unheeded_settings(source, named)
        return named
    if checkpoint.folder is None:
        refuse_other_vocabulary(source, checkpoint)
        return None
    return checkpoint.folder if source.vocabulary.lies_in(checkpoint.folder) else None


def witness_vocabulary(parts: Sequence[Part], stated: Stated) -> Path:
    """The vocabulary of `find_vocabulary` for a witness, or the packaged vocabulary.

    Raises:
        InputError: no vocabulary exists.
    """
    found = find_vocabulary(parts, stated) or parts[0].source.vocabulary.default
    if found is None:
        names = " or ".join(parts[0].source.vocabulary.files)
        raise InputError(
            f"There is no vocabulary beside {parts[0].checkpoint.name} ({names}). Pass the vocabulary that the model "
            "was trained with: --tokenizer PATH."
        )
    return found


def join_tensors(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """Target keys and tensors of all parts; views of the source's memory if possible."""
    return {key: tensor for part in parts for key, tensor in part.plan.run(part.checkpoint.tensors)}
