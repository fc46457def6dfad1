"""The Embedder on an ONNX export, beside the export's own `encode_text` and `encode_image`."""

import io

import numpy as np
import pytest
from PIL import Image

from hf_zhclip.errors import InputError
from hf_zhclip.inference import Embedder, load_onnx

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


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no zhclip_onnx.json in .*; wanted a folder that `zhclip export"):
        Embedder.from_pretrained(tmp_path, "onnx")
