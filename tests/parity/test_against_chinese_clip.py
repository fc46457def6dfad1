"""Converted full-size models against transformers' own ChineseCLIPModel, and against cn_clip's file of the weights."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoProcessor,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessorPil,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
)

from hf_zhclip.conversion import convert, export
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints
from tests.conversion.sources.test_chinese_clip import from_cn_clip
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
SIZES = {
    "chinese_clip-vit-base-patch16": ("cn_clip-vit-b-16", 224),
    "chinese_clip-vit-large-patch14": ("cn_clip-vit-l-14", 224),
    "chinese_clip-vit-large-patch14-336px": ("cn_clip-vit-l-14-336", 336),
    "chinese_clip-vit-huge-patch14": ("cn_clip-vit-h-14", 224),
}
BASE = "chinese_clip-vit-base-patch16"
NAMES = [pytest.param(each, marks=pytest.mark.slow if each != BASE else ()) for each in SIZES]
TEXTS = list(samples.TEXTS)


def recorded(name: str) -> dict:
    return json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))


def original(name: str) -> tuple[ChineseCLIPModel, ChineseCLIPProcessor]:
    """The class with seeded weights, and a processor set as the published repos' files set it."""
    found = recorded(name)
    model = ChineseCLIPModel(ChineseCLIPConfig(**found["config"])).eval()
    model.load_state_dict(seeded_state_dict(found["keys"]))
    size = SIZES[name][1]
    pixels = ChineseCLIPImageProcessorPil(size={"height": size, "width": size}, do_center_crop=False)
    tokenizer = BertTokenizer(vocab={line: number for number, line in enumerate(default_vocab())})
    return model, ChineseCLIPProcessor(image_processor=pixels, tokenizer=tokenizer)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_against_chinese_clip(name, tmp_path):
    theirs, peer = original(name)
    theirs.save_pretrained(tmp_path / "source")
    peer.save_pretrained(tmp_path / "source")
    pictures = [opaque(picture) for _, picture in samples.pictures()]
    batch = peer(text=TEXTS, padding=True, truncation=True, max_length=52, return_tensors="pt")
    pixels = torch.cat([peer(images=[each], return_tensors="pt")["pixel_values"] for each in pictures])
    wanted_text = normalized(theirs.get_text_features(**batch).pooler_output)
    wanted_image = normalized(theirs.get_image_features(pixels[:4]).pooler_output)
    scale = theirs.logit_scale.item()
    del theirs

    convert(tmp_path / "source", tmp_path / "out", skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(text=TEXTS, images=pictures, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], batch["input_ids"])
    assert torch.equal(inputs["pixel_values"], pixels)
    same(model.encode_text(inputs["input_ids"]), wanted_text)
    same(model.encode_image(inputs["pixel_values"][:4]), wanted_image)
    assert model.logit_scale.item() == scale


# Of a small model, test_chinese_clip.py shows the same.
@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_cn_clips_file_of_the_same_weights_becomes_the_same_tensors(name, tmp_path):
    weights = seeded_state_dict(recorded(SIZES[name][0])["keys"])
    torch.save({"epoch": 1, "step": 2, "name": name, "state_dict": weights}, tmp_path / "epoch_latest.pt")
    convert(tmp_path / "epoch_latest.pt", tmp_path / "A", skip_verify=True)
    (tmp_path / "epoch_latest.pt").unlink()
    folder = tmp_path / "source"
    folder.mkdir()
    config = {**recorded(name)["config"], "architectures": ["ChineseCLIPModel"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    torch.save(from_cn_clip(weights), folder / "pytorch_model.bin")
    del weights
    convert(folder, tmp_path / "B", skip_verify=True)

    ours, theirs = (load_file(tmp_path / each / "model.safetensors") for each in "AB")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "make", [checkpoints.chinese_clip.chinese_clip_folder, checkpoints.taiyi_clip.taiyi_clip_folder]
)
def test_transformers_own_class_holds_both_families_and_gets_the_tensors_back(make, tmp_path):
    source = make(tmp_path / "source")
    assert convert(source, tmp_path / "out").passed
    assert export(tmp_path / "out", tmp_path / "native", to="transformers").wrote == "ChineseCLIPModel"
    before = torch.load(source / "pytorch_model.bin")
    before = {key: value for key, value in before.items() if "pooler" not in key and "position_ids" not in key}
    after = load_file(tmp_path / "native" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def opaque(picture: Image.Image) -> Image.Image:
    """RGB without a trace of transparency, which transformers 5 would lay on white and transformers 4 dropped."""
    picture = picture.convert("RGB")
    picture.info.clear()
    return picture


def normalized(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(p=2, dim=-1, keepdim=True)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    spread = (wanted @ wanted.t()).fill_diagonal_(0).abs().max()
    assert spread < 0.99, f"weights under which all inputs look alike ({spread}) prove nothing"
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
