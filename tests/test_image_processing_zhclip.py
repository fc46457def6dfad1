"""The image processor: pixels that the originals gave, every kind of input, and settings that outlive a reload."""

import base64
import hashlib
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from transformers.image_utils import load_image

# Not from the top of transformers: before 5.19 that name asks for torchvision.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hf_zhclip import ZhCLIPImageProcessor, image_processing_zhclip

from tests.image_modes import ORIENTATION, PICTURES, photo_on_its_side, rgb, with_alpha

RECORD = json.loads(
    (Path(__file__).parent / "parity" / "recorded" / "cn_clip_pixels.json").read_text(encoding="utf-8")
)
ORDERS = list(RECORD["sha256"])


def processor(order="squash_then_rgb", size=8, **settings) -> ZhCLIPImageProcessor:
    return ZhCLIPImageProcessor(image_order=order, size=size, **settings)


def same_bits(found, wanted) -> bool:
    return found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("order", ORDERS)
def test_pixels_are_those_that_the_original_gave(order, name):
    if name == "RGB 20x2000" and "squash" in order and PIL.__version__ != RECORD["versions"]["pillow"]:
        pytest.skip("before version 13 Pillow shrinks a picture that is 9 times too high to other values")
    pixels = processor(order, RECORD["size"])(PICTURES[name]()).pixel_values[0]
    assert hashlib.sha256(pixels.astype("<f4").tobytes()).hexdigest() == RECORD["sha256"][order][name]


@pytest.mark.parametrize("order", ORDERS)
def test_every_byte_value_is_normalised_to_the_bits_of_torch(order):
    grey = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2))
    found = processor(order, 16)(grey).pixel_values[0]
    wanted = torch.arange(256).reshape(1, 16, 16).repeat(3, 1, 1).float().div(255)
    wanted.sub_(torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1))
    wanted.div_(torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1))
    assert same_bits(found, wanted.numpy())


@pytest.mark.parametrize(("order", "left"), [("crop_then_rgb", 2), ("rgb_then_crop", 1)])
def test_the_two_crops_round_apart_at_227x224(order, left):
    picture = rgb(227, 224)
    found = processor(order, 224)(picture).pixel_values
    wanted = processor("rgb_then_squash", 224)(picture.crop((left, 0, left + 224, 224))).pixel_values
    assert same_bits(found, wanted)


def test_a_crop_that_rounds_up_starts_one_pixel_further_at_225x224():
    picture = rgb(225, 224)
    found = processor("crop_up_then_rgb", 224)(picture).pixel_values
    assert same_bits(found, processor("rgb_then_squash", 224)(picture.crop((1, 0, 225, 224))).pixel_values)
    assert not same_bits(found, processor("crop_then_rgb", 224)(picture).pixel_values)


@pytest.mark.parametrize("width", [1, 20, 31, 227, 3000])
@pytest.mark.parametrize("order", ORDERS)
def test_any_shape_gives_the_size_asked_for(order, width):
    assert processor(order, 20)(rgb(width, 20)).pixel_values.shape == (1, 3, 20, 20)


def test_hidden_colours_of_a_transparent_picture_show_when_rgb_comes_first():
    hidden = Image.new("RGBA", (8, 8), (200, 100, 50, 0))
    red = processor("rgb_then_squash", 4, image_mean=[0, 0, 0], image_std=[1, 1, 1])(hidden).pixel_values[0, 0]
    assert np.allclose(red, 200 / 255)


class TestInputs:
    def test_one_picture_and_a_list_give_a_batch(self):
        pictures = [rgb(30, 20), with_alpha(4), rgb(20, 30)]
        batch = processor()(pictures, return_tensors="pt").pixel_values
        assert batch.dtype == torch.float32
        assert batch.shape == (3, 3, 8, 8)
        for picture, pixels in zip(pictures, batch, strict=True):
            assert same_bits(pixels.numpy(), processor()(picture).pixel_values[0])

    def test_a_grey_array_is_a_grey_picture(self):
        grey = rgb(30, 20).convert("L")
        wanted = processor()(grey).pixel_values
        for array in (np.asarray(grey), torch.from_numpy(np.array(grey))):
            assert same_bits(processor()(array).pixel_values, wanted)
            assert same_bits(processor()([array, array]).pixel_values[1:], wanted)

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview, BytesIO])
    def test_the_bytes_of_a_file_are_its_picture(self, form):
        file = BytesIO()
        with_alpha(4).save(file, "PNG")
        wanted = processor()(with_alpha(4)).pixel_values
        assert same_bits(processor()(form(file.getvalue())).pixel_values, wanted)
        assert same_bits(processor()([form(file.getvalue())]).pixel_values, wanted)

    def test_an_open_file_is_its_picture_wherever_it_stands(self, tmp_path):
        with open(tmp_path / "a.png", "w+b") as file:
            with_alpha(4).save(file, "PNG")
            found = processor()(file).pixel_values
            assert not file.closed
        assert same_bits(found, processor()(with_alpha(4)).pixel_values)

    def test_nested_lists_and_batches_are_one_flat_batch(self):
        array = np.asarray(rgb(30, 20))
        found = processor()([[rgb(30, 20)], [], (array, np.stack([array, array]))]).pixel_values
        assert found.shape == (4, 3, 8, 8)
        assert all(same_bits(each, found[0]) for each in found)

    @pytest.mark.parametrize("source", [None, 3, {"image": 1}, [object()]])
    def test_what_is_no_picture_is_refused_with_what_is(self, source):
        with pytest.raises(TypeError, match="found a .*; wanted a Pillow image, the path of a picture, its bytes"):
            processor()(source)

    @pytest.mark.parametrize("shape", [(0, 9, 3), (9, 0, 3), (3, 0, 9), (0, 9), (0, 0)])
    def test_an_array_without_pixels_is_refused(self, shape):
        with pytest.raises(ValueError, match="found an array of uint8, .* No side may be 0"):
            processor()(np.zeros(shape, np.uint8))

    def test_a_pillow_image_without_pixels_is_refused(self):
        with pytest.raises(ValueError, match="found a picture of 0 x 9 pixels; no side may be 0"):
            processor()(Image.new("RGB", (0, 9)))

    def test_a_layout_that_the_array_does_not_have_is_refused(self):
        with pytest.raises(ValueError, match="found 20 channels by input_data_format='channels_first', wanted 3"):
            processor()(np.asarray(rgb(30, 20)), input_data_format="channels_first")

    def test_an_empty_list_gives_an_empty_batch(self):
        assert processor()([]).pixel_values.shape == (0, 3, 8, 8)

    @pytest.mark.parametrize("make", [np.array, lambda values: torch.from_numpy(np.array(values))])
    @pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
    def test_an_array_or_tensor_is_the_picture_that_it_holds(self, make, layout):
        values = np.asarray(rgb(30, 20))
        array = make(values if layout == "channels_last" else np.moveaxis(values, -1, 0))
        wanted = processor()(rgb(30, 20)).pixel_values
        assert same_bits(processor()(array).pixel_values, wanted)
        assert same_bits(processor()(array, input_data_format=layout).pixel_values, wanted)

    def test_a_doubtful_layout_is_settled_by_an_option(self):
        picture = rgb(3, 3)
        array = np.asarray(picture)
        found = processor()(array, input_data_format="channels_last").pixel_values
        assert same_bits(found, processor()(picture).pixel_values)

    @pytest.mark.parametrize(
        ("array", "found"),
        [
            (np.zeros((20, 30, 3), np.float32), r"float32, \(20, 30, 3\)"),
            (np.zeros((20, 30, 4), np.uint8), r"uint8, \(20, 30, 4\)"),
            (np.zeros((1, 20, 30), np.uint8), r"uint8, \(1, 20, 30\)"),
        ],
    )
    def test_an_array_that_is_not_rgb_bytes_is_refused(self, array, found):
        with pytest.raises(ValueError, match=f"found an array of {found}; wanted uint8 RGB values"):
            processor()(array)

    @pytest.mark.parametrize("form", [str, Path])
    def test_a_path_gives_the_numbers_of_the_picture_in_the_file(self, tmp_path, form):
        with_alpha(4).save(tmp_path / "猫.png")
        found = processor()([form(tmp_path / "猫.png")]).pixel_values
        assert same_bits(found, processor()(with_alpha(4)).pixel_values)

    def test_the_orientation_of_a_photo_is_not_applied(self, tmp_path):
        photo = photo_on_its_side()
        assert photo.getexif()[ORIENTATION] == 6
        path = tmp_path / "photo.png"
        photo.save(path, exif=photo.getexif())
        wanted = processor()(rgb(97, 61)).pixel_values
        assert same_bits(processor()(photo).pixel_values, wanted)
        assert same_bits(processor()(str(path)).pixel_values, wanted)
        # transformers' own loader, which its pipelines use, turns the photo.
        assert load_image(str(path)).size == (61, 97)

    def test_base64_text_is_a_picture(self):
        file = BytesIO()
        with_alpha(4).save(file, "PNG")
        text = base64.b64encode(file.getvalue()).decode()
        wanted = processor()(with_alpha(4)).pixel_values
        for form in (text, f"data:image/png;base64,{text}", base64.encodebytes(file.getvalue()).decode()):
            assert same_bits(processor()(form).pixel_values, wanted)

    def test_a_url_is_fetched(self, monkeypatch):
        file = BytesIO()
        with_alpha(4).save(file, "PNG")

        class Client:
            content = file.getvalue()

            def get(self, url):  # the hub's client follows redirects unless it is told not to
                assert url == "https://example.com/a.png"
                return self

            def raise_for_status(self):
                pass

        monkeypatch.setattr(image_processing_zhclip, "get_session", Client)
        found = processor()("https://example.com/a.png").pixel_values
        assert same_bits(found, processor()(with_alpha(4)).pixel_values)

    @pytest.mark.parametrize("source", ["nowhere.jpg", "cats", "猫/狗 1.jpg", "", "data:image/png;base64,AAAA"])
    def test_text_that_leads_to_no_picture_is_refused(self, source):
        with pytest.raises(ValueError, match=f"found '{source}', wanted the path of an existing picture"):
            processor()(source)

    def test_a_file_that_is_no_picture_is_refused(self, tmp_path):
        (tmp_path / "notes.jpg").write_text("no picture")
        with pytest.raises(ValueError, match="notes.jpg', which holds no picture"):
            processor()(tmp_path / "notes.jpg")

    @pytest.mark.parametrize("form", [str, Path])
    def test_a_missing_picture_and_one_that_is_cut_off_name_their_paths(self, tmp_path, form):
        path = tmp_path / "猫 的照片.png"
        rgb(97, 61).save(path)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ValueError, match="猫 的照片.png', which cannot be read as a picture: .*cut off"):
            processor()([rgb(9, 9), form(path)])
        with pytest.raises(ValueError, match="猫 的照片.png', which cannot be read"):
            processor()(Image.open(path))
        path.unlink()
        with pytest.raises(ValueError, match="猫 的照片.png', wanted the path of an existing picture"):
            processor()(form(path))


class TestSettings:
    @pytest.mark.parametrize("order", ORDERS)
    def test_all_settings_outlive_a_reload(self, tmp_path, order):
        settings = {"resample": 2, "image_mean": (0.1, 0.2, 0.3), "image_std": (0.4, 0.5, 0.6)}
        original = processor(order, 12, **settings)
        original.save_pretrained(tmp_path)
        reloaded = AutoImageProcessor.from_pretrained(tmp_path)
        assert type(reloaded) is ZhCLIPImageProcessor
        assert reloaded.to_dict() == original.to_dict()
        assert same_bits(reloaded(with_alpha(4)).pixel_values, original(with_alpha(4)).pixel_values)

    def test_the_file_names_every_fact(self, tmp_path):
        processor("crop_then_rgb", 224).save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))
        assert saved == {
            "image_processor_type": "ZhCLIPImageProcessor",
            "image_order": "crop_then_rgb",
            "size": {"height": 224, "width": 224},
            "resample": 3,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "auto_map": {"AutoImageProcessor": "image_processing_zhclip.ZhCLIPImageProcessor"},
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"size": 6},
            {"image_order": "rgb_then_crop"},
            {"resample": 0},
            {"image_mean": [0, 0, 0]},
            {"image_std": [1, 2, 3]},
        ],
    )
    def test_an_option_of_a_call_stands_in_for_the_setting(self, change):
        found = processor()(with_alpha(4), **change).pixel_values
        settings = {"image_order": "squash_then_rgb", "size": 8} | change
        assert same_bits(found, ZhCLIPImageProcessor(**settings)(with_alpha(4)).pixel_values)
        assert not same_bits(found, processor()(with_alpha(4)).pixel_values)

    def test_a_size_that_is_no_square_is_height_and_width(self):
        assert processor(size={"height": 6, "width": 9})(rgb(30, 20)).pixel_values.shape == (1, 3, 6, 9)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"size": 8}, "found image_order=None, wanted one of squash_then_rgb"),
            ({"image_order": "squash", "size": 8}, "found image_order='squash', wanted one of"),
            ({"image_order": "squash_then_rgb"}, "found size=None, wanted"),
            ({"image_order": "squash_then_rgb", "size": 0}, "found size=0, wanted"),
            (
                {"image_order": "squash_then_rgb", "size": {"shortest_edge": 8}},
                "found size={'shortest_edge': 8}, wanted",
            ),
            (
                {"image_order": "crop_then_rgb", "size": {"height": 8, "width": 9}},
                "size of 8 x 9, wanted a square for crop_then_rgb",
            ),
        ],
    )
    def test_a_fact_that_is_missing_or_wrong_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            ZhCLIPImageProcessor(**settings)

    def test_a_folder_without_the_order_is_refused(self, tmp_path):
        processor().save_pretrained(tmp_path)
        file = tmp_path / "preprocessor_config.json"
        file.write_text(file.read_text(encoding="utf-8").replace('"image_order"', '"order"'), encoding="utf-8")
        with pytest.raises(ValueError, match="found image_order=None"):
            AutoImageProcessor.from_pretrained(tmp_path)

    @pytest.mark.parametrize("option", ["do_center_crop", "crop_size", "do_convert_rgb", "rescale_factor", "nonsense"])
    def test_an_option_that_has_no_effect_is_refused_wherever_it_is_given(self, tmp_path, option):
        processor().save_pretrained(tmp_path)
        for give in (
            lambda **options: processor()(rgb(9, 9), **options),
            processor,
            lambda **options: AutoImageProcessor.from_pretrained(tmp_path, **options),
            lambda **options: ZhCLIPImageProcessor.from_pretrained(tmp_path, **options),
        ):
            with pytest.raises(TypeError, match=f"found the option {option}; the options are image_order, size"):
                give(**{option: False})

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("size", 6),
            ("resample", 0),
            ("do_normalize", False),
            ("image_mean", 0.5),
            ("image_std", (0.4, 0.5, 0.6)),
            ("image_order", "rgb_then_crop"),
        ],
    )
    def test_an_option_has_the_same_effect_wherever_it_is_given(self, tmp_path, option, value):
        processor().save_pretrained(tmp_path)
        called = processor()(with_alpha(4), **{option: value}).pixel_values
        assert not same_bits(called, processor()(with_alpha(4)).pixel_values)
        built = ZhCLIPImageProcessor(**{"image_order": "squash_then_rgb", "size": 8, option: value})
        loaded = AutoImageProcessor.from_pretrained(tmp_path, **{option: value})
        (tmp_path / "again").mkdir()
        built.save_pretrained(tmp_path / "again")
        for each in (built, loaded, AutoImageProcessor.from_pretrained(tmp_path / "again")):
            assert same_bits(each(with_alpha(4)).pixel_values, called)

    def test_unused_options_come_back_on_request(self, tmp_path):
        processor().save_pretrained(tmp_path)
        asked = {"size": 6, "nonsense": 3, "return_unused_kwargs": True}
        found, unused = ZhCLIPImageProcessor.from_pretrained(tmp_path, **asked)
        assert (found.size.height, unused) == (6, {"nonsense": 3})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"resample": 77}, "found resample=77, wanted one of 0, "),
            ({"image_mean": [0.5, 0.5]}, "found image_mean=.*, wanted a number for red, for green and for blue"),
            ({"image_std": 0}, "found image_std=0, wanted .* none of them 0"),
            ({"input_data_format": "last"}, "found input_data_format='last', wanted one of channels_first"),
            ({"do_resize": "no"}, "found do_resize='no', wanted True or False"),
            ({"size": [8, 8, 8]}, "found size=.*, wanted"),
        ],
    )
    def test_a_value_that_cannot_act_is_refused_when_it_is_given(self, options, message):
        with pytest.raises(ValueError, match=message):
            ZhCLIPImageProcessor(**{"image_order": "squash_then_rgb", "size": 8} | options)

    def test_none_stands_for_the_setting(self):
        found = processor()(with_alpha(4), size=None, do_normalize=None, image_mean=None).pixel_values
        assert same_bits(found, processor()(with_alpha(4)).pixel_values)


class TestSteps:
    """Each expected value is computed here, by numpy from the picture's own bytes."""

    def test_without_normalising_pixels_are_bytes_divided_by_255(self):
        found = processor(do_normalize=False)(rgb(8, 8)).pixel_values[0]
        assert same_bits(found, np.asarray(rgb(8, 8)).transpose(2, 0, 1).astype(np.float32) / np.float32(255))

    def test_without_rescaling_floats_give_the_pixels_of_the_bytes_that_they_were(self):
        floats = np.asarray(rgb(30, 20)).astype(np.float32) / np.float32(255)
        wanted = processor()(rgb(30, 20)).pixel_values
        for each in (floats, floats.astype(np.float64), torch.from_numpy(floats.transpose(2, 0, 1).copy())):
            assert same_bits(processor()(each, do_rescale=False).pixel_values, wanted)

    def test_floats_of_the_models_size_keep_every_digit(self):
        floats = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
        plain = {"do_rescale": False, "do_resize": False, "do_normalize": False}
        assert same_bits(processor()(floats, **plain).pixel_values[0], floats.transpose(2, 0, 1))
        grey = processor()(floats[..., 0], **plain).pixel_values[0]
        assert same_bits(grey, np.stack([floats[..., 0]] * 3))

    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            (0.5, r"processor\(images=..., do_rescale=False"),
            (200, "as bytes: uint8"),
            (-1, "before it was normalised"),
        ],
    )
    def test_floats_need_the_word_that_they_are_rescaled_and_others_another_word(self, value, advice):
        with pytest.raises(ValueError, match=f"found an array of float32.*{advice}"):
            processor()(np.full((9, 9, 3), value, np.float32))

    @pytest.mark.parametrize("value", [-0.5, 1.5, 255.0, float("nan")])
    def test_rescaled_floats_outside_0_to_1_are_refused(self, value):
        with pytest.raises(ValueError, match="do_rescale=False says that the values are between 0 and 1"):
            processor()(np.full((9, 9, 3), value, np.float32), do_rescale=False)

    def test_bytes_that_are_not_rescaled_come_as_they_are_and_are_not_normalised(self):
        with pytest.raises(ValueError, match="found bytes .* and do_rescale=False"):
            processor()(rgb(8, 8), do_rescale=False)
        found = processor()(rgb(8, 8), do_rescale=False, do_normalize=False).pixel_values[0]
        assert np.array_equal(found, np.asarray(rgb(8, 8)).transpose(2, 0, 1))

    @pytest.mark.parametrize("order", ORDERS)
    def test_without_resizing_a_picture_needs_the_size_and_gives_the_same_pixels(self, order):
        fits = processor(order, 61)(rgb(61, 61), do_resize=False).pixel_values
        assert same_bits(fits, processor(order, 61)(rgb(61, 61)).pixel_values)
        with pytest.raises(ValueError, match="found a picture of 97 x 61 pixels and do_resize=False; wanted 61 x 61"):
            processor(order, 61)(rgb(97, 61), do_resize=False)

    def test_a_device_moves_the_result_only(self):
        found = processor()(rgb(9, 9), return_tensors="pt", device="meta").pixel_values
        assert (found.device.type, found.shape, found.dtype) == ("meta", (1, 3, 8, 8), torch.float32)
        with pytest.raises(ValueError, match="found device='cpu' without return_tensors"):
            processor()(rgb(9, 9), device="cpu")

    def test_a_device_of_this_machine_is_not_saved(self, tmp_path):
        processor(device="meta", return_tensors="pt").save_pretrained(tmp_path)
        assert "device" not in json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("order", image_processing_zhclip.SQUARE_ORDERS)
def test_a_line_of_pixels_is_refused_before_it_becomes_a_broad_line(order):
    """A PNG of 3 KB may hold it; at a height of 224 it would take 200 GB."""
    processor = ZhCLIPImageProcessor(image_order=order, size=224)
    for shape in ((1, 2**20), (2**20, 1)):
        with pytest.raises(ValueError, match="shorter side has 224; at most 67,108,864 pixels were wanted"):
            processor(Image.new("L", shape))
    assert processor(Image.new("L", (1, 1000)))["pixel_values"][0].shape == (3, 224, 224)


def test_a_file_with_a_side_of_more_than_a_million_pixels_is_refused(tmp_path):
    """Pillow's filter would take 2 GB for a side of 67 million pixels."""
    Image.new("1", (1, 2**20 + 1)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a picture of 1 x 1048577 pixels; a side of at most 1,048,576 was wanted"):
        ZhCLIPImageProcessor(image_order="squash_then_rgb", size=8)(str(tmp_path / "a.png"))
