"""The code in a repo: which version's it is, byte for byte, and that no command runs it, whatever it is."""

import json
import shutil
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_class_from_dynamic_module

import hf_zhclip
from hf_zhclip import saving_zhclip
from hf_zhclip.conversion import ParityError, card, convert, export, inspect, push, verify
from hf_zhclip.conversion.errors import InputError, ZhclipError
from hf_zhclip.conversion.publishing.packing import pack
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.conversion.repos import own_code as module
from hf_zhclip.conversion.repos.doors import NO_CODE, remove_code
from hf_zhclip.conversion.repos.own_code import OwnCode, add_release, own_code, versions
from hf_zhclip.conversion.repos.report import FILE

PACKAGE = Path(hf_zhclip.__file__).parent
VERSION = saving_zhclip.CODE_VERSION
CODE = sorted(path.name for path in PACKAGE.glob("*_zhclip*.py"))


@pytest.fixture
def folder(repo, tmp_path):
    return shutil.copytree(repo("cn_clip_vit").path, tmp_path / "repo")


def edit(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def report_anew(folder: Path) -> None:
    """Makes the report name every file as it is now, as somebody would who wants to deceive."""
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}
    edit(folder / FILE, files={name: digest for name, digest in files.items() if name not in (FILE, "README.md")})


def test_a_repos_code_is_of_this_version_byte_for_byte(folder):
    assert own_code(folder) == OwnCode(len(CODE), VERSION, ())
    text = verify(folder).text()
    assert (
        f"ok   code: {len(CODE)} files of code, byte for byte against hf_zhclip {VERSION}: number that differ 0"
        in text
    )


def test_the_version_is_that_of_the_package():
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{VERSION}"\n' in project


def test_a_repo_without_code_has_no_version_and_nothing_foreign(folder):
    remove_code(folder)
    report_anew(folder)
    assert own_code(folder) == OwnCode(0, None, ())
    assert "code" not in {each.step for each in verify(folder).comparisons}
    assert not any(name.endswith(".py") for name in pack(folder, "user/name").files)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (
            False,
            "The repo loads with AutoModel.from_pretrained('user/name', trust_remote_code=True). After ",
        ),
        (
            True,
            "The repo holds no code (--without-code). It loads with AutoModel.from_pretrained('user/name') only if ",
        ),
    ],
)
def test_push_says_in_one_line_how_a_reader_loads_what_it_publishes(folder, without, said):
    if without:
        remove_code(folder)
        report_anew(folder)

    pushed = push(folder, "user/name", dry_run=True)

    assert [line.startswith(said) for line in pushed.text().splitlines()].count(True) == 1
    assert pushed.to_json()["with_code"] is not without


def test_the_code_of_a_released_version_is_known(folder, monkeypatch):
    (folder / "modeling_zhclip.py").write_text("# as it was\n")
    former = {name: sha256(folder / name) for name in CODE}
    monkeypatch.setattr(module, "read_any_json", lambda path: {"0.0.9": former})
    monkeypatch.setattr(module, "SETTINGS", ())

    assert own_code(folder) == OwnCode(len(CODE), "0.0.9", ())
    shutil.copy(PACKAGE / "processing_zhclip.py", folder)
    assert own_code(folder) == OwnCode(len(CODE), "0.0.9", ())  # this file is the same in both versions
    shutil.copy(PACKAGE / "modeling_zhclip.py", folder)
    (folder / "saving_zhclip.py").unlink()
    assert own_code(folder) == OwnCode(len(CODE) - 1, None, ("saving_zhclip.py (missing)",))


def test_the_table_of_released_versions_holds_the_files_of_each_version():
    released = json.loads((Path(module.__file__).parent / module.RELEASED).read_text(encoding="utf-8"))

    for version, files in released.items():
        assert "saving_zhclip.py" in files and all(len(digest) == 64 for digest in files.values()), version
    # Released code does not change any more: another release needs another version.
    assert released.get(VERSION, versions()[VERSION]) == versions()[VERSION]


def test_a_release_adds_its_files_to_the_table_and_never_changes_them(tmp_path):
    (tmp_path / "table.json").write_text('{"0.0.9": {"a.py": "1"}}')

    for _ in range(2):
        add_release(tmp_path / "table.json")

    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert table == {"0.0.9": {"a.py": "1"}, VERSION: {name: sha256(PACKAGE / name) for name in CODE}}
    edit(tmp_path / "table.json", **{VERSION: {**table[VERSION], "modeling_zhclip.py": "1"}})
    with pytest.raises(InputError, match="this version was released(.|\n)*Raise CODE_VERSION"):
        add_release(tmp_path / "table.json")


def other_code(folder):
    (folder / "modeling_zhclip.py").write_text("pass\n")


def another_file(folder):
    (folder / "tools").mkdir()
    (folder / "tools" / "evil.py").write_text("pass\n")


def a_missing_file(folder):
    (folder / "saving_zhclip.py").unlink()


def another_class(folder):
    edit(folder / "config.json", auto_map={"AutoConfig": "configuration_zhclip.ZhCLIPConfig", "AutoModel": "evil.M"})


def another_repos_class(folder):
    edit(folder / "config.json", auto_map={"AutoModel": "somebody/else--modeling_zhclip.ZhCLIPModel"})


def a_tokenizers_class(folder):
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})


def an_image_processors_class(folder):
    stated = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))["image_processor"]
    nested = {**stated, "auto_map": {"AutoImageProcessor": "evil.I"}}
    edit(folder / "processor_config.json", image_processor=nested)


def a_towers_class(folder):
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vision_config"]
    edit(folder / "config.json", vision_config={**stated, "auto_map": "evil.C"})


def a_module_of_sentence_transformers(folder):
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["type"] = "evil.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def classes_without_code(folder):
    for name in CODE:
        (folder / name).unlink()


FOREIGN = [
    (other_code, "modeling_zhclip.py"),
    (another_file, "tools/evil.py"),
    (a_missing_file, "saving_zhclip.py (missing)"),
    (another_class, "auto_map AutoModel: 'evil.M' in config.json"),
    (another_repos_class, "auto_map AutoModel: 'somebody/else--modeling_zhclip.ZhCLIPModel' in config.json"),
    (a_tokenizers_class, "auto_map AutoTokenizer: ['evil.T', None] in tokenizer_config.json"),
    (an_image_processors_class, "auto_map AutoImageProcessor: 'evil.I' in processor_config.json"),
    (a_towers_class, "auto_map -: 'evil.C' in config.json"),
    (a_module_of_sentence_transformers, "the type 'evil.Transformer' in modules.json"),
    (classes_without_code, "auto_map AutoModel: 'modeling_zhclip.ZhCLIPModel' in config.json"),
]


@pytest.mark.parametrize(("spoil", "named"), FOREIGN)
def test_code_that_is_of_no_version_is_named_and_never_published(folder, spoil, named):
    spoil(folder)
    report_anew(folder)

    assert named in own_code(folder).foreign
    for force in (False, True):
        with pytest.raises(InputError) as refused:
            pack(folder, "user/name", force)
        assert f"{folder} has code from no known version of hf_zhclip: " in str(refused.value)
        assert named in str(refused.value)
        assert (" OUT --base REPO`" in str(refused.value)) != ("Move it to a place outside" in str(refused.value))


def test_verify_and_push_name_the_same_file_of_no_version_and_take_the_folder_without_it(folder, tmp_path):
    another_file(folder)

    with pytest.raises(ParityError, match=r"FAIL code: code from no known version \(tools/evil.py\)"):
        verify(folder)
    with pytest.raises(
        InputError, match=r"no known version of hf_zhclip: tools/evil.py\. .* Move it to a place outside"
    ):
        push(folder, "user/name", dry_run=True)

    (folder / "tools" / "evil.py").rename(tmp_path / "evil.py")
    assert verify(folder).passed and push(folder, "user/name", dry_run=True).unverified is None


@pytest.mark.parametrize("trap", ["no release", "input"])
def test_no_command_runs_a_repos_own_code(folder, tmp_path, monkeypatch, trap):
    """Every file of code, and every class that a JSON file names, would write a file if anything ran them."""
    caught = tmp_path / "caught"
    canary = f"open({str(caught)!r}, 'w').close()\n"
    for name in (*CODE, "evil.py", "torch.py", "sitecustomize.py", "handler.py"):
        (folder / name).write_text(canary)
    if trap == "input":
        # The files are ours, and the classes that the settings name are not.
        for name in CODE:
            shutil.copy(PACKAGE / name, folder)
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        autos = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoTokenizer", "AutoImageProcessor")
        edit(folder / name, auto_map=dict.fromkeys(autos, "evil.Class"))
    report_anew(folder)
    monkeypatch.setattr("builtins.input", lambda *asked: "y")  # transformers asks whether to run a repo's code
    monkeypatch.chdir(folder)

    calls = [
        lambda: inspect(folder),
        lambda: verify(folder),
        lambda: card(folder, force=True),
        lambda: export(folder, tmp_path / "native", to="transformers"),
        lambda: export(folder, tmp_path / "home.pt", to="cn_clip"),
        lambda: push(folder, "user/name", dry_run=True),
        lambda: push(folder, "user/name", dry_run=True, force_unverified=True),
        lambda: convert(folder, tmp_path / "again"),
    ]
    for call in calls:
        try:
            call()
        except ZhclipError:
            pass

    assert not caught.exists()
    with pytest.raises(AttributeError):  # the trap itself works: this is what trust_remote_code=True does
        get_class_from_dynamic_module("evil.Class", str(folder))
    assert caught.exists()


def test_no_code_of_a_repo_is_what_a_repo_without_code_names():
    assert not (PACKAGE / f"{NO_CODE['AutoProcessor'].partition('.')[0]}.py").exists()
