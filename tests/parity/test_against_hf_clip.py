"""CLIPModel at full size against transformers' own class, whose repos these are: both towers, ids and pixels."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel, CLIPTokenizerFast

from hf_zhclip.conversion import convert, export
from hf_zhclip.conversion.proof import samples

from tests.checkpoints.common import bpe
from tests.parity.pipelines import rgb_then_crop
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
NAMES = tuple(path.stem for path in sorted(KEYS.glob("hf_clip-*.json")))
TEXTS = ["a cat", "two dogs, and the photo's cat!", "a photo of a tiger that runs through the snow, far away"]
START, END = 49406, 49407


def published(name: str, folder: Path) -> CLIPModel:
    """A repo of the published size with seeded weights, and a small vocabulary whose last two ids are CLIP's."""
    recorded = json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))
    config = CLIPConfig(**{key: value for key, value in recorded["config"].items() if key != "model_type"})
    model = CLIPModel(config).eval()
    model.load_state_dict(seeded_state_dict(recorded["keys"]))
    model.save_pretrained(folder)
    ids, merges = bpe()
    fill = {f"<filler {number}>": number for number in range(len(ids) - 2, START)}
    ids = {**ids, **fill, "<|startoftext|>": START, "<|endoftext|>": END}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each.endswith("base-patch32") else pytest.mark.slow) for each in NAMES]
)
@torch.no_grad()
def test_against_hf_clip(name, tmp_path):
    original = published(name, tmp_path / "clip")
    whole = name.endswith("base-patch32")  # of the larger ones the towers, not once more the doors
    report = convert(tmp_path / "clip", tmp_path / "out", skip_verify=not whole)
    model, processor = (
        AutoModel.from_pretrained(tmp_path / "out").eval(),
        AutoProcessor.from_pretrained(tmp_path / "out"),
    )
    pictures = [picture for _, picture in samples.pictures()][:3]
    inputs = processor(text=TEXTS, images=pictures, return_tensors="pt")

    tokenizer = CLIPTokenizerFast.from_pretrained(tmp_path / "clip")
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], batch["input_ids"])
    size = original.config.vision_config.image_size
    for ours, picture in zip(inputs["pixel_values"], pictures, strict=True):
        assert torch.equal(ours, torch.as_tensor(rgb_then_crop(picture, size)))

    theirs = original(**batch, pixel_values=inputs["pixel_values"])
    same(model.encode_text(inputs["input_ids"]), theirs.text_embeds)
    same(model.encode_image(inputs["pixel_values"]), theirs.image_embeds)
    assert model.logit_scale.item() == original.logit_scale.item()
    if whole:
        assert report.level == "peer"
        assert export(tmp_path / "out", tmp_path / "native", to="transformers").wrote == "CLIPModel"
        native = CLIPModel.from_pretrained(tmp_path / "native").state_dict()
        assert all(torch.equal(tensor, native[key]) for key, tensor in original.state_dict().items())


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    difference, smallest = float((found - wanted).abs().max()), float((found.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert difference <= 1e-5 and smallest >= 0.999999
