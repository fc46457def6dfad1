"""zhclip_onnx.py: the processor's pixels, embeddings in the order of the arguments, and words for what is wrong."""

import json
import logging
import os
import shutil
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hf_zhclip.conversion.exports.onnx.facts import facts
from hf_zhclip.errors import InputError
from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS, SQUARE_ORDERS
from hf_zhclip.inference import load_onnx
from hf_zhclip.inference.zhclip_onnx import FACTS, ZhCLIPOnnx, mark

from tests.image_modes import PICTURES, photo_on_its_side, rgb, values, with_alpha
from tests.inference.exported import WIDTH, export, small_repo, table, without_graphs

MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "I;16B", "F", "RGBX")
FILTERS = tuple(Image.Resampling)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return export(tmp_path_factory.mktemp("exported"), small_repo())


@pytest.fixture
def model(folder) -> ZhCLIPOnnx:
    return ZhCLIPOnnx(folder)


@pytest.fixture
def own(tmp_path) -> Path:
    """An export that a test may damage."""
    return export(tmp_path / "own", small_repo())


def same_bits(found: np.ndarray, wanted: np.ndarray) -> bool:
    return (found.shape, found.dtype, found.tobytes()) == (wanted.shape, wanted.dtype, wanted.tobytes())


def edit(folder: Path, side: str | None = None, **fields) -> None:
    content = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    (content[side] if side else content).update(fields)
    (folder / FACTS).write_text(json.dumps(content), encoding="utf-8")


def outside(model: onnx.ModelProto, location: str) -> None:
    """Adds weights that lie in a file."""
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value=location)


def of_any_mode(mode: str, width: int, height: int) -> Image.Image:
    if mode == "F":
        return rgb(width, height).convert("F")
    size = len(Image.new(mode, (width, height)).tobytes())
    return Image.frombytes(mode, (width, height), values(size, 1, 1).astype(np.uint8).tobytes())


class TestPixels:
    @pytest.mark.filterwarnings("ignore:Palette images with Transparency")
    @pytest.mark.parametrize("order", IMAGE_ORDERS)
    def test_pictures_of_every_kind_have_the_bits_of_the_processor(self, tmp_path, order):
        repo = small_repo(order, size=20)
        pictures = [draw() for draw in PICTURES.values()]
        wanted = repo.processor(images=pictures, return_tensors="np").pixel_values
        assert same_bits(ZhCLIPOnnx(without_graphs(tmp_path / "o", repo)).pixels(pictures), wanted)

    @pytest.mark.parametrize("order", IMAGE_ORDERS)
    def test_pictures_of_every_shape_have_the_bits_of_the_processor(self, tmp_path, order):
        repo = small_repo(order, size=20)
        sides = (1, 7, 19, 20, 21, 22, 29, 41)
        pictures = [rgb(width, height) for width in sides for height in sides]
        wanted = repo.processor(images=pictures, return_tensors="np").pixel_values
        assert same_bits(ZhCLIPOnnx(without_graphs(tmp_path / "o", repo)).pixels(pictures), wanted)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.data())
    def test_any_picture_and_any_settings_give_the_bits_of_the_processor(self, tmp_path_factory, data):
        order, mode, resample = (data.draw(st.sampled_from(each)) for each in (tuple(IMAGE_ORDERS), MODES, FILTERS))
        size, width, height = (data.draw(st.integers(1, 60)) for _ in range(3))
        mean, std = (data.draw(st.tuples(*[st.floats(low, 1)] * 3)) for low in (-1, 0.01))
        switches = data.draw(
            st.sampled_from(({}, {"do_normalize": False}, {"do_rescale": False, "do_normalize": False}))
        )
        repo = small_repo(order, size, resample=resample, image_mean=mean, image_std=std, **switches)
        picture = of_any_mode(mode, width, height)
        found = ZhCLIPOnnx(without_graphs(tmp_path_factory.mktemp("o"), repo)).pixels(picture)
        assert same_bits(found, repo.processor(images=picture, return_tensors="np").pixel_values)

    def test_a_processor_that_does_not_resize_takes_pictures_of_its_size_alone(self, tmp_path):
        repo = small_repo(size=8, do_resize=False)
        model = ZhCLIPOnnx(without_graphs(tmp_path / "o", repo))
        wanted = repo.processor(images=rgb(8, 8), return_tensors="np").pixel_values
        assert same_bits(model.pixels(rgb(8, 8)), wanted)
        with pytest.raises(ValueError, match="found a picture of 9 x 8 pixels; wanted 8 x 8"):
            model.pixels(rgb(9, 8))

    def test_a_processor_that_takes_no_bytes_cannot_be_exported(self):
        with pytest.raises(InputError, match="found do_rescale false and do_normalize true .* of a-repo"):
            facts(small_repo(do_rescale=False))

    def test_a_picture_has_the_same_pixels_in_every_form(self, model, tmp_path):
        path = tmp_path / "猫.png"
        with_alpha(4).save(path)
        wanted = model.pixels([with_alpha(4)])
        data = path.read_bytes()
        with open(path, "rb") as file:
            found = model.pixels([path, str(path), data, bytearray(data), BytesIO(data), file, with_alpha(4)])
        assert all(same_bits(each, wanted[0]) for each in found)
        assert same_bits(model.pixels(str(path)), wanted)

    def test_the_orientation_of_a_photo_is_not_applied(self, model):
        assert same_bits(model.pixels(photo_on_its_side()), model.pixels(rgb(97, 61)))

    def test_an_empty_list_has_no_rows(self, model):
        assert model.pixels([]).shape == (0, 3, 8, 8)


class TestTokens:
    """Every family's tokenizer is tried in tests/conversion/exports/onnx/test_facts.py."""

    def test_texts_are_cut_and_filled_up_to_the_longest(self, model):
        inputs = model.tokenize(["猫", "猫狗" * 9])
        assert inputs["input_ids"].tolist() == [[2, 5, 3, 0, 0, 0], [2, 5, 6, 5, 6, 3]]
        assert inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
        assert {values.dtype for values in inputs.values()} == {np.dtype(np.int64)}

    @pytest.mark.parametrize("empty", [[], ()])
    def test_an_empty_list_has_the_shape_that_the_processor_gives(self, model, empty):
        wanted = small_repo().processor(text=empty, return_tensors="np")
        assert {name: values.shape for name, values in model.tokenize(empty).items()} == {
            name: values.shape for name, values in wanted.items()
        }

    def test_the_first_cut_is_told_once(self, model, caplog):
        model.tokenize(["猫", "猫狗" * 9])
        model.tokenize("猫狗" * 9)
        (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert record.getMessage().startswith("1 of 2 texts have more than 6 tokens")

    def test_half_a_character_is_refused_and_what_the_message_says_helps(self, model):
        with pytest.raises(ValueError, match=r"found '猫\\ud83d', which holds half a character"):
            model.tokenize(["狗", "猫\ud83d"])
        mended = "猫\ud83d".encode("utf-8", "ignore").decode()
        assert model.tokenize([mended])["input_ids"].tolist() == [[2, 5, 3]]

    @pytest.mark.parametrize("texts", [None, 3, b"cat", ["cat", None], {"cat"}, [["cat"]]])
    def test_what_is_no_text_is_refused(self, model, texts):
        with pytest.raises(TypeError, match="found a .*; wanted a text or a list of texts"):
            model.tokenize(texts)


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class TestEmbeddings:
    TEXTS = ["猫", "猫狗", "狗狗狗狗", "狗"]
    IDS = [[2, 5, 3], [2, 5, 6, 3], [2, 6, 6, 6, 6, 3], [2, 6, 3]]

    @pytest.mark.parametrize("batch_size", [1, 3, 32])
    def test_texts_keep_their_order_in_batches_of_any_size(self, model, batch_size):
        wanted = normalised(np.array([table()[ids].sum(axis=0) for ids in self.IDS]))
        found = model.encode_text(self.TEXTS, batch_size=batch_size)
        assert found.dtype == np.float32 and np.allclose(found, wanted, atol=1e-6)

    @pytest.mark.parametrize("batch_size", [1, 3, 32])
    def test_pictures_keep_their_order_in_batches_of_any_size(self, model, batch_size):
        greys = [Image.new("L", (8, 8), value) for value in (0, 255, 3, 250)]
        found = model.encode_image(greys, batch_size=batch_size)
        assert found.dtype == np.float32 and np.allclose(found, [[sign * 0.25] * WIDTH for sign in (-1, 1, -1, 1)])

    def test_one_text_and_one_picture_give_one_row(self, model):
        assert model.encode_text("猫").shape == model.encode_image(rgb(9, 9)).shape == (1, WIDTH)

    def test_empty_lists_give_no_rows(self, model):
        assert model.encode_text([]).shape == model.encode_image([]).shape == (0, WIDTH)

    def test_of_paths_a_batch_is_open_at_a_time(self, model, tmp_path, monkeypatch):
        paths = [tmp_path / f"{number}.png" for number in range(5)]
        for path in paths:
            rgb(9, 9).save(path)
        sizes = []
        pixels = model.pixels
        monkeypatch.setattr(model, "pixels", lambda pictures: sizes.append(len(pictures)) or pixels(pictures))
        model.encode_image(paths, batch_size=2)
        assert sizes == [2, 2, 1]

    def test_where_padding_counts_all_texts_get_the_padding_of_the_longest(self, own, monkeypatch):
        edit(own, "text", attends_to_padding=True)
        model, lengths = ZhCLIPOnnx(own), []
        tokenize = model.tokenize
        monkeypatch.setattr(model, "tokenize", lambda texts: lengths.append(len(texts)) or tokenize(texts))
        model.encode_text(self.TEXTS, batch_size=1)
        assert lengths == [4]

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_batch_of_nothing_is_refused(self, model, size):
        with pytest.raises(ValueError, match=f"found batch_size={size}; wanted 1 or more"):
            model.encode_text(["猫"], batch_size=size)

    def test_the_scale_is_the_logarithm_that_the_repo_holds(self, model):
        assert model.logit_scale == small_repo().tensors["logit_scale"].item()
        assert model.embedding_size == WIDTH


class TestBadPictures:
    def test_a_path_that_is_no_file_is_named(self, model):
        with pytest.raises(ValueError, match="found 'gone/猫.png', which is no file; wanted the path of a picture"):
            model.encode_image(["gone/猫.png"])

    def test_an_address_is_not_fetched(self, model):
        with pytest.raises(ValueError, match="which is no file; .* Nothing is fetched here"):
            model.encode_image("https://example.com/cat.png")

    def test_a_picture_that_is_cut_off_is_named_and_the_whole_file_is_taken(self, model, tmp_path):
        path = tmp_path / "猫.png"
        rgb(60, 60).save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-900])
        with pytest.raises(
            ValueError, match="found '.*猫.png', which cannot be read as a picture: .* It may be cut off"
        ):
            model.encode_image([rgb(9, 9), path])
        with Image.open(path) as picture, pytest.raises(ValueError, match="found '.*猫.png', which cannot be read"):
            model.encode_image(picture)
        path.write_bytes(whole)
        assert same_bits(model.pixels(path), model.pixels(rgb(60, 60)))

    def test_a_file_of_another_kind_is_named(self, model, tmp_path):
        (tmp_path / "a.txt").write_text("cat")
        with pytest.raises(ValueError, match="found '.*a.txt', which holds no picture in a format that Pillow reads"):
            model.encode_image(tmp_path / "a.txt")

    def test_an_array_is_refused_and_becomes_a_picture_as_the_message_says(self, model):
        array = np.asarray(rgb(9, 9))
        with pytest.raises(TypeError, match=r"found a ndarray; wanted .* PIL.Image.fromarray\(array\)"):
            model.encode_image(array)
        assert same_bits(model.pixels(Image.fromarray(array)), model.pixels(rgb(9, 9)))

    @pytest.mark.parametrize("order", SQUARE_ORDERS)
    def test_a_line_of_pixels_is_refused_before_it_becomes_a_broad_line(self, order, tmp_path):
        model = ZhCLIPOnnx(without_graphs(tmp_path / "o", small_repo(order, 224)))
        for shape in ((1, 2**20), (2**20, 1)):
            with pytest.raises(ValueError, match="x 234,881,024 when its|234,881,024 x 224 when its shorter side has"):
                model.pixels(Image.new("L", shape))
        assert model.pixels(Image.new("L", (1, 1000))).shape == (1, 3, 224, 224)

    def test_a_file_with_a_side_of_more_than_a_million_pixels_is_refused(self, model, tmp_path):
        Image.new("1", (2**20 + 1, 1)).save(tmp_path / "a.png")
        with pytest.raises(
            ValueError, match="a picture of 1048577 x 1 pixels; a side of at most 1,048,576 was wanted"
        ):
            model.pixels(tmp_path / "a.png")

    def test_a_picture_without_pixels_is_refused(self, model):
        with pytest.raises(ValueError, match="found a picture of 0 x 9 pixels; no side may be 0"):
            model.pixels(Image.new("RGB", (0, 9)))


class TestFolder:
    def test_a_folder_that_is_no_export_is_refused_and_an_export_is_taken(self, tmp_path):
        with pytest.raises(ValueError, match="found no zhclip_onnx.json in .*; wanted a folder that `zhclip export"):
            ZhCLIPOnnx(tmp_path)
        assert ZhCLIPOnnx(export(tmp_path, small_repo())).encode_text("猫").shape == (1, WIDTH)

    @pytest.mark.parametrize("name", ["text_model.onnx", "vision_model.onnx", "tokenizer.json"])
    def test_a_file_that_is_missing_is_named(self, own, name):
        (own / name).unlink()
        with pytest.raises(ValueError, match=f"found no {name} in .*Copy the whole export again"):
            ZhCLIPOnnx(own)

    @pytest.mark.parametrize(
        ("name", "said"),
        [("text_model.onnx", "which onnxruntime .* cannot load"), ("tokenizer.json", "which cannot be read")],
    )
    def test_a_file_that_is_damaged_is_named_when_it_is_used(self, own, folder, name, said):
        (own / name).write_bytes((own / name).read_bytes()[:50])
        with pytest.raises(ValueError, match=f"found .*{name}, {said}: .*copy the whole export again"):
            ZhCLIPOnnx(own).encode_text("猫")
        shutil.copytree(folder, own, dirs_exist_ok=True)
        assert ZhCLIPOnnx(own).encode_text("猫").shape == (1, WIDTH)

    @pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", "\xff"])
    def test_facts_that_are_damaged_are_named(self, own, content):
        (own / FACTS).write_bytes(content.encode("latin-1"))
        with pytest.raises(ValueError, match=f"found .*{FACTS}, which cannot be read"):
            ZhCLIPOnnx(own)

    def test_facts_with_an_unknown_or_a_missing_field_are_damaged(self, own):
        whole = (own / FACTS).read_bytes()
        edit(own, "text", nonsense=1)
        with pytest.raises(ValueError, match="whose text has not the fields of format 1: nonsense is unknown. Take"):
            ZhCLIPOnnx(own)
        (own / FACTS).write_bytes(whole)
        content = json.loads(whole)
        content["vision"]["divider"] = content["vision"].pop("divisor")
        (own / FACTS).write_text(json.dumps(content))
        with pytest.raises(ValueError, match="whose vision has not the .*: divider is unknown, divisor is missing"):
            ZhCLIPOnnx(own)
        (own / FACTS).write_bytes(whole)
        assert ZhCLIPOnnx(own).encode_text("猫").shape == (1, WIDTH)

    @pytest.mark.parametrize(
        ("side", "field", "values"),
        [
            ("text", "model", (None, 3)),
            ("text", "context_length", (None, -1, 0, 1, 2, 2**40, True, 1.5)),
            ("text", "split_special_tokens", (None, 0)),
            ("text", "truncation_side", ("up", "")),
            ("text", "padding_side", ("up", "")),
            ("vision", "divisor", (None, "255", float("nan"), 0, -1)),
            ("vision", "std", ([0.2, 0, 0.2], [0.2, -0.1, 0.2])),
            ("vision", "height", (0,)),
            ("vision", "resample", (17,)),
            (None, "embedding_size", (0,)),
            ("vision", "mean", (None, [0, 0], [0, 0, "0"])),
            ("vision", "steps", (None, "rgb", ["nonsense"], [[]])),
            (None, "logit_scale", ("4.6", [])),
            (None, "text", ("", [], 3)),
        ],
    )
    def test_facts_of_another_kind_are_damaged(self, own, side, field, values):
        for value in values:
            edit(own, side, **{field: value})
            with pytest.raises(ValueError, match=f"found .*{FACTS}, which cannot be read: .*copy the whole export"):
                ZhCLIPOnnx(own)

    def test_a_graph_of_another_export_is_told_as_such(self, own, folder):
        edit(own, embedding_size=WIDTH + 1)
        with pytest.raises(
            ValueError, match=f"text_model.onnx, whose vectors have {WIDTH} numbers; wanted {WIDTH + 1}"
        ):
            ZhCLIPOnnx(own).encode_text("猫")
        shutil.copytree(folder, own, dirs_exist_ok=True)
        (own / "text_model.onnx").write_bytes((own / "vision_model.onnx").read_bytes())
        with pytest.raises(ValueError, match="text_model.onnx, which takes pixel_values; wanted a graph that ta"):
            ZhCLIPOnnx(own).encode_text("猫")
        shutil.copytree(folder, own, dirs_exist_ok=True)
        assert ZhCLIPOnnx(own).encode_text("猫").shape == (1, WIDTH)

    @pytest.mark.parametrize("name", ["text_model.onnx", "tokenizer.json"])
    def test_a_file_of_another_export_of_the_same_shapes_is_refused_and_a_changed_one_is_taken(self, own, name):
        other = (own / name).read_bytes()
        if name == "tokenizer.json":
            (own / name).write_text(other.decode().replace('"猫": 5', '"狐": 5'), encoding="utf-8")
        else:
            graph = onnx.load_from_string(other)
            graph.graph.initializer[0].raw_data = (table() + 1).tobytes()
            onnx.save(graph, own / name)
        assert (own / name).read_bytes() != other
        with pytest.raises(ValueError, match=f"found another {name} in .* than {FACTS} was written for"):
            ZhCLIPOnnx(own).encode_text("狗")
        edit(own, files=None)
        assert ZhCLIPOnnx(own).encode_text("狗").shape == (1, WIDTH)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (
                lambda model: model.graph.node[0].attribute.add(name="body").g.SetInParent(),
                "a loop, a branch or another",
            ),
            (lambda model: model.graph.node[0].attribute.add(name="x").graphs.add(), "a loop, a branch or another"),
            (lambda model: model.functions.add(), "functions of its own"),
            (lambda model: model.training_info.add(), "a graph for training"),
            (lambda model: model.graph.sparse_initializer.add(), "sparse weights"),
            (lambda model: model.graph.node[0].attribute.add(name="x").sparse_tensor.SetInParent(), "sparse weights"),
            (lambda model: model.graph.initializer.add(name="x", data_type=TensorProto.STRING), "a tensor of texts"),
            (lambda model: model.graph.node[0].attribute.add(name="value_strings"), "a constant text"),
            (lambda model: model.graph.node.add(op_type="Add", domain="stranger"), "an operator that is neither"),
            (lambda model: outside(model, "../x"), "weights in another folder"),
            (lambda model: outside(model, ".."), "weights in another folder"),
            (lambda model: outside(model, "/etc/passwd"), "weights in another folder"),
            (lambda model: outside(model, "*/_ORT_MEM_ADDR_/*"), "weights in another folder"),
            (
                lambda model: model.graph.node.extend([helper.make_node("Abs", ["x"], ["y"])] * 3050),
                "more than 3,0.. nodes",
            ),
            (lambda model: [model.graph.initializer.add() for _ in range(50_001)], "more than 50,000 nodes, attri"),
        ],
    )
    def test_what_no_export_holds_is_refused_before_onnxruntime_reads_it(self, own, folder, change, told):
        model = onnx.load(own / "text_model.onnx")
        change(model)
        (own / "text_model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(
            ValueError, match=f"text_model.onnx, which holds {told}.*; wanted a graph as `zhclip export"
        ):
            ZhCLIPOnnx(own).encode_text("猫")
        shutil.copytree(folder, own, dirs_exist_ok=True)  # a new export
        assert ZhCLIPOnnx(own).encode_text("猫").shape == (1, WIDTH)

    def test_onnxruntime_s_own_format_is_refused_by_its_content_and_by_its_name(self, own):
        (own / "text_model.onnx").write_bytes(b"\x12\x0a\0\0ORTM" + bytes(99))
        with pytest.raises(ValueError, match="which holds a model in onnxruntime's own format"):
            ZhCLIPOnnx(own).encode_text("猫")
        (own / "text_model.onnx").rename(own / "text_model.ort")
        edit(own, "text", model="text_model.ort")
        with pytest.raises(ValueError, match="which cannot be read: model is 'text_model.ort'"):
            ZhCLIPOnnx(own)

    def test_weights_beside_a_graph_are_taken(self, own):
        wanted = ZhCLIPOnnx(own).encode_text("猫狗")
        path = own / "text_model.onnx"
        beside = {"save_as_external_data": True, "location": f"{path.name}_data", "size_threshold": 100}
        onnx.save(onnx.load(path), path, **beside)
        assert (own / "text_model.onnx_data").stat().st_size > 400
        edit(own, files=None)
        assert np.array_equal(ZhCLIPOnnx(own).encode_text("猫狗"), wanted)

    def test_a_graph_takes_no_more_memory_than_its_size_allows_and_options_of_the_caller_decide(self, own):
        path = own / "text_model.onnx"
        model = onnx.load(path)
        size = numpy_helper.from_array(np.array([100 * 2**20]), "size")  # 400 MiB
        model.graph.initializer.append(size)
        model.graph.node[-1].output[0] = "small"
        model.graph.node.extend(
            [
                helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
                helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
                helper.make_node("Add", ["small", "zero"], ["text_embeds"]),
            ]
        )
        onnx.save(model, path)
        edit(own, files=None)
        with pytest.raises(ValueError, match="onnxruntime cannot compute text_embeds .*take a smaller batch"):
            ZhCLIPOnnx(own).encode_text("猫")
        options = onnxruntime.SessionOptions()
        assert ZhCLIPOnnx(own, session_options=options).encode_text("猫").shape == (1, WIDTH)

    def test_onnxruntime_s_log_does_not_repeat_names_of_a_graph(self, own, capfd):
        path = own / "text_model.onnx"
        model = onnx.load(path)
        model.graph.initializer.append(numpy_helper.from_array(np.array([1.0]), "unused\x1b[2J"))
        onnx.save(model, path)
        edit(own, files=None)
        ZhCLIPOnnx(own).encode_text("猫")
        assert "\x1b[2J" not in capfd.readouterr().err

    def test_the_mark_of_a_large_file_tells_its_size_its_ends_and_its_parts(self, tmp_path):
        file, content = tmp_path / "x", bytearray(6 * 2**20)
        file.write_bytes(content)
        before = mark(file)
        for place in (0, len(content) - 1, 2**20):
            changed = content.copy()
            changed[place : place + 2**17] = b"\x01" * len(changed[place : place + 2**17])
            file.write_bytes(changed)
            assert mark(file) != before and mark(file).startswith("6291456-")

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"output": "other\x1b[2J"}, r"which gives other\\x1b\[2J; wanted a graph that gives text_embeds"),
            ({"kind": TensorProto.INT64}, r"found text_embeds of .*: int64, \(1, 16\); floats of the shape"),
            ({"keep": 1}, r"found text_embeds of .*: float32, \(1, 1, 16\); floats of the shape \(1, 16\)"),
            ({"node": "NoSuch", "domain": "com.microsoft"}, "which onnxruntime .* cannot load"),
            ({"node": "ReduceSum", "first": "sum"}, "which onnxruntime .* cannot load"),
            ({"rows": 2}, "onnxruntime cannot compute text_embeds of .*: .*"),
        ],
    )
    def test_a_graph_of_a_stranger_that_gives_something_else_ends_in_words(self, own, change, told):
        rows = table()[: change.get("rows", 7)]
        name = change.get("output", "text_embeds")
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("Mul", [change.get("first", "rows"), "one"], ["more"]),
            helper.make_node("ReduceSum", ["more", "axis"], ["sum"], keepdims=change.get("keep", 0)),
            helper.make_node("Cast", ["sum"], ["cast"], to=change.get("kind", TensorProto.FLOAT)),
            helper.make_node(change.get("node", "Identity"), ["cast"], [name], domain=change.get("domain", "")),
        ]
        held = {"table": rows, "one": np.float32([1]), "axis": np.array([1])}
        inputs = [
            helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in ("input_ids", "attention_mask")
        ]
        graph = helper.make_graph(
            nodes,
            "graph",
            inputs,
            [helper.make_tensor_value_info(name, change.get("kind", TensorProto.FLOAT), None)],
            initializer=[numpy_helper.from_array(value, each) for each, value in held.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), own / "text_model.onnx")
        edit(own, files=None)
        with pytest.raises(ValueError, match=told) as caught:
            ZhCLIPOnnx(own).encode_text("猫")
        assert "\x1b" not in str(caught.value)

    @pytest.mark.parametrize(
        ("side", "field", "value"),
        [("vision", "height", 2**14), ("vision", "width", 10**6), (None, "embedding_size", 2**18), (None, "files", 3)],
    )
    def test_sizes_beyond_every_model_are_damaged(self, own, side, field, value):
        edit(own, side, **{field: value})
        with pytest.raises(ValueError, match=f"found .*{FACTS}, which cannot be read: {field} is"):
            ZhCLIPOnnx(own)

    def test_a_pipe_in_the_place_of_a_file_is_no_file(self, own):
        for name in ("vision_model.onnx", "tokenizer.json", FACTS):
            (own / name).unlink()
            os.mkfifo(own / name)
            with pytest.raises(ValueError, match=f"found no {name} in"):
                ZhCLIPOnnx(own)

    def test_facts_of_another_version_ask_for_the_file_beside_them(self, own):
        edit(own, format=2, nonsense=1)
        with pytest.raises(
            ValueError, match="found format 2 in .*; wanted 1. Use the zhclip_onnx.py that lies beside"
        ):
            ZhCLIPOnnx(own)

    def test_a_side_that_is_not_there_names_the_other_side(self, own):
        content = json.loads((own / FACTS).read_text(encoding="utf-8"))
        (own / "vision_model.onnx").unlink()
        edit(own, vision=None)
        with pytest.raises(ValueError, match="found no picture side in .*: encode_text"):
            ZhCLIPOnnx(own).encode_image(rgb(9, 9))
        assert ZhCLIPOnnx(own).encode_text("猫").shape == (1, WIDTH)
        edit(own, text=None, vision=content["vision"])
        (own / "vision_model.onnx").touch()
        with pytest.raises(ValueError, match="found no text side in .*: encode_image"):
            ZhCLIPOnnx(own).encode_text("猫")


class TestProviders:
    @pytest.mark.parametrize("providers", ["NoSuchProvider", ["NoSuchProvider", "CPUExecutionProvider"]])
    def test_a_provider_that_is_not_installed_is_refused(self, folder, providers):
        with pytest.raises(ValueError, match="found the providers NoSuchProvider, .*it has .*CPUExecutionProvider"):
            ZhCLIPOnnx(folder, providers)

    def test_a_provider_that_does_not_start_is_not_replaced_in_silence(self, folder, monkeypatch):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["ROCMExecutionProvider"])
        with pytest.warns(UserWarning), pytest.raises(ValueError, match="cannot start ROCMExecutionProvider"):
            ZhCLIPOnnx(folder, ["ROCMExecutionProvider"]).encode_text("猫")

    def test_options_of_a_provider_and_of_a_session_are_handed_over(self, folder):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = load_onnx(folder, [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})], options)
        assert model.encode_text("猫").shape == (1, WIDTH)
        assert model._text_session.get_session_options().intra_op_num_threads == 1


class TestLoadOnnx:
    def test_it_is_the_class_of_the_file_in_the_export(self, folder):
        assert type(load_onnx(folder)) is ZhCLIPOnnx
        source = Path(sys.modules[ZhCLIPOnnx.__module__].__file__)
        assert (folder / "zhclip_onnx.py").read_bytes() == source.read_bytes()

    def test_it_runs_no_code_of_the_export(self, own):
        (own / "zhclip_onnx.py").write_text("raise SystemExit('run')", encoding="utf-8")
        assert load_onnx(own).encode_text("猫").shape == (1, WIDTH)

    def test_without_onnxruntime_the_message_says_what_to_install(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(InputError, match=r'load_onnx needs the package onnxruntime, .*"hf-zhclip\[onnx\]"'):
            load_onnx(folder)
