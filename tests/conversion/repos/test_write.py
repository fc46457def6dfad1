import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.repos.write import (
    check_dtypes,
    check_shard_size,
    target_dtype,
    total_bytes,
    widest_float,
    write_json,
    write_weights,
)

from tests.conversion.helpers import contents, entries

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


def write(folder, tensors, dtype="keep", size="5GB", allow_nonfinite=False):
    write_weights(folder, tensors, dtype, size, allow_nonfinite)


def test_one_file_holds_every_tensor_bit_for_bit(tmp_path):
    tensors = {"b": torch.tensor([1.5, -0.0]), "a": torch.tensor(3), "c": torch.tensor([[1.0]], dtype=F16)}

    write(tmp_path, tensors)

    assert entries(tmp_path) == {"model.safetensors"}
    found = load_file(tmp_path / "model.safetensors")
    assert {key: (tensor.dtype, tensor.tolist()) for key, tensor in found.items()} == {
        "a": (torch.int64, 3),
        "b": (F32, [1.5, 0.0]),
        "c": (F16, [[1.0]]),
    }
    assert torch.signbit(found["b"]).tolist() == [False, True]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("size", ["5GB", "1KB"])
def test_the_order_of_the_tensors_does_not_change_a_file(size, tmp_path):
    tensors = {key: torch.full((100,), float(number)) for number, key in enumerate("cadb")}
    for name, order in (("one", "cadb"), ("two", "abcd")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, {key: tensors[key] for key in order}, size=size)

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_shards_stay_below_their_size_and_the_index_finds_every_key(tmp_path):
    tensors = {f"h.{layer}.w": torch.full((100,), float(layer)) for layer in range(10)}

    write(tmp_path, tensors, size="1KB")

    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 4000}
    assert list(index["weight_map"]) == sorted(tensors)
    assert set(index["weight_map"].values()) == {f"model-{n:05}-of-00005.safetensors" for n in range(1, 6)}
    assert entries(tmp_path) == {*index["weight_map"].values(), "model.safetensors.index.json"}
    for key, name in index["weight_map"].items():
        shard = load_file(tmp_path / name)
        assert shard[key].tolist() == tensors[key].tolist()
        assert sum(tensor.nbytes for tensor in shard.values()) <= 1000


def test_a_tensor_larger_than_a_shard_has_one_to_itself(tmp_path):
    write(tmp_path, {"big": torch.zeros(1000), "small": torch.zeros(1)}, size="1KB")

    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 2


def test_views_are_written_as_what_they_show(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": base.t(),
        "rows": base[1:],
        "overlapping": base[:2],
        "twin": base,
        "same": base,
        "expanded": torch.ones(1).expand(5),
    }

    write(tmp_path, tensors)

    found = load_file(tmp_path / "model.safetensors")
    assert {key: tensor.tolist() for key, tensor in found.items()} == {
        key: tensor.tolist() for key, tensor in tensors.items()
    }
    assert (tmp_path / "model.safetensors").stat().st_size < 1000


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_floats_are_cast_and_whole_numbers_are_not(dtype, tmp_path):
    value = 1.0009765  # rounds differently in each
    write(tmp_path, {"w": torch.tensor([value]), "count": torch.tensor(1000)}, dtype)

    found = load_file(tmp_path / "model.safetensors")

    rounded = {"float32": 1.00097644, "float16": 1.0009765625, "bfloat16": 1.0}[dtype]
    assert found["w"].dtype == getattr(torch, dtype)
    assert found["w"].item() == pytest.approx(rounded, abs=1e-8)
    assert (found["count"].dtype, found["count"].item()) == (torch.int64, 1000)


@pytest.mark.parametrize(
    ("found", "dtype", "widest"),
    [
        ((F32,), "keep", F32),
        ((F16,), "keep", F16),
        ((BF16,), "keep", BF16),
        ((F16, F32), "keep", F32),
        ((F16, BF16), "keep", F32),
        ((F32, F64), "keep", F64),
        ((F16, torch.int64), "keep", F16),
        ((F16, F32), "bfloat16", BF16),
        ((F16,), "float32", F32),
    ],
)
def test_the_config_s_dtype_loses_nothing(found, dtype, widest):
    assert widest_float({str(each): torch.zeros(1, dtype=each) for each in found}, dtype) is widest


def test_the_bytes_are_counted_after_the_cast():
    tensors = {"w": torch.zeros(10), "h": torch.zeros(10, dtype=F16), "n": torch.zeros(1, dtype=torch.int64)}

    assert total_bytes(tensors, "keep") == 40 + 20 + 8
    assert total_bytes(tensors, "bfloat16") == 20 + 20 + 8
    assert target_dtype(tensors["n"], "float16") is torch.int64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_all_tensors_with_nan_or_inf_are_named_at_once(value, tmp_path):
    tensors = {f"h.{layer}.w": torch.tensor([1.0, value]) for layer in range(3)} | {"sound": torch.zeros(2)}

    with pytest.raises(InputError, match=r"NaN or Inf in the weights of h\.\{0\.\.\.2\}\.w\. .*--allow-nonfinite"):
        write(tmp_path, tensors, size="1KB")


def test_nan_can_be_allowed(tmp_path):
    write(tmp_path, {"w": torch.tensor([float("nan")])}, allow_nonfinite=True)

    assert torch.isnan(load_file(tmp_path / "model.safetensors")["w"]).all()


def test_a_cast_that_overflows_is_refused(tmp_path):
    with pytest.raises(InputError, match="--dtype is too narrow"):
        write(tmp_path, {"w": torch.tensor([70000.0])}, "float16")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_numbers_that_are_no_weights_are_refused_by_name(dtype):
    with pytest.raises(InputError, match=r"not floating-point numbers: w \("):
        check_dtypes({"w": torch.zeros(1).to(dtype), "v": torch.zeros(1)})


def test_floats_of_eight_bits_are_called_what_they_are():
    with pytest.raises(InputError, match=r"floating-point numbers of fewer than 16 bits: w \(float8_e4m3fn\)"):
        check_dtypes({"w": torch.zeros(1).to(torch.float8_e4m3fn), "v": torch.zeros(1)})


def test_the_counter_of_a_batch_norm_is_a_whole_number():
    check_dtypes({"bn1.num_batches_tracked": torch.tensor(3), "w": torch.zeros(1, dtype=F64)})


@pytest.mark.parametrize("size", ["5GB", "500MB", "1kb", "2TB"])
def test_sizes_of_shards(size):
    check_shard_size(size)


@pytest.mark.parametrize("size", ["", "GB", "5", "0GB", "-1GB", "1.5GB", "5XB", "5 GB", "five"])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(InputError, match="is no size; wanted a size such as 5GB or 500MB"):
        check_shard_size(size)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        write(tmp_path, {"w": torch.zeros(1)})
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_disk_that_takes_no_more_is_an_error_of_the_system(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises((WorkError, OSError)) as error:
            write(tmp_path, {"w": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "File too large" in str(error.value)


def test_json_is_sorted_utf_8(tmp_path):
    write_json(tmp_path / "x.json", {"b": "中文", "a": 1})

    assert (tmp_path / "x.json").read_bytes() == '{\n  "a": 1,\n  "b": "中文"\n}\n'.encode()
