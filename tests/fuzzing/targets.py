"""What reads a changed seed, step by step: a target calls the package as its command does, and names each step."""

import json
import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

Reach = Callable[[str], None]

STAGES = ("read", "detect", "describe", "map", "write")
"""The steps of a conversion, of which each has to be reached by many cases."""


PATHS = ("source", "config", "vision", "tokenizer", "base")
"""The arguments of a conversion that are places in the seed."""


class Reached(Exception):
    """The end of what is tried: the proof, which works in a process of its own."""


def convert(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    """`convert` up to the proof, whose steps are named by what the pipeline calls."""
    from hf_zhclip.conversion import finetuned, pipeline
    from hf_zhclip.conversion.detection import parts

    asked = json.loads((folder.parent / "asked.json").read_text(encoding="utf-8"))
    paths = {name: folder / value for name, value in asked.items() if name in PATHS}
    steps = {
        (parts, "read_source"): "read",
        (parts, "detect_published"): "detect",
        (pipeline, "describe"): "describe",
        (pipeline, "prepare"): "map",
        (pipeline, "write_weights"): "write",
        (finetuned, "base_of"): "base",
        (finetuned, "write_weights"): "base: write",
    }
    kept = {(module, name): getattr(module, name) for module, name in steps}
    for (module, name), step in steps.items():
        setattr(module, name, _named(kept[module, name], step, reach))
    proof = pipeline.verification
    kept |= {(proof, name): getattr(proof, name) for name in ("waiting_process", "in_fresh_process")}
    proof.waiting_process, proof.in_fresh_process = nullcontext, _stop
    try:
        pipeline.convert(**{**asked, **paths}, out=out, progress=say)
    except Reached:
        pass
    finally:
        for (module, name), value in kept.items():
            setattr(module, name, value)


def _named(call: Callable[..., Any], step: str, reach: Reach) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:
        reach(step)
        return call(*given, **named)

    return called


def _stop(*_: Any, **__: Any) -> None:
    raise Reached


def inspect(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.conversion import inspect

    asked = json.loads((folder.parent / "asked.json").read_text(encoding="utf-8"))
    asked.pop("base", None)
    paths = {name: folder / value for name, value in asked.items() if name in PATHS}
    reach("inspect")
    found = inspect(**{**asked, **paths})
    say(found.text())
    json.dumps(found.to_json())


def data(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.data.preparing import prepare

    reach("data: read and write")
    files = (folder / name for name in ("captions.txt", "train.parquet"))
    prepare(next(filter(Path.exists, files), folder / "data"), out, to="tsv", progress=say)


def recipe(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.training.recipes import read_recipe
    from hf_zhclip.training.training import _arguments

    reach("recipe: read")
    found = read_recipe(str(folder / "recipe.yaml"))
    reach("recipe: arguments")
    _arguments(out, {name: value for name, value in found.items() if name not in ("source", "lora")}, False)


def notes(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from transformers.trainer_callback import TrainerState

    from hf_zhclip.training import resuming
    from hf_zhclip.training.arguments import ContrastiveArguments
    from hf_zhclip.training.training import _checkpoint

    from .seeds import START, small_training, step_of

    reach("training: notes")
    args = ContrastiveArguments(output_dir=str(out), use_cpu=True, report_to=[])
    last = Path(_checkpoint(folder / "out", args, START, True))
    model, optimizer, schedule = small_training()
    resuming.check_checkpoint(last, model, args)
    reach("training: checkpoint")
    with resuming.loading(str(last)):
        resuming.check_optimizer(last, optimizer)
        resuming.check_schedule(last, schedule)
        _load_as_trainer(last, model, optimizer, schedule)
    reach("training: step")
    step_of(model, optimizer, schedule)
    state = TrainerState.load_from_json(str(last / "trainer_state.json"))
    assert state.global_step % state.logging_steps >= 0


def _load_as_trainer(last: Path, model: Any, optimizer: Any, schedule: Any) -> None:
    """What transformers does with the files of a checkpoint."""
    from safetensors.torch import load_file
    from transformers.trainer import safe_globals

    model.load_state_dict(load_file(last / "model.safetensors"), False)
    optimizer.load_state_dict(torch.load(last / "optimizer.pt", weights_only=True))
    schedule.load_state_dict(torch.load(last / "scheduler.pt", weights_only=True))
    with safe_globals():
        states = torch.load(last / "rng_state.pth", weights_only=True)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])


def export(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    _embed(folder / "export", "export", "onnx", reach)


def _embed(place: Path, name: str, engine: str, reach: Reach) -> None:
    """Texts and a picture -> vectors, as `zhclip embed` computes them."""
    from PIL import Image

    from hf_zhclip.inference import Embedder

    reach(f"{name}: load")
    embedder = Embedder.from_pretrained(place, engine, device_map="cpu", batch_size=2, threads=1)
    reach(f"{name}: use")
    embedder.encode_texts(["猫 a", "", "ab " * 50, "\u16a0"])
    embedder.encode_images([Image.new("RGB", (9, 5))], broken={})


def corpus(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.evaluation.nearest import nearest
    from hf_zhclip.inference.corpus import Corpus
    from hf_zhclip.inference.searching import Blocks, _tensor

    reach("corpus: open")
    for side in ("image", "text"):
        found = Corpus.open(folder / "corpus", side)
        reach("corpus: search")
        pool = Blocks([_tensor(block) for block in found.blocks() if len(block)])
        for row in nearest(pool.blocks[0][:1], pool, min(3, len(pool)))[0].tolist():
            say(json.dumps([found.ids[row], found.labels[row]]))


def searched(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    """A sentence and a picture in a corpus, and the pictures that the page draws of what was found."""
    from hf_zhclip.errors import InputError
    from hf_zhclip.inference.searching import Index
    from hf_zhclip.inference.serving import _drawn, _opener

    reach("searched: open")
    index = Index.open(folder / "corpus", folder / "export", "cpu", say)
    reach("searched: found")
    for row in (index.row(query="猫"), index.row(picture=folder / "query.png")):
        found = index.found(row, 3, 0.1)
        say(found.text())
        json.dumps(found.to_json())
    open_picture = _opener(index.corpus, say)
    for row in found.rows:
        try:
            _drawn(open_picture(row), row % 2 == 0)
        except InputError as error:
            say(str(error))


def features(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.errors import InputError
    from hf_zhclip.evaluation import files, lists

    calls = (
        lambda: files.read_texts(folder / "texts.jsonl"),
        lambda: files.read_features(folder / "image_feat.jsonl", "image"),
        lambda: files.read_features(folder / "text_feat.jsonl", "text"),
        lambda: files.read_predictions(
            folder / "predictions.jsonl", files.side_of_predictions(folder / "predictions.jsonl")
        ),
        lambda: lists.read_classes(str(folder / "classes.txt")),
        lambda: lists.read_classes(f"{folder / 'lists.py'}:classes"),
        lambda: lists.read_templates(f"{folder / 'lists.py'}:templates"),
    )
    reach("features: read")
    refused = None
    for call in calls:
        try:
            call()
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


def picture(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    from hf_zhclip.data.split import opened
    from hf_zhclip.errors import InputError

    reach("picture: open")
    refused = None
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            opened(path.read_bytes(), path.name).convert("RGB")
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


def repo(folder: Path, out: Path, reach: Reach, say: Callable[[str], None]) -> None:
    _embed(folder / "repo", "repo", "torch", reach)


TARGETS = {
    "convert": (convert, inspect),
    "data": (data,),
    **{"recipe": (recipe,), "notes": (notes,), "export": (export,), "corpus": (corpus,), "searched": (searched,)},
    **{"features": (features,), "picture": (picture,), "repo": (repo,)},
}
"""The readers of a seed, by its first word; a case takes one of them."""
