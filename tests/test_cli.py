import inspect
import io
import json
import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

import hf_zhclip.conversion
import zhclip_cli
from hf_zhclip.conversion import pipeline
from hf_zhclip.conversion.proof import verification
from hf_zhclip.conversion.repos import report
from hf_zhclip.conversion.sources import SOURCES
from zhclip_cli import common
from zhclip_cli import list as list_command

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.conversion.helpers import entries, save_time
from tests.thorough import thorough

COMMAND = [sys.executable, "-m", "zhclip_cli"]
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and shells of POSIX")

HELP_WITHOUT_IMPORTS = """
import runpy, sys
sys.argv = ["zhclip", *sys.argv[1:]]
try:
    runpy.run_module("zhclip_cli", run_name="__main__")
except SystemExit as end:
    heavy = {"torch", "transformers", "numpy", "hf_zhclip", "PIL", "datasets"}
    heavy &= {name.split(".")[0] for name in sys.modules}
    print("imported", sorted(heavy), "code", end.code)
"""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    save_time(monkeypatch)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return FAMILIES["cn_clip_vit"](tmp_path_factory.mktemp("cn_clip"))


@pytest.fixture(scope="module")
def out(original, tmp_path_factory):
    """A converted repo."""
    out = tmp_path_factory.mktemp("converted") / "OUT"
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        pipeline.convert(original.source, out, **original.arguments)
    return out


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit code, its output and what it says beside."""

    def run(*arguments):
        try:
            code = zhclip_cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def subprocess_of(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, env={**os.environ, **environment}, timeout=300
    )


# Help


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["data", "--help"],
        ["--version"],
        ["convert"],
        ["search", "none", "狗"],
        ["embed", "none", ".", "OUT"],
    ],
)
def test_help_and_words_that_are_wrong_import_nothing_heavy(arguments):
    done = subprocess_of("-c", HELP_WITHOUT_IMPORTS, *arguments)

    code = 2 if arguments[0] in ("convert", "search", "embed") else 0
    assert done.stdout.decode().splitlines()[-1] == f"imported [] code {code}"


@pytest.mark.parametrize(
    "command", ["inspect", "convert", "verify", "export", "card", "push", "list", "data", "evaluate", "demo"]
)
def test_every_command_has_help(command, run):
    code, text, _ = run(command, "--help")

    assert code == 0
    assert text.startswith(f"usage: zhclip {command}")


@pytest.mark.parametrize("command", ["inspect", "convert", "verify"])
def test_the_help_lists_every_format(command, run):
    _, text, _ = run(command, "--help")

    assert common.FORMATS == tuple(SOURCES)
    assert set(SOURCES) <= set(re.findall(r"\w+", text))


def test_the_version_is_printed(run):
    code, text, _ = run("--version")

    assert code == 0
    assert text.startswith("zhclip ")


@pytest.mark.parametrize(
    ("arguments", "command", "found"),
    [
        ([], "zhclip", "COMMAND"),
        (["unknown"], "zhclip", "unknown"),
        (["--no-such-option"], "zhclip", "COMMAND"),
        (["convert"], "zhclip convert", "SOURCE, OUT"),
        (["convert", "x.pt"], "zhclip convert", "OUT"),
        (["convert", "x.pt", "OUT", "--dtype", "int8"], "zhclip convert", "--dtype"),
        (["convert", "x.pt", "OUT", "--context-length", "many"], "zhclip convert", "many"),
        (["convert", "x.pt", "OUT", "--no-such-option"], "zhclip convert", "--no-such-option"),
        (["list", "one", "two\x1b[31m\n"], "zhclip list", "one two\\x1b[31m\\n"),
        (["train", "REPO", "DATA", "OUT"], "zhclip train", "--recipe"),
    ],
)
def test_wrong_arguments_end_with_2_and_a_line(arguments, command, found, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, text, said = run(*arguments)

    assert (code, text) == (2, "")
    assert said.startswith(f"{command}: error: ") and found in said
    assert said.endswith(f" `{command} --help` shows the words.\n") and said.count("\n") == 1
    assert entries(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["search", "no-corpus", "-k", "5", "一只狗"], "zhclip: no-corpus does not exist"),
        (["search", "no-corpus", "--json", "一只狗", "一只猫"], "unrecognized arguments: 一只狗 一只猫."),
        (["search", "no-corpus", "--jsom", "一只狗"], "unrecognized arguments: --jsom 一只狗."),
        (["evaluate", "no-repo", "--split", "valid", "no-data"], "zhclip: no-data does not exist"),
    ],
)
def test_a_word_may_stand_behind_options(arguments, found, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, text, said = run(*arguments)

    assert (code, text) == (2, "")
    assert found in said


# Convert


def test_convert_prints_its_result_and_tells_progress_apart(original, run, tmp_path):
    code, text, said = run("convert", original.source, tmp_path / "OUT", "--config", original.arguments["config"])

    assert code == 0
    assert text == f"{tmp_path / 'OUT'}: ViT 64x2/16@BERT 32x2, verified, level {level(tmp_path / 'OUT')}.\n"
    lines = said.splitlines()
    assert lines[0] == f"Reading {original.source}"
    assert "Verifying in a fresh process" in lines


def level(out):
    return json.loads((out / "conversion_report.json").read_text(encoding="utf-8"))["level"]


def test_convert_prints_the_report_as_json_alone(original, run, tmp_path):
    out = tmp_path / "OUT"

    code, text, _ = run("convert", original.source, out, "--config", original.arguments["config"], "--json")

    assert code == 0
    assert json.loads(text) == json.loads((out / "conversion_report.json").read_text(encoding="utf-8"))


def test_convert_without_verification_says_so(original, run, tmp_path):
    arguments = [original.source, tmp_path / "OUT", "--config", original.arguments["config"], "--skip-verify"]

    code, text, _ = run("convert", *arguments)

    assert code == 0
    assert "tensors compared, NOT verified" in text


@pytest.mark.quick(1)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_verification_ends_with_1_prints_the_report_and_leaves_nothing(
    as_json, original, run, tmp_path, monkeypatch
):
    describe = pipeline.describe

    def wrong(parts):
        description = describe(parts)
        description.vision.config["num_attention_heads"] = 8
        return description

    monkeypatch.setattr(pipeline, "describe", wrong)
    options = ["--config", original.arguments["config"], *(["--json"] if as_json else [])]

    code, text, said = run("convert", original.source, tmp_path / "OUT", *options)

    assert code == 1
    assert "does not compute the same as" in said and "Traceback" not in said
    if as_json:
        assert json.loads(text)["passed"] is False
    else:
        assert text.startswith("FAILED: ViT 64x2/16@BERT 32x2\n")
        assert "  FAIL image: embeddings of 4 inputs in float64" in text
        assert "  ok   text: embeddings of 18 inputs in float64" in text
    assert entries(tmp_path) == set()


CONVERT = {
    **dict.fromkeys(("vision", "base", "format", "tokenizer", "config", "context_length", "ema", "report")),
    **dict.fromkeys(("vision_format", "vision_config")),
    **{"dtype": "keep", "max_shard_size": "5GB"},
    **{"with_code": True, **dict.fromkeys(("also_legacy", "force", "skip_verify", "allow_nonfinite"), False)},
}
EXPORT = {
    **{"ddp": False, "also_legacy": False, "max_shard_size": "5GB", "force": False},
    **dict.fromkeys(("precision", "opset", "layout", "calibrate", "check")),
    "accept_loss": False,
}
CARD = {"license": None, "base_model": None, "force": False}
PUSH = {"private": False, "revision": None, "create_pr": False, "dry_run": False, "force_unverified": False}


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("convert s o", {"source": "s", "out": "o", **CONVERT}),
        (
            "convert s o --vision v --format f --tokenizer t --config c --dtype float16 --context-length 9 --ema use "
            "--vision-format vf --vision-config vc --base b "
            "--report r --max-shard-size 1GB --with-code --also-legacy --force --skip-verify --allow-nonfinite",
            {
                **{"source": "s", "out": "o", "vision": "v", "format": "f", "tokenizer": "t", "config": "c"},
                **{"vision_format": "vf", "vision_config": "vc", "base": "b"},
                **{"dtype": "float16", "context_length": 9, "ema": "use", "max_shard_size": "1GB", "report": "r"},
                **dict.fromkeys(("with_code", "also_legacy", "force", "skip_verify", "allow_nonfinite"), True),
            },
        ),
        ("convert s o --without-code", {"source": "s", "out": "o", **CONVERT, "with_code": False}),
        (
            "inspect s --vision v --format f --tokenizer t --config c --vision-format vf --vision-config vc --ema use",
            {
                **{"source": "s", "vision": "v", "format": "f", "tokenizer": "t", "config": "c", "ema": "use"},
                **{"vision_format": "vf", "vision_config": "vc"},
            },
        ),
        ("export o d --to transformers", {"out": "o", "destination": "d", "to": "transformers", **EXPORT}),
        ("export o d --to source", {"out": "o", "destination": "d", "to": "source", **EXPORT}),
        (
            "export o d --to cn_clip --ddp --also-legacy --max-shard-size 1GB --force",
            {
                **{"out": "o", "destination": "d", "to": "cn_clip", **EXPORT, "max_shard_size": "1GB"},
                **dict.fromkeys(("ddp", "also_legacy", "force"), True),
            },
        ),
        (
            "export o d --to onnx --precision int8 --opset 21 --layout plain --calibrate a --check b --accept-loss",
            {
                **{"out": "o", "destination": "d", "to": "onnx", **EXPORT, "precision": "int8", "opset": 21},
                **{"layout": "plain", "calibrate": "a", "check": "b", "accept_loss": True},
            },
        ),
        ("card o", {"out": "o", **CARD}),
        (
            "card o --license mit --base-model u/b --force",
            {"out": "o", "license": "mit", "base_model": "u/b", "force": True},
        ),
        ("push o u/n", {"out": "o", "repo_id": "u/n", **PUSH}),
        (
            "push o u/n --private --revision b --create-pr --dry-run --force-unverified",
            {
                **{"out": "o", "repo_id": "u/n", "revision": "b"},
                **dict.fromkeys(("private", "create_pr", "dry_run", "force_unverified"), True),
            },
        ),
    ],
)
def test_every_option_of_a_command_is_an_argument_of_its_function(line, arguments, monkeypatch, run):
    command = line.split()[0]
    function = getattr(hf_zhclip.conversion, command)
    seen = {}

    def stand_in(**options):
        seen.update(options)
        raise hf_zhclip.conversion.InputError("seen")

    monkeypatch.setattr(hf_zhclip.conversion, command, stand_in, raising=False)

    code, _, said = run(*line.split())

    assert (code, said) == (2, "zhclip: seen\n")
    assert seen.keys() == inspect.signature(function).parameters.keys()
    seen.pop("progress", None)
    assert seen == arguments


# Verify and inspect


def test_verify_prints_every_comparison(out, run):
    code, text, _ = run("verify", out)

    assert code == 0
    assert text.startswith(f"level {level(out)}: ViT 64x2/16@BERT 32x2\n")
    assert all(line.startswith("  ok   ") for line in text.splitlines()[1:])


def test_verify_takes_the_original(original, out, run):
    code, text, _ = run(
        "verify", out, "--against", original.source, "--config", original.arguments["config"], "--json"
    )

    assert code == 0
    assert json.loads(text)["passed"] is True


def test_verify_of_a_changed_repo_ends_with_1(out, run, tmp_path):
    import shutil

    shutil.copytree(out, tmp_path / "OUT")
    config = json.loads((tmp_path / "OUT" / "config.json").read_text(encoding="utf-8"))
    config["text_pooling"] = "mean"
    (tmp_path / "OUT" / "config.json").write_text(json.dumps(config), encoding="utf-8")

    code, text, said = run("verify", tmp_path / "OUT")

    assert code == 1
    assert "  FAIL text: " in text
    assert "does not compute the same as the original" in said


def test_verify_of_something_else_ends_with_2(run, tmp_path):
    assert run("verify", tmp_path)[0] == 2


def test_inspect_prints_a_page_or_json(original, run):
    code, text, _ = run("inspect", original.source, "--config", original.arguments["config"])
    assert code == 0
    assert "[cn_clip], certain" in text

    code, text, _ = run("inspect", original.source, "--config", original.arguments["config"], "--json")
    assert code == 0
    assert (json.loads(text)["format"], json.loads(text)["refusal"]) == ("cn_clip", None)


def test_inspect_of_what_convert_refuses_says_so_and_ends_with_2(original, run):
    code, text, _ = run("inspect", original.source)
    assert code == 2
    assert "[cn_clip], but convert refuses it" in text and "--config FILE" in text

    code, text, _ = run("inspect", original.source, "--json")
    assert code == 2
    assert json.loads(text)["format"] == "cn_clip" and "--config FILE" in json.loads(text)["refusal"]


def test_inspect_of_an_unknown_model_describes_it_and_ends_with_2(run, tmp_path):
    torch.save({"a.b": torch.ones(2)}, tmp_path / "x.pt")

    code, text, _ = run("inspect", tmp_path / "x.pt")

    assert code == 2
    assert "x.pt: a format that is not converted" in text


# The machine and the console


def test_a_lost_network_ends_with_1(run, tmp_path):
    code, text, said = run("convert", "user/repo", tmp_path / "OUT")

    assert (code, text) == (1, "")
    assert said.splitlines()[-1].startswith("zhclip: user/repo could not be downloaded, and is not in the cache.")


def test_a_repository_that_does_not_exist_ends_with_2(run, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    def missing(*_, **__):
        raise errors.HFValidationError("no")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", missing)

    code, text, said = run("convert", "user/repo", tmp_path / "OUT")

    assert (code, text) == (2, "")
    assert "zhclip: user/repo does not exist" in said


def test_a_full_disk_ends_with_1_in_words(original, run, tmp_path, monkeypatch):
    from hf_zhclip.conversion.repos import pieces

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pieces, "_bytes", fail)

    code, text, said = run("convert", original.source, tmp_path / "OUT", "--config", original.arguments["config"])

    assert (code, text) == (1, "")
    assert said.splitlines()[-1].endswith("OUT could not be written: No space left on device. No file was left there.")
    assert entries(tmp_path) == set()


def test_a_file_that_cannot_be_read_ends_with_1_in_words(original, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)

    code, _, said = run("convert", original.source, tmp_path / "OUT")

    assert code == 1
    assert said.splitlines()[-1] == f"zhclip: {original.source} could not be read: Input/output error."


def test_a_repo_that_cannot_be_read_ends_with_1_in_words(out, run, monkeypatch):
    def fail(_):
        raise PermissionError(13, "Permission denied", "config.json")

    monkeypatch.setattr(report, "sha256", fail)

    code, text, said = run("verify", out)

    assert (code, text) == (1, "")
    assert said.splitlines()[-1] == "zhclip: config.json: Permission denied."


@posix
def test_a_reader_that_goes_away_is_no_error_to_talk_about(original, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        code = zhclip_cli.main(["inspect", str(original.source)])

    assert code == 1
    assert capsys.readouterr().err == ""


def test_what_pillow_warns_of_is_not_printed(monkeypatch):
    def warning(options, as_json):
        warnings.warn_explicit("Corrupt EXIF data", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("ours", UserWarning, "x.py", 1, module="x")
        return 0

    monkeypatch.setattr(list_command, "run", warning)
    with warnings.catch_warnings(record=True) as told:
        assert zhclip_cli.main(["list"]) == 0
    assert [str(each.message) for each in told] == ["ours"]


def test_an_interrupt_ends_with_1_and_leaves_nothing(original, run, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "in_fresh_process", interrupt)

    code, text, said = run("convert", original.source, tmp_path / "OUT", "--config", original.arguments["config"])

    assert (code, text) == (1, "")
    assert said.splitlines()[-1] == "zhclip: interrupted; no half-written file was left."
    assert entries(tmp_path) == set()


INTERRUPTED_IMPORT = """
import sys
import zhclip_cli

class Interrupt:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.exit(zhclip_cli.main(["list"]))
"""


@pytest.mark.parametrize(
    "module",
    [
        "hf_zhclip",
        pytest.param("hf_zhclip.conversion.errors", marks=pytest.mark.thorough),
        pytest.param("hf_zhclip.conversion.reading", marks=pytest.mark.thorough),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_with_1_in_words(module):
    done = subprocess_of("-c", INTERRUPTED_IMPORT, module)

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == ["zhclip: interrupted; no half-written file was left."]


@pytest.fixture
def buffered(monkeypatch):
    """Output waits in a buffer, as it does for users whose output is no terminal."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def broken_pipe(buffered):
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(pytest.param(each, marks=pytest.mark.thorough) for each in (["list"], ["--version"], ["list", "--help"])),
    ],
)
def test_nothing_is_said_at_exit_where_the_reader_of_the_output_has_gone(arguments, broken_pipe):
    done = subprocess.run([*COMMAND, *arguments], stdout=broken_pipe, stderr=subprocess.PIPE, timeout=300)

    assert (done.returncode, done.stderr) == (1, b"")


@posix
@pytest.mark.thorough
def test_the_exit_code_stays_where_the_reader_of_the_messages_has_gone(broken_pipe):
    done = subprocess.run([*COMMAND, "inspect", "no-such-file.pt"], stderr=broken_pipe, timeout=300)

    assert done.returncode == 2


@posix
@pytest.mark.thorough
def test_a_closed_output_is_no_failure():
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "list"], stderr=subprocess.PIPE, timeout=300)

    assert (done.returncode, done.stderr) == (0, b"")


@posix
@pytest.mark.thorough
def test_messages_do_not_get_into_the_output_where_the_stream_of_messages_is_closed():
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "inspect", "no-such-file.pt", "--json"]

    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=300)

    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "no more was given"),
        (ImportError("lib.so: failed to map segment from shared object"), "failed to map segment"),
        (
            RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes.\nframes"),
            "allocate 9 bytes.",
        ),
    ],
)
def test_memory_that_does_not_suffice_is_told_in_a_line(error, reason, run, monkeypatch):
    def fail(options, as_json):
        raise error

    monkeypatch.setattr("zhclip_cli.list.run", fail)
    code, text, said = run("list")
    assert (code, text, said.count("\n")) == (1, "", 1)
    assert said.startswith("zhclip: the memory does not suffice: ") and reason in said


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "TQDM_MININTERVAL"])
def test_a_setting_in_the_environment_that_a_package_cannot_read_is_named(name):
    settings = {**os.environ, name: "ten seconds"}
    ended = subprocess.run([*COMMAND, "list"], env=settings, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert f"zhclip: found a wrong value of {name} in the environment: " in ended.stderr
    del settings[name]
    assert subprocess.run([*COMMAND, "list"], env=settings, capture_output=True).returncode == 0


def test_a_process_of_a_training_whose_number_is_none_ends_with_2(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "first")
    code, text, said = run("train", "repo", "data", str(tmp_path / "OUT"), "--recipe", "full")
    assert (code, text) == (2, "") and "found RANK='first' in the environment; a whole number was wanted." in said


def test_a_panic_of_a_package_is_told_in_a_line(run, monkeypatch):
    def fail(options, as_json):
        found = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        found.pre_tokenizer = pre_tokenizers.Split(Regex("(a|a|aa)+$"), "isolated")
        found.encode("a" * 60 + "!")

    monkeypatch.setattr("zhclip_cli.list.run", fail)
    code, text, said = run("list")
    assert (code, text) == (1, "")
    assert "zhclip: a package failed: Onig: Regex search error: retry-limit-in-match over. A tokenizer.json" in said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.parametrize("arguments", [thorough(["list"]), ["--help"]])
def test_an_output_on_a_full_disk_ends_with_1_in_words(arguments, buffered):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=300)

    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["zhclip: [Errno 28] No space left on device"]


def test_a_console_that_knows_other_characters_is_no_obstacle(monkeypatch, tmp_path):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="gbk", errors="strict") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    name = "模型_é_😀.pt"
    torch.save({"кот.é.😀": torch.ones(1)}, tmp_path / name)

    inspected = zhclip_cli.main(["inspect", str(tmp_path / name)])
    converted = zhclip_cli.main(["convert", str(tmp_path / name), str(tmp_path / "OUT")])
    for stream in streams.values():
        stream.flush()

    assert (inspected, converted) == (2, 2)
    assert "模型_" in streams["stdout"].buffer.getvalue().decode("gbk")
    assert "zhclip: The format of 模型_" in streams["stderr"].buffer.getvalue().decode("gbk")


def test_the_whole_command_works_on_a_gbk_console_with_chinese_paths(tmp_path):
    """One real run: a fresh process that starts a fresh process."""
    folder = tmp_path / "模型 é"
    folder.mkdir()
    source, config = c.cn_clip.cn_clip_file(folder / "权重.pt"), c.cn_clip.cn_clip_config(folder / "事实.json")
    arguments = ["-m", "zhclip_cli", "convert", source, folder / "输出", "--config", config, "--json"]

    done = subprocess_of(*map(str, arguments), PYTHONIOENCODING="gbk", PYTHONUTF8="0")

    assert done.returncode == 0, done.stderr.decode("gbk", "replace")
    report = json.loads(done.stdout.decode("gbk"))
    assert report["passed"] and report["sources"][0]["name"] == "权重.pt"
    assert all(each["passed"] for each in report["comparisons"])
    assert len([each for each in report["comparisons"] if each["step"] == "pixels"]) == 13
    assert done.stderr.decode("gbk").splitlines()[0].startswith("Reading ")
    assert entries(folder) == {"权重.pt", "事实.json", "输出"}


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zhclip", "--version"])

    with pytest.raises(SystemExit) as end:
        runpy.run_module("zhclip_cli", run_name="__main__")

    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("zhclip ")
