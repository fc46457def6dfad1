"""The one reader of foreign JSON."""

import json
import os
from types import NoneType

import pytest

from hf_zhclip import json_files
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.json_files import Field, check_fields, read_any_json, read_json, read_python_json

REFUSED = {
    "a key twice": (b'{"a": {"b": 1, "b": 2}}', "the key 'b' twice"),
    "NaN": (b'{"a": NaN}', "cannot be used: NaN was found, which JSON does not have; a finite number"),
    "Infinity": (b'{"a": -Infinity}', "-Infinity was found"),
    "a number beyond every float": (b'{"a": 1e999}', "'1e999' is too large"),
    "a whole number that Python refuses": (b'{"a": ' + b"9" * 5000 + b"}", "of 5000 digits was found, at most 100"),
    "a whole number that no float holds": (b'{"a": ' + b"9" * 400 + b"}", "of 400 digits was found, at most 100"),
    "lists in each other": (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deep: more than 100"),
    "more of them than Python bears": (b"[" * 200_000, "nested too deep: more than 100"),
    "half a character": (b'{"a": "\\ud800"}', "half a character"),
    "half a character as a key": (b'{"\\uDC00": 1}', "half a character"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-16 was found, UTF-8 was wanted"),
    "GBK": ('{"a": "中文"}'.encode("gbk"), "another encoding was found, UTF-8 was wanted"),
    "nothing": (b"", "no valid JSON: Expecting value"),
    "no object": (b"[]", "holds list; a JSON object was wanted"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_json_of_a_model_is_refused_in_words(content, words, tmp_path):
    (tmp_path / "x.json").write_bytes(content)

    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "x.json")

    assert words in str(caught.value) and "Fetch it again" in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.json"))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_says_nothing(bom, tmp_path):
    (tmp_path / "x.json").write_bytes(bom + '{"猫": "\\ud83d\\ude00", "n": 1000000000000000019884624838656}'.encode())

    assert read_json(tmp_path / "x.json") == {"猫": "😀", "n": int(1e30)}


def test_a_file_above_the_limit_is_refused_without_being_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MOST_JSON_BYTES", 10)
    (tmp_path / "x.json").write_text('{"abcdefgh": 1}')

    with pytest.raises(InputError, match="more than 10 bytes"):
        read_any_json(tmp_path / "x.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.json")

    with pytest.raises(InputError, match="is no file; a JSON file was wanted"):
        read_any_json(tmp_path / "x.json")


def test_the_log_of_a_training_may_hold_nan_and_nothing_else_is_lenient(tmp_path):
    (tmp_path / "x.json").write_text('{"loss": NaN, "step": 3}')

    assert read_python_json(tmp_path / "x.json")["step"] == 3

    (tmp_path / "x.json").write_text('{"loss": NaN, "loss": 3}')
    with pytest.raises(InputError, match="twice"):
        read_python_json(tmp_path / "x.json")


WANTED = {
    "name": Field((str,)),
    "rate": Field((float, NoneType), needed=False),
    "size": Field((int,), needed=False),
}


@pytest.mark.parametrize(
    "value", [{"name": "x"}, {"name": "", "rate": 1, "size": 2, "more": []}, {"name": "x", "rate": None}]
)
def test_fields_of_the_kinds_that_are_wanted_pass(value):
    check_fields(value, WANTED, "x.json")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "found [] as x.json; wanted an object."),
        ({}, "found no name in x.json; wanted a text."),
        ({"name": None}, "found name None in x.json; wanted a text."),
        ({"name": "x", "rate": True}, "found rate True in x.json; wanted a number or null."),
        ({"name": "x", "size": 1.5}, "found size 1.5 in x.json; wanted a whole number."),
    ],
)
def test_a_field_of_another_kind_is_named_with_what_was_wanted(value, words):
    with pytest.raises(InputError) as caught:
        check_fields(value, WANTED, "x.json")

    assert str(caught.value) == f"{words} Fetch it again, or correct it."


def test_a_message_quotes_the_beginning_of_a_long_value_alone():
    with pytest.raises(InputError) as caught:
        check_fields({"name": {"a": ["\x1b[31m" * 1000] * 1000}}, WANTED, "x.json")

    assert len(str(caught.value)) < 1000 and "\x1b" not in str(caught.value)


def test_reading_changes_no_value(tmp_path):
    value = {"a": [1, -2.5, None, True, "\u2028"], "b": {"c": {}}}
    (tmp_path / "x.json").write_text(json.dumps(value), encoding="utf-8")

    assert read_any_json(tmp_path / "x.json") == value
