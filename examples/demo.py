"""`zhclip demo`: inspect, convert and verify the model that ships, then use the result as any user would."""

import io
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from hf_zhclip.examples import evaluate, scenes
from hf_zhclip.staging import staging_file

CHECKPOINT = Path(__file__).parent / "scenes" / "epoch_latest.pt"
MODEL_CONFIG = Path(__file__).parent / "scenes" / "model_config.json"
BATCH = 64  # pictures or texts a forward pass
SHOWN = 5  # pictures a query in the table of queries and on the contact sheet


def convert_example(out: Path) -> None:
    """Inspect the shipped checkpoint, convert it into the folder `out`, and verify the result; replaces its own."""
    from hf_zhclip.conversion import convert, inspect
    from hf_zhclip.conversion.repos.report import FILE

    print(inspect(CHECKPOINT, config=MODEL_CONFIG).summary())
    report = convert(CHECKPOINT, out, config=MODEL_CONFIG, force=(out / FILE).exists())
    print(f"\n{report.text()}\n{out}: converted and verified, level {report.level}")


class Converted:
    """A converted repo, loaded through the Auto classes, as the evaluation's encoder."""

    def __init__(self, repo: Path):
        from transformers import AutoModel, AutoProcessor
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.model = AutoModel.from_pretrained(repo, device_map="auto").eval()
        self.processor = AutoProcessor.from_pretrained(repo)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (n, projection_dim) on the CPU."""
        return torch.cat([self.model.encode_text(**self._inputs(text=part)).cpu() for part in _batches(texts)])

    @torch.no_grad()
    def encode_image(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Embeddings (n, projection_dim) on the CPU."""
        return torch.cat([self.model.encode_image(**self._inputs(images=part)).cpu() for part in _batches(images)])

    def _inputs(self, **inputs):
        return self.processor(**inputs, return_tensors="pt").to(self.model.device)


def _batches(items: Sequence) -> list[list]:
    return [list(items[i : i + BATCH]) for i in range(0, len(items), BATCH)]


def width(text: str) -> int:
    """Columns of a terminal that the text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain-text table; columns whose cells are all numbers stand right, the others left."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(width(cell) for cell in column) for column in columns]
    right = [all(cell.strip(" %").replace(".", "", 1).isdecimal() for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, wanted, to_right in zip(cells, widths, right, strict=True):
            space = " " * (wanted - width(cell))
            padded.append(space + cell if to_right else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), line(["-" * wanted for wanted in widths]), *(line(row) for row in rows)])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def accuracy_table(results: Sequence[evaluate.Accuracy]) -> str:
    rows = [(r.task, r.split, str(r.pictures), str(r.captions), _percent(r.top1), _percent(r.chance)) for r in results]
    return table(("task", "objects", "pictures", "captions", "accuracy", "chance"), rows)


def recall_table(results: Sequence[evaluate.Recall]) -> str:
    headers = [header for k in evaluate.TOP for header in (f"recall@{k}", "chance")]
    rows = []
    for r in results:
        shares = [_percent(share) for k in evaluate.TOP for share in (r.at[k], r.chance(k))]
        rows.append((r.split, str(r.queries), str(r.pictures), *shares))
    return table(("objects", "queries", "pictures", *headers), rows)


def sheet_rows(found: evaluate.Search) -> list[scenes.SheetRow]:
    """A place, a count and a relation of each split: the middle one of its kind, whatever came out for it."""
    rows = []
    for split in scenes.SPLITS:
        for kind in ("place", "count", "relation"):
            own = [i for i, (scene, name) in enumerate(found.gallery) if name == split and scene.facts.kind == kind]
            query = own[len(own) // 2]
            best = found.scores[query].topk(SHOWN)
            pictures = tuple(
                scenes.Found(found.gallery[i][0], score, i == query)
                for score, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            )
            rows.append(scenes.SheetRow(found.gallery[query][0].facts, split, pictures))
    return rows


def query_table(rows: Sequence[scenes.SheetRow]) -> str:
    cells = []
    for row in rows:
        best = row.found[0]
        place = next((str(i + 1) for i, found in enumerate(row.found) if found.right), f"below {SHOWN}")
        told = scenes.caption(row.query), scenes.gloss(row.query), row.split
        cells.append((*told, place, f"{best.score:.3f}", scenes.caption(best.scene.facts)))
    return table(("query", "in English", "objects", "rank", "cosine", "picture found first"), cells)


def evaluate_and_show(encoder: evaluate.Encoder, sheet: Path) -> None:
    """Print accuracy and recall beside chance, then some queries, and write the contact sheet."""
    seen, unseen = len(scenes.SEEN), len(scenes.UNSEEN)
    print(f"\nAn object is a colour and a shape: {seen} were seen in training, {unseen} never.")
    print("\nZero-shot classification: which caption fits a picture that training never drew\n")
    print(accuracy_table([result for split in scenes.SPLITS for result in evaluate.zero_shot(encoder, split)]))
    found = evaluate.search(encoder)
    print("\nRetrieval: which picture a Chinese caption was written for\n")
    print(recall_table(evaluate.retrieval(found)))
    rows = sheet_rows(found)
    print("\nSix queries, the middle one of each kind; rank is that of the right picture, cosine that of the first\n")
    print(query_table(rows))
    with staging_file(sheet, 0, force=True) as file:
        scenes.contact_sheet(rows, file)
    print(f"\n{sheet}")


def _spare_the_console() -> None:
    """Let a console print what its code page lacks as an escape, not a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def run(folder: Path) -> None:
    """Convert the shipped model into `folder`/model, measure it, and write `folder`/contact_sheet.png.

    The last line printed is the contact sheet's path.

    Args:
        folder: created where missing; a model that an earlier run left in it is replaced.
    """
    _spare_the_console()
    convert_example(folder / "model")
    evaluate_and_show(Converted(folder / "model"), folder / "contact_sheet.png")
