"""Repos that went back, in the hands of the originals' own packages: the printed code loads them strictly."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.exports.exporting import Exported, export
from hf_zhclip.conversion.sources.open_clip_xlm_roberta import BODIES

from tests import checkpoints, unigram
from tests.checkpoints import FAMILIES, common
from tests.checkpoints.multilingual_clip import MCLIP_BASE
from tests.conversion.helpers import save_time
from tests.inputs import seeded_pixels
from tests.parity.peers import package, torchvision_transforms

pytestmark = pytest.mark.parity

TEXTS = ["一只猫", "两只可爱的小狗在草地上奔跑", "a cat", "the dog"]


@pytest.fixture
def gone_home(tmp_path, monkeypatch):
    """Converts a family's small checkpoint, and exports the repo to its own format."""
    save_time(monkeypatch)

    def make(family: str, rounded: bool = False) -> tuple[Exported, torch.nn.Module, object]:
        original = FAMILIES[family](tmp_path)
        out = tmp_path / "OUT"
        convert(original.source, out, skip_verify=True, **original.arguments)
        if rounded:  # to numbers that half precision holds
            halves = {key: tensor.half().float() for key, tensor in load_file(out / "model.safetensors").items()}
            save_file(halves, out / "model.safetensors", metadata={"format": "pt"})
        exported = export(out, tmp_path / "HOME", to="source")
        return exported, AutoModel.from_pretrained(out).eval(), AutoProcessor.from_pretrained(out)

    return make


def loaded(exported: Exported) -> SimpleNamespace:
    """What the printed code defines."""
    there: dict = {}
    exec(exported.load, there)
    return SimpleNamespace(**there)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """The same embeddings; the originals do not normalise all of theirs."""
    found = torch.nn.functional.normalize(found.float(), dim=-1)
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999


@pytest.mark.parametrize("family", ["cn_clip_vit", "cn_clip_resnet"])
@torch.no_grad()
def test_cn_clip_loads_its_file(family, gone_home):
    package("cn_clip.clip")
    exported, ours, processor = gone_home(family)
    there = loaded(exported)  # load_state_dict is strict

    ids = there.tokenize(TEXTS)
    batch = processor(text=TEXTS, padding="max_length", return_tensors="pt")["input_ids"]
    assert torch.equal(batch, ids)
    same(there.model.encode_text(ids), ours.encode_text(ids))
    pixels = seeded_pixels(common.SIZE)
    same(there.model.encode_image(pixels), ours.encode_image(pixels))


@torch.no_grad()
def test_openai_s_clip_loads_its_file(gone_home):
    package("clip")
    exported, ours, processor = gone_home("openai_clip", rounded=True)
    there = loaded(exported)  # build_model rounds to half precision, and loads strictly

    ids = processor(text=TEXTS[2:], padding="max_length", return_tensors="pt")["input_ids"]
    pixels = seeded_pixels(common.SIZE)
    same(there.model.encode_text(ids), ours.encode_text(ids))
    same(there.model.encode_image(pixels), ours.encode_image(pixels))


@pytest.mark.parametrize("family", ["open_clip", "open_clip_xlm_roberta"])
@torch.no_grad()
def test_open_clip_loads_its_folder(family, gone_home, monkeypatch):
    torchvision_transforms()
    body = {**BODIES["xlm-roberta-base"], **checkpoints.open_clip.OPEN_CLIP_XLM_ROBERTA_BODY}
    body["vocab_size"] = len(unigram.pieces())
    at_hand = SimpleNamespace(from_pretrained=lambda name, **_: transformers.XLMRobertaConfig(**body))
    monkeypatch.setattr(importlib.import_module("open_clip.hf_model"), "AutoConfig", at_hand)
    exported, ours, processor = gone_home(family)
    model = load_open_clip(exported)

    ids = processor(text=TEXTS[2:], padding="max_length", return_tensors="pt")["input_ids"]
    pixels = seeded_pixels(common.SIZE)
    same(model.encode_text(ids), ours.encode_text(ids))
    same(model.encode_image(pixels), ours.encode_image(pixels))


def load_open_clip(exported: Exported) -> torch.nn.Module:
    """By the printed code, but for the tokenizer: the small vocabularies are none that open_clip's tokenizers take."""
    file = Path(exported.path) / "open_clip_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["model_cfg"]["text_cfg"].pop("hf_model_config", None)  # the small body, which is at hand instead
    file.write_text(json.dumps(config), encoding="utf-8")
    there: dict = {}
    exec("\n".join(line for line in exported.load.splitlines() if "get_tokenizer" not in line), there)
    return there["model"]


@torch.no_grad()
def test_multilingual_clip_loads_its_folder(gone_home):
    package("multilingual_clip.pt_multilingual_clip")
    exported, ours, processor = gone_home("multilingual_clip")
    base = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**MCLIP_BASE["xlm-roberta"]))
    with patch.object(transformers.AutoModel, "from_pretrained", lambda name: base):  # which it would download
        there = loaded(exported)  # load_state_dict is strict

    ids = there.tokenizer(TEXTS)["input_ids"]
    assert ids == processor(text=TEXTS, padding=False)["input_ids"]
    batch = processor(text=TEXTS, return_tensors="pt", padding=True)
    same(there.text_model(TEXTS, there.tokenizer), ours.encode_text(**batch))


@torch.no_grad()
def test_sentence_transformers_loads_its_folder(gone_home):
    package("sentence_transformers")
    exported, ours, processor = gone_home("sentence_transformers")
    there = loaded(exported)

    texts = there.text_model.encode(TEXTS, convert_to_tensor=True, device="cpu")
    batch = processor(text=TEXTS, return_tensors="pt", padding=True)
    same(texts, ours.encode_text(**batch))
    pixels = seeded_pixels(common.SIZE)
    same(there.image_model(pixels).image_embeds, ours.encode_image(pixels))
    assert there.logit_scale == ours.logit_scale


@torch.no_grad()
def test_transformers_loads_taiyi_s_two_folders(gone_home):
    exported, ours, processor = gone_home("taiyi_head")
    # The small config.json lacks the labels, whose number is the width of the embedding.
    here, there = "ForSequenceClassification.from_pretrained(folder", {}
    exec(exported.load.replace(here, f"{here}, num_labels={common.EMBED}"), there)

    inputs = there["tokenizer"](TEXTS, return_tensors="pt", padding=True)
    batch = processor(text=TEXTS, return_tensors="pt", padding=True)
    same(there["text_model"](**inputs).logits, ours.encode_text(**batch))
    pixels = seeded_pixels(common.SIZE)
    same(there["image_model"](pixels).image_embeds, ours.encode_image(pixels))
