import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import save_file

from hf_zhclip import ZhCLIPModel, ZhCLIPProcessor
from hf_zhclip.conversion import load, loading
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints as c
from tests.conversion.helpers import entries
from tests.weights import seeded_state_dict


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def conversions(repo, monkeypatch):
    """Counts conversions; each puts a converted repo in place, as `convert` would."""
    calls = []

    def stand_in(source, out, **arguments):
        calls.append({"source": source, **arguments})
        shutil.copytree(repo("cn_clip_vit").path, out)

    monkeypatch.setattr(loading, "convert", stand_in)
    return calls


def repos(cache):
    return {name for name in entries(cache) if (cache / name / "config.json").exists()}


def test_an_original_becomes_a_model_and_a_processor(original, cache):
    found = original("cn_clip_vit")

    model, processor = load(found.source, **found.arguments)

    assert isinstance(model, ZhCLIPModel) and isinstance(processor, ZhCLIPProcessor)
    source = seeded_state_dict({"text_projection": (c.common.HIDDEN, c.common.EMBED)})
    assert torch.equal(model.text_projection.weight, source["text_projection"].t())
    assert len(repos(cache)) == 1


def test_the_second_call_does_not_convert(original, cache, conversions):
    found = original("cn_clip_vit")

    for _ in range(2):
        load(found.source, **found.arguments)

    assert len(conversions) == 1


def test_a_copy_of_the_same_file_does_not_convert_again(original, cache, conversions, tmp_path):
    found = original("cn_clip_vit")
    load(found.source, **found.arguments)

    load(shutil.copy(found.source, tmp_path / "another name.pt"), **found.arguments)

    assert len(conversions) == 1


def test_arguments_of_from_pretrained_reach_the_model(original, cache, conversions):
    found = original("cn_clip_vit")

    model, _ = load(found.source, dtype=torch.bfloat16, attn_implementation="eager", **found.arguments)

    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_arguments_of_convert_reach_it(original, cache, conversions):
    found = original("taiyi_head")

    load(found.source, context_length=33, **found.arguments)

    assert conversions == [
        {
            "source": found.source,
            "vision": found.arguments["vision"],
            "format": "taiyi",
            "vision_format": None,
            "tokenizer": None,
            "config": None,
            "vision_config": None,
            "context_length": 33,
            "ema": None,
        }
    ]


def words(folder, count=8000):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(default_vocab()[:count]), encoding="utf-8")
    return folder


def test_whatever_changes_the_result_changes_the_place(original, cache, conversions, tmp_path):
    found = original("cn_clip_vit")
    (tmp_path / "other.json").write_text(json.dumps({**c.cn_clip.CN_CLIP_FACTS, "vision_head_width": 32}))
    variants = [
        found.arguments,
        found.arguments | {"context_length": 40},
        found.arguments | {"format": "cn_clip"},
        found.arguments | {"ema": "use"},
        found.arguments | {"tokenizer": words(tmp_path / "words")},
        found.arguments | {"tokenizer": words(tmp_path / "fewer", 7000) / "vocab.txt"},
        {"config": tmp_path / "other.json"},
    ]

    for arguments in variants:
        load(found.source, **arguments)

    assert len(conversions) == len(repos(cache)) == len(variants)


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "config.json").write_text('{"a": 1}'),
        lambda folder: words(folder, 7000),
        lambda folder: (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}'),
        lambda folder: save_file({"a": torch.ones(3)}, folder / "model-00001-of-00001.safetensors"),
    ],
)
@pytest.mark.parametrize("name", [".", "model.safetensors.index.json"])
def test_a_changed_file_of_a_folder_is_converted_anew(name, change, cache, conversions, tmp_path):
    folder = words(tmp_path / "source")
    save_file({"a": torch.zeros(3)}, folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    load(folder / name)
    change(folder)
    load(folder / name)

    assert len(conversions) == 2


def test_another_version_converts_anew(original, cache, conversions, monkeypatch):
    found = original("cn_clip_vit")
    load(found.source, **found.arguments)

    monkeypatch.setattr(loading, "versions", lambda: {"transformers": "9.9"})
    load(found.source, **found.arguments)

    assert len(conversions) == 2


def test_a_copy_of_an_older_model_type_is_not_loaded(original, cache, conversions, monkeypatch):
    """Two versions of one number wrote two types; AutoModel does not know the older one."""
    found = original("cn_clip_vit")
    with monkeypatch.context() as patch:
        patch.setattr(loading, "MODEL_TYPE", "zhclip")
        load(found.source, **found.arguments)
    load(found.source, **found.arguments)

    assert len(conversions) == 2


def test_a_damaged_note_of_a_hash_is_no_obstacle(original, cache, conversions):
    found = original("cn_clip_vit")
    load(found.source, **found.arguments)
    for note in (cache / "hashes").iterdir():
        note.write_text("")

    load(found.source, **found.arguments)

    assert len(conversions) == 1


def test_of_two_loads_at_once_one_converts_and_the_other_waits(original, cache, conversions, monkeypatch):
    found, convert, models = original("cn_clip_vit"), loading.convert, []
    other = threading.Thread(target=lambda: models.append(load(found.source, **found.arguments)))

    def slow(*arguments, **options):
        other.start()
        other.join(0.5)
        assert other.is_alive()
        convert(*arguments, **options)

    monkeypatch.setattr(loading, "convert", slow)
    load(found.source, **found.arguments)
    other.join()

    assert len(models) == len(conversions) == 1


def test_a_failed_conversion_is_told_and_leaves_nothing_to_load(cache, tmp_path):
    (tmp_path / "x.pt").write_text("nothing")

    for _ in range(2):
        with pytest.raises(InputError, match="is no checkpoint"):
            load(tmp_path / "x.pt")

    assert not repos(cache)


@pytest.mark.parametrize("role", ["tokenizer", "config"])
def test_a_part_that_does_not_exist_is_refused(role, original, cache, tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        load(original("cn_clip_vit").source, **{role: tmp_path / "nowhere"})


def test_the_cache_lies_under_the_hugging_face_home_by_default(monkeypatch):
    monkeypatch.delenv("ZHCLIP_CACHE", raising=False)
    monkeypatch.setattr(loading, "HF_HOME", "home")

    assert loading._cache().as_posix() == "home/zhclip"
