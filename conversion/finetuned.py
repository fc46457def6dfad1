"""What training saved of a converted repo -> a complete repo, proved as the repo that the training started from was.

Only the weights come from what training saved. Every other fact comes from that repo, the base: from its report, and
from the files that the report names. The proof maps the weights back to the keys of the base's original, and the
witness of the original's family computes from them.
"""

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hf_zhclip.json_files import read_json
from hf_zhclip.staging import check_apart, staging

from .errors import InputError, ParityError
from .mapping import Plan, Shape, check, plan, rename
from .proof import compared, verification
from .proof.fresh_process import Answer
from .publishing.cards import write_card
from .reading.files import CARD
from .reading.hashing import Hashes
from .reading.read import ADAPTER_CONFIG, Checkpoint, read, refuse_adapter
from .repos.differences import check_same
from .repos.doors import SENTENCE_TRANSFORMERS, add_code, add_legacy, add_sentence_transformers, remove_code
from .repos.lineage import WEIGHTS, Base, base_of, lineage
from .repos.padding import without_padding
from .repos.pieces import same_bits
from .repos.provenance import DEFAULTS, command_of
from .repos.repo import build, is_text_alone, load_processor
from .repos.report import COUNT, FILE, Comparison, Report, write_beside
from .repos.scale import scale_limits
from .repos.write import (
    SPARE_BYTES,
    check_dtypes,
    target_dtype,
    total_bytes,
    widest_float,
    write_json,
    write_weights,
)
from .words import Words

MODEL_TYPE = "hf_zhclip"

ADAPTER = (".lora_", ".base_layer.", "lora_embedding_", "modules_to_save.")
"""What PEFT writes into the keys of a model whose adapter is not merged."""


@dataclass(frozen=True)
class Writing:
    """How a repo is written; names and meanings are those of `convert`'s arguments."""

    dtype: str
    max_shard_size: str
    report: str | Path | None
    with_code: bool
    also_legacy: bool
    force: bool
    skip_verify: bool
    allow_nonfinite: bool

    def options(self) -> list[str]:
        """The options that a command repeats."""
        words = []
        given = {**vars(self), "with_code": False, "without_code": not self.with_code}
        for name, value in given.items():
            if value and name not in ("report", "force") and value != DEFAULTS.get(name):
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return words


def finish(
    trained: Checkpoint, named: str | Path | None, out: Path, writing: Writing, progress: Callable[[str], None]
) -> Report:
    """Writes the complete repo of what training saved, and proves it.

    Args:
        trained: what training saved: its weights, and whatever else lies in its folder.
        named: the base; None if the trained folder still holds the base's report.

    Raises:
        InputError: the base is not known or not proved, or the trained folder differs from it in more than weights.
        ParityError: the result does not compute what the witness computes; nothing is left at `out`.
    """
    _refuse_other_model(trained)
    _refuse_adapter(trained)
    base = base_of(trained, named)
    check_apart(out, trained.path, base.folder, writing.report)
    progress(f"Found what training saved of {base.name}: {base.report.conversion['architecture']}")
    trained, padding = without_padding(trained, base)
    for sentence in (*(limit.en for limit in padding), *check_same(trained, base)):
        progress(sentence)
    built, shapes = build(base.folder)
    config = type(built).from_dict(copy.deepcopy(base.config))
    mapped = _checked(trained, base, shapes)
    limits = [*_limits(base, mapped, trained.tensors), *padding]
    config.dtype = _told_dtype(base, trained, writing.dtype, progress)
    kept = [name for name in base.report.files if _is_kept(name) and (base.folder / name).is_file()]
    needed = total_bytes(trained.tensors, writing.dtype) + SPARE_BYTES
    with verification.waiting_process() as waiting, staging(out, needed, writing.force) as place, Hashes() as hashes:
        progress(f"Writing {len(trained.tensors)} tensors")
        write_weights(place, trained.tensors, writing.dtype, writing.max_shard_size, writing.allow_nonfinite)
        hashes.begin(place.iterdir())
        _copy(base.folder, place, kept)
        config.save_pretrained(place)
        _open_doors(place, base, writing)
        progress("Verifying in a fresh process")
        proof = _prove(place, base, trained, writing, limits, out.name, hashes, waiting)
        _tell_lineage(proof, progress)
        write_json(place / FILE, proof.to_json())
        if writing.report is not None:
            write_beside(Path(writing.report), proof, writing.force)
        if not proof.passed:
            raise ParityError(
                f"The result does not compute the same as the witness of {base.name} with these weights:\n"
                f"{proof.failures()}",
                proof,
            )
        write_card(place, proof, out.name)
    return proof


def _refuse_other_model(trained: Checkpoint) -> None:
    kind = trained.config.get("model_type")
    if kind in (None, MODEL_TYPE):
        return
    raise InputError(
        f"The config.json of {trained.name} says model_type {kind!r}, but a model that was trained from a converted "
        f"repo is of model_type {MODEL_TYPE!r}. If {trained.name} is an original, leave out --base. If training saved "
        f'{trained.name} from a converted repo, its config.json was edited: write "model_type": "{MODEL_TYPE}" into '
        "this config.json again."
    )


def _refuse_adapter(trained: Checkpoint) -> None:
    folder = trained.folder or trained.path
    keys = [key for key in trained.tensors if any(mark in key for mark in ADAPTER)]
    if keys or (folder / ADAPTER_CONFIG).is_file():
        refuse_adapter(folder, keys[0] if keys else ADAPTER_CONFIG)


def _checked(trained: Checkpoint, base: Base, shapes: Mapping[str, Shape]) -> Plan:
    """The trained weights as they are written: the keys and shapes are those of the base's model."""
    if not trained.tensors.keys() & shapes.keys() - {"logit_scale"}:  # other models have a scale, too
        raise InputError(
            f"{trained.name} holds no weights of {base.name}, so it was not trained from {base.name}. If "
            f"{trained.name} is an original, leave out --base."
        )
    mapped = plan((rename("*", "*"),), trained.shapes)
    check([mapped], shapes)
    check_dtypes(trained.tensors)
    return mapped


def _limits(base: Base, mapped: Plan, tensors: Mapping[str, torch.Tensor]) -> list[Words]:
    """The card's sentences: the base's, except those about its scale, and those about the trained scale."""
    of_the_base = scale_limits([mapped], base.tensors) if base.tensors is not None else ()
    kept = [limit for limit in base.report.conversion["limits"] if limit not in of_the_base]
    return list(dict.fromkeys((*kept, *scale_limits([mapped], tensors))))


def _told_dtype(base: Base, trained: Checkpoint, dtype: str, progress: Callable[[str], None]) -> torch.dtype:
    """The dtype that config.json states; tells the user if it is not the base's."""
    found, stated = widest_float(trained.tensors, dtype), base.config.get("dtype")
    if stated is not None and str(found) != f"torch.{stated}":
        progress(f"The weights are written as {str(found).removeprefix('torch.')}; {base.name} has {stated}")
    return found


def _is_kept(name: str) -> bool:
    """Whether a file of the base comes over as it is."""
    return not name.endswith(WEIGHTS) and not name.endswith(".py") and name not in ("config.json", CARD, FILE)


def _copy(folder: Path, place: Path, names: Sequence[str]) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, place / name)


def _open_doors(place: Path, base: Base, writing: Writing) -> None:
    """Writes the files for users who load the repo without this package."""
    alone = is_text_alone(base.config)
    if not alone and not all((place / name).is_file() for name in SENTENCE_TRANSFORMERS):
        add_sentence_transformers(place)
    (add_code if writing.with_code else remove_code)(place)
    if writing.also_legacy:
        add_legacy(place, load_processor(place))


def _prove(
    place: Path,
    base: Base,
    trained: Checkpoint,
    writing: Writing,
    limits: Sequence[Words],
    name: str,
    hashes: Hashes,
    waiting: Answer,
) -> Report:
    before = base.report.conversion
    request = verification.Request(
        out=str(place),
        parts=[],
        dtype=writing.dtype,
        vocabulary=str(verification.recorded_vocabulary(base.report, place)),
        context_length=before["stated_context_length"],
        recorded=base.report.sources,
        tensors_only=writing.skip_verify,
    )
    level, comparisons = verification.in_fresh_process(request, waiting)
    written = read(place).tensors
    conversion = {
        **before,
        "dtype": writing.dtype,
        "limits": list(limits),
        "config": read_json(place / "config.json"),
        "catalogue": None,  # what was published there are other weights, with other figures
        "command": command_of([trained.name], name, ["--base", base.name, *writing.options()]),
        "verification_skipped": writing.skip_verify,
    }
    return Report(
        sources=base.report.sources,
        conversion=conversion,
        level=level,
        comparisons=[_same_weights(trained.tensors, written, writing.dtype), *comparisons],
        files={
            path.relative_to(place).as_posix(): hashes.of(path) for path in sorted(place.rglob("*")) if path.is_file()
        },
        lineage=lineage(base, written),
    )


def _same_weights(trained: Mapping[str, torch.Tensor], written: Mapping[str, torch.Tensor], dtype: str) -> Comparison:
    different = sum(
        key not in written or not same_bits(tensor, written[key], cast=target_dtype(tensor, dtype))
        for key, tensor in trained.items()
    )
    return Comparison("tensors", compared.FILE_TENSORS, compared.TRAINED, COUNT, 0, different, different == 0)


def _tell_lineage(proof: Report, progress: Callable[[str], None]) -> None:
    if proof.lineage is None or (towers := proof.lineage["towers"]) is None:
        return
    told = ", ".join(f"{tower} {_counted(counts)}" for tower, counts in towers.items())
    progress(f"Changed since {proof.lineage['base']}: {told}")
    if not any(counts["changed"] for counts in towers.values()):
        progress("No tensor has changed. Was the model saved before the training, or was an adapter not merged?")


def _counted(counts: Mapping[str, int]) -> str:
    return f"{counts['changed']} of {counts['tensors']} tensors" if counts["changed"] else "unchanged"
