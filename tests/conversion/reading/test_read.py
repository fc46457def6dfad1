import argparse
import contextlib
import json
import os
import random
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.reading.read import read

from tests import checkpoints

KEYS = ("visual.proj", "bert.encoder.layer.0.output.dense.weight", "logit_scale")


def tensors(keys=KEYS):
    return {key: torch.full((2, number + 1), float(number)) for number, key in enumerate(keys)}


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


def values(checkpoint):
    return {key: (tensor.dtype, tensor.tolist()) for key, tensor in checkpoint.tensors.items()}


def expected(found=None):
    return {key: (tensor.dtype, tensor.tolist()) for key, tensor in (found or tensors()).items()}


# Containers


def zip_file(folder):
    return saved(folder / "x.pt", tensors()), "torch.save zip"


def legacy_file(folder):
    path = saved(folder / "x.pt", tensors(), _use_new_zipfile_serialization=False)
    return path, "torch.save file from before torch 1.6, read into memory"


def safetensors_file(folder):
    save_file(tensors(), folder / "x.safetensors")
    return folder / "x.safetensors", "safetensors"


def bin_folder(folder):
    saved(folder / "pytorch_model.bin", tensors())
    return folder, "torch.save zip"


def safetensors_folder(folder):
    save_file(tensors(), folder / "model.safetensors")
    return folder, "safetensors"


def shards(folder, suffix, save, prefix=""):
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    found = {prefix + key: tensor for key, tensor in tensors().items()}
    places = {}
    for number, key in enumerate(found, start=1):
        name = f"{stem}-{number:05}-of-00003.{suffix}"
        save({key: found[key]}, folder / name)
        places[key] = name
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": places}))
    return index


def sharded_safetensors(folder):
    shards(folder, "safetensors", save_file)
    return folder, "safetensors, 3 shards"


def sharded_bins(folder):
    shards(folder, "bin", torch.save)
    return folder, "torch.save zip, 3 shards"


def index_of_wrapped_shards(folder):
    return shards(folder, "safetensors", save_file, "module."), "safetensors, 3 shards"


CONTAINERS = (
    zip_file,
    legacy_file,
    safetensors_file,
    bin_folder,
    safetensors_folder,
    sharded_safetensors,
    sharded_bins,
    index_of_wrapped_shards,
)


@pytest.mark.parametrize("make", CONTAINERS, ids=lambda make: make.__name__)
def test_every_container_gives_the_same_tensors(make, tmp_path):
    path, container = make(tmp_path)

    checkpoint = read(path)

    assert values(checkpoint) == expected()
    assert checkpoint.container == container


@pytest.mark.parametrize(
    "nest", [lambda found: found, lambda found: {"state_dict": found}, lambda found: {"model": found}]
)
def test_weights_are_found_where_training_scripts_keep_them(nest, tmp_path):
    assert values(read(saved(tmp_path / "x.pt", nest(tensors())))) == expected()


def test_transformers_choice_between_two_weight_files_is_followed(tmp_path):
    save_file(tensors(), tmp_path / "model.safetensors")
    saved(tmp_path / "pytorch_model.bin", {"other": torch.ones(1)})

    checkpoint = read(tmp_path)

    assert values(checkpoint) == expected()
    assert [file.name for file in checkpoint.files] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x.safetensors", "a/x.safetensors", "/x.safetensors", 3])
def test_shards_outside_the_folder_are_refused(name, tmp_path):
    index = shards(tmp_path, "safetensors", save_file)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(KEYS, name)}))

    with pytest.raises(InputError, match="wanted names of files in the index's own folder"):
        read(index)


def test_a_folder_is_no_shard(tmp_path):
    index = shards(tmp_path, "safetensors", save_file)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    (tmp_path / "model-00002-of-00003.safetensors").mkdir()

    with pytest.raises(InputError, match=r"names missing shards: model-00002-of-00003\.safetensors"):
        read(index)


@pytest.mark.parametrize("tag", [b"..", b".", b"", b"\n", b"../outside", b"\xff\xfe\0"])
def test_a_deepspeed_folder_that_names_no_step_of_its_own_is_refused(tag, tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "ds" / "latest").write_bytes(tag)
    for place in (tmp_path, tmp_path / "ds", tmp_path / "outside"):
        saved(place / "mp_rank_00_model_states.pt", {"module": tensors()})

    with pytest.raises(InputError, match="latest names .*, but .* holds no such folder"):
        read(tmp_path / "ds")


def test_open_clip_s_config_beside_a_hugging_face_model_does_not_hide_it(tmp_path):
    """As in laion's CLIP repos, which hold both libraries' files."""
    folder = checkpoints.hf_clip.clip_folder(tmp_path / "clip")
    (folder / "open_clip_config.json").write_text("{}")

    assert detect(read(folder)).source.name == "hf_clip"


def test_of_a_folder_of_both_libraries_transformers_own_weights_are_read(tmp_path):
    folder = checkpoints.open_clip.open_clip_folder(tmp_path / "clip")
    saved(folder / "pytorch_model.bin", tensors())
    (folder / "config.json").write_text('{"model_type": "clip"}')

    found = read(folder)

    assert (found.files[0].name, found.config) == ("pytorch_model.bin", {"model_type": "clip"})


@pytest.mark.parametrize("config", [None, '{"architecture": "vit_base_patch32_clip_224"}'], ids=["no", "timm's"])
def test_of_a_folder_whose_config_is_not_transformers_open_clips_weights_are_read(config, tmp_path):
    """As in timm's repos, which hold its own image tower beside."""
    folder = checkpoints.open_clip.open_clip_folder(tmp_path / "clip")
    saved(folder / "pytorch_model.bin", tensors())
    if config:
        (folder / "config.json").write_text(config)

    found = read(folder)

    assert [file.name for file in found.files] == ["open_clip_pytorch_model.bin", "open_clip_config.json"]
    assert found.config["model_cfg"]["embed_dim"] == checkpoints.common.EMBED


def test_open_clips_own_name_of_a_file_vouches_for_its_config_alone(tmp_path):
    folder = checkpoints.open_clip.open_clip_folder(tmp_path / "clip")
    (folder / "config.json").write_text('{"model_type": "clip"}')

    assert read(folder / "open_clip_pytorch_model.bin").config.keys() == {"model_cfg", "preprocess_cfg"}


def test_open_clips_config_serves_a_file_of_transformers_name_where_that_has_none(tmp_path):
    folder = checkpoints.open_clip.open_clip_folder(tmp_path / "clip")
    (folder / "open_clip_pytorch_model.bin").rename(folder / "pytorch_model.bin")

    assert read(folder).config.keys() == {"model_cfg", "preprocess_cfg"}


def test_the_config_beside_a_hugging_face_file_is_read_and_beside_any_other_is_not(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')

    named, other = (read(saved(tmp_path / name, tensors())) for name in ("pytorch_model.bin", "x.pt"))

    assert (named.config, named.folder) == ({"model_type": "clip"}, tmp_path)
    assert (other.config, other.folder) == ({}, None)


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    save_file(tensors(), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)

    assert read(Path(".")).name == tmp_path.name


def test_a_file_that_the_system_cannot_read_is_no_fault_of_the_input(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.pt", tensors())

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)

    with pytest.raises(WorkError, match=r"x\.pt could not be read: Input/output error"):
        read(path)


# Wrappers


@pytest.mark.parametrize(
    ("wrapped", "wrappers"),
    [
        ("module.{}", ("module.",)),
        ("_orig_mod.{}", ("_orig_mod.",)),
        ("_forward_module.{}", ("_forward_module.",)),
        ("_fsdp_wrapped_module.{}", ("_fsdp_wrapped_module.",)),
        ("module._orig_mod.{}", ("module.", "_orig_mod.")),
        ("_orig_mod.module.{}", ("_orig_mod.", "module.")),
        ("module.module.{}", ("module.", "module.")),
        ("_forward_module._fsdp_wrapped_module.{}", ("_forward_module.", "_fsdp_wrapped_module.")),
    ],
)
def test_wrappers_around_all_keys_are_removed_and_named(wrapped, wrappers, tmp_path):
    checkpoint = read(saved(tmp_path / "x.pt", {wrapped.format(key): value for key, value in tensors().items()}))

    assert values(checkpoint) == expected()
    assert checkpoint.wrappers == wrappers


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_forward_module.", "_fsdp_wrapped_module."])
def test_wrappers_in_the_middle_of_some_keys_are_removed_and_named(wrapper, tmp_path):
    found = tensors()
    found[f"module.bert.{wrapper}encoder.layer.0.{wrapper}output.dense.weight"] = found.pop(KEYS[1])
    found = {key if key.startswith("module.") else f"module.{key}": value for key, value in found.items()}

    checkpoint = read(saved(tmp_path / "x.pt", found))

    assert {key: tensor.tolist() for key, tensor in checkpoint.tensors.items()} == {
        key: tensor.tolist() for key, tensor in tensors().items()
    }
    assert checkpoint.wrappers == ("module.", wrapper)


def test_a_module_in_the_middle_of_a_key_is_the_model_s_own(tmp_path):
    found = {"encoder.module.weight": torch.ones(1), "module_list.weight": torch.ones(1)}

    checkpoint = read(saved(tmp_path / "x.pt", found))

    assert set(checkpoint.tensors) == set(found)
    assert checkpoint.wrappers == ()


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_a_wrapper_around_some_keys_is_refused_with_the_list(wrapper, tmp_path):
    found = {f"{wrapper}h.{layer}.w": torch.ones(1) for layer in range(3)} | {"b": torch.ones(1), "a": torch.ones(1)}

    with pytest.raises(InputError, match=re.escape(f"begin with '{wrapper}' and some do not")) as error:
        read(saved(tmp_path / "x.pt", found))

    assert f"Keys without {wrapper!r}: a, b." in str(error.value)


def test_an_inner_wrapper_around_some_keys_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Keys without '_orig_mod\.': b\."):
        read(saved(tmp_path / "x.pt", {"module._orig_mod.a": torch.ones(1), "module.b": torch.ones(1)}))


def test_keys_that_collide_without_their_wrappers_are_refused_by_name(tmp_path):
    found = {"h.0.w": torch.ones(1), "h._orig_mod.0.w": torch.ones(1), "b": torch.ones(1)}

    with pytest.raises(InputError, match=r"without the prefixes _orig_mod\. these keys collide: h\.0\.w\."):
        read(saved(tmp_path / "x.pt", found))


def test_a_prefix_that_an_upstream_gave_stays(tmp_path):
    assert set(read(saved(tmp_path / "x.pt", {"model.a": torch.ones(1)})).tensors) == {"model.a"}


# What training left in the file


def training_file(path, **extra):
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2**23)}}, "param_groups": [{"lr": 1e-4}]}
    return saved(
        path, {"epoch": 3, "step": 77, "name": "vit-b", "state_dict": tensors(), "optimizer": optimizer, **extra}
    )


def test_epoch_step_and_name_are_kept_and_everything_large_is_not(tmp_path):
    checkpoint = read(training_file(tmp_path / "x.pt"))

    assert checkpoint.training == {"epoch": 3, "step": 77, "name": "vit-b", "optimizer": "…"}
    assert set(checkpoint.tensors) == set(KEYS)


def mapped_and_resident(path):
    """Bytes of this process's mappings of a file, and how many of them were ever touched."""
    totals, own = {"Size": 0, "Rss": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            own = line.endswith(str(path))
        elif own and (field := line.split(":")[0]) in totals:
            totals[field] += 1024 * int(line.split()[1])
    return totals["Size"], totals["Rss"]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="tells touched pages by Linux's own account")
def test_optimizer_tensors_stay_on_disk(tmp_path):
    path = training_file(tmp_path / "x.pt")

    checkpoint = read(path)
    assert values(checkpoint) == expected()

    size, touched = mapped_and_resident(path)
    assert size >= path.stat().st_size > 2**25
    assert touched < size / 4


def test_numpy_scalars_are_plain_numbers(tmp_path):
    found = {"step": np.int64(77), "loss": np.float32(0.5), "best": np.float64(0.25), "done": np.bool_(True)}

    checkpoint = read(training_file(tmp_path / "x.pt", **found))

    assert {key: checkpoint.training[key] for key in found} == {"step": 77, "loss": 0.5, "best": 0.25, "done": True}
    json.dumps(checkpoint.training)


def test_a_loss_that_json_cannot_say_is_a_word(tmp_path):
    checkpoint = read(training_file(tmp_path / "x.pt", loss=float("nan"), best=np.float32("inf")))

    assert (checkpoint.training["loss"], checkpoint.training["best"]) == ("nan", "inf")


def test_a_training_script_s_arguments_are_data(tmp_path):
    checkpoint = read(training_file(tmp_path / "x.pt", args=argparse.Namespace(lr=1e-4, vision_model="ViT-B-16")))

    assert values(checkpoint) == expected()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_is_kept(dtype, tmp_path):
    found = {key: tensor.to(dtype) for key, tensor in tensors().items()}

    assert values(read(saved(tmp_path / "x.pt", found))) == expected(found)


def test_mixed_dtypes_are_kept(tmp_path):
    found = tensors()
    found["visual.proj"] = found["visual.proj"].half()

    assert values(read(saved(tmp_path / "x.pt", found))) == expected(found)


# Damage and code


def big_tensors():
    return {f"h.{layer}.w": torch.full((100, 100), float(layer)) for layer in range(4)}


def make_zip(path):
    saved(path, {"state_dict": big_tensors(), "epoch": 1})


def make_legacy(path):
    saved(path, {"state_dict": big_tensors(), "epoch": 1}, _use_new_zipfile_serialization=False)


def make_safetensors(path):
    save_file(big_tensors(), path)


@pytest.mark.parametrize("part", [0.0001, 0.002, 0.01, 0.1, 0.5, 0.9, 0.999, -1])
@pytest.mark.parametrize("make", [make_zip, make_legacy, make_safetensors], ids=lambda make: make.__name__)
def test_a_truncated_file_is_refused_at_any_length(make, part, tmp_path):
    path = tmp_path / "x.pt"
    make(path)
    length = int(path.stat().st_size * part) if part > 0 else path.stat().st_size - 1
    os.truncate(path, length)

    with pytest.raises(InputError, match=r"damaged or truncated|is truncated|\(\d+ bytes\) is no checkpoint") as error:
        read(path)

    assert "Fetch it again" in str(error.value) or length < 20
    assert "code" not in str(error.value)


@pytest.mark.parametrize("make", [make_zip, make_legacy, make_safetensors], ids=lambda make: make.__name__)
def test_a_damaged_head_is_read_or_refused_in_words(make, tmp_path):
    make(tmp_path / "x.pt")
    sound = (tmp_path / "x.pt").read_bytes()

    for _ in range(80):
        damaged = bytearray(sound)
        for _ in range(random.choice((1, 1, 3))):
            damaged[random.randrange(1000)] = random.randrange(256)
        (tmp_path / "y.pt").write_bytes(damaged)
        with contextlib.suppress(InputError, WorkError):
            read(tmp_path / "y.pt")


def test_bytes_behind_the_head_of_a_safetensors_file_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b'\x10\0\0\0\0\0\0\0{"a": nonsense}  ')

    with pytest.raises(InputError, match="damaged or truncated"):
        read(tmp_path / "x.safetensors")


def test_a_damaged_file_that_was_compressed_afterwards_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(range(256)) * 4)
    damaged = bytearray((tmp_path / "x.pt").read_bytes())
    damaged[40:44] = b"\xff" * 4
    (tmp_path / "x.pt").write_bytes(damaged)

    with pytest.raises(InputError, match="was compressed after torch.save wrote it|is damaged or truncated"):
        read(tmp_path / "x.pt")


class Custom:
    """Stands for a class of somebody's training code."""


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_a_pickle_with_code_is_refused_with_all_the_names(options, tmp_path):
    found = {"state_dict": tensors(), "a": Custom(), "b": Path("x"), "dtype": torch.float32, "size": torch.Size([1])}

    with pytest.raises(InputError) as error:
        read(saved(tmp_path / "x.pt", found, **options))

    names = re.search(r"The pickle names: (.*)\. If", str(error.value))[1].split(", ")
    assert names == [f"pathlib.{type(Path()).__name__}", f"{Custom.__module__}.Custom"]


def test_a_file_that_is_whole_and_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")

    def refuse(*_, **__):
        raise RuntimeError("unable to mmap 9 bytes from file <x.pt>: Cannot allocate memory (12)")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", refuse)
    with pytest.raises(WorkError, match=r"x.pt does not fit into memory: unable to mmap 9 bytes"):
        read(tmp_path / "x.pt")
