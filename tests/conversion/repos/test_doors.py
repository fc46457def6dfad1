import ast
import json
import shutil
import sys
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
from transformers.dynamic_module_utils import get_imports, get_relative_imports

import hf_zhclip
from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.repos.doors import (
    CODE_FILES,
    SENTENCE_TRANSFORMERS,
    add_code,
    add_legacy,
    add_sentence_transformers,
    remove_code,
)
from hf_zhclip.conversion.tokenizers.builders import bert_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab
from hf_zhclip.saving_zhclip import AUTO_MAPS

from tests import stranger
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import contents, entries
from tests.pictures import seeded_pictures

TEXTS = ["一只猫", "两只很大很大的狗在雪地上跑，跑得飞快", "a", "A photo of 猫咪" * 20]
LABELS = ["猫", "一只很大的狗"]
THOROUGH = ["cn_clip_resnet"]
"""Repos of which more is tried than the embeddings: the one that has a tower of our own."""
PICTURES = ("photo", "tall", "transparent", "grey_transparent")

NAMED = sorted({f"{named.partition('.')[0]}.py" for auto_map in AUTO_MAPS.values() for named in auto_map.values()})
"""The files that a repo's JSONs name."""

# Everything that a repo's own code takes from transformers; what is not here may go away without a deprecation.
TRANSFORMERS_NAMES = {
    "transformers": {
        "AttentionInterface",
        "AutoConfig",
        "AutoModel",
        "AutoTokenizer",
        "BatchEncoding",
        "PreTrainedConfig",
        "PreTrainedModel",
        "PretrainedConfig",
        "__version__",
        "initialization",
    },
    "transformers.image_processing_backends": {"PilBackend"},
    "transformers.image_processing_utils": {"BaseImageProcessor", "BatchFeature"},
    "transformers.image_utils": {
        "OPENAI_CLIP_MEAN",
        "OPENAI_CLIP_STD",
        "ChannelDimension",
        "ImageInput",
        "PILImageResampling",
        "SizeDict",
        "infer_channel_dimension_format",
    },
    "transformers.models.auto.processing_auto": {"PROCESSOR_MAPPING"},
    "transformers.modeling_layers": {"GradientCheckpointingLayer"},
    "transformers.modeling_outputs": {"BaseModelOutputWithPooling"},
    "transformers.modeling_utils": {"ALL_ATTENTION_FUNCTIONS"},
    "transformers.processing_utils": {"ImagesKwargs", "ProcessingKwargs", "ProcessorMixin", "Unpack"},
    "transformers.utils": {"TensorType", "TransformersKwargs", "cached_file"},
    "transformers.utils.generic": {"ModelOutput", "can_return_tuple"},
}

# Repo, pictures and where to write to -> what the repo computes, by the Auto classes alone.
COMPUTE = """
    if request["plugin"]:
        import hf_zhclip

    import torch
    from PIL import Image
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForZeroShotImageClassification
    from transformers import AutoProcessor, AutoTokenizer, pipeline

    torch.set_num_threads(1)
    options = {} if request["plugin"] else {"trust_remote_code": True}
    pictures = [Image.open(path) for path in request["pictures"]]
    found = {}
    for name, repo in request["repos"].items():
        model = AutoModel.from_pretrained(repo, **options, **request["arguments"].get(name, {}))
        processor = AutoProcessor.from_pretrained(repo, **options)
        inputs = processor(text=request["texts"], images=pictures, return_tensors="pt")
        texts = {key: value for key, value in inputs.items() if key != "pixel_values"}
        with torch.no_grad():
            found[name] = {
                "ids": inputs["input_ids"],
                "pixels": inputs["pixel_values"],
                "text": model.encode_text(**texts),
                "image": model.encode_image(inputs["pixel_values"]),
                "modules": [type(each).__module__ for each in (model, processor, processor.image_processor)],
            }
            assert torch.equal(model.encode_text(request["texts"]), found[name]["text"])
            assert torch.equal(model.encode_image(pictures), found[name]["image"])
        if name not in request["thorough"]:
            continue
        model.save_pretrained(os.path.join(request["resaved"], name))
        processor.save_pretrained(os.path.join(request["resaved"], name))
        config = AutoConfig.from_pretrained(repo, **options)
        zero_shot = AutoModelForZeroShotImageClassification.from_pretrained(repo, **options)
        classes = [type(config).__name__, type(zero_shot).__name__]
        for auto in (AutoTokenizer, AutoImageProcessor):
            classes.append(type(auto.from_pretrained(repo, **options)).__name__)
        classify = pipeline("zero-shot-image-classification", repo, **options)
        scores = classify(pictures[0], candidate_labels=request["labels"])
        found[name] |= {"classes": classes, "scores": {each["label"]: each["score"] for each in scores}}
        found[name]["refused"] = []
        for auto in (AutoConfig, AutoModel, AutoProcessor):
            try:
                auto.from_pretrained(repo, trust_remote_code=False)
            except ValueError as error:
                found[name]["refused"].append(str(error))
    calls = [(name, name, {}) for name in ("AutoTokenizer", "AutoModel", "AutoProcessor", "AutoImageProcessor")]
    calls.append(("AutoProcessor, trusted", "AutoProcessor", {"trust_remote_code": True}))
    if request["codeless"]:
        found["codeless"] = {}
    for called, name, trust in calls if request["codeless"] else ():
        try:
            told = type(globals()[name].from_pretrained(request["codeless"], **trust)).__name__
        except Exception as error:
            told = str(error)
        found["codeless"][called] = told
    torch.save(found, request["out"])
"""


KINDS = ("cn_clip_resnet", "hf_clip", "multilingual_clip", "taiyi_finetune")
"""A family of each kind: text towers, image towers, projections, padding inside the model."""


@pytest.fixture(
    scope="module",
    params=[
        KINDS,
        pytest.param((*THOROUGH, *(family for family in FAMILIES if family not in KINDS)), marks=pytest.mark.thorough),
    ],
    ids=["of each kind", "the others"],
)
def families(request):
    """Families whose repos are loaded by every door."""
    return request.param


@pytest.fixture(scope="module")
def plain(families, repo, tmp_path_factory):
    """Repos by name: the families in one file, one in shards, one in bfloat16."""
    folder = tmp_path_factory.mktemp("plain")
    repos = {family: repo(family).path for family in sorted(families)}
    for name, family, options in (
        ("sharded", "cn_clip_vit", {"max_shard_size": "1MB"}),
        ("bfloat16", "cn_clip_resnet", {}),
    ):
        dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
        AutoModel.from_pretrained(repo(family).path, dtype=dtype).save_pretrained(folder / name, **options)
        AutoProcessor.from_pretrained(repo(family).path).save_pretrained(folder / name)
        repos[name] = folder / name
    assert (folder / "sharded" / "model.safetensors.index.json").exists()
    return repos


@pytest.fixture(scope="module")
def codeless(repo, tmp_path_factory):
    """A repo as `convert --without-code` writes it."""
    folder = shutil.copytree(repo(THOROUGH[0]).path, tmp_path_factory.mktemp("codeless") / "repo")
    remove_code(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture in seeded_pictures():
        if name in PICTURES:
            picture.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in PICTURES]


@pytest.fixture(scope="module")
def wanted(plain, pictures):
    """What the plain load with the plugin gives, in this process."""
    found = {}
    opened = [Image.open(path) for path in pictures]
    for name, path in plain.items():
        model, processor = AutoModel.from_pretrained(path), AutoProcessor.from_pretrained(path)
        inputs = processor(text=TEXTS, images=opened, return_tensors="pt")
        with torch.no_grad():
            found[name] = {
                "ids": inputs["input_ids"],
                "pixels": inputs["pixel_values"],
                "image": model.encode_image(inputs.pop("pixel_values")),
                "text": model.encode_text(**inputs),
            }
    return found


def enter(repos, pictures, folder: Path, plugin: bool, codeless: Path | None = None) -> dict:
    """Runs COMPUTE in a process whose cache is empty; without the plugin, in one where it can't be imported."""
    request = {
        "repos": {name: str(path) for name, path in repos.items()},
        "pictures": [str(path) for path in pictures],
        "texts": TEXTS,
        "labels": LABELS,
        "arguments": {"sharded": {"device_map": "auto"}, "bfloat16": {"device_map": "cpu", "dtype": "auto"}},
        "thorough": [] if plugin else THOROUGH,
        "resaved": str(folder / "resaved"),
        "codeless": codeless and str(codeless),
        "out": str(folder / "found.pt"),
    }
    stranger.enter(COMPUTE, request, folder, plugin)
    return torch.load(folder / "found.pt", weights_only=True)


def assert_the_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert torch.equal(found[name]["ids"], values["ids"]), name
        assert torch.equal(found[name]["pixels"], values["pixels"]), name
        for side in ("text", "image"):
            torch.testing.assert_close(found[name][side], values[side], rtol=0, atol=1e-6, msg=f"{name}, {side}")


@pytest.mark.thorough  # test_registration.py, test_modeling_zhclip.py and test_publish.py load repos in such a process
def test_a_repo_loads_with_the_plugin_in_a_fresh_process(plain, pictures, wanted, tmp_path):
    found = enter(plain, pictures, tmp_path, plugin=True)

    assert_the_same(found, wanted)
    assert wanted["bfloat16"]["text"].dtype == torch.bfloat16
    for values in wanted.values():
        assert not torch.equal(values["pixels"][0], values["pixels"][1])


@pytest.fixture(scope="module")
def without_plugin(plain, codeless, pictures, tmp_path_factory):
    """What repos give where hf_zhclip is not installed, and where they were saved again."""
    folder = tmp_path_factory.mktemp("without_plugin")
    return enter(plain, pictures, folder, plugin=False, codeless=codeless), folder / "resaved"


def test_a_repo_with_code_loads_where_hf_zhclip_is_not_installed(without_plugin, wanted):
    found = {name: values for name, values in without_plugin[0].items() if name != "codeless"}

    assert_the_same(found, wanted)
    for name, values in found.items():
        assert {module.partition(".")[0] for module in values["modules"]} == {"transformers_modules"}, name


@pytest.mark.parametrize("name", THOROUGH)
def test_every_auto_class_and_the_pipeline_read_a_repos_own_code(without_plugin, plain, name):
    found = without_plugin[0][name]

    assert found["classes"] == ["ZhCLIPConfig", "ZhCLIPModel", "TokenizersBackend", "ZhCLIPImageProcessor"]
    classify = pipeline("zero-shot-image-classification", str(plain[name]))
    scores = classify(dict(seeded_pictures())["photo"], candidate_labels=LABELS)
    assert found["scores"] == pytest.approx({each["label"]: each["score"] for each in scores})


@pytest.mark.parametrize("name", THOROUGH)
def test_a_repos_own_code_is_not_run_without_leave(without_plugin, name):
    refused = without_plugin[0][name]["refused"]

    assert len(refused) == 3 and all("trust_remote_code=True" in message for message in refused)


def test_a_repo_without_code_never_gives_a_tokenizer_that_drops_pictures(without_plugin, codeless):
    told = without_plugin[0]["codeless"]

    assert told["AutoTokenizer"] == "TokenizersBackend"
    assert "does not recognize this architecture" in told["AutoModel"]
    assert "trust_remote_code=True" in told["AutoProcessor"]
    assert "does not appear to have a file named import_hf_zhclip_first.py" in told["AutoProcessor, trusted"]
    assert "Unrecognized image processor" in told["AutoImageProcessor"]
    assert type(AutoProcessor.from_pretrained(codeless)) is ZhCLIPProcessor
    assert type(AutoModel.from_pretrained(codeless)) is ZhCLIPModel


def test_code_comes_and_goes_without_a_trace(repo, codeless, tmp_path):
    folder = shutil.copytree(codeless, tmp_path / "repo")

    add_code(folder)

    assert contents(folder) == contents(repo(THOROUGH[0]).path)


@pytest.mark.parametrize("name", THOROUGH)
def test_what_a_repos_own_code_saves_holds_the_code(without_plugin, name):
    folder = without_plugin[1] / name

    assert set(CODE_FILES) <= entries(folder)
    imported = {"compat_zhclip.py", "modeling_zhclip_resnet.py", "pictures_zhclip.py", "saving_zhclip.py"}
    imported.add("typed_inputs_zhclip.py")
    assert named_files(folder) == set(CODE_FILES) - imported


def test_the_plugin_saves_a_repo_with_the_code_that_it_had(plain, without_plugin, tmp_path):
    sources = [*(plain[name] for name in THOROUGH), *(without_plugin[1] / name for name in THOROUGH)]
    for number, source in enumerate(sources):
        out = tmp_path / str(number)
        AutoModel.from_pretrained(source).save_pretrained(out)
        AutoProcessor.from_pretrained(source).save_pretrained(out)

        assert named_files(out) == named_files(source)
        assert set(CODE_FILES) <= entries(out)


def named_files(folder: Path) -> set[str]:
    """The files that the JSONs of a repo say hold its classes."""

    def references(value) -> set[str]:
        if not isinstance(value, dict):
            return set()
        own = value.get("auto_map", {}).values()
        return set().union(own, *(references(each) for key, each in value.items() if key != "auto_map"))

    files = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    return {f"{reference.partition('.')[0]}.py" for value in files for reference in references(value)}


@pytest.mark.quick(1)
@pytest.mark.parametrize("trust", [None, True, False])
def test_the_plugin_wins_over_a_repos_own_code_without_asking(plain, monkeypatch, trust):
    def refuse(*arguments):
        raise AssertionError("a question was asked")

    monkeypatch.setattr("builtins.input", refuse)
    repo, options = plain["cn_clip_resnet"], {} if trust is None else {"trust_remote_code": trust}

    assert type(AutoConfig.from_pretrained(repo, **options)) is hf_zhclip.ZhCLIPConfig
    assert type(AutoModel.from_pretrained(repo, **options)) is ZhCLIPModel
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(repo, **options)) is ZhCLIPModel
    processor = AutoProcessor.from_pretrained(repo, **options)
    assert type(processor) is ZhCLIPProcessor
    assert type(processor.image_processor) is ZhCLIPImageProcessor
    assert type(AutoImageProcessor.from_pretrained(repo, **options)) is ZhCLIPImageProcessor
    AutoTokenizer.from_pretrained(repo, **options)


def test_a_repos_code_is_hf_zhclips_own_modules(plain):
    package = Path(hf_zhclip.__file__).parent

    for name in CODE_FILES:
        assert (plain[THOROUGH[0]] / name).read_bytes() == (package / name).read_bytes()


@pytest.mark.parametrize("name", CODE_FILES)
def test_a_repos_code_imports_only_its_neighbours_and_what_transformers_needs(name):
    path = Path(hf_zhclip.__file__).parent / name
    imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_import(node)]
    relative = [node for node in imports if isinstance(node, ast.ImportFrom) and node.level]

    assert all(node.level == 1 and f"{node.module}.py" in CODE_FILES for node in relative)
    # transformers finds them with a regular expression, which takes text in a docstring for an import.
    assert sorted(get_relative_imports(path)) == sorted({node.module for node in relative})
    libraries = set(get_imports(path)) - sys.stdlib_module_names
    assert libraries <= {"PIL", "huggingface_hub", "numpy", "torch", "transformers"}


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_a_repo_names_brings_all_others_by_its_own_lines(name):
    imports = get_relative_imports(Path(hf_zhclip.__file__).parent / name)

    assert {f"{each}.py" for each in imports} == set(CODE_FILES) - {name}


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_a_repos_code_takes_from_transformers_what_is_listed_and_there():
    taken: dict[str, set[str]] = {}
    for name in CODE_FILES:
        tree = ast.parse((Path(hf_zhclip.__file__).parent / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Import) and any("transformers" in each.name for each in node.names))
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0] == "transformers":
                taken.setdefault(node.module, set()).update(each.name for each in node.names)

    assert taken == TRANSFORMERS_NAMES
    for module, names in taken.items():
        exec(f"from {module} import {', '.join(sorted(names))}", {})


def test_sentence_transformers_finds_the_features_and_normalises_them(repo, tmp_path):
    folder = shutil.copytree(repo("bert_clip").path, tmp_path / "repo")
    for name in SENTENCE_TRANSFORMERS:
        (folder / name).unlink(missing_ok=True)
    before = contents(folder)

    add_sentence_transformers(folder)

    added = {name: json.loads(content) for name, content in contents(folder).items() if name not in before}
    assert added.keys() == {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
    assert [module["type"].rpartition(".")[2] for module in added["modules.json"]] == ["Transformer", "Normalize"]
    for modality, settings in added["sentence_bert_config.json"]["modality_config"].items():
        assert settings["method"] in {f"get_{modality}_features"} and hasattr(ZhCLIPModel, settings["method"])


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", ["cn_clip_vit", "cn_clip_resnet", "bert_clip", "taiyi_plain"])
def test_older_files_stand_beside_the_new_ones_and_change_nothing_for_these(repo, tmp_path, family):
    folder = shutil.copytree(repo(family).path, tmp_path / "repo")
    processor, before = AutoProcessor.from_pretrained(folder), contents(folder)

    add_legacy(folder, processor)

    after = contents(folder)
    changed = {name for name, content in after.items() if before.get(name) != content}
    older = {"preprocessor_config.json", "special_tokens_map.json", "vocab.txt"}
    assert older <= changed <= {*older, "tokenizer_config.json"}
    again = AutoProcessor.from_pretrained(folder)
    assert type(again) is ZhCLIPProcessor
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    assert (
        again.tokenizer(TEXTS, truncation=True)["input_ids"]
        == processor.tokenizer(TEXTS, truncation=True)["input_ids"]
    )
    # Of transformers 4's names for a fast tokenizer, the one that takes tokenizer.json as it is.
    assert json.loads(after["tokenizer_config.json"])["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert json.loads(after["special_tokens_map.json"])["cls_token"] == "[CLS]"


def test_the_older_vocabulary_holds_one_token_a_line_in_the_order_of_their_ids(repo, tmp_path):
    folder = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "repo")

    add_legacy(folder, AutoProcessor.from_pretrained(folder))

    content = (folder / "vocab.txt").read_bytes()
    assert content.count(b"\n") == 21128 and content.count("\u2028".encode()) == 2
    # As transformers 4's load_vocab reads it; two tokens hold a line separator that is no end of a line.
    with (folder / "vocab.txt").open(encoding="utf-8") as lines:
        assert [line.rstrip("\n") for line in lines] == default_vocab()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    shown = BertTokenizer.from_pretrained(folder)("一只 Cat 在跑")["input_ids"]
    assert shown == [101, 671, 1372, 10165, 1762, 6651, 102]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("family", "size", "crops"),
    [
        ("cn_clip_vit", {"height": 64, "width": 64}, False),
        ("bert_clip", {"shortest_edge": 64}, True),
        ("taiyi_plain", {"shortest_edge": 64}, True),
    ],
)
def test_the_older_image_processor_gives_the_pixels_of_an_rgb_picture(repo, tmp_path, family, size, crops):
    folder = shutil.copytree(repo(family).path, tmp_path / "repo")
    processor = AutoProcessor.from_pretrained(folder)
    photo = dict(seeded_pictures())["photo"]

    add_legacy(folder, processor)

    older = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert (older["size"], older["do_center_crop"]) == (size, crops)
    (folder / "processor_config.json").unlink()
    stock = AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(stock).__name__.startswith("CLIPImageProcessor")
    torch.testing.assert_close(
        torch.as_tensor(stock(photo, return_tensors="pt")["pixel_values"]),
        processor.image_processor(photo, return_tensors="pt")["pixel_values"],
        rtol=0,
        atol=1e-6,
    )


def test_a_cased_tokenizer_says_so_to_older_readers(repo, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    (tmp_path / "source" / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    processor = AutoProcessor.from_pretrained(repo("bert_clip").path)
    processor.tokenizer = bert_tokenizer(tmp_path / "source", context_length=64)
    processor.save_pretrained(tmp_path / "repo")

    add_legacy(tmp_path / "repo", processor)

    # BertTokenizerFast of transformers 4 puts these into the normaliser, or their defaults where they are not stated.
    stated = json.loads((tmp_path / "repo" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (stated["do_lower_case"], stated["strip_accents"], stated["tokenize_chinese_chars"]) == (False, False, True)
    again = AutoTokenizer.from_pretrained(tmp_path / "repo")
    assert again("Cat É")["input_ids"] == processor.tokenizer("Cat É")["input_ids"] != again("cat e")["input_ids"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"two\nlines": 21128}, "holds a line break, so no vocab.txt can hold the token"),
        ({"far": 30000}, "do not have the ids 0 to 21128"),
    ],
)
def test_a_vocabulary_that_lines_cannot_hold_is_refused(repo, tmp_path, monkeypatch, extra, said):
    folder = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "repo")
    processor = AutoProcessor.from_pretrained(folder)
    vocabulary, before = {**processor.tokenizer.get_vocab(), **extra}, contents(folder)
    monkeypatch.setattr(processor.tokenizer, "get_vocab", lambda: vocabulary)

    with pytest.raises(InputError, match=said):
        add_legacy(folder, processor)

    assert contents(folder) == before
