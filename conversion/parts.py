"""SOURCE and --vision -> the parts of a model: each read, detected and described by itself, then joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .detect import detect
from .errors import InputError, MappingError
from .hub import published, read_source
from .mapping import Plan, check_claims, fold, plan
from .read import Checkpoint, read, read_json
from .source import Description, Source
from .sources import SOURCES
from .tokenizer import has_vocabulary


@dataclass(frozen=True)
class Part:
    """A checkpoint, the source that claims it, and the JSON that states what its tensors don't."""

    source: Source
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    why: str

    def request(self) -> dict[str, Any]:
        """What another process needs to read the same part again."""
        return {"path": str(self.checkpoint.path), "format": self.source.name, "config": dict(self.config)}

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> "Part":
        checkpoint = read(Path(request["path"]))
        return cls(SOURCES[request["format"]], checkpoint, request["config"], "stated")

    @cached_property
    def plan(self) -> Plan:
        """What the source's table does with these keys."""
        return plan(self.source.rules(self.checkpoint.tensors), self.checkpoint.shapes)

    def describe(self) -> Description:
        """The source's description.

        Raises:
            MappingError: when the keys or shapes that it has to be read from are not there.
        """
        check_claims(self.plan)
        try:
            return self.source.describe(self.checkpoint, self.config)
        except LookupError as error:
            shapes = "\n".join(f"  {line}" for line in fold(f"{key} {shape}" for key, shape in self._shapes().items()))
            raise MappingError(
                f"The shapes of {self.checkpoint.name} are not {self.source.title}'s:\n{shapes}"
            ) from error

    def _shapes(self) -> dict[str, list[int]]:
        return {key: list(shape) for key, shape in self.checkpoint.shapes.items()}


def identify(
    source: str | Path, vision: str | Path | None, format: str | None, config: str | Path | None
) -> list[Part]:
    """The parts that make one model: one that holds both towers, or a text part and an image part.

    Of a published checkpoint the catalogue knows the format and the image part; what the user states goes first.

    Raises:
        InputError: when a part is no known format, is missing, or is one too many.
    """
    stated = read_json(Path(config)) if config else {}
    if entry := published(source):
        vision = vision or entry.vision
        first = _part(source, format or entry.format, stated)
        if format is None:
            first = replace(first, why=f"published: it is {entry.name} of the catalogue, and the keys agree")
    else:
        first = _part(source, format, stated)
    if first.source.part == "vision":
        raise InputError(
            f"{source} is {first.source.title}, which serves as --vision beside a text model (Taiyi). By itself it is "
            "not converted by this version; transformers' own CLIPModel reads it."
        )
    if first.source.part == "dual":
        if vision is not None:
            raise InputError(f"{source} is {first.source.title} and holds both towers; leave out --vision.")
        return [first]
    if vision is None:
        raise InputError(
            f"{source} is {first.source.title}: a text tower alone. Its image tower is published apart; name it with "
            "--vision, for example --vision openai/clip-vit-base-patch32 for Taiyi-102M."
        )
    return [first, _vision_part(vision)]


def _part(path: str | Path, format: str | None, stated: Mapping[str, Any]) -> Part:
    checkpoint = read_source(path)
    detection = detect(checkpoint, format)
    own = checkpoint.config if detection.source.reads_config_json else {}
    if own and stated:
        raise InputError(f"{path} brings its own config.json, so --config has nothing to state. Leave it out.")
    return Part(detection.source, checkpoint, stated or own, f"{detection.certainty}: {detection.why}")


def _vision_part(path: str | Path) -> Part:
    part = _part(path, None, {})
    if part.source.part != "vision":
        raise InputError(f"--vision {path} is {part.source.title}; a Hugging Face CLIPModel folder was wanted.")
    return part


def describe(parts: Sequence[Part]) -> Description:
    """The description of the whole: towers from the parts that hold them, everything else from the text's family."""
    descriptions = [part.describe() for part in parts]
    first = descriptions[0]
    if len(descriptions) == 1:
        return first
    other = descriptions[1]
    return replace(
        first,
        architecture=f"{first.architecture} with {other.architecture}",
        vision=other.vision,
        image_size=other.image_size,
    )


def find_vocabulary(parts: Sequence[Part], stated: str | Path | None) -> Path | None:
    """The vocabulary that the user names, else the one beside the weights, if there is one."""
    if stated is not None:
        return Path(stated)
    folder = parts[0].checkpoint.folder
    return folder if folder is not None and has_vocabulary(folder) else None


def join_tensors(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """Target keys and tensors of all parts; views of the source's memory wherever that is possible."""
    return {key: tensor for part in parts for key, tensor in part.plan.run(part.checkpoint.tensors)}
