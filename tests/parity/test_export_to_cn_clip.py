"""Exported checkpoints in cn_clip's own hands: load_from_name, its training's resumption, its evaluation script."""

import base64
import contextlib
import importlib
import json
import runpy
import shutil
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.exports import cn_clip_file
from hf_zhclip.conversion.exports.exporting import Exported, export
from hf_zhclip.conversion.proof import samples
from hf_zhclip.processing_zhclip import normalize_evaluation_text

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.parity.peers import cn_clip
from tests.parity.test_against_cn_clip import checkpoint

pytestmark = pytest.mark.parity

TEXTS = list(samples.TEXTS[:4])
PICTURES = [picture for _, picture in samples.pictures()][: samples.EMBEDDED]


@dataclass(frozen=True)
class Full:
    """A full-size model of seeded weights: cn_clip's file, the repo that it became, and what that was exported to."""

    source: Path
    out: Path
    architecture: str
    home: Exported
    ddp: Exported


@pytest.fixture(scope="module", params=[pytest.param("cn_clip-vit-b-16", marks=pytest.mark.slow), "cn_clip-rn50"])
def full(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source, out = folder / "source.pt", folder / "OUT"
    architecture = checkpoint(request.param, source)
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(source, out, skip_verify=True)
    home = export(out, folder / "home.pt", to="cn_clip")
    yield Full(source, out, architecture, home, export(out, folder / "ddp.pt", to="cn_clip", ddp=True))
    shutil.rmtree(folder)


def embeddings(out):
    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    inputs = processor(text=TEXTS, images=PICTURES, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    return outputs.text_embeds, outputs.image_embeds


def normalized(features):
    return torch.nn.functional.normalize(features.float(), dim=-1)


def same(found, wanted):
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999


@torch.no_grad()
def test_a_full_size_model_goes_home(full):
    assert full.home.wrote == f"a cn_clip checkpoint of {full.architecture}"
    cn_clip("clip.utils")
    found: dict = {}
    exec(full.home.load, found)  # load_from_name with the arguments that the user is told

    ids = cn_clip("clip.utils").tokenize(TEXTS)
    pixels = torch.stack([found["preprocess"](picture) for picture in PICTURES])
    text, image = embeddings(full.out)
    same(normalized(found["model"].encode_text(ids)), text)
    same(normalized(found["model"].encode_image(pixels)), image)


@torch.no_grad()
@pytest.mark.parametrize("wrapper", [torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel])
def test_its_training_resumes_from_what_it_would_have_saved(wrapper, full, tmp_path):
    before = torch.load(full.source, weights_only=True, mmap=True)["state_dict"]
    after = torch.load(full.ddp.path, weights_only=True, mmap=True)
    assert before.keys() == after["state_dict"].keys()
    assert all(torch.equal(before[key], after["state_dict"][key]) for key in before)
    assert (after["epoch"], after["step"]) == (0, 0)
    assert any("--reset-optimizer --reset-data-offset" in sentence for sentence in full.ddp.differs)

    # cn_clip/training/main.py: the wrapper in float32, the position embedding fitted, load_state_dict strict.
    model = cn_clip("clip.model").CLIP(**model_info(full.architecture))
    with process_group(tmp_path):
        wrapped = wrapper(model)
        state_dict = {key: tensor for key, tensor in after["state_dict"].items() if "bert.pooler" not in key}
        cn_clip("clip.model").resize_pos_embed(state_dict, wrapped, prefix="module.")
        wrapped.load_state_dict(state_dict)
        assert all(torch.equal(tensor, before[key]) for key, tensor in wrapped.state_dict().items())


def model_info(architecture):
    folder = Path(cn_clip("clip").__file__).parent / "model_configs"
    files = [json.loads((folder / f"{name}.json").read_text("utf-8")) for name in architecture.split("@")]
    info = {key: value for file in files for key, value in file.items()}
    layers = info["vision_layers"]
    return {**info, "vision_layers": json.loads(layers) if isinstance(layers, str) else layers}


@contextlib.contextmanager
def process_group(folder):
    torch.distributed.init_process_group("gloo", f"file://{folder / 'rendezvous'}", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def test_its_evaluation_script_extracts_the_same_features(full, tmp_path, monkeypatch):
    lmdb = importlib.import_module("lmdb")
    lines = (json.dumps({"text_id": n, "text": text, "image_ids": [n]}) for n, text in enumerate(TEXTS))
    (tmp_path / "test_texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with lmdb.open(str(tmp_path / "imgs"), map_size=2**26) as database, database.begin(write=True) as transaction:
        transaction.put(b"num_images", str(len(PICTURES)).encode())
        for n, picture in enumerate(PICTURES):
            transaction.put(str(n).encode(), base64.urlsafe_b64encode(png(picture)))
    vision, text = full.architecture.split("@")
    arguments = {
        "image-data": tmp_path / "imgs",
        "text-data": tmp_path / "test_texts.jsonl",
        "resume": full.ddp.path,
        "vision-model": vision,
        "text-model": text,
        "image-feat-output-path": tmp_path / "images.jsonl",
        "text-feat-output-path": tmp_path / "texts.jsonl",
    }
    command = ["extract_features.py", "--extract-image-feats", "--extract-text-feats"]
    monkeypatch.setattr(sys, "argv", command + [f"--{name}={value}" for name, value in arguments.items()])
    without_cuda(monkeypatch)
    runpy.run_module("cn_clip.eval.extract_features", run_name="__main__")

    monkeypatch.setattr(
        "tests.parity.test_export_to_cn_clip.TEXTS", [normalize_evaluation_text(each) for each in TEXTS]
    )
    text, image = embeddings(full.out)
    same(features(tmp_path / "texts.jsonl", "text_id"), text)
    same(features(tmp_path / "images.jsonl", "image_id"), image)


def png(picture):
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def features(path, key):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row[key] for row in rows] == list(range(len(rows)))
    return torch.tensor([row["feature"] for row in rows])


def without_cuda(monkeypatch):
    """The script asks for a GPU; on the CPU its float32 does the same."""
    cn_clip("eval.data")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for kind in (torch.nn.Module, torch.Tensor):
        monkeypatch.setattr(kind, "cuda", lambda self, *args, **kwargs: self)


@torch.no_grad()
@pytest.mark.parametrize("family", ["cn_clip_vit", "cn_clip_resnet"])
def test_a_size_that_is_not_published_loads_with_the_files_that_are_told(family, tmp_path, monkeypatch):
    save_time(monkeypatch)
    original = FAMILIES[family](tmp_path)
    convert(original.source, tmp_path / "OUT", skip_verify=True, **original.arguments)
    told = export(tmp_path / "OUT", tmp_path / "home.pt", to="cn_clip")
    # The files are told for cn_clip's own folder; a copy of it stands in.
    clip = cn_clip("clip")
    folder = tmp_path / "clip"
    shutil.copytree(Path(clip.__file__).parent / "model_configs", folder / "model_configs")
    monkeypatch.setattr(clip, "__file__", str(folder / "__init__.py"))
    monkeypatch.setattr(cn_clip("clip.utils"), "__file__", str(folder / "utils.py"))
    found: dict = {}
    exec(told.load, found)

    text, image = embeddings(tmp_path / "OUT")
    ids = cn_clip("clip.utils").tokenize(TEXTS)
    pixels = torch.stack([found["preprocess"](picture) for picture in PICTURES])
    # These weights pass through float16, as the user is told.
    assert (normalized(found["model"].encode_text(ids)) * text).sum(-1).min() > 0.999
    assert (normalized(found["model"].encode_image(pixels)) * image).sum(-1).min() > 0.999
    before = torch.load(original.source, weights_only=True)["state_dict"]
    exact = {key.removeprefix("module."): tensor for key, tensor in before.items()}
    found["model"].load_state_dict(torch.load(tmp_path / "home.pt", weights_only=True)["state_dict"])
    assert all(torch.equal(tensor, exact[key]) for key, tensor in found["model"].state_dict().items())
    same(normalized(found["model"].encode_text(ids)), text)
    same(normalized(found["model"].encode_image(pixels)), image)


def test_the_published_sizes_are_those_of_cn_clip():
    folder = Path(cn_clip("clip").__file__).parent / "model_configs"
    for table in (cn_clip_file.VISION, cn_clip_file.TEXT):
        for name, stated in table.items():
            published = {"vision_head_width": 64, **json.loads((folder / f"{name}.json").read_text("utf-8"))}
            if isinstance(published.get("vision_layers"), str):
                published["vision_layers"] = json.loads(published["vision_layers"])
            assert {key: published[key] for key in stated} == stated, name
    assert {*cn_clip_file.VISION, *cn_clip_file.TEXT} == {path.stem for path in folder.glob("*.json")}


def test_cn_clip_has_the_activations_that_are_let_through():
    allowed = next(each.allowed for each in cn_clip_file.CONFIG if each.field == "text_config.hidden_act")
    assert {*allowed} <= cn_clip("clip.modeling_bert").ACT2FN.keys()
