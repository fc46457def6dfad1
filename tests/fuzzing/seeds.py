"""The real files that the cases change: every family, container and format, each in a folder of its own."""

import json
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hf_zhclip.training.parts import rate

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.checkpoints.common import Original
from tests.data import made

CN_CLIP = {"config": "facts.json"}

ORIENTATION = 0x0112
"""The tag of EXIF by which a picture is turned before it is shown."""


def convertible(folder: Path, make: Callable[[Path], Original]) -> None:
    """Files of `source`, and `asked.json` beside it: what `convert` is told, with paths relative to the folder."""
    original = make(folder)
    asked = {
        name: str(value.relative_to(folder)) if isinstance(value, Path) else value
        for name, value in {"source": original.source, **original.arguments}.items()
    }
    (folder.parent / f"{folder.name}.asked.json").write_text(json.dumps(asked), encoding="utf-8")


def _state_dict() -> dict[str, torch.Tensor]:
    return c.cn_clip.seeded_state_dict(c.cn_clip.cn_clip_vit())


def _facts(folder: Path, source: Path) -> Original:
    return Original(source, {"config": c.cn_clip.cn_clip_config(folder / "facts.json")})


def of_old_torch(folder: Path) -> Original:
    torch.save({"state_dict": _state_dict()}, folder / "x.pt", _use_new_zipfile_serialization=False)
    return _facts(folder, folder / "x.pt")


def of_half(folder: Path) -> Original:
    halves = {f"module.{key}": tensor.half() for key, tensor in _state_dict().items()}
    torch.save({"state_dict": halves, "epoch": 3}, folder / "x.pt")
    return _facts(folder, folder / "x.pt")


def of_safetensors(folder: Path) -> Original:
    from safetensors.torch import save_file

    save_file(_state_dict(), folder / "x.safetensors")
    return _facts(folder, folder / "x.safetensors")


def of_distributed(folder: Path) -> Original:
    from torch.distributed import checkpoint

    checkpoint.save({"model": _state_dict(), "epoch": 3}, checkpoint_id=folder / "dcp")
    return _facts(folder, folder / "dcp")


def of_shards(folder: Path) -> Original:
    """A Hugging Face folder whose weights lie in two files."""
    from safetensors.torch import load_file, save_file

    original = FAMILIES["hf_clip"](folder)
    source = original.source
    whole = source / "model.safetensors"
    tensors = load_file(whole) if whole.is_file() else torch.load(source / "pytorch_model.bin", weights_only=True)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (source / name).unlink(missing_ok=True)
    names, files = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    where = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        save_file({name: tensors[name].contiguous() for name in names if where[name] == file}, source / file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (source / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return original


def of_vocabulary(folder: Path) -> Original:
    """A file of cn_clip with a vocabulary beside it that is named."""
    original = of_safetensors(folder)
    words = c.common.default_vocab()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return Original(original.source, {**original.arguments, "tokenizer": folder / "vocab.txt"})


def of_base(folder: Path) -> Original:
    """Trained weights, and the repo that their training started from."""
    import pytest
    from safetensors.torch import load_file, save_file

    from hf_zhclip.conversion import convert

    from tests.conversion.helpers import save_time

    (folder / "original").mkdir()
    original = FAMILIES["cn_clip_vit"](folder / "original")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(original.source, folder / "base", **original.arguments)
    shutil.rmtree(folder / "original")
    shutil.copytree(folder / "base", folder / "trained", ignore=shutil.ignore_patterns("*report.json", "*.md", "*.py"))
    weights = load_file(folder / "base" / "model.safetensors")
    trained = {name: tensor * 1.01 for name, tensor in weights.items()}
    save_file(trained, folder / "trained" / "model.safetensors", {"format": "pt"})
    return Original(folder / "trained", {"base": folder / "base"})


CONTAINERS: dict[str, Callable[[Path], Original]] = {
    "old torch": of_old_torch,
    "half": of_half,
    "safetensors": of_safetensors,
    "distributed": of_distributed,
    "shards": of_shards,
    "vocabulary": of_vocabulary,
    "base": of_base,
}


def of_tsv(folder: Path) -> None:
    made.tsv(folder / "data")


def of_folder(folder: Path) -> None:
    names = {"a.png": made.picture(), "b.jpg": made.picture("blue", "JPEG"), "c.webp": made.picture("green", "WEBP")}
    made.write(folder / "data", **{name: content for name, content in names.items()})
    rows = "".join(f"{name},一只猫 {name}\n" for name in names)
    (folder / "data" / "captions.csv").write_text(f"file_name,text\n{rows}", encoding="utf-8")


def of_json_lines(folder: Path) -> None:
    of_folder(folder)
    (folder / "data" / "captions.csv").unlink()
    lines = [json.dumps({"file_name": name, "text": f"猫 {name}"}, ensure_ascii=False) for name in ("a.png", "b.jpg")]
    (folder / "data" / "metadata.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")


def of_lmdb(folder: Path) -> None:
    from hf_zhclip.data.preparing import prepare

    prepare(made.tsv(folder / "tsv"), folder / "data", to="lmdb")
    shutil.rmtree(folder / "tsv")


def of_taiyi(folder: Path) -> None:
    made.write(folder, **{f"{key}.jpg": made.picture(format="JPEG") for key in ("100", "b")})
    lines = ("100#0\t一只猫", "100#1\t红色", "b#0\t狗")
    (folder / "captions.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def of_parquet(folder: Path) -> None:
    import datasets

    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    rows = {"image": [{"bytes": made.picture(), "path": None}] * 2, "text": ["一只猫", "狗"]}
    datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(folder / "train.parquet")


def of_recipe(folder: Path) -> None:
    recipe = (
        "source: https://example.org/a\nlearning_rate: 3e-6\nnum_train_epochs: 2\nwarmup_steps: 100\n"
        "per_device_train_batch_size: 8\nweight_decay: 0.001\nadam_betas: x\nlora:\n  r: 8\n  lora_alpha: 16\n"
    ).replace("adam_betas: x\n", "")
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")


START = {"model": "a" * 64, "lora": {"r": 8}, "freeze": ["text"]}


def of_notes(folder: Path) -> None:
    """A training's folder with a checkpoint."""
    from hf_zhclip.training.training import STARTED

    last = folder / "out" / "checkpoint-3"
    last.mkdir(parents=True)
    (folder / "out" / STARTED).write_text(json.dumps(START), encoding="utf-8")
    state = {"epoch": 1.5, "global_step": 3, "log_history": [{"loss": 0.5, "step": 1}], "logging_steps": 50}
    (last / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    from safetensors.torch import save_file

    model, optimizer, schedule = small_training()
    save_file(model.state_dict(), last / "model.safetensors")
    step_of(model, optimizer, schedule)
    torch.save(optimizer.state_dict(), last / "optimizer.pt")
    torch.save(schedule.state_dict(), last / "scheduler.pt")
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    torch.save(states, last / "rng_state.pth")


def small_training() -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """A model of one layer, its optimizer and its schedule, as a Trainer has them."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.0}])
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, warmup=2, steps=9))


def step_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
    for each in model.parameters():
        each.grad = torch.ones_like(each)
    optimizer.step()
    schedule.step()


def of_export(folder: Path) -> None:
    from tests.inference.exported import export, small_repo

    _without_marks(export(folder / "export", small_repo()))


def of_export_with_data(folder: Path) -> None:
    """An export whose weights lie beside the graphs, as those of large models do."""
    import onnx

    of_export(folder)
    for path in (folder / "export").glob("*.onnx"):
        beside = {"save_as_external_data": True, "location": f"{path.name}_data", "size_threshold": 100}
        onnx.save(onnx.load(path), path, **beside)


def of_real_export(folder: Path) -> None:
    """What `zhclip export --to onnx` writes of a small model; the graph of the pictures becomes int8."""
    import pytest
    from onnxruntime.quantization import quantize_dynamic

    from hf_zhclip.conversion import convert
    from hf_zhclip.conversion.exports.exporting import export
    from hf_zhclip.examples import demo

    from tests.conversion.helpers import save_time

    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(demo.CHECKPOINT, folder / "repo", config=demo.MODEL_CONFIG, skip_verify=True)
    export(folder / "repo", folder / "export", to="onnx")
    shutil.rmtree(folder / "repo")
    for path in (folder / "export").iterdir():
        if path.name not in ("zhclip_onnx.json", "tokenizer.json", "text_model.onnx", "vision_model.onnx"):
            path.unlink()
    vision = folder / "export" / "vision_model.onnx"
    quantize_dynamic(vision, vision)
    _without_marks(folder / "export")


def _without_marks(export: Path) -> None:
    """An export whose facts hold no marks of its files: who changes a graph can change its mark."""
    facts = json.loads((export / "zhclip_onnx.json").read_text(encoding="utf-8"))
    (export / "zhclip_onnx.json").write_text(json.dumps({**facts, "files": None}), encoding="utf-8")


def of_corpus(folder: Path) -> None:
    from hf_zhclip.inference.corpus import Failure

    from tests.inference.corpora import write_corpus

    rows = np.eye(6, 8, dtype=np.float32)
    failed = [Failure("z.png", "z.png", "it is broken")]
    labels = [f"{number}.png" for number in range(6)]
    write_corpus(folder / "corpus", rows, labels, texts=(rows, [f"猫 {n}" for n in range(6)]), failed=failed)


def of_searched(folder: Path) -> None:
    """A corpus with its pictures and its model, an export: it is loaded soon."""
    from hf_zhclip.inference.loading import file_hashes

    from tests.inference.corpora import write_corpus
    from tests.inference.exported import WIDTH

    of_export(folder)
    (folder / "pictures").mkdir()
    names = [f"{number}.{kind.lower()}" for number, kind in enumerate(("PNG", "JPEG", "WEBP", "TIFF"))]
    for name in names:
        place = folder / "pictures" / name
        place.write_bytes(made.picture(format=name[2:].upper(), size=(400, 30)))
        with Image.open(place) as image:
            image.load()
            (notes := image.getexif())[ORIENTATION] = 6
            image.save(place, exif=notes)
    (folder / "query.png").write_bytes(made.picture())
    rows = np.eye(4, WIDTH, dtype=np.float32)
    # A case's directory lies beside the folder of its files.
    told = {"root": "../source/pictures", "path": "../source/pictures", "engine": "onnx"}
    write_corpus(folder / "corpus", rows, names, shard_size=3, files=file_hashes(folder / "export"), **told)


def of_features(folder: Path) -> None:
    vectors = [[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]]
    for side in ("image", "text"):
        lines = [json.dumps({f"{side}_id": number, "feature": row}) for number, row in enumerate(vectors)]
        (folder / f"{side}_feat.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    texts = [{"text_id": number, "text": "猫", "image_ids": [number]} for number in range(2)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts), encoding="utf-8")
    predicted = [{"text_id": number, "image_ids": [0, 1]} for number in range(2)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in predicted), encoding="utf-8")
    (folder / "classes.txt").write_text("猫\n狗\n", encoding="utf-8")
    (folder / "lists.py").write_text(
        "classes = ['猫', '狗']\ntemplates = [lambda c: f'一张{c}的照片']\n", encoding="utf-8"
    )


def of_picture(folder: Path) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        (folder / f"a.{kind.lower()}").write_bytes(made.picture(format=kind, size=(40, 30)))


def of_repo(folder: Path) -> None:
    """A small repo that this version wrote, without a proof: 50 words, so that it is loaded soon."""
    from tests.small_models import build

    build("cn_clip").save_pretrained(folder / "repo")
    from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor
    from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(ord("a") + n) for n in range(26))]
    words += [chr(0x4E00 + n) for n in range(50 - len(words))]
    images = ZhCLIPImageProcessor(image_order="squash_then_rgb", size={"height": 64, "width": 64})
    ZhCLIPProcessor(images, cn_clip_tokenizer(words, 16)).save_pretrained(folder / "repo")
    for path in (folder / "repo").glob("*.py"):
        path.unlink()


def _converting(make: Callable[[Path], Original]) -> Callable[[Path], Any]:
    return lambda folder: convertible(folder, make)


SEEDS: dict[str, Callable[[Path], Any]] = {
    **{f"convert {name}": _converting(make) for name, make in {**FAMILIES, **CONTAINERS}.items()},
    "data tsv": of_tsv,
    "data folder": of_folder,
    "data jsonl": of_json_lines,
    "data lmdb": of_lmdb,
    "data taiyi": of_taiyi,
    "data parquet": of_parquet,
    "recipe": of_recipe,
    "notes": of_notes,
    "export": of_export,
    "export data": of_export_with_data,
    "export real": of_real_export,
    "corpus": of_corpus,
    "searched": of_searched,
    "features": of_features,
    "picture": of_picture,
    "repo": of_repo,
}
"""By seed; the first word names the target that reads it."""
