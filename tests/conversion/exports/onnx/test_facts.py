"""What an export states of a repo: with it, zhclip_onnx.py gives the ids and masks of every family's own processor."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.exports.onnx import facts
from hf_zhclip.conversion.exports.onnx.usage import usage
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS
from hf_zhclip.inference import Embedder
from hf_zhclip.inference.zhclip_onnx import STEPS, ZhCLIPOnnx

from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.conversion.exports.onnx.alike import families
from tests.image_modes import rgb
from tests.inference.exported import without_graphs
from tests.thorough import thorough

KINDS = ("cn_clip_vit", "bert_clip", "sentence_transformers", "multilingual_clip", "hf_clip", "openai_clip", "wukong")
"""A family of each kind of tokenizer; the others share one of them."""

ODD = (
    *(
        "臺灣的夜市裡有許多好吃的東西",
        "Ｆｕｌｌ　Ｗｉｄｔｈ！１２３",
        "👩‍👩‍👧‍👦 🇹🇼 ☺️",
        "\x00\x07\u200b\u200d\ufeff\ufffd",
        "\t\n\r\x0b\u2028",
    ),
    *(
        "[PAD] [MASK][SEP] [cls]",
        "<pad></s><mask>",
        "<|startoftext|> <|endoftext|><|ENDOFTEXT|>",
        "",
        " ",
        "很长的句子" * 300,
    ),
    *(
        "ΣΑΣ Σ ß İ Å Ünïcödé ﬁ ½ …",
        "iPhone15ProMax手机壳McDonald's",
        "a" * 101,
        "a" * 201,
        "\u0301e\u0301",
        "\ue000\U000f0000",
    ),
)


@pytest.fixture(scope="module")
def prepared(repo, tmp_path_factory):
    """Gives a family's repo, and an export of it without graphs."""

    @cache
    def make(family):
        loaded = read_repo(repo(family).path)
        return loaded, ZhCLIPOnnx(without_graphs(tmp_path_factory.mktemp(family), loaded))

    return make


texts = st.lists(
    st.one_of(
        st.sampled_from(ODD),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.lists(st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"])))).map("".join),
    )
)


@pytest.mark.parametrize("family", [family if family in KINDS else thorough(family) for family in FAMILIES])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(texts)
@example(list(ODD))
def test_ids_and_masks_are_those_of_the_processor(prepared, family, texts):
    repo, model = prepared(family)
    given = {"padding": True, "truncation": True} if repo.is_text_alone else {}
    wanted = repo.processor(text=texts, return_tensors="np", **given) if texts else None
    found = model.tokenize(texts)
    assert len(found["input_ids"]) == len(texts)
    for name, values in found.items() if wanted else ():
        assert np.array_equal(values, wanted[name]) and values.dtype == wanted[name].dtype == np.int64


def test_every_image_order_has_steps_that_the_runtime_knows():
    assert facts.STEPS.keys() == IMAGE_ORDERS.keys()
    assert {step for steps in facts.STEPS.values() for step in steps} == STEPS.keys()


EXPORTED = "cn_clip_vit"
"""The family whose export other tests need, too: an export costs seconds."""


@pytest.mark.parametrize("family", families(EXPORTED))
@torch.no_grad()
def test_an_export_embeds_texts_and_picture_files_as_the_repo_does(repo, exported, family, tmp_path):
    path, model = repo(family).path, ZhCLIPOnnx(exported(family))
    original = AutoModel.from_pretrained(path).eval()
    places = [tmp_path / f"{name}.png" for name, mode in (("a", "RGB"), ("b", "P"), ("c", "LA"))]
    for place, mode in zip(places, ("RGB", "P", "LA"), strict=True):
        rgb(97, 61).convert(mode).save(place)
    embedder = Embedder.from_pretrained(exported(family), "onnx", batch_size=2)
    of_texts, of_pictures = original.encode_text(list(ODD)), original.encode_image(list(map(str, places)))
    for found, wanted in (
        (model.encode_text(list(ODD), batch_size=5), of_texts),
        (embedder.encode_texts(ODD), of_texts),
        (model.encode_image(places, batch_size=2), of_pictures),
        (embedder.encode_images(places), of_pictures),
    ):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)
    assert model.logit_scale == original.logit_scale.item()
    assert model.embedding_size == original.config.projection_dim


def test_an_export_states_the_facts_of_its_repo_and_says_how_it_is_used(repo, exported):
    folder, content = exported(EXPORTED), facts.facts(read_repo(repo(EXPORTED).path))
    stated = json.loads((folder / "zhclip_onnx.json").read_text(encoding="utf-8"))
    marks = stated.pop("files")
    assert stated == content
    assert set(marks) == {"text_model.onnx", "vision_model.onnx", "tokenizer.json"}
    assert all(mark.startswith(f"{(folder / name).stat().st_size}-") for name, mark in marks.items())
    assert usage(content) in (folder / "README.md").read_text(encoding="utf-8")


def test_a_text_tower_alone_has_texts_alone_and_no_scale(tmp_path):
    source = checkpoints.taiyi.taiyi_folder(tmp_path / "bert", head=False)
    convert(source, tmp_path / "alone", format="bert_from_clip", skip_verify=True)
    repo = read_repo(tmp_path / "alone")
    model = ZhCLIPOnnx(without_graphs(tmp_path / "export", repo))
    assert (model.facts.vision, model.logit_scale) == (None, None)
    assert model.embedding_size == repo.config["text_config"]["hidden_size"]
    wanted = repo.tokenizer(list(ODD), padding=True, truncation=True, return_tensors="np")
    for name, values in model.tokenize(list(ODD)).items():
        assert np.array_equal(values, wanted[name])
