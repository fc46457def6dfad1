"""A repo becomes graphs that onnxruntime runs, and each graph computes what the repo computes."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.onnx.graphs import write_graph
from hf_zhclip.conversion.exports.onnx.towers import IMAGE, load_tower
from hf_zhclip.conversion.repos.repo import read_repo

from tests import checkpoints
from tests.conversion.exports.onnx.alike import ALIKE, QUICK, families
from tests.conversion.helpers import PICTURES, entries

FILES = {
    *("README.md", "preprocessor_config.json", "text_model.onnx", "tokenizer.json", "tokenizer_config.json"),
    *("vision_model.onnx", "zhclip_onnx.json", "zhclip_onnx.py", "zhclip_onnx_report.json"),
}
TEXTS = ["一只猫", "", "两只可爱的小狗在草地上奔跑，远处有一棵大树。", "A photo of a cat [PAD] x", "很长" * 200]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, **inputs):
    (output,) = session(path).run(None, {name: np.asarray(each) for name, each in inputs.items()})
    return output


@pytest.mark.thorough
@pytest.mark.parametrize("family", ALIKE)
def test_a_family_that_is_not_exported_has_the_config_of_one_that_is(family, repo):
    configs = [json.loads((repo(each).path / "config.json").read_bytes()) for each in (family, ALIKE[family])]
    for each in configs:
        del each["vision_config"]["projection_dim"]  # CLIP's own, which our model does not read
    assert configs[0] == configs[1]


@pytest.mark.parametrize("family", families(*QUICK))
@torch.no_grad()
def test_graphs_of_every_family_give_the_repos_embeddings(family, repo, exported):
    folder, path = exported(family), repo(family).path
    assert entries(folder) == FILES
    model = AutoModel.from_pretrained(path, dtype=torch.float64).eval()
    processor = AutoProcessor.from_pretrained(path)

    for texts in (TEXTS[:1], TEXTS[1:2], TEXTS):
        inputs = processor(text=texts, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found = run(folder / "text_model.onnx", **inputs)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, model.encode_text(**inputs), rtol=0, atol=1e-5)
    pixels = processor(images=[picture for _, picture in PICTURES], return_tensors="pt")["pixel_values"]
    for count in (1, 2, 4):
        found = run(folder / "vision_model.onnx", pixel_values=pixels[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, model.encode_image(pixels[:count].double()), rtol=0, atol=1e-5)


@pytest.mark.thorough
@torch.no_grad()
def test_a_text_tower_alone_gives_one_graph_of_its_pooled_states(tmp_path):
    folder = checkpoints.taiyi.taiyi_folder(tmp_path / "source", head=False)
    convert(folder, tmp_path / "ONE", format="bert_from_clip")
    export(tmp_path / "ONE", tmp_path / "ONNX", to="onnx")

    assert entries(tmp_path / "ONNX") == FILES - {"vision_model.onnx", "preprocessor_config.json"}
    inputs = AutoTokenizer.from_pretrained(tmp_path / "ONE")(TEXTS, padding=True, truncation=True, return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    model = AutoModel.from_pretrained(tmp_path / "ONE", dtype=torch.float64).eval()
    wanted = torch.nn.functional.normalize(model(**inputs).pooler_output)
    np.testing.assert_allclose(run(tmp_path / "ONNX" / "text_model.onnx", **inputs), wanted, rtol=0, atol=1e-5)
    assert "holds a text tower alone" in (tmp_path / "ONNX" / "README.md").read_text(encoding="utf-8")


@pytest.mark.thorough
@torch.no_grad()
def test_what_training_saved_of_a_repo_in_half_precision_is_exported_with_its_new_weights(repo, tmp_path):
    model = AutoModel.from_pretrained(repo("cn_clip_vit").path, dtype=torch.bfloat16)
    model.text_projection.weight.mul_(torch.linspace(0.5, 1.5, model.text_projection.in_features))
    model.save_pretrained(tmp_path / "TUNED")
    AutoProcessor.from_pretrained(repo("cn_clip_vit").path).save_pretrained(tmp_path / "TUNED")

    export(tmp_path / "TUNED", tmp_path / "ONNX", to="onnx")

    inputs = AutoProcessor.from_pretrained(tmp_path / "TUNED")(text=TEXTS, return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found = run(tmp_path / "ONNX" / "text_model.onnx", **inputs)
    tuned = AutoModel.from_pretrained(tmp_path / "TUNED", dtype=torch.float64).eval()
    np.testing.assert_allclose(found, tuned.encode_text(**inputs), rtol=0, atol=1e-5)
    before = AutoModel.from_pretrained(repo("cn_clip_vit").path).eval().encode_text(**inputs)
    assert abs(found - before.numpy()).max() > 0.01
    readme = (tmp_path / "ONNX" / "README.md").read_text(encoding="utf-8")
    assert "The repo has no conversion_report.json." in readme


@pytest.mark.quick(1)
@pytest.mark.parametrize("opset", [18, 25])
def test_the_graph_has_the_opset_that_was_asked_for(opset, repo, tmp_path):
    one = read_repo(repo("cn_clip_resnet").path)
    write_graph(load_tower(one, IMAGE), IMAGE, one, opset, tmp_path / "vision_model.onnx")
    model = onnx.load(tmp_path / "vision_model.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]


def test_inputs_and_outputs_have_names_and_free_sizes(exported):
    def sides(values):
        return [(each.name, each.type, each.shape) for each in values]

    text = session(exported("cn_clip_vit") / "text_model.onnx")
    assert sides(text.get_inputs()) == [
        ("input_ids", "tensor(int64)", ["batch", "length"]),
        ("attention_mask", "tensor(int64)", ["batch", "length"]),
    ]
    assert sides(text.get_outputs()) == [("text_embeds", "tensor(float)", ["batch", 48])]
    image = session(exported("cn_clip_vit") / "vision_model.onnx")
    assert sides(image.get_inputs()) == [("pixel_values", "tensor(float)", ["batch", 3, 64, 64])]
    assert sides(image.get_outputs()) == [("image_embeds", "tensor(float)", ["batch", 48])]


def test_the_report_says_what_was_compared(exported):
    report = json.loads((exported("cn_clip_vit") / "zhclip_onnx_report.json").read_text(encoding="utf-8"))
    assert (report["provider"], report["opset"], report["precision"]) == ("CPUExecutionProvider", 20, "float32")
    assert report["versions"]["onnxruntime"] == onnxruntime.__version__
    text, image = report["towers"]
    assert (text["file"], text["bound"]) == ("text_model.onnx", 1e-5)
    assert (image["file"], image["bound"]) == ("vision_model.onnx", 1e-5)
    assert (
        {each["shape"][0] for each in text["batches"]} == {each["shape"][0] for each in image["batches"]} == {1, 3, 17}
    )
    assert {1, 2, 52, 64} <= {each["shape"][1] for each in text["batches"]}  # the tokenizer's limit, all positions
    for tower in report["towers"]:
        assert 0 < tower["difference"] == max(each["difference"] for each in tower["batches"]) <= 1e-5
        assert 1 - 1e-6 < tower["cosine"] <= 1 + 1e-6
    for name in ("text_model.onnx", "vision_model.onnx"):
        onnx.checker.check_model(exported("cn_clip_vit") / name)
