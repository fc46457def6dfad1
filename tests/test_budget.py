"""A file that others wrote costs no more than `hf_zhclip.budget` promises, runs no code, and ends in a word.

Each attack is a small file or folder. A command reads it in a child process under limits of memory and time.
"""

import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints as c
from tests.fork_server import Server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="attacks run in forked children")

MOST_MIB, MOST_SECONDS = 1024, 10
"""The promise of SECURITY.md for files of up to 1 MB; seconds of the processor, because tests run beside others."""

ATTACKS: dict[str, Callable[[Path], list[Any]]] = {}


def attack(make: Callable[[Path], list[Any]]) -> Callable[[Path], list[Any]]:
    """An attack: a function that makes files in a folder and returns the words after `zhclip`."""
    ATTACKS[make.__name__] = make
    return make


def convert(source: Path, *more: Any) -> list[Any]:
    return ["convert", source, source.parent / "OUT", *more]


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


# Pickles


def text(words: str) -> bytes:
    content = words.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def put(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def zipped(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED):
    """A file of torch.save with this pickle; records are the storages by name."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled, method)
        archive.writestr("x/byteorder", b"little", method)
        for name, content in (records or {}).items():
            archive.writestr(f"x/data/{name}", content)
        archive.writestr("x/version", b"3\n", method)
    return path


def script(*steps: bytes) -> bytes:
    return b"\x80\x02" + b"".join(steps) + b"."


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(shape: bytes, stride: bytes, count: int = 1, kind: str = "FloatStorage") -> bytes:
    """Opcodes that make a tensor on the storage 0; shape and stride are opcodes of tuples."""
    place = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu")
    return TENSOR + b"(" + place + number(count) + b"tQK\0" + shape + stride + b"\x89ccollections\nOrderedDict\n)RtR"


def number(value: int) -> bytes:
    return b"\x8a" + bytes([len(pickle.encode_long(value))]) + pickle.encode_long(value)


def dict_of(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


@attack
def a_dict_that_holds_itself_as_its_model(tmp):
    return convert(zipped(tmp / "x.pt", script(b"}" + put(0) + text("model") + get(0) + b"s")))


@attack
def a_dict_that_holds_itself_as_its_state_dict_in_an_old_file(tmp):
    head = b"".join(pickle.dumps(each, protocol=2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    body = script(b"}" + put(0) + text("state_dict") + get(0) + b"s") + pickle.dumps([], protocol=2)
    (tmp / "x.pt").write_bytes(head + body)
    return convert(tmp / "x.pt")


@attack
def twenty_thousand_nested_state_dicts(tmp):
    depth = 20_000
    return convert(zipped(tmp / "x.pt", script((b"}" + text("model")) * depth + b"}" + b"s" * depth)))


def doubled(depth: int, leaf: bytes, join: Callable[[bytes], bytes]) -> bytes:
    """A value that holds itself twice, as deep as stated: 2^depth visits."""
    steps = leaf + put(100) + b"0"
    for level in range(depth):
        steps += join(get(100 + level)) + put(101 + level) + b"0"
    return steps + get(100 + depth)


@attack
def shared_dicts_of_a_billion_paths(tmp):
    inner = doubled(40, b"}", lambda one: b"}(" + text("a") + one + text("b") + one + b"u")
    return convert(zipped(tmp / "x.pt", script(b"}" + text("ema") + inner + b"s")))


@attack
def shared_dicts_of_a_billion_paths_in_a_numpy_pickle(tmp):
    inner = doubled(40, b"}", lambda one: b"}(" + text("a") + one + text("b") + one + b"u")
    (tmp / "x.pkl").write_bytes(script(b"}" + text("w") + inner + b"s"))
    return convert(tmp / "x.pkl")


@attack
def a_key_whose_hash_takes_a_billion_steps(tmp):
    key = doubled(40, b")", lambda one: one + one + b"\x86")
    return convert(zipped(tmp / "x.pt", script(b"}" + key + b"K\1s")))


@attack
def a_set_whose_member_takes_a_billion_steps_to_hash(tmp):
    member = doubled(40, b")", lambda one: one + one + b"\x86")
    return convert(zipped(tmp / "x.pt", b"\x80\x04\x8f(" + member + b"\x90."))


@attack
def a_memo_of_2_to_the_27(tmp):
    return convert(zipped(tmp / "x.pt", script(b"}" + put(2**27))))


@attack
def a_memo_of_2_to_the_31_in_torchscript(tmp):
    path = c.openai_clip.torchscript_file(tmp / "a.pt", {"weight": torch.ones(3)})
    return convert(repacked(path, "data.pkl", script(b"}" + put(2**31 - 1))))


@attack
def a_whole_number_of_a_megabyte(tmp):
    digits = b"\x8b" + struct.pack("<i", 900_000) + b"\x7f" * 900_000
    return convert(zipped(tmp / "x.pt", script(b"}" + text("epoch") + digits + b"s")))


@attack
def whole_numbers_that_collide_as_keys(tmp):
    items = b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 60_000))
    return convert(zipped(tmp / "x.pt", script(b"}(" + items + b"u")))


@attack
def a_bytearray_of_two_gigabytes(tmp):
    made = b"c__builtin__\nbytearray\n" + number(2**31) + b"\x85R"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + made + b"s")))


@attack
def a_tensor_class_that_is_called_with_a_size(tmp):
    made = b"ctorch\nTensor\n" + number(2**31) + b"\x85R"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + made + b"s")))


@attack
def a_storage_class_that_is_called_with_a_size(tmp):
    made = b"ctorch\nFloatStorage\n" + number(2**31) + b"\x85R"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + made + b"s")))


@attack
def a_void_dtype_of_two_gigabytes(tmp):
    void = b"cnumpy\ndtype\n(" + text("V2000000000") + b"K\0K\1tR"
    made = b"cnumpy.core.multiarray\nscalar\n" + void + b"N\x86R"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + made + b"s")))


@attack
def a_void_dtype_in_a_numpy_pickle(tmp):
    void = b"cnumpy\ndtype\n(" + text("V2000000000") + b"K\0K\1tR"
    (tmp / "x.pkl").write_bytes(script(b"}" + text("a") + b"cnumpy.core.multiarray\nscalar\n" + void + b"N\x86Rs"))
    return convert(tmp / "x.pkl")


@attack
def a_state_that_shadows_the_items_of_a_state_dict(tmp):
    shadowed = b"ccollections\nOrderedDict\n)R}(" + text("items") + b"K\1" + text("__class__") + b"K\1ub"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("state_dict") + shadowed + b"s")))


@attack
def a_state_of_an_allowed_class(tmp):
    state = b"cargparse\nNamespace\n}" + text("__init__") + b"K\1sb"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + state + b"s")))


@attack
def a_state_of_an_allowed_function(tmp):
    state = TENSOR + b"}" + text("__code__") + b"K\1sb"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + state + b"s")))


@attack
def a_parameter_whose_state_shadows_its_methods(tmp):
    data = tensor(b"K\1\x85", b"K\1\x85")
    made = b"ctorch._utils\n_rebuild_parameter_with_state\n(" + data + b"\x88N}" + text("numel") + b"K\1stR"
    return convert(zipped(tmp / "x.pt", script(dict_of({"a": made})), {"0": bytes(4)}))


@attack
def an_expanded_embedding_of_four_gigabytes(tmp):
    shape = b"(" + number(2**20) + number(1024) + b"t"
    made = tensor(shape, b"K\0K\1\x86", 1024)
    return convert(zipped(tmp / "x.pt", script(dict_of({"a": made})), {"0": bytes(4096)}))


@attack
def ten_thousand_views_of_the_same_megabyte(tmp):
    one = tensor(number(200_000) + b"\x85", b"K\1\x85", 200_000) + put(9)
    items = b"".join(text(f"w{k}") + get(9) for k in range(9_000))
    return convert(zipped(tmp / "x.pt", script(one + b"0}(" + items + b"u"), {"0": bytes(800_000)}))


@attack
def one_key_twice_in_a_state_dict(tmp):
    one, other = tensor(b"K\1\x85", b"K\1\x85"), tensor(b")", b")")
    items = b"}(" + text("a") + one + text("a") + other + b"u"
    return convert(zipped(tmp / "x.pt", script(items), {"0": bytes(4)}))


@attack
def a_storage_that_states_more_than_its_record(tmp):
    made = tensor(number(2**33) + b"\x85", b"K\1\x85", 2**33)
    return convert(zipped(tmp / "x.pt", script(dict_of({"a": made})), {"0": bytes(4)}))


@attack
def an_old_file_whose_storage_states_sixteen_gigabytes(tmp):
    torch.save({"w": torch.ones(3)}, tmp / "x.pt", _use_new_zipfile_serialization=False)
    content = (tmp / "x.pt").read_bytes()
    changed = content.replace(b"K\x03Ntq", number(2**32) + b"Ntq").replace(
        struct.pack("<q", 3), struct.pack("<q", 2**32)
    )
    assert changed != content
    (tmp / "x.pt").write_bytes(changed)
    return convert(tmp / "x.pt")


@attack
def thirty_thousand_other_sets_of_weights(tmp):
    one = tensor(b"K\1\x85", b"K\1\x85") + put(9)
    inner = b"}" + text("a") + get(9) + b"s"
    items = text("state_dict") + inner + b"".join(text(f"{k}") + inner for k in range(30_000))
    return convert(zipped(tmp / "x.pt", script(one + b"0}(" + items + b"u"), {"0": bytes(4)}))


@attack
def a_tensor_s_name_of_wrappers_alone(tmp):
    made = tensor(b"K\1\x85", b"K\1\x85")
    return convert(zipped(tmp / "x.pt", script(dict_of({"module." * 120_000 + "a": made})), {"0": bytes(4)}))


@attack
def a_name_that_is_a_path_of_a_hundred_long_names(tmp):
    key = text("k" * 300_000) + put(1)
    items = b"".join(number(k) + b"}" for k in range(1, 90_000))
    nest = key + b"0" + (b"}" + get(1)) * 90 + b"}(" + items + b"u" + b"s" * 90
    return convert(
        zipped(
            tmp / "x.pt", script(b"}(" + text("a") + tensor(b")", b")") + text("ema") + nest + b"u"), {"0": bytes(4)}
        )
    )


@attack
def a_layer_number_of_nine_digits(tmp):
    keys = c.cn_clip.cn_clip_vit()
    found = {
        key: torch.zeros(shape).reshape(shape) if torch.Size(shape).numel() < 9 else torch.zeros(1).expand(shape)
        for key, shape in keys.items()
    }
    for key in list(found):
        if ".resblocks.0." in key or ".layer.0." in key:
            found[key.replace(".0.", ".99999999.", 1)] = found[key]
    torch.save({"state_dict": found}, tmp / "x.pt")
    (tmp / "facts.json").write_text(json.dumps(c.cn_clip.CN_CLIP_FACTS))
    return convert(tmp / "x.pt", "--config", tmp / "facts.json")


@attack
def a_hundred_thousand_tensors_in_safetensors(tmp):
    from safetensors.torch import save_file

    save_file(
        {f"visual.transformer.resblocks.{k}.ln_1.weight": torch.zeros(1) for k in range(100_000)},
        tmp / "x.safetensors",
    )
    return convert(tmp / "x.safetensors")


@attack
def a_hundred_thousand_tensors_on_one_storage(tmp):
    one = tensor(b"K\1\x85", b"K\1\x85") + put(9)
    items = b"".join(text(f"visual.transformer.resblocks.{k}.ln_1.weight") + get(9) for k in range(100_000))
    return convert(zipped(tmp / "x.pt", script(one + b"0}(" + items + b"u"), {"0": bytes(4)}))


@attack
def ten_thousand_tensors_under_deep_prefixes(tmp):
    one = tensor(b"K\1\x85", b"K\1\x85") + put(9)
    names = [f"{'x.' * (1 + k % 40)}visual.transformer.resblocks.{k}.ln_1.weight" for k in range(9_999)]
    items = b"".join(text(name) + get(9) for name in names)
    return convert(zipped(tmp / "x.pt", script(one + b"0}(" + items + b"u"), {"0": bytes(4)}))


# Zips


def repacked(path: Path, name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    """The archive with another record."""
    out = path.with_name("repacked.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for each in old.namelist():
            if each.partition("/")[2] != name:
                new.writestr(each, old.read(each))
        new.writestr(f"{old.namelist()[0].partition('/')[0]}/{name}", content, method)
    return out


def inflating(path: Path, name: str, count: int = 2**30) -> Path:
    """A zip whose record `name` is deflated from a megabyte to `count` zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/version", "3")
        with archive.open(f"x/{name}", "w", force_zip64=True) as file:
            block = bytes(2**24)
            for _ in range(count // len(block)):
                file.write(block)
    return path


@attack
def a_data_pkl_that_inflates_to_a_gigabyte(tmp):
    return convert(inflating(tmp / "x.pt", "data.pkl"))


@attack
def a_byteorder_that_inflates_to_a_gigabyte(tmp):
    path = inflating(tmp / "y.pt", "byteorder")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data.pkl", script(b"}"))
    return convert(path)


@attack
def the_code_of_torchscript_that_inflates_to_a_gigabyte(tmp):
    path = inflating(tmp / "y.pt", "code/__torch__/M.py")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/data.pkl", script(b"c__torch__.M\nM\n)\x81}b"))
    return convert(path)


@attack
def modules_of_torchscript_that_share_their_children(tmp):
    path = tmp / "y.pt"
    inner = doubled(
        40,
        b"c__torch__\nM\n)\x81}b",
        lambda one: b"c__torch__\nM\n)\x81}(" + text("a") + one + text("b") + one + b"ub",
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", script(inner))
        archive.writestr("x/code/__torch__.py", "class M(Module):\n  __parameters__ = []\n")
    return convert(path)


@attack
def a_record_twice_in_a_zip(tmp):
    path = zipped(tmp / "x.pt", script(b"}"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/data.pkl", script(b"]"))
    return convert(path)


@attack
def records_that_overlap(tmp):
    content, entries = io.BytesIO(), []
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("x/data.pkl", script(b"}"))
        archive.writestr("x/data/0", bytes(100_000))
        entry = archive.infolist()[1]
        for number_ in range(1, 2_000):
            other = zipfile.ZipInfo(f"x/data/{number_}")
            other.header_offset, other.file_size, other.compress_size = entry.header_offset, 100_000, 100_000
            other.CRC = entry.CRC
            entries.append(other)
        archive.filelist += entries
    (tmp / "x.pt").write_bytes(content.getvalue())
    return convert(tmp / "x.pt")


# Safetensors


def safetensors(path: Path, header: Any, content: bytes = b"", length: int | None = None) -> Path:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head) if length is None else length) + head + content)
    return path


def one(shape: list[int], end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


@attack
def a_safetensors_header_longer_than_the_file(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([1], 4)}, bytes(4), 2**40))


@attack
def a_safetensors_tensor_longer_than_the_file(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([2**40], 2**42)}, bytes(4)))


@attack
def a_safetensors_shape_whose_product_overflows(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([2**32, 2**32, 2**32], 4)}, bytes(4)))


@attack
def a_safetensors_header_nested_too_deep(tmp):
    return convert(safetensors(tmp / "x.safetensors", b'{"a":' + b"[" * 400_000, bytes(4)))


@attack
def a_safetensors_key_twice(tmp):
    entry = json.dumps(one([1], 4)).encode()
    return convert(safetensors(tmp / "x.safetensors", b'{"w":' + entry + b',"w":' + entry + b"}", bytes(4)))


@attack
def a_safetensors_tensor_without_numbers_but_with_a_huge_shape(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([0, 2**62], 0)}))


# What is no regular file


@attack
def a_pipe_as_the_source(tmp):
    os.mkfifo(tmp / "x.pt")
    return convert(tmp / "x.pt")


@attack
def a_pipe_as_the_weights_of_a_folder(tmp):
    (tmp / "folder").mkdir()
    os.mkfifo(tmp / "folder" / "pytorch_model.bin")
    (tmp / "folder" / "config.json").write_text("{}")
    return convert(tmp / "folder")


@attack
def a_pipe_as_the_config_json(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "folder")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    return convert(folder)


@attack
def a_pipe_as_the_vocabulary(tmp):
    path = c.cn_clip.cn_clip_file(tmp / "x.pt")
    (tmp / "facts.json").write_text(json.dumps(c.cn_clip.CN_CLIP_FACTS))
    os.mkfifo(tmp / "vocab.txt")
    return convert(path, "--config", tmp / "facts.json", "--tokenizer", tmp / "vocab.txt")


@attack
def a_pipe_as_the_metadata_of_a_distributed_folder(tmp):
    (tmp / "dcp").mkdir()
    os.mkfifo(tmp / "dcp" / ".metadata")
    return convert(tmp / "dcp")


@attack
def a_pipe_as_a_shard(tmp):
    (tmp / "folder").mkdir()
    os.mkfifo(tmp / "folder" / "a.bin")
    (tmp / "folder" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": "a.bin"}}))
    return convert(tmp / "folder")


@attack
def a_pipe_as_the_latest_of_deepspeed(tmp):
    (tmp / "folder").mkdir()
    os.mkfifo(tmp / "folder" / "latest")
    return convert(tmp / "folder")


@attack
def a_pipe_as_the_head_of_a_tower(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "folder")
    os.mkfifo(folder / "x Linear Weights.pkl")
    return convert(folder)


@attack
def a_socket_as_the_source(tmp):
    os.chdir(tmp)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("s.pt")
    return convert(tmp / "s.pt")


@attack
def a_device_that_never_ends(tmp):
    (tmp / "x.pt").symlink_to("/dev/zero")
    return convert(tmp / "x.pt")


@attack
def a_circle_of_links(tmp):
    (tmp / "x.pt").symlink_to(tmp / "y.pt")
    (tmp / "y.pt").symlink_to(tmp / "x.pt")
    return convert(tmp / "x.pt")


@attack
def a_folder_in_the_place_of_the_weights(tmp):
    (tmp / "folder" / "pytorch_model.bin").mkdir(parents=True)
    return convert(tmp / "folder")


@attack
def a_folder_in_the_place_of_the_config(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "folder")
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    return convert(folder)


# Names


@attack
def a_tensor_s_name_that_forges_a_line(tmp):
    made = tensor(b"K\1\x85", b"K\1\x85")
    name = "\x1b[2K\rzhclip: verified\n\u202egnp\x9b31m"
    return convert(zipped(tmp / "x.pt", script(dict_of({name: made})), {"0": bytes(4)}))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_ends_in_a_word_and_costs_no_more_than_is_promised(name, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [str(each) for each in ATTACKS[name](tmp_path)]

    ending = server.run("zhclip_cli.command_line:main", arguments, output=tmp_path / "output.txt")

    assert ending.code == 2, ending
    assert "Traceback" not in ending.output, ending.output
    assert ending.output.splitlines()[-1] and "zhclip" in ending.output, ending.output
    assert not any(ord(character) < 32 and character != "\n" for character in ending.output), ending.output
    assert ending.mib <= MOST_MIB and ending.seconds <= MOST_SECONDS, ending
    assert not (tmp_path / "OUT").exists()
    if os.environ.get("SHOW_ATTACKS"):
        with open(os.environ["SHOW_ATTACKS"], "a") as log:
            log.write(f"{name}: {ending.mib:.0f} MiB {ending.seconds:.2f}s | {ending.output.splitlines()[-1]}\n")
