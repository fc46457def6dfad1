"""Fengshen's fine-tune of Taiyi-CLIP at full size, by the steps of its own code with the classes that it is made of.

The LightningModule itself (fengshen/examples/clip_finetune/clip_finetune_flickr.py) needs a transformers of 2022,
whose `get_image_features` returned a tensor; its steps, and those of fengshen/data/clip_dataloader/flickr.py, stand
below.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModel,
    AutoProcessor,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
)

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.parity.peers import torchvision_transforms
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
TEXTS = ["一只猫", "两只老虎", "一只在雪地里奔跑的老虎，远处是一片树林", "很长的句子要被截断" * 20, ""]


class CLIPLightning(torch.nn.Module):
    """The parts of its LightningModule, as its constructor names them."""

    def __init__(self):
        super().__init__()
        # openai/clip-vit-base-patch32, whose sizes are the defaults, and IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese.
        self.clip_model = CLIPModel(CLIPConfig())
        self.text_encoder = BertForSequenceClassification(BertConfig(vocab_size=21128, num_labels=512))


@pytest.fixture(scope="module")
def module():
    found = CLIPLightning().eval()
    recorded = json.loads((KEYS / "taiyi_finetune.json").read_text(encoding="utf-8"))["keys"]
    found.load_state_dict(seeded_state_dict(recorded), strict=True)
    return found


@pytest.fixture(scope="module")
def converted(module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taiyi_finetune")
    checkpoint = {"epoch": 0, "pytorch-lightning_version": "1.6.5", "state_dict": module.state_dict()}
    torch.save(checkpoint, folder / "epoch=0-step=2272.ckpt")
    # What it does not verify at this size is verified of a small model in test_planted_facts.py.
    convert(folder / "epoch=0-step=2272.ckpt", folder / "out", skip_verify=True)
    (folder / "epoch=0-step=2272.ckpt").unlink()
    return AutoModel.from_pretrained(folder / "out").eval(), AutoProcessor.from_pretrained(folder / "out")


def tokens(text: str) -> torch.Tensor:
    """`__getitem__`; hfl/chinese-roberta-wwm-ext has the vocabulary that ships with this package."""
    tokenizer = BertTokenizer(vocab={line: number for number, line in enumerate(default_vocab())})
    encoded = tokenizer(str(text), max_length=77, padding="max_length", truncation=True, return_tensors="pt")
    return encoded["input_ids"][0]


def transform():
    """`image_transform(224, is_train=False)`."""
    t = torchvision_transforms()
    return t.Compose(
        [
            t.Resize(224, interpolation=t.InterpolationMode.BICUBIC),
            t.CenterCrop(224),
            lambda image: image.convert("RGB"),
            t.ToTensor(),
            t.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )


@torch.no_grad()
def test_texts_against_taiyi_finetune(module, converted):
    model, processor = converted
    text = torch.stack([tokens(each) for each in TEXTS])
    wanted = F.normalize(module.text_encoder(text).logits, dim=1)  # validation_step

    inputs = processor(text=TEXTS[:2], return_tensors="pt")
    assert inputs["input_ids"].shape[1] < 77, "the processor does not pad so far"
    same(model.encode_text(**inputs), wanted[:2])
    same(model.encode_text(**processor(text=TEXTS, padding="max_length", return_tensors="pt")), wanted)
    same(torch.cat([model.encode_text(**processor(text=[each], return_tensors="pt")) for each in TEXTS]), wanted)

    masked = F.normalize(module.text_encoder(text, attention_mask=(text != 0).long()).logits, dim=1)
    assert (masked * wanted).sum(-1)[:3].max() < 0.99, "padding would tell nothing"


@torch.no_grad()
def test_images_and_logits_against_taiyi_finetune(module, converted):
    model, processor = converted
    pictures = [picture for _, picture in samples.pictures()]
    image = torch.stack([transform()(picture) for picture in pictures])
    inputs = processor(images=pictures, text=TEXTS, return_tensors="pt")
    assert torch.equal(inputs["pixel_values"], image)

    few = image[:3]
    image_norm = F.normalize(module.clip_model.get_image_features(few).pooler_output, dim=1)
    text_norm = F.normalize(module.text_encoder(torch.stack([tokens(each) for each in TEXTS])).logits, dim=1)
    same(model.encode_image(few), image_norm)
    logits = image_norm @ text_norm.t() * module.clip_model.logit_scale.exp()
    found = model(input_ids=inputs["input_ids"], pixel_values=few).logits_per_image
    torch.testing.assert_close(found, logits, atol=1e-3, rtol=0)
    assert model.logit_scale.item() == module.clip_model.logit_scale.item()


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
