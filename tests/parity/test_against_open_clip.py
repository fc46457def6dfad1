"""open_clip's models at full size against its own package: models of its own configs, and the files that it writes."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.sources.open_clip_xlm_roberta import BODIES

from tests import unigram
from tests.parity.peers import torchvision_transforms
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

XLM_ROBERTA = "xlm-roberta-base-ViT-B-32"
NAMES = (
    "ViT-B-32",
    "ViT-B-32-quickgelu",
    "RN50",
    pytest.param("ViT-B-16-plus-240", marks=pytest.mark.slow),
    pytest.param(XLM_ROBERTA, marks=pytest.mark.slow),
)
TEXTS = [
    "a photo of the cat",
    "“弯引号”！ＡＢＣ",
    "ﬁne café\u200b <unk> [MASK]",
    "  Tabs\tand\nlines … it's 2022, two dogs' ",
    "很长的句子要被截断" * 60,
]


@pytest.fixture
def open_clip(monkeypatch):
    """The package, with the config of XLM-R at hand that it would fetch."""
    torchvision_transforms()
    peer = importlib.import_module("open_clip")
    body = transformers.XLMRobertaConfig(**BODIES["xlm-roberta-base"])
    at_hand = SimpleNamespace(from_pretrained=lambda name: body)
    monkeypatch.setattr(importlib.import_module("open_clip.hf_model"), "AutoConfig", at_hand)
    return peer


def published(open_clip, name: str, folder: Path) -> tuple[torch.nn.Module, object]:
    """A repo of open_clip as it writes one, of a model with seeded weights, and the tokenizer that belongs to it."""
    model = open_clip.create_model(name, pretrained_text=False).eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_state_dict(shapes))
    folder.mkdir()
    writer = importlib.import_module("open_clip.push_to_hf_hub")
    writer.save_config_for_hf(model, folder / "open_clip_config.json", open_clip.get_model_config(name))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    if name != XLM_ROBERTA:
        return model, open_clip.get_tokenizer(name)
    unigram.tokenizer_file(folder / "tokenizer.json")
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = open_clip.tokenizer.HFTokenizer(str(folder), context_length=77)
    # transformers 5 has no other name for it than a call.
    tokenizer.tokenizer.batch_encode_plus = tokenizer.tokenizer.__call__
    return model, tokenizer


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_against_open_clip(name, open_clip, tmp_path):
    original, tokenizer = published(open_clip, name, tmp_path / "open_clip")
    report = convert(tmp_path / "open_clip", tmp_path / "out", skip_verify=name != "ViT-B-32")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out")

    theirs = tokenizer(TEXTS)
    pad = 1 if name == XLM_ROBERTA else 0
    ends = [max(place for place, id in enumerate(row) if id != pad) + 1 for row in theirs.tolist()]
    assert processor(text=TEXTS, padding=False)["input_ids"] == [
        row[:end] for row, end in zip(theirs.tolist(), ends, strict=True)
    ]
    pictures = list(samples.pictures())
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**original.visual.preprocess_cfg), is_train=False
    )
    pixels = {picture: processor(images=image, return_tensors="pt")["pixel_values"][0] for picture, image in pictures}
    for picture, image in pictures:
        assert torch.equal(pixels[picture], transform(image)), picture

    ids = torch.full_like(theirs, processor.tokenizer.pad_token_id)
    for row, place, end in zip(ids, theirs, ends, strict=True):
        row[:end] = place[:end]
    batch = torch.stack(list(pixels.values())[:3])
    same(model.encode_text(ids), original.encode_text(theirs, normalize=True))
    same(model.encode_image(batch), original.encode_image(batch, normalize=True))
    assert model.logit_scale.item() == original.logit_scale.item()
    if not report.conversion["verification_skipped"]:
        assert report.level == "peer"


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    difference, smallest = float((found - wanted).abs().max()), float((found.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert difference <= 1e-5 and smallest >= 0.999999
