import math

import pytest
import torch
from safetensors.torch import save_file

from hf_zhclip.conversion.repos import pieces
from hf_zhclip.conversion.repos.pieces import same_bits, write_safetensors
from hf_zhclip.conversion.repos.safetensors_header import DTYPES


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 7)


def written(path, tensors, dtypes=None, allow_nonfinite=True):
    """The bytes of the file, and the keys with NaN or Inf."""
    dtypes = dtypes or {key: tensor.dtype for key, tensor in tensors.items()}
    found = write_safetensors(path, tensors, dtypes, allow_nonfinite, lambda amount: None)
    return path.read_bytes(), found


def by_the_library(path, tensors):
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata={"format": "pt"})
    return path.read_bytes()


def test_the_file_is_the_librarys_byte_for_byte(tmp_path):
    torch.manual_seed(0)
    tensors = {
        **{f"of {dtype}": torch.randn(3, 5).abs().to(dtype) for dtype in DTYPES},
        "b.scalar": torch.tensor(1.5),
        "a.no rows": torch.zeros(0, 4),
        "a.no columns": torch.zeros(4, 0),
        "transposed": torch.randn(9, 6).t(),
        "columns": torch.randn(6, 20)[:, 3:12],
        "expanded": torch.randn(1, 4).expand(5, 4),
        "long rows": torch.randn(2, 3, 4, 5),
        'quoted "中文"\n\x01\x7f\U0001f600': torch.randn(8),
    }

    assert written(tmp_path / "ours", tensors)[0] == by_the_library(tmp_path / "theirs", tensors)


@pytest.mark.parametrize("length", range(8))
def test_the_header_is_padded_as_the_librarys(length, tmp_path):
    tensors = {"k" * length: torch.zeros(2)}

    assert written(tmp_path / "ours", tensors)[0] == by_the_library(tmp_path / "theirs", tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_cast_gives_the_bits_of_a_cast_of_the_whole_tensor(dtype, tmp_path):
    torch.manual_seed(0)
    tensors = {"a": torch.randn(10, 10), "b": torch.randn(5, 5).t()}

    found, _ = written(tmp_path / "ours", tensors, dict.fromkeys(tensors, dtype))

    expected = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    assert found == by_the_library(tmp_path / "theirs", expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_inf_are_found_in_each_piece_and_named_once(value, tmp_path):
    tensors = {"sound": torch.zeros(30), "last": torch.zeros(30), "first": torch.zeros(30), "twice": torch.zeros(30)}
    tensors["last"][29] = tensors["first"][0] = tensors["twice"][1] = tensors["twice"][20] = value

    assert sorted(written(tmp_path / "x", tensors, allow_nonfinite=False)[1]) == ["first", "last", "twice"]
    assert written(tmp_path / "x", tensors)[1] == []


def test_pieces_are_small_and_follow_each_other():
    tensor = torch.arange(3 * 4 * 5).reshape(3, 4, 5).transpose(0, 2)

    found = list(pieces.pieces(tensor))

    assert max(piece.numel() for piece in found) <= 7
    assert torch.equal(torch.cat([piece.reshape(-1) for piece in found]), tensor.reshape(-1))


def test_a_tensor_has_the_bits_of_another_or_not():
    ours = torch.arange(20.0).reshape(4, 5)

    assert same_bits(ours, ours.t().contiguous().t())
    assert not same_bits(ours, ours.reshape(5, 4))
    assert not same_bits(ours, ours.double())
    assert not same_bits(ours, torch.where(ours == 19, 18, ours))
    assert same_bits(torch.full((9,), math.nan), torch.full((9,), math.nan))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


def test_a_tensor_has_the_bits_of_another_after_a_cast():
    ours = torch.tensor([1.0009765, 2.0])

    assert same_bits(ours, ours.half(), cast=torch.float16)
    assert not same_bits(ours, ours.bfloat16(), cast=torch.float16)
    assert not same_bits(ours, torch.tensor([1.0, 2.0], dtype=torch.float16), cast=torch.float16)
