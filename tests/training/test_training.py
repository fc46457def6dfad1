"""`train` and `zhclip train`: what they refuse, and that hours of work are not lost."""

import base64
import json
import re
import shlex
import shutil

import pytest
import torch
from PIL import Image
from transformers import AutoModel

import zhclip_cli
from hf_zhclip.conversion import convert
from hf_zhclip.data import read
from hf_zhclip.errors import InputError, WorkError
from hf_zhclip.training import ContrastiveTrainer, train, training
from hf_zhclip.training.recipes import read_recipe

from tests.checkpoints import cn_clip
from tests.conversion.helpers import save_time


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repo")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        file, config = cn_clip.cn_clip_file(folder / "a.pt"), cn_clip.cn_clip_config(folder / "facts.json")
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


def test_a_picture_that_breaks_while_a_training_runs_is_told_once_and_another_takes_its_place(repo, data, tmp_path):
    told = []
    rows = training.Pairs(read(str(data)), told.append)
    (data / "0002颜色2.png").write_bytes(b"broken")

    assert [rows[2]["text"] for _ in range(3)] == ["颜色3"] * 3
    assert len(told) == 1 and "0002" in told[0]


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
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
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
    report = json.loads(capsys.readouterr().out)
    assert report["lineage"]["towers"]["image"]["changed"] == 0 and report["lineage"]["towers"]["text"]["changed"]
    assert zhclip_cli.main(words) == 2


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
    "resume_is_left_out_where_nothing_began": (
        {"resume": True},
        "holds no checkpoint to go on from. Leave out --resume.",
        {},
    ),
}
"""Arguments that are refused, a part of the message, and the arguments that the message names."""


@pytest.mark.parametrize("name", WALKS)
def test_the_way_out_that_a_message_names_is_walked(name, repo, data, tmp_path, monkeypatch):
    refused_with, says, way = WALKS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ALIAS.yaml").write_text("adam_beta1: &a 0.9\nadam_beta2: *a\n")
    (tmp_path / "WHOLE.yaml").write_text("adam_beta1: 0.9\nadam_beta2: 0.9\n")
    prepare_splits(data, tmp_path / "BLIND", blind=True)
    paths = {name: str(tmp_path / name) for name in ("ALIAS.yaml", "WHOLE.yaml", "BLIND")}

    def given(values):
        values = {name: paths.get(value, value) for name, value in values.items()}
        return values.pop("data", data), tmp_path / "T", values

    place, folder, values = given(refused_with)
    assert says in refused(repo, place, folder, **values)

    place, folder, values = given(way)
    assert run(repo, place, folder, **values).folder.is_dir()


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
