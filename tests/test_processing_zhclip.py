"""The processor: defaults of a call, the warning of a cut, and settings that outlive a reload and a new process."""

import inspect
import logging
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer

# Not from the top of transformers: before 5.19 that name asks for torchvision.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer
from hf_zhclip.processing_zhclip import normalize_evaluation_text

from tests.image_modes import rgb, with_alpha

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "猫", "狗"]


def make_processor(context_length=6) -> ZhCLIPProcessor:
    image_processor = ZhCLIPImageProcessor(image_order="crop_then_rgb", size=8, resample=2, image_mean=[0.1, 0.2, 0.3])
    return ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, context_length))


@pytest.fixture
def processor():
    return make_processor()


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestCall:
    def test_texts_are_padded_to_the_longest(self, processor):
        inputs = processor(text=["猫", "猫狗"], return_tensors="pt")
        assert inputs.input_ids.tolist() == [[2, 5, 3, 0], [2, 5, 6, 3]]
        assert inputs.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]

    @pytest.mark.parametrize("options", [{"padding": "max_length"}, {"text_kwargs": {"padding": "max_length"}}])
    def test_padding_to_the_limit_is_an_option(self, processor, options):
        assert processor(text=["猫"], **options).input_ids == [[2, 5, 3, 0, 0, 0]]

    def test_texts_are_cut_at_the_limit(self, processor):
        assert processor(text=["猫狗" * 9]).input_ids == [[2, 5, 6, 5, 6, 3]]

    def test_a_shorter_limit_is_an_option(self, processor):
        assert processor(text=["猫狗" * 9], max_length=4).input_ids == [[2, 5, 6, 3]]

    def test_no_cut_is_an_option(self, processor):
        assert len(processor(text=["猫" * 9], truncation=False).input_ids[0]) == 11

    def test_one_text_gives_one_row(self, processor):
        assert processor(text="猫").input_ids == [2, 5, 3]
        assert processor(text="猫", return_tensors="pt").input_ids.tolist() == [[2, 5, 3]]

    def test_texts_and_pictures_together(self, processor):
        inputs = processor(text=["猫", "狗"], images=[rgb(30, 20), with_alpha(4)], return_tensors="pt")
        assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"} == set(processor.model_input_names)
        assert inputs.pixel_values.shape == (2, 3, 8, 8)
        alone = processor.image_processor(with_alpha(4), return_tensors="pt").pixel_values
        assert torch.equal(inputs.pixel_values[1:], alone)

    def test_options_of_the_image_processor_pass_through(self, processor):
        assert processor(images=rgb(30, 20), size=5, return_tensors="pt").pixel_values.shape == (1, 3, 5, 5)
        squashed = processor(images=rgb(30, 20), image_order="squash_then_rgb", return_tensors="pt").pixel_values
        assert not torch.equal(squashed, processor(images=rgb(30, 20), return_tensors="pt").pixel_values)

    def test_token_type_ids_are_there_when_the_tokenizer_gives_them(self, processor):
        assert processor(text="猫", return_token_type_ids=True).token_type_ids == [0, 0, 0]

    def test_only_pixels_change_type_on_their_way_to_a_device(self, processor):
        inputs = processor(text=["猫"], images=rgb(9, 9), return_tensors="pt").to("cpu", torch.bfloat16)
        assert (inputs.pixel_values.dtype, inputs.input_ids.dtype) == (torch.bfloat16, torch.int64)

    @pytest.mark.parametrize("empty", [[], ()])
    def test_empty_lists_give_no_rows(self, processor, empty):
        inputs = processor(text=empty, images=empty, return_tensors="pt")
        assert (inputs.input_ids.shape, inputs.input_ids.dtype) == ((0, 2), torch.int64)
        assert inputs.attention_mask.shape == (0, 2)
        assert inputs.pixel_values.shape == (0, 3, 8, 8)
        assert processor(text=empty).input_ids == []
        assert processor(text=empty, padding="max_length", return_tensors="pt").input_ids.shape == (0, 6)

    def test_a_device_moves_the_whole_result(self, processor):
        inputs = processor(text="猫", images=rgb(9, 9), return_tensors="pt", device="meta")
        assert {value.device.type for value in inputs.values()} == {"meta"}
        assert processor(text="猫", return_tensors="pt", device="meta").input_ids.device.type == "meta"
        with pytest.raises(ValueError, match="found device='cpu' without return_tensors"):
            processor(text="猫", device="cpu")

    @pytest.mark.parametrize("option", ["do_center_crop", "rescale_factor", "nonsense", "image"])
    def test_an_option_that_has_no_effect_is_refused(self, processor, option):
        with pytest.raises(TypeError, match=f"found the option {option}"):
            processor(text="猫", images=rgb(9, 9), **{option: 1})

    def test_its_arguments_say_what_they_take(self, processor):
        parameters = inspect.signature(processor.__call__).parameters
        assert [name for name, each in parameters.items() if each.annotation is not each.empty] == [
            "images",
            "text",
            "kwargs",
        ]

    def test_neither_texts_nor_pictures_is_refused(self, processor):
        with pytest.raises(ValueError, match="found neither text nor images"):
            processor()


class TestWarning:
    def test_the_first_cut_is_told_once(self, processor, caplog):
        processor(text=["猫", "猫狗" * 9, "狗" * 5])
        processor(text=["狗" * 9])
        (message,) = warnings(caplog)
        assert message.startswith(
            "2 of 3 texts have more than 6 tokens, the first and the last token included, and were cut"
        )
        assert "processor.tokenizer.model_max_length" in message

    def test_another_processor_tells_it_again(self, caplog):
        for _ in range(2):
            make_processor()(text="猫" * 9)
        assert len(warnings(caplog)) == 2

    def test_the_limit_of_the_call_is_named(self, processor, caplog):
        processor(text="猫猫", max_length=3)
        assert warnings(caplog)[0].startswith("1 of 1 texts have more than 3 tokens")

    @pytest.mark.parametrize("text", ["猫" * 4, ["猫" * 4, "狗"]])
    def test_a_text_that_just_fits_is_no_cut(self, processor, caplog, text):
        processor(text=text)
        assert warnings(caplog) == []

    def test_a_raised_limit_cuts_later(self, processor, caplog):
        processor.tokenizer.model_max_length = 9
        assert processor(text="猫" * 7).input_ids == [2, *[5] * 7, 3]
        assert warnings(caplog) == []


class TestReload:
    def test_all_settings_outlive_it(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        reloaded = AutoProcessor.from_pretrained(tmp_path)
        assert type(reloaded) is ZhCLIPProcessor
        assert reloaded.to_dict() == processor.to_dict()
        assert reloaded.image_processor.to_dict() == processor.image_processor.to_dict()
        assert reloaded.tokenizer.model_max_length == 6
        call = {"text": ["[MASK]猫", "狗" * 9], "images": [with_alpha(4)], "return_tensors": "pt"}
        found, wanted = reloaded(**call), processor(**call)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    def test_options_of_a_load_reach_the_part_that_has_them(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        reloaded = AutoProcessor.from_pretrained(tmp_path, do_normalize=False, padding_side="left", use_fast=True)
        assert (reloaded.image_processor.do_normalize, reloaded.tokenizer.padding_side) == (False, "left")
        with pytest.raises(TypeError, match="found the option do_center_crop"):
            AutoProcessor.from_pretrained(tmp_path, do_center_crop=False)

    def test_its_parts_load_alone(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        assert AutoTokenizer.from_pretrained(tmp_path)("猫").input_ids == [2, 5, 3]
        image_processor = AutoImageProcessor.from_pretrained(tmp_path)
        assert image_processor.to_dict() == processor.image_processor.to_dict()

    def test_a_pickled_one_gives_the_same(self, processor):
        call = {"text": ["猫", "狗" * 9], "images": [with_alpha(4)], "return_tensors": "pt"}
        found, wanted = pickle.loads(pickle.dumps(processor))(**call), processor(**call)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    @pytest.mark.thorough  # it is pickled for that
    def test_it_works_in_a_spawned_process(self, processor):
        call = {"text": ["猫", "狗" * 9], "images": [with_alpha(4)], "return_tensors": "pt"}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(processor, **call).result(timeout=120)
        wanted = processor(**call)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("“你好” Hello", '"你好" hello'),
        ("‘单’ …… ——", "‘单’ …… ——"),
        ("ΑΣ İ", "ας i̇"),
        ("", ""),
    ],
)
def test_evaluation_text_is_lower_case_with_straight_double_quotes(text, normalized):
    assert normalize_evaluation_text(text) == normalized
