"""SOURCE and --vision -> the parts of a model: each read, detected and described by itself, then joined."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import InputError, MappingError
from ..layouts.bases import base_file, published_base
from ..layouts.hf_folder import check_pictures
from ..layouts.open_clip import check_order
from ..mapping import Plan, Rule, check_claims, drop, fold, plan, squeezing
from ..reading.catalogue import STATED_HERE, Entry, entries
from ..reading.evidence import Evidence, gather
from ..reading.hub import published, read_source
from ..reading.json_files import read_json
from ..reading.read import Checkpoint, check_ema, choose, read
from ..source import Description, Source
from ..sources import SOURCES
from .beside import PACKAGED, packaged, refuse_other_vocabulary
from .detect import Detection, detect

Role = Literal["whole", "image"]
"""What a part gives to the model: all that it holds, or its image side alone."""

COMPLETE = {
    "dual": "holds both towers",
    "alone": "stands in no space with pictures, so that no image tower belongs to it",
}
"""Why a part takes no image part, by what the source holds."""

IMAGE_SIDE = ("vision_model.", "visual_projection.", "logit_scale")
"""How the target keys of an image part begin."""


@dataclass(frozen=True)
class Part:
    """A checkpoint, the source that claims it, and the JSON that states what its tensors don't.

    `config` is what `describe` is given: all that is stated, joined. `stated` is the user's own word or the
    catalogue's (`from_catalogue`), and `base` the name and the config.json of a base model that had to be fetched.
    """

    source: Source
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    why: str
    role: Role = "whole"
    stated: Mapping[str, Any] = field(default_factory=dict)
    base: tuple[str, Path] | None = None
    from_catalogue: bool = False

    def request(self) -> dict[str, Any]:
        """What another process needs to read the same part again."""
        return {
            "path": str(self.checkpoint.path),
            "format": self.source.name,
            "role": self.role,
            "ema": self.checkpoint.ema,
            "stated": dict(self.stated),
            "base": self.base and [self.base[0], str(self.base[1])],
        }

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> "Part":
        checkpoint = choose(read(Path(request["path"])), request["ema"])
        base = (request["base"][0], Path(request["base"][1])) if request["base"] else None
        source = SOURCES[request["format"]]
        return cls(source, checkpoint, {}, "stated", request["role"], request["stated"], base)

    @cached_property
    def evidence(self) -> Evidence:
        """What a witness is given of it beside its tensors."""
        return gather(self.checkpoint, self.stated, self.base)

    @cached_property
    def plan(self) -> Plan:
        """What the source's table does with these keys."""
        rules, shapes = self._in_role(self.source.rules(self.checkpoint.tensors)), self.checkpoint.shapes
        return plan(squeezing(rules, shapes, "logit_scale"), shapes)

    @property
    def holds_text(self) -> bool:
        """Whether a text tower is among what it gives."""
        return any(key.startswith("text_model.") for key in self.plan.shapes)

    def home(self, config: Mapping[str, Any]) -> tuple[Rule, ...]:
        """The source's table of its plainest layout, from a converted model's config; of an image part its side."""
        return self._in_role(self.source.home(config))

    def _in_role(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return rules if self.role == "whole" else image_rules(rules)

    def describe(self) -> Description:
        """The source's description.

        Raises:
            MappingError: when the keys or shapes that it has to be read from are not there.
        """
        check_claims(self.plan)
        try:
            with _naming_options_of(self.role):
                described = self._describe()
        except LookupError as error:
            shapes = "\n".join(f"  {line}" for line in fold(f"{key} {shape}" for key, shape in self._shapes().items()))
            raise MappingError(
                f"The shapes of {self.checkpoint.name} are not {self.source.title}'s:\n{shapes}"
            ) from error
        if described.image_order is not None and described.image_size is not None:
            check_pictures(self.checkpoint.folder, described.image_order, described.image_size)
        limits = (*described.limits, STATED_HERE) if self.from_catalogue else described.limits
        return replace(described, limits=limits)

    def _describe(self) -> Description:
        if self.role == "whole":
            return self.source.describe(self.checkpoint, self.config)
        describe = self.source.describe_image or self.source.describe
        return replace(describe(self.checkpoint, self.config), text=None, image_order=None, context_length=None)

    def _shapes(self) -> dict[str, list[int]]:
        return {key: list(shape) for key, shape in self.checkpoint.shapes.items()}


@contextmanager
def _naming_options_of(role: Role) -> Iterator[None]:
    """Lets what an image part is refused for name the options that state something of it, not the text part's."""
    try:
        yield
    except InputError as error:
        if role == "image":
            error.args = (re.sub(r"(?<![\w-])--(config|format)\b", r"--vision-\1", str(error)),)
        raise


def image_rules(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The table of a dual format for its image side and the scale alone; what it takes for its text is dropped.

    A zero in place of a scale goes, too: the text model was trained with a factor, and 1 would be a wrong one.
    """
    kept = [rule for rule in rules if rule.op == "drop" or _is_image_rule(rule)]
    left_out = [source for rule in rules if rule not in kept for source in rule.sources]
    return (*kept, *map(drop, left_out))


def _is_image_rule(rule: Rule) -> bool:
    return rule.op != "zero" and all(map(_is_image_side, rule.targets))


def _is_image_side(target: str) -> bool:
    return target.startswith(IMAGE_SIDE)


def identify(
    source: str | Path,
    vision: str | Path | None,
    format: str | None,
    config: str | Path | None,
    ema: str | None = None,
    vision_format: str | None = None,
    vision_config: str | Path | None = None,
) -> list[Part]:
    """The parts that make one model: one that is complete by itself, or a text part and an image part.

    Of a published checkpoint the catalogue knows the format, the image part and, where nothing beside the weights
    states it, the config; what the user states goes first.
    `ema` chooses between weights and their average, in the part that holds both. `vision_format` and `vision_config`
    say of the image part what `format` and `config` say of the source.

    Raises:
        InputError: when a part is no known format, is missing, or is one too many.
    """
    parts = _parts(source, vision, format, config, ema, vision_format, vision_config)
    check_ema(ema, [part.checkpoint for part in parts])
    return parts


def _parts(
    source: str | Path,
    vision: str | Path | None,
    format: str | None,
    config: str | Path | None,
    ema: str | None,
    vision_format: str | None,
    vision_config: str | Path | None,
) -> list[Part]:
    stated = read_json(Path(config)) if config else {}
    entry = published(source)
    if entry is not None:
        vision = vision or entry.vision
    first = _part(source, format, stated, ema, entry)
    if not first.holds_text:
        texts = ", ".join(sorted(each.name for each in SOURCES.values() if each.part == "text"))
        raise InputError(
            f"{source} is {first.source.title}, but an image tower alone: it serves as --vision beside a text tower "
            f"({texts}). By itself it is not converted: without a text there is nothing to compare a picture with."
        )
    if why := COMPLETE.get(first.source.part):
        options = {"--vision": vision, "--vision-format": vision_format, "--vision-config": vision_config}
        if given := [name for name, value in options.items() if value is not None]:
            raise InputError(f"{source} is {first.source.title} and {why}; leave out {' and '.join(given)}.")
        return [first]
    if vision is None:
        raise InputError(
            f"{source} is {first.source.title}: a text tower alone. Its image tower is published apart; name it with "
            f"--vision{_example(first.source)}."
        )
    return [first, _vision_part(vision, vision_format, read_json(Path(vision_config)) if vision_config else {}, ema)]


def _example(source: Source) -> str:
    """What was published of a text source with its image tower, as an example; of one without, what kind is wanted."""
    for entry in entries():
        if entry.format == source.name and entry.image_part and entry.image_part.on_hub:
            return f", for example --vision {entry.vision} for {entry.name}"
    return ": the whole CLIP that it was trained against"


def _part(
    path: str | Path,
    format: str | None,
    stated: Mapping[str, Any],
    ema: str | None,
    entry: Entry | None = None,
) -> Part:
    checkpoint = choose(read_source(path), ema)
    detection = detect_published(checkpoint, format, entry)
    why = f"{detection.certainty}: {detection.why}"
    own, from_catalogue = checkpoint.config if detection.source.reads_config_json else {}, False
    if not own and not stated and entry is not None and entry.config:
        stated, why, from_catalogue = entry.config, f"{why}; its config is the catalogue's", True
    config, base = _facts(detection.source, path, own, stated)
    return Part(detection.source, checkpoint, config, why, stated=stated, base=base, from_catalogue=from_catalogue)


def detect_published(checkpoint: Checkpoint, format: str | None, entry: Entry | None) -> Detection:
    """`detect`, with the catalogue's word for a published checkpoint where the user states no format."""
    if entry is None or format is not None:
        return detect(checkpoint, format)
    why = f"it is {entry.name} of the catalogue, and the keys agree"
    return replace(detect(checkpoint, entry.format), certainty="published", why=why)


def _facts(
    source: Source, path: str | Path, own: Mapping[str, Any], stated: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, Path] | None]:
    """What is stated beside the weights or by the user, with the config of a base model that it leaves facts to.

    The second is that base's name and config.json, where it had to be fetched.
    """
    base = source.base_model(own or stated) if source.base_model else None
    if own and stated and base is None:
        raise InputError(
            f"{path} states its own facts beside the weights, so --config has nothing to state. Leave it out."
        )
    if base is None:
        return stated or own, None
    if own and stated:
        return {**own, "base_config": stated}, None
    if (published := published_base(base)) is not None:
        return {**(own or stated), "base_config": published}, None
    file = base_file(base)
    return {**(own or stated), "base_config": read_json(file)}, (base, file)


def _vision_part(path: str | Path, format: str | None, stated: Mapping[str, Any], ema: str | None) -> Part:
    with _naming_options_of("image"):
        part = replace(_part(path, format, stated, ema), role="image")
    if part.source.part in ("text", "alone"):
        raise InputError(
            f"--vision {path} is {part.source.title}: a text tower alone. A model that holds an image tower was "
            "wanted, for example a Hugging Face CLIPModel folder."
        )
    return part


def describe(parts: Sequence[Part]) -> Description:
    """The description of the whole: towers from the parts that hold them, everything else from the text's family."""
    descriptions = [part.describe() for part in parts]
    first = descriptions[0]
    if len(descriptions) == 1:
        return first
    other = descriptions[1]
    if not any("logit_scale" in part.plan.shapes for part in parts):
        raise InputError(
            f"Neither {parts[0].checkpoint.name} nor {parts[1].checkpoint.name} holds a logit_scale, and it is not "
            "made up here. Name with --vision the whole CLIP that the image tower was taken from."
        )
    for part in parts:
        check_pictures(part.checkpoint.folder, first.image_order, other.image_size)
        if (stated := part.config.get("preprocess_cfg")) is not None:
            check_order(stated, first.image_order, other.image_size)
    named = parts[0].source.pair_name
    name = named(first.text, other.vision) if named else None
    return replace(
        first,
        architecture=f"{name or first.architecture} with {other.architecture}",
        vision=other.vision,
        image_size=other.image_size,
    )


def find_vocabulary(parts: Sequence[Part], stated: str | Path | None) -> Path | None:
    """The vocabulary that the user names, else the one beside the weights, if there is one.

    Raises:
        InputError: when another than the packaged one lies beside a weight file whose folder is not known for its own.
    """
    source, checkpoint = parts[0].source, parts[0].checkpoint
    if stated is not None:
        return packaged(source) if str(stated) == PACKAGED and not Path(stated).exists() else Path(stated)
    if checkpoint.folder is None:
        refuse_other_vocabulary(source, checkpoint)
        return None
    return checkpoint.folder if source.vocabulary.lies_in(checkpoint.folder) else None


def witness_vocabulary(parts: Sequence[Part], stated: str | Path | None) -> Path:
    """The same for a witness, or what ships with the package.

    Raises:
        InputError: when there is none.
    """
    found = find_vocabulary(parts, stated) or parts[0].source.vocabulary.default
    if found is None:
        names = " or ".join(parts[0].source.vocabulary.files)
        raise InputError(
            f"There is no vocabulary beside {parts[0].checkpoint.name} ({names}). Pass the vocabulary that it was "
            "trained with: --tokenizer PATH."
        )
    return found


def join_tensors(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """Target keys and tensors of all parts; views of the source's memory wherever that is possible."""
    return {key: tensor for part in parts for key, tensor in part.plan.run(part.checkpoint.tensors)}
