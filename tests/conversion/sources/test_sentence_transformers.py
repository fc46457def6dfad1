"""sentence-transformers' folders: which modules are converted, which are refused by name, what is fetched of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from hf_zhclip.conversion import convert, inspect
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import WholePart, identify
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.reading.hub import locate
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.builders import bert_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab, read_wordpieces

from tests import checkpoints

HIDDEN, EMBED = checkpoints.common.HIDDEN, checkpoints.common.EMBED
OLD = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
IDENTITY = "torch.nn.modules.linear.Identity"
NEW_NAMES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


@pytest.fixture
def folder(tmp_path):
    return checkpoints.sentence_transformers.sentence_transformers_folder(tmp_path / "text")


def describe(folder):
    checkpoint = read(folder)
    detection = detect(checkpoint)
    assert detection.source.name == "sentence_transformers"
    return WholePart(detection.source, checkpoint, checkpoint.config, detection.why).describe()


def edit(file, **fields):
    content = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: value for key, value in {**content, **fields}.items() if value is not ...}
    file.write_text(json.dumps(kept), encoding="utf-8")


def list_modules(folder, *modules):
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")


# The configs of sentence-transformers/clip-ViT-B-32-multilingual-v1.
def test_the_published_layout_is_described(folder):
    found = describe(folder)

    assert found.text.config["model_type"] == "distilbert"
    assert (found.text.pooling, found.text.projection, found.text.width) == ("mean", "linear", EMBED)
    assert (found.context_length, found.image_order) == (40, "rgb_then_crop")


def test_what_version_6_saves_is_described_alike(folder):
    before = describe(folder)
    names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    list_modules(folder, *((path, NEW_NAMES[name]) for path, name in names))
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": HIDDEN, "pooling_mode": "mean", "include_prompt": True}), encoding="utf-8"
    )
    edit(
        folder / "2_Dense/config.json", module_input_name="sentence_embedding", module_output_name="sentence_embedding"
    )
    text = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": text,
        "module_output_name": "token_embeddings",
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings), encoding="utf-8")
    edit(folder / "tokenizer_config.json", model_max_length=40, tokenizer_class="DistilBertTokenizer")
    prompts = {"prompts": {"query": "", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")

    assert describe(folder) == before


def test_the_first_module_may_lie_in_a_folder_of_its_own(folder):
    before = describe(folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name != "modules.json"]:
        file.rename(inner / file.name)
    names = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    list_modules(folder, *((path, f"sentence_transformers.models.{name}") for path, name in names))

    assert describe(folder) == before
    assert read(folder).folder == inner


@pytest.mark.parametrize(
    ("stated", "pooling"),
    [
        ({**OLD, "pooling_mode_cls_token": True}, "cls"),
        ({key: ... for key in OLD}, "mean"),  # no switch at all: modules/pooling.py
        ({"pooling_mode_mean_tokens": ..., "pooling_mode_cls_token": ..., "pooling_mode": ["cls"]}, "cls"),
    ],
)
def test_the_pooling_is_read_as_the_library_reads_it(stated, pooling, folder):
    edit(folder / "1_Pooling/config.json", **stated)
    assert describe(folder).text.pooling == pooling


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [({"max_seq_length": 32}, 32), ({"max_seq_length": None}, 48), ({"max_seq_length": ...}, 48)],
)
def test_max_seq_length_goes_before_the_tokenizers_own_limit(stated, wanted, folder):
    edit(folder / "sentence_bert_config.json", **stated)
    edit(folder / "tokenizer_config.json", model_max_length=48)
    assert describe(folder).context_length == wanted


def test_without_any_limit_the_positions_are_the_limit(folder):
    (folder / "sentence_bert_config.json").unlink()
    assert describe(folder).context_length == checkpoints.common.POSITIONS


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (
            "1_Pooling",
            {**OLD, "pooling_mode_max_tokens": True},
            "states the pooling max; supported is a single pooling of mean, cls",
        ),
        ("1_Pooling", {"pooling_mode_cls_token": True}, "states the pooling cls and mean"),
        ("1_Pooling", {**OLD}, "states the pooling none; supported"),
        ("1_Pooling", {"pooling_mode": 5}, "states the pooling 5; supported"),
        ("1_Pooling", {"pooling_mode": []}, "states the pooling none; supported"),
        ("1_Pooling", {"pooling_mode_other": True}, "Pooling states pooling_mode_other True"),
        ("1_Pooling", {"word_embedding_dimension": 7}, "embedding_dimension: stated 7, the weights say 32"),
        ("2_Dense", {"activation_function": "torch.nn.modules.activation.Tanh"}, r"activation_function 'torch.*Tanh'"),
        ("2_Dense", {"activation_function": None}, "Dense states activation_function None"),
        ("2_Dense", {"activation_function": ...}, r"activation_function 'torch.*Tanh'"),
        ("2_Dense", {"use_residual": True}, "Dense states use_residual True"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, "module_input_name 'token_embeddings'"),
        ("2_Dense", {"bias": True}, "bias: stated True, the weights say False"),
        ("2_Dense", {"out_features": 47}, "out_features: stated 47, the weights say 48"),
        ("text", {"transformer_task": "fill-mask"}, "Transformer states transformer_task 'fill-mask'"),
        ("text", {"model_args": {"attn": 1}}, r"Transformer states model_args \{'attn': 1\}"),
        ("text", {"do_lower_case": True}, "states do_lower_case True"),
        ("text", {"max_seq_length": 65}, "max_seq_length 65; wanted a number from 3 to 64"),
        ("body", {"model_type": "xlm-roberta"}, "model_type 'xlm-roberta'.*Supported are distilbert and bert"),
        ("body", {"n_heads": 3}, "3 heads; wanted a divisor of the width 32"),
        ("body", {"dim": 48}, "dim: config.json says 48, the shapes say 32"),
        ("body", {"activation": "gelu_new"}, "the activation 'gelu_new'"),
    ],
)
def test_what_computes_something_else_is_refused_by_name(file, fields, message, folder):
    places = {"text": "sentence_bert_config.json", "body": "config.json"}
    edit(folder / places.get(file, f"{file}/config.json"), **fields)
    with pytest.raises(InputError, match=message):
        describe(folder)


def test_a_prompt_before_every_text_is_refused(folder):
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(InputError, match="puts the prompt 'query' before every text"):
        describe(folder)


OLD_NAME = "sentence_transformers.models."


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [("", "Transformer"), ("1_Pooling", "Pooling")],
            "Without a Dense, its vectors cannot be compared with pictures",
        ),
        ([("", "Transformer"), ("1", "Pooling"), ("2", "Normalize"), ("3", "Dense")], "Pooling, Normalize, Dense"),
        ([("", "Transformer"), ("1", "Pooling"), ("2", "Dense"), ("3", "Dense")], "Pooling, Dense, Dense"),
        ([("", "WordEmbeddings"), ("1", "Pooling")], "the modules WordEmbeddings, Pooling"),
        ([("../other", "Transformer")], r"a module at '\.\./other'"),
        ([], "of the modules none"),
    ],
)
def test_other_modules_are_refused_by_name(modules, message, folder):
    list_modules(folder, *((path, OLD_NAME + name) for path, name in modules))
    with pytest.raises(InputError, match=message):
        read(folder)


def test_a_module_of_its_own_code_is_not_run(folder):
    list_modules(folder, ("", "custom_st.Transformer"))
    with pytest.raises(
        InputError, match="'custom_st.Transformer', which is not part of sentence-transformers. Its code is not run"
    ):
        read(folder)


@pytest.mark.parametrize("content", ["{}", "[1]", "["])
def test_a_damaged_modules_json_is_an_error_in_words(content, folder):
    (folder / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"modules\.json"):
        read(folder)


@pytest.mark.parametrize("name", ["2_Dense/pytorch_model.bin", "2_Dense/config.json", "1_Pooling/config.json"])
def test_a_file_that_was_not_fetched_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(
        InputError,
        match=f"{Path(name).parent}.* (holds no text projection|does not exist).*Fetch the (projection|file), too",
    ):
        read(folder)


@pytest.mark.parametrize("value", [{"a": 1}, [1.0], 3])
def test_what_is_no_tensor_in_a_dense_is_an_error_in_words(value, folder):
    file = folder / "2_Dense/pytorch_model.bin"
    torch.save({"linear.weight": value}, file)
    with pytest.raises(InputError, match=rf"2_Dense/pytorch_model.bin holds a {type(value).__name__} .*linear.weight"):
        read(folder)


@pytest.mark.parametrize("shape", [(), (3,), (3, 5, 2)])
def test_a_dense_that_is_no_matrix_is_an_error_in_words(shape, folder):
    torch.save({"linear.weight": torch.zeros(shape)}, folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(InputError, match=r"2_Dense.linear.weight"):
        describe(folder)


def test_of_two_files_of_a_dense_safetensors_is_read(folder):
    other = torch.ones(EMBED, HIDDEN)
    save_file({"linear.weight": other}, folder / "2_Dense/model.safetensors")
    assert torch.equal(read(folder).tensors["2_Dense.linear.weight"], other)


def test_a_file_of_the_folder_alone_is_no_model(folder):
    with pytest.raises(UnknownFormat, match=r"in the folder 2_Dense. Name the folder that holds modules\.json"):
        detect(read(folder / "pytorch_model.bin"))


def test_a_folder_of_clip_is_a_source_and_an_image_part(folder, tmp_path):
    clip = checkpoints.sentence_transformers.sentence_transformers_clip(tmp_path / "clip")

    parts = identify(Stated(folder, clip))

    assert [(each.source.name, each.role) for each in parts] == [
        ("sentence_transformers", "whole"),
        ("hf_clip", "image"),
    ]
    assert inspect(clip).format == "hf_clip"
    whole = convert(clip, tmp_path / "whole", skip_verify=True)
    assert (whole.sources[0]["format"], whole.passed) == ("hf_clip", True)


def test_a_bert_with_cls_pooling_and_a_bias_is_converted(tmp_path):
    pooling = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    text = checkpoints.sentence_transformers.sentence_transformers_folder(
        tmp_path / "text", bert_tower=True, bias=True, pooling=pooling
    )
    clip = checkpoints.sentence_transformers.sentence_transformers_clip(tmp_path / "clip")

    assert convert(text, tmp_path / "out", vision=clip).passed
    config = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert (config["text_pooling"], config["text_projection_type"]) == ("cls", "linear_bias")


def test_a_converted_repo_is_still_known_as_converted(repo):
    path = repo("sentence_transformers").path
    assert (path / "modules.json").is_file()
    with pytest.raises(UnknownFormat, match="is a repo of this package"):
        detect(read(path))


def test_no_class_of_transformers_holds_it(repo):
    config = json.loads((repo("sentence_transformers").path / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(InputError) as error:
        native_for(config)

    assert "the pooling of texts: the repo takes the mean of all tokens, and the class takes a single token" in str(
        error.value
    )
    assert "text_config.model_type 'distilbert': the class can only hold" in str(error.value)


def test_the_vocabulary_is_prepared_as_the_folder_and_the_converted_repo_state(folder, repo):
    converted = repo("sentence_transformers").path
    for place in (folder, converted):
        found = read_wordpieces(place)
        assert found.tokens[100:106] == default_vocab()[100:106]
        assert (found.lowercase, found.strip_accents, found.cjk_alone) == (False, False, True)
    lowered = read_wordpieces(folder / "vocab.txt")
    assert (lowered.lowercase, lowered.strip_accents) == (True, True)


def test_capitals_are_not_the_words_of_the_small_letters(folder):
    tokenizer = bert_tokenizer(folder, 40)
    unknown = tokenizer.unk_token_id
    assert tokenizer("CLIP cat")["input_ids"][1] == unknown != tokenizer("clip cat")["input_ids"][1]


# Downloads


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one repository, whose modules.json is `modules`."""
    found = SimpleNamespace(names=[], modules=[], patterns=None)

    def hf_hub_download(repo, file, revision=None):
        (tmp_path / file).write_text(json.dumps(found.modules), encoding="utf-8")
        return str(tmp_path / file)

    def snapshot_download(repo, revision=None, allow_patterns=None):
        found.patterns = allow_patterns
        return str(tmp_path)

    def model_info(repo, revision=None, files_metadata=False):
        return SimpleNamespace(sha=None, siblings=[SimpleNamespace(rfilename=name, size=1) for name in found.names])

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for call in (hf_hub_download, snapshot_download, model_info):
        monkeypatch.setattr(huggingface_hub, call.__name__, call)
    return found


def module(path, kind):
    return {"path": path, "type": f"sentence_transformers.models.{kind}"}


def test_of_a_text_model_on_the_hub_the_projection_is_fetched_too(hub):
    hub.names = ["modules.json", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx"]
    hub.names += [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "2_Dense/pytorch_model.bin",
    ]
    hub.modules = [module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Dense", "Dense")]

    locate("sentence-transformers/clip-ViT-B-32-multilingual-v2")

    wanted = {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "model.safetensors"}
    wanted |= {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "vocab.txt"}
    assert wanted <= set(hub.patterns)
    assert not {"pytorch_model.bin", "2_Dense/pytorch_model.bin", "onnx/model.onnx"} & set(hub.patterns)


def test_of_a_clip_on_the_hub_the_folder_inside_is_fetched(hub):
    hub.names = ["modules.json", "0_CLIPModel/config.json", "0_CLIPModel/pytorch_model.bin"]
    hub.modules = [module("0_CLIPModel", "CLIPModel")]

    locate("sentence-transformers/clip-ViT-B-32")

    assert {"modules.json", "0_CLIPModel/pytorch_model.bin", "0_CLIPModel/config.json"} <= set(hub.patterns)
    assert {"0_CLIPModel/vocab.json", "0_CLIPModel/merges.txt", "0_CLIPModel/preprocessor_config.json"} <= set(
        hub.patterns
    )
