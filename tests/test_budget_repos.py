"""A converted repo is a stranger's file, too: commands read it under the budget, and never run its Python files."""

import hashlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.errors import InputError
from hf_zhclip.inference.loading import load_pair

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.data import made
from tests.test_budget import MOST_MIB, MOST_PRINTED, MOST_SECONDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="attacks run in forked children")

ATTACKS: dict[str, Callable[[Path], None]] = {}


def attack(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """An attack: a function that changes a converted repo."""
    ATTACKS[change.__name__] = change
    return change


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    original = FAMILIES["cn_clip_vit"](folder)
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(original.source, folder / "repo", **original.arguments)
    return folder / "repo"


def seal(folder: Path) -> None:
    """States the hashes of the changed files in the report, as a stranger who changes a repo would do."""
    path = folder / "conversion_report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["files"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in report["files"]
            if (folder / name).is_file()
        }
    except (ValueError, TypeError, RecursionError):
        return  # the attack is the report itself
    path.write_text(json.dumps(report), encoding="utf-8")


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def of_config(tower: str | None, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        edit(folder, "config.json", lambda config: (config[tower] if tower else config).update(fields))

    return change


CONFIGS = {
    "a_billion_layers_of_text": of_config("text_config", num_hidden_layers=10**9),
    "a_billion_layers_of_pictures": of_config("vision_config", num_hidden_layers=10**9),
    "a_vocabulary_of_2_to_the_40": of_config("text_config", vocab_size=2**40),
    "a_vocabulary_of_2_to_the_100": of_config("text_config", vocab_size=2**100),
    "a_width_of_2_to_the_40": of_config("text_config", hidden_size=2**40),
    "a_width_of_2_to_the_20": of_config("text_config", hidden_size=2**20),
    "an_inner_width_of_2_to_the_40": of_config("vision_config", intermediate_size=2**40),
    "positions_of_2_to_the_40": of_config("text_config", max_position_embeddings=2**40),
    "a_projection_of_2_to_the_40": of_config(None, projection_dim=2**40),
    "pictures_of_2_to_the_30": of_config("vision_config", image_size=2**30),
    "patches_of_no_size": of_config("vision_config", patch_size=0),
    "no_heads": of_config("vision_config", num_attention_heads=0),
    "a_negative_width": of_config("text_config", hidden_size=-768),
    "a_negative_number_of_layers": of_config("text_config", num_hidden_layers=-1),
    "a_negative_vocabulary": of_config("text_config", vocab_size=-1),
    "an_epsilon_that_is_no_number": of_config("text_config", layer_norm_eps=float("nan")),
    "a_scale_that_is_infinite": of_config(None, logit_scale_init_value=float("inf")),
    "a_tower_that_is_a_number": of_config(None, text_config=3),
    "a_tower_that_is_a_list": of_config(None, vision_config=[1]),
    "a_tower_without_a_type": of_config(None, vision_config={}),
    "a_tower_of_another_type": of_config("text_config", model_type="gpt2"),
    "a_tower_whose_type_is_a_list": of_config("text_config", model_type=[]),
    "layers_that_are_a_text": of_config("text_config", num_hidden_layers="\x1b[2Jmany"),
    "layers_that_are_a_fraction": of_config("text_config", num_hidden_layers=2.5),
    "architectures_that_are_an_object": of_config(None, architectures={"a": 1}),
    "architectures_that_hold_an_escape": of_config(None, architectures=["\x1b[2J"]),
    "a_dtype_that_is_a_function": of_config(None, dtype="load"),
    "a_dtype_that_is_a_number": of_config(None, dtype=7),
    "a_quantisation": of_config(None, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "an_activation_that_is_unknown": of_config("text_config", hidden_act="\x1b[2Jx"),
    "a_pooling_that_is_a_list": of_config(None, text_pooling=["cls"]),
    "a_pad_token_that_is_negative": of_config("text_config", pad_token_id=-1),
    "attention_by_a_kernel_of_the_hub": of_config(None, attn_implementation="stranger/kernel"),
    "attention_by_a_kernel_in_another_field": of_config(None, _attn_implementation="stranger/kernel"),
    "experts_by_a_kernel_of_the_hub": of_config("text_config", experts_implementation="stranger/kernel"),
    "layers_that_are_fused": of_config(None, fusion_config={"a": {"kernel": "stranger/kernel"}}),
    "a_version_that_is_an_object": of_config(None, hf_zhclip_version={}, transformers_version=[]),
}
ATTACKS.update(CONFIGS)


@attack
def a_config_nested_too_deep(folder):
    (folder / "config.json").write_text('{"model_type": "hf_zhclip", "a": ' + "[" * 200_000)


@attack
def a_config_with_a_key_twice(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.rstrip().removesuffix("}") + ', "model_type": "hf_zhclip"}')


@attack
def a_config_that_is_a_list(folder):
    (folder / "config.json").write_text("[1]")


@attack
def a_pipe_as_the_config(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


@attack
def a_pipe_as_the_weights(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


@attack
def a_pipe_as_the_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


@attack
def weights_whose_header_is_longer_than_the_file(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")


@attack
def weights_that_are_cut(folder):
    os.truncate(folder / "model.safetensors", 100_000)


@attack
def weights_that_are_no_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(1000))


def harm(folder: Path) -> str:
    """Code that writes a canary beside the repo."""
    return f"open({str(folder.parent / 'CANARY')!r}, 'w').close()\n"


class Evil:
    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return exec, (harm(self.place),)


@attack
def a_pickle_in_the_place_of_the_weights(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(folder)))


@attack
def an_index_that_leaves_the_folder(folder):
    shutil.move(folder / "model.safetensors", folder.parent / "x.safetensors")
    from safetensors import safe_open

    with safe_open(folder.parent / "x.safetensors", "pt") as file:
        names = dict.fromkeys(file.keys(), "../x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


@attack
def weights_under_another_name_whose_index_leaves_the_folder(folder):
    """The report's hash is that of model.safetensors, which transformers does not read."""
    from safetensors import safe_open

    shutil.copy(folder / "model.safetensors", folder.parent / "x.safetensors")
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = dict.fromkeys(file.keys(), "../x.safetensors")
    (folder / "other.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    edit(folder, "config.json", lambda config: config.update(transformers_weights="other.safetensors.index.json"))


@attack
def an_index_that_is_a_list(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[]")


@attack
def an_adapter_beside_the_weights(folder):
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "base_model_name_or_path": "/nowhere", "auto_mapping": {"parent_library": "evil"}}
        )
    )
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(folder)))


@attack
def a_tokenizer_nested_too_deep(folder):
    (folder / "tokenizer.json").write_text('{"a": ' + "[" * 400_000)


@attack
def a_tokenizer_of_wrong_types(folder):
    (folder / "tokenizer.json").write_text(json.dumps({"model": [], "added_tokens": 3, "normalizer": "x"}))


@attack
def a_tokenizer_with_an_id_of_2_to_the_31(folder):
    edit(folder, "tokenizer.json", lambda content: content["model"]["vocab"].update(bomb=2**31))


@attack
def a_tokenizer_that_panics_when_it_is_used(folder):
    edit(folder, "tokenizer.json", lambda content: content["post_processor"].update(special_tokens={}))


@attack
def a_tokenizer_that_doubles_a_text_thirty_times(folder):
    doubled = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    steps = {"type": "Sequence", "normalizers": [doubled] * 30}
    edit(folder, "tokenizer.json", lambda content: content.update(normalizer=steps))


@attack
def a_tokenizer_that_writes_bytes_as_letters_thirty_times(folder):
    step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
    steps = {"type": "Sequence", "pretokenizers": [step] * 30}
    edit(folder, "tokenizer.json", lambda content: content.update(pre_tokenizer=steps))


@attack
def a_template_that_puts_a_hundred_million_tokens_around_a_text(folder):
    def put(content):
        template = content["post_processor"]
        template["special_tokens"]["[CLS]"].update(ids=[1] * 20_000, tokens=["a"] * 20_000)
        template["single"] = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 5_000

    edit(folder, "tokenizer.json", put)


@attack
def a_tokenizer_config_of_wrong_types(folder):
    edit(folder, "tokenizer_config.json", lambda content: content.update(pad_token=3, model_max_length="x"))


@attack
def a_longest_text_of_less_than_nothing(folder):
    edit(folder, "tokenizer_config.json", lambda content: content.update(model_max_length=-5))


@attack
def pictures_of_a_terapixel(folder):
    edit(
        folder,
        "processor_config.json",
        lambda content: content["image_processor"].update(size={"height": 2**20, "width": 2**20}),
    )


@attack
def a_size_of_pictures_that_is_a_text(folder):
    edit(folder, "processor_config.json", lambda content: content["image_processor"].update(size="\x1b[2J"))


@attack
def a_report_of_wrong_types(folder):
    (folder / "conversion_report.json").write_text(
        json.dumps({"sources": 3, "conversion": [], "files": "x", "level": {}})
    )


@attack
def a_report_nested_too_deep(folder):
    (folder / "conversion_report.json").write_text("[" * 100_000)


@attack
def a_report_whose_words_forge_lines(folder):
    words = "\x1b[2K\rzhclip: verified\n```\n## 验证\n"
    edit(
        folder,
        "conversion_report.json",
        lambda content: content["conversion"].update(architecture=words, command=words),
    )


@attack
def a_report_of_an_unknown_format(folder):
    edit(folder, "conversion_report.json", lambda content: content["sources"][0].update(format="\x1b[2J"))


@attack
def a_report_that_records_another_config(folder):
    edit(folder, "conversion_report.json", lambda content: content["conversion"]["config"].update(text_pooling=[3]))


@attack
def a_card_whose_metadata_is_nested_too_deep(folder):
    (folder / "README.md").write_text("---\n" + "[" * 50_000 + "\n---\n")


@attack
def a_card_whose_metadata_is_long(folder):
    (folder / "README.md").write_text("---\n" + "".join(f"a{n}: [x, {{y: z}}]\n" for n in range(40_000)) + "---\n")


@attack
def a_card_whose_metadata_stands_for_billions_of_items(folder):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 35))]
    (folder / "README.md").write_text("\n".join(["---", *lines, "base_model: *a34", "license: *a34", "---", ""]))


@attack
def a_card_that_is_a_pipe(folder):
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")


@attack
def tokens_that_hold_a_fence_and_an_escape(folder):
    for path in folder.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("[CLS]", "[C`\\n# forged <script>]\\u001b[2J"), encoding="utf-8")


@attack
def code_of_a_stranger(folder):
    (folder / "evil.py").write_text(harm(folder))
    auto = {name: "evil.Evil" for name in ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor")}
    tokenizer = {"AutoTokenizer": ["evil.Evil", "evil.Evil"], **auto}
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        edit(folder, name, lambda content: content.update(auto_map=tokenizer))
    for path in folder.glob("*.py"):
        path.write_text(harm(folder) + path.read_text())


@attack
def a_class_of_a_stranger(folder):
    (folder / "evil.py").write_text(harm(folder))
    edit(
        folder,
        "tokenizer_config.json",
        lambda content: content.update(tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
    )
    edit(folder, "processor_config.json", lambda content: content.update(processor_class="Evil"))


def _places(folder: Path) -> dict[str, str]:
    """Pictures with texts, and a place for the result, beside a repo."""
    places = {name: folder.parent / name for name in ("data", "out")}
    if not places["data"].exists():
        made.tsv(places["data"])
    return {name: str(place) for name, place in places.items()}


COMMANDS: dict[str, Callable[[Path], tuple[str, list[Any]]]] = {
    "load": lambda folder: ("tests.fork_server:load", [str(folder)]),
    "train": lambda folder: ("tests.fork_server:train", [str(folder), *_places(folder).values()]),
    **{
        name: lambda folder, words=words: (
            "zhclip_cli.command_line:main",
            [[word.format(folder=folder, **_places(folder)) for word in words]],
        )
        for name, words in {
            "inspect": ("inspect", "{folder}"),
            "evaluate": ("evaluate", "{folder}", "{data}"),
            "embed": ("embed", "{folder}", "{data}", "{out}", "--texts"),
            "card": ("card", "{folder}", "--force"),
            "push": ("push", "{folder}", "stranger/repo"),
            "verify": ("verify", "{folder}"),
            "export": ("export", "{folder}", "{out}", "--to", "transformers"),
            "export to cn_clip": ("export", "{folder}", "{out}", "--to", "cn_clip"),
            "convert": ("convert", "{folder}", "{out}", "--base", "{folder}"),
        }.items()
    },
}


@pytest.mark.quick(40)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_hostile_repo_ends_in_a_word_and_runs_nothing(name, command, repo, server, tmp_path):
    folder = shutil.copytree(repo, tmp_path / "repo")
    ATTACKS[name](folder)
    seal(folder)

    function, arguments = COMMANDS[command](folder)
    ending = server.run(function, *arguments, output=tmp_path / "output.txt")

    assert not (tmp_path / "CANARY").exists()
    assert "Traceback" not in ending.output, ending.output
    assert not any(ord(character) < 32 and character != "\n" for character in ending.output), ending.output
    assert len(ending.output) <= MOST_PRINTED, len(ending.output)
    assert ending.mib <= MOST_MIB and ending.seconds <= MOST_SECONDS, ending
    assert ending.code in (0, 1, 2), ending


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("tokenizer_config.json", lambda content: content.pop("pad_token"), "Asking to pad"),
        ("tokenizer.json", lambda content: content["model"].update(unk_token="[X]"), "Missing .*token"),
    ],
)
def test_a_repo_whose_processor_fails_when_it_is_used_is_refused_when_it_is_loaded(name, change, told, repo, tmp_path):
    folder = shutil.copytree(repo, tmp_path / "repo")
    edit(folder, name, change)
    with pytest.raises(InputError, match=f"does not load: .*{told}"):
        load_pair(str(folder))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "tokenizer.json",
            lambda content: content["model"]["vocab"].update(bomb=10**6),
            "gives ids up to 1000000, but its model has only 21128 rows for words",
        ),
        (
            "tokenizer_config.json",
            lambda content: content.update(model_max_length=1000),
            "cuts texts at 1000 tokens, but its text tower takes 3 to 64",
        ),
        (
            "tokenizer_config.json",  # transformers takes it for 0, and cuts nothing
            lambda content: content.update(model_max_length=False),
            "cuts texts at False tokens, but its text tower takes 3 to 64",
        ),
    ],
)
def test_a_repo_whose_tokenizer_goes_beyond_the_model_s_rows_is_refused_when_it_is_loaded(
    name, change, told, repo, tmp_path
):
    folder = shutil.copytree(repo, tmp_path / "repo")
    edit(folder, name, change)
    with pytest.raises(InputError, match=told):
        load_pair(str(folder))


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_repo_whose_pictures_are_of_another_size_than_its_model_s_is_refused_when_it_is_loaded(side, repo, tmp_path):
    folder = shutil.copytree(repo, tmp_path / "repo")
    edit(folder, "processor_config.json", lambda content: content["image_processor"]["size"].update({side: 32}))
    with pytest.raises(InputError, match="has an image processor that gives .*pixels, but its model takes 64 x 64"):
        load_pair(str(folder))


def test_weights_under_another_name_are_refused(repo, tmp_path):
    folder = shutil.copytree(repo, tmp_path / "repo")
    ATTACKS["weights_under_another_name_whose_index_leaves_the_folder"](folder)
    with pytest.raises(InputError, match="states transformers_weights, which makes transformers load something else"):
        load_pair(str(folder))


def test_a_config_that_makes_the_towers_give_something_else_is_refused_when_it_is_loaded(repo, tmp_path):
    folder = shutil.copytree(repo, tmp_path / "repo")
    of_config("vision_config", output_hidden_states=["x"])(folder)
    with pytest.raises(InputError, match="states vision_config.output_hidden_states .*; wanted true or false"):
        load_pair(str(folder))
