import importlib
import importlib.util
import json
import os
import shutil
import string
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
    BertTokenizer,
    pipeline,
)

import hf_zhclip
from hf_zhclip import (
    ZhCLIPConfig,
    ZhCLIPImageProcessor,
    ZhCLIPModel,
    ZhCLIPProcessor,
    ZhCLIPResNetConfig,
    ZhCLIPResNetModel,
    ZhCLIPTextModel,
    ZhCLIPTextModelWithProjection,
    ZhCLIPVisionModel,
    ZhCLIPVisionModelWithProjection,
)
from hf_zhclip._torchvision import hide_broken_torchvision

from tests import checkpoints

TOWERS = [
    ZhCLIPModel,
    ZhCLIPTextModel,
    ZhCLIPTextModelWithProjection,
    ZhCLIPVisionModel,
    ZhCLIPVisionModelWithProjection,
]
LAYER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
CONFIG = {
    "text_config": LAYER | {"model_type": "bert", "vocab_size": 100, "max_position_embeddings": 16},
    "vision_config": LAYER | {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16},
    "projection_dim": 16,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只猫狗的照片这是", *string.ascii_lowercase, ".", "##."]


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A small repository with model and processor."""
    folder = tmp_path_factory.mktemp("repository")
    torch.manual_seed(0)
    ZhCLIPModel(ZhCLIPConfig(**CONFIG)).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, model_max_length=12)
    image_processor = ZhCLIPImageProcessor(image_order="squash_then_rgb", size={"height": 32, "width": 32})
    ZhCLIPProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def run(script: str, *arguments: str, path: Path | None = None) -> list:
    """What a fresh process prints: JSON, one value a line."""
    search = [str(path)] if path else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*search, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_auto_class_finds_its_class(repository):
    assert type(AutoConfig.from_pretrained(repository)) is ZhCLIPConfig
    assert type(AutoModel.from_pretrained(repository)) is ZhCLIPModel
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(repository)) is ZhCLIPModel
    assert type(AutoProcessor.from_pretrained(repository)) is ZhCLIPProcessor
    assert type(AutoImageProcessor.from_pretrained(repository)) is ZhCLIPImageProcessor
    assert isinstance(AutoTokenizer.from_pretrained(repository), BertTokenizer)


@pytest.mark.parametrize("tower", TOWERS)
def test_automodel_gives_a_saved_tower_back_as_its_own_class(tmp_path, tower):
    tower(ZhCLIPConfig(**CONFIG)).save_pretrained(tmp_path)

    assert type(AutoModel.from_pretrained(tmp_path)) is tower
    assert type(AutoModel.from_config(AutoConfig.from_pretrained(tmp_path))) is tower


def test_automodel_builds_from_configs_that_were_never_saved():
    resnet = {"layers": [1, 1, 1, 1], "width": 4, "image_size": 32, "num_attention_heads": 4, "output_dim": 8}

    assert type(AutoModel.from_config(ZhCLIPConfig(**CONFIG))) is ZhCLIPModel
    assert type(AutoModel.from_config(ZhCLIPResNetConfig(**resnet))) is ZhCLIPResNetModel
    assert type(AutoConfig.for_model("hf_zhclip_resnet", **resnet)) is ZhCLIPResNetConfig


def test_the_mapping_lists_the_classes_themselves():
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    assert list(MODEL_MAPPING[ZhCLIPConfig]) == TOWERS
    assert ZhCLIPTextModel in MODEL_MAPPING[ZhCLIPConfig]
    assert MODEL_MAPPING[ZhCLIPConfig][0] is ZhCLIPModel


def test_the_tokenizer_follows_the_text_tower_where_no_file_names_it(repository, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    ZhCLIPConfig(**CONFIG).save_pretrained(tmp_path)

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    assert isinstance(tokenizer, BertTokenizer)
    assert tokenizer("一只猫")["input_ids"] == [2, *(WORDS.index(word) for word in "一只猫"), 3]


def test_registering_again_restores_what_is_missing_and_harms_nothing(repository):
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

    for mapping in (IMAGE_PROCESSOR_MAPPING, MODEL_MAPPING, PROCESSOR_MAPPING, TOKENIZER_MAPPING):
        del mapping._extra_content[ZhCLIPConfig]
    finders = len(sys.meta_path)

    for _ in range(2):
        importlib.reload(hf_zhclip)

    assert len(sys.meta_path) == finders
    assert hf_zhclip.ZhCLIPModel is ZhCLIPModel
    for mapping in (IMAGE_PROCESSOR_MAPPING, MODEL_MAPPING, PROCESSOR_MAPPING, TOKENIZER_MAPPING):
        assert ZhCLIPConfig in mapping
    test_every_auto_class_finds_its_class(repository)


PROCESSOR_FILES = ("processor_config.json", "tokenizer.json", "tokenizer_config.json")


def test_a_folder_of_the_processor_alone_gives_the_processor(repository, tmp_path):
    for name in PROCESSOR_FILES:
        shutil.copy(repository / name, tmp_path)

    assert type(AutoProcessor.from_pretrained(tmp_path)) is ZhCLIPProcessor
    assert type(ZhCLIPProcessor.from_pretrained(tmp_path)) is ZhCLIPProcessor


BESIDE_ZH_CLIP = """
    import json, sys
    {first}
    {second}
    from transformers import AutoModel, AutoProcessor
    found = []
    for folder in sys.argv[1:]:
        for auto in (AutoModel, AutoProcessor):
            loaded = auto.from_pretrained(folder)
            found.append(f"{{type(loaded).__module__}}.{{type(loaded).__name__}}")
    import zh_clip
    found.append(type(zh_clip.ZhCLIPProcessor.from_pretrained(sys.argv[2])).__module__)
    print(json.dumps(found))
"""
ZH_CLIP = """
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedConfig, PreTrainedModel, ProcessorMixin

class ZhCLIPConfig(PreTrainedConfig):
    model_type = "zhclip"

class ZhCLIPModel(PreTrainedModel):
    config_class = ZhCLIPConfig
    base_model_prefix = "zhclip"
    def __init__(self, config):
        super().__init__(config)
        self.visual_projection = nn.Linear(64, config.hidden_size)
        self.post_init()

class ZhCLIPProcessor(ProcessorMixin):
    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer)

AutoConfig.register("zhclip", ZhCLIPConfig)
AutoModel.register(ZhCLIPConfig, ZhCLIPModel)
AutoProcessor.register(ZhCLIPConfig, ZhCLIPProcessor)
"""
"""What a package of ZH-CLIP may register; of its model no more than it takes to be told from another."""


def test_transformers_own_chinese_clip_keeps_its_classes():
    small = {"text_config": LAYER | {"vocab_size": 20}, "vision_config": LAYER | {"image_size": 32, "patch_size": 16}}

    config = AutoConfig.for_model("chinese_clip", **small)

    assert type(AutoModel.from_config(config)).__module__.startswith("transformers.models.chinese_clip")
    assert type(AutoModelForZeroShotImageClassification.from_config(config)).__name__ == "ChineseCLIPModel"


def test_public_names_are_listed_and_others_are_refused():
    assert set(hf_zhclip.__all__) <= set(dir(hf_zhclip))
    assert all(getattr(hf_zhclip, name).__name__ == name for name in hf_zhclip.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ZhClipModel'"):
        hf_zhclip.ZhClipModel  # noqa: B018


IMPORT_ALONE = """
    import json, sys
    from transformers import AutoModel
    before = set(sys.modules)
    import hf_zhclip
    after_import = set(sys.modules) - before
    model = hf_zhclip.ZhCLIPTextModel
    without_a_tower = set(sys.modules)
    AutoModel.from_pretrained(sys.argv[1])
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
    classes = [type(auto.from_pretrained(sys.argv[1])).__name__ for auto in (AutoProcessor, AutoImageProcessor)]
    towers = ["transformers.models.bert.modeling_bert", "transformers.models.clip.modeling_clip"]
    print(json.dumps({
        "imported": sorted(after_import),
        "towers before": [name for name in towers if name in without_a_tower],
        "towers after": [name for name in towers if name in sys.modules],
        "classes": classes,
    }))
"""
CLASSIFY = """
    import json, sys
    {first}
    {second}
    from PIL import Image
    from transformers import AutoModel, AutoProcessor, pipeline
    model, processor = AutoModel.from_pretrained(sys.argv[1]), AutoProcessor.from_pretrained(sys.argv[1])
    inputs = processor(text=["一只猫", "狗"], images=Image.new("RGB", (40, 30)), return_tensors="pt")
    logits = model(**inputs).logits_per_image
    classify = pipeline("zero-shot-image-classification", sys.argv[1])
    classify(Image.new("RGB", (40, 30)), candidate_labels=["猫", "狗"])
    from transformers import BertModel, CLIPModel
    import importlib.util
    seen = importlib.util.find_spec("torchvision") is not None
    print(json.dumps({{"shape": list(logits.shape), "torchvision": seen}}))
"""
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')"


@pytest.fixture(scope="module")
def printed(repository, tmp_path_factory) -> list[dict]:
    """What one process prints that imports transformers, then hf_zhclip, beside a broken torchvision, then zh_clip."""
    folder = tmp_path_factory.mktemp("printed")
    install_torchvision(folder, BROKEN)
    (folder / "zh_clip.py").write_text(ZH_CLIP)
    theirs = checkpoints.zh_clip.zh_clip_folder(folder / "theirs")
    beside = BESIDE_ZH_CLIP.format(first="import hf_zhclip", second="import zh_clip")
    programs = (IMPORT_ALONE, CLASSIFY.format(first="from transformers import AutoModel", second=""), beside)
    return run("".join(map(textwrap.dedent, programs)), str(repository), str(theirs), path=folder)


def test_importing_costs_next_to_nothing_until_something_is_used(printed):
    found = printed[0]

    modules = ("_registration", "_torchvision", "compat_zhclip", "configuration_zhclip", "saving_zhclip")
    own = {"hf_zhclip", *(f"hf_zhclip.{name}" for name in modules)}
    # Trying a torchvision that turns out broken may import modules of its own.
    assert {name for name in found["imported"] if name.startswith(("hf_zhclip", "transformers"))} == own
    assert found["towers before"] == []
    assert len(found["towers after"]) == 2
    assert found["classes"] == ["ZhCLIPProcessor", "ZhCLIPImageProcessor"]


def test_a_broken_torchvision_is_out_of_the_way(printed):
    assert printed[1] == {"shape": [1, 2], "torchvision": False}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("first", "second"),
    [("import hf_zhclip", "import transformers"), ("from transformers import AutoModel", "import hf_zhclip")],
)
def test_a_broken_torchvision_is_out_of_the_way_in_either_order(repository, tmp_path, first, second):
    install_torchvision(tmp_path, BROKEN)

    (found,) = run(CLASSIFY.format(first=first, second=second), str(repository), path=tmp_path)

    assert found == {"shape": [1, 2], "torchvision": False}


BESIDE_EACH_OTHER = [
    *("hf_zhclip.modeling_zhclip.ZhCLIPModel", "hf_zhclip.processing_zhclip.ZhCLIPProcessor"),
    *("zh_clip.ZhCLIPModel", "zh_clip.ZhCLIPProcessor", "zh_clip"),
]


def test_zh_clip_and_this_package_register_beside_each_other(printed):
    assert printed[2] == BESIDE_EACH_OTHER


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("first", "second"), [("import hf_zhclip", "import zh_clip"), ("import zh_clip", "import hf_zhclip")]
)
def test_zh_clip_and_this_package_register_beside_each_other_in_either_order(repository, tmp_path, first, second):
    (tmp_path / "zh_clip.py").write_text(ZH_CLIP)
    theirs = checkpoints.zh_clip.zh_clip_folder(tmp_path / "theirs")

    (found,) = run(BESIDE_ZH_CLIP.format(first=first, second=second), str(repository), str(theirs), path=tmp_path)

    assert found == BESIDE_EACH_OTHER


@pytest.mark.parametrize(("code", "healthy"), [("answer = 42", True), ("raise OSError('undefined symbol')", False)])
def test_only_a_torchvision_that_fails_is_hidden(tmp_path, monkeypatch, code, healthy):
    install_torchvision(tmp_path, code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)

    hide_broken_torchvision()

    assert (sys.modules["torchvision"] is not None) == healthy
    assert (importlib.util.find_spec("torchvision") is not None) == healthy
    monkeypatch.delitem(sys.modules, "torchvision")


def install_torchvision(folder: Path, code: str) -> None:
    metadata = folder / "torchvision-0.99.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.99.0\n")
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)


def test_the_zero_shot_pipeline_classifies(repository):
    classify = pipeline("zero-shot-image-classification", str(repository))
    picture, labels = Image.new("RGB", (50, 30), (200, 30, 60)), ["猫", "一只狗"]

    found = classify(picture, candidate_labels=labels, hypothesis_template="{}的照片")

    assert isinstance(classify.model, ZhCLIPModel)
    inputs = AutoProcessor.from_pretrained(repository)(
        text=[f"{label}的照片" for label in labels], images=picture, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = classify.model(**inputs).logits_per_image.softmax(-1)[0].tolist()
    assert {item["label"]: item["score"] for item in found} == pytest.approx(dict(zip(labels, wanted, strict=True)))
    with pytest.raises(ValueError, match="a text of 62 tokens was given, but the model has positions for 16"):
        classify(picture, candidate_labels=["猫" * 60], hypothesis_template="{}")


def test_the_feature_extraction_pipeline_gives_the_image_embedding(repository):
    extract = pipeline("image-feature-extraction", str(repository))
    picture = Image.new("RGB", (50, 30), (200, 30, 60))

    found = torch.tensor(extract(picture))

    pixels = AutoImageProcessor.from_pretrained(repository)(picture, return_tensors="pt")["pixel_values"]
    assert found.shape == (1, 16)
    torch.testing.assert_close(found, extract.model.encode_image(pixels))
