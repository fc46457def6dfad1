"""Wrappers around a checkpoint, put there by the real wrapper wherever it runs on a CPU."""

import argparse
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.checkpoint import save as save_distributed
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import zhclip_cli
from hf_zhclip.conversion import convert, inspect
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.reading.read import choose, read
from hf_zhclip.conversion.reading.wrappers import WRAPPERS

from tests import checkpoints as c

AVERAGED = 7.0
"""The logit scale of every average here; that of raw weights is 4 and a little."""


def weights(value=1.0):
    return {
        "visual.proj": torch.full((2, 3), value),
        "bert.layer.0.weight": torch.full((3, 3), value),
        "bert.layer.1.weight": torch.full((3, 3), value),
        "logit_scale": torch.tensor(value),
    }


def module_of(tensors):
    """A module whose state dict has these keys."""
    root = nn.Module()
    for key, tensor in tensors.items():
        *path, name = key.split(".")
        module = root
        for step in path:
            if step not in dict(module.named_children()):
                module.add_module(step, nn.Module())
            module = getattr(module, step)
        if tensor.is_floating_point():
            module.register_parameter(name, nn.Parameter(tensor.detach()))
        else:
            module.register_buffer(name, tensor)
    return root


def saved(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


def same(checkpoint, expected):
    return {key: (value.dtype, value.tolist()) for key, value in checkpoint.tensors.items()} == {
        key: (value.dtype, value.tolist()) for key, value in expected.items()
    }


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A process group of this process alone."""
    place = tmp_path_factory.mktemp("group") / "store"
    distributed.init_process_group("gloo", rank=0, world_size=1, init_method=place.as_uri())
    yield
    distributed.destroy_process_group()


def matrices():
    """The weights without the scale, for FSDP takes no parameter without a dimension."""
    return {key: tensor for key, tensor in weights().items() if tensor.ndim}


# The real wrappers


def ddp(model):
    return DistributedDataParallel(model, init_sync=False)


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_inside(model):
    model.bert.layer = compiled(model.bert.layer)
    return model


def checkpointed_inside(model):
    model.bert.layer = checkpoint_wrapper(model.bert.layer)
    return model


REAL = {
    "ddp": (ddp, ("module.",)),
    "data_parallel": (nn.DataParallel, ("module.",)),
    "compile": (compiled, ("_orig_mod.",)),
    "ddp_of_compile": (lambda model: ddp(compiled(model)), ("module.", "_orig_mod.")),
    "compile_of_ddp": (lambda model: compiled(ddp(model)), ("_orig_mod.", "module.")),
    "compile_inside": (compiled_inside, ("_orig_mod.",)),
    "ddp_of_compile_inside": (lambda model: ddp(compiled_inside(model)), ("module.", "_orig_mod.")),
    "checkpoint_inside": (checkpointed_inside, ()),
    "averaged": (AveragedModel, ("n_averaged",)),
    "averaged_of_ddp": (lambda model: AveragedModel(ddp(model)), ("n_averaged", "module.")),
    "averaged_of_compile": (lambda model: AveragedModel(compiled(model)), ("n_averaged", "_orig_mod.")),
}


@pytest.mark.parametrize("name", REAL)
def test_what_a_wrapper_puts_around_a_model_is_removed_and_named(name, group, tmp_path):
    wrap, wrappers = REAL[name]

    checkpoint = read(saved(tmp_path / "x.pt", wrap(module_of(weights())).state_dict()))

    assert same(checkpoint, weights())
    assert checkpoint.wrappers == wrappers
    assert all(WRAPPERS[wrapper] for wrapper in wrappers)


@pytest.mark.filterwarnings("ignore:FSDP is switching")
def test_names_of_parameters_keep_what_state_dicts_hide(group, tmp_path):
    """A script that saves named_parameters() keeps the prefixes of activation checkpointing and of FSDP."""
    model = FullyShardedDataParallel(
        checkpointed_inside(module_of(matrices())), device_id=torch.device("cpu"), use_orig_params=True
    )
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert "_fsdp_wrapped_module.bert.layer._checkpoint_wrapped_module.0.weight" in parameters

    checkpoint = read(saved(tmp_path / "x.pt", parameters))

    assert set(checkpoint.tensors) == set(matrices())
    assert checkpoint.wrappers == ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def test_prefixes_that_stand_twice_in_the_middle_are_removed(tmp_path):
    found = {"a._orig_mod._orig_mod.w": torch.ones(1), "a._fsdp_wrapped_module._orig_mod.b": torch.ones(1)}

    assert set(read(saved(tmp_path / "x.pt", found)).tensors) == {"a.w", "a.b"}


@pytest.mark.filterwarnings("ignore:FSDP", "ignore:When using ``NO_SHARD``")
def test_the_full_state_of_fsdp_is_read_and_its_flat_pieces_are_refused(group, tmp_path):
    model = FullyShardedDataParallel(module_of(matrices()), device_id=torch.device("cpu"))
    saved(tmp_path / "pytorch_model_fsdp.bin", model.state_dict())

    assert same(read(tmp_path), matrices())
    with pytest.raises(InputError, match=r"local shards of FSDP.*accelerate merge-weights"):
        read(saved(tmp_path / "x.pt", {name: value.detach() for name, value in model.named_parameters()}))
    ranks = tmp_path / "ranks"
    for rank in range(2):
        saved(ranks / f"pytorch_model_fsdp_rank{rank}.bin", {"x": torch.ones(1)})
    for path in (ranks, ranks / "pytorch_model_fsdp_rank1.bin"):
        with pytest.raises(
            InputError, match=r"FULL_STATE_DICT.*pytorch_model_fsdp_rank0\.bin, pytorch_model_fsdp_rank1\.bin"
        ):
            read(path)


# Averages beside the weights


def prefixed(prefix):
    return lambda tensors: {prefix + key: tensor for key, tensor in tensors.items()}


def lit_ema(raw, average):
    """As CompVis' LitEma keeps it: no dots, and trained parameters alone."""
    shadows = {f"model_ema.{key.replace('.', '')}": value for key, value in average.items() if key != "visual.proj"}
    return {
        "state_dict": {**raw, **shadows, "model_ema.decay": torch.tensor(0.9), "model_ema.num_updates": raw_count()}
    }


def raw_count():
    return torch.tensor(12, dtype=torch.int32)


BOTH = {
    "state_dict_ema": lambda raw, average: {"state_dict": raw, "state_dict_ema": average, "epoch": 3},
    "model_ema": lambda raw, average: {"model": raw, "model_ema": prefixed("module.")(average)},
    "ema": lambda raw, average: {"model": prefixed("module.")(raw), "ema": {"state_dict": average, "decay": 0.9}},
    "ema.": lambda raw, average: {**prefixed("module.")(raw), **prefixed("ema.module.")(average)},
    "model_ema.": lambda raw, average: {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**prefixed("model.")(raw), **prefixed("model_ema.")(average)},
    },
    "ema_model.": lambda raw, average: {"model": {**raw, **prefixed("ema_model.")(average)}},
    "params_ema": lambda raw, average: {"model": raw, "params_ema": average},
    "ema_model": lambda raw, average: {"model": raw, "ema_model": AveragedModel(module_of(average)).state_dict()},
    "shadow_params": lambda raw, average: {"model": raw, "shadow_params": average},
    # Lightning's callback WeightAveraging puts its average in the place of the weights.
    "state_dict": lambda raw, average: lightning(
        prefixed("model.")(average),
        current_model_state=prefixed("model.")(raw),
        averaging_state={"n_averaged": torch.tensor(5)},
    ),
}


@pytest.mark.parametrize("name", BOTH)
def test_an_average_beside_the_weights_is_chosen_and_never_guessed(name, tmp_path):
    checkpoint = read(saved(tmp_path / "x.pt", BOTH[name](weights(), weights(AVERAGED))))

    assert checkpoint.average.name == name
    with pytest.raises(
        InputError, match=f"two sets of weights: the raw weights, and '{name}'.*--ema use.*--ema ignore"
    ):
        choose(checkpoint, None)
    assert same(choose(checkpoint, "ignore"), weights())
    average = choose(checkpoint, "use")
    assert same(average, weights(AVERAGED))
    assert name in average.wrappers
    assert (average.average, average.ema) == (None, "use")


def test_an_average_whose_keys_have_lost_their_dots_gets_them_back(tmp_path):
    checkpoint = read(saved(tmp_path / "x.pt", lit_ema(weights(), weights(AVERAGED))))

    assert same(choose(checkpoint, "ignore"), weights())
    frozen = {"visual.proj": weights()["visual.proj"]}
    assert same(choose(checkpoint, "use"), {**weights(AVERAGED), **frozen})

    wrong = {"x": torch.ones(1), "model_ema.y": torch.ones(1), "model_ema.num_updates": raw_count()}
    with pytest.raises(InputError, match="for some keys the weight is not clear: y"):
        read(saved(tmp_path / "x.pt", wrong))


@pytest.mark.parametrize(
    "top", [{"ema": weights()}, prefixed("ema.module.")(weights()), {"state_dict_ema": weights()}]
)
def test_an_average_alone_leaves_nothing_to_choose(top, tmp_path):
    checkpoint = read(saved(tmp_path / "x.pt", top))

    assert same(checkpoint, weights())
    assert checkpoint.wrappers[0] in ("ema", "ema.", "state_dict_ema")
    assert choose(checkpoint, None) is checkpoint


def test_the_average_of_torch_itself_is_taken_with_its_count(tmp_path):
    averaged = AveragedModel(module_of(weights()), multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for value in (2.0, 4.0):
        averaged.update_parameters(module_of(weights(value)))

    checkpoint = read(saved(tmp_path / "x.pt", {"state_dict": averaged.state_dict()}))

    assert same(checkpoint, weights(3.0))
    assert checkpoint.training == {"n_averaged": 2}


def test_two_averages_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds weights under model_ema and ema: save only"):
        read(saved(tmp_path / "x.pt", {"model": weights(), "ema": weights(), "model_ema": weights()}))


RIVALS = {
    "net and ema": lambda raw, average: {"net": raw, "ema": average},
    "module and ddp_ema": lambda raw, average: {"module": raw, "state_dict_ema": prefixed("module.")(average)},
    "params": lambda raw, average: {"params": raw, "params_ema": average},
    "flat": lambda raw, average: {"ema": average, **prefixed("model.")(raw)},
    "flat around a nest": lambda raw, average: {"ema": {"state_dict": average}, **prefixed("clip.")(raw)},
    "one step in": lambda raw, average: {"state_dict": {"model": raw, "slow": average}},
    "module inside": lambda raw, average: {"model": raw, "ema": {"module": average, "decay": 0.9}},
    "list": lambda raw, average: {"model": raw, "ema": list(average.values())},
    "list inside": lambda raw, average: {"model": raw, "ema": {"shadow_params": list(average.values()), "decay": 0.9}},
    "shadow list": lambda raw, average: {"state_dict": raw, "shadow_params": tuple(average.values())},
    "no dots": lambda raw, average: {
        "model": raw,
        "shadows": {key.replace(".", ""): value for key, value in average.items()},
    },
    "a tower": lambda raw, average: {"model": raw, "slow": {"visual.proj": average["visual.proj"]}},
    "teacher": lambda raw, average: {"model": raw, "teacher": {**average, **prefixed("head.")(average)}},
    "swa": lambda raw, average: lightning(
        raw,
        callbacks={"StochasticWeightAveraging": {"n_averaged": 3, "average_model_state": average}},
    ),
    "third": lambda raw, average: {"model": raw, "ema": average, "best": {"state_dict": average}},
    "average in average": lambda raw, average: {"model": raw, "ema": {"model": raw, "ema": average}},
    "prefix in average": lambda raw, average: {"model": raw, "ema": {**raw, **prefixed("ema.")(average)}},
    "no averaging state": lambda raw, average: {"state_dict": average, "current_model_state": raw},
}

NAMES = {
    "net and ema": "ema and net",
    "module and ddp_ema": "state_dict_ema and module",
    "params": "params_ema and params",
    "flat": "ema and model.visual.proj",
    "flat around a nest": "ema.state_dict and clip.visual.proj",
    "one step in": "state_dict.model and state_dict.slow",
    "module inside": "model and ema",
    "list": "model and ema",
    "list inside": "model and ema",
    "shadow list": "state_dict and shadow_params",
    "no dots": "model and shadows",
    "a tower": "model and slow",
    "teacher": "model and teacher",
    "swa": "state_dict and callbacks.StochasticWeightAveraging.average_model_state",
    "third": "model and best.state_dict",
    "average in average": "ema and ema.ema",
    "prefix in average": "ema and ema.ema.",
    "no averaging state": "state_dict and current_model_state",
}


@pytest.mark.parametrize("name", RIVALS)
def test_two_sets_between_which_nothing_can_choose_are_refused_with_both_names(name, tmp_path):
    with pytest.raises(InputError) as error:
        read(saved(tmp_path / "x.pt", RIVALS[name](weights(), weights(AVERAGED))))
    assert f"holds weights under {NAMES[name]}: save only the set of weights that you want." in str(error.value)


def optimizer_of(tensors):
    """Adam's state after a step."""
    model = module_of(tensors)
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return model, optimizer


def test_what_else_training_keeps_is_no_second_set_of_weights(tmp_path):
    model, optimizer = optimizer_of(weights())
    state = optimizer.state_dict()
    by_name = get_optimizer_state_dict(model, optimizer)
    masters = [[parameter.detach() for parameter in model.parameters()]]
    cycle = {}
    cycle["self"] = cycle
    rest = {
        "optimizer": state,
        "teacher": {"optimizer": state},
        "optim": by_name,
        "flat_optim": {f"state.{key}.exp_avg": value for key, value in weights().items()},
        "fp32_from_fp16": masters,
        "ema_optimizer": {"state": {0: {"ema": torch.ones(2, 3)}}},
        "ema": {"decay": 0.9, "updates": 3},
        "ema_model": None,
        "mask": {key: value.bool() for key, value in weights().items()},
        "teacher_model": {"conv1.weight": torch.ones(3, 3)},
        "class_weights": torch.ones(5),
        "rng_state": torch.get_rng_state(),
        "cycle": cycle,
    }

    for top in ({"model": weights(), **rest}, {"state_dict": {"model": weights(), **rest}, **rest}):
        checkpoint = read(saved(tmp_path / "x.pt", top))
        assert same(checkpoint, weights())
        assert checkpoint.average is None
    alone = {"state_dict_ema": weights(), "rng_state": torch.get_rng_state(), "optimizer": state}
    assert same(read(saved(tmp_path / "x.pt", alone)), weights())
    frozen = deepspeed(weights(), frozen_param_fragments={"visual.proj": weights()["visual.proj"]}, optimizer=state)
    assert same(read(saved(tmp_path / "x.pt", frozen)), weights())


def test_the_choice_of_an_average_reaches_repo_report_and_every_command(tmp_path, capsys):
    source, out = tmp_path / "x.pt", tmp_path / "out"
    raw = torch.load(c.cn_clip.cn_clip_file(source))["state_dict"]
    average = {**raw, "module.logit_scale": torch.tensor(AVERAGED / 2)}
    saved(source, {"state_dict": raw, "state_dict_ema": average})
    config = c.cn_clip.cn_clip_config(tmp_path / "facts.json")

    assert zhclip_cli.main(["convert", str(source), str(out), "--config", str(config), "--ema", "use"]) == 0
    report = json.loads((out / "conversion_report.json").read_text(encoding="utf-8"))
    assert read(out).tensors["logit_scale"] == AVERAGED / 2
    assert (report["sources"][0]["ema"], report["sources"][0]["wrappers"]) == ("use", ["state_dict_ema", "module."])
    assert report["conversion"]["command"].endswith("--ema use")
    verify = ["verify", str(out), "--against", str(source), "--config", str(config)]
    assert [zhclip_cli.main([*verify, *ema]) for ema in (["--ema", "use"], ["--ema", "ignore"], [])] == [0, 1, 0]

    found = inspect(source)
    assert (found.format, found.average) == ("cn_clip", "state_dict_ema")
    assert "choose with --ema use or ignore" in found.text()
    assert inspect(source, ema="use").wrappers == ("state_dict_ema", "module.")
    capsys.readouterr()


def test_a_choice_that_nothing_needs_is_refused(original, tmp_path):
    found = original("cn_clip_vit")

    with pytest.raises(InputError, match="--ema use was given, but there is only one set of weights") as error:
        convert(found.source, tmp_path / "out", ema="use")
    assert inspect(found.source, ema="use").refusal == str(error.value)
    with pytest.raises(InputError, match="no --ema 'yes'; wanted use or ignore"):
        inspect(found.source, ema="yes")


# Lightning


def lightning(tensors, **extra):
    return {
        "epoch": 2,
        "global_step": 400,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": tensors,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"completed": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [],
        "hparams_name": "args",
        "hyper_parameters": {"args": argparse.Namespace(lr=1e-4, model="ViT-B-16"), "batch_size": 32},
        **extra,
    }


def test_a_lightning_checkpoint_is_read_with_its_hyper_parameters(tmp_path):
    checkpoint = read(saved(tmp_path / "x.ckpt", lightning(weights())))

    assert same(checkpoint, weights())
    assert checkpoint.wrappers == ("pytorch-lightning_version",)
    kept = {key: checkpoint.training[key] for key in ("epoch", "global_step", "hyper_parameters")}
    assert kept == {"epoch": 2, "global_step": 400, "hyper_parameters": "…"}


@pytest.mark.parametrize("attribute", ["model.", "net."])
def test_the_attribute_of_a_lightning_module_goes_where_it_holds_everything(attribute, tmp_path):
    checkpoint = read(saved(tmp_path / "x.ckpt", lightning(prefixed(attribute + "_orig_mod.")(weights()))))
    assert same(checkpoint, weights())
    assert checkpoint.wrappers == ("pytorch-lightning_version", attribute, "_orig_mod.")

    beside = {**prefixed(attribute)(weights()), "loss.weight": torch.ones(1)}
    assert same(read(saved(tmp_path / "x.ckpt", lightning(beside))), beside)


def test_a_class_among_the_hyper_parameters_is_refused_by_name(tmp_path):
    class Unknown(SimpleNamespace):
        pass

    Unknown.__qualname__ = "Unknown"
    globals()["Unknown"] = Unknown
    with pytest.raises(InputError, match=r"The pickle names: .*test_wrappers\.Unknown"):
        read(saved(tmp_path / "x.ckpt", lightning(weights(), hyper_parameters={"args": Unknown()})))


# DeepSpeed


def deepspeed(tensors, **extra):
    return {
        "module": tensors,
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [{key: tensor.shape for key, tensor in tensors.items()}],
        "frozen_param_shapes": None,
        "shared_params": {},
        "lr_scheduler": {"last_epoch": 7},
        "sparse_tensor_module_names": set(),
        "skipped_steps": 0,
        "global_steps": 7,
        "dp_world_size": 2,
        "mp_world_size": 1,
        "ds_config": {"train_batch_size": 8, "zero_optimization": {"stage": 2}},
        "ds_version": "0.16.4",
        **extra,
    }


def halves():
    return {key: tensor.bfloat16() for key, tensor in weights().items()}


def deepspeed_folder(folder, name="mp_rank_00_model_states.pt", tag="global_step7", **extra):
    saved(folder / tag / name, deepspeed(halves(), **extra))
    saved(
        folder / tag / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", {"optimizer_state_dict": {}, "ds_config": {}}
    )
    (folder / "zero_to_fp32.py").write_text("raise SystemExit")
    (folder / "latest").write_text(tag)
    return folder


@pytest.mark.parametrize("place", [".", "global_step7", "global_step7/mp_rank_00_model_states.pt"])
def test_deepspeed_s_16_bit_weights_are_read_and_called_so(place, tmp_path):
    checkpoint = read(deepspeed_folder(tmp_path / "ds") / place)

    assert same(checkpoint, halves())
    assert checkpoint.container == "torch.save zip, 16-bit weights of DeepSpeed"
    assert checkpoint.wrappers == ("ds_version",)
    assert "zero_to_fp32.py makes float32 weights" in WRAPPERS["ds_version"]
    assert checkpoint.training["global_steps"] == 7


def test_a_lightning_folder_of_deepspeed_is_read(tmp_path):
    folder = deepspeed_folder(tmp_path / "x.ckpt", tag="checkpoint")
    file = folder / "checkpoint" / "mp_rank_00_model_states.pt"
    saved(file, deepspeed(prefixed("_forward_module.")(weights())))

    checkpoint = read(folder)

    assert same(checkpoint, weights())
    assert checkpoint.wrappers == ("ds_version", "_forward_module.")
    assert checkpoint.container == "torch.save zip"


def test_deepspeed_checkpoints_in_parts_are_refused_with_the_script_that_merges_them(tmp_path):
    zero_3 = deepspeed_folder(tmp_path / "3", "zero_pp_rank_0_mp_rank_00_model_states.pt")
    tensor_parallel = deepspeed_folder(tmp_path / "tp", mp_world_size=2)
    saved(tensor_parallel / "global_step7" / "mp_rank_01_model_states.pt", deepspeed(halves()))
    lost = deepspeed_folder(tmp_path / "lost")
    (lost / "latest").write_text("../3/global_step7")
    empty = {key: torch.empty(0) for key in weights()}
    cases = (
        (zero_3, r"ZeRO-3 checkpoint(.|\n)*zero_to_fp32\.py"),
        (tensor_parallel, r"2 files of model states(.|\n)*zero_to_fp32\.py"),
        (tensor_parallel / "global_step7" / "mp_rank_00_model_states.pt", "one of 2 parts"),
        (lost, r"latest names '\.\./3/global_step7', but .* holds no such folder"),
        (saved(tmp_path / "part.pt", deepspeed(empty)), r"placeholders(.|\n)*zero_to_fp32\.py"),
        (saved(tmp_path / "optim.pt", {"optimizer_state_dict": {}, "ds_version": "0.16"}), "states but no weights"),
    )

    for path, wanted in cases:
        with pytest.raises(InputError, match=wanted):
            read(path)


@pytest.mark.parametrize("place", [".", "global_step7"])
@pytest.mark.parametrize("shards", [("zero_pp_rank_0_mp_rank_00",), ("mp_rank_00", "mp_rank_01")])
def test_of_a_deepspeed_checkpoint_in_parts_the_folder_of_the_script_is_named(place, shards, tmp_path, monkeypatch):
    folder = tmp_path / "ds"
    for shard in shards:
        deepspeed_folder(folder, f"{shard}_model_states.pt")

    for named in (folder / place, Path(".")):
        monkeypatch.chdir(folder / place)
        with pytest.raises(InputError) as error:
            read(named)
        found = re.search(r"zero_to_fp32\.py \. OUT` in (.+?), ", str(error.value))[1]
        assert (Path(found).resolve() / "zero_to_fp32.py").is_file()


def test_of_a_part_alone_the_script_lies_in_the_folder_above(tmp_path):
    file = saved(tmp_path / "optim.pt", {"optimizer_state_dict": {}, "ds_version": "0.16"})
    with pytest.raises(
        InputError, match="in the folder that holds the file `latest`, one level above the step's folder"
    ):
        read(file)


# transformers' Trainer


def trainer_folder(folder, write):
    folder.mkdir(parents=True)
    write(folder)
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertCLIPModel"]}))
    (folder / "trainer_state.json").write_text(json.dumps({"epoch": 1.5, "global_step": 500, "log_history": []}))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        saved(folder / name, {"state": {}})
    (folder / "training_args.bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    return folder


def sharded(folder):
    places = {key: f"model-{number:05}-of-00004.safetensors" for number, key in enumerate(weights(), start=1)}
    for key, name in places.items():
        save_file({key: weights()[key]}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


TRAINER = {
    "safetensors": lambda folder: save_file(weights(), folder / "model.safetensors"),
    "bin": lambda folder: torch.save(weights(), folder / "pytorch_model.bin"),
    "shards": sharded,
    "fsdp_full": lambda folder: torch.save(weights(), folder / "pytorch_model_fsdp.bin"),
    "fsdp_sharded": lambda folder: save_distributed(
        {"model": weights()}, checkpoint_id=folder / "pytorch_model_fsdp_0"
    ),
    "deepspeed": lambda folder: saved(
        deepspeed_folder(folder) / "global_step7" / "mp_rank_00_model_states.pt", deepspeed(weights())
    ),
}


@pytest.mark.filterwarnings("ignore:torch.distributed")
@pytest.mark.parametrize("name", TRAINER)
def test_a_trainer_s_checkpoint_is_read_with_its_config_and_step(name, tmp_path):
    folder = trainer_folder(tmp_path / "checkpoint-500", TRAINER[name])

    checkpoint = read(folder)

    assert same(checkpoint, weights())
    assert checkpoint.wrappers[0] == "trainer_state.json"
    assert (checkpoint.training["global_step"], checkpoint.training["epoch"]) == (500, 1.5)
    assert (checkpoint.config, checkpoint.folder) == ({"architectures": ["BertCLIPModel"]}, folder)


def test_a_trainer_s_folder_with_weights_of_two_runs_is_refused(tmp_path):
    folder = trainer_folder(tmp_path / "checkpoint-500", TRAINER["safetensors"])
    TRAINER["bin"](folder)

    with pytest.raises(InputError, match=r"different steps: model\.safetensors and pytorch_model\.bin"):
        read(folder)
    assert same(read(folder / "pytorch_model.bin"), weights())


def test_a_folder_of_steps_is_refused_with_their_names(tmp_path):
    for step in (500, 1000):
        trainer_folder(tmp_path / f"checkpoint-{step}", TRAINER["bin"])

    with pytest.raises(InputError, match="The folder holds checkpoint-1000, checkpoint-500: name one"):
        read(tmp_path)


# Adapters


def test_the_folder_of_a_lora_trainer_is_refused_with_the_merge(tmp_path):
    folder = trainer_folder(tmp_path / "checkpoint-500", lambda folder: None)
    (folder / "adapter_config.json").write_text("{}")
    save_file({"base_model.model.q.lora_A.weight": torch.ones(1)}, folder / "adapter_model.safetensors")

    with pytest.raises(InputError, match=r"PEFT / LoRA adapter(.|\n)*merge_and_unload\(\)"):
        read(folder)
