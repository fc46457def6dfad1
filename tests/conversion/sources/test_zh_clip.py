"""ZH-CLIP: what its config.json states, which towers are taken, and the scale that it does not have."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.sources import zh_clip
from hf_zhclip.conversion.tokenizers.builders import slow_bert_tokenizer

from tests import checkpoints as c
from tests.conversion.helpers import verify_here

KEYS = json.loads((Path(__file__).parents[2] / "keys/zh_clip.json").read_text(encoding="utf-8"))
SCALE = "theirs holds no logit_scale, and its model needs no logit_scale: logit_scale is written as 0"


def described(**changes):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in c.zh_clip.zh_clip().items()}
    config = {
        **c.zh_clip.ZH_CLIP_CONFIG,
        "text_config": c.common.BERT_CONFIG,
        "vision_config": c.common.VISION_CONFIG,
        **changes,
    }
    return zh_clip.describe(Checkpoint(Path("x.bin"), (), "zip", tensors), config)


# README.md, models/zhclip/modeling_zhclip.py and inference.py.
def test_the_published_size_is_described_as_upstreams_classes_have_it():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["keys"].items()}

    found = zh_clip.describe(Checkpoint(Path("x.bin"), (), "zip", tensors), KEYS["config"])

    text, vision = found.text.config, found.vision.config
    assert [text[name] for name in ("num_attention_heads", "num_hidden_layers", "hidden_size")] == [16, 24, 1024]
    assert [vision[name] for name in ("num_attention_heads", "num_hidden_layers", "patch_size")] == [16, 24, 14]
    assert (text["hidden_act"], text["layer_norm_eps"], vision["layer_norm_eps"]) == ("gelu", 1e-12, 1e-5)
    assert (found.text.pooling, found.vision.pooling) == ("mean", "pooler")
    assert (found.text.projection, found.vision.projection) == ("mlp", "linear_bias")
    assert (found.text.width, found.vision.width) == (768, 768)
    assert (found.image_order, found.image_size, found.context_length) == ("rgb_then_crop", 224, 77)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_activation_of_the_image_tower_is_what_its_config_states(activation):
    vision = {**c.common.VISION_CONFIG, "hidden_act": activation}

    assert described(vision_config=vision).vision.config["hidden_act"] == activation


def test_the_fields_beside_the_towers_belong_to_no_tower():
    found = described(hidden_act="relu", layer_norm_eps=0.1, num_attention_heads=2, num_hidden_layers=9)

    assert found.text.config["hidden_act"] == "gelu" and found.text.config["num_attention_heads"] == 4
    assert found.vision.config["layer_norm_eps"] == 1e-5


def test_of_a_whole_clip_the_image_tower_is_taken():
    own = {key: value for key, value in c.common.VISION_CONFIG.items() if key != "hidden_act"}
    other = {**own, "num_attention_heads": 2}

    assert described(vision_config={"model_type": "clip", "vision_config": own}).vision == described().vision
    both = {"model_type": "clip", "vision_config_dict": own, "vision_config": other}
    assert described(vision_config=both).vision == described().vision
    with pytest.raises(InputError, match="vision_config of config.json does not fit the weights: it is absent"):
        described(vision_config={"model_type": "clip"})


@pytest.mark.parametrize(
    ("side", "stated", "found"),
    [
        ("text_config", {**c.common.BERT_CONFIG, "model_type": "roberta"}, "'roberta'; bert was wanted"),
        (
            "vision_config",
            {**c.common.VISION_CONFIG, "model_type": "vit"},
            "'vit'; clip_vision_model or clip was wanted",
        ),
        ("vision_config", None, "None; clip_vision_model or clip was wanted"),
    ],
)
def test_towers_that_it_was_not_published_with_are_refused(side, stated, found):
    with pytest.raises(InputError, match=f"The {side} of config.json names the model type {found}"):
        described(**{side: stated})


def test_an_image_processor_that_does_something_else_is_refused(tmp_path):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    (folder / "preprocessor_config.json").write_text('{"do_center_crop": false, "size": {"shortest_edge": 64}}')

    with pytest.raises(InputError, match="do_center_crop False"):
        convert(folder, tmp_path / "OUT")


@pytest.mark.parametrize("stated", [{"do_lower_case": False}, {"strip_accents": False}])
def test_a_tokenizer_of_another_kind_is_refused(tmp_path, stated):
    folder = c.zh_clip.zh_clip_folder(tmp_path / "theirs")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **stated}), encoding="utf-8")

    with pytest.raises(InputError, match="wanted BertTokenizer's own settings"):
        slow_bert_tokenizer(folder, 20)


# The scale


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("zh_clip"), []
    with pytest.MonkeyPatch.context() as patch:
        verify_here(patch)
        report = convert(c.zh_clip.zh_clip_folder(folder / "theirs"), folder / "OUT", progress=lines.append)
    return folder, report, lines


def test_a_scale_that_was_never_trained_is_written_as_a_factor_of_one_and_said(converted):
    folder, report, lines = converted
    model = AutoModel.from_pretrained(folder / "OUT")

    assert model.logit_scale.exp().item() == 1
    assert lines.count(SCALE) == 1
    assert report.sources[0]["zeros"] == ["logit_scale"]
    assert list(zh_clip.LIMITS) == report.conversion["limits"]
    assert verify(folder / "OUT").passed and verify(folder / "OUT", folder / "theirs").passed


def test_logits_are_the_cosines_and_its_own_products_those_of_features_that_are_not_normalised(converted):
    model = AutoModel.from_pretrained(converted[0] / "OUT").eval()
    ids, pixels = torch.tensor([[101, 671, 102], [101, 672, 102]]), torch.rand(1, 3, c.common.SIZE, c.common.SIZE)
    with torch.no_grad():
        found = model(input_ids=ids, pixel_values=pixels)
        text, image = (
            model.get_text_features(ids).pooler_output,
            model.get_image_features(pixels).pooler_output,
        )

    cosines = torch.nn.functional.cosine_similarity(image, text)
    torch.testing.assert_close(found.logits_per_image[0], cosines)
    lengths = image.norm(dim=-1) * text.norm(dim=-1)
    assert not any(math.isclose(each, 1, abs_tol=0.5) for each in lengths.tolist())


def test_the_card_says_so_in_both_languages(converted):
    text = (converted[0] / "OUT" / "README.md").read_text(encoding="utf-8")

    for limit in zh_clip.LIMITS:
        assert limit.en in text and limit.zh in text


def test_its_image_tower_brings_no_scale_to_a_text_model_that_was_trained_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr(c.common, "EMBED", c.common.HIDDEN)
    theirs, text = c.zh_clip.zh_clip_folder(tmp_path / "theirs"), c.taiyi.taiyi_folder(tmp_path / "taiyi", head=False)

    with pytest.raises(InputError, match="taiyi and theirs hold no logit_scale, and no value is made up for it"):
        convert(text, tmp_path / "OUT", format="taiyi", vision=theirs)
