"""The Embedder on an ONNX export, beside the export's own `encode_text` and `encode_image`."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hf_zhclip.errors import InputError
from hf_zhclip.inference import Embedder, load_onnx
from hf_zhclip.inference.loading import EXPORT

from tests.data.made import picture
from tests.inference.exported import WIDTH, export, small_repo

TEXTS = ["猫", "猫狗猫狗", "", "狗狗", "猫狗猫"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export(tmp_path_factory.mktemp("embedded"), small_repo(context_length=8))


def test_texts_get_the_vectors_of_the_export_in_the_order_of_the_caller(folder):
    found = Embedder.from_pretrained(folder, "onnx", batch_size=2).encode_texts(iter(TEXTS))
    assert (found.dtype, found.shape) == (np.float32, (5, WIDTH))
    assert np.abs(found - load_onnx(folder).encode_text(TEXTS)).max() < 1e-6


def test_pictures_of_every_form_get_the_vectors_of_the_export_and_broken_ones_are_noted(folder, tmp_path):
    (tmp_path / "a.png").write_bytes(picture("red"))
    red = Image.open(tmp_path / "a.png")
    broken = {}
    given = [tmp_path / "a.png", b"no picture", red, np.asarray(red), io.BytesIO(picture("red")), picture("blue")]
    found = Embedder.from_pretrained(folder, "onnx", batch_size=2).encode_images(given, broken=broken)
    wanted = load_onnx(folder).encode_image([red, red, red, red, picture("blue")])
    assert np.abs(found - wanted).max() < 1e-6
    assert list(broken) == [1]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(post_processor={"type": 3}),
        lambda content: content["model"].update(unk_token="no token"),
    ],
)
def test_an_export_with_another_tokenizer_ends_in_words_where_the_tokenizer_is_read(change, tmp_path):
    folder = export(tmp_path / "export", small_repo())
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    embedder = Embedder.from_pretrained(folder, "onnx")
    with pytest.raises(InputError, match="tokenizer.json, which cannot be read"):
        embedder.encode_texts("猫")


DOUBLED = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["post_processor"].update(special_tokens={}), "special_tokens lack"),
        (
            lambda content: content.update(normalizer={"type": "Sequence", "normalizers": [DOUBLED] * 30}),
            "times as long; 512 times at most",
        ),
    ],
)
def test_an_export_whose_tokenizer_panics_or_costs_much_is_refused_when_it_is_loaded(change, message, tmp_path):
    folder = export(tmp_path / "export", small_repo())
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Embedder.from_pretrained(folder, "onnx")


def test_a_graph_that_fails_is_told_in_words(tmp_path):
    folder = export(tmp_path / "export", small_repo())
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"]["猫"] = 1000  # the graph has a row for each of seven words
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    stated = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    (folder / EXPORT).write_text(json.dumps({**stated, "files": None}), encoding="utf-8")
    embedder = Embedder.from_pretrained(folder, "onnx")
    with pytest.raises(InputError, match="onnxruntime cannot compute text_embeds of .*: .*two exports"):
        embedder.encode_texts("猫")


def test_a_graph_that_does_not_load_is_told_in_words(tmp_path):
    folder = export(tmp_path / "export", small_repo())
    (folder / "vision_model.onnx").write_bytes(b"no graph")
    embedder = Embedder.from_pretrained(folder, "onnx")
    with pytest.raises(InputError, match="vision_model.onnx, which onnxruntime .* cannot load"):
        embedder.encode_images([Image.new("RGB", (8, 8))], broken={})


@pytest.mark.parametrize(
    "given",
    [np.zeros((1, 3), np.float32), np.zeros((2, WIDTH), np.float32), np.zeros((1, WIDTH), np.int64), {"a": 1.0}],
)
def test_what_a_graph_gives_beside_vectors_is_refused(given, folder):
    embedder = Embedder.from_pretrained(folder, "onnx")
    embedder.model._export._text_session = SimpleNamespace(run=lambda names, inputs: [given])
    with pytest.raises(InputError, match="found text_embeds of .*; floats of the shape .1, 16. were wanted"):
        embedder.encode_texts("猫")


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no zhclip_onnx.json in .*; wanted a folder that `zhclip export"):
        Embedder.from_pretrained(tmp_path, "onnx")


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_the_cpu_may_be_named_in_every_form(folder, device):
    assert Embedder.from_pretrained(folder, "onnx", device_map=device).encode_texts("猫").shape == (1, WIDTH)


@pytest.mark.parametrize("given", [{"dtype": "float32"}, {"device_map": "cuda"}])
def test_an_option_that_an_export_has_not_is_left_out(folder, given):
    with pytest.raises(InputError, match="Leave it out"):
        Embedder.from_pretrained(folder, "onnx", **given)
    assert Embedder.from_pretrained(folder, "onnx").encode_texts("猫").shape == (1, WIDTH)


def test_an_export_for_transformers_js_is_told_as_such_and_a_plain_export_is_taken(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "text_model.onnx").touch()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an export for transformers.js, .* Export the repo once more with"):
        Embedder.from_pretrained(tmp_path, "onnx")
    plain = export(tmp_path / "plain", small_repo())
    assert Embedder.from_pretrained(plain, "onnx").encode_texts("猫").shape == (1, WIDTH)


def test_a_converted_repo_is_told_as_such_and_an_export_is_told_to_the_other_engines(folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match='holds weights for torch, .* Leave engine="onnx" out'):
        Embedder.from_pretrained(tmp_path, "onnx")
    for engine in ("torch", "compile"):
        with pytest.raises(InputError, match='holds an ONNX export; .* engine="onnx"'):
            Embedder.from_pretrained(folder, engine)
