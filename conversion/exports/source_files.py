"""A repo -> the files of the format that it was converted from.

What the files are, each source says (`Source.files`). The tensors come from the inverse of its table, the JSON files
from the evidence that the repo's report holds. The written files are converted again and compared with the repo.
"""

import json
import posixpath
import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from hf_zhclip.replacing import TOKENIZER, WEIGHTS, Kind

from ..detection.parts import describe, identify
from ..errors import InputError, ParityError
from ..mapping import fold, matches
from ..pipeline import Prepared, prepare
from ..proof import samples
from ..reading.evidence import TOKENIZER_CONFIG, Evidence, Testimony
from ..reading.files import STATED, sha256
from ..repos.backwards import mapped_back
from ..repos.pieces import same_bits
from ..repos.repo import Repo
from ..repos.report import FILE, Report, read_report
from ..repos.write import alone, write_json, write_pickle, write_weights
from ..source import Source
from ..sources import SOURCES
from ..stated import Stated
from ..tokenizers.mending import MENDING_STEPS
from ..tokenizers.vocabularies import default_vocab
from ..ways_out import refuse_no_folder
from .natives import fits

FOLDERS = {"whole": "text", "image": "vision"}
"""The folders of a pair's parts, by what each part gives to the repo."""

ONE_FILE = "1000TB"
"""A shard size that no model reaches."""

VOCABULARY_FILES = {"WordPiece": ("vocab.txt",), "BPE": ("vocab.json", "merges.txt"), "Unigram": ("tokenizer.json",)}
"""The files that a vocabulary is written to, by the kind of its model."""

BESIDE_THE_MODEL = ("dtype", "torch_dtype", "transformers_version", "auto_map", "architectures", "_name_or_path")
"""Fields of config.json that are no facts about the model; the dtype follows from the tensors, which are compared."""

PICTURES = ("image_order", "size", "resample", "image_mean", "image_std")
"""The settings of an image processor that are compared."""


@dataclass(frozen=True)
class Home:
    """One part of a repo on its way back.

    `place` is the part's folder in the destination: "" if the repo was converted from one part. `tensors` are the
    source tensors, `unused` those of them that no embedding depends on. `had` are the names of the original's files.
    """

    source: Source
    role: str
    place: str
    evidence: Evidence
    had: Collection[str]
    tensors: Mapping[str, torch.Tensor]
    unused: Mapping[str, torch.Tensor]
    own_vocabulary: bool

    @property
    def weights(self) -> str:
        """The name of the weight file: the original's, or the format's first."""
        names = self.source.files.weights
        return next((name for name in names if {name, f"{name}.index.json"} & set(self.had)), names[0])

    @property
    def places(self) -> Mapping[str, str]:
        """The folder of the keys with each prefix, inside the part's folder."""
        try:
            places = dict(self.source.files.places(self.evidence.files))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{FILE} does not hold the original's JSON files, which name the folders of the weights. Convert the "
                "original again."
            ) from error
        return {prefix: _inside(folder) for prefix, folder in places.items()}

    @property
    def stated(self) -> Mapping[str, Any]:
        """The JSON that states the original: its config file, or what the user stated in place of this file."""
        return self.evidence.files.get(self.source.files.config or "", self.evidence.stated)

    def code(self, repo: Repo) -> str:
        """Python code that loads this part from `folder`."""
        files = self.source.files
        if self.role == "image":
            assert files.load_image is not None  # an image part without it is refused
            return files.load_image(repo.config)
        return files.load(repo.config, self.stated)

    @property
    def stated_file(self) -> str | None:
        """The file for the user's statements about the original; None if there are none."""
        if not self.evidence.stated:
            return None
        own = self.source.files.config
        return own if own and own not in self.evidence.files else STATED

    @property
    def files(self) -> dict[str, Any]:
        """JSON files of this part, by their path in the part's folder."""
        left_out = (TOKENIZER_CONFIG,) if self.role == "image" else ()
        there = self.evidence.files.items()
        files = {name: content for name, content in there if ":" not in name and name not in left_out}
        if name := self.stated_file:
            files[name] = dict(self.evidence.stated)
        # The evidence names files from the folder of the weights; modules.json may lie above it.
        inner = self.places[""]
        return {_inside(posixpath.normpath(posixpath.join(inner, name))): content for name, content in files.items()}


def _inside(path: str) -> str:
    """A path that stays in its folder, which a report may not leave.

    Raises:
        InputError: the path leaves the folder.
    """
    pure = PurePosixPath(str(path).replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or "\0" in str(path):
        raise InputError(
            f"{FILE} names the file {path!r}, which lies outside the repo's folder. Convert the original again."
        )
    return str(pure) if pure.parts else ""


def read_home(out: Path) -> Report:
    """The report of a repo that goes back.

    Raises:
        InputError: the folder has no report; the message names the command that makes a repo with a report.
    """
    refuse_no_folder(out)
    if (out / "config.json").is_file() and not (out / FILE).exists():
        finish = shlex.join(["zhclip", "convert", str(out), "OUT", "--base", "REPO"])
        raise InputError(
            f"{out} has no {FILE}, which names the original's format. If training saved {out}, `{finish}` makes a "
            "repo with a report from it. REPO is the converted repo that the training started from. Then export OUT."
        )
    return read_report(out)


def homes(repo: Repo, report: Report) -> tuple[Home, ...]:
    """The parts of a repo in the terms of their formats.

    Raises:
        InputError: a format is unknown here, or cannot hold its part; the message says what would be missing.
    """
    if unknown := [each["format"] for each in report.sources if each["format"] not in SOURCES]:
        raise InputError(
            f"{repo.path / FILE} names the format {unknown[0]!r}, which is not known. The known formats are "
            f"{', '.join(SOURCES)}. Convert the original again."
        )
    parts = mapped_back(repo.tensors, repo.config, report.sources)
    return tuple(_home(repo, report, part, each) for part, each in zip(parts, report.sources, strict=True))


def _home(repo: Repo, report: Report, part: Testimony, recorded: Mapping[str, Any]) -> Home:
    source, is_image = SOURCES[part.format], part.role == "image"
    dropped = _checked(source, part.evidence, recorded.get("dropped"))
    if why := source.files.refused(part.evidence.files):
        raise InputError(f"{_goes_not_back(source, repo)} {why}. {_instead(repo)}")
    if is_image and source.files.load_image is None:
        raise InputError(
            f"{_goes_not_back(source, repo)} the repo holds only the image tower of this format, and the format's "
            f"class loads no image tower without a text tower. {_instead(repo)}"
        )
    _refuse_scale(source, part.role, repo)
    unused = {} if is_image else source.files.unused(part.tensors)
    if not is_image:  # an image part has lost its text tower, which its class does without
        _refuse_lost(source, repo, dropped, unused)
    return Home(
        source=source,
        role=part.role,
        place=FOLDERS[part.role] if len(report.sources) > 1 else "",
        evidence=part.evidence,
        had=tuple(recorded["files"]),
        tensors={**part.tensors, **unused},
        unused=unused,
        own_vocabulary=not is_image and (source.files.own_vocabulary or _has_own_vocabulary(source, repo, report)),
    )


def _checked(source: Source, evidence: Evidence, dropped: Any) -> list[str]:
    """The keys that the conversion left out; refuses a report with parts of another kind, which nothing else reads."""
    config = evidence.files.get(source.files.config or "", {})
    if (
        not isinstance(config, Mapping)
        or not isinstance(dropped, list)
        or not all(isinstance(key, str) for key in dropped)
    ):
        raise InputError(
            f"{FILE} is no valid report. Found a {type(dropped).__name__} as dropped and a {type(config).__name__} as "
            f"{source.files.config}; wanted a list of keys and a JSON object. Convert the original again."
        )
    return dropped


def _goes_not_back(source: Source, repo: Repo) -> str:
    return f"{repo.path} cannot be written as {source.title}, and nothing was written:"


def _instead(repo: Repo) -> str:
    """What a user can do instead, where it works."""
    if not repo.is_text_alone and not fits(repo.config)[0].lost:
        return (
            f"A class of transformers holds the model exactly: zhclip export {shlex.quote(str(repo.path))} DEST --to "
            "transformers"
        )
    return "Use the repo itself, with `import hf_zhclip`, or with `trust_remote_code=True` and the code in the repo."


def _refuse_scale(source: Source, role: str, repo: Repo) -> None:
    """Refuses a trained parameter where the format has none, and the conversion wrote a 0."""
    targets = [rule.targets[0] for rule in source.home(repo.config) if rule.op == "zero" and role == "whole"]
    for key in targets:
        if bool(repo.tensors[key]):
            raise InputError(
                f"{_goes_not_back(source, repo)} {key} is {repo.tensors[key].item():g}, but this format has no such "
                f"tensor. Wanted 0 (the factor 1), which the conversion wrote. {_instead(repo)}"
            )


def _refuse_lost(source: Source, repo: Repo, dropped: Sequence[str], unused: Collection[str]) -> None:
    """Refuses a part whose class needs tensors that the conversion left out and that are no constants."""
    lost = [
        key
        for key in dropped
        if not (key in unused or key.endswith("position_ids"))
        and not any(matches(pattern, key) for pattern in source.files.left_out)
    ]
    if lost:
        shown_keys = "\n".join(f"  {key}" for key in fold(lost))
        raise InputError(
            f"{_goes_not_back(source, repo)} the format's class also needs the following tensors. The conversion left "
            "them out, because the repo does not compute with them, so they are lost:\n"
            f"{shown_keys}\n{_instead(repo)}"
        )


def _has_own_vocabulary(source: Source, repo: Repo, report: Report) -> bool:
    """Whether a repo has another vocabulary than the package of its format, because its original had another one.

    Raises:
        InputError: the original had the package's vocabulary, and the repo has another.
    """
    default, tokenizer = source.vocabulary.default, repo.tokenizer
    if default is None:
        return True
    packaged = source.tokenizer(None, tokenizer.model_max_length).get_vocab()
    if tokenizer.get_vocab() == packaged:
        return False
    if sha256(default) in report.conversion["vocabulary"].values():
        raise InputError(
            f"{_goes_not_back(source, repo)} its vocabulary has {len(tokenizer)} words, and {len(packaged)} were "
            f"wanted, the number of words in the vocabulary of the format's own package. {_instead(repo)}"
        )
    return True


def kind(parts: Sequence[Home], repo: Repo) -> Kind:
    """The files that an export of these parts writes; --force replaces such a folder alone."""
    marks: list[str] = []
    names: list[str] = []
    for part in parts:
        places = [PurePosixPath(part.place, place) for place in part.places.values()]
        marks += [str(PurePosixPath(part.place, part.places[""], part.weights))]
        names += [str(PurePosixPath(part.place, name)) for name in (*part.files, *part.source.files.made(repo.config))]
        names += [str(place / name) for place in places for name in (part.weights, *WEIGHTS, *TOKENIZER)]
    return Kind("export of these files", dict.fromkeys(marks), tuple(names))


# Writing


def write(folder: Path, parts: Sequence[Home], repo: Repo, report: Report, max_shard_size: str) -> None:
    """Writes each part's files into `folder`, or into its subfolder."""
    for part in parts:
        place = folder / part.place
        for name, content in _joined(part.files, part.source.files.made(repo.config)).items():
            _write_json(place / name, _restated(content, _sizes(part, repo)))
        if part.own_vocabulary:
            _write_vocabulary(place / part.places[""], repo.tokenizer, report.conversion["vocabulary"])
        _write_weights(place, part, max_shard_size)


def _joined(recorded: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """JSON files by name; where both have a file, the repo's values replace those that the original stated."""
    both = [name for name in made if isinstance(recorded.get(name), Mapping)]
    return {**recorded, **made, **{name: {**recorded[name], **made[name]} for name in both}}


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def _sizes(part: Home, repo: Repo) -> dict[str, Any]:
    """What a fine-tuned repo may have changed and a JSON file of the original can state: the value of each field."""
    text, vision = repo.config["text_config"], repo.config.get("vision_config")
    sizes = {"dtype": repo.config.get("dtype"), "torch_dtype": repo.config.get("dtype")}
    if part.role != "image":
        sizes["vocab_size"] = text["vocab_size"]
    if vision is not None and (part.role == "image" or not part.place):
        sizes |= dict.fromkeys(("image_size", "image_resolution"), vision["image_size"])
    return {field: str(value) if "dtype" in field else value for field, value in sizes.items() if value is not None}


def _restated(content: Any, sizes: Mapping[str, Any]) -> Any:
    """The same JSON; if it states a size or a dtype, it states the repo's. A vision config's vocabulary is another."""
    if not isinstance(content, Mapping):
        return content
    restated = {}
    for field, value in content.items():
        inner = {
            size: each for size, each in sizes.items() if not (field.startswith("vision") and size == "vocab_size")
        }
        known = field in sizes and type(value) is type(sizes[field])
        restated[field] = sizes[field] if known else _restated(value, inner)
    return restated


def _write_vocabulary(folder: Path, tokenizer: Any, had: Collection[str]) -> None:
    """Writes the vocabulary's files; a tokenizer.json too, if the original had one."""
    backend = _backend(tokenizer)
    kind = backend["model"]["type"]
    files = {*VOCABULARY_FILES[kind], *(name for name in had if name == "tokenizer.json")}
    folder.mkdir(parents=True, exist_ok=True)
    ids = tokenizer.get_vocab()
    if "vocab.txt" in files:
        tokens = _own_words(sorted(ids, key=ids.__getitem__))
        (folder / "vocab.txt").write_bytes("".join(f"{token}\n" for token in tokens).encode())
    if "vocab.json" in files:
        merges = (each if isinstance(each, str) else " ".join(each) for each in backend["model"]["merges"])
        (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        (folder / "merges.txt").write_bytes("".join(f"{line}\n" for line in ("#version: 0.2", *merges)).encode())
    if "tokenizer.json" in files:
        _write_json(folder / "tokenizer.json", backend)


def _own_words(tokens: list[str]) -> list[str]:
    """The tokens of a vocab.txt; two of Google's hold a line separator, which no tokenizer keeps."""
    google = default_vocab()
    return google if [token.strip() for token in google] == tokens else tokens


def _backend(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer.json without padding, cutting, and the steps that this package puts before the original's own."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    normalizer = backend.get("normalizer") or {}
    steps = normalizer.get("normalizers", [])
    if tuple(steps[: len(MENDING_STEPS)]) == MENDING_STEPS:
        normalizer = {**normalizer, "normalizers": steps[len(MENDING_STEPS) :]}
    return {**backend, "normalizer": normalizer or None, "padding": None, "truncation": None}


def _write_weights(folder: Path, part: Home, max_shard_size: str) -> None:
    files, name = part.source.files, part.weights
    for start, place in part.places.items():
        others = tuple(other for other in part.places if other and other != start)
        tensors = {
            files.named(key.removeprefix(start), part.stated): tensor
            for key, tensor in part.tensors.items()
            if key.startswith(start) and not key.startswith(others)
        }
        (folder / place).mkdir(parents=True, exist_ok=True)
        if not name.endswith(".safetensors"):
            tensors = {key: alone(tensor) for key, tensor in tensors.items()}
            write_pickle(folder / place / name, {**files.beside, files.under: tensors} if files.under else tensors)
        elif name == "model.safetensors":
            write_weights(folder / place, tensors, "keep", max_shard_size, allow_nonfinite=True)
        else:
            write_weights(folder / place, tensors, "keep", ONE_FILE, allow_nonfinite=True)
            (folder / place / "model.safetensors").rename(folder / place / name)


# Converting back


def check_written(folder: Path, parts: Sequence[Home], repo: Repo) -> int:
    """Converts what was written, up to writing, and compares it with the repo.

    Returns:
        The longest text in tokens that the original's own files state.

    Raises:
        InputError: the original's files cannot state a fact of the repo; the message names each.
        ParityError: tensors, token ids or the vocabulary differ.
    """
    whole = parts[0]
    with tempfile.TemporaryDirectory() as place:
        options: dict[str, Any] = {}
        for part, start in zip(parts, ("", "vision_"), strict=False):
            options[f"{start}format"] = part.source.name
            options[f"{start}config"] = _config_option(folder, part, Path(place))
        stated = Stated(
            _path(folder, whole),
            vision=_path(folder, parts[1]) if len(parts) > 1 else None,
            tokenizer=folder if _is_beside(whole) else None,
            context_length=repo.tokenizer.model_max_length,
            **options,
        )
        try:
            found = identify(stated)
            description = describe(found)
            prepared = prepare(found, description, stated)
        except InputError as error:
            raise InputError(
                f"{_goes_not_back(whole.source, repo)} the original's files cannot state all facts of the repo. "
                f"Converting the files back failed: {error} {_instead(repo)}"
            ) from error
        _compare(prepared, whole.source, repo)
    return description.context_length


def _path(folder: Path, part: Home) -> Path:
    """What is given to `convert`: the part's folder, or the weight file of a format without a folder of its own."""
    place = folder / part.place
    return place if part.source.files.own_vocabulary else place / part.weights


def _config_option(folder: Path, part: Home, place: Path) -> Path | None:
    """The JSON for --config: the user's statements, or the base model's config, if no file of the format holds it."""
    base = next((content for name, content in part.evidence.files.items() if ":" in name), None)
    if part.stated_file == STATED:
        return _stated_place(folder, part)
    if base is None:
        return None
    file = place / f"{part.role}.json"
    write_json(file, base)
    return file


def _compare(prepared: Prepared, source: Source, repo: Repo) -> None:
    keys = prepared.tensors.keys() | repo.tensors.keys()
    wrong = [key for key in keys if not _same(prepared.tensors.get(key), repo.tensors.get(key))]
    theirs = _tokenizer(prepared, repo)
    if other := [text for text in samples.TEXTS if theirs(text)["input_ids"] != repo.tokenizer(text)["input_ids"]]:
        wrong.append(f"the token ids of {len(other)} texts")
    if theirs.get_vocab() != repo.tokenizer.get_vocab():
        wrong.append("the vocabulary")
    if wrong:
        lines = "\n".join(f"  {line}" for line in fold(wrong))
        raise ParityError(
            f"The files of {source.title} were converted back, and differ from {repo.path}. Nothing was written. "
            f"Differences:\n{lines}",
            wrong,
        )
    if facts := [*_other_facts(prepared, repo)]:
        lines = "\n".join(f"  {line}" for line in facts)
        raise InputError(
            f"{_goes_not_back(source, repo)} the original's files state other facts than the repo, and cannot state "
            f"the repo's facts:\n{lines}\n{_instead(repo)}"
        )


def _tokenizer(prepared: Prepared, repo: Repo) -> Any:
    return prepared.processor if repo.is_text_alone else prepared.processor.tokenizer


def _same(theirs: torch.Tensor | None, ours: torch.Tensor | None) -> bool:
    return theirs is not None and ours is not None and same_bits(theirs, ours)


def _other_facts(prepared: Prepared, repo: Repo) -> Iterator[str]:
    if _backend(_tokenizer(prepared, repo)) != _backend(repo.tokenizer):
        yield "the tokenizer: its steps or its added words differ from the original's files"
    theirs, ours = _flat(prepared.config.to_dict()), _flat(repo.config)
    if not repo.is_text_alone:
        pictures = (prepared.processor.image_processor, repo.processor.image_processor)
        for flat, processor in zip((theirs, ours), pictures, strict=True):
            flat.update(_flat({f"image_processor.{name}": getattr(processor, name) for name in PICTURES}))
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            yield f"{name}: found {ours.get(name)!r}, the original's files state {theirs.get(name)!r}"


def _flat(config: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """The fields of a config and of its towers, by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name in BESIDE_THE_MODEL:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{start}{name}.")
        else:
            flat[f"{start}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat


# What is told


def written(folder: Path) -> str:
    """The names of the written files."""
    return ", ".join(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def differences(destination: Path, parts: Sequence[Home], repo: Repo, length: int) -> tuple[str, ...]:
    """Sentences: what differs for a user of the files from a user of the repo, or what the user must do.

    Args:
        destination: the folder of the files.
        length: the longest text in tokens that the original's own files state.
    """
    whole, ours = parts[0], repo.tokenizer.model_max_length
    again = _convert_again(destination, parts)
    zeros = fold(key for key, tensor in whole.unused.items() if tensor.is_floating_point())
    sentences = {
        f"{', '.join(zeros)} are zeros. The original's class demands these tensors, the conversion left them out, and "
        "no embedding depends on them.": bool(zeros),
        f"The repo cuts texts at {ours} tokens. The original's files do not state this limit; the original's own "
        f"limit is {length}.": ours != length,
        "The vocabulary differs from the vocabulary of the original's own package, and lies beside the weights. "
        f"{again} reads it.": _is_beside(whole),
        f"{STATED} holds the facts of the original that were stated with --config. The original's own code does not "
        f"read this file. {again} reads it.": any(part.stated_file == STATED for part in parts),
        "The folder vision holds only the image tower and the scale, because the repo does not hold the CLIP's own "
        "text tower.": len(parts) > 1,
    }
    return tuple(sentence for sentence, holds in sentences.items() if holds)


def _is_beside(whole: Home) -> bool:
    """Whether the vocabulary lies beside weights of a format that has no place for a vocabulary."""
    return whole.own_vocabulary and not whole.source.files.own_vocabulary


def _convert_again(destination: Path, parts: Sequence[Home]) -> str:
    """The command that converts the files again, with all that they do not state by themselves."""
    whole, *images = parts
    words = ["zhclip", "convert", str(_path(destination, whole)), "OUT"]
    for image in images:
        words += ["--vision", str(_path(destination, image))]
    if _is_beside(whole):
        words += ["--tokenizer", str(destination)]
    for part, start in zip(parts, ("--", "--vision-"), strict=False):
        words += [f"{start}format", part.source.name]
        if part.stated_file == STATED:
            words += [f"{start}config", str(_stated_place(destination, part))]
    return f"`{shlex.join(words)}`"


def _stated_place(folder: Path, part: Home) -> Path:
    return folder / part.place / part.places[""] / STATED


def how_to_load(destination: Path, parts: Sequence[Home], repo: Repo) -> str:
    """Python code that loads the files with the original's own package."""
    blocks = []
    for part in parts:
        place = json.dumps(str(destination / part.place), ensure_ascii=False)
        blocks.append(f"folder = {place}\n\n{part.code(repo)}\n")
    return "\n".join(blocks)
