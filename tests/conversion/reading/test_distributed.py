"""Folders of torch.distributed.checkpoint, written by torch without a process group."""

import os
import pathlib
import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorStorageMetadata

from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.reading import torch_pickle
from hf_zhclip.conversion.reading.distributed import Steps, is_filled
from hf_zhclip.conversion.reading.read import choose, read

from tests.conversion.test_bad_input import Evil

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed")


def weights():
    return {
        "module.visual.proj": torch.arange(6.0).reshape(2, 3),
        "module.logit_scale": torch.tensor(4.5, dtype=torch.bfloat16),
        "module.bn.num_batches_tracked": torch.tensor(7),
    }


def stripped():
    return {key.removeprefix("module."): (value.dtype, value.tolist()) for key, value in weights().items()}


def values(checkpoint):
    return {key: (value.dtype, value.tolist()) for key, value in checkpoint.tensors.items()}


def saved(folder, value):
    dcp.save(value, checkpoint_id=folder)
    return folder


def edited(folder, edit):
    """The folder, after a change of what `.metadata` says."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    edit(metadata)
    path.write_bytes(pickle.dumps(metadata))
    return folder


@pytest.mark.parametrize(
    "nest",
    [
        lambda found: found,
        lambda found: {"model": found, "optimizer": {"state": {"a": {"exp_avg": torch.ones(2**20)}}}, "epoch": 3},
        lambda found: {"state_dict": found},
        lambda found: {"app": {"model": found, "optim": {"state": {}}}},
    ],
)
def test_the_tensors_of_a_folder_come_back_wherever_they_were_kept(nest, tmp_path):
    folder = saved(tmp_path / "dcp", nest(weights()))

    checkpoint = read(folder)

    assert values(checkpoint) == stripped()
    assert checkpoint.wrappers == ("module.",)
    assert checkpoint.container == "torch.distributed.checkpoint folder, read into memory"
    assert [file.name for file in checkpoint.files] == [".metadata", "__0_0.distcp"]
    assert not torch.distributed.is_initialized()


def test_nothing_but_the_weights_is_read(tmp_path, monkeypatch):
    folder = saved(tmp_path / "dcp", {"model": weights(), "optimizer": {"exp_avg": torch.ones(4)}, "step": 3})
    loads = []
    load = torch_pickle.of_archive
    monkeypatch.setattr(torch_pickle, "of_archive", lambda archive: loads.append(archive) or load(archive))

    read(folder)

    assert len(loads) == len(weights())


def test_an_average_in_such_a_folder_is_chosen_as_in_a_file(tmp_path):
    average = {key: value + 1 for key, value in weights().items()}
    checkpoint = read(saved(tmp_path / "dcp", {"model": weights(), "ema": average}))

    assert values(choose(checkpoint, "ignore")) == stripped()
    assert choose(checkpoint, "use").tensors["logit_scale"] == 5.5


def test_the_shares_of_several_ranks_are_put_together(tmp_path):
    first, second = torch.arange(6.0).reshape(2, 3), torch.arange(6.0, 15.0).reshape(3, 3)
    folder = saved(tmp_path / "dcp", {"w": first, "rank 1": second})

    def join(metadata):
        one, two = (metadata.state_dict_metadata.pop(name) for name in ("w", "rank 1"))
        chunks = [
            ChunkStorageMetadata(torch.Size([0, 0]), torch.Size([2, 3])),
            ChunkStorageMetadata(torch.Size([2, 0]), torch.Size([3, 3])),
        ]
        metadata.state_dict_metadata["w"] = TensorStorageMetadata(one.properties, torch.Size([5, 3]), chunks)
        places = {index.fqn: info for index, info in metadata.storage_data.items()}
        metadata.storage_data = {
            MetadataIndex("w", torch.Size([0, 0]), 0): places["w"],
            MetadataIndex("w", torch.Size([2, 0]), 1): places["rank 1"],
        }

    assert torch.equal(read(edited(folder, join)).tensors["w"], torch.arange(15.0).reshape(5, 3))

    def lose(metadata):
        metadata.state_dict_metadata["w"].chunks.pop()

    with pytest.raises(InputError, match=r"does not place all parts of w: the share of a rank is missing"):
        read(edited(folder, lose))


def chunk(offsets, sizes):
    return ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk([0, 0], [2, 3]), chunk([0, 0], [2, 3])],
        [chunk([0, 0], [2, 3]), chunk([1, 0], [2, 3])],
        [chunk([0, 0], [4, 1]), chunk([1, 0], [2, 1]), chunk([0, 2], [4, 1]), chunk([0, 1], [2, 1])],
        [chunk([0, 0], [2, 3]), chunk([4, 0], [2, 3])],
        [chunk([0, 0], [2, 3]), chunk([-2, 0], [2, 3])],
        [chunk([0, 0], [2, 6])],
        [chunk([0, 0], [-4, -3])],
        [chunk([0], [12])],
    ],
)
def test_parts_that_do_not_fill_a_tensor_are_refused_though_they_are_as_many_numbers(chunks, tmp_path):
    def place(metadata):
        (stored,) = metadata.state_dict_metadata.values()
        stored.chunks = chunks

    with pytest.raises(InputError, match="does not place all parts of w|or is damaged"):
        read(edited(saved(tmp_path / "dcp", {"w": torch.ones(4, 3)}), place))


def test_shares_in_both_directions_and_without_numbers_fill_a_tensor():
    boxes = [
        ((0, 2), (0, 1)),
        ((2, 4), (0, 1)),
        ((0, 2), (1, 3)),
        ((2, 4), (1, 3)),
        ((4, 4), (0, 0)),
        ((4, 4), (0, 0)),
    ]
    chunks = [chunk([start for start, _ in box], [end - start for start, end in box]) for box in boxes]

    assert is_filled(TensorStorageMetadata(None, torch.Size([4, 3]), chunks), Steps(0))
    assert is_filled(TensorStorageMetadata(None, torch.Size([]), [chunk([], [])]), Steps(0))
    assert not is_filled(TensorStorageMetadata(None, torch.Size([4, 3]), chunks[1:]), Steps(0))


class Holder:
    """Something that a foreign `.metadata` may ask for."""


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_metadata_asks_to_run_is_never_run(protocol, tmp_path):
    folder = saved(tmp_path / "dcp", weights())
    cases = {"system": Evil(tmp_path / "marker"), r"test_distributed\.Holder": Holder(), "getattr": getattr}

    for named, thing in cases.items():
        (folder / ".metadata").write_bytes(pickle.dumps(thing, protocol=protocol))
        with pytest.raises(InputError, match=f"it names .*{named}.* None of its code was run"):
            read(folder)

    assert not (tmp_path / "marker").exists()


METADATA = b"ctorch.distributed.checkpoint.metadata\n"


@pytest.mark.parametrize(
    "thing",
    [
        b"cpathlib\nPosixPath\n",
        METADATA + b"Metadata\n",
        METADATA + b"_MEM_FORMAT_ENCODING\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch.serialization\n_get_layout\n",
        b"ctorch\nfloat32\n",
    ],
)
@pytest.mark.parametrize("state", [b"N}X\6\0\0\0pwned_X\1\0\0\0xs\x86b", b"}X\6\0\0\0pwned_X\1\0\0\0xsb"])
def test_what_metadata_names_can_not_be_changed(thing, state, tmp_path):
    """The opcode BUILD sets attributes of whatever stands on the stack, of a class for the whole process."""
    folder = saved(tmp_path / "dcp", weights())
    (folder / ".metadata").write_bytes(b"\x80\2" + thing + state + b".")

    with pytest.raises(InputError, match="is given a state"):
        read(folder)

    for named in (pathlib.PosixPath, pathlib.PurePosixPath, dcp.Metadata, torch.serialization._get_layout):
        assert not hasattr(named, "pwned_")


def test_a_path_in_metadata_is_words(tmp_path):
    def tell(metadata):
        metadata.storage_meta.checkpoint_id = pathlib.PurePosixPath("/home/a/b")

    assert values(read(edited(saved(tmp_path / "dcp", weights()), tell))) == stripped()


def test_what_a_tensor_s_place_asks_to_run_is_never_run(tmp_path):
    """Of what is no tensor torch's own planner would execute the pickle; here nothing of it is loaded."""
    folder = saved(tmp_path / "dcp", {"model": weights(), "hyper": Evil(tmp_path / "marker")})

    assert values(read(folder)) == stripped()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("place", ["../x.distcp", "/etc/passwd", Path("a") / "b", "..", ""])
def test_files_outside_the_folder_are_refused(place, tmp_path):
    def move(metadata):
        for info in metadata.storage_data.values():
            info.relative_path = str(place)

    with pytest.raises(InputError, match="files of its own folder were wanted"):
        read(edited(saved(tmp_path / "dcp", weights()), move))


def test_damage_is_told_in_words(tmp_path):
    folder = saved(tmp_path / "dcp", weights())
    part = folder / "__0_0.distcp"
    os.truncate(part, part.stat().st_size // 2)
    with pytest.raises(InputError, match="is damaged or truncated"):
        read(folder)
    part.unlink()
    with pytest.raises(InputError, match=r"names missing files: __0_0\.distcp"):
        read(folder)
    (folder / ".metadata").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="holds dict; torch's Metadata was wanted"):
        read(folder)
    (folder / ".metadata").unlink()
    part.write_bytes(b"")
    with pytest.raises(InputError, match=r"\.distcp\) without their \.metadata"):
        read(folder)


def no_properties(metadata):
    for stored in metadata.state_dict_metadata.values():
        stored.properties = None


def no_place(metadata):
    metadata.planner_data = dict.fromkeys(metadata.state_dict_metadata, ())


def one_place(metadata):
    metadata.planner_data = dict.fromkeys(metadata.state_dict_metadata, ("w",))


def a_place_inside_a_tensor(metadata):
    metadata.planner_data = {
        name: ("w", 0)[: number + 1] for number, name in enumerate(sorted(metadata.state_dict_metadata)[:2])
    }


def places_in_a_list(metadata):
    metadata.planner_data = list(metadata.planner_data)


def a_place_that_is_no_key(metadata):
    metadata.planner_data = {name: ([],) for name in metadata.state_dict_metadata}


def no_storage(metadata):
    metadata.storage_data = None


def another_storage(metadata):
    metadata.storage_data.popitem()


def huge(metadata):
    for stored in metadata.state_dict_metadata.values():
        stored.size = torch.Size([2**40] * 4)
        stored.chunks = [chunk([0] * 4, stored.size)]


def large(metadata):
    for stored in metadata.state_dict_metadata.values():
        stored.size = torch.Size([2**45])
        stored.chunks = [chunk([0], stored.size)]


def parts_of_another_dimension(metadata):
    for stored in metadata.state_dict_metadata.values():
        stored.chunks = [chunk([0] * 9, [1] * 8)]


@pytest.mark.parametrize(
    "edit",
    [
        *(no_properties, no_place, one_place, a_place_inside_a_tensor, places_in_a_list, a_place_that_is_no_key),
        *(no_storage, another_storage, huge, large, parts_of_another_dimension),
    ],
)
def test_a_damaged_description_is_told_in_words(edit, tmp_path):
    with pytest.raises(InputError, match="is damaged"):
        read(edited(saved(tmp_path / "dcp", weights()), edit))


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_tensors_that_do_not_fit_into_the_memory_are_no_fault_of_the_input(error, tmp_path, monkeypatch):
    folder = saved(tmp_path / "dcp", weights())
    empty = torch.empty

    def fail(*args, **options):
        if "device" in options:
            return empty(*args, **options)
        raise error

    monkeypatch.setattr(torch, "empty", fail)

    with pytest.raises(WorkError, match="does not fit into memory"):
        read(folder)
