"""Runs an exported graph in onnxruntime against the repo, on the proof's texts and pictures and on ids and noise."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.extras import extra

from ...errors import ParityError, WorkError
from ...proof import samples, texts
from ...repos.repo import Repo
from . import NEEDED_BY
from .towers import Tower

PROVIDER = "CPUExecutionProvider"

BOUNDS = {"float32": 1e-5, "float16": None, "int8": None}
"""By precision, the largest difference of an L2-normalised embedding from the repo's embedding in float64.

None: the loss is measured, and `costs.py` judges it.
"""

LARGEST = 2.0
"""The largest possible difference of unit vectors. NaN is not within it, and neither is another shape."""

BATCHES = (1, 3, 17)
"""The numbers of texts and of pictures."""

MOST_TOKENS = 64
"""The longest texts of a batch: only a single text is as long as the model allows, which costs minutes in batches."""

LONG = samples.TEXTS[-1] * 8

IDS = ((1, 1), (1, 2), (1, None), (3, 9), (17, 24))
"""Batches of ids, as numbers of rows and tokens; None: as many tokens as the model takes."""


@dataclass(frozen=True)
class Compared:
    """A batch that was compared: what it held, its shape, and the largest difference of an embedding."""

    what: str
    shape: tuple[int, ...]
    difference: float


@dataclass(frozen=True)
class Checked:
    """A tower that was compared: each batch, the largest difference, the smallest cosine, and the bound."""

    tower: str
    file: str
    bound: float | None
    difference: float
    cosine: float
    batches: tuple[Compared, ...]

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return asdict(self)


@torch.no_grad()
def check_graph(
    module: torch.nn.Module,
    tower: Tower,
    repo: Repo,
    file: Path,
    precision: str,
    beside: Mapping[str, torch.Tensor] | None = None,
) -> Checked:
    """Compares a graph in onnxruntime with the repo's own tower, which computes in float64.

    torch's own rounding in float32 may be larger than the bound, so that the reference has none.

    Args:
        module: the tower, which is in float64 afterwards.
        beside: inputs of the graph that are not the tower's.

    Raises:
        ParityError: a difference is larger than the bound, or is no number.
        WorkError: onnxruntime does not load or run the graph.
    """
    module = module.double()
    compared, cosines = [], []
    run = session(tower, file)
    for what, inputs, counts in INPUTS[tower.name](repo):
        vectors = module(*(each.double() if each.is_floating_point() else each for each in inputs.values()))
        for count in counts:
            given = {name: each[:count] for name, each in inputs.items()}
            found, wanted = run({**given, **(beside or {})}), vectors[:count]
            shape = tuple(next(iter(given.values())).shape)
            compared.append(Compared(what, shape, _difference(found, wanted)))
            cosines.append(_cosine(found, wanted))
    worst = max(compared, key=lambda each: (math.isnan(each.difference), each.difference))
    checked = Checked(tower.name, tower.file, BOUNDS[precision], worst.difference, min(cosines), tuple(compared))
    bound = LARGEST if checked.bound is None else checked.bound
    if not checked.difference <= bound:  # NaN is no result and fails
        raise ParityError(
            f"The {tower.name} tower in onnxruntime does not compute what {repo.path} computes: its embeddings of "
            f"{worst.what} ({' x '.join(map(str, worst.shape))}) differ by up to {worst.difference:.3g}, and at most "
            f"{bound:g} is allowed. Nothing was written.",
            checked,
        )
    return checked


Batch = tuple[str, dict[str, torch.Tensor], Sequence[int]]
"""What a batch holds, its inputs by name, and the numbers of its first rows that are compared as a batch each."""


def session(tower: Tower, file: Path) -> Any:
    """A function that runs the file in onnxruntime, with torch's number of threads: tensors by name -> embeddings."""
    onnxruntime = extra("onnxruntime", NEEDED_BY)

    def failed(error: Exception) -> WorkError:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        ran = f"The {tower.name} tower does not run in onnxruntime {onnxruntime.__version__}"
        return WorkError(f"{ran}: {first} Nothing was written.")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an operator that fails is told by the error
    options.intra_op_num_threads = torch.get_num_threads()  # by default it takes all cores, whatever is asked for
    try:
        loaded = onnxruntime.InferenceSession(str(file), options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime's errors have no common base but Exception
        raise failed(error) from error

    def run(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        try:
            (output,) = loaded.run([tower.output], {name: each.numpy() for name, each in inputs.items()})
        except Exception as error:
            raise failed(error) from error
        return torch.from_numpy(output)

    return run


def _texts(repo: Repo) -> Iterator[Batch]:
    """Batches of texts as the repo's tokenizer gives them, and of ids with padding, with and without a mask of it."""
    tokenizer, longest = repo.tokenizer, repo.tokenizer.model_max_length
    given = [*samples.TEXTS, *samples.HOLDING_PADDING, *texts.SENTENCES]
    batches = [("texts", given[:count], min(longest, MOST_TOKENS)) for count in BATCHES]
    batches += [("a text of no characters", [""], longest), ("the longest text", [LONG], longest)]
    for what, batch, length in batches:
        encoded = tokenizer(batch, padding=True, truncation=True, max_length=length, return_tensors="pt")
        yield what, {name: encoded[name] for name in ("input_ids", "attention_mask")}, [len(batch)]
    yield from _ids(repo)


def _ids(repo: Repo) -> Iterator[Batch]:
    drawn = torch.Generator().manual_seed(0)
    pad, words = repo.tokenizer.pad_token_id, repo.config["text_config"]["vocab_size"]
    for count, length in IDS:
        length = min(length or repo.longest_text, repo.longest_text)
        ids = torch.randint(0, words, (count, length), generator=drawn)
        ids = torch.where(ids == pad, (pad + 1) % words, ids)  # padding stands at the end alone
        if count == 1:  # every place holds a word
            yield "ids", {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, [count]
            continue
        ends = torch.randint(1, length + 1, (count, 1), generator=drawn)
        mask = (torch.arange(length) < ends).long()
        padded = {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}
        yield "ids with padding", padded, [count]
        yield "ids with padding that no mask tells", {**padded, "attention_mask": torch.ones_like(mask)}, [count]


def _pictures(repo: Repo) -> Iterator[Batch]:
    """The proof's pictures, filled up with noise."""
    pictures = [picture for _, picture in itertools.islice(samples.pictures(), max(BATCHES))]
    pixels = repo.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    drawn = torch.Generator().manual_seed(0)
    noise = torch.randn((max(BATCHES), *pixels.shape[1:]), generator=drawn)
    yield "pictures", {"pixel_values": torch.cat([pixels, noise])[: max(BATCHES)]}, BATCHES


INPUTS = {"text": _texts, "image": _pictures}
"""By tower, the batches that are compared."""


def _cosine(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() * wanted).sum(-1).min()) if found.shape == wanted.shape else math.nan


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted).abs().max()) if found.shape == wanted.shape else math.inf
