"""Pickles of numpy arrays: read to the bit by whatever numpy wrote them, and nothing in them executed."""

import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading.containers import open_file
from hf_zhclip.conversion.reading.numpy_pickle import load
from hf_zhclip.conversion.reading.read import read

PROTOCOLS = range(6)
NUMBERS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


@pytest.fixture
def file(tmp_path):
    """Gives a file with these bytes, or with the pickle of this value."""

    def write(content, protocol=4):
        path = tmp_path / "weights.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
        return path

    return write


def same(found, wanted):
    """Equal in value, type and place."""
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            same(ours, theirs)
    elif isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype == wanted.dtype.newbyteorder("=")
        assert found.shape == wanted.shape
        assert np.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f")
    else:
        assert found == wanted


@st.composite
def arrays(draw):
    """Of every type and both byte orders, in C or Fortran order, with every bit pattern."""
    dtype = np.dtype(draw(st.sampled_from(NUMBERS))).newbyteorder(draw(st.sampled_from("<>")))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    content = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        content = bytes(byte % 2 for byte in content)
    array = np.frombuffer(content, dtype).reshape(shape)
    return np.asfortranarray(array) if shape and draw(st.booleans()) else array


# Without a codec: to list the characters of one takes seconds.
TEXT = st.characters(exclude_categories=["Cs"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(TEXT) | st.binary(max_size=9)
SCALARS = st.builds(lambda code: np.dtype(code).type(1), st.sampled_from(NUMBERS))
VALUES = st.recursive(
    ATOMS | SCALARS | arrays(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(TEXT, max_size=3) | st.integers(-(2**60), 2**60), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_what_numpy_writes_comes_back_in_this_machines_order(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    same(load(path), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_can_be_written_to_and_lie_in_rows_so_that_tensors_can_share_them(protocol, order, file):
    wanted = np.asarray(np.arange(3000, dtype=">f4").reshape(30, 100), order=order)
    found = load(file({"x": wanted}, protocol))["x"]

    assert found.flags.writeable
    assert found.flags.c_contiguous
    assert torch.from_numpy(found).tolist() == wanted.tolist()


def test_the_array_lies_on_the_bytes_that_were_read(file):
    found = load(file({"x": np.arange(3000, dtype="<f4")}))["x"]
    while isinstance(found, np.ndarray):
        owner, found = found, found.base
    assert isinstance(found, bytes)
    assert len(found) == owner.nbytes


def test_one_array_under_two_names_stays_one(file):
    one = np.arange(4.0)
    found = load(file({"a": one, "b": [one]}))
    assert found["a"] is found["b"][0]


def test_a_file_of_python_2_is_read(file):
    # As numpy 1.16 under Python 2.7 pickles {"w": np.array([1, 2], "<f4")} by protocol 2: bytes are its plain strings.
    content = (
        b"\x80\x02}q\x00U\x01wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
        b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\nK\x00K\x01\x87q\x0bRq\x0c"
        b"(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x08"
        + struct.pack("<2f", 1, -2)
        + b"q\x0ftq\x10bs."
    )
    found = load(file(content))["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [1, -2]


def test_an_ordered_dict_becomes_a_dict(file):
    found = load(file(OrderedDict(b=np.ones(2), a=np.zeros(1))))
    assert type(found) is dict
    assert list(found) == ["b", "a"]


# As a checkpoint


def test_a_dict_of_arrays_is_a_checkpoint_whose_tensors_share_the_memory(file):
    top = {"epoch": 3, "state_dict": {"w": np.arange(2000.0), "scale": np.float32(4.5)}}
    checkpoint = read(file(top))

    assert checkpoint.container == "pickle of numpy arrays, read into memory"
    assert checkpoint.wrappers == ()
    assert checkpoint.training == {"epoch": 3}
    assert checkpoint.tensors["w"].tolist() == top["state_dict"]["w"].tolist()
    assert (checkpoint.tensors["scale"].shape, checkpoint.tensors["scale"].dtype) == ((), torch.float32)
    assert checkpoint.tensors["scale"].item() == 4.5


@pytest.mark.filterwarnings("error")
def test_a_list_is_no_checkpoint_but_can_be_loaded(file):
    head = [np.ones((2, 3), np.float32), np.zeros(2, np.float32)]
    assert [each.shape for each in load(file(head))] == [(2, 3), (2,)]
    with pytest.raises(InputError, match="is a pickle of a list; a dict of numpy arrays was wanted"):
        open_file(file(head))


# Refusals


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def script(*steps):
    """A pickle of these opcodes."""
    return b"\x80\x04" + b"".join(steps) + b"."


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Call(os.system, "touch HARM"), f"{os.name}.system" if os.name != "nt" else "nt.system"),
        (Call(eval, "open('HARM', 'w')"), r"(builtins|__builtin__).eval"),
        (Call(np.load, "x.npy"), r"numpy.*\.load"),
        (Call(np.fromfile, "/etc/passwd"), r"numpy\._?core\.multiarray\.fromfile|numpy\.fromfile"),
        (torch.ones(2), r"torch._utils._rebuild_tensor_v2"),
    ],
)
def test_every_other_name_is_refused_by_itself_and_never_called(hostile, name, protocol, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"never run here. The pickle names: .*{name}"):
        load(file({"x": np.ones(2), "y": hostile}, protocol))
    assert not (tmp_path / "HARM").exists()


def test_a_name_put_together_where_no_scan_sees_it_is_refused_too(file):
    # Both words come out of the memo, in another order than they went in.
    words = b"\x8c\x04exec\x94\x8c\x08builtins\x94\x8c\x01x\x94"
    with pytest.raises(InputError, match="The pickle names: (.*, )?builtins.exec"):
        load(file(script(words, b"h\x01h\x00\x93h\x02\x85R")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}, "x"], dtype=object), "an array of Python objects"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), "an array of type 'V8'"),
        (np.array(["ab"]), "an array of type 'U2'"),
        (np.array(["2020-01-01"], "M8[D]"), "an array of type 'M8'"),
        (np.zeros(2, "c16"), "an array of type 'c16'"),
        (np.dtype("f4"), "a bare dtype"),
        (np.ndarray, "a numpy.ndarray"),
        ({np.float32(1): 1}, "a dict has a Record as a key|a dict with a Record for a key"),
        ({1, 2}, "a set"),
        (complex(1, 2), "names: (builtins|__builtin__).complex"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_is_no_array_of_numbers_is_refused(value, message, protocol, file):
    if isinstance(value, set) and protocol < 4:
        message = r"names: __builtin__\.set"
    with pytest.raises(InputError, match=message):
        load(file([value], protocol))


DTYPE = b"cnumpy\ndtype\n(\x8c\x02f4K\x00K\x01tR"


def array(state, kind=b"cnumpy\nndarray\n"):
    return b"cnumpy.core.multiarray\n_reconstruct\n(" + kind + b"K\x00\x85C\x01btR" + state + b"b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # More elements than bytes would read whatever lies behind them.
        (script(array(b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x89C\x04abcdt")), "with another number of bytes"),
        (script(array(b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x00t")), "an array of shape"),
        (script(array(b"(K\x01K\x01\x85" + DTYPE + b"\x89]t")), "with another number of bytes"),
        (script(array(b"(K\x01K\x01\x85\x8c\x01O\x89C\x08abcdefght")), "without a type"),
        (script(array(b"K\x01")), "damaged or truncated"),
        (script(array(b"(K\x01K\x01\x85" + DTYPE + b"\x89C\x04abcdt", b"\x8c\x01x")), "a class that is not numpy's"),
        (script(b"cnumpy.core.multiarray\n_reconstruct\n)R"), "damaged or truncated"),
        (script(b"cnumpy\nndarray\n)R"), "a call of numpy.ndarray"),
        (script(b"c_codecs\nencode\n(\x8c\x01x\x8c\x05utf-8tR"), "text in the encoding 'utf-8'"),
        # A state on what is only named would be an attribute of it.
        (script(b"cnumpy\nndarray\n}\x8c\x01xK\x01sb"), "numpy.ndarray is given a state"),
        (script(b"ccollections\nOrderedDict\n}\x8c\x01xK\x01sb"), "damaged or truncated"),
        (script(b"ccollections\nOrderedDict\nN}\x8c\x01xK\x01s\x86b"), "damaged or truncated"),
        (script(b"]\x94h\x00a"), "a list that contains itself"),
        (script(b"}\x94\x8c\x01xh\x00s"), "a dict that contains itself"),
        (script(b"\x8c\x01xQ"), "damaged or truncated"),  # a persistent id
        (script(b"\x82\x01"), "damaged or truncated"),  # an extension code
        (script(b"\x97"), "damaged or truncated"),  # a buffer from elsewhere
        (script(b"(" * 3), "damaged or truncated"),
    ],
)
def test_a_pickle_made_to_harm_is_refused(content, message, file):
    with pytest.raises(InputError, match=message):
        load(file(content))


def test_a_tree_that_a_small_file_describes_many_times_over_is_built_once(file):
    nested = [np.ones(3)]
    for _ in range(60):
        nested = [nested, nested]
    found = load(file(nested))
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]


def test_lists_too_deep_are_refused_without_a_traceback(file):
    with pytest.raises(InputError, match="holds containers nested more than 100 deep"):
        load(file(script(b"]" * 5000 + b"a" * 4999)))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_file_cut_anywhere_is_refused_as_damaged(protocol, file):
    content = pickle.dumps({"w": np.arange(6.0), "s": np.float32(2)}, protocol=protocol)
    for length in range(2, len(content), 3):
        with pytest.raises(InputError):
            load(file(content[:length]))


@settings(max_examples=100, deadline=None)
@given(place=st.integers(2, 200), byte=st.integers(0, 255), protocol=st.sampled_from([2, 4, 5]))
def test_a_changed_byte_gives_arrays_or_a_refusal(place, byte, protocol, tmp_path_factory):
    content = bytearray(pickle.dumps({"w": np.arange(6.0), "s": np.float32(2)}, protocol=protocol))
    content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.pkl"
    path.write_bytes(bytes(content))
    try:
        load(path)
    except InputError as error:
        assert str(path) in str(error)
