"""A file that others wrote costs no more than `hf_zhclip.budget` promises, runs no code, and ends in a word.

Each attack is a small file or folder. A command reads it in a child process under limits of memory and time.
"""

import base64
import gzip
import io
import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests import checkpoints as c
from tests import unigram

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="attacks run in forked children")

MOST_MIB, MOST_SECONDS = 1024, 20
"""The promise of SECURITY.md for files of up to 1 MB; twice the seconds of the processor that it names, because each
work takes more of them where others share the caches. What breaks the promise breaks it manyfold."""

MOST_PRINTED = 10_000
"""Characters: a stranger's file fills no terminal."""

ATTACKS: dict[str, Callable[[Path], list[Any]]] = {}


def attack(make: Callable[[Path], list[Any]]) -> Callable[[Path], list[Any]]:
    """An attack: a function that makes files in a folder and returns the words after `zhclip`."""
    ATTACKS[make.__name__] = make
    return make


def convert(source: Path, *more: Any) -> list[Any]:
    return ["convert", source, source.parent / "OUT", *more]


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


def colliding_pairs(count: int) -> list[tuple[int, int]]:
    """Pairs of whole numbers with one hash: the second undoes the first in Python's hash of tuples (xxHash)."""
    first, second, start, whole = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64
    undone, found, wanted = pow(second, -1, whole), [], 0
    for one in range(1, 5 * count):
        lane = (start + one * second) % whole
        lane = (lane << 31 | lane >> 33) % whole * first % whole
        wanted = wanted or (lane + 12345 * second) % whole
        other = (wanted - lane) * undone % whole
        other -= whole * (other >= whole // 2)
        if 1 < abs(other) < 2**61 - 1:
            found.append((one, other))
    assert len({hash(pair) for pair in found}) == 1
    return found[:count]


@attack
def pairs_that_collide_as_keys(tmp):
    items = b"".join(number(one) + number(other) + b"\x86N" for one, other in colliding_pairs(50_000))
    return convert(zipped(tmp / "x.pt", script(b"}(" + items + b"u")))


@attack
def a_set_whose_member_takes_a_billion_steps_to_hash(tmp):
    member = doubled(40, b")", lambda one: one + one + b"\x86")
    return convert(zipped(tmp / "x.pt", b"\x80\x04\x8f(" + member + b"\x90."))


@attack
def one_list_that_a_hundred_thousand_sets_copy(tmp):
    members = b"](" + b"N" * 200_000 + b"e\x85"
    sets = b"](" + (b"c__builtin__\nset\n" + put(2) + b"0" + members + put(1) + b"0") + (b"h\2h\1R" * 100_000) + b"e"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + sets + b"s")))


@attack
def one_list_of_pairs_that_a_hundred_thousand_dicts_copy(tmp):
    pairs = b"](" + b"".join(b"M" + struct.pack("<H", key) + b"N\x86" for key in range(20_000)) + b"e\x85"
    called = b"ccollections\nOrderedDict\n" + put(2) + b"0" + pairs + put(1) + b"0"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + b"](" + called + b"h\2h\1R" * 100_000 + b"es")))


@attack
def one_list_that_old_opcodes_copy(tmp):
    members = b"](" + b"N" * 200_000 + b"e" + put(1) + b"0"
    sets = b"](" + members + b"(h\1i__builtin__\nset\n" * 30_000 + b"e"
    return convert(zipped(tmp / "x.pt", script(b"}" + text("a") + sets + b"s")))


@attack
def one_set_in_two_hundred_thousand_places(tmp):
    shared = b"\x8f" + put(1) + b"(" + b"N" * 200_000 + b"\x900"
    return convert(zipped(tmp / "x.pt", b"\x80\x04" + shared + b"}" + text("a") + b"](" + b"h\1" * 200_000 + b"es."))


@attack
def a_set_that_holds_itself(tmp):
    return convert(zipped(tmp / "x.pt", b"\x80\x04}" + text("a") + b"\x8f" + put(1) + b"(h\1\x90s."))


@attack
def a_name_of_a_megabyte_a_hundred_thousand_times(tmp):
    words = text("a" * 400_000) + put(1) + text("a" * 399_999) + put(2)
    return convert(zipped(tmp / "x.pt", b"\x80\x04}" + words + b"\x93" + b"h\1h\2\x93" * 40_000 + b"s."))


@attack
def sixty_thousand_names(tmp):
    words = [text(f"{number:03}." * 50) + put(number) for number in range(250)]
    pairs = (bytes([104, one, 104, other, 0x93]) for one in range(250) for other in range(250))
    return convert(zipped(tmp / "x.pt", b"\x80\x04}" + b"".join(words) + b"cmain\nX\n" + b"".join(pairs) + b"s."))


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
    """A zip whose record `name` is deflated from some megabytes to `count` zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
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


def torchscript(path: Path, code: str | bytes, method: int = zipfile.ZIP_DEFLATED, states: int | None = None) -> Path:
    """An archive of one module whose code is compressed; its record states `states` bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", script(b"c__torch__\nM\n)\x81}b"))
        archive.writestr("x/code/__torch__.py", code, method)
        archive.infolist()[1].file_size = len(code) if states is None else states
    return path


@attack
def the_code_of_torchscript_of_sixteen_million_lines(tmp):
    return convert(torchscript(tmp / "y.pt", "class M(Module):\n" + "\n" * (2**24 - 100)))


@attack
def the_code_of_torchscript_that_states_fewer_bytes_than_it_inflates_to(tmp):
    return convert(torchscript(tmp / "y.pt", bytes(2**29), states=100))


@attack
def the_code_of_torchscript_that_bzip2_inflates_to_a_gigabyte(tmp):
    return convert(torchscript(tmp / "y.pt", bytes(2**29), zipfile.ZIP_BZIP2, 100))


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
def a_safetensors_shape_of_a_hundred_thousand_dimensions(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([1] * 100_000, 4)}, bytes(4)))


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


@attack
def a_safetensors_tensor_without_numbers_whose_side_is_no_64_bit_number(tmp):
    return convert(safetensors(tmp / "x.safetensors", {"w": one([2**63, 0], 0)}))


@attack
def an_index_of_thousands_of_links_to_a_shard(tmp):
    (tmp / "folder").mkdir()
    safetensors(tmp / "folder" / "0.safetensors", {f"w{k}": one([0], 0) for k in range(4_000)})
    for k in range(1, 4_000):
        (tmp / "folder" / f"{k}.safetensors").symlink_to("0.safetensors")
    index = {"weight_map": {f"w{k}": f"{k}.safetensors" for k in range(4_000)}}
    (tmp / "folder" / "model.safetensors.index.json").write_text(json.dumps(index))
    return convert(tmp / "folder")


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


# Folders of torch.distributed.checkpoint


def distributed(tmp: Path, metadata: bytes) -> list[Any]:
    (tmp / "dcp").mkdir()
    (tmp / "dcp" / ".metadata").write_bytes(metadata)
    return convert(tmp / "dcp")


@attack
def a_metadata_whose_memo_is_2_to_the_31(tmp):
    return distributed(tmp, script(b"}" + put(2**31 - 1)))


@attack
def a_metadata_of_shared_sizes_that_take_a_billion_steps_to_hash(tmp):
    size = doubled(40, b")", lambda one: one + one + b"\x86")
    index = b"ctorch.distributed.checkpoint.metadata\nMetadataIndex\n)\x81}(" + text("fqn") + text("w")
    items = text("storage_data") + b"}" + index + text("offset") + size + b"ubN" + b"s"
    top = (
        b"ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81}("
        + text("state_dict_metadata")
        + b"}"
        + items
        + b"ub"
    )
    return distributed(tmp, script(top))


def saved_distributed(tmp: Path, change: Callable[[Any], None]) -> list[Any]:
    from torch.distributed import checkpoint

    checkpoint.save({"w": torch.ones(2, 3)}, checkpoint_id=tmp / "dcp")
    path = tmp / "dcp" / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))
    return convert(tmp / "dcp")


@attack
def a_distributed_tensor_of_a_terabyte(tmp):
    def change(metadata):
        stored = metadata.state_dict_metadata["w"]
        stored.size = stored.chunks[0].sizes = torch.Size([2**20, 2**20])

    return saved_distributed(tmp, change)


@attack
def a_distributed_tensor_of_a_terabyte_in_compressed_files(tmp):
    def change(metadata):
        stored = metadata.state_dict_metadata["w"]
        stored.size = stored.chunks[0].sizes = torch.Size([2**20, 2**20])
        for info in metadata.storage_data.values():
            info.transform_descriptors = ["zstd"]

    return saved_distributed(tmp, change)


@attack
def a_distributed_part_that_asks_for_two_gigabytes(tmp):
    arguments = saved_distributed(tmp, lambda metadata: None)
    made = b"c__builtin__\nbytearray\n" + number(2**31) + b"\x85R"
    part = zipped(tmp / "part", script(made)).read_bytes()
    metadata = pickle.loads((tmp / "dcp" / ".metadata").read_bytes())
    for info in metadata.storage_data.values():
        info.offset, info.length = 0, len(part)
    (tmp / "dcp" / ".metadata").write_bytes(pickle.dumps(metadata))
    (tmp / "dcp" / "__0_0.distcp").write_bytes(part)
    return arguments


@attack
def a_distributed_tensor_of_a_thousand_parts_under_nine_thousand_names(tmp):
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

    def change(metadata):
        stored = metadata.state_dict_metadata["w"]
        stored.size = torch.Size([32, 32])
        stored.chunks = [
            ChunkStorageMetadata(torch.Size([a, b]), torch.Size([1, 1])) for a in range(32) for b in range(32)
        ]
        metadata.state_dict_metadata = {f"w{k}": stored for k in range(9_000)}

    return saved_distributed(tmp, change)


@attack
def distributed_tensors_whose_parts_lie_side_by_side_in_every_direction(tmp):
    from itertools import product

    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

    def change(metadata):
        stored = metadata.state_dict_metadata["w"]
        stored.size = torch.Size([2] * 10)
        stored.chunks = [
            ChunkStorageMetadata(torch.Size(place), torch.Size([1] * 10)) for place in product((0, 1), repeat=10)
        ]
        metadata.state_dict_metadata = {f"w{k}": stored for k in range(4)}

    return saved_distributed(tmp, change)


# Vocabularies and JSON


def with_vocabulary(tmp: Path, name: str, content: bytes, checkpoint: str = "cn_clip") -> list[Any]:
    path = c.cn_clip.cn_clip_file(tmp / "x.pt")
    (tmp / "facts.json").write_text(json.dumps(c.cn_clip.CN_CLIP_FACTS))
    (tmp / name).write_bytes(content)
    return convert(path, "--config", tmp / "facts.json", "--tokenizer", tmp / name)


@attack
def a_vocabulary_with_an_id_of_2_to_the_30(tmp):
    words = {word: number_ for number_, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    content = {"model": {"type": "WordPiece", "vocab": {**words, "bomb": 2**30}}}
    return with_vocabulary(tmp, "tokenizer.json", json.dumps(content).encode())


@attack
def a_vocabulary_that_is_nested_too_deep(tmp):
    return with_vocabulary(tmp, "tokenizer.json", b'{"model": ' + b"[" * 500_000)


@attack
def a_vocabulary_of_a_million_empty_lines(tmp):
    return with_vocabulary(tmp, "vocab.txt", b"\n" * 1_000_000)


def settings_beside(tmp: Path, name: str, content: Any) -> list[Any]:
    folder = c.hf_clip.clip_folder(tmp / "folder")
    (folder / name).write_text(json.dumps(content))
    return convert(folder)


@attack
def settings_with_fifty_thousand_special_tokens(tmp):
    tokens = [f"<t{k}>" for k in range(50_000)]
    return settings_beside(tmp, "tokenizer_config.json", {"additional_special_tokens": tokens})


@attack
def a_map_of_fifty_thousand_special_tokens(tmp):
    tokens = [f"<t{k}>" for k in range(50_000)]
    return settings_beside(tmp, "special_tokens_map.json", {"additional_special_tokens": tokens})


@attack
def fifty_thousand_added_tokens(tmp):
    return settings_beside(tmp, "added_tokens.json", {f"<t{k}>": 30_000 + k for k in range(50_000)})


def unigram_with(tmp: Path, change: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """A text model whose tokenizer.json is changed."""
    original = c.multilingual_clip.original(tmp)
    file = original.source / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return convert(
        original.source, *(part for name, value in original.arguments.items() for part in (f"--{name}", value))
    )


def normalizer(tokenizer: dict[str, Any], **step: Any) -> None:
    tokenizer["normalizer"] = step


@attack
def a_piece_whose_tree_is_half_a_million_letters_deep(tmp):
    return unigram_with(tmp, lambda content: content["model"]["vocab"].append(["a" * 500_000, -1.0]))


@attack
def a_character_map_that_states_two_gigabytes(tmp):
    packed = base64.b64encode(struct.pack("<I", 2**31)).decode()
    return unigram_with(tmp, lambda content: normalizer(content, type="Precompiled", precompiled_charsmap=packed))


@attack
def a_character_map_that_leads_out_of_its_bytes(tmp):
    units = b"".join(struct.pack("<I", k * 2654435761 % 2**32) for k in range(1024))
    packed = base64.b64encode(struct.pack("<I", len(units)) + units + b"a\0b\0").decode()
    return unigram_with(tmp, lambda content: normalizer(content, type="Precompiled", precompiled_charsmap=packed))


@attack
def a_character_map_that_makes_a_text_sixty_thousand_times_as_long(tmp):
    packed = base64.b64encode(unigram.character_map({each: "a" * 60_000 for each in "一猫狗的小只很长句子"})).decode()
    return unigram_with(tmp, lambda content: normalizer(content, type="Precompiled", precompiled_charsmap=packed))


@attack
def two_spaces_that_become_a_megabyte(tmp):
    step = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "a" * 900_000}
    return unigram_with(tmp, lambda content: normalizer(content, **step))


@cache
def gzip_of_zeros(count: int) -> bytes:
    """Line ends, of which deflate makes a thousandth."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), b"\n" * 2**22
    return b"".join(packer.compress(block) for _ in range(count // len(block))) + packer.flush()


@attack
def a_config_with_a_number_of_a_megabyte(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "folder")
    (folder / "config.json").write_text('{"model_type": ' + "9" * 900_000 + "}")
    return convert(folder)


@attack
def an_index_that_leaves_the_folder(tmp):
    (tmp / "folder").mkdir()
    (tmp / "folder" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": "../../x.bin"}}))
    return convert(tmp / "folder")


def clip_of(tmp: Path, side: int, patch: int) -> list[Any]:
    """A CLIPModel for pictures of this side, whose patches' weights repeat one number."""
    folder = c.hf_clip.clip_folder(tmp / "folder")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {"image_size": side, "patch_size": patch}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    width, tower = c.common.WIDTH, "vision_model.embeddings."
    tensors = c.cn_clip.seeded_state_dict(c.hf_clip.hf_clip())
    tensors[f"{tower}patch_embedding.weight"] = torch.full((1, 1, 1, 1), 0.01).expand(width, 3, patch, patch)
    rows = (side // patch) ** 2 + 1
    tensors[f"{tower}position_embedding.weight"] = torch.full((1, 1), 0.01).expand(rows, width)
    torch.save(tensors, folder / "pytorch_model.bin")
    return convert(folder)


@attack
def a_model_for_pictures_of_a_megapixel(tmp):
    return clip_of(tmp, 1024, 128)


@attack
def a_model_whose_patches_are_single_pixels(tmp):
    return clip_of(tmp, 224, 1)


@attack
def a_model_of_three_hundred_layers_that_share_their_weights(tmp):
    folder = c.hf_clip.clip_folder(tmp / "folder", text={"num_hidden_layers": 300})
    (folder / "model.safetensors").unlink()
    tensors = c.cn_clip.seeded_state_dict(c.hf_clip.hf_clip())
    layer = "text_model.encoder.layers."
    for key in [key for key in tensors if key.startswith(f"{layer}1.")]:
        tensors |= {key.replace(f"{layer}1.", f"{layer}{number_}."): tensors[key] for number_ in range(2, 300)}
    torch.save(tensors, folder / "pytorch_model.bin")
    return convert(folder)


# Data, recipes, pictures, features


def pictures(tmp: Path, content: bytes, name: str = "a.png") -> list[Any]:
    (tmp / "data").mkdir()
    (tmp / "data" / name).write_bytes(content)
    (tmp / "data" / "captions.csv").write_text(f"file_name,text\n{name},猫\n", encoding="utf-8")
    return ["data", tmp / "data" / "captions.csv", tmp / "OUT", "--to", "tsv"]


def png(width: int, height: int) -> bytes:
    """A grey picture of zeros, whose rows deflate to a thousandth."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(1 + width * 3)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@attack
def a_small_picture_of_a_hundred_million_pixels(tmp):
    return pictures(tmp, png(13_000, 7_700))


@attack
def a_picture_that_states_a_gigapixel(tmp):
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    )
    return pictures(tmp, content + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def packed(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


@attack
def a_small_jpeg_of_thousands_of_scans(tmp):
    content = packed("L", (3_000, 3_000), "JPEG", progressive=True, quality=5)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return pictures(tmp, content[:-2] + scan * (900_000 // len(scan)) + b"\xff\xd9", "a.jpg")


@attack
def a_small_picture_whose_decoder_holds_it_six_times(tmp):
    return pictures(tmp, packed("RGBA", (8_190, 8_190), "JPEG2000"), "a.jp2")


@attack
def a_small_picture_whose_decoder_holds_it_four_times(tmp):
    return pictures(tmp, packed("RGB", (16_383, 4_090), "WEBP"), "a.webp")


@attack
def a_small_icon_that_holds_a_picture_of_a_hundred_and_sixty_million_pixels(tmp):
    inner = png(20_000, 8_000)
    entry = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return pictures(tmp, entry + inner, "a.png")


@attack
def a_missing_picture_among_thousands_of_like_names(tmp):
    (tmp / "data").mkdir()
    for k in range(6_000):
        (tmp / "data" / f"{k:0190b}.png").touch()
    (tmp / "data" / "captions.csv").write_text("file_name,text\n" + "01" * 95 + ".png,x\n" + "10" * 45 + ".png,x\n")
    return ["data", tmp / "data" / "captions.csv", tmp / "OUT", "--to", "tsv"]


@attack
def ids_that_collide(tmp):
    ids = [k * (2**61 - 1) for k in range(1, 45_000)]
    (tmp / "predictions.jsonl").write_text(json.dumps({"text_id": 1, "image_ids": ids}))
    (tmp / "texts.jsonl").write_text(json.dumps({"text_id": 1, "text": "a", "image_ids": [1]}))
    return ["evaluate", "--predictions", tmp / "predictions.jsonl", "--texts", tmp / "texts.jsonl"]


@attack
def a_parquet_of_one_text_in_three_hundred_thousand_rows(tmp):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count = 300_000
    pictures = pa.StructArray.from_arrays(
        [pa.array([b"x"] * count), pa.array([None] * count, pa.string())], ["bytes", "path"]
    )
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["a" * 50_000]))
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": pictures, "text": texts}).replace_schema_metadata(told)
    (tmp / "data").mkdir()
    parquet.write_table(table, tmp / "data" / "a.parquet", compression="zstd", store_schema=False)
    return ["data", tmp / "data", tmp / "OUT", "--to", "tsv"]


IMAGE_AND_TEXT = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}


def one_picture(size):
    """A table of a picture of so many bytes and a text."""
    pa = pytest.importorskip("pyarrow")
    picture = pa.StructArray.from_arrays([pa.array([b"x" * size]), pa.array([None], pa.string())], ["bytes", "path"])
    told = {"huggingface": json.dumps({"info": {"features": IMAGE_AND_TEXT}})}
    return pa.table({"image": picture, "text": pa.array(["a"])}).replace_schema_metadata(told)


@attack
def a_parquet_of_five_thousand_columns(tmp):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = [f"column_{number}" for number in range(5_000)]
    parquet.write_table(pa.table({name: [1] for name in names}), tmp / "a.parquet")
    return ["data", tmp / "a.parquet", "OUT", "--to", "tsv"]


@attack
def a_parquet_that_states_less_than_it_inflates_to(tmp):
    """Each number of the footer that states the size is written in as many bytes, as 1."""
    table, parquet, file = one_picture(600_000_000), pytest.importorskip("pyarrow.parquet"), tmp / "a.parquet"
    plain = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    parquet.write_table(table, file, compression="zstd", **plain)
    group = parquet.read_metadata(file).row_group(0)
    sizes = {group.total_byte_size, *(group.column(n).total_uncompressed_size for n in range(group.num_columns))}
    content = file.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:]
    for size in (each for each in sizes if each > 10**8):
        stated = varint(2 * size)
        assert footer.count(stated) == 1
        footer = footer.replace(stated, b"\x82" + b"\x80" * (len(stated) - 2) + b"\x00")
    file.write_bytes(content[:start] + footer)
    assert parquet.read_metadata(file).row_group(0).total_byte_size == 1
    return ["data", file, tmp / "OUT", "--to", "tsv"]


def varint(number):
    found = []
    while number:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found[:-1], found[-1] & 127])


@attack
def a_data_set_on_disk_whose_picture_inflates_to_gigabytes(tmp):
    pa, table = pytest.importorskip("pyarrow"), one_picture(600_000_000)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    (tmp / "in").mkdir()
    with pa.ipc.new_stream(str(tmp / "in" / "data.arrow"), table.schema, options=options) as stream:
        stream.write_table(table)
    fields = {"_fingerprint": "x", "_format_columns": None, "_format_kwargs": {}, "_format_type": None}
    state = {**fields, "_data_files": [{"filename": "data.arrow"}], "_output_all_columns": False, "_split": "train"}
    (tmp / "in" / "state.json").write_text(json.dumps(state))
    (tmp / "in" / "dataset_info.json").write_text(json.dumps({"features": IMAGE_AND_TEXT, "splits": {}}))
    return ["data", tmp / "in", tmp / "OUT", "--to", "tsv"]


@attack
def a_parquet_beside_metadata_whose_aliases_stand_for_any_amount(tmp):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp / "in").mkdir()
    parquet.write_table(one_picture(9), tmp / "in" / "a.parquet")
    aliases = "\n".join(["a0: &a0 [x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40))])
    (tmp / "in" / "README.md").write_text(f"---\n{aliases}\nconfigs: *a39\n---\n")
    return ["data", tmp / "in", tmp / "OUT", "--to", "tsv"]


@attack
def a_parquet_beside_files_of_json_that_inflate(tmp):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp / "in").mkdir()
    parquet.write_table(one_picture(9), tmp / "in" / "a.parquet")
    for number in range(2):
        with gzip.open(tmp / "in" / f"{number}.jsonl.gz", "wb") as file:
            file.write(b'{"image": "x", "text": "' + b"a" * 200_000_000 + b'"}\n')
    return ["data", tmp / "in", tmp / "OUT", "--to", "tsv"]


@attack
def a_csv_of_one_field(tmp):
    (tmp / "a.csv").write_text('file_name,text\n"' + "x" * 5_000_000)
    return ["data", tmp / "a.csv", tmp / "OUT", "--to", "tsv"]


@attack
def a_line_of_json_that_is_nested_too_deep(tmp):
    (tmp / "a.jsonl").write_text('{"file_name": ' + "[" * 900_000)
    return ["data", tmp / "a.jsonl", tmp / "OUT", "--to", "tsv"]


# ONNX graphs


def exported(tmp: Path, nodes: list[Any], held: dict[str, Any] | None = None, change: Any = None) -> list[Any]:
    """An export without marks, whose graph of pictures takes `pixel_values` through these nodes to `image_embeds`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from tests.inference.exported import WIDTH, export, small_repo

    (tmp / "pictures").mkdir()
    (tmp / "pictures" / "a.png").write_bytes(png(8, 8))
    folder = export(tmp / "export", small_repo())
    facts = json.loads((folder / "zhclip_onnx.json").read_text(encoding="utf-8"))
    (folder / "zhclip_onnx.json").write_text(json.dumps({**facts, "files": None}), encoding="utf-8")
    tensors = [numpy_helper.from_array(value, name) for name, value in (held or {}).items()]
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "height", "width"])
    output = helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(nodes, "graph", [given], [output], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if change is not None:
        change(model)
    onnx.save(model, folder / "vision_model.onnx")
    return ["embed", folder, tmp / "pictures", tmp / "OUT", "--engine", "onnx"]


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def numbers(*values: int) -> Any:
    import numpy as np

    return np.array(values, np.int64)


@attack
def a_graph_with_an_endless_loop(tmp):
    from onnx import TensorProto, helper

    given = (("step", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("x", TensorProto.FLOAT, None))
    body = helper.make_graph(
        [node("Identity", "go", "goes"), node("Identity", "x", "same")],
        "body",
        [helper.make_tensor_value_info(*each) for each in given],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, None),
        ],
    )
    nodes = [node("Equal", "count count", "true"), node("Loop", "count true pixel_values", "image_embeds", body=body)]
    return exported(tmp, nodes, {"count": numbers(2**62)[0]})


@attack
def a_graph_whose_functions_call_each_other_twice(tmp):
    from onnx import helper

    def change(model):
        imported = [helper.make_opsetid("", 18), helper.make_opsetid("x", 1)]
        model.opset_import.append(imported[1])
        for level in range(30):
            inner = {"kind": "Identity"} if level == 0 else {"kind": f"F{level - 1}", "domain": "x"}
            steps = [node(inputs="a", outputs="b", **inner), node(inputs="b", outputs="c", **inner)]
            model.functions.append(helper.make_function("x", f"F{level}", ["a"], ["c"], steps, imported))

    return exported(tmp, [node("F29", "pixel_values", "image_embeds", domain="x")], change=change)


@attack
def a_graph_of_sparse_weights_that_state_two_gigabytes(tmp):
    import numpy as np
    from onnx import numpy_helper

    def change(model):
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
        sparse.indices.CopyFrom(numpy_helper.from_array(numbers(0), "i"))
        sparse.dims.extend([2**14, 2**15])

    return exported(tmp, [node("Identity", "w", "image_embeds")], change=change)


@attack
def a_graph_that_makes_a_gigabyte_when_it_is_loaded(tmp):
    return exported(tmp, [node("ConstantOfShape", "size", "image_embeds")], {"size": numbers(2**28)})


@attack
def a_graph_that_doubles_a_picture_thirty_times(tmp):
    names = ["pixel_values", *(f"x{number}" for number in range(29)), "image_embeds"]
    steps = zip(names, names[1:], strict=False)
    return exported(tmp, [node("Concat", f"{one} {one}", other, axis=0) for one, other in steps])


@attack
def a_graph_that_repeats_a_text_of_a_megabyte(tmp):
    import numpy as np

    held = {"text": np.array(["a" * 10**6], object), "size": numbers(10**4)}
    return exported(tmp, [node("Tile", "text size", "image_embeds")], held)


@attack
def a_graph_of_sixteen_thousand_dimensions(tmp):
    names = ["pixel_values", *(f"x{number}" for number in range(16_000)), "image_embeds"]
    steps = zip(names, names[1:], strict=False)
    return exported(tmp, [node("Unsqueeze", f"{one} axis", other) for one, other in steps], {"axis": numbers(0)})


@attack
def a_graph_of_a_hundred_thousand_weights(tmp):
    held = {f"{number:x}": numbers()[:0] for number in range(100_000)}
    return exported(tmp, [node("Identity", "pixel_values", "image_embeds")], held)


@attack
def a_graph_whose_weights_lie_in_another_folder(tmp):
    def change(model):
        weights = model.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=1)
        weights.external_data.add(key="location", value="../elsewhere")

    (tmp / "elsewhere").write_bytes(bytes(16))
    return exported(tmp, [node("Identity", "w", "image_embeds")], change=change)


@attack
def a_graph_whose_names_a_terminal_obeys(tmp):
    held = {"weights\x1b[2J": numbers(1), "sizes\u202egnp": numbers(2**40, -3)}
    nodes = [node("Identity", "pixel_values", "x"), node("Reshape", "x sizes\u202egnp", "image_embeds")]
    nodes[1].name = "step\x1b[2J"
    return exported(tmp, nodes, held)


@attack
def a_graph_in_the_format_of_another_reader(tmp):
    words = exported(tmp, [node("Identity", "pixel_values", "image_embeds")])
    (tmp / "export" / "vision_model.onnx").write_bytes(b"\x12\x0a\0\0ORTM" + bytes(200))
    return words


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\n".join(["a0: &a0 [x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40))]), "holds an alias"),
        ("learning_rate: 1\nlearning_rate: 2\n", "a name stands twice"),
        ("lora: {r: 1, r: 2}\n", "a name stands twice"),
        ("a: " + "[" * 30_000, "is nested more than 100 deep"),
        ("a: " + "1:" * 20_000 + "1", "a whole number of 40001 digits"),
        ("9" * 60_000, "a whole number of 60000 digits"),
        ("a: x\n" * 20_000, "more than 65,536 bytes"),
        ("a: " + "[" * 60_000, "is nested more than 100 deep"),
        ("a: " + "{" * 60_000, "is nested more than 100 deep"),
        ('a: !!int ""', "is no YAML: IndexError"),
        ("a: !!float ''", "is no YAML: IndexError"),
        ("a: !!bool x", "is no YAML: KeyError"),
        ("a: !!timestamp x", "is no YAML: AttributeError"),
        ("a: " + "1:" * 200 + "1.5", "is no YAML: OverflowError"),
    ],
)
def test_a_recipe_that_would_cost_much_or_says_two_things_is_refused(content, said, tmp_path):
    from hf_zhclip.errors import InputError
    from hf_zhclip.training.recipes import read_recipe

    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(InputError, match=said):
        read_recipe(str(tmp_path / "r.yaml"))


def test_merges_that_inflate_to_three_gigabytes_are_refused_before_they_do(tmp_path):
    from hf_zhclip.conversion.tokenizers.vocabularies import read_openai_bpe
    from hf_zhclip.errors import InputError

    (tmp_path / "merges.txt.gz").write_bytes(gzip_of_zeros(2**28))
    with pytest.raises(InputError, match="more than 16,777,216 bytes of text"):
        read_openai_bpe(tmp_path / "merges.txt.gz")


@pytest.mark.parametrize(
    "pickled",
    [
        script(put(2**31 - 1) + b"N"),
        script(b"K\1" + put(2**31 - 1) + b"K\1X\1\0\0\0a\x87"),
        script(doubled(40, b")", lambda one: one + one + b"\x86") + b"}" + get(140) + b"K\1s"),
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        script(b"\x8b" + struct.pack("<i", 2**30)),
    ],
)
def test_a_pair_of_an_lmdb_costs_nothing_whatever_it_says(pickled):
    from hf_zhclip.data.readers.lmdb_folder import unpickled
    from hf_zhclip.errors import InputError

    try:
        assert unpickled(pickled, "a pair") == (1, 1, "a")  # a memo's number alone does no harm
    except InputError as error:
        assert "Nothing of it was run" in str(error) or "was wanted" in str(error)


def test_a_manifest_of_endless_items_is_refused(tmp_path):
    from hf_zhclip.errors import InputError
    from hf_zhclip.inference.corpus import read_manifest

    sides = {"image": {"items": 10**30, "shards": [], "failed": []}}
    told = {"path": "x", "format": "x", "split": None, "pictures": None, "root": None, "fingerprint": "x"}
    manifest = {
        **{
            "format_version": 1,
            "model": {"repo": "x", "revision": None, "files": {}},
            "engine": "torch",
            "dtype": "x",
        },
        **{"dtype": "x", "dim": 1, "batch_size": 1, "shard_size": 1, "input": told, "sides": sides, "complete": True},
    }
    (tmp_path / "zhclip_corpus.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="states 10+ items"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_ends_in_a_word_and_costs_no_more_than_is_promised(name, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [str(each) for each in ATTACKS[name](tmp_path)]

    ending = server.run("zhclip_cli.command_line:main", arguments, output=tmp_path / "output.txt")

    assert ending.code == 2, (ending.code, ending.output[-300:])
    assert "Traceback" not in ending.output, ending.output
    assert ending.output.splitlines()[-1] and "zhclip" in ending.output, ending.output
    assert not any(ord(character) < 32 and character != "\n" for character in ending.output), ending.output
    assert len(ending.output) <= MOST_PRINTED, len(ending.output)
    assert ending.mib <= MOST_MIB and ending.seconds <= MOST_SECONDS, ending
    assert not list((tmp_path / "OUT").rglob("*.safetensors"))
    assert not (tmp_path / "OUT").exists() or arguments[0] == "embed"  # which goes on with what it began
