"""What saving writes: every class with its code, by the plugin and by a repo's own code, read by who has no plugin."""

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Trainer, TrainingArguments

import hf_zhclip
from hf_zhclip import ZhCLIPConfig, ZhCLIPImageProcessor, ZhCLIPProcessor, saving_zhclip
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer

from tests import stranger
from tests.sharing import made_once
from tests.small_models import both, build, images

PACKAGE = Path(hf_zhclip.__file__).parent
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"字{number}" for number in range(44)), "猫"]
CODE = {path.name for path in PACKAGE.glob("*_zhclip*.py")}
"""Every module of the package that a class needs: the others register, and have an underscore in front."""
CONFIG = ("AutoConfig", "configuration_zhclip.ZhCLIPConfig")
ZERO_SHOT = "AutoModelForZeroShotImageClassification"
# Class that is saved -> the Auto class that loads it, the file with its auto_map, and the auto_map.
ROWS = {
    "ZhCLIPModel": (
        *("AutoModel", "config.json"),
        dict([CONFIG, *((auto, "modeling_zhclip.ZhCLIPModel") for auto in ("AutoModel", ZERO_SHOT))]),
    ),
    **{
        tower: ("AutoModel", "config.json", dict([CONFIG, ("AutoModel", f"modeling_zhclip.{tower}")]))
        for tower in (
            "ZhCLIPTextModel",
            "ZhCLIPTextModelWithProjection",
            "ZhCLIPVisionModel",
            "ZhCLIPVisionModelWithProjection",
        )
    },
    "ZhCLIPResNetModel": (
        *("AutoModel", "config.json"),
        {
            "AutoConfig": "configuration_zhclip.ZhCLIPResNetConfig",
            "AutoModel": "modeling_zhclip_resnet.ZhCLIPResNetModel",
        },
    ),
    "ZhCLIPConfig": (
        *("AutoConfig", "config.json"),
        dict([CONFIG, *((auto, "modeling_zhclip.ZhCLIPModel") for auto in ("AutoModel", ZERO_SHOT))]),
    ),
    "ZhCLIPImageProcessor": (
        *("AutoImageProcessor", "preprocessor_config.json"),
        {"AutoImageProcessor": "image_processing_zhclip.ZhCLIPImageProcessor"},
    ),
    "ZhCLIPProcessor": (
        *("AutoProcessor", "processor_config.json"),
        {"AutoProcessor": "processing_zhclip.ZhCLIPProcessor"},
    ),
}

# Loads what each row holds, saves it, and loads that again; says what both are and compute.
LOAD_AND_SAVE = """
    import torch, transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    given = torch.load(request["inputs"], weights_only=True)

    def computed(what, name):
        if "Config" in name:
            return what.projection_dim
        if "Processor" in name:
            pixels = what(images=given["picture"], return_tensors="pt")["pixel_values"]
            return pixels if "Image" in name else [pixels, what(text=["猫"])["input_ids"]]
        names = [key for key in given["inputs"] if name == "ZhCLIPModel" or (key == "input_ids") == ("Text" in name)]
        with torch.no_grad():
            return what.eval()(**{key: given["inputs"][key] for key in names}, return_dict=False)[0]

    found = {}
    for name, (folder, auto) in request["rows"].items():
        found[name] = []
        for place in (folder, os.path.join(request["again"], name)):
            what = getattr(transformers, auto).from_pretrained(place, trust_remote_code=True)
            kind = type(what)
            found[name].append([kind.__name__, kind.__module__, computed(what, kind.__name__)])
            what.save_pretrained(os.path.join(request["again"], name))
    torch.save(found, request["out"])
"""


@pytest.fixture(scope="module")
def processor():
    image_processor = ZhCLIPImageProcessor(image_order="squash_then_rgb", size=64)
    return ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, 20))


@pytest.fixture(scope="module")
def saved(processor, tmp_path_factory, worker_id):
    """What each class of the plugin saved, by the class's name, and what Trainer saved of a whole model."""
    return made_once(tmp_path_factory, worker_id, "saved", lambda folder: save(processor, folder))[0]


def save(processor, folder):
    model = build("cn_clip_rn50")
    model.save_pretrained(folder / "ZhCLIPModel")
    for name in ROWS:
        if name.startswith(("ZhCLIPText", "ZhCLIPVision")):
            getattr(hf_zhclip, name).from_pretrained(folder / "ZhCLIPModel").save_pretrained(folder / name)
    for what in (model.vision_model, model.config, processor, processor.image_processor):
        what.save_pretrained(folder / type(what).__name__)
    trainer = Trainer(model, TrainingArguments(str(folder / "runs"), report_to=[]), processing_class=processor)
    trainer.save_model(str(folder / "trained"))


@pytest.fixture(scope="module")
def found(saved, tmp_path_factory, worker_id):
    """What a process without the plugin makes of `saved`, and of what it saved itself; the folder of the latter."""
    folder, _ = made_once(tmp_path_factory, worker_id, "stranger", lambda folder: visit(saved, folder))
    return torch.load(folder / "found.pt", weights_only=True), folder / "again"


def visit(saved, folder):
    rows = {name: [str(saved / name), auto] for name, (auto, *_) in ROWS.items()}
    rows["trained"] = [str(saved / "trained"), "AutoModel"]
    rows["trained processor"] = [str(saved / "trained"), "AutoProcessor"]
    given = {"inputs": both(build("cn_clip_rn50")), "picture": picture()}
    torch.save(given, folder / "inputs.pt")
    request = {"rows": rows, "inputs": folder / "inputs.pt", "again": folder / "again", "out": folder / "found.pt"}
    stranger.enter(
        LOAD_AND_SAVE, {**request, **{name: str(request[name]) for name in ("inputs", "again", "out")}}, folder
    )


def picture() -> torch.Tensor:
    return (images(1)[0].clamp(0, 1) * 255).to(torch.uint8)


def auto_map(file: Path) -> dict[str, str]:
    return json.loads(file.read_text(encoding="utf-8"))["auto_map"]


@pytest.mark.parametrize("by", ["plugin", "remote code"])
@pytest.mark.parametrize("name", ROWS)
def test_saving_writes_the_code_and_an_auto_map_that_names_the_class(saved, found, name, by):
    folder = (saved if by == "plugin" else found[1]) / name
    _, file, wanted = ROWS[name]

    assert auto_map(folder / file) == wanted
    assert {path.name for path in folder.glob("*.py")} == CODE
    for each in CODE:
        assert (folder / each).read_bytes() == (PACKAGE / each).read_bytes()
    assert "Model" not in name or (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("by", ["plugin", "remote code"])
@pytest.mark.parametrize("name", ROWS)
def test_what_was_saved_loads_as_itself_without_the_plugin_and_computes_the_same(saved, found, processor, name, by):
    kind, module, value = found[0][name][by == "remote code"]

    assert (kind, module.partition(".")[0]) == (name, "transformers_modules")
    torch.testing.assert_close(value, computed(name, saved, processor), rtol=0, atol=1e-6)


def computed(name: str, saved: Path, processor):
    """What the class of the plugin computes."""
    if name == "ZhCLIPConfig":
        return 16
    if name == "ZhCLIPImageProcessor":
        return processor.image_processor(images=picture(), return_tensors="pt")["pixel_values"]
    if name == "ZhCLIPProcessor":
        return [processor(images=picture(), return_tensors="pt")["pixel_values"], [[2, 49, 3]]]
    model = AutoModel.from_pretrained(saved / name)
    given = both(build("cn_clip_rn50"))
    names = [key for key in given if name == "ZhCLIPModel" or (key == "input_ids") == ("Text" in name)]
    with torch.no_grad():
        return model.eval()(**{key: given[key] for key in names}, return_dict=False)[0]


def test_a_trainers_folder_with_the_processor_is_a_whole_repo(saved, found):
    assert found[0]["trained"][0][0] == "ZhCLIPModel"
    assert found[0]["trained processor"][0][0] == "ZhCLIPProcessor"
    assert CODE < {path.name for path in (saved / "trained").iterdir()}


def test_a_processors_settings_name_the_class_of_its_image_processor(saved):
    stated = json.loads((saved / "ZhCLIPProcessor" / "processor_config.json").read_text(encoding="utf-8"))

    assert stated["image_processor"]["auto_map"] == ROWS["ZhCLIPImageProcessor"][2]
    assert "auto_map" not in json.loads((saved / "ZhCLIPProcessor" / "tokenizer_config.json").read_text())


def test_saving_changes_nothing_of_what_is_saved(tmp_path):
    config = build("cn_clip").config
    before = config.to_dict()

    config.save_pretrained(tmp_path)

    assert config.to_dict() == before
    assert ZhCLIPConfig.from_pretrained(tmp_path).to_dict() == {
        **before,
        "transformers_version": config.to_dict()["transformers_version"],
    }


def test_a_subclass_of_somebody_saves_no_auto_map_that_names_another_class(tmp_path):
    class Own(hf_zhclip.ZhCLIPModel):
        pass

    Own(build("cn_clip").config).save_pretrained(tmp_path)

    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))


def test_pushing_what_is_saved_sends_the_code(monkeypatch, tmp_path, processor):
    sent = {}

    def push(self, repo_id, **options):
        self.save_pretrained(tmp_path / "sent")
        sent[repo_id] = options

    monkeypatch.setattr(ZhCLIPProcessor, "push_to_hub", push)

    processor.save_pretrained(tmp_path / "name", push_to_hub=True, repo_id="user/name", private=True)
    processor.save_pretrained(tmp_path / "name", push_to_hub=True)

    assert sent == {"user/name": {"private": True, "token": None}, "name": {"token": None}}
    assert CODE < {path.name for path in (tmp_path / "sent").iterdir()}


class TestNewerCode:
    """A repo that says of which version its code is."""

    @pytest.fixture
    def load(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(saving_zhclip, "_told", set())

        def load(version) -> list[str]:
            build("cn_clip").config.save_pretrained(tmp_path)
            stated = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
            (tmp_path / "config.json").write_text(json.dumps({**stated, "hf_zhclip_version": version}))
            caplog.clear()
            config = ZhCLIPConfig.from_pretrained(tmp_path)
            assert not hasattr(config, "hf_zhclip_version")
            return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]

        return load

    def test_is_told_of_once_where_an_older_plugin_is_imported(self, load, tmp_path):
        told, again, other = load("7.0.1"), load("7.0.1"), load("7.0.2rc1")

        assert len(told) == len(other) == 1 and not again
        assert told[0].startswith(
            f"{tmp_path} holds the code of hf_zhclip 7.0.1. The hf_zhclip that is imported here "
        )
        assert f"older ({saving_zhclip.CODE_VERSION})" in told[0] and "update hf_zhclip" in told[0]

    @pytest.mark.parametrize("version", [saving_zhclip.CODE_VERSION, "0.0.9", None, 7, "7.0.1\x1b[2J", "9" * 5000])
    def test_is_not_told_of_where_it_is_not_newer_or_no_version(self, load, version):
        assert load(version) == []
