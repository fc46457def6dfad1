"""export(): a repo -> transformers' folder, cn_clip's file, its original's files, or graphs for onnxruntime."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save_file

from hf_zhclip.paths import resolved
from hf_zhclip.replacing import TOKENIZER, WEIGHTS, Kind
from hf_zhclip.staging import check_absent, check_absent_file, check_apart, staging, staging_file

from .. import mapping
from ..errors import InputError, ParityError
from ..mapping import plan
from ..proof import compared, samples
from ..proof.fresh_process import answered
from ..publishing.unverified import unproved
from ..reading.files import sha256
from ..repos.repo import Repo, read_repo
from ..repos.report import COSINE, COUNT, DIFFERENCE, FILE, SAMENESS, Comparison, Report, read_report
from ..repos.write import SPARE_BYTES, check_shard_size, total_bytes, widest_float, write_weights
from ..words import Words
from . import cn_clip_file, native_process, source_files
from .natives import NATIVES, PIXELS, Native, about_padding, differences, native_for
from .onnx import transformers_js, writing
from .onnx.asking import TRANSFORMERS_JS, Asked, check_asked, read_proof
from .quiet import loaded

TRANSFORMERS = Kind(
    title="export to transformers",
    marks={"config.json": ("model_type", tuple(native.model_type for native in NATIVES))},
    names=(
        *("config.json", "processor_config.json", "preprocessor_config.json"),
        *(*WEIGHTS, *TOKENIZER),
    ),
)
"""What an export to transformers writes; a folder from the hub has other files, too."""

SUFFIXES = (".pt", ".pth")
"""The suffixes of cn_clip's files."""

LOADED = Words("AutoModel gives {name}", "AutoModel 给出 {name}")
VALUES = Words("values", "数值")
EMBEDDINGS = Words("embeddings", "向量")
"""What an exported class is compared on, in addition to a repo's comparisons."""


@dataclass(frozen=True)
class Exported:
    """What was written: which class or format and why, what differs there, and code that loads it."""

    to: Literal["transformers", "cn_clip", "source", "onnx"]
    path: str
    wrote: str
    why: str
    differs: tuple[str, ...]
    load: str

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return asdict(self)

    def text(self) -> str:
        """A page for people."""
        lines = [f"{self.path}: {self.wrote}", self.why]
        if self.differs:
            lines += ["Not the same there:", *(f"  - {sentence}" for sentence in self.differs)]
        return "\n".join([*lines, "To load it:", *(f"    {line}".rstrip() for line in self.load.splitlines())])


def export(
    out: str | Path,
    destination: str | Path,
    *,
    to: str,
    ddp: bool = False,
    also_legacy: bool = False,
    max_shard_size: str = "5GB",
    precision: str | None = None,
    opset: int | None = None,
    layout: str | None = None,
    calibrate: str | Path | None = None,
    check: str | Path | None = None,
    accept_loss: bool = False,
    force: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Writes a repo for users who do not have hf_zhclip.

    Args:
        out: a folder that `convert` made, or that `save_pretrained` made from such a folder after fine-tuning.
        destination: the path to write: a file (`.pt`) for cn_clip, otherwise a folder.
        to: `transformers`: a stock class that computes exactly what the repo computes, if one exists; `cn_clip`: a
            checkpoint as cn_clip's trainer saves it; `source`: the files of the format that the repo was converted
            from, as its users load them; `onnx`: a graph for each tower, which onnxruntime has run.
        ddp: for cn_clip: name the keys as its training does (`module.`), which is needed to resume training.
        also_legacy: for transformers: also write the files that older readers need.
        max_shard_size: for transformers, and for a source that has shards: the largest weight file.
        precision: for onnx: the numbers of the weights: float32 by default, float16 or int8.
        opset: for onnx: the version of the operators that the graphs are written in.
        layout: for onnx: `plain`, the default, or `transformers.js`, the files that its classes read.
        calibrate: for onnx in int8: a place of pictures and texts, as `hf_zhclip.data.read` reads it. It shows the
            ranges of the activations, which are then fixed (static int8). Without it each call measures its own.
        check: for onnx in float16 and int8: a place of at least 200 texts and pictures, on which the loss is measured.
        accept_loss: for float16 and int8: write the graphs although their loss was not measured or is large.
        force: replace an existing `destination`.
        progress: called with one line before each long step.

    Raises:
        InputError: the repo or an argument is wrong, or no target can hold the model; the message names everything
            that would be lost.
        ParityError: the written model does not compute what the repo computes; nothing is left at `destination`.
        WorkError: the system failed; nothing is left at `destination`.
    """
    out, destination = Path(out), Path(destination)
    _check_arguments(out, destination, to, ddp, also_legacy, max_shard_size, force)
    given = {"precision": precision, "opset": opset, "layout": layout, "accept_loss": accept_loss}
    places = {"calibrate": calibrate, "check": check}
    asked = check_asked(to, {**given, **{name: place and os.fspath(place) for name, place in places.items()}})
    progress(f"Reading {out}")
    if out.is_dir() and (why := unproved(out)) is not None:
        progress(f"Nothing proves that {out} computes what its original computes: {why.en}.")
    if to == "source":
        return _to_source(out, destination, max_shard_size, force, progress)
    if to == "onnx" and asked.layout == TRANSFORMERS_JS:
        return _to_transformers_js(out, destination, asked, force, progress)
    if to == "onnx":
        return _to_onnx(out, destination, asked, force, progress)
    repo = read_repo(out)
    if to == "cn_clip" and (out / FILE).is_file():
        _refuse_original(out, read_report(out), [destination], force)
    if repo.is_text_alone:
        there = destination.with_suffix("") if to == "cn_clip" else destination
        raise InputError(f"{out} {_TEXT_ALONE[to]}{_SAVE_TOWER.format(here=_quoted(out), there=_quoted(there))}")
    if to == "cn_clip":
        return _to_cn_clip(repo, destination, ddp, force, progress)
    return _to_transformers(repo, destination, also_legacy, max_shard_size, force, progress)


_TEXT_ALONE = {
    "transformers": "holds a text tower alone, but only a model with both towers is exported. ",
    "cn_clip": "holds a text tower alone, but a file of cn_clip holds both towers. ",
}

_SAVE_TOWER = """\
The tower is a class of transformers. This code saves it:
    import hf_zhclip
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained({here}).text_model.save_pretrained({there})
    AutoTokenizer.from_pretrained({here}).save_pretrained({there})"""


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _check_arguments(
    out: Path, destination: Path, to: str, ddp: bool, also_legacy: bool, max_shard_size: str, force: bool
) -> None:
    if to not in ("transformers", "cn_clip", "source", "onnx"):
        raise InputError(f"There is no --to {to!r}; wanted transformers, cn_clip, source or onnx.")
    if also_legacy and to != "transformers":
        raise InputError(f"--also-legacy writes files for older transformers. Leave --also-legacy out with --to {to}.")
    if to != "cn_clip":
        if ddp:
            raise InputError("--ddp writes keys as cn_clip's training does. Leave --ddp out, or pass --to cn_clip.")
        if destination.suffix in (*SUFFIXES, ".safetensors", ".bin", ".onnx"):
            raise InputError(f"{destination} looks like a file, but --to {to} writes a folder. Name a folder.")
        check_shard_size(max_shard_size)
        if to == "onnx":
            if max_shard_size != "5GB":
                raise InputError(
                    "--max-shard-size does not apply to ONNX: a graph has one file of weights. Leave --max-shard-size "
                    "out."
                )
            check_absent(destination, force, writing.KIND)
        elif to == "transformers":
            check_absent(destination, force, TRANSFORMERS)
        elif not force:  # which files mark a folder that may be replaced, the report says
            check_absent(destination, force)
    else:
        if destination.suffix not in SUFFIXES:
            raise InputError(
                f"{destination} does not end in {' or '.join(SUFFIXES)}, like cn_clip's files. Choose another name."
            )
        check_absent_file(destination, force)
    check_apart(destination, out)
    if resolved(out) in resolved(destination).parents:
        raise InputError(f"{destination} lies in {out}, whose part it would become. Choose a place outside.")


def _refuse_original(out: Path, report: Report, files: Sequence[Path], force: bool) -> None:
    """Refuses to replace the file that the repo was converted from, which may have the name of an export's file.

    An export's safetensors file may be the same as the original's, byte for byte, so that nothing is lost there.
    """
    originals = {name: digest for source in report.sources for name, digest in source["files"].items()}
    suffixes = {Path(name).suffix for name in originals} - {".safetensors"}
    for file in files if force else ():
        if file.suffix in suffixes and file.is_file() and sha256(file) in originals.values():
            raise InputError(f"{file} is the original of {out}, so --force does not replace it. Choose another place.")


# transformers


def _to_transformers(
    repo: Repo,
    destination: Path,
    also_legacy: bool,
    max_shard_size: str,
    force: bool,
    progress: Callable[[str], None],
) -> Exported:
    native = native_for(repo.config)
    order = repo.processor.image_processor.image_order
    with staging(destination, total_bytes(repo.tensors, "keep") + SPARE_BYTES, force, TRANSFORMERS) as folder:
        progress(f"Writing {native.name}")
        config = _native_config(native, repo)
        tensors = _native_tensors(native, repo, config.dtype)
        write_weights(folder, tensors, "keep", max_shard_size, allow_nonfinite=True)  # the bits do not change
        config.save_pretrained(folder)
        processor = _native_processor(native, repo)
        processor.save_pretrained(folder)
        if also_legacy:
            from ..repos.doors import add_legacy

            add_legacy(folder, processor)
        progress("Verifying in a fresh process, without hf_zhclip")
        _verify_native(native, repo, folder)
    return Exported(
        to="transformers",
        path=str(destination),
        wrote=native.name,
        why=f"transformers' own {native.name} is exact for this model: {native.holds}.",
        differs=differences(native, order, _about_padding(native, repo)),
        load=_LOAD_NATIVE.format(path=_quoted(destination)),
    )


_LOAD_NATIVE = """\
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained({path}).eval()
processor = AutoProcessor.from_pretrained({path}, backend="pil")
texts, images = ["一只猫", "一只狗"], [Image.new("RGB", (320, 240))]
inputs = processor(text=texts, images=images, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    print(model(**inputs).logits_per_image.softmax(dim=-1))
"""


def _native_config(native: Native, repo: Repo) -> Any:
    import transformers

    fields = native.config(repo.config)
    stated = repo.config.get("dtype")
    dtype = stated or str(widest_float(repo.tensors, "keep")).removeprefix("torch.")
    return transformers.AutoConfig.for_model(native.model_type, **fields, architectures=[native.name], dtype=dtype)


def _native_tensors(native: Native, repo: Repo, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The repo's tensors under the class's keys, all as views; loading checks them against the class itself."""
    tensors = {**repo.tensors, **_identities(repo, dtype)}
    mapped = plan(native.rules, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    mapping.check([mapped], mapped.shapes)
    return dict(mapped.run(tensors))


def _identities(repo: Repo, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Identity matrices for the projections that the repo does not have."""
    sides = {"text_projection_type": "text_projection.weight", "visual_projection_type": "visual_projection.weight"}
    width = repo.config["projection_dim"]
    return {key: torch.eye(width, dtype=dtype) for field, key in sides.items() if repo.config[field] == "none"}


def _native_processor(native: Native, repo: Repo) -> Any:
    import transformers

    ours, tokenizer = repo.processor.image_processor, repo.processor.tokenizer
    for trace in ("is_local", "local_files_only"):  # loading from a folder leaves these fields to be saved
        tokenizer.init_kwargs.pop(trace, None)
    # The torchvision class saves the same config, but it needs torchvision when it is created.
    image_class = _pillow_class(native.image_processor)
    image_processor = image_class(
        **PIXELS[ours.image_order].settings(repo.image_size),
        resample=int(ours.resample),
        image_mean=list(ours.image_mean),
        image_std=list(ours.image_std),
    )
    return getattr(transformers, native.processor)(image_processor=image_processor, tokenizer=tokenizer)


def _about_padding(native: Native, repo: Repo) -> str | None:
    """What differs in texts that hold the padding token; None where the tokenizer takes its word for characters."""
    tokenizer = repo.processor.tokenizer
    if tokenizer.pad_token_id not in tokenizer(tokenizer.pad_token, add_special_tokens=False)["input_ids"]:
        return None
    return about_padding(native, repo.config.get("text_masks_pad_token", False))


def _pillow_class(name: str) -> Any:
    from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

    return get_image_processor_class_from_name(f"{name}Pil")


@torch.no_grad()
def _verify_native(native: Native, repo: Repo, folder: Path) -> None:
    """Compares the class, in a process that cannot import hf_zhclip, with the repo's own model.

    Raises:
        ParityError: comparisons failed; the message names each.
    """
    with tempfile.TemporaryDirectory() as place:
        request, ours = _request(native, repo, folder, Path(place))
        answer = in_fresh_process(request)
        # Reads the files without mapping, because Windows does not remove a mapped file.
        theirs = load(Path(request["outputs"]).read_bytes())
    comparisons = list(_compare(native, answer, ours, theirs))
    if failed := [each for each in comparisons if not each.passed]:
        lines = "\n".join(
            f"  {each.step}: {each.what.en}: {each.measure} {each.result:.9g} ({each.bound:.10g})" for each in failed
        )
        detail = "\n".join(f"  {line}" for line in answer["keys"])
        raise ParityError(
            f"{native.name} does not compute what {repo.path} computes. Nothing was written.\n{lines}\n"
            f"{detail}".rstrip(),
            comparisons,
        )


def _request(native: Native, repo: Repo, folder: Path, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fresh process's request, and the answers of the repo's own model and processor to the same inputs."""
    pictures = list(samples.pictures())
    tokenizer, image_processor = repo.processor.tokenizer, repo.processor.image_processor
    texts = [*samples.TEXTS, *samples.HOLDING_PADDING]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    inputs = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    if _about_padding(native, repo) is not None:  # the class is the same only where padding inside a text is masked
        inputs["attention_mask"] = (inputs["input_ids"] != repo.config["text_config"]["pad_token_id"]).long()
    embedded = [picture for _, picture in pictures[: samples.EMBEDDED]]
    inputs["pixel_values"] = image_processor(embedded, return_tensors="pt")["pixel_values"]
    save_file(inputs, place / "inputs.safetensors")
    pixels = PIXELS[image_processor.image_order]
    same = {
        f"pixels.{name}": image_processor([picture, picture], return_tensors="pt")["pixel_values"]
        for name, picture in pictures
        if pixels.same(picture, repo.image_size)
    }
    request = {
        "folder": str(folder),
        "samples": samples.__file__,
        "torchvision": str(resources.files("hf_zhclip") / "_torchvision.py"),
        "inputs": str(place / "inputs.safetensors"),
        "outputs": str(place / "outputs.safetensors"),
        "pictures": [name.removeprefix("pixels.") for name in same],
    }
    token_ids = [tokenizer(text, truncation=True)["input_ids"] for text in texts]
    # Stated twice: for the processor, and for its parts.
    return request, {**_own_embeddings(repo, inputs), **same, "token_ids": token_ids * 2}


def _own_embeddings(repo: Repo, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from transformers import AutoModel

    model = loaded(AutoModel, repo.path, torch.float64).eval()
    outputs = model(**{**inputs, "pixel_values": inputs["pixel_values"].double()})
    return {"text": outputs.text_embeds, "image": outputs.image_embeds, "logit_scale": model.logit_scale.detach()}


def in_fresh_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the request in an interpreter that cannot import hf_zhclip, and returns its answer."""
    return answered(f"import runpy; runpy.run_path({native_process.__file__!r}, run_name='__main__')", request)


def _compare(
    native: Native, answer: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, torch.Tensor]
) -> Iterator[Comparison]:
    wrong = len(answer["keys"]) + (answer["class"] != native.name)
    yield _at_most("load", LOADED.filled(name=answer["class"]), "kinds of keys that do not fit", 0, wrong)
    different = sum(list(a) != list(b) for a, b in zip(ours["token_ids"], answer["token_ids"], strict=True))
    yield _at_most("ids", compared.TOKEN_IDS.filled(count=len(ours["token_ids"])), COUNT, 0, different)
    for key, tensor in theirs.items():
        exact = key not in ("text", "image")
        yield _at_most(key, VALUES, DIFFERENCE, 0 if exact else SAMENESS, _difference(ours[key], tensor))
    for key in ("text", "image"):
        cosine = float((ours[key].double() * theirs[key].double()).sum(-1).min())
        bound = 1 - SAMENESS
        yield Comparison(key, EMBEDDINGS, compared.REPO, COSINE, bound, cosine, cosine >= bound)


def _at_most(step: str, what: Words, measure: str, bound: float, result: float) -> Comparison:
    return Comparison(step, what, compared.REPO, measure, bound, result, result <= bound)  # NaN is no result and fails


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("inf")


# cn_clip


def _to_cn_clip(repo: Repo, destination: Path, ddp: bool, force: bool, progress: Callable[[str], None]) -> Exported:
    home = cn_clip_file.home_for(repo)
    with staging_file(destination, total_bytes(repo.tensors, "keep") + SPARE_BYTES, force) as file:
        progress(f"Writing {len(repo.tensors)} tensors")
        state_dict = cn_clip_file.state_dict(repo, ddp)
        cn_clip_file.write(file, state_dict, resolved(repo.path).name)
        progress("Reading the tensors back")
        cn_clip_file.check_written(file, repo)
    return Exported(
        to="cn_clip",
        path=str(destination),
        wrote=f"a cn_clip checkpoint of {home.architecture}" + (", keys with module." if ddp else ""),
        why="cn_clip holds this architecture. Every tensor has the same bits as in the repo.",
        differs=cn_clip_file.differences(repo, home, ddp),
        load=cn_clip_file.how_to_load(destination, home),
    )


# The original's own format


def _to_source(
    out: Path, destination: Path, max_shard_size: str, force: bool, progress: Callable[[str], None]
) -> Exported:
    report = source_files.read_home(out)
    repo = read_repo(out)
    _refuse_original(out, report, [each for each in destination.glob("**/*") if each.is_file()], force)
    parts = source_files.homes(repo, report)
    titles = " and ".join(part.source.title for part in parts)
    kind = source_files.kind(parts, repo)
    with staging(destination, total_bytes(repo.tensors, "keep") + SPARE_BYTES, force, kind) as folder:
        progress(f"Writing the files of {titles}")
        source_files.write(folder, parts, repo, report, max_shard_size)
        progress("Converting the files back")
        length = source_files.check_written(folder, parts, repo)
        written = source_files.written(folder)
    return Exported(
        to="source",
        path=str(destination),
        wrote=f"{titles}: {written}",
        why="The files were converted back: every tensor has the same bits as in the repo, and config.json, token ids "
        "and pictures are the same.",
        differs=source_files.differences(destination, parts, repo, length),
        load=source_files.how_to_load(destination, parts, repo),
    )


# ONNX


def _to_onnx(out: Path, destination: Path, asked: Asked, force: bool, progress: Callable[[str], None]) -> Exported:
    report = read_proof(out)
    repo = read_repo(out)
    data = writing.read_data_of(asked, repo)
    with staging(destination, writing.needed_bytes(repo, asked.precision), force, writing.KIND) as folder:
        written = writing.write(repo, report, folder, asked, data, progress)
    return Exported(
        to="onnx",
        path=str(destination),
        wrote=f"ONNX, {asked.title}, opset {asked.opset}: {', '.join(each.file for each in written.checked)}",
        why=writing.why(written),
        differs=(),
        load=writing.how_to_load(destination, written.checked),
    )


def _to_transformers_js(
    out: Path, destination: Path, asked: Asked, force: bool, progress: Callable[[str], None]
) -> Exported:
    report = read_proof(out)
    repo = read_repo(out)
    native = transformers_js.native_of(repo)
    with staging(destination, transformers_js.needed_bytes(repo, native), force, writing.KIND) as folder:
        checked = transformers_js.write(repo, native, report, folder, asked, progress)
    return Exported(
        to="onnx",
        path=str(destination),
        wrote=f"{native.name} of transformers.js, opset {asked.opset}: {', '.join(transformers_js.files(native))}",
        why=transformers_js.why(checked),
        differs=transformers_js.DIFFERS,
        load=transformers_js.how_to_load(destination),
    )
