"""What the catalogue knows of a published checkpoint, where its repository on the hub does not say it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import transformers

import hf_zhclip
from hf_zhclip.conversion import convert, inspect, verify
from hf_zhclip.conversion.detection.parts import describe, identify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos.report import read_report
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints as c
from tests.conversion.helpers import contents
from tests.loopback_hub import connect, serve
from tests.published import checkpoint
from tests.weights import seeded_state_dict

XLM_R = "CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k"
BERT = "bert-from-clip-chinese-1M"
CONFIG = "open_clip_config.json"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback, which is all that this process can reach."""
    with serve(tmp_path / "server", {"hf_reader": ("laion", "YeungNLP")}) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_reader", tmp_path)
        yield hub


@pytest.fixture
def own(hub, monkeypatch, tmp_path):
    """The config of a small open_clip, which the catalogue knows and its repository on the hub lacks."""
    folder = c.open_clip.open_clip_xlm_roberta_folder(tmp_path / "published")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    hub.add(f"laion/{XLM_R}", {name: data for name, data in contents(folder).items() if name != CONFIG})
    replace_entry(monkeypatch, XLM_R, config=config)
    return config


def replace_entry(monkeypatch, name, **fields):
    known = [replace(each, **fields) if each.name == name else each for each in catalogue.entries()]
    monkeypatch.setattr(catalogue, "entries", lambda: tuple(known))


@pytest.mark.quick(1)
@pytest.mark.parametrize("source", [XLM_R, "xlm-roberta-base-ViT-B-32", f"laion/{XLM_R}"])
def test_without_its_config_a_published_checkpoint_is_described_by_the_catalogue(source, own):
    (found,) = identify(Stated(source))

    assert found.config == own
    assert (
        found.why
        == f"published: the checkpoint is {XLM_R} of the catalogue, and the keys agree; its config is the catalogue's"
    )
    assert inspect(source).architecture == describe([found]).architecture == "ViT 64x2/16 with XLM-R 32x2"


@pytest.mark.usefixtures("written_card")
def test_it_converts_to_what_it_is_with_its_config_beside_it(own, tmp_path):
    report = convert(XLM_R, tmp_path / "out")

    assert report.passed and report.level in ("peer", "reference")
    recorded = read_report(tmp_path / "out")
    assert recorded.conversion["catalogue"] == XLM_R
    assert recorded.conversion["command"] == f"zhclip convert laion/{XLM_R} out"
    assert recorded.sources[0]["evidence"]["stated"]["model_cfg"] == own["model_cfg"]
    assert set(recorded.sources[0]["files"]) == {"open_clip_pytorch_model.bin"}
    said = "The values are taken from the catalogue of hf_zhclip"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert said in recorded.conversion["limits"][-1].en and said in card and "这里取 hf_zhclip 目录中的值" in card
    assert verify(tmp_path / "out", f"laion/{XLM_R}").passed
    whole = c.open_clip.open_clip_xlm_roberta_folder(tmp_path / "whole")
    assert said not in str(convert(whole, tmp_path / "wanted").conversion["limits"])
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes(), name


def test_what_lies_beside_the_weights_goes_first_then_what_the_user_states(own, hub, tmp_path):
    stated = {**own, "model_cfg": {**own["model_cfg"], "quick_gelu": True}}
    (tmp_path / "stated.json").write_text(json.dumps(stated), encoding="utf-8")

    (found,) = identify(Stated(XLM_R, config=tmp_path / "stated.json"))
    assert found.config == stated and "config" not in found.why

    hub.add(f"laion/{XLM_R}", {CONFIG: json.dumps(stated).encode()})
    (found,) = identify(Stated(XLM_R))
    assert found.config == stated and "config" not in found.why
    with pytest.raises(InputError, match="state the model's facts beside the weights"):
        identify(Stated(XLM_R, config=tmp_path / "stated.json"))


def test_a_copy_on_disk_is_nobodys_name_and_is_asked_for_its_config(own, tmp_path):
    copy = shutil.copytree(tmp_path / "published", tmp_path / XLM_R)
    (copy / CONFIG).unlink()

    with pytest.raises(InputError, match="Pass --config FILE"):
        convert(copy, tmp_path / "out")


@pytest.mark.parametrize("name", [each.name for each in catalogue.entries() if each.config])
def test_the_config_in_the_catalogue_describes_the_published_sizes(name, tmp_path, monkeypatch):
    entry = catalogue.find(name)
    weights = replace(checkpoint(f"open_clip-{entry.aliases[0].lower()}", tmp_path), files=(), config={})
    monkeypatch.setattr("hf_zhclip.conversion.detection.parts.read_source", lambda path: weights)

    (found,) = identify(Stated(name))

    described = found.describe()
    assert (described.text.pooling, described.text.projection, described.text.width) == ("mean", "mlp", entry.width)
    assert described.vision.config["num_attention_heads"] == {512: 768 // 64, 1024: 1280 // 80}[entry.width]
    assert described.vision.config["hidden_act"] == "gelu" and described.image_order == entry.image.order


@pytest.mark.quick(1)
@pytest.mark.usefixtures("written_card")
@pytest.mark.parametrize("source", [BERT, f"YeungNLP/{BERT}"])
def test_a_text_tower_that_was_published_alone_needs_no_format(source, hub, monkeypatch, tmp_path):
    folder = c.taiyi.taiyi_folder(tmp_path / "bert", head=False)
    torch.save(seeded_state_dict(c.taiyi.taiyi(head=False)), folder / "pytorch_model.bin")
    commit = hub.add(f"YeungNLP/{BERT}", contents(folder))
    replace_entry(monkeypatch, BERT, published=replace(catalogue.find(BERT).published, revision=commit))

    assert inspect(source).format == "bert_from_clip" and inspect(source).certainty == "published"
    report = convert(source, tmp_path / "out")

    assert report.passed and report.conversion["catalogue"] == BERT
    assert report.sources[0]["hub"] == {"repo": f"YeungNLP/{BERT}", "file": None, "revision": commit}
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "out")) is hf_zhclip.ZhCLIPTextModel
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    chinese, english = card.split("<details><summary>English</summary>")
    for half, can_not, source_of in (
        (chinese, "## 它不能做什么", "取自 clip-vit-bert-chinese-1M（BertCLIP）的文本塔"),
        (english, "**What it can't do**", "It is the text tower of clip-vit-bert-chinese-1M (BertCLIP)"),
    ):
        assert can_not in half and source_of in half and "mengzi-bert-base" in half
        assert "AutoProcessor" not in half
    assert card.count(f"`zhclip convert YeungNLP/{BERT} out`") == 1
    assert "license:" not in card.split("---")[1]
    with pytest.raises(InputError, match="so no image tower belongs to it"):
        convert(source, tmp_path / "other", vision=c.hf_clip.clip_folder(tmp_path / "clip"))
