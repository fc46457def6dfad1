"""The Embedder, beside one call of `model.encode_text` and `model.encode_image` for all inputs."""

import io
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor, ZhCLIPTextModelWithProjection
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer
from hf_zhclip.errors import InputError
from hf_zhclip.inference import Embedder, embedder
from hf_zhclip.inference.fused import FusedLayer

from tests.data.made import picture
from tests.loopback_hub import connect, serve
from tests.small_models import build

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只猫和狗红色蓝的圆形"]
PLACES = 20
"""The positions of the small text towers."""


def made(variant: str = "cn_clip", batch_size: int = 3, **changes) -> Embedder:
    model = build(variant, **changes).double()  # the weights of small models magnify the rounding of float32
    image_processor = ZhCLIPImageProcessor(image_order="rgb_then_squash", size=64)
    processor = model.processor = ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, PLACES))
    return Embedder(model, processor, batch_size=batch_size)


@pytest.fixture(scope="module")
def small():
    return made()


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder") / "repo"
    small = made()
    small.model.float().save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return folder


def at_once(encode, inputs) -> np.ndarray:
    with torch.inference_mode():
        return encode(list(inputs)).float().numpy()


def noise(number: int, size: tuple[int, int] = (9, 7)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


# Repos on the hub


@pytest.fixture
def hub(repo, tmp_path, monkeypatch):
    """A hub with the repo as user/small."""
    with serve(tmp_path / "hub", {}) as served:
        connect(monkeypatch, served, None, tmp_path / "home")
        served.add("user/small", {each.name: each.read_bytes() for each in repo.iterdir()})
        yield served


def test_a_repo_on_the_hub_is_loaded_and_keeps_its_name(small, hub):
    found = Embedder.from_pretrained("user/small")
    assert np.abs(found.encode_texts(["一只猫"]) - small.encode_texts(["一只猫"])).max() < 1e-5
    assert found.model.name_or_path == found.model.config.name_or_path == "user/small"


def test_the_files_of_a_repo_on_the_hub_are_checked_like_those_of_a_folder(hub):
    hub.add("user/small", {"adapter_config.json": b'{"peft_type": "LORA"}'})
    with pytest.raises(InputError, match="holds adapter_config.json: an adapter, which transformers would load"):
        Embedder.from_pretrained("user/small")


def test_of_a_repo_on_the_hub_that_is_none_no_weights_are_fetched(hub):
    hub.add("user/clip", {"config.json": b'{"model_type": "clip"}', "model.safetensors": b"x"})
    with pytest.raises(InputError, match="user/clip holds the model 'clip'"):
        Embedder.from_pretrained("user/clip")
    assert hub.asked("clip.*config.json") and not hub.asked("clip.*safetensors")


# Texts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=30), st.text("一只猫和狗 红色", max_size=60)), max_size=17), st.integers(1, 7)
)
def test_texts_get_the_vectors_of_one_call_in_the_order_of_the_caller(small, texts, batch_size):
    found = Embedder(small.model, small.processor, batch_size).encode_texts(texts)
    assert (found.dtype, found.shape) == (np.float32, (len(texts), small.dim))
    assert np.abs(found - at_once(small.model.encode_text, texts)).max(initial=0) < 1e-6


TEXTS = ["猫", "一只猫和狗", "", "红色的圆形" * 9, "狗", "蓝色的猫"]


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("multilingual", {}),
        ("wukong", {}),
        ("mclip", {}),
        ("cn_clip", {"text_attends_to_padding": True}),
        ("cn_clip", {"text_attends_to_padding": True, "text_padded_length": PLACES}),
    ],
)
@pytest.mark.parametrize("side", ["right", "left"])  # on the left, padding moves the positions of the text
def test_texts_of_every_padding_rule_get_the_vectors_of_one_call(variant, changes, side, monkeypatch):
    small = made(variant, batch_size=2, **changes)
    small.processor.tokenizer.padding_side = side
    monkeypatch.setattr(embedder, "WINDOW", 4)
    wanted = at_once(small.model.encode_text, TEXTS)
    assert np.abs(small.encode_texts(iter(TEXTS)) - wanted).max() < 1e-6


def test_texts_of_like_length_share_a_batch_and_each_batch_is_as_long_as_its_longest(small, monkeypatch):
    shapes = []
    encode = small.model.encode_text
    monkeypatch.setattr(
        small.model,
        "encode_text",
        lambda **inputs: shapes.append(tuple(inputs["input_ids"].shape)) or encode(**inputs),
    )
    small.encode_texts(["猫", "一只猫和狗", "狗", "一只猫", "一只狗", "红", "色"])
    assert shapes == [(3, 7), (3, 3), (1, 3)]


def test_a_single_text_gives_one_row_and_no_text_gives_none(small):
    assert small.encode_texts("猫").shape == (1, small.dim)
    assert small.encode_texts([]).shape == (0, small.dim)
    assert small.encode_texts(iter(())).shape == (0, small.dim)


def test_what_is_no_text_is_refused_by_its_kind(small):
    with pytest.raises(InputError, match="found a NoneType among the texts"):
        small.encode_texts(["猫", None])


def test_half_a_character_is_refused_with_its_text_and_the_rest_is_taken(small):
    with pytest.raises(InputError, match=r"found 'a.ud83d', which holds half a character .*'utf-8', 'ignore'"):
        small.encode_texts(["猫", "a\ud83d"])
    assert small.encode_texts(["a\ud83d".encode("utf-8", "ignore").decode()]).shape == (1, small.dim)


# Pictures


def forms(folder) -> list:
    """A picture in each form in which people hold it."""
    path = folder / "a.png"
    path.write_bytes(picture("red"))
    grey = Image.new("L", (5, 8), 90)
    return [
        *(path, str(path), picture("blue"), bytearray(picture("blue")), io.BytesIO(picture("green"))),
        *(noise(1), torch.from_numpy(noise(2)), noise(3)[..., 0], noise(4).transpose(2, 0, 1)),
        *(grey, grey, grey, Image.open(path), Image.new("RGBA", (3, 3), (9, 8, 7, 6)), grey),
    ]


def test_pictures_of_every_form_get_the_vectors_of_one_call_in_the_order_of_the_caller(small, tmp_path):
    found = small.encode_images(forms(tmp_path))
    wanted = at_once(small.model.encode_image, forms(tmp_path))
    assert (found.dtype, found.shape) == (np.float32, wanted.shape)
    assert np.abs(found - wanted).max() < 1e-6


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=12), st.integers(1, 5), st.integers(1, 4))
def test_any_number_of_pictures_of_any_size_fits_any_batch_and_any_threads(small, sizes, batch_size, threads):
    pictures = [noise(number, size) for number, size in enumerate(sizes)]
    found = Embedder(small.model, small.processor, batch_size, threads=threads).encode_images(iter(pictures))
    assert np.abs(found - at_once(small.model.encode_image, pictures)).max(initial=0) < 1e-6


def test_a_single_picture_of_every_form_gives_one_row(small, tmp_path):
    for each in forms(tmp_path):
        assert small.encode_images(each).shape == (1, small.dim)


def test_an_array_of_four_dimensions_is_a_batch(small):
    assert small.encode_images(np.stack([noise(1), noise(2)])).shape == (2, small.dim)


BROKEN = picture()[:40]


def test_a_picture_that_cannot_be_read_is_named_with_its_number(small):
    with pytest.raises(InputError, match="picture 4, counted from 0: found 40 bytes, which"):
        small.encode_images([noise(1)] * 4 + [BROKEN, BROKEN, noise(2)])


def test_pictures_that_cannot_be_read_are_noted_and_get_no_row(small, tmp_path):
    broken = {}
    pictures = [tmp_path / "missing.png", noise(1), BROKEN, noise(2), str(tmp_path), noise(3), BROKEN]
    found = small.encode_images(pictures, broken=broken)
    assert np.abs(found - at_once(small.model.encode_image, pictures[1::2])).max() < 1e-6
    assert {number: why.split(",")[0] for number, why in broken.items()} == {
        0: f"found {str(tmp_path / 'missing.png')!r}",
        2: "found 40 bytes",
        4: f"found {str(tmp_path)!r}",
        6: "found 40 bytes",
    }


def test_nothing_but_pictures_that_cannot_be_read_gives_no_row(small):
    broken = {}
    assert small.encode_images([BROKEN], broken=broken).shape == (0, small.dim)
    assert list(broken) == [0]


def test_what_is_no_picture_is_an_error_even_where_broken_pictures_are_noted(small):
    with pytest.raises(TypeError, match="found a int; wanted"):
        small.encode_images([noise(1), 7], broken={})
    with pytest.raises(TypeError, match="found 2 pictures where one was wanted"):
        small.encode_images([[noise(1), noise(2)]])


def test_a_picture_that_was_closed_is_told_as_closed_and_can_be_opened_again(small, tmp_path):
    (tmp_path / "a.png").write_bytes(picture("red"))
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(InputError, match="picture 0, .*closed image. Open it again"):
        small.encode_images([image])
    assert small.encode_images([Image.open(tmp_path / "a.png")]).shape == (1, small.dim)


def test_broken_pictures_are_noted_in_a_dict_alone(small):
    with pytest.raises(InputError, match=r"found broken of the type list; wanted a dict"):
        small.encode_images([noise(1)], broken=[])


def test_a_batch_may_be_larger_than_any_list(small):
    large = Embedder(small.model, small.processor, 10**30)
    assert large.encode_texts(["猫"]).shape == large.encode_images([Image.new("RGB", (4, 4))]).shape == (1, 16)


def test_a_batch_size_is_checked_where_a_model_is_given_too(small):
    with pytest.raises(InputError, match="found batch_size=0; 1 or more was wanted"):
        Embedder(small.model, small.processor, batch_size=0)
    assert Embedder(small.model, small.processor, batch_size=np.int64(2)).encode_texts(TEXTS).shape[0] == len(TEXTS)


def test_an_error_leaves_no_thread_behind(small):
    before = threading.active_count()
    with pytest.raises(InputError):
        small.encode_images([BROKEN, *[noise(1)] * 20])
    assert threading.active_count() == before


def test_pictures_are_decoded_ahead_by_several_threads(small, monkeypatch):
    """Each of two pictures waits until the other is decoded, too: one thread would wait for ever."""
    both = threading.Barrier(2, timeout=20)
    prepare = embedder.prepare_pictures

    def together(*given):
        both.wait()
        return prepare(*given)

    monkeypatch.setattr(embedder, "prepare_pictures", together)
    found = Embedder(small.model, small.processor, threads=2).encode_images([noise(1), noise(2)])
    assert found.shape == (2, small.dim)


# Memory


class Counted:
    """Pictures that count how many of them were asked for."""

    def __init__(self, total):
        self.total, self.given = total, 0

    def __iter__(self):
        for number in range(self.total):
            self.given += 1
            yield noise(number % 5)


def test_pictures_are_asked_for_two_batches_ahead_and_no_more(small, monkeypatch):
    pictures, ahead, done = Counted(60), [], 0
    encode = small.model.encode_image

    def noted(pixel_values):
        nonlocal done
        ahead.append(pictures.given - done)
        done += len(pixel_values)
        return encode(pixel_values)

    monkeypatch.setattr(small.model, "encode_image", noted)
    assert small.encode_images(pictures).shape == (60, small.dim)
    assert max(ahead) <= 3 * 3 + 1


def test_texts_are_asked_for_a_window_at_a_time_and_let_go_of(small, monkeypatch):
    class Text(str):
        """A text that can be watched."""

    monkeypatch.setattr(embedder, "WINDOW", 10)
    alive, most = weakref.WeakSet(), []

    def texts():
        for number in range(95):
            text = Text(f"一只猫{number}")
            alive.add(text)
            yield text

    encode = small.model.encode_text
    monkeypatch.setattr(small.model, "encode_text", lambda **inputs: most.append(len(alive)) or encode(**inputs))
    assert small.encode_texts(texts()).shape == (95, small.dim)
    assert max(most) <= 2 * 10


# Progress


def test_every_text_and_every_picture_is_told_as_done_once_also_where_it_is_broken(small, monkeypatch):
    told = []

    @contextmanager
    def shown(what, total, unit):
        yield lambda amount: told.append((what, total, amount))

    monkeypatch.setattr(embedder, "shown_amount", shown)
    small.encode_texts(TEXTS[:4])
    small.encode_images(iter([noise(1), BROKEN, noise(2)]), broken={})
    assert told == [
        *(("Encoding texts", 4, 3), ("Encoding texts", 4, 1)),
        *(("Encoding pictures", None, 1), ("Encoding pictures", None, 2)),
    ]


def test_rows_go_into_a_file_of_the_caller(small, tmp_path):
    out = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(9, small.dim))
    found = small.encode_texts(iter(TEXTS), out=out)
    assert found.shape == (len(TEXTS), small.dim) and np.shares_memory(found, out)
    assert np.array_equal(np.fromfile(tmp_path / "rows", np.float32).reshape(9, -1)[: len(TEXTS)], found)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (np.empty((2, 16), np.float32), "found 2 rows in out; at least 3 were wanted"),
        (np.empty((3, 15), np.float32), r"found an out of float32, \(3, 15\); wanted float32, \(rows, 16\)"),
        (np.empty((3, 16)), "found an out of float64"),
        (np.broadcast_to(np.float32(0), (3, 16)), "found an out that cannot be written; wanted an array that can"),
        ([[0.0] * 16] * 3, "found an out of the type list; wanted an array of NumPy"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(small, out, says):
    with pytest.raises(InputError, match=says):
        small.encode_texts(iter(TEXTS[:3]), out=out)


def test_an_out_that_is_too_small_is_refused_before_the_work(small, monkeypatch):
    monkeypatch.setattr(small.model, "encode_text", None)
    with pytest.raises(InputError, match="found 2 rows in out; at least 3 were wanted"):
        small.encode_texts(TEXTS[:3], out=np.empty((2, 16), np.float32))


# Loading


def test_a_repo_is_loaded_with_its_own_dtype_and_gives_float32_of_length_1(repo):
    wanted = made().encode_texts(TEXTS)
    assert np.abs(Embedder.from_pretrained(repo).encode_texts(TEXTS) - wanted).max() < 1e-4
    half = Embedder.from_pretrained(str(repo), dtype="bfloat16", device_map="cpu")
    for found in (half.encode_texts(TEXTS), half.encode_images([noise(1), noise(2)])):
        assert found.dtype == np.float32
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    assert (half.encode_texts(TEXTS) * wanted).sum(axis=1).min() > 0.99


def test_a_repo_that_the_embedder_loads_is_fused_and_a_model_of_the_caller_stays_as_it_is(repo):
    fused = Embedder.from_pretrained(repo).model
    assert any(isinstance(each, FusedLayer) for each in fused.modules())
    model = ZhCLIPModel.from_pretrained(repo)
    keys = list(model.state_dict())
    own = Embedder(model, made().processor)
    own.encode_texts(TEXTS)
    own.encode_images([noise(1)])
    assert own.model is model and list(model.state_dict()) == keys == list(
        ZhCLIPModel.from_pretrained(repo).state_dict()
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"engine": "tensorrt"}, "found engine='tensorrt'; wanted one of torch, compile, onnx"),
        ({"batch_size": 0}, "found batch_size=0; 1 or more was wanted"),
        ({"batch_size": 2.5}, "found batch_size=2.5; a whole number was wanted"),
        ({"batch_size": "3"}, "found batch_size='3'; a whole number was wanted"),
        ({"batch_size": True}, "found batch_size=True; a whole number was wanted"),
        ({"threads": 0}, "found threads=0; 1 or more was wanted"),
        ({"engine": ["torch"]}, r"found engine=\['torch'\]; wanted one of torch, compile, onnx"),
        ({"engine": None}, "found engine=None; wanted one of torch, compile, onnx"),
        ({"device_map": {}}, r"found device_map=\{\}; wanted"),
        ({"device_map": ["cpu"]}, r"found device_map=\['cpu'\]; wanted"),
        ({"device_map": 1.5}, "found device_map=1.5; wanted"),
        ({"dtype": ["float32"]}, r"found dtype=\['float32'\] \(--dtype\); wanted"),
        ({"engine": "onnx", "dtype": "float16"}, "for an ONNX export, which runs on the CPU in the precision of its"),
        (
            {"engine": "onnx", "device_map": "auto"},
            "for an ONNX export, which runs on the CPU in the precision of its",
        ),
        (
            {"engine": "onnx", "dtype": "float32"},
            r"found dtype='float32' \(--dtype\) for an ONNX export, .* Leave it out",
        ),
        (
            {"engine": "onnx", "dtype": "float32", "device_map": "cuda"},
            r"found device_map='cuda' \(--device\) and dtype='float32' \(--dtype\) for .* Leave both out",
        ),
        ({"device_map": "gpu"}, "found device_map='gpu', which this machine does not have"),
        ({"dtype": "int8"}, r"found dtype='int8' \(--dtype\); wanted"),
        ({"dtype": "half-ish"}, r"found dtype='half-ish' \(--dtype\); wanted"),
    ],
)
def test_an_argument_that_is_wrong_is_refused_before_the_weights_are_read(repo, changes, says, monkeypatch):
    monkeypatch.setattr(ZhCLIPModel, "from_pretrained", None)
    with pytest.raises(InputError, match=says):
        Embedder.from_pretrained(repo, **changes)


def test_what_the_warning_of_a_cut_names_keeps_more(caplog):
    small = made()
    limit = small.processor.tokenizer.model_max_length = PLACES - 2
    texts = ["猫" * (limit - 2) + end for end in "猫狗"]
    with caplog.at_level("WARNING"):
        cut = small.encode_texts(texts)
        kept = Embedder(small.model, small.processor, context_length=PLACES).encode_texts(texts)
    (said,) = caplog.messages
    assert said.startswith(f"2 of 2 texts have more than {limit} tokens") and "context_length=N" in said
    assert np.array_equal(*cut) and not np.allclose(*kept)


@pytest.mark.parametrize("place", [None, 5, b"repo", ""])
def test_a_repo_that_is_no_path_is_refused(place):
    with pytest.raises(InputError, match="a folder, or a name on the hub, was wanted"):
        Embedder.from_pretrained(place)


def test_the_dtype_of_the_message_is_taken(repo):
    with pytest.raises(InputError, match='a floating dtype, such as "float16"'):
        Embedder.from_pretrained(repo, dtype="int8")
    assert Embedder.from_pretrained(repo, dtype="float16", device_map="cpu").model.dtype == torch.float16


@pytest.mark.parametrize("given", [None, 5, {"a": 1}])
def test_what_is_no_list_is_refused_and_the_keys_of_a_dict_are_no_texts(small, given):
    with pytest.raises(InputError, match=f"found a {type(given).__name__} as texts; a list of texts, or one of them"):
        small.encode_texts(given)
    with pytest.raises((InputError, TypeError), match=f"found a {type(given).__name__}"):
        small.encode_images(given)


def test_a_repo_of_one_tower_is_refused(repo, tmp_path):
    ZhCLIPTextModelWithProjection.from_pretrained(repo).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a repo with both towers"):
        Embedder.from_pretrained(tmp_path)


def test_two_threads_of_the_caller_may_share_it(small):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda number: small.encode_images([noise(number)] * 4), range(2)))
    assert np.abs(found[0] - small.encode_images([noise(0)] * 4)).max() < 1e-6
    assert np.abs(found[1] - small.encode_images([noise(1)] * 4)).max() < 1e-6
