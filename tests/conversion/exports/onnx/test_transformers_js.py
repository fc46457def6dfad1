"""The layout of transformers.js. Its names are those of the package's own source, version 4.3.1.

The tests with the mark `js` run the package in Node.
"""

import json
import subprocess
from functools import cache, partial

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.proof import samples, texts

from tests import checkpoints
from tests.conversion.exports.onnx.test_facts import ODD
from tests.conversion.helpers import entries
from tests.newcomer import ROOT
from tests.sharing import made_once

LAYOUT = {"to": "onnx", "layout": "transformers.js"}
FILES = {"README.md", "config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
FILES |= {"zhclip_onnx_report.json", "onnx"}
OUTPUTS = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
NODE = ROOT / "tests" / "js"
TEXTS = [*ODD, *samples.TEXTS, *samples.HOLDING_PADDING, *texts.SENTENCES]

CAPITALS = "<|startoftext|> <|endoftext|><|ENDOFTEXT|>"
"""A text that the library of transformers.js takes otherwise: the last part is a special token in capitals."""


@pytest.fixture(scope="session")
def for_js(repo, tmp_path_factory, worker_id):
    """Gives a family's repo and its export by the family's name; `scenes` is the small model that ships."""

    @cache
    def make(family):
        return made_once(tmp_path_factory, worker_id, f"{family}-for-js", partial(written, family))[1]

    def written(family, folder):
        if family == "scenes":
            path, shipped = folder / "OUT", ROOT / "examples" / "scenes"
            convert(shipped / "epoch_latest.pt", path, config=shipped / "model_config.json", skip_verify=True)
        else:
            path = repo(family).path
        export(path, folder / "JS", **LAYOUT)
        return path, folder / "JS"

    return make


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def sides(values):
    return [(each.name, each.type, each.shape) for each in values]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# Files and graphs


def test_chinese_clip_is_a_graph_of_both_towers_as_its_class_takes_it(for_js):
    path, folder = for_js("cn_clip_vit")
    assert entries(folder) == FILES and entries(folder / "onnx") == {"model.onnx"}
    graph = session(folder / "onnx" / "model.onnx")
    assert sides(graph.get_inputs()) == [
        ("input_ids", "tensor(int64)", ["batch", "length"]),
        ("attention_mask", "tensor(int64)", ["batch", "length"]),
        ("pixel_values", "tensor(float)", ["pictures", 3, 64, 64]),
    ]
    assert [each.name for each in graph.get_outputs()] == OUTPUTS
    assert [each.shape for each in graph.get_outputs()][2:] == [["batch", 48], ["pictures", 48]]
    config = read(folder / "config.json")
    assert (config["model_type"], config["architectures"]) == ("chinese_clip", ["ChineseCLIPModel"])
    assert config["transformers.js_config"] == {"dtype": "fp32"}
    assert read(folder / "preprocessor_config.json")["image_processor_type"] == "CLIPImageProcessor"
    report = read(folder / "zhclip_onnx_report.json")
    assert (report["layout"], [each["file"] for each in report["towers"]]) == (
        "transformers.js",
        ["onnx/model.onnx", "onnx/model.onnx"],
    )


@torch.no_grad()
def test_the_graph_of_both_towers_gives_what_the_repo_gives_also_for_one_side_and_for_a_text_without_its_end(for_js):
    path, folder = for_js("cn_clip_vit")
    model = AutoModel.from_pretrained(path, dtype=torch.float64).eval()
    processor, graph = AutoProcessor.from_pretrained(path), session(folder / "onnx" / "model.onnx")
    encoded = processor(text=TEXTS, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    pixels = torch.randn(2, 3, 64, 64)
    wanted = model(**inputs, pixel_values=pixels.double())
    found = run(graph, **inputs, pixel_values=pixels)
    largest = model.logit_scale.exp().item()
    for name, bound in zip(OUTPUTS, (largest * 1e-5, largest * 1e-5, 1e-5, 1e-5), strict=True):
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=bound)
    none = torch.empty((0, 3), dtype=torch.long)
    alone = run(graph, input_ids=none, attention_mask=none, pixel_values=pixels)
    np.testing.assert_allclose(alone["image_embeds"], wanted.image_embeds, rtol=0, atol=1e-5)
    assert alone["logits_per_image"].shape == (2, 0)

    # As transformers.js cuts a text: the end token is cut off, too.
    whole = processor.tokenizer(["很长" * 100], return_tensors="pt")
    cut = {name: whole[name][:, :52] for name in ("input_ids", "attention_mask")}
    assert cut["input_ids"][0, -1] != processor.tokenizer.sep_token_id
    found = run(graph, **cut, pixel_values=pixels[:0])["text_embeds"]
    np.testing.assert_allclose(found, model.encode_text(["很长" * 100]), rtol=0, atol=1e-5)


def run(graph, **inputs):
    return dict(zip(OUTPUTS, graph.run(OUTPUTS, {name: each.numpy() for name, each in inputs.items()}), strict=True))


@pytest.mark.thorough  # of three graphs each is exported and run: half a minute
def test_clip_is_two_towers_and_the_graph_that_the_pipeline_takes(for_js):
    _, folder = for_js("hf_clip")
    assert entries(folder) == FILES
    assert entries(folder / "onnx") == {"model.onnx", "text_model.onnx", "vision_model.onnx"}
    text, image = (session(folder / "onnx" / name) for name in ("text_model.onnx", "vision_model.onnx"))
    assert [each.name for each in text.get_inputs()] == ["input_ids", "attention_mask"]
    assert [each.name for each in text.get_outputs()] == ["text_embeds"]
    assert [each.name for each in image.get_inputs()] == ["pixel_values"]
    assert [each.name for each in image.get_outputs()] == ["image_embeds"]
    both = session(folder / "onnx" / "model.onnx")
    assert [each.name for each in both.get_outputs()] == OUTPUTS
    assert read(folder / "config.json")["model_type"] == "clip"


# Refusals


LOST = {
    "cn_clip_resnet": "ChineseCLIPModel would lose:\n    the image tower: CLIP's modified ResNet",
    "bert_clip": "ChineseCLIPModel would lose:\n    the tanh pooler of texts",
    "multilingual_clip": "text_config.model_type 'xlm-roberta'",
    "sentence_transformers": "text_config.model_type 'distilbert'",
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", LOST)
def test_what_no_class_holds_is_refused_with_what_would_be_lost(family, repo, tmp_path):
    with pytest.raises(InputError) as caught:
        export(repo(family).path, tmp_path / "x", **LAYOUT)
    said = str(caught.value)
    assert said.startswith("transformers.js has no class that computes what this model computes")
    assert LOST[family] in said and "VisionTextDualEncoderModel" not in said
    assert said.endswith("Leave --layout out: the plain layout takes every model.")
    assert entries(tmp_path) == set()


@pytest.mark.thorough
def test_a_text_tower_alone_is_refused(tmp_path):
    source = checkpoints.taiyi.taiyi_folder(tmp_path / "bert", head=False)
    convert(source, tmp_path / "alone", format="bert_from_clip", skip_verify=True)
    with pytest.raises(InputError, match="holds a text tower alone, but transformers.js has classes of both towers"):
        export(tmp_path / "alone", tmp_path / "x", **LAYOUT)


def test_a_layout_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no --layout 'js'; wanted plain or transformers.js."):
        export(tmp_path / "OUT", tmp_path / "x", to="onnx", layout="js")
    with pytest.raises(InputError, match="--layout is an option of ONNX. Leave --layout out, or pass --to onnx."):
        export(tmp_path / "OUT", tmp_path / "x", to="transformers", layout="plain")


# In Node


def in_node(script, *arguments, given=None, cwd=None):
    done = subprocess.run(
        ["node", str(script), *arguments], input=given, capture_output=True, encoding="utf-8", cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def computed(folder, classes, pixels, pictures=()):
    request = {
        "folder": str(folder),
        "classes": classes,
        "texts": TEXTS,
        "pixels": {"dims": list(pixels.shape), "data": pixels.flatten().tolist()},
        "pictures": [str(each) for each in pictures],
    }
    return json.loads(in_node(NODE / "embed.mjs", given=json.dumps(request)))


FITTING = {"scenes": ["ChineseCLIPModel"], "chinese_clip": ["ChineseCLIPModel"]}
FITTING["hf_clip"] = ["CLIPModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection"]


@pytest.mark.js
@pytest.mark.parametrize("family", FITTING)
@torch.no_grad()
def test_transformers_js_gives_the_repos_ids_and_vectors(family, for_js):
    path, folder = for_js(family)
    model, processor = AutoModel.from_pretrained(path).eval(), AutoProcessor.from_pretrained(path)
    side = processor.image_processor.size.height
    pixels = torch.randn(3, 3, side, side)
    found = computed(folder, FITTING[family], pixels)

    assert found["warnings"] == []
    kept = [place for place, text in enumerate(TEXTS) if text != CAPITALS]
    wanted = [processor.tokenizer(text)["input_ids"] for text in TEXTS]
    assert [found["ids"][each] for each in kept] == [wanted[each] for each in kept]
    inputs = processor(text=TEXTS, return_tensors="pt")
    assert found["padded"]["attention_mask"][0] == inputs["attention_mask"][0].tolist()
    vectors = {
        "text_embeds": model.encode_text(inputs["input_ids"], inputs["attention_mask"])[kept],
        "image_embeds": model.encode_image(pixels),
    }
    for name, ours in vectors.items():
        for theirs in found["given_pixels"][name]:
            theirs = np.array(theirs)[kept] if name == "text_embeds" else np.array(theirs)
            print(f"{family}: {name}: largest difference {abs(theirs - ours.numpy()).max():.2g}")
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-4)
