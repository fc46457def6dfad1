"""The reference of Taiyi's fine-tune against the classes of transformers that its training is made of."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, CLIPConfig, CLIPModel

from hf_zhclip.conversion.proof.reference import taiyi_finetune

from tests import checkpoints
from tests.weights import seeded_state_dict

FACTS = {
    "text_config": {"num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "vision_config": {"num_attention_heads": 4, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
IDS = torch.tensor([[101, 5, 6, 7, 102, 0, 0], [101, 8, 102, 0, 0, 0, 0], [101, 9, 10, 11, 12, 13, 102]])


@pytest.fixture(scope="module")
def tensors():
    return seeded_state_dict(checkpoints.taiyi_finetune.taiyi_finetune())


@pytest.fixture(scope="module")
def bert(tensors):
    fields = {**checkpoints.common.BERT_CONFIG, "max_position_embeddings": checkpoints.taiyi_finetune.TAIYI_POSITIONS}
    config = BertConfig(
        **{key: fields[key] for key in fields if key != "model_type"}, num_labels=checkpoints.common.EMBED
    )
    return loaded(BertForSequenceClassification(config), tensors, "text_encoder.")


@pytest.fixture(scope="module")
def clip(tensors):
    text = {**checkpoints.hf_clip.CLIP_TEXT_CONFIG, "projection_dim": checkpoints.common.EMBED}
    config = CLIPConfig(
        text_config=text, vision_config=checkpoints.common.VISION_CONFIG, projection_dim=checkpoints.common.EMBED
    )
    return loaded(CLIPModel(config), tensors, "clip_model.")


def loaded(model, tensors, prefix):
    own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    model.load_state_dict(own, strict=True)
    return model.eval()


def normalised(x):
    return torch.nn.functional.normalize(x, dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("length", [7, 20, 77])
def test_texts_are_the_logits_of_77_ids_without_a_mask(length, tensors, bert):
    ids = torch.zeros(3, 77, dtype=torch.long)
    ids[:, :7] = IDS

    found = taiyi_finetune.encode_text(tensors, ids[:, :length], FACTS)

    assert (found - normalised(bert(ids).logits)).abs().max() <= 1e-5
    masked = normalised(bert(ids, attention_mask=(ids != 0).long()).logits)
    short = normalised(bert(IDS).logits)
    assert (found * masked).sum(-1).min() < 0.99 and (found * short).sum(-1).min() < 0.99


@torch.no_grad()
def test_images_and_the_scale_are_the_clips(tensors, clip):
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    found = taiyi_finetune.encode_image(tensors, pixels, FACTS)

    assert (found - normalised(clip.get_image_features(pixels).pooler_output)).abs().max() <= 1e-5
    assert taiyi_finetune.logit_scale(tensors, FACTS) == clip.logit_scale.item()
    assert taiyi_finetune.image_size(tensors, FACTS) == 64


@torch.no_grad()
@pytest.mark.parametrize(
    ("side", "planted"),
    [
        ("text_config", {"num_attention_heads": 2}),
        ("text_config", {"hidden_act": "quick_gelu"}),
        ("text_config", {"layer_norm_eps": 1e-5}),
        ("vision_config", {"num_attention_heads": 8}),
        ("vision_config", {"hidden_act": "gelu"}),
        ("vision_config", {"layer_norm_eps": 1e-12}),
    ],
)
def test_a_wrong_fact_shows(side, planted, tensors):
    inputs = IDS if side == "text_config" else torch.randn(2, 3, 64, 64)
    encode = taiyi_finetune.encode_text if side == "text_config" else taiyi_finetune.encode_image

    right, wrong = (encode(tensors, inputs, {**FACTS, side: {**FACTS[side], **facts}}) for facts in ({}, planted))

    assert (right * wrong).sum(-1).min() < 0.99


def test_keys_of_a_module_that_was_itself_an_attribute_are_the_same(tensors):
    named = {f"model.{key}": tensor for key, tensor in tensors.items()}

    found, wanted = (taiyi_finetune.encode_text(each, IDS, FACTS) for each in (named, tensors))

    assert torch.equal(found, wanted)
    assert taiyi_finetune.logit_scale(named, FACTS) == taiyi_finetune.logit_scale(tensors, FACTS)


def test_a_text_that_the_original_cuts_is_refused(tensors):
    with pytest.raises(ValueError, match="texts of 78 ids, and the original cuts at 77"):
        taiyi_finetune.encode_text(tensors, torch.ones(1, 78, dtype=torch.long), FACTS)
