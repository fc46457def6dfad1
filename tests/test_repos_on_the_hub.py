"""A repo that is named as user/name is checked like a folder before transformers reads it."""

import json

import pytest
from huggingface_hub import constants

from hf_zhclip.errors import InputError
from hf_zhclip.inference.loading import load_pair, located

from tests.fuzzing.seeds import of_repo
from tests.loopback_hub import connect, serve


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    of_repo(folder)
    return {path.name: path.read_bytes() for path in (folder / "repo").iterdir()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve(tmp_path / "hub", {}) as served:
        connect(monkeypatch, served, None, tmp_path / "home")
        yield served


def changed(files, name, **fields):
    return {**files, name: json.dumps({**json.loads(files[name]), **fields}).encode()}


HOSTILE = {
    "an adapter": (lambda files: {**files, "adapter_config.json": b"{}"}, "holds adapter_config.json"),
    "a quantisation": (
        lambda files: changed(files, "config.json", quantization_config={"quant_method": "x"}),
        "states quantization_config",
    ),
    "a kernel": (
        lambda files: changed(files, "config.json", attn_implementation="stranger/kernel"),
        "states attn_implementation",
    ),
    "a key that occurs twice": (
        lambda files: {**files, "tokenizer.json": b'{"model": {}, "model": {}}'},
        "has the key 'model' twice",
    ),
    "a tokenizer with an id beyond every vocabulary": (
        lambda files: changed(files, "tokenizer.json", added_tokens=[{"content": "x", "id": 2**31}]),
        "found the id 2147483648",
    ),
    "an index that leaves the folder": (
        lambda files: {
            **{name: content for name, content in files.items() if name != "model.safetensors"},
            "model.safetensors.index.json": b'{"weight_map": {"logit_scale": "../x.safetensors"}}',
        },
        "names '../x.safetensors'",
    ),
    "a pickle": (
        lambda files: {
            **{name: content for name, content in files.items() if name != "model.safetensors"},
            "pytorch_model.bin": b"x",
        },
        "model.safetensors does not exist",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_repo_on_the_hub_is_refused_like_a_folder(name, small, hub):
    change, told = HOSTILE[name]
    hub.add("user/repo", change(small))
    with pytest.raises(InputError, match=told):
        load_pair("user/repo")


def test_no_code_and_no_pickle_is_fetched_from_the_hub(small, hub):
    foreign = ("evil.py", "pytorch_model.bin", "sub/model.safetensors", "README.md", "chat_template.jinja")
    hub.add("user/repo", {**small, **dict.fromkeys(foreign, b"x")})
    model, processor = load_pair("user/repo")
    assert processor.tokenizer.model_max_length == 16 and model.config.projection_dim
    fetched = {path.name for path in located("user/repo")[0].rglob("*") if path.is_file()}
    assert fetched == set(small)


def test_a_commit_of_the_hub_is_taken_where_it_is_stated(small, hub):
    first = hub.add("user/repo", small)
    second = hub.add("user/repo", changed(small, "config.json", quantization_config={}))
    (old, found), (new, newest) = located("user/repo", first), located("user/repo")
    assert (found, newest) == (first, second)
    assert (old / "config.json").read_bytes() == small["config.json"] != (new / "config.json").read_bytes()


def test_a_repo_in_the_cache_loads_in_offline_mode(small, hub, monkeypatch):
    hub.add("user/repo", small)
    load_pair("user/repo")
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_pair("user/repo")[0].config.projection_dim and len(hub.requests) == asked


def test_a_repo_that_is_not_in_the_cache_is_told_in_offline_mode_and_loads_without(small, hub, monkeypatch):
    hub.add("user/repo", small)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids to fetch it"):
            load_pair("user/repo")
    assert load_pair("user/repo")[0].config.projection_dim


def test_a_commit_in_the_cache_loads_in_offline_mode(small, hub, monkeypatch):
    commit = hub.add("user/repo", small)
    load_pair("user/repo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert located("user/repo", commit)[1] == commit


def test_a_repo_that_transformers_fetched_loads_in_offline_mode(small, hub, monkeypatch):
    from hf_zhclip import ZhCLIPModel, ZhCLIPProcessor

    hub.add("user/repo", {**small, "README.md": b"x", "evil.py": b"x"})
    ZhCLIPModel.from_pretrained("user/repo")
    ZhCLIPProcessor.from_pretrained("user/repo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_pair("user/repo")[0].config.projection_dim
