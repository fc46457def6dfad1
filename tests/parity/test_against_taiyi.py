"""Taiyi at full size by its published recipe: BertForSequenceClassification's logits and a paired CLIPModel."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
)

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
PAIRS = {
    "taiyi-102m": "hf_clip-vit-base-patch32",
    "taiyi-102m-vit-l": "hf_clip-vit-large-patch14",
    "taiyi-326m": "hf_clip-vit-large-patch14",
    "taiyi-326m-vit-h": "hf_clip-vit-huge-patch14",
}
TEXTS = ["一只猫", "一只狗", "两只猫", "两只老虎", "一只老虎", "一只在雪地里奔跑的老虎，远处是一片树林"]


def recorded(name: str) -> dict:
    return json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))


def text_model(name: str) -> torch.nn.Module:
    found = recorded(name)
    model_class = {"BertModel": BertModel, "BertForSequenceClassification": BertForSequenceClassification}
    labels = found["keys"].get("classifier.weight", [2])[0]
    config = BertConfig(
        **{key: value for key, value in found["config"].items() if key != "model_type"}, num_labels=labels
    )
    model = model_class[found["architecture"]](config).eval()
    model.load_state_dict(seeded_state_dict(found["keys"]))
    return model


def clip_model(name: str) -> CLIPModel:
    found = recorded(name)
    model = CLIPModel(
        CLIPConfig(**{key: value for key, value in found["config"].items() if key != "model_type"})
    ).eval()
    model.load_state_dict(seeded_state_dict(found["keys"]))
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each != "taiyi-102m" else ()) for each in PAIRS]
)
@torch.no_grad()
def test_against_taiyi(name, tmp_path):
    text, clip = text_model(name), clip_model(PAIRS[name])
    text.save_pretrained(tmp_path / "taiyi")
    tokenizer = BertTokenizer(vocab={line: number for number, line in enumerate(default_vocab())})
    tokenizer.save_pretrained(tmp_path / "taiyi")
    clip.save_pretrained(tmp_path / "clip")
    format = None if "classifier.weight" in recorded(name)["keys"] else "taiyi"
    convert(tmp_path / "taiyi", tmp_path / "out", vision=tmp_path / "clip", format=format, skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")

    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    inputs = processor(text=TEXTS, images=[picture for _, picture in samples.pictures()][:3], return_tensors="pt")
    assert torch.equal(inputs["input_ids"], batch["input_ids"])
    masked = features(text, input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    published = features(text, input_ids=batch["input_ids"])  # the model card gives no mask
    assert (masked - published).abs().max() > 1e-3, "texts of one length would not tell the two apart"

    same(model.encode_text(inputs["input_ids"]), masked)
    config = AutoConfig.from_pretrained(tmp_path / "out", text_attends_to_padding=True)
    attending = AutoModel.from_pretrained(tmp_path / "out", config=config)
    same(attending.encode_text(inputs["input_ids"]), published)

    wanted = torch.nn.functional.normalize(clip.get_image_features(inputs["pixel_values"]).pooler_output, dim=-1)
    same(model.encode_image(inputs["pixel_values"]), wanted)
    assert model.logit_scale.item() == clip.logit_scale.item()


def features(model: torch.nn.Module, **inputs: torch.Tensor) -> torch.Tensor:
    outputs = model(**inputs)
    embeddings = outputs.logits if "logits" in outputs else outputs.pooler_output
    return torch.nn.functional.normalize(embeddings, dim=-1)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
