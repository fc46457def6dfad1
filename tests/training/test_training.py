"""`train` and `zhclip train`: what they refuse, and that hours of work are not lost."""

import base64
import json
import os
import pickle
import re
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

import zhclip_cli
from hf_zhclip import ZhCLIPTextModelWithProjection
from hf_zhclip.conversion import convert
from hf_zhclip.data import read
from hf_zhclip.errors import InputError, WorkError
from hf_zhclip.training import ContrastiveTrainer, train, training
from hf_zhclip.training.recipes import read_recipe

from tests.checkpoints import cn_clip
from tests.conversion.helpers import save_time
from tests.data.made import tsv


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repo")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        file, config = cn_clip.cn_clip_file(folder / "a.pt"), cn_clip.cn_clip_config(folder / "facts.json")
        convert(file, folder / "REPO", config=config)
    return folder / "REPO"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        file, config = (
            cn_clip.cn_clip_file(folder / "a.pt", cn_clip.cn_clip_resnet()),
            cn_clip.cn_clip_config(folder / "facts.json"),
        )
        convert(file, folder / "REPO", config=config)
    return folder / "REPO"


def pictures(folder, count=6):
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (number * 40, 90, 200 - number * 30)).save(folder / f"{number:04}颜色{number}.png")
    return folder


@pytest.fixture
def data(tmp_path):
    return pictures(tmp_path / "data")


def run(repo, data, folder, told=None, **given):
    values = {"recipe": "full", "max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True} | given
    return train(str(repo), str(data), folder, tell=(told if told is not None else []).append, **values)


def refused(*places, kind=InputError, **given):
    with pytest.raises(kind) as caught:
        run(*places, **given)
    return str(caught.value)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"max_stepz": 3}, "Did you mean max_steps"),
        ({"learning_rate": "fast"}, "a number was wanted"),
        ({"bf16": "yes"}, "true or false"),
        ({"max_steps": 2.5}, "a whole number"),
        ({"output_dir": "elsewhere"}, "follows from OUT"),
        ({"recipe": "lorra"}, "Did you mean lora"),
        ({"per_device_train_batch_size": 1}, "2 or more"),
        ({"per_device_train_batch_size": 7, "dataloader_drop_last": True}, "no step would be left"),
        ({"context_length": 65}, "3 to 64"),
        ({"validation": "valid"}, "valid"),
        ({"resume": True}, "no checkpoint"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_step(given, told, repo, data, tmp_path):
    assert told in refused(repo, data, tmp_path / "T", **given)
    assert not (tmp_path / "T" / "checkpoint-2").exists()


@pytest.mark.parametrize(
    "text, told",
    [
        ("a: [", "no YAML"),
        ("- 1\n", "a value for each argument"),
        ("a: &a [1]\nb: *a\n", "alias"),
        ("[" * 5000, "no YAML"),
        ("!!python/object/apply:os.system [exit]\n", "no YAML"),
        ("learning_rat: 1\n", "Did you mean learning_rate"),
        ("learning_rate: .nan\n", "a number was wanted"),
        ("lora: {rank: 4}\n", "PEFT"),
    ],
)
@pytest.mark.any_version
def test_a_recipe_that_is_none_is_refused(text, told, repo, data, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    assert told in refused(repo, data, tmp_path / "T", recipe=str(tmp_path / "r.yaml"))


def test_a_rate_without_a_point_is_a_number(tmp_path):
    """YAML reads 3e-6 as a text."""
    (tmp_path / "r.yaml").write_text("learning_rate: 3e-6\n")
    assert read_recipe(str(tmp_path / "r.yaml")) == {"learning_rate": "3e-6"}
    assert training._typed("learning_rate", "3e-6") == 3e-6


@pytest.mark.parametrize(
    "given, crops_only", [({"crop": True}, True), ({"augment": True}, False), ({"augment": True, "crop": True}, False)]
)
def test_pictures_are_cropped_or_augmented_as_the_arguments_say(given, crops_only, repo, data, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(training, "of_processor", lambda processor, crops_only: found.append(crops_only) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(repo, data, tmp_path / "T", **given)
    assert found == [crops_only]


def test_a_second_training_is_not_mixed_with_the_first_and_another_model_does_not_go_on(repo, data, tmp_path):
    run(repo, data, tmp_path / "T", save_strategy="steps", save_steps=1)
    assert "--resume" in refused(repo, data, tmp_path / "T")
    (tmp_path / "T" / "checkpoint-9").mkdir()  # cut off by a full disk
    run(repo, data, tmp_path / "T", resume=True, max_steps=3)

    other = shutil.copytree(repo, tmp_path / "OTHER")
    model = AutoModel.from_pretrained(other)
    model.logit_scale.data.add_(0.1)
    model.save_pretrained(other)
    assert "another model" in refused(other, data, tmp_path / "T", resume=True)


def test_a_folder_of_something_else_is_refused(repo, data, tmp_path):
    (tmp_path / "T").mkdir()
    (tmp_path / "T" / "letter.txt").write_text("x")
    assert "no folder of a training" in refused(repo, data, tmp_path / "T")


def test_a_place_in_the_data_is_refused(repo, data, tmp_path):
    assert "would become a part of the data" in refused(repo, data, data / "T")


@pytest.mark.parametrize("inner", ["OUT", "deep/OUT"])
def test_a_place_in_the_repo_or_in_any_data_is_refused(inner, repo, tmp_path):
    split = tsv(tmp_path / "tsv")
    before = {place: sorted(place.rglob("*")) for place in (repo, split)}
    for place in before:
        said = refused(repo, split, place / inner)
        assert said == f"{place / inner} lies in {place}, which a training only reads. Choose a place outside."
    assert before == {place: sorted(place.rglob("*")) for place in (repo, split)}


def test_a_place_under_a_file_is_refused(repo, data, tmp_path):
    (tmp_path / "fil").write_text("x")
    assert "fil is no folder" in refused(repo, data, tmp_path / "fil" / "T")


def test_a_picture_that_breaks_while_a_training_runs_is_told_once_and_another_takes_its_place(repo, data, tmp_path):
    told = []
    rows = training.Pairs(read(str(data)), told.append)
    (data / "0002颜色2.png").write_bytes(b"broken")

    assert [rows[2]["text"] for _ in range(3)] == ["颜色3"] * 3
    assert len(told) == 1 and "0002" in told[0]


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(file.read_bytes()[:-30]), lambda file: file.unlink()]
)
def test_data_that_change_while_a_training_runs_lose_pictures_and_not_the_training(damage, tmp_path):
    told = []
    file = tsv(tmp_path / "data") / "valid_imgs.tsv"
    rows = training.Pairs(read(str(tmp_path / "data")), told.append)
    assert rows[0]["image"].size
    damage(file)
    with suppress(InputError):  # where no picture is left
        assert [rows[number]["image"].size for number in range(len(rows))]
    assert told and all("valid_imgs.tsv, line" in line and "cannot be read any more" in line for line in told)


def test_pairs_go_into_other_processes(data):
    """Where processes do not fork, a DataLoader's workers get them by pickle."""
    assert pickle.loads(pickle.dumps(training.Pairs(read(str(data)))))[0]["text"] == "颜色0"


@pytest.mark.parametrize(
    "error, kind, told",
    [
        (
            RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes."),
            InputError,
            "--cache_chunk",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), InputError, "--cache_chunk"),
        (torch.OutOfMemoryError("CUDA out of memory"), InputError, "--cache_chunk"),
        (OSError(28, "No space left on device"), WorkError, "No space left on device"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"), WorkError, "Free some space"),
        (
            RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed."),
            WorkError,
            "reads the data was killed",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 9 vs 8"),
            WorkError,
            "Free some space",
        ),
        (
            OSError(5, "Input/output error", "x.tsv"),
            WorkError,
            "The training ended: [Errno 5] Input/output error: 'x.tsv'.",
        ),
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
@pytest.mark.any_version
def test_what_ends_a_training_is_said_and_its_checkpoints_stay(error, kind, told, repo, data, tmp_path, monkeypatch):
    step = ContrastiveTrainer.training_step

    def failing(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise error
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ContrastiveTrainer, "training_step", failing)
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}
    message = refused(repo, data, tmp_path / "T", kind=kind, **options)
    assert told in message and (kind is RuntimeError or "--resume" in message)
    monkeypatch.undo()
    run(repo, data, tmp_path / "T", resume=True, **options)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "given, most",
    [
        ({"save_total_limit": 1}, 2),
        ({}, 3),
        ({"save_strategy": "no"}, 0),
        ({"save_total_limit": 1, "freeze": "vision"}, 2),
        ({"save_total_limit": 1, "save_only_model": True}, 2),
        ({"save_total_limit": 1, "optim": "sgd"}, 2),
        ({"save_total_limit": 1, "recipe": "lora"}, 2),
    ],
)
@pytest.mark.any_version
def test_a_disk_without_room_for_checkpoints_and_result_is_refused_before_the_first_step(
    given, most, repo, data, tmp_path, monkeypatch
):
    """By the files that a training wrote; `most` checkpoints lie there at a time: a new one before an old one goes."""
    given = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3} | given
    found = run(repo, data, tmp_path / "T", **given)

    def size(folder):
        tensors = [each for name in ("*.safetensors", "optimizer.pt") for each in folder.glob(name)]
        return sum(each.stat().st_size for each in tensors)

    checkpoint = max(map(size, (tmp_path / "T").glob("checkpoint-*")), default=0)
    needed = most * checkpoint + size(found.folder) + (size(found.adapter) if found.adapter else 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free))
    free = int(needed * 0.95)
    assert f"has {free:,} bytes free" in refused(repo, data, tmp_path / "U" / "T", kind=WorkError, **given)
    assert not (tmp_path / "U").exists()
    free = int(needed * 1.05)
    with pytest.raises(WorkError):
        run(repo, data, tmp_path / "T2", repository=True, **given)
    run(repo, data, tmp_path / "T2", **given)


def test_a_disk_with_room_for_fewer_checkpoints_takes_them_as_the_message_says(repo, data, tmp_path, monkeypatch):
    weights = sum(each.stat().st_size for each in repo.glob("*.safetensors"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=9 * weights))
    given = {"save_strategy": "steps", "save_steps": 1, "max_steps": 6}
    said = refused(repo, data, tmp_path / "T", kind=WorkError, **given)
    way = re.search("--save_total_limit 1", said)[0]
    run(repo, data, tmp_path / "T", **given, **training.parse_arguments(way.split()))

    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=weights))
    assert "--save_total_limit" not in refused(repo, data, tmp_path / "U", kind=WorkError, **given)


KEEPS_ONE = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "max_steps": 3}


@pytest.fixture(scope="module")
def weights_without_an_error(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return (run(repo, pictures(folder / "data"), folder / "T", **KEEPS_ONE).folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
@pytest.mark.any_version
def test_a_disk_that_fills_while_a_checkpoint_is_written_costs_no_earlier_one(
    file, repo, data, tmp_path, monkeypatch, weights_without_an_error
):
    """A part of the file is written. The training then ends with the weights of a training without the error."""
    with monkeypatch.context() as patch:
        fill_the_disk(patch, f"checkpoint-2/{file}")
        said = refused(repo, data, tmp_path / "T", kind=WorkError, **KEEPS_ONE)
    assert "No space left" in said and "--resume goes on" in said
    assert (tmp_path / "T" / "checkpoint-1" / "trainer_state.json").is_file()

    found = run(repo, data, tmp_path / "T", resume=True, **KEEPS_ONE)
    assert (found.folder / "model.safetensors").read_bytes() == weights_without_an_error
    assert [each.name for each in (tmp_path / "T").glob("checkpoint-*")] == ["checkpoint-3"]


def test_a_disk_that_fills_while_the_result_is_written_leaves_no_half_of_it(repo, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_the_disk(patch, "trained-part/model.safetensors")
        refused(repo, data, tmp_path / "T", kind=WorkError)
    assert not (tmp_path / "T" / "trained").exists()
    assert (run(repo, data, tmp_path / "T", resume=True).folder / "model.safetensors").is_file()


def fill_the_disk(patch, name):
    """Writing the file `name` fails at its middle."""
    import safetensors.torch
    import transformers.modeling_utils
    from transformers import TrainerState

    def failing(write):
        def written(*args, **kwargs):
            place = next(each for each in args if isinstance(each, str | os.PathLike))
            if not Path(place).as_posix().endswith(name):
                return write(*args, **kwargs)
            Path(place).write_bytes(b"{" + bytes(99))
            raise OSError(28, "No space left on device")

        return written

    for module, function in (
        (torch, "save"),
        (safetensors.torch, "save_file"),
        (transformers.modeling_utils, "safe_save_file"),
        (TrainerState, "save_to_json"),
    ):
        if hasattr(module, function):
            patch.setattr(module, function, failing(getattr(module, function)))


def test_an_adapter_is_kept_and_its_merged_copy_computes_the_same(repo, data, tmp_path):
    from peft import PeftModel

    found = run(repo, data, tmp_path / "T", recipe="lora", learning_rate=0.01, warmup_steps=0)
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(repo), found.adapter).eval()
    merged, before = (AutoModel.from_pretrained(place).eval() for place in (found.folder, repo))
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = adapted.get_base_model().encode_image(pixels)
        assert (merged.encode_image(pixels) - wanted).abs().max() < 1e-5
        assert (before.encode_image(pixels) - wanted).abs().max() > 1e-4


def test_a_mistyped_argument_ends_the_command_with_2_and_the_name_that_is_near(repo, data, tmp_path, capsys):
    words = ["train", str(repo), str(data), str(tmp_path / "OUT"), "--recipe", "full", "--max_stepz", "3"]
    assert zhclip_cli.main(words) == 2
    assert "Did you mean --max_steps?" in capsys.readouterr().err


def test_the_command_finishes_a_repository(repo, data, tmp_path, capsys, monkeypatch):
    save_time(monkeypatch)
    words = ["train", str(repo), str(data), str(tmp_path / "OUT"), "--recipe", "lit", "--json"]
    words += ["--max_steps", "1", "--per_device_train_batch_size", "3", "--use_cpu", "--learning_rate", "0.01"]
    assert zhclip_cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        **{
            "out": str(tmp_path / "OUT"),
            "adapter": None,
            "architecture": "ViT 64x2/16@BERT 32x2",
            "level": "reference",
        },
        **{"steps": 1, "mean_recall": None, "best_step": None},
    }
    towers = json.loads((tmp_path / "OUT" / "conversion_report.json").read_text())["lineage"]["towers"]
    assert towers["image"]["changed"] == 0 and towers["text"]["changed"]
    assert zhclip_cli.main(words) == 2


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda repo: (repo / "conversion_report.json").unlink(), "has no conversion_report.json"),
        (lambda repo: (repo / "config.json").write_text("{}"), "it holds another model"),
        (lambda repo: (repo / "tokenizer.json").write_text("{}"), "changed or missing: tokenizer.json"),
    ],
)
def test_a_repo_that_cannot_be_the_base_of_the_result_is_refused_before_the_training(
    damage, told, repo, data, tmp_path, capsys
):
    damage(shutil.copytree(repo, tmp_path / "REPO"))
    words = ["train", str(tmp_path / "REPO"), str(data), str(tmp_path / "OUT"), "--recipe", "full", "--use_cpu"]
    assert zhclip_cli.main(words) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("OUT*"))


def test_a_repo_of_a_single_tower_is_refused(repo, data, tmp_path):
    ZhCLIPTextModelWithProjection.from_pretrained(repo).save_pretrained(tmp_path / "TOWER")
    assert "both towers" in refused(tmp_path / "TOWER", data, tmp_path / "T")


def test_a_data_set_that_is_smaller_than_a_batch_is_one_batch(repo, tmp_path):
    told = []
    found = run(repo, pictures(tmp_path / "three", 3), tmp_path / "T", told, per_device_train_batch_size=64)
    assert found.steps == 2 and "Step 2 of 2" in told[-1]


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", ["full", "lora"])
def test_compiled_code_is_validated_without_patch_dropping_and_its_weights_have_the_model_s_names(
    recipe, repo, data, tmp_path
):
    from hf_zhclip.evaluation import evaluate

    prepare_splits(data, tmp_path / "tsv")
    options = {"split": "train", "validation": "valid", "recipe": recipe, "learning_rate": 0.01, "warmup_steps": 0}
    options |= {"torch_compile": True, "torch_compile_backend": "eager", "patch_dropping": 0.5}
    found = run(repo, tmp_path / "tsv", tmp_path / "T", **options)

    names = [set(load_file(place / "model.safetensors")) for place in (repo, found.folder)]
    assert names[0] == names[1]
    result = evaluate(str(found.folder), str(tmp_path / "tsv"), split="valid")
    assert found.best[0] == pytest.approx(sum(each.mean_recall for each in result.of.values()) / 2, abs=1e-3)


def test_the_best_weights_are_kept_and_their_recall_is_that_of_an_evaluation(repo, data, tmp_path, monkeypatch):
    from hf_zhclip.evaluation import evaluate

    prepare_splits(data, tmp_path / "tsv")
    told = []
    options = {"split": "train", "validation": "valid", "max_steps": -1, "num_train_epochs": 3, "warmup_steps": 0}
    found = run(repo, tmp_path / "tsv", tmp_path / "T", told, learning_rate=0.01, **options)

    figures = [
        float(line.partition("eval_mean_recall ")[2].split(",")[0]) for line in told if "eval_mean_recall" in line
    ]
    result = evaluate(str(found.folder), str(tmp_path / "tsv"), split="valid")
    assert len(figures) == 3
    mean = sum(each.mean_recall for each in result.of.values()) / len(result.of)
    assert mean == pytest.approx(max(figures), abs=1e-3)


def test_a_picture_of_the_validation_that_breaks_while_a_training_runs_is_told_once_and_left_out(
    repo, data, tmp_path, monkeypatch
):
    """The broken picture is the only one of its text: five pictures and five texts are counted."""
    prepare_splits(data, tmp_path / "tsv")
    told = []
    own = ContrastiveTrainer.evaluate

    def breaking(self, *args, **kwargs):
        if self.state.global_step == 6:
            content = self.eval_dataset.pictures.store.content
            monkeypatch.setattr(
                type(self.eval_dataset.pictures.store), "content", lambda self, row: b"x" if row == 2 else content(row)
            )
        return own(self, *args, **kwargs)

    monkeypatch.setattr(ContrastiveTrainer, "evaluate", breaking)
    options = {"split": "train", "validation": "valid", "max_steps": 9, "warmup_steps": 0}
    found = run(repo, tmp_path / "tsv", tmp_path / "T", told, **options)

    assert [re.search(r"eval_pictures (\d)", line)[1] for line in told if "eval_" in line] == ["6", "5", "5"]
    assert sum("does not count it" in line for line in told) == 1
    assert found.folder.is_dir() and found.best[1] in (3, 6, 9)


def test_a_validation_of_which_no_picture_can_be_read_leaves_the_checkpoints(repo, data, tmp_path, monkeypatch):
    prepare_splits(data, tmp_path / "tsv")
    own = ContrastiveTrainer.evaluate

    def breaking(self, *args, **kwargs):
        if self.state.global_step == 2:
            monkeypatch.setattr(type(self.eval_dataset.pictures.store), "content", lambda self, row: b"x")
        return own(self, *args, **kwargs)

    options = {"split": "train", "validation": "valid", "eval_strategy": "steps", "eval_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "evaluate", breaking)
        said = refused(repo, tmp_path / "tsv", tmp_path / "T", **options)
    assert "no picture of the split valid can be read" in said and "--resume goes on from the last one" in said
    monkeypatch.undo()
    run(repo, tmp_path / "tsv", tmp_path / "T", resume=True, **options)


def test_weights_are_saved_where_they_are_evaluated(repo, data, tmp_path):
    prepare_splits(data, tmp_path / "tsv")
    told = []
    options = {"split": "train", "validation": "valid", "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1}
    run(repo, tmp_path / "tsv", tmp_path / "T", told, **options)
    assert sum("eval_mean_recall" in line for line in told) == 2


def test_a_blind_validation_split_is_refused(repo, data, tmp_path):
    prepare_splits(data, tmp_path / "tsv", blind=True)
    assert "blind" in refused(repo, tmp_path / "tsv", tmp_path / "T", split="train", validation="valid")


def prepare_splits(data, folder, blind=False):
    from tests.data.made import picture, tsv

    for split in ("train", "valid"):
        lines, texts = [], []
        for number in range(6):
            content = base64.b64encode(picture((number * 40, 90, 200 - number * 30))).decode()
            lines.append(f"{number}\t{content}")
            images = [] if blind and split == "valid" else [number]
            texts.append({"text_id": number, "text": f"颜色{number}", "image_ids": images})
        tsv(folder, split, lines, texts)


# Ways out that messages name


WALKS = {
    "an_argument_of_trainer_s_own_is_left_out_for_resume": (
        {"resume_from_checkpoint": "T"},
        "found resume_from_checkpoint, for which --resume stands. Leave it out.",
        {},
    ),
    "an_argument_that_pushes_is_left_out": (
        {"push_to_hub": True},
        "found push_to_hub, for which `zhclip push` stands. Leave it out.",
        {},
    ),
    "a_share_that_keeps_no_patch_becomes_smaller": (
        {"patch_dropping": 0.99},
        "Take a smaller share.",
        {"patch_dropping": 0.5},
    ),
    "an_alias_is_written_out": ({"recipe": "ALIAS.yaml"}, "Write the value out.", {"recipe": "WHOLE.yaml"}),
    "a_split_that_is_not_blind_is_named": (
        {"data": "BLIND", "split": "train", "validation": "valid"},
        "Name another split with --validation.",
        {"data": "BLIND", "split": "train", "validation": "train"},
    ),
    "a_split_to_validate_on_is_named": (
        {"data": "TWO", "split": "train", "eval_strategy": "epoch"},
        "found eval_strategy epoch without a split to validate on. Name it with --validation.",
        {"data": "TWO", "split": "train", "eval_strategy": "epoch", "validation": "valid"},
    ),
    "bfloat16_without_a_device_that_computes_in_it_is_left_out": (
        {"bf16": True, "use_cpu": False},
        "found bf16, and no device that computes in bfloat16. Leave bf16 out; or give --use_cpu, too, to train on the",
        {},
    ),
    "bfloat16_on_the_processor_is_asked_for": (
        {"bf16": True, "use_cpu": False},
        "give --use_cpu, too, to train on the processor.",
        {"bf16": True, "use_cpu": True},
    ),
    "resume_is_left_out_where_nothing_began": (
        {"resume": True},
        "holds no checkpoint to go on from. Leave out --resume.",
        {},
    ),
}
"""Arguments that are refused, a part of the message, and the arguments that the message names."""


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.any_version
def test_the_way_out_that_a_message_names_is_walked(name, repo, data, tmp_path, monkeypatch):
    refused_with, says, way = WALKS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_zhclip.training.arguments.is_torch_bf16_gpu_available", lambda: False)
    (tmp_path / "ALIAS.yaml").write_text("adam_beta1: &a 0.9\nadam_beta2: *a\n")
    (tmp_path / "WHOLE.yaml").write_text("adam_beta1: 0.9\nadam_beta2: 0.9\n")
    prepare_splits(data, tmp_path / "BLIND", blind=True)
    prepare_splits(data, tmp_path / "TWO", blind=False)
    paths = {name: str(tmp_path / name) for name in ("ALIAS.yaml", "WHOLE.yaml", "BLIND", "TWO")}

    def given(values):
        values = {name: paths.get(value, value) for name, value in values.items()}
        return values.pop("data", data), tmp_path / "T", values

    place, folder, values = given(refused_with)
    assert says in refused(repo, place, folder, **values)

    place, folder, values = given(way)
    assert run(repo, place, folder, **values).folder.is_dir()


def test_another_context_length_is_that_of_the_training_alone_as_the_message_says(repo, data, tmp_path, monkeypatch):
    told: list[str] = []
    run(repo, data, tmp_path / "T", told, context_length=40)
    (said,) = (line for line in told if "context_length" in line)
    assert f"{repo} cuts texts at 52 tokens, and so will the trained repo; context_length 40 holds for" in said
    assert AutoProcessor.from_pretrained(tmp_path / "T" / "trained").tokenizer.model_max_length == 52

    save_time(monkeypatch)
    words = re.search("(--context-length 40)", said)[1].split()
    file, config = cn_clip.cn_clip_file(tmp_path / "a.pt"), cn_clip.cn_clip_config(tmp_path / "facts.json")
    assert zhclip_cli.main(["convert", str(file), str(tmp_path / "REPO"), "--config", str(config), *words]) == 0
    for given in ({}, {"context_length": 40}):
        told.clear()
        run(tmp_path / "REPO", data, tmp_path / f"U{len(given)}", told, **given)
        assert not any("context_length" in line for line in told)
    assert AutoProcessor.from_pretrained(tmp_path / "U0" / "trained").tokenizer.model_max_length == 40


def test_a_last_batch_of_one_pair_is_left_out_as_the_message_says(repo, tmp_path):
    told: list[str] = []
    data = pictures(tmp_path / "five", 5)
    run(repo, data, tmp_path / "T", told)
    assert any("--dataloader_drop_last leaves it out" in line for line in told)

    told.clear()
    run(repo, data, tmp_path / "U", told, dataloader_drop_last=True)
    assert not any("dataloader_drop_last" in line for line in told)


def test_a_training_that_began_goes_on_and_weights_that_were_trained_are_finished(repo, data, tmp_path, monkeypatch):
    save_time(monkeypatch)
    options = {"save_strategy": "steps", "save_steps": 1}
    place = tmp_path / "T x"
    run(repo, data, place, **options)
    assert "--resume goes on from the last of them" in refused(repo, data, place, **options)
    run(repo, data, place, resume=True, **options | {"max_steps": 3})

    for each in place.glob("checkpoint-*"):
        shutil.rmtree(each)
    said = re.search("`zhclip ([^`]+)` finishes them", refused(repo, data, place, **options))[1]
    words = [{"OUT": str(tmp_path / "OUT"), "REPO": str(repo)}.get(word, word) for word in shlex.split(said)]
    assert zhclip_cli.main(words) == 0


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"per_device_train_batch_size": 6}, ["--cache_chunk 1", "--gradient_checkpointing"]),
        ({"per_device_train_batch_size": 6, "cache_chunk": 1}, ["--gradient_checkpointing"]),
        ({"per_device_train_batch_size": 6, "gradient_checkpointing": True}, ["--cache_chunk 1"]),
    ],
)
@pytest.mark.any_version
def test_what_does_not_fit_into_the_memory_is_made_smaller_as_the_message_says(
    given, names, repo, data, tmp_path, monkeypatch
):
    def fails(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", fails)
        said = refused(repo, data, tmp_path / "T", **given)
    assert re.findall(r"--(?!resume)\w+(?: \d+)?", said) == names

    for each in names:
        run(repo, data, tmp_path / each, **given | training.parse_arguments(each.split()))


@pytest.mark.any_version
def test_a_resnet_that_does_not_fit_into_the_memory_is_told_no_option_that_is_refused(
    resnet, data, tmp_path, monkeypatch
):
    def fails(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    given = {"per_device_train_batch_size": 6}
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", fails)
        said = refused(resnet, data, tmp_path / "T", **given)
    way = re.search(r"Give (--cache_chunk 1 --as_cn_clip):", said)[1]
    run(resnet, data, tmp_path / "U", **given | training.parse_arguments(way.split()))


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_checkpointing_has_both_of_its_names(name, tmp_path, recwarn):
    """transformers before 5.24 knows the former; later releases warn of the former."""
    by_words = training.parse_arguments([f"--{name}", f"--{name}_kwargs", '{"use_reentrant": false}'])
    for given in (by_words, {name: True, f"{name}_kwargs": {"use_reentrant": False}}):
        found = training._arguments(tmp_path, {**given, "use_cpu": True}, False)
        assert found.gradient_checkpointing and found.gradient_checkpointing_kwargs["use_reentrant"] is False
    assert (
        training._arguments(tmp_path, training.parse_arguments([f"--{name}=false"]), False).gradient_checkpointing
        is False
    )
    assert not [each for each in recwarn if "deprecated" in str(each.message)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"torch_compile_backend": "nope"}, "the arguments of the training are wrong: 'NOPE' is not a valid"),
        ({"optim": "adamw_8bit"}, "the arguments of the training need a package: .*bitsandbytes"),
        ({"report_to": "wandb"}, "the arguments of the training need a package: .*wandb"),
    ],
)
def test_an_argument_that_transformers_refuses_late_is_told_as_such(given, says, repo, data, tmp_path, monkeypatch):
    for name in ("bitsandbytes", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: False)
    assert re.search(says, refused(repo, data, tmp_path / "T", **given))


def test_a_training_shows_its_loss_after_the_first_step_and_every_fifty(repo, data, tmp_path):
    told = []
    run(repo, data, tmp_path / "T", told, max_steps=51)
    steps = [re.match(r"Step (\d+) of 51: loss", line) for line in told]
    assert [int(each[1]) for each in steps if each] == [1, 50]


@pytest.mark.parametrize("words", ["--max_steps many", "--freeze nothing", "--max_steps"])
def test_a_wrong_word_of_an_argument_is_told_in_a_line(words):
    with pytest.raises(InputError, match=rf"argument {words.split()[0]}\b.*: .+") as caught:
        training.parse_arguments(words.split())
    assert "\n" not in str(caught.value)


def test_memory_is_pinned_for_an_accelerator_alone(repo, data, tmp_path, recwarn):
    run(repo, data, tmp_path / "T", use_cpu=False)
    assert not [each for each in recwarn if "pin_memory" in str(each.message)]


@pytest.mark.parametrize(
    "given",
    [
        *({name: -1} for name in ("learning_rate", "seed", "dataloader_num_workers", "weight_decay", "adam_beta1")),
        *({name: 0} for name in ("max_steps", "num_train_epochs", "gradient_accumulation_steps")),
        {"adam_beta2": 1.0},
        {"max_steps": -2},
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_name(given, repo, data, tmp_path):
    assert re.search(rf"found {next(iter(given))} -?\d", refused(repo, data, tmp_path / "T", **given))
    assert not (tmp_path / "T").exists()


@pytest.mark.parametrize(
    "text, told",
    [
        ("freeze: null", "found freeze without a value"),
        ("patch_dropping:", "found patch_dropping without a value"),
        ("report_to: 5", "found report_to 5; a text was wanted"),
        ("lora: 3", "holds the lora 3; the fields"),
    ],
)
def test_a_value_of_a_recipe_of_another_kind_is_refused(text, told, repo, data, tmp_path):
    (tmp_path / "r.yaml").write_text(f"learning_rate: 1e-3\n{text}\n")
    assert told in refused(repo, data, tmp_path / "T", recipe=str(tmp_path / "r.yaml"))


def test_a_validation_that_never_runs_is_a_contradiction(repo, data, tmp_path):
    told = refused(repo, data, tmp_path / "T", validation="valid", eval_strategy="no")
    assert told == "found a split for the validation and eval_strategy no. Leave one of them out."


@pytest.mark.parametrize("rate", [1e9, 1e30])
@pytest.mark.any_version
def test_a_training_that_diverges_ends_in_words_and_leaves_no_weights(rate, repo, data, tmp_path):
    told = refused(repo, data, tmp_path / "T", learning_rate=rate, warmup_steps=0, max_steps=4, optim="sgd")
    assert told.startswith("The training diverged: ") and "Lower --learning_rate, and choose another OUT." in told
    assert not (tmp_path / "T" / "trained").exists()
    run(repo, data, tmp_path / "U", learning_rate=1e-3)


@pytest.fixture(scope="module")
def checkpoints(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    run(repo, pictures(folder / "data"), folder / "T", save_strategy="steps", save_steps=1, max_steps=2)
    shutil.rmtree(folder / "T" / "trained")
    return folder / "T"


@pytest.fixture
def begun(checkpoints, tmp_path):
    """A training with two checkpoints, whose weights were lost."""
    return shutil.copytree(checkpoints, tmp_path / "T")


def again(repo, data, folder, **given):
    return {"repo": repo, "data": data, "folder": folder, "resume": True, "save_strategy": "steps", **given}


def test_a_training_goes_on_from_the_same_repo_at_another_place(begun, repo, data, tmp_path):
    shutil.copytree(repo, tmp_path / "MOVED")
    run(**again(tmp_path / "MOVED", data, begun, max_steps=3))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(name, begun, repo, data):
    file = begun / "checkpoint-2" / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError) as said:
        run(**again(repo, data, begun))
    assert f"{file} is damaged or cut off" in str(said.value)
    assert f"Remove the folder {file.parent}: --resume goes on from {begun / 'checkpoint-1'}." in str(said.value)
    shutil.rmtree(file.parent)
    run(**again(repo, data, begun))


@pytest.fixture
def checkpoint(tmp_path):
    """The last checkpoint of a training, as far as it is looked at before it is read; without its optimizer."""
    last = tmp_path / "T" / "checkpoint-2"
    last.mkdir(parents=True)
    save_file({"w": torch.ones(1)}, last / "model.safetensors")
    for name in ("rng_state.pth", "scheduler.pt"):
        torch.save(0, last / name)
    (last / "trainer_state.json").write_text("{}")
    return last


def check_whole(checkpoint):
    arguments = training.ContrastiveArguments(output_dir=str(checkpoint.parent), use_cpu=True)
    training._check_whole([checkpoint], arguments)


@pytest.mark.parametrize(("make", "told"), [(os.mkfifo, "is a pipe"), (os.mkdir, "is a folder")])
def test_a_part_of_a_checkpoint_that_is_no_file_is_refused_and_not_waited_for(make, told, checkpoint):
    make(checkpoint / "optimizer.pt")
    with pytest.raises(InputError, match=f"optimizer.pt {told}; a part of a checkpoint was wanted"):
        check_whole(checkpoint)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"PK\x01\x02", b"PK\x01\x03"),  # another record
        (b"optimizer/version", b"\xb7" * 17),  # a name that is no UTF-8, in a record that says it is
        (b"PK\x01\x02\x00\x00\x00\x00", b"PK\x01\x02\x00\x00\xff\x00"),  # a version that does not exist yet
    ],
)
def test_a_part_of_a_checkpoint_whose_zip_is_damaged_is_told_as_such(old, new, checkpoint):
    torch.save({"w": torch.ones(3)}, checkpoint / "optimizer.pt")
    content = (checkpoint / "optimizer.pt").read_bytes()
    assert old in content
    (checkpoint / "optimizer.pt").write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="optimizer.pt is damaged or cut off"):
        check_whole(checkpoint)


def test_checkpoints_of_another_kind_of_training_are_refused_and_its_own_arguments_go_on(begun, repo, data):
    with pytest.raises(
        InputError, match="training with freeze 'none'; found freeze 'vision'. Give the recipe and the arg"
    ):
        run(**again(repo, data, begun, freeze="vision"))
    with pytest.raises(InputError, match="found max_steps 1, but .* has 2 steps already. Give --max_steps 2 or more."):
        run(**again(repo, data, begun, max_steps=1))
    run(**again(repo, data, begun, max_steps=2))


def test_who_interrupts_the_finishing_is_told_how_the_trained_weights_are_finished(
    repo, data, tmp_path, capsys, monkeypatch
):
    trained = training.Trained(tmp_path / "OUT-training" / "trained", None, 2, None)
    monkeypatch.setattr("hf_zhclip.training.train", lambda **given: trained)
    monkeypatch.setattr("hf_zhclip.conversion.convert", interrupted)
    assert zhclip_cli.main(["train", str(repo), str(data), str(tmp_path / "OUT"), "--recipe", "full"]) == 1
    command = shlex.join(["zhclip", "convert", str(trained.folder), str(tmp_path / "OUT"), "--base", str(repo)])
    assert f"The trained weights stay in {trained.folder}. `{command}` finishes them." in capsys.readouterr().err


def interrupted(*given, **options):
    raise KeyboardInterrupt


def test_an_out_without_a_name_is_refused(repo, data, capsys):
    for out in (".", "", ".."):
        assert zhclip_cli.main(["train", str(repo), str(data), out, "--recipe", "full"]) == 2
        assert "was found as OUT; the name of a new folder was wanted." in capsys.readouterr().err


def test_who_interrupts_a_training_is_told_that_its_checkpoints_stay(begun, repo, data, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ContrastiveTrainer, "compute_loss", interrupted)
    told = []
    with pytest.raises(KeyboardInterrupt):
        run(**again(repo, data, begun, max_steps=3, told=told))
    assert f"The checkpoints in {begun} stay; --resume goes on from the last one." in told


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.any_version
def test_a_checkpoint_that_lacks_a_file_is_refused(name, begun, repo, data):
    (begun / "checkpoint-2" / name).unlink()
    with pytest.raises(InputError, match="checkpoint-2 lacks its .* Remove the folder"):
        run(**again(repo, data, begun))
    shutil.rmtree(begun / "checkpoint-2")
    run(**again(repo, data, begun))


def test_a_training_that_is_complete_is_resumed_without_a_further_step(repo, data, tmp_path):
    given = {"max_steps": 2, "save_steps": 1, "save_strategy": "steps"}
    first = run(repo, data, tmp_path / "T", **given)
    weights = load_file(first.folder / "model.safetensors")
    shutil.rmtree(first.folder)
    note = tmp_path / "T" / "zhclip_training.json"
    written = note.stat().st_mtime_ns

    again = run(repo, data, tmp_path / "T", resume=True, **given)

    assert again.steps == 2
    assert note.stat().st_mtime_ns == written  # other processes read it meanwhile
    resumed = load_file(again.folder / "model.safetensors")
    assert all(torch.equal(resumed[name], each) for name, each in weights.items())


def test_a_training_without_its_note_is_told_so_and_trains_from_the_start_once_it_is_removed(begun, repo, data):
    (begun / "zhclip_training.json").unlink()
    with pytest.raises(InputError, match="lacks its zhclip_training.json, .* remove the folder, to train from the st"):
        run(**again(repo, data, begun))
    shutil.rmtree(begun)
    run(**{**again(repo, data, begun), "resume": False})
