"""What others wrote reaches a terminal, a log and JSON on one line, and no secret does."""

import json

import pytest

import zhclip_cli
from hf_zhclip.conversion.errors import InputError, OlderRepo, ParityError, WorkError
from hf_zhclip.conversion.mapping import fold
from hf_zhclip.telling import masked, near, shown, shown_lines
from zhclip_cli import common

from tests.data.made import tsv

HOSTILE = {
    "a\x1b[31mred": r"a\u001b[31mred",
    "a\nzhclip: all is well": r"a\u000azhclip: all is well",
    "a\r\tb\x00\x7f": r"a\u000d\u0009b\u0000\u007f",
    "a\x85\x9b31m": r"a\u0085\u009b31m",
    "a\u202etxt.exe\u2066": r"a\u202etxt.exe\u2066",
    "a\u2028b": r"a\u2028b",
    "a\ud800": r"a\ud800",
}
ORDINARY = ["", "猫 한국어 é 👩‍👧 – “x”", "C:\\new\\table", r"\u001b"]


@pytest.mark.parametrize(("text", "wanted"), HOSTILE.items())
def test_what_a_terminal_obeys_is_shown_in_place_of_obeyed(text, wanted):
    assert shown(text) == wanted
    assert shown(shown(text)) == wanted


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text):
    assert shown(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_json_stays_the_same_value(text):
    assert json.loads(shown(json.dumps(text, ensure_ascii=False))) == text


def test_lines_of_our_own_stay_lines():
    assert shown_lines("a\nb\x1b") == "a\nb\\u001b"


@pytest.mark.parametrize("kind", [InputError, WorkError])
def test_an_error_says_nothing_that_a_terminal_obeys(kind):
    assert str(kind("one\ntwo \x1b]0;title\x07")) == "one\ntwo \\u001b]0;title\\u0007"


def test_errors_that_bear_something_are_shown_too():
    assert str(ParityError("\x9b", None)) == str(OlderRepo("\x9b", None)) == r"\u009b"


def test_a_key_can_not_forge_a_line():
    forged = "a\nzhclip: verified\x1b[2K\0"

    assert fold([f"{forged}.0.w", f"{forged}.1.w"]) == [r"a\u000azhclip: verified\u001b[2K\u0000.{0...1}.w"]


def test_a_layer_number_that_python_can_not_read_is_a_part_of_the_name():
    assert fold([f"a.{'1' * 5000}.b"]) == [f"a.{'1' * 5000}.b"]


def test_progress_and_pages_are_shown(capsys):
    common.print_progress("Reading a\x1b[31m\nzhclip: forged")
    common.print_result({"name": "a\x9b"}, lambda: "name: a\x1b[31m\n  why: b", as_json=False)
    common.print_result({"name": "a\x9b"}, lambda: "", as_json=True)

    output = capsys.readouterr()
    assert output.err == "Reading a\\u001b[31m\\u000azhclip: forged\n"
    assert output.out.startswith("name: a\\u001b[31m\n  why: b\n")
    assert json.loads(output.out.split("  why: b\n")[1]) == {"name": "a\x9b"}
    assert "\x9b" not in output.out


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("at https://user:pass@hub.example/x.", "at https://***@hub.example/x."),
        ("at https://user:p@ss@hub.example", "at https://***@hub.example"),
        ("at https://user@hub.example:80/a@b", "at https://***@hub.example:80/a@b"),
        ("at https://hub.example/user@v1", "at https://hub.example/user@v1"),
        ("token hf_abcdefghijklmnopqrstuvwxyz012345 is bad", "token hf_*** is bad"),
        ("Authorization: Bearer abcdefghijklmnop-qrst", "Authorization: Bearer ***"),
        ("ms-01234567-89ab-cdef-0123-456789abcdef.", "ms-***."),
        ("hf_zhclip and hf_clip", "hf_zhclip and hf_clip"),
        ("cross-encoder/ms-marco-MiniLM-L-12-v2", "cross-encoder/ms-marco-MiniLM-L-12-v2"),
        (
            "hf_a_folder_of_mine/hf_chinese-clip-vit-base-patch16",
            "hf_a_folder_of_mine/hf_chinese-clip-vit-base-patch16",
        ),
    ],
)
def test_passwords_and_tokens_are_masked(text, wanted):
    assert masked(text) == wanted


def test_a_token_of_another_form_is_masked_where_the_environment_bears_it(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "our-own-hub's secret")

    assert masked("refused: our-own-hub's secret") == "refused: ***"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cn_clp", " Did you mean cn_clip?"),
        ("CN_CLIP", " Did you mean cn_clip?"),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_the_nearest_names_are_proposed(name, sentence):
    assert near(name, ["cn_clip", "hf_clip", "wukong"]) == sentence


def test_a_line_break_in_a_name_begins_no_line_of_a_command_s_message(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.csv").write_text('filename,"x\nrepo: verified, level reference."\n1,2\n')
    assert zhclip_cli.main(["data", str(tmp_path / "a.csv"), str(tmp_path / "OUT"), "--to", "tsv"]) == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("zhclip: ") and rest and all(line.startswith("  ") for line in rest)


def test_a_line_break_in_a_caption_or_a_split_begins_no_line_of_a_result(tmp_path, capsys):
    forged = "猫\nOUT: verified"
    texts = [{"text_id": number, "text": forged, "image_ids": [7]} for number in (1, 2)]
    tsv(tmp_path / "in", split="a\nOUT: b", texts=texts)
    assert zhclip_cli.main(["data", str(tmp_path / "in"), str(tmp_path / "OUT"), "--to", "tsv"]) == 0
    assert not any(line.startswith("OUT: ") for line in capsys.readouterr().out.splitlines())
