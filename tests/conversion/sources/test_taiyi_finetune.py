"""The Lightning checkpoint of Fengshen's fine-tune of Taiyi-CLIP: what it holds, what it leaves open, its padding."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, BertConfig, BertForSequenceClassification, BertTokenizer

from hf_zhclip.conversion import convert, inspect, pipeline
from hf_zhclip.conversion.errors import InputError, ParityError
from hf_zhclip.conversion.mapping import plan
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.sources import taiyi_finetune
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints
from tests.conversion.helpers import entries
from tests.thorough import every_third, thorough
from tests.weights import seeded_state_dict

KEYS = Path(__file__).parents[2] / "keys"
FACTS = checkpoints.prd2.PRD2_FACTS
TEXTS = ["一只猫", "一只在雪地里奔跑的老虎，远处是一片树林", "很长的句子要被截断" * 20]


def keys(name):
    return json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))["keys"]


def checkpoint(shapes):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return Checkpoint(Path("epoch=0-step=2272.ckpt"), (), "zip", tensors)


def pair(clip, text):
    towers = {"clip_model.": keys(clip), "text_encoder.": keys(text)}
    return checkpoint({prefix + key: shape for prefix, found in towers.items() for key, shape in found.items()})


# What the file holds, and what is published


# hfl/chinese-roberta-wwm-ext{,-large} and openai/clip-vit-{base-patch32,base-patch16,large-patch14}: config.json.
@pytest.mark.parametrize(
    ("clip", "text", "architecture", "vision_heads", "text_heads", "width"),
    [
        ("hf_clip-vit-base-patch32", "taiyi-102m", "ViT-B/32@chinese-roberta-wwm-ext", 12, 12, 512),
        ("hf_clip-vit-base-patch16", "taiyi-102m", "ViT-B/16@chinese-roberta-wwm-ext", 12, 12, 512),
        ("hf_clip-vit-large-patch14", "taiyi-326m", "ViT-L/14@chinese-roberta-wwm-ext-large", 16, 16, 768),
    ],
)
def test_published_sizes_are_described_as_their_own_repositories_have_it(
    clip, text, architecture, vision_heads, text_heads, width
):
    found = taiyi_finetune.describe(pair(clip, text), {})

    assert found.architecture == f"Taiyi-CLIP fine-tune {architecture}"
    assert (found.text.config["num_attention_heads"], found.vision.config["num_attention_heads"]) == (
        text_heads,
        vision_heads,
    )
    assert (found.text.config["hidden_act"], found.text.config["layer_norm_eps"]) == ("gelu", 1e-12)
    assert (found.vision.config["hidden_act"], found.vision.config["layer_norm_eps"]) == ("quick_gelu", 1e-5)
    assert (found.text.pooling, found.text.projection) == ("pooler", "linear_bias")
    assert (found.vision.pooling, found.vision.projection) == ("pooler", "linear")
    assert found.text.width == found.vision.width == width
    assert (found.image_order, found.image_size) == ("crop_then_rgb", 224)
    assert found.context_length == found.text_padded_length == 77 and found.text_attends_to_padding


def test_of_another_size_everything_that_the_file_does_not_hold_has_to_be_stated():
    found = checkpoint(checkpoints.taiyi_finetune.taiyi_finetune())
    with pytest.raises(InputError, match="size was never published") as error:
        taiyi_finetune.describe(found, {})

    unstated = ("num_attention_heads", "hidden_act", "layer_norm_eps")
    towers = ("text_config", "vision_config")
    assert [line.strip() for line in str(error.value).splitlines()[1:-1]] == [
        f"{tower}.{field}" for tower in towers for field in unstated
    ]
    described = taiyi_finetune.describe(found, FACTS)
    assert [tower.config["num_attention_heads"] for tower in (described.text, described.vision)] == [4, 4]


def test_what_is_stated_goes_before_what_is_published():
    # laion/CLIP-ViT-B-32-laion2B-s34B-b79K is of the same shapes, with another activation.
    found = pair("hf_clip-vit-base-patch32", "taiyi-102m")

    described = taiyi_finetune.describe(found, {"vision_config": {"hidden_act": "gelu"}})

    assert described.vision.config["hidden_act"] == "gelu"
    assert described.vision.config["num_attention_heads"] == 12
    with pytest.raises(InputError, match=r"vision_config\.patch_size: stated 16, the shapes say 32"):
        taiyi_finetune.describe(found, {"vision_config": {"patch_size": 16}})


def test_the_english_text_tower_and_the_buffers_are_left_out(original):
    shapes = Checkpoint(Path("x"), (), "zip", lightning_weights(original)).shapes
    dropped = set(plan(taiyi_finetune.rules(shapes), shapes).dropped)

    english = {key for key in shapes if key.startswith(("clip_model.text_model.", "clip_model.text_projection."))}
    assert dropped == english | {key for key in shapes if key.endswith("position_ids")}
    assert len(english) > 30


def lightning_weights(original):
    return torch.load(original("taiyi_finetune").source, weights_only=True)["state_dict"]


@pytest.mark.parametrize("lightning", [True, thorough(False)], ids=["in Lightning's file", "as a bare state dict"])
def test_the_same_repo_comes_of_a_module_that_was_itself_an_attribute(lightning, original, repo, tmp_path):
    source = tmp_path / "model.ckpt"
    checkpoints.taiyi_finetune.taiyi_finetune_file(source, prefix="model.")
    if not lightning:
        torch.save(torch.load(source, weights_only=True)["state_dict"], source)
    found = inspect(source, **original("taiyi_finetune").arguments)

    report = convert(source, tmp_path / "OUT", **original("taiyi_finetune").arguments)

    assert (found.format, found.certainty) == ("taiyi_finetune", "certain")
    assert report.passed
    wanted, given = (
        load_file(folder / "model.safetensors") for folder in (repo("taiyi_finetune").path, tmp_path / "OUT")
    )
    assert wanted.keys() == given.keys() and all(torch.equal(wanted[key], given[key]) for key in wanted)


def test_an_image_tower_comes_of_it_for_a_text_tower_that_was_published_alone(original, tmp_path):
    text = checkpoints.taiyi.taiyi_folder(tmp_path / "taiyi", head=True)

    found = original("taiyi_finetune")
    vision = {"vision": found.source, "vision_config": found.arguments["config"]}
    report = convert(text, tmp_path / "OUT", **vision, format="taiyi")

    config = json.loads((tmp_path / "OUT" / "config.json").read_text(encoding="utf-8"))
    assert report.passed
    # Texts are as the text part's own family has them.
    assert (config["text_attends_to_padding"], config["text_padded_length"]) == (False, None)


# Padding


@torch.no_grad()
def test_every_text_is_embedded_as_the_training_padded_it_whatever_the_processor_does(repo):
    # clip_finetune_flickr.py: self.text_encoder(t).logits; data/clip_dataloader/flickr.py: the ids.
    vocab = {line: number for number, line in enumerate(default_vocab())}
    ids = BertTokenizer(vocab=vocab)(TEXTS, max_length=77, padding="max_length", truncation=True, return_tensors="pt")
    fields = {key: value for key, value in checkpoints.common.BERT_CONFIG.items() if key != "model_type"}
    fields |= {"max_position_embeddings": checkpoints.taiyi_finetune.TAIYI_POSITIONS}
    bert = BertForSequenceClassification(BertConfig(**fields, num_labels=checkpoints.common.EMBED)).eval()
    weights = seeded_state_dict(checkpoints.taiyi_finetune.taiyi_finetune())
    prefix = "text_encoder."
    bert.load_state_dict({key.removeprefix(prefix): each for key, each in weights.items() if key.startswith(prefix)})
    wanted = torch.nn.functional.normalize(bert(ids["input_ids"]).logits, dim=1)

    model = AutoModel.from_pretrained(repo("taiyi_finetune").path)
    processor = AutoProcessor.from_pretrained(repo("taiyi_finetune").path)
    alone = torch.cat([model.encode_text(**processor(text=[each], return_tensors="pt")) for each in TEXTS])
    for padding in (True, "max_length"):
        inputs = processor(text=TEXTS, padding=padding, return_tensors="pt")
        assert (model.encode_text(**inputs) - wanted).abs().max() <= 1e-5
        assert (model(**inputs).text_embeds - wanted).abs().max() <= 1e-5
    assert (alone - wanted).abs().max() <= 1e-5
    masked = torch.nn.functional.normalize(bert(**ids).logits, dim=1)
    assert (masked * wanted).sum(-1).min() < 0.99, "a mask would tell nothing"


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "planted",
    every_third(
        [
            {"text_attends_to_padding": False, "text_padded_length": None},
            {"text_padded_length": None},
            {"text_padded_length": 78},
            {"image_order": "rgb_then_crop"},
        ]
    ),
    ids=["masked", "padded as its batch is", "padded to 78", "RGB before the crop"],
)
def test_another_padding_or_order_is_caught_by_the_verification(planted, original, tmp_path, monkeypatch):
    describe, found = pipeline.describe, original("taiyi_finetune")
    monkeypatch.setattr(pipeline, "describe", lambda parts: replace(describe(parts), **planted))

    with pytest.raises(ParityError) as error:
        convert(found.source, tmp_path / "OUT", **found.arguments)

    failed = {each.step for each in error.value.report.comparisons if not each.passed}
    assert failed - {"logits"} == ({"pixels", "image"} if "image_order" in planted else {"text"})


def test_texts_may_be_cut_earlier_but_not_later_than_the_training_cut_them(original, tmp_path):
    found = original("taiyi_finetune")
    with pytest.raises(InputError, match="--context-length is 78, but the model takes 3 to 77 tokens"):
        convert(found.source, tmp_path / "OUT", context_length=78, **found.arguments)
    assert "OUT" not in entries(tmp_path)

    report = convert(found.source, tmp_path / "OUT", context_length=20, **found.arguments)

    config = json.loads((tmp_path / "OUT" / "config.json").read_text(encoding="utf-8"))
    assert report.passed and config["text_padded_length"] == 77
    assert report.conversion["context_length"] == 20


def test_a_text_tower_with_fewer_positions_is_not_of_this_training(original, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.taiyi_finetune, "TAIYI_POSITIONS", 64)
    source = checkpoints.taiyi_finetune.taiyi_finetune_file(tmp_path / "x.ckpt")

    with pytest.raises(InputError, match="text_padded_length is 77; wanted 1 to 64, the positions of the text tower"):
        convert(source, tmp_path / "OUT", **original("taiyi_finetune").arguments)


def test_the_card_says_in_both_languages_that_the_model_pads(repo):
    card = (repo("taiyi_finetune").path / "README.md").read_text(encoding="utf-8")

    assert "the model itself pads every text to the same length (`text_padded_length`)" in card
    assert "模型自己把每条文本填充到同一长度（`text_padded_length`）" in card
    assert "It refuses longer texts and ignores masks" in card and "超过这个长度的文本不被接受" in card
    assert f"{checkpoints.taiyi_finetune.TAIYI_POSITIONS} positions" in card
