"""The references of the files that transformers wrote against transformers itself, which every installation has."""

import unicodedata

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from hf_zhclip.conversion.proof.reference import bert_clip, hf_clip, hf_config, layers, pictures, taiyi
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import planted
from tests.image_modes import PICTURES
from tests.inputs import characters, seeded_ids, seeded_pixels
from tests.parity.pipelines import rgb_then_crop
from tests.planted import SEEN, Case, cosine
from tests.weights import seeded_state_dict

VOCAB = 300
BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
VISION = {
    "hidden_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "image_size": 56,
    "patch_size": 14,
    "layer_norm_eps": 1e-5,
    "hidden_act": "quick_gelu",
}
HEAD_WIDTH_80 = {**VISION, "hidden_size": 160, "num_attention_heads": 2, "hidden_act": "gelu"}
BASE_VISION = {**VISION, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
BASE_VISION |= {"intermediate_size": 3072, "image_size": 224, "patch_size": 32}
SMALL_ENGLISH = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL_ENGLISH |= {"bos_token_id": 1, "eos_token_id": 2}


def seeded(model: torch.nn.Module) -> torch.nn.Module:
    """The model with seeded weights."""
    tensors = seeded_state_dict({key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    model.load_state_dict(tensors)
    return model.eval()


def classifier(labels: int = 64) -> tuple[torch.nn.Module, dict]:
    config = BertConfig(**BERT, num_labels=labels)
    return seeded(BertForSequenceClassification(config)), config.to_dict()


def plain_bert() -> tuple[torch.nn.Module, dict]:
    config = BertConfig(**BERT)
    return seeded(BertModel(config)), config.to_dict()


def clip(vision: dict) -> tuple[torch.nn.Module, dict]:
    config = CLIPConfig(text_config=SMALL_ENGLISH, vision_config=vision, projection_dim=96)
    return seeded(CLIPModel(config)), config.to_dict()


def dual_encoder() -> tuple[torch.nn.Module, dict]:
    """transformers' class with BertCLIP's computation under BertCLIP's keys."""
    towers = CLIPVisionConfig(**VISION), BertConfig(**BERT)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=96)
    return seeded(VisionTextDualEncoderModel(config)), {"text_config": BERT, "vision_config": VISION}


def source_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """As the files have them: the vision tower's keys directly under `vision_model.`."""
    return {key.replace("vision_model.vision_model.", "vision_model."): v for key, v in model.state_dict().items()}


def assert_equal(ours, theirs):
    wanted = theirs / theirs.norm(dim=-1, keepdim=True)
    difference, smallest = float((ours - wanted).abs().max()), float((ours.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert ours.shape == wanted.shape
    assert difference <= 1e-5
    assert smallest >= 0.999999


@torch.no_grad()
def test_taiyi_with_a_classifier():
    model, config = classifier()
    ids = seeded_ids(VOCAB)
    ours = taiyi.encode_text(model.state_dict(), ids, config)
    attending = taiyi.encode_text(model.state_dict(), ids, {**config, "attend_to_padding": True})

    assert_equal(ours, model(input_ids=ids, attention_mask=(ids != 0).long()).logits)
    assert_equal(attending, model(input_ids=ids).logits)


@torch.no_grad()
def test_taiyi_without_a_classifier():
    model, config = plain_bert()
    ids = seeded_ids(VOCAB)
    ours = taiyi.encode_text(model.state_dict(), ids, config)
    attending = taiyi.encode_text(model.state_dict(), ids, {**config, "attend_to_padding": True})

    assert_equal(ours, model(input_ids=ids, attention_mask=(ids != 0).long())[1])
    assert_equal(attending, model(input_ids=ids)[1])


@pytest.mark.parametrize("vision", [VISION, HEAD_WIDTH_80, pytest.param(BASE_VISION, marks=pytest.mark.parity)])
@torch.no_grad()
def test_hf_clip(vision):
    model, config = clip(vision)
    pixels = seeded_pixels(vision["image_size"])
    projected = model.visual_projection(model.vision_model(pixels).pooler_output)

    assert_equal(hf_clip.encode_image(model.state_dict(), pixels, config), projected)
    assert hf_clip.logit_scale(model.state_dict(), config) == model.logit_scale.item()
    assert hf_clip.image_size(model.state_dict(), config) == vision["image_size"]


@torch.no_grad()
def test_bert_clip():
    model, config = dual_encoder()
    tensors, ids, pixels = source_tensors(model), seeded_ids(VOCAB), seeded_pixels(VISION["image_size"])
    out = model(input_ids=ids, attention_mask=(ids != 0).long(), pixel_values=pixels)

    assert_equal(bert_clip.encode_text(tensors, ids, config), out.text_embeds)
    assert_equal(bert_clip.encode_image(tensors, pixels, config), out.image_embeds)
    assert bert_clip.image_size(tensors, config) == VISION["image_size"]


@pytest.mark.parametrize(
    ("make", "encode", "errors"),
    [
        (classifier, taiyi.encode_text, planted.TAIYI_HEAD),
        (plain_bert, taiyi.encode_text, planted.TAIYI),
        (dual_encoder, bert_clip.encode_text, planted.BERT_CLIP_TEXT),
        (dual_encoder, bert_clip.encode_image, planted.HF_VISION),
        (lambda: clip(VISION), hf_clip.encode_image, planted.HF_VISION),
    ],
    ids=["taiyi with a classifier", "taiyi without", "bert_clip text", "bert_clip image", "hf_clip"],
)
def test_every_planted_error_is_seen(make, encode, errors):
    model, config = make()
    tensors = source_tensors(model)
    inputs = seeded_pixels(VISION["image_size"]) if encode.__name__ == "encode_image" else seeded_ids(VOCAB)
    right = encode(tensors, inputs, config)
    cosines = {}
    for name, plant in errors.items():
        with pytest.MonkeyPatch.context() as patch:
            case = plant(Case(tensors, config, patch))
            cosines[name] = cosine(encode(case.tensors, inputs, case.config), right)
    print("\n".join(f"{value:.4f} {name}" for name, value in cosines.items()))
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


@pytest.mark.parametrize(
    "config",
    [
        {"vision_config": {"num_attention_heads": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-6}},
        {"vision_config": {}},
        {"vision_config": {"num_attention_heads": 8}, "vision_config_dict": None},
        {"vision_config": {"num_attention_heads": 8}, "vision_config_dict": {"num_attention_heads": 16}},
        {"vision_config": {"hidden_act": "gelu"}, "vision_config_dict": {"patch_size": 16}},
        {"vision_config_dict": {"num_attention_heads": 16}},
        {"vision_config": {"num_attention_heads": 16, "hidden_act": "gelu"}, "vision_config_dict": {}},
    ],
)
def test_a_vision_config_is_read_as_transformers_reads_it(config):
    theirs = CLIPConfig(**config).vision_config
    ours = hf_config.nested(config, "vision_config", hf_config.CLIP_VISION)

    wanted = (theirs.num_attention_heads, layers.ACTIVATIONS[theirs.hidden_act], theirs.layer_norm_eps)
    assert (ours.heads, ours.activation, ours.eps) == wanted


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocab")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    return BertTokenizerFast.from_pretrained(folder)


TEXTS = (
    "",
    "一只猫 and 2 dogs!",
    "遮住[MASK]的[SEP]词 [mask][UNK]",
    "x" * 100,
    "x" * 101,
    "Crème Brûlée İstanbul ΑΣ",
    "私用\ue000字 \u0378a",
    "\U0002b820\U0002b821 \U00020000\U00020001",
    "零\u200b宽\u2028行\x85空\x1c",
    "很长的句子" * 40,
)


@pytest.mark.parametrize("length", [512, 77, 3, 2])
def test_token_ids(tokenizer, length):
    theirs = tokenizer(list(TEXTS), truncation=True, max_length=length)["input_ids"]
    assert taiyi.token_ids(TEXTS, WordPieces(default_vocab()), length) == theirs
    assert bert_clip.token_ids(TEXTS, WordPieces(default_vocab()), length) == theirs


@pytest.mark.parity
def test_token_ids_of_every_character_whose_class_never_changed(tokenizer):
    # The tokenizers library classes characters by Unicode 8, Python by a newer one; 3.2 is the old table that it has.
    old, new = unicodedata.ucd_3_2_0.category, unicodedata.category
    texts = [f"a{each}b {each}{each}" for each in characters() if old(each) == new(each)]

    assert taiyi.token_ids(texts, WordPieces(default_vocab()), 512) == tokenizer(texts)["input_ids"]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_equal_to_the_bit(name):
    ours = pictures.rgb_then_crop(PICTURES[name](), 224)
    assert np.array_equal(ours.numpy(), rgb_then_crop(PICTURES[name](), 224))
