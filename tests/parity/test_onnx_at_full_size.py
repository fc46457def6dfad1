"""Graphs of full-size towers in onnxruntime: seeded weights, on the inputs of every export's own check."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hf_zhclip import ZhCLIPConfig, ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor
from hf_zhclip.conversion.exports.onnx.checking import check_graph
from hf_zhclip.conversion.exports.onnx.graphs import OPSET, write_graph
from hf_zhclip.conversion.exports.onnx.towers import IMAGE, TEXT, load_tower
from hf_zhclip.conversion.repos.repo import Repo
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer, xlm_roberta_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import unigram

pytestmark = pytest.mark.parity

BERT = {"model_type": "bert", "vocab_size": 21128, "layer_norm_eps": 1e-12}
VIT = {
    **{"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    **{"num_attention_heads": 12, "patch_size": 16, "image_size": 224, "hidden_act": "quick_gelu"},
}
RN50 = {"model_type": "hf_zhclip_resnet"}
NO_PROJECTION = {"visual_projection_type": "none", "projection_dim": 1024}
XLM_R = {
    **{"model_type": "xlm-roberta", "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
    **{"layer_norm_eps": 1e-5, "pad_token_id": 1},
}
DISTILBERT = {"model_type": "distilbert", "vocab_size": 119547, "pad_token_id": 0}
SMALL_BERT = {**BERT, "num_hidden_layers": 1}
SMALL_VIT = {**VIT, "num_hidden_layers": 1}

TOWERS = {
    "ViT-B-16": (IMAGE, {"text_config": SMALL_BERT, "vision_config": VIT}, 345e6),
    "RoBERTa-wwm-ext-base": (TEXT, {"text_config": BERT, "vision_config": SMALL_VIT}, 408e6),
    "RN50": (IMAGE, {"text_config": SMALL_BERT, "vision_config": RN50, **NO_PROJECTION}, 153e6),
    "XLM-R base": (TEXT, {"text_config": XLM_R, "vision_config": SMALL_VIT, "text_pooling": "mean"}, 1112e6),
    "DistilBERT": (TEXT, {"text_config": DISTILBERT, "vision_config": SMALL_VIT, "text_pooling": "mean"}, 540e6),
}
"""A tower, the fields of the config, and the bytes of its weights: four for each of the published parameters."""


@pytest.mark.parametrize("name", TOWERS)
def test_the_graph_of_a_full_size_tower_gives_the_towers_embeddings(name, tmp_path):
    tower, fields, size = TOWERS[name]
    repo = repo_of(fields, tmp_path)
    module = load_tower(repo, tower)
    file = tmp_path / tower.file
    write_graph(module, tower, repo, OPSET, file)

    checked = check_graph(module, tower, repo, file, "float32")

    print(f"{name}: {checked.difference:.1e}, {file.stat().st_size:,} bytes")
    assert checked.difference <= 1e-5 and checked.cosine >= 0.999999
    assert file.stat().st_size == pytest.approx(size, rel=0.01)


def repo_of(fields: dict, folder: Path) -> Repo:
    """A repo of seeded weights, with a processor of its picture size and a tokenizer of its text tower's kind."""
    torch.manual_seed(0)
    config = ZhCLIPConfig(**fields)
    ZhCLIPModel(config).save_pretrained(folder / "repo")
    size = {"height": config.vision_config.image_size, "width": config.vision_config.image_size}
    images = ZhCLIPImageProcessor(image_order="squash_then_rgb", size=size)
    return Repo(folder / "repo", config.to_dict(), {}, ZhCLIPProcessor(images, tokenizer_of(config, folder)))


def tokenizer_of(config: ZhCLIPConfig, folder: Path) -> Any:
    if config.text_config.model_type != "xlm-roberta":
        return cn_clip_tokenizer(default_vocab(), 52)
    unigram.tokenizer_file(folder / "tokenizer.json")
    return xlm_roberta_tokenizer(folder, 128)
