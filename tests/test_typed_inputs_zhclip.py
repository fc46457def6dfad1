"""What people type into a model: texts and pictures give the vectors of the processor's own tensors."""

import copy
import os
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from hf_zhclip import (
    ZhCLIPImageProcessor,
    ZhCLIPProcessor,
    ZhCLIPTextModel,
    ZhCLIPTextModelWithProjection,
    ZhCLIPVisionModelWithProjection,
)
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer
from hf_zhclip.typed_inputs_zhclip import Place

from tests.image_modes import rgb, with_alpha
from tests.small_models import WHOLE_ON_DISK, build

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"猫狗一只"]
TEXTS = ["一只猫", "狗"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A repo of a small model with its processor."""
    path = tmp_path_factory.mktemp("typed") / "模型"
    build("cn_clip").save_pretrained(path)
    image_processor = ZhCLIPImageProcessor(image_order="squash_then_rgb", size=64)
    ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, 8)).save_pretrained(path)
    return path


@pytest.fixture
def model(folder):
    return AutoModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def processor(folder):
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture
def no_load(monkeypatch):
    """Loading a processor would fail."""
    monkeypatch.setattr(Place, "load", lambda *arguments, **options: pytest.fail("a processor was loaded"))


def text_vectors(model, processor, texts) -> torch.Tensor:
    return model.encode_text(**processor(text=texts, return_tensors="pt"))


def image_vectors(model, processor, pictures) -> torch.Tensor:
    return model.encode_image(processor(images=pictures, return_tensors="pt").pixel_values)


@torch.no_grad()
def test_texts_give_the_vectors_of_their_ids(model, processor):
    wanted = text_vectors(model, processor, TEXTS)
    for form in (TEXTS, tuple(TEXTS)):
        assert torch.equal(model.encode_text(form), wanted)
    single = model.encode_text("一只猫")
    assert single.shape == (1, 16)
    assert torch.equal(single, text_vectors(model, processor, ["一只猫"]))


@torch.no_grad()
def test_pictures_give_the_vectors_of_their_pixels(model, processor, tmp_path):
    path = tmp_path / "猫 1.png"
    with_alpha(4).save(path)
    wanted = image_vectors(model, processor, with_alpha(4))
    assert wanted.shape == (1, 16)
    for form in (with_alpha(4), path, str(path), path.read_bytes(), BytesIO(path.read_bytes())):
        assert torch.equal(model.encode_image(form), wanted)
        assert torch.equal(model.encode_image([form]), wanted)
    array = np.array(rgb(30, 20))
    wanted = image_vectors(model, processor, rgb(30, 20))
    for form in (array, torch.from_numpy(array), torch.from_numpy(array).permute(2, 0, 1)):
        assert torch.equal(model.encode_image(form), wanted)
    mixed = model.encode_image([path, rgb(30, 20), np.array(rgb(9, 9).convert("L"))])
    assert torch.allclose(mixed[1:2], wanted, atol=1e-6) and mixed.shape == (3, 16)


def test_empty_lists_give_no_vectors(model):
    for found in (model.encode_text([]), model.encode_image([]), model.encode_image([[]])):
        assert (found.shape, found.dtype) == ((0, 16), torch.float32)


@pytest.mark.parametrize("text", ["http://127.0.0.1:9/cat.png", "https://example.com/cat.png", "没有.png", "cats", ""])
def test_a_string_that_is_no_file_is_refused_and_never_fetched(model, monkeypatch, text):
    monkeypatch.setattr("huggingface_hub.get_session", lambda: pytest.fail("fetched"))
    monkeypatch.setattr("hf_zhclip.image_processing_zhclip.get_session", lambda: pytest.fail("fetched"))
    for form in (text, [rgb(9, 9), text]):
        with pytest.raises(ValueError, match=f"found '{text}', which is no file; wanted the path of a picture"):
            model.encode_image(form)


def test_the_processor_is_loaded_once_and_only_when_it_is_needed(model, processor, monkeypatch):
    loads = []
    load = Place.load
    monkeypatch.setattr(Place, "load", lambda *a, **o: loads.append(1) or load(*a, **o))
    text_vectors(model, processor, TEXTS)
    assert not loads
    model.encode_text("猫")
    model.encode_image(rgb(9, 9))
    assert len(loads) == 1 and type(model.processor) is ZhCLIPProcessor


@torch.no_grad()
def test_a_processor_that_is_set_is_used(model, no_load):
    model.processor = ZhCLIPProcessor(
        ZhCLIPImageProcessor(image_order="crop_then_rgb", size=64), cn_clip_tokenizer(VOCAB, 3)
    )
    assert torch.equal(model.encode_text("一只猫"), text_vectors(model, model.processor, ["一"]))
    assert torch.equal(model.encode_image(rgb(30, 20)), image_vectors(model, model.processor, rgb(30, 20)))
    assert "processor" not in "".join(model.state_dict())


@pytest.mark.parametrize(("method", "argument"), [("encode_text", "text"), ("encode_image", "images")])
def test_a_model_without_a_place_says_which_call_to_make(method, argument):
    model = build("cn_clip")
    assert model.processor is None
    call = rf"{method}\(\*\*processor\({argument}=\[...\], return_tensors='pt'\)"
    with pytest.raises(TypeError, match=f"no processor, because it was not loaded .*model.processor = .*{call}"):
        getattr(model, method)("猫" if argument == "text" else rgb(9, 9))


def test_the_calls_of_that_message_work(folder, processor):
    model = build("cn_clip")
    model.encode_text(**processor(text=["猫"], return_tensors="pt").to(model.device))
    model.encode_image(**processor(images=[rgb(9, 9)], return_tensors="pt").to(model.device))
    model.processor = AutoProcessor.from_pretrained(folder)
    assert model.encode_text("猫").shape == (1, 16)


def test_a_folder_without_a_processor_or_that_is_gone_is_named(tmp_path):
    build("cn_clip").save_pretrained(tmp_path / "bare")
    model = AutoModel.from_pretrained(tmp_path / "bare")
    with pytest.raises(TypeError, match="nothing could be loaded from .*bare.*model.processor = "):
        model.encode_text("猫")
    os.rename(tmp_path / "bare", tmp_path / "moved")
    with pytest.raises(TypeError, match="the folder .*bare is gone"):
        model.encode_image(rgb(9, 9))


def test_a_relative_folder_is_found_from_another_directory(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    model = AutoModel.from_pretrained(folder.name)
    monkeypatch.chdir(tmp_path)
    assert model.encode_text("猫").shape == (1, 16)


@torch.no_grad()
def test_a_tower_alone_takes_its_own_side(folder, model, caplog):
    text = ZhCLIPTextModelWithProjection.from_pretrained(folder)
    vision = ZhCLIPVisionModelWithProjection.from_pretrained(folder)
    assert torch.equal(text.encode_text(TEXTS), model.encode_text(TEXTS))
    assert torch.equal(vision.encode_image(with_alpha(4)), model.encode_image(with_alpha(4)))
    assert text.encode_text([]).shape == vision.encode_image([]).shape == (0, 16)
    assert type(vision.processor) is ZhCLIPImageProcessor
    assert type(ZhCLIPTextModel.from_pretrained(folder).processor) is type(text.processor)
    for _ in range(2):
        text.encode_text("猫" * 20)
    assert [record.levelname for record in caplog.records if "were cut" in record.getMessage()] == ["WARNING"]


def test_a_text_tower_saved_with_its_tokenizer_alone_is_enough(folder, tmp_path):
    ZhCLIPTextModelWithProjection.from_pretrained(folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).encode_text("猫").shape == (1, 16)


PLACES = {"logit_scale": "cpu", "text_model": "disk", "text_projection": "disk", "vision_model": "cpu"}


@pytest.mark.parametrize(
    ("auto", "places"),
    [
        (AutoModel, PLACES | {"visual_projection": "cpu"}),
        pytest.param(ZhCLIPTextModelWithProjection, {"": "disk"}, marks=WHOLE_ON_DISK),
    ],
)
@torch.no_grad()
def test_vectors_lie_on_the_models_device_also_where_its_parts_are_on_disk(auto, places, folder, model):
    found = auto.from_pretrained(folder, device_map=places).encode_text(TEXTS)
    assert found.device.type == "cpu" and torch.equal(found, model.encode_text(TEXTS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_takes_pictures(folder, dtype):
    model = AutoModel.from_pretrained(folder, dtype=dtype)
    assert model.encode_image(rgb(30, 20)).dtype == dtype and model.encode_image([]).dtype == dtype


@pytest.mark.parametrize("given", [[1, 2], {"input_ids": 1}, 3, ["猫", None], np.array([[1, 2]])])
def test_what_is_neither_text_nor_ids_is_refused(model, given):
    with pytest.raises(
        TypeError, match=r"wanted a text, a list of texts, or a tensor of ids .*encode_text\(\*\*inputs"
    ):
        model.encode_text(given)


def test_a_mask_without_ids_and_a_second_text_or_picture_are_refused(model):
    for call in (
        lambda: model.encode_text("猫", attention_mask=torch.ones(1, 3)),
        lambda: model.encode_text("猫", "狗"),
    ):
        with pytest.raises(TypeError, match=r"several texts as a list, encode_text\(\[...\]\)"):
            call()
    with pytest.raises(TypeError, match="positional argument"):
        model.encode_image(rgb(30, 20), rgb(20, 30))


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (
            lambda model: model.encode_text(torch.tensor([1, 2])),
            r"found input_ids of shape \(2,\); wanted \(n, length",
        ),
        (lambda model: model.encode_image(torch.rand(3, 48, 48)), r"found pixel_values of shape \(3, 48, 48\)"),
        (lambda model: model(input_ids="猫"), "found a value of type str as input_ids.*encode_text takes texts"),
        (lambda model: setattr(model, "processor", "demo/model"), "found 'demo/model' as the processor"),
    ],
    ids=["ids", "pixels", "forward", "processor"],
)
def test_tensors_of_another_shape_and_values_that_are_none_are_named(model, call, found):
    with pytest.raises((TypeError, ValueError), match=found):
        call(model)


class TestPlace:
    def test_a_folder_is_read_offline_and_has_no_revision(self, folder):
        place = Place.of_load(folder, {"revision": "v1", "subfolder": "a", "cache_dir": "c"}, "abc")
        assert place.source == str(folder)
        assert place.options == {"local_files_only": True, "subfolder": "a", "cache_dir": "c"}

    def test_a_name_keeps_its_options_and_is_pinned_to_the_models_commit(self):
        asked = {"revision": "main", "local_files_only": True, "cache_dir": "c", "dtype": "auto", "subfolder": ""}
        place = Place.of_load("user/repo", asked, "abc")
        assert place.options == {"revision": "abc", "local_files_only": True, "cache_dir": "c", "subfolder": ""}
        assert Place.of_load("user/repo", asked, None).options["revision"] == "main"

    def test_a_token_is_neither_printed_nor_pickled(self):
        place = Place.of_load("user/repo", {"token": "hf_secret"}, None)
        assert place.token == "hf_secret"
        assert "secret" not in repr(place) and b"secret" not in pickle.dumps(place)
        assert copy.deepcopy(place).token is None


def test_a_model_with_its_processor_can_be_copied_and_pickled(model):
    wanted = model.encode_text("猫")
    for each in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(each.encode_text("猫"), wanted)


def test_a_subfolder_is_remembered(folder):
    model = AutoModel.from_pretrained(folder.parent, subfolder=folder.name)
    assert model.encode_text("猫").shape == (1, 16) and model.encode_image(Image.new("L", (9, 9))).shape == (1, 16)


@pytest.mark.thorough  # test_modeling_zhclip.py compiles a whole model
def test_encoding_tensors_stays_one_graph(model, processor):
    """Compiling with fullgraph=True fails on any branch on values."""
    inputs = processor(text=TEXTS, images=[rgb(9, 9)] * 2, return_tensors="pt")
    compiled = torch.compile(model.encode_text, backend="eager", fullgraph=True)
    assert torch.equal(compiled(inputs.input_ids, inputs.attention_mask), text_vectors(model, processor, TEXTS))
    compiled = torch.compile(model.encode_image, backend="eager", fullgraph=True)
    assert torch.equal(compiled(inputs.pixel_values), model.encode_image(inputs.pixel_values))
