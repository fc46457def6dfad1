"""A training's folder of a stranger: `train --resume` ends in words, whatever a checkpoint's files hold."""

import io
import json
import os
import random
import shutil
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_zhclip.errors import InputError
from hf_zhclip.training import resuming

from tests.data.made import tsv
from tests.training.test_training import again, pictures, repo, run  # noqa: F401  the fixture


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def saved(**more):
    """The options of a training with two checkpoints."""
    return {"save_strategy": "steps", "save_steps": 1, "max_steps": 2, **more}


@pytest.fixture(scope="module")
def two(repo, tmp_path_factory):  # noqa: F811
    """A training with two checkpoints, whose weights were lost, and its data."""
    folder = tmp_path_factory.mktemp("two")
    data = pictures(folder / "data")
    run(repo, data, folder / "T", **saved())
    shutil.rmtree(folder / "T" / "trained")
    return folder / "T", data


@pytest.fixture(scope="module")
def adapted(repo, tmp_path_factory):  # noqa: F811
    """The same with an adapter."""
    folder = tmp_path_factory.mktemp("adapted")
    data = pictures(folder / "data")
    run(repo, data, folder / "T", **saved(recipe="lora"))
    for name in ("trained", "adapter"):
        shutil.rmtree(folder / "T" / name)
    return folder / "T", data


def changed(name, change):
    """Loads a file of torch.save, changes its value and saves it again."""

    def tamper(checkpoint):
        value = torch.load(checkpoint / name, weights_only=False)
        torch.save(change(value), checkpoint / name)

    return tamper


def item(*place, value):
    """Sets a value at a place."""

    def change(top):
        holder = top
        for each in place[:-1]:
            holder = holder[each]
        holder[place[-1]] = value
        return top

    return change


def put(name, value):
    return lambda checkpoint: torch.save(value, checkpoint / name)


def noted(**fields):
    def tamper(checkpoint):
        file = checkpoint / "trainer_state.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return tamper


def inflating(checkpoint):
    """A zip whose record takes three hundred times its size."""
    content = io.BytesIO()
    torch.save({"x": torch.zeros(1)}, content)
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(checkpoint / "scheduler.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("archive/unused", bytes(2**24), zipfile.ZIP_DEFLATED)


def before_the_file(checkpoint):
    """A zip whose list of records is said to begin later than it does, so that each record lies before the file."""
    file = checkpoint / "scheduler.pt"
    content = bytearray(file.read_bytes())
    for mark, at, size in ((b"PK\x05\x06", 16, 4), (b"PK\x06\x06", 48, 8)):  # the end of a zip, and of a large zip
        at += content.rindex(mark)
        place = int.from_bytes(content[at : at + size], "little")
        content[at : at + size] = (place + 40).to_bytes(size, "little")
    file.write_bytes(content)


def repeated(top):
    name = next(number for number, each in top["state"].items() if each["exp_avg"].dim() == 2)
    shape = top["state"][name]["exp_avg"].shape
    top["state"][name]["exp_avg"] = torch.zeros(shape[1]).expand(shape)
    return top


def weights(change):
    def tamper(checkpoint):
        file = next(checkpoint.glob("*model.safetensors"))
        save_file(change(load_file(file)), file, {"format": "pt"})

    return tamper


def without_one(tensors):
    return dict(sorted(tensors.items())[1:])


def with_one_more(tensors):
    return {**tensors, "more": torch.zeros(1)}


def with_another_shape(tensors):
    name = next(name for name, each in sorted(tensors.items()) if each.dim() == 2)
    return {**tensors, name: torch.zeros(3)}


GROUP = ("param_groups", 0)
TAMPERED = {
    "optimizer_of_code": (put("optimizer.pt", Attack()), "optimizer.pt is a pickle that needs code"),
    "schedule_of_code": (put("scheduler.pt", Attack()), "scheduler.pt is a pickle that needs code"),
    "random_state_of_code": (put("rng_state.pth", Attack()), "rng_state.pth is a pickle that needs code"),
    "scaler_of_code": (put("scaler.pt", Attack()), "scaler.pt is a pickle that needs code"),
    "other_process_of_code": (put("rng_state_7.pth", Attack()), "rng_state_7.pth is a pickle that needs code"),
    "weights_of_code": (put("pytorch_model.bin", Attack()), "writes its weights as safetensors"),
    "record_that_inflates": (inflating, "scheduler.pt holds a compressed record"),
    "view_that_repeats": (
        changed("optimizer.pt", item("state", 0, "exp_avg", value=torch.zeros(1).double().expand(400_000_000))),
        "views that repeat their numbers",
    ),
    "optimizer_without_groups": (put("optimizer.pt", {"state": {}, "param_groups": 7}), "holds param_groups 7"),
    "optimizer_of_a_list": (put("optimizer.pt", [1]), "a dict was wanted"),
    "groups_of_numbers": (changed("optimizer.pt", item(*GROUP, value=7)), "holds param_groups"),
    "group_of_others": (changed("optimizer.pt", item(*GROUP, "params", value=[0])), "other parameters"),
    "rate_of_text": (changed("optimizer.pt", item(*GROUP, "lr", value="x")), "found 'x'"),
    "betas_of_a_number": (changed("optimizer.pt", item(*GROUP, "betas", value=7)), "found 7"),
    "state_of_another_shape": (
        changed("optimizer.pt", item("state", 0, "exp_avg", value=torch.zeros(2))),
        "'exp_avg' of shape (2,); the parameter has shape",
    ),
    "state_that_lacks_a_part": (changed("optimizer.pt", item("state", 0, value={"step": 1})), "lacks exp_avg"),
    "state_of_no_parameter": (changed("optimizer.pt", item("state", 10**6, value={})), "which is no parameter"),
    "state_that_repeats_numbers": (
        changed("optimizer.pt", repeated),
        "whose numbers share their places",
    ),
    "beta_above_1": (changed("optimizer.pt", item(*GROUP, "betas", value=(3.0, 0.9))), "has the beta 3.0; 0 to 1"),
    "step_below_0": (changed("optimizer.pt", item("state", 0, "step", value=torch.tensor(-1e9))), "has 'step' of"),
    "place_before_the_file": (before_the_file, "is damaged or cut off"),
    "step_of_text": (changed("optimizer.pt", item("state", 0, "step", value="x")), "has 'step' 'x'"),
    "schedule_of_a_list": (put("scheduler.pt", [1]), "a dict was wanted"),
    "schedule_of_texts": (changed("scheduler.pt", item("last_epoch", value="x")), "found 'x' in"),
    "schedule_of_nothing": (put("scheduler.pt", {}), "lacks last_epoch or base_lrs"),
    "schedule_without_a_function": (changed("scheduler.pt", item("step", value=7)), "does not note"),
    "random_state_of_numbers": (put("rng_state.pth", {"python": 1}), "no state of Python's random generator"),
    "random_state_of_other_numbers": (
        changed("rng_state.pth", item("numpy", value=("MT19937", np.zeros(2, np.uint32), 0, 0, 0.0))),
        "a state that does not fit",
    ),
    "random_state_without_torch": (changed("rng_state.pth", item("cpu", value=torch.zeros(2))), "torch's random"),
    "unknown_field": (noted(unknown=1), "found the field 'unknown'"),
    "step_in_words": (noted(global_step="x"), "found global_step 'x'"),
    "step_beyond_its_folder": (noted(global_step=10**18), "the 2 of its folder was wanted"),
    "history_of_a_number": (noted(log_history=7), "found log_history 7"),
    "history_of_numbers": (noted(log_history=[7]), "objects were wanted"),
    "rhythm_of_nothing": (noted(logging_steps=0), "a number above 0 was wanted"),
    "epoch_of_nothing": (noted(epoch=None), "found epoch None"),
    "batch_of_nothing": (noted(train_batch_size=0), "found train_batch_size 0"),
    "callback_of_another_class": (noted(stateful_callbacks={"Tells": {"args": {}}}), "stateful_callbacks"),
    "control_of_text": (
        noted(stateful_callbacks={"TrainerControl": {"args": {"should_save": "x"}}}),
        "switches were wanted",
    ),
    "best_weights_elsewhere": (noted(best_model_checkpoint="/etc"), "found best_model_checkpoint '/etc'"),
    "weights_of_something_else": (weights(lambda tensors: {"a": torch.zeros(3)}), "lacks"),
    "weights_that_lack_one": (weights(without_one), "lacks 1 of the model's"),
    "weights_and_more": (weights(with_one_more), "holds 1 weights that the model does not have, such as 'more'"),
    "weights_of_another_shape": (weights(with_another_shape), "of shape (3,); the model's"),
}
"""By its name, how a checkpoint is tampered with, and what is said of it."""


@pytest.mark.parametrize("name", TAMPERED)
def test_a_checkpoint_that_was_tampered_with_ends_in_words(name, two, repo, tmp_path, monkeypatch):  # noqa: F811
    tamper, told = TAMPERED[name]
    folder = shutil.copytree(two[0], tmp_path / "T")
    monkeypatch.chdir(tmp_path)
    tamper(folder / "checkpoint-2")
    with pytest.raises(InputError) as said:
        run(**again(repo, two[1], folder, max_steps=3))
    assert told in str(said.value)
    way = f"Remove the folder {folder / 'checkpoint-2'}: --resume goes on from {folder / 'checkpoint-1'}."
    assert str(said.value).endswith(way) and "Fetch" not in str(said.value) and ".. " not in str(said.value)
    assert not (tmp_path / "attacked").exists() and not (folder / "trained").exists()


def test_the_checkpoint_before_goes_on_once_a_bad_one_is_removed(two, repo, tmp_path):  # noqa: F811
    folder = shutil.copytree(two[0], tmp_path / "T")
    noted(unknown=1)(folder / "checkpoint-2")
    noted(unknown=1)(folder / "checkpoint-1")
    for last, way in (
        (2, f"goes on from {folder / 'checkpoint-1'}."),
        (1, "is then left out, and the training begin"),
    ):
        with pytest.raises(InputError, match=way):
            run(**again(repo, two[1], folder))
        shutil.rmtree(folder / f"checkpoint-{last}")
    run(**again(repo, two[1], folder) | {"resume": False})


@pytest.mark.parametrize("change", [without_one, with_one_more, with_another_shape])
def test_an_adapter_that_is_not_the_training_s_is_refused(change, adapted, repo, tmp_path):  # noqa: F811
    folder = shutil.copytree(adapted[0], tmp_path / "T")
    weights(change)(folder / "checkpoint-2")
    with pytest.raises(InputError, match="adapter_model.safetensors (lacks 1|holds)"):
        run(**again(repo, adapted[1], folder, recipe="lora"))


def test_weights_beside_an_adapter_would_be_read_instead_of_it_and_are_refused(adapted, repo, tmp_path):  # noqa: F811
    folder = shutil.copytree(adapted[0], tmp_path / "T")
    shutil.copy(repo / "model.safetensors", folder / "checkpoint-2")
    with pytest.raises(InputError, match="the weights of this training lie in adapter_model.safetensors"):
        run(**again(repo, adapted[1], folder, recipe="lora"))


def test_an_adapter_goes_on_from_its_own_checkpoint(adapted, repo, tmp_path):  # noqa: F811
    folder = shutil.copytree(adapted[0], tmp_path / "T")
    assert run(**again(repo, adapted[1], folder, recipe="lora", max_steps=3)).steps == 3


@pytest.mark.thorough
@pytest.mark.parametrize(
    "given",
    [
        {"optim": "sgd", "lr_scheduler_type": "linear"},
        {"optim": "adafactor", "lr_scheduler_type": "constant"},
        {"optim": "rmsprop", "lr_scheduler_type": "cosine_with_restarts"},
        {"optim": "adagrad", "lr_scheduler_type": "polynomial"},
        {"optim": "adamw_torch", "lr_scheduler_type": "inverse_sqrt"},
    ],
)
def test_each_optimizer_and_schedule_goes_on_from_its_own_checkpoint(given, repo, tmp_path):  # noqa: F811
    data = pictures(tmp_path / "data")
    run(repo, data, tmp_path / "T", **saved(**given))
    shutil.rmtree(tmp_path / "T" / "trained")
    assert run(**again(repo, data, tmp_path / "T", max_steps=3, **given)).steps == 3


@pytest.mark.thorough
@pytest.mark.parametrize("schedule", ["cosine", "reduce_lr_on_plateau"])
def test_a_training_with_a_validation_goes_on_and_keeps_its_best_weights(schedule, repo, tmp_path):  # noqa: F811
    data = tsv(tmp_path / "data")
    given = {"split": "valid", "validation": "valid", "lr_scheduler_type": schedule}
    run(repo, data, tmp_path / "T", **saved(eval_strategy="steps", eval_steps=1, **given))
    shutil.rmtree(tmp_path / "T" / "trained")
    found = run(
        **again(repo, data, tmp_path / "T", max_steps=3, eval_strategy="steps", eval_steps=1, save_steps=1, **given)
    )
    assert found.best is not None


def test_weights_in_shards_are_compared_and_lie_in_the_checkpoint_alone(two, repo, tmp_path):  # noqa: F811
    checkpoint = shutil.copytree(two[0] / "checkpoint-2", tmp_path / "checkpoint-2")
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    save_file(tensors, checkpoint / "model-00001-of-00001.safetensors")
    index = checkpoint / "model.safetensors.index.json"
    model = torch.nn.Module()
    model.state_dict = lambda: tensors

    def check(name):
        index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
        resuming._check_weights(checkpoint, model, False)

    check("model-00001-of-00001.safetensors")
    with pytest.raises(InputError, match="safetensors of its own folder were wanted"):
        check("../model-00001-of-00001.safetensors")
    save_file(without_one(tensors), checkpoint / "model-00001-of-00001.safetensors")
    with pytest.raises(InputError, match="differ in"):
        check("model-00001-of-00001.safetensors")


def test_a_checkpoint_of_more_steps_than_the_epochs_have_is_refused(two, repo, tmp_path):  # noqa: F811
    folder = shutil.copytree(two[0], tmp_path / "T")
    (folder / "checkpoint-2").rename(folder / "checkpoint-9")
    noted(global_step=9)(folder / "checkpoint-9")
    with pytest.raises(InputError, match="of 9 steps, but the training has 3 steps. Give --max_steps 9 or more."):
        run(**again(repo, two[1], folder, max_steps=-1, num_train_epochs=1))
    run(**again(repo, two[1], folder, max_steps=9))


def test_python_s_own_random_state_is_of_the_kind_that_is_checked():
    assert resuming._all_words(random.getstate()[1])
