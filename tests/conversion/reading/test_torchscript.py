"""TorchScript archives: what is read of them is what torch reads, and nothing in them is run."""

import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.errors import InputError, ZhclipError
from hf_zhclip.conversion.reading.containers import open_file
from hf_zhclip.conversion.reading.read import read

from tests import checkpoints

FLOATS = torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128
WHOLE = torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool


class Block(torch.nn.Module):
    """A module with everything that state_dict() has or leaves out."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.without_bias = torch.nn.Linear(2, 2, bias=False)
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        self.shared = self.linear
        self.register_buffer("count", torch.tensor(5))
        self.register_buffer("unsaved", torch.ones(1), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("nothing", None)
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.mask = torch.full((2, 2), float("-inf")).triu_(1)
        self.numbers = [1, 2, 3]
        self.words = {"a": "b"}
        base = torch.arange(12.0)
        self.slice = torch.nn.Parameter(base[3:9].view(2, 3).t())
        self.register_buffer("view", base[1:3])

    def forward(self, x):
        return self.layers(self.without_bias(self.linear(x))) @ self.mask * self.scale * self.numbers[0]


class Dtypes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for dtype in (*FLOATS, *WHOLE):
            self.register_buffer(f"of_{dtype}".replace(".", "_"), torch.tensor([0, 1, 1, 0]).to(dtype))
        self.register_buffer("empty", torch.empty(0, 3))

    def forward(self, x):
        return x


class Restored(torch.nn.Module):
    """Restores itself by code."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.weight

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.weight = state[0]
        self.training = state[1]


@pytest.fixture(autouse=True)
def without_torchs_word_on_torchscript():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def script(module, path):
    torch.jit.save(torch.jit.script(module.eval()), path)
    return path


def trace(module, path):
    torch.jit.save(torch.jit.trace(module.eval(), torch.ones(1, 3)), path)
    return path


@pytest.mark.parametrize("save", [script, trace])
@pytest.mark.parametrize("module", [Block, Dtypes])
def test_the_tensors_are_those_of_torchs_own_state_dict_bit_by_bit(save, module, tmp_path):
    path = save(module(), tmp_path / "x.pt")
    wanted = torch.jit.load(path).state_dict()

    found = open_file(path)

    assert found.kind == "TorchScript archive, its code not run"
    assert list(found.top) == list(wanted)
    for key, tensor in wanted.items():
        assert (found.top[key].dtype, found.top[key].shape) == (tensor.dtype, tensor.shape), key
        assert torch.equal(found.top[key].nan_to_num(), tensor.nan_to_num()), key


def test_a_helper_of_the_tests_writes_what_torch_reads_back(tmp_path):
    tensors = {"a.0.weight": torch.ones(2, 3), "a.0.running_mean": torch.zeros(2), "n": torch.tensor(3)}
    loaded = torch.jit.load(checkpoints.openai_clip.torchscript_file(tmp_path / "x.pt", tensors)).state_dict()
    assert loaded.keys() == tensors.keys() and all(torch.equal(loaded[key], each) for key, each in tensors.items())


def test_the_tensors_lie_on_the_files_own_bytes(tmp_path):
    path = checkpoints.openai_clip.torchscript_file(tmp_path / "x.pt", {"weight": torch.full((1000,), 1.5)})
    found = open_file(path).top["weight"]
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(struct.pack("<4f", *[1.5] * 4)))
        file.write(struct.pack("<f", 2.5))

    assert found[:2].tolist() == [2.5, 1.5]
    found.zero_()
    assert struct.pack("<f", 2.5) in path.read_bytes(), "a tensor's change must not reach the file"


# What is refused


def repack(
    path: Path, changed: dict[str, bytes] | None = None, without: tuple[str, ...] = (), method: int = 0
) -> Path:
    """The archive with other records; `method` is how the zip keeps them."""
    out = path.with_name("other.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            short = name.partition("/")[2]
            if short not in without:
                new.writestr(name, (changed or {}).get(short, old.read(name)))
    return out


@pytest.fixture
def archive(tmp_path):
    return checkpoints.openai_clip.torchscript_file(
        tmp_path / "x.pt", {"weight": torch.ones(3), "a.bias": torch.ones(2)}
    )


def test_an_archive_that_another_zip_program_packed_is_read_wherever_its_records_lie(archive, tmp_path):
    with zipfile.ZipFile(repack(archive)) as other:
        starts = [entry.header_offset for entry in other.infolist()]
    assert any(start % 4 for start in starts)

    assert {key: tensor.tolist() for key, tensor in open_file(tmp_path / "other.pt").top.items()} == {
        "weight": [1.0] * 3,
        "a.bias": [1.0] * 2,
    }


def call(function: str, argument: str) -> bytes:
    """A pickle that calls a function as it is read."""
    module, name = function.rsplit(".", 1)
    return b"\x80\x02c%b\n%b\n(X%b%btR." % (
        *(module.encode(), name.encode()),
        *(struct.pack("<I", len(argument)), argument.encode()),
    )


def test_a_call_of_a_foreign_function_is_refused_by_name_and_not_made(archive, tmp_path):
    harm = tmp_path / "HARM"
    data = call(f"{os.name}.system", f"touch {harm}")

    with pytest.raises(InputError, match=rf"names {os.name}\.system\. .*never called here.*torch\.jit\.load\(FILE\)"):
        open_file(repack(archive, {"data.pkl": data}))
    assert not harm.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "torch.load",
        "torch.jit.load",
        "torch.FloatTensor",
        "torch._utils._rebuild_qtensor",
        "torch.jit._pickle.build_x",
        "torch.jit._pickle",
        "collections.Counter",
        "__torch_.M",
    ],
)
def test_no_other_global_is_admitted(archive, name):
    with pytest.raises(InputError, match=rf"^\S+ is a TorchScript archive, and its data names {name}\. "):
        open_file(repack(archive, {"data.pkl": call(name, "x")}))


def test_a_class_that_restores_itself_by_code_is_refused_and_its_code_not_run(tmp_path):
    path = script(Restored(), tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"Restored is restored by its own code, which is never run here"):
        open_file(path)


def test_an_object_in_place_of_a_module_and_a_call_of_its_class_are_refused(archive):
    called = b"\x80\x02c__torch__\nM\n(X\x01\x00\x00\x00xtR."
    with pytest.raises(InputError, match="damaged TorchScript archive"):
        open_file(repack(archive, {"data.pkl": called}))
    with pytest.raises(InputError, match="holds a list instead of a TorchScript module"):
        open_file(repack(archive, {"data.pkl": pickle.dumps([1], protocol=2)}))


def test_a_module_within_itself_is_refused(archive):
    # The top module's class, its object kept as 0, and a state with that object as its attribute `a`.
    top = re.match(rb"\x80\x02c.*\n.*\n", data_of(archive))[0]
    with pytest.raises(InputError, match=r"^\S+ is damaged: its module a contains itself\.$"):
        open_file(repack(archive, {"data.pkl": top + b")\x81q\x00}X\x01\x00\x00\x00ah\x00sb."}))


def test_quantised_weights_are_refused(tmp_path):
    if "none" == torch.backends.quantized.engine:
        pytest.skip("this build of torch has no engine for quantised models")
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    path = tmp_path / "x.pt"
    quantised = torch.ao.quantization.quantize_dynamic(model.eval(), {torch.nn.Linear}, dtype=torch.qint8)
    torch.jit.save(torch.jit.script(quantised), path)

    with pytest.raises(InputError, match=r"packed weights|_rebuild_qtensor|restores itself"):
        open_file(path)


def data_of(archive: Path) -> bytes:
    with zipfile.ZipFile(archive) as file:
        return file.read("x/data.pkl")


def edit(archive: Path, old: bytes, new: bytes) -> Path:
    assert old in data_of(archive)
    return repack(archive, {"data.pkl": data_of(archive).replace(old, new, 1)})


def without_classes(archive: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        code = [name.partition("/")[2] for name in file.namelist() if name.endswith(".py")]
    return repack(archive, dict.fromkeys(code, b""))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("truncated", lambda path: path.write_bytes(path.read_bytes()[:-200]) and path, "damaged or truncated"),
        ("compressed", lambda path: repack(path, method=zipfile.ZIP_DEFLATED), "compressed .* fetch the original"),
        ("no numbers", lambda path: repack(path, without=("data/0",)), "data/0"),
        ("no classes", without_classes, "its code does not hold the class"),
        ("no data", lambda path: repack(path, without=("data.pkl",)), "data.pkl"),
        ("short numbers", lambda path: repack(path, {"data/0": b"\0" * 8}), "holds 8 bytes .* 12 bytes were wanted"),
        ("big-endian", lambda path: repack(path, {"byteorder": b"big"}), "big-endian"),
        ("too large a size", lambda path: edit(path, b"(K\x03t", b"(K\x09t"), "damaged TorchScript archive"),
        ("an unknown record", lambda path: edit(path, b"\x01\x00\x00\x000q", b"\x01\x00\x00\x009q"), "data/9"),
        ("cut short", lambda path: repack(path, {"data.pkl": b"\x80\x02}"}), "damaged TorchScript archive"),
    ],
)
def test_a_damaged_archive_is_an_error_that_says_so(archive, name, damage, message):
    with pytest.raises(InputError, match=message):
        open_file(damage(archive))


def test_no_damage_of_a_byte_is_more_than_an_error(archive):
    """Every byte of the structure in turn: a clear error, or the same tensors."""
    data = data_of(archive)
    for place in range(0, len(data), 3):
        changed = data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :]
        try:
            found = open_file(repack(archive, {"data.pkl": changed})).top
        except ZhclipError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


def test_another_models_archive_is_no_known_format(tmp_path):
    from hf_zhclip.conversion.detection.detect import detect
    from hf_zhclip.conversion.errors import UnknownFormat

    with pytest.raises(UnknownFormat, match=r"The format of x\.pt is not known"):
        detect(read(trace(torch.nn.Linear(3, 2), tmp_path / "x.pt")))
