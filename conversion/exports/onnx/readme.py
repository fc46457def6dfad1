"""The README of an export: what it is, what it was made from, its licence, and the figures of the check."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_zhclip.telling import shown

from ...publishing.card_header import NOTHING_STATED, header_of
from ...publishing.unverified import CHANGED_SINCE, why_unverified
from ...repos.repo import Repo
from ...repos.report import Report, changed_files
from ..quiet import silence
from .asking import Asked
from .checking import PROVIDER, Checked
from .costs import Written
from .losses import Loss
from .usage import usage

NOT_STATED = "not stated in the repo's card"

TRAINED = "The weights were trained further from the repo `{base}`. That repo was converted from:"
CONVERTED = "Converted with hf_zhclip from:"
NO_LINEAGE = "The repo has no conversion_report.json. What it was made from is not known."

README = """\
{header}# {title} in ONNX

A dual encoder for Chinese texts and pictures, as graphs for onnxruntime. hf_zhclip made it with
`zhclip export --to onnx`: {precision}, opset {opset}.

| file | inputs | output |
|---|---|---|
{files}

All vectors are L2-normalised, float32. The number of texts, of tokens (up to {longest}) and of pictures is free.
`input_ids` and `attention_mask` are int64. How the model treats padding is part of the graph.

{usage}
## Where it comes from

{lineage}

Licence: {licence}.{unproved}

## How it was checked

Each graph was run in onnxruntime ({provider}) against the repo, which computed in float64:

{figures}

{costs}zhclip_onnx_report.json holds every batch of the check.
"""
COSTS = """\
## What {precision} costs

{loss}

{batches}The graphs were timed in turns with float32 ones ({threads} threads, {processor}, batches of {batch}):

| tower | MB | MB in float32 | texts or pictures a second | in float32 |
|---|---|---|---|---|
{rows}

"""
MEASURED = "On data of whoever made the export, beside the repo's own vectors in float32:"
AGREE = "Of the {neighbours} pictures that are nearest to a text, {agreement:.2%} stay among its {neighbours} nearest."
NOT_MEASURED = "The loss is not measured on data of whoever made the export, but only in the check above."
BATCHES = """\
A vector also depends a little on the other texts or pictures of its batch: the ranges of its numbers are the batch's.
"""
ALONE = "The repo holds a text tower alone: its vectors are the pooled states, and no picture's vector is comparable."


def write_readme(
    folder: Path,
    repo: Repo,
    report: Report | None,
    written: Written,
    asked: Asked,
    facts: Mapping[str, Any],
) -> None:
    """Writes README.md; `facts` is the content of zhclip_onnx.json."""
    with silence():  # huggingface_hub logs that a card has no header
        licence = header_of(repo.path / "README.md", NOTHING_STATED).license
    files = {"text": _text_row, "image": _image_row}
    text = README.format(
        header=f"---\nlicense: {licence}\n---\n" if licence else "",
        title="Text tower" if repo.is_text_alone else "CLIP",
        precision=asked.title,
        opset=asked.opset,
        files="\n".join(files[each.tower](repo, each.file) for each in written.checked),
        longest=repo.longest_text,
        usage=usage(facts),
        lineage=lineage(report) + (f"\n\n{ALONE}" if repo.is_text_alone else ""),
        licence=licence or NOT_STATED,
        unproved=unproved_words(repo, report),
        provider=PROVIDER,
        figures="\n".join(_figures(written.checked)),
        costs=_costs(written, asked) if written.costs else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _figures(checked: Sequence[Checked]) -> Iterator[str]:
    """A table of what was compared with the repo."""
    if any(each.bound is None for each in checked):
        yield from ("| tower | smallest cosine of an embedding | largest difference |", "|---|---|---|")
        yield from (f"| {each.tower} | {each.cosine:.6f} | {each.difference:.1e} |" for each in checked)
        return
    yield from ("| tower | largest difference of an embedding | allowed |", "|---|---|---|")
    yield from (f"| {each.tower} | {each.difference:.1e} | {each.bound:.0e} |" for each in checked)


def _costs(written: Written, asked: Asked) -> str:
    """What the precision costs and gains."""
    rows = "\n".join(
        f"| {each.tower} | {each.bytes / 1e6:.1f} | {each.float32_bytes / 1e6:.1f} | {each.speed:.1f} | "
        f"{each.float32_speed:.1f} |"
        for each in written.costs
    )
    first = written.costs[0]
    loss = NOT_MEASURED if written.loss is None else _loss(written.loss)
    return COSTS.format(
        **{"precision": asked.title, "loss": loss, "rows": rows, "threads": first.threads, "batch": first.batch},
        processor=shown(first.processor),
        batches=f"{BATCHES}\n\n" if asked.title == "dynamic int8" else "",
    )


def _loss(loss: Loss) -> str:
    rows = [f"| {each.tower} | {each.items} | {each.smallest:.6f} | {each.mean:.6f} |" for each in loss.towers]
    table = "\n".join(["| tower | texts or pictures | smallest cosine | mean cosine |", "|---|---|---|---|", *rows])
    if loss.agreement is None:
        return f"{MEASURED}\n\n{table}"
    return f"{MEASURED}\n\n{table}\n\n{AGREE.format(neighbours=loss.neighbours, agreement=loss.agreement)}"


def _text_row(repo: Repo, file: str) -> str:
    width = repo.config["text_config"]["hidden_size"] if repo.is_text_alone else repo.config["projection_dim"]
    return f"| {file} | `input_ids`, `attention_mask` (texts, tokens) | `text_embeds` (texts, {width}) |"


def _image_row(repo: Repo, file: str) -> str:
    side = repo.image_size
    width = repo.config["projection_dim"]
    return f"| {file} | `pixel_values` (pictures, 3, {side}, {side}) | `image_embeds` (pictures, {width}) |"


def lineage(report: Report | None) -> str:
    """What a repo was made from, in Markdown."""
    if report is None:
        return NO_LINEAGE
    first = TRAINED.format(base=shown(str(report.lineage["base"]))) if report.lineage else CONVERTED
    return "\n".join([first, "", *(f"- {_place(source)}" for source in report.sources)])


def unproved_words(repo: Repo, report: Report | None) -> str:
    """Why nothing proves that the repo computes what its original computes."""
    if report is None:
        return ""
    changed = changed_files(repo.path, report)
    why = CHANGED_SINCE.filled(files=", ".join(map(shown, changed))) if changed else None
    if (words := why_unverified(report, why)) is None:
        return ""
    return f"\n\nNothing proves that the repo computes what its original computes: {words.en}."


def _place(source: Any) -> str:
    name, hub = shown(str(source["name"])), source["hub"]
    if not hub:
        return f"{source['format']}: `{name}`"
    revision = f" at revision {shown(str(hub['revision']))}" if hub.get("revision") else ""
    return f"{source['format']}: `{shown(str(hub['repo']))}`{revision}"
