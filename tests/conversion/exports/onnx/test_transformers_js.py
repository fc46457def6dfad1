"""The layout of transformers.js. Its names are those of the package's own source, version 4.3.1.

The tests with the mark `js` run the package in Node.
"""

import itertools
import json
import random
import re
import shutil
import subprocess
import unicodedata
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, ParityError
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.natives import fits
from hf_zhclip.conversion.exports.onnx import readme_js, transformers_js
from hf_zhclip.conversion.exports.onnx.tokenizer_js import portable
from hf_zhclip.conversion.proof import samples, texts
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.examples import scenes

from tests import checkpoints
from tests.checkpoints import FAMILIES
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

FITTING = (
    "chinese_clip",
    "hf_clip",
    "cn_clip_vit",
    "cn_clip_flash",
    "easynlp",
    "modelscope",
    "open_clip",
    "openai_clip",
)
FITTING += ("taiyi_clip", "wukong")
"""The families that `export --to transformers` writes as ChineseCLIPModel or CLIPModel."""

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


@pytest.mark.any_version
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


@pytest.mark.any_version
def test_no_file_names_a_place_of_its_maker(for_js):
    path, folder = for_js("cn_clip_vit")
    places = {
        str(Path.home()),
        str(ROOT),
        str(path.parent),
        str(folder.parent),
        "site-packages",
        ".py:",
        "stack_trace",
    }
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) == 7
    assert {(file.name, place) for file in files for place in places if place.encode() in file.read_bytes()} == set()


@torch.no_grad()
@pytest.mark.any_version
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


# A graph that is wrong in what no plain graph has


def raised(model, is_it):
    """Adds 1 to the only number of a graph that is it."""
    (tensor,) = [each for each in model.graph.initializer if is_it(each.name, onnx.numpy_helper.to_array(each))]
    value = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(value + 1, value.dtype), tensor.name))


PLANTED = {
    "logits_per_image": lambda name, value: name == "scale",
    "a text that transformers.js cut": lambda name, value: value.shape == () and value == 52 - 1,  # the last place
}


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.any_version
def test_a_wrong_scale_or_a_wrong_end_of_a_text_leaves_nothing(what, for_js, tmp_path, monkeypatch):
    path, folder = for_js("cn_clip_vit")

    def write_graph(module, tower, repo, opset, file):
        model = onnx.load(folder / tower.file)
        raised(model, PLANTED[what])
        onnx.save(model, file)

    monkeypatch.setattr(transformers_js, "write_graph", write_graph)
    message = f"^onnx/model.onnx in onnxruntime .*: {what} differs by up to [0-9.]+, and at most [0-9.e-]+ is allowed"
    with pytest.raises(ParityError, match=message):
        export(path, tmp_path / "x", **LAYOUT)
    assert entries(tmp_path) == set()


# Tokenizers


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", FITTING)
def test_the_tokenizer_that_is_written_otherwise_gives_the_same_ids_in_python(family, repo, tmp_path):
    """The words that JavaScript would read otherwise are gone; `make test-js` shows that it gives these ids, too."""
    loaded = read_repo(repo(family).path)
    transformers_js.write_inputs(loaded, transformers_js.native_of(loaded), tmp_path)
    written = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    written.encode_special_tokens = loaded.tokenizer.split_special_tokens
    wanted = [loaded.tokenizer(text)["input_ids"] for text in TEXTS]
    assert [each.ids for each in written.encode_batch(TEXTS)] == wanted
    steps = json.dumps({name: read(tmp_path / "tokenizer.json")[name] for name in ("normalizer", "pre_tokenizer")})
    assert '"BertNormalizer"' not in steps and '"use_regex": true' not in steps


def test_a_tokenizer_of_single_steps_becomes_sequences_and_strange_steps_stay():
    strange = {"type": "Strip", "strip_left": True, "strip_right": True}
    content = {"normalizer": {"type": "Lowercase"}, "pre_tokenizer": None, "model": {"vocab": {"a": 0}}}
    content["added_tokens"] = [
        {"content": "a", "special": True},
        {"content": "b", "special": True},
        {"content": "a", "special": False},
    ]
    found = portable(content, split_special_tokens=True)
    lowered = [{"type": "Replace", "pattern": {"String": "Σ"}, "content": "σ"}, {"type": "Lowercase"}]
    assert found["normalizer"] == {"type": "Sequence", "normalizers": lowered}
    assert found["pre_tokenizer"] is None
    assert found["added_tokens"] == content["added_tokens"][1:]
    assert portable({**content, "normalizer": strange}, split_special_tokens=False) == {
        **content,
        "normalizer": strange,
    }


# Refusals


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_that_have_a_class_are_those_that_transformers_has_one_of(family, repo):
    loaded = read_repo(repo(family).path)
    native = next((fit.native.name for fit in fits(loaded.config) if not fit.lost), None)
    assert (native in ("ChineseCLIPModel", "CLIPModel")) == (family in FITTING)
    if family in FITTING:
        assert transformers_js.native_of(loaded).name == native


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


def test_another_precision_is_refused_there_and_without_it_the_export_goes_on(tmp_path):
    with pytest.raises(InputError, match="writes float32. Leave --precision float16 or --layout out."):
        export(tmp_path / "OUT", tmp_path / "x", precision="float16", **LAYOUT)
    for arguments in (LAYOUT, {"to": "onnx", "precision": "float16"}):
        with pytest.raises(InputError, match="OUT does not exist"):  # the next thing that is looked at
            export(tmp_path / "OUT", tmp_path / "x", **arguments)


# In Node


def in_node(script, *, given=None, cwd=None):
    done = subprocess.run(["node", str(script)], input=given, capture_output=True, encoding="utf-8", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def computed(folder, **request):
    """What embed.mjs answers; the request is in its first lines."""
    asked = {"folder": str(folder), "classes": [], "texts": TEXTS, "pixels": None, "pictures": [], **request}
    return json.loads(in_node(NODE / "embed.mjs", given=json.dumps(asked)))


def drawn_texts():
    """Texts of characters that are of one kind in Unicode 3.2 and now: the libraries know different versions."""
    characters = [*map(chr, range(0xD800)), *map(chr, range(0xE000, 0x30000))]
    old = unicodedata.ucd_3_2_0.category
    known = [each for each in characters if old(each) == unicodedata.category(each) != "Cn"]
    numbers = random.Random(0)
    return [
        "".join(numbers.choice(numbers.choice((known, "一只猫Ab1 Σςİßé。,！"))) for _ in range(20)) for _ in range(500)
    ]


@pytest.mark.js
@pytest.mark.parametrize("family", FITTING)
def test_transformers_js_gives_the_repos_ids(family, repo, tmp_path):
    loaded = read_repo(repo(family).path)
    transformers_js.write_inputs(loaded, transformers_js.native_of(loaded), tmp_path)
    tokenizer, texts = loaded.tokenizer, [text for text in TEXTS if text != CAPITALS] + drawn_texts()
    found = computed(tmp_path, texts=texts)
    assert found["warnings"] == []
    assert found["ids"] == [tokenizer(text)["input_ids"] for text in texts]
    rightly = tokenizer(texts, padding=True, truncation=True)["attention_mask"]
    assert found["padded"]["attention_mask"] == rightly


VECTORS = {
    "scenes": ["ChineseCLIPModel"],
    "hf_clip": ["CLIPModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection"],
}
"""By family, classes of transformers.js."""


@pytest.mark.js
@pytest.mark.parametrize("family", VECTORS)
@torch.no_grad()
def test_transformers_js_gives_the_repos_vectors_of_texts_and_of_the_repos_own_pixels(family, for_js):
    path, folder = for_js(family)
    model, processor = AutoModel.from_pretrained(path).eval(), AutoProcessor.from_pretrained(path)
    pictures = [picture for _, picture in itertools.islice(samples.pictures(), 6)]
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    given = {"dims": list(pixels.shape), "data": pixels.flatten().tolist()}
    found = computed(folder, classes=VECTORS[family], pixels=given)["given_pixels"]

    texts = [text for text in TEXTS if text != CAPITALS]
    rows = [place for place, text in enumerate(TEXTS) if text != CAPITALS]
    wanted = {"text_embeds": model.encode_text(texts), "image_embeds": model.encode_image(pixels)}
    for name, ours in wanted.items():
        assert len(found[name]) == (2 if family == "hf_clip" else 1)
        for each in found[name]:
            theirs = np.array(each)[rows] if name == "text_embeds" else np.array(each)
            print(f"{family}: {name}: largest difference {abs(theirs - ours.numpy()).max():.2g}")
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-4)


def drawn(folder):
    """Scenes that the small model was not trained with, as its training drew them, in a larger size."""
    for place, scene in enumerate(scenes.new_gallery()[:40]):
        file = folder / f"scene{place}.png"
        scenes.draw(scene, side=384).save(file)
        yield file


SIZES = [(333, 500), (640, 480), (480, 640), (1280, 960), (1920, 1080), (1000, 1000)]


def like_photographs(folder):
    """Noise whose amplitude falls with its frequency, as that of photographs does."""
    for place, (width, height) in enumerate(SIZES * 2):
        numbers = np.random.default_rng(place)
        distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        amplitude = 1 / np.maximum(distance, 1 / max(width, height))
        grey, *colours = (np.fft.rfft2(numbers.standard_normal((height, width))) * amplitude for _ in range(4))
        channels = [np.fft.irfft2(grey + colour / 2, s=(height, width)) for colour in colours]
        pixels = np.stack([(each - each.mean()) / each.std() * 50 + 128 for each in channels], axis=-1)
        file = folder / f"noise{place}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=90)
        yield file


@pytest.mark.js
@torch.no_grad()
def test_the_readme_says_the_smallest_cosine_of_picture_files(for_js, tmp_path):
    path, folder = for_js("scenes")
    model = AutoModel.from_pretrained(path).eval()
    measured = []
    for draw in (drawn, like_photographs):
        files = list(map(str, draw(tmp_path)))
        found = computed(folder, classes=["ChineseCLIPModel"], texts=["猫"], pictures=files)["from_files"]
        theirs = np.array([each["image_embeds"][0][0] for each in found])
        measured.append((len(files), float((theirs * model.encode_image(files).numpy()).sum(-1).min())))
    page = (folder / "README.md").read_text(encoding="utf-8")
    for (count, smallest), (pictures, stated) in zip(measured, readme_js.MEASURED.items(), strict=True):
        print(f"{pictures}: {smallest:.6f}")
        assert pictures.startswith(f"{count} ") and f"| {pictures} | {stated} |" in page
        assert stated <= smallest < stated + 1e-4
    pinned = read(NODE / "package.json")["dependencies"]["@huggingface/transformers"]
    assert pinned == readme_js.VERSION


@pytest.fixture
def place_of_scripts(tmp_path):
    """A folder whose scripts find the packages, with the picture that the README of the project draws."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    picture = Image.new("RGB", (48, 48), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 36, 36), fill="red")
    picture.save(tmp_path / "picture.png")
    return tmp_path


def scripts_of(page):
    return re.findall("^```javascript\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.js
@pytest.mark.parametrize(("family", "width"), [("scenes", 64), ("hf_clip", 48)])
def test_the_scripts_of_an_exports_readme_run_in_its_folder(family, width, for_js, place_of_scripts):
    folder = shutil.copytree(for_js(family)[1], place_of_scripts / "copy")
    shutil.copy(place_of_scripts / "picture.png", folder)
    printed = []
    for number, script in enumerate(scripts_of(folder / "README.md")):
        (folder / f"use{number}.mjs").write_text(script, encoding="utf-8")
        printed.append(in_node(f"use{number}.mjs", cwd=folder))
    classified, shapes = printed
    assert "一只猫" in classified and "score" in classified
    assert shapes == f"[ 2, {width} ] [ 1, {width} ]\n"


@pytest.mark.js
def test_the_script_of_the_projects_readme_gives_what_the_page_says(for_js, place_of_scripts):
    (script,) = scripts_of(ROOT / "README.md")
    shutil.copytree(for_js("scenes")[1], place_of_scripts / "my-js-clip")
    (place_of_scripts / "use.mjs").write_text(script, encoding="utf-8")
    printed = in_node("use.mjs", cwd=place_of_scripts)
    (first,) = re.findall(r"score: ([\d.]+), label: '一个红色圆形'", printed)
    assert float(first) > 0.99 and "label: '一个蓝色圆形'" in printed


def test_what_the_export_prints_loads_a_path_that_is_no_name_of_the_hub(tmp_path):
    assert '"./my-js-clip"' in transformers_js.how_to_load(Path("my-js-clip"))
    assert f'"{tmp_path}"' in transformers_js.how_to_load(tmp_path)
