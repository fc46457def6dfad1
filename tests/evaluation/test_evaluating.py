"""`evaluate` and the command: whole runs on a small repo, and what is refused before the model is loaded."""

import base64
import json
import shutil
import sys

import pytest
import torch
from PIL import Image

from hf_zhclip import ZhCLIPModel, ZhCLIPTextModelWithProjection
from hf_zhclip.errors import InputError
from hf_zhclip.evaluation import evaluate, files
from hf_zhclip.inference import loading

from tests.conversion.helpers import contents
from tests.data.made import picture, tsv

FEATURES = {1: [1.0, 0.0], 2: [0.0, 1.0], 3: [0.6, 0.8]}


@pytest.fixture
def never_loads(monkeypatch):
    """Whoever loads a model's weights fails."""

    def fail(*given):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "_load", fail)


@pytest.fixture
def data(tmp_path):
    return tsv(tmp_path / "data")


@pytest.fixture
def of_files(tmp_path):
    """Files of features and texts: text 1 is nearest to picture 10, text 2 to 20, text 3 to 20 before 10."""
    rows = [
        {"text_id": each, "text": f"猫{each}", "image_ids": images}
        for each, images in ((1, [10]), (2, [10]), (3, [20]))
    ]
    (tmp_path / "s_texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files.write_features(tmp_path / "t.jsonl", "text", FEATURES, torch.tensor(list(FEATURES.values())))
    files.write_features(tmp_path / "i.jsonl", "image", [10, 20], torch.eye(2))
    names = {"text-features": "t.jsonl", "image-features": "i.jsonl", "texts": "s_texts.jsonl"}
    return [word for name, place in names.items() for word in (f"--{name}", str(tmp_path / place))]


# Whole runs


def test_texts_that_are_equal_and_have_other_pictures_are_told(of_files, run, tmp_path):
    """Text 2 has the picture of text 1, so that it is no wrong answer; text 3 has another."""
    place = tmp_path / "s_texts.jsonl"
    place.write_text(place.read_text().replace('1"', '2"'))
    assert "equal" not in run(*of_files)[2]
    place.write_text(place.read_text().replace('3"', '2"'))
    assert "3 of 3 texts are equal to a text with other pictures, which count as wrong" in run(*of_files)[2]


def test_features_are_scored_by_hand(of_files, run, tmp_path):
    code, text, told = run(*of_files, "--json", "--out", tmp_path / "out")

    assert code == 0
    r1 = 200 / 3
    assert json.loads(text) == {
        "text_to_image": {
            "r1": pytest.approx(r1),
            "r5": 100,
            "r10": 100,
            "mean_recall": pytest.approx((r1 + 200) / 3),
            "queries": 3,
        },
        "image_to_text": {"r1": 50, "r5": 100, "r10": 100, "mean_recall": pytest.approx(250 / 3), "queries": 2},
    }
    assert told == "The pool is small (2 pictures, 3 texts): recall at 10 says little there.\n"
    assert json.loads((tmp_path / "out" / "zhclip_evaluation.json").read_text()) == json.loads(text)
    assert (tmp_path / "out" / "s_predictions.jsonl").read_text().splitlines()[
        2
    ] == '{"text_id": 3, "image_ids": [20, 10]}'
    predictions = ("--predictions", tmp_path / "out" / "s_predictions.jsonl")
    code, again, _ = run("--texts", tmp_path / "s_texts.jsonl", *predictions, "--json")
    assert json.loads(again) == {"text_to_image": json.loads(text)["text_to_image"]}


def test_a_repo_is_measured_as_its_features_are(repo, data, run, tmp_path):
    code, text, _ = run(repo, data, "--json", "--out", tmp_path / "out", "--batch-size", 2, "--context-length", 9)
    assert code == 0
    model = ZhCLIPModel.from_pretrained(repo)
    with torch.no_grad():
        texts = model.encode_text(["一只红猫", "两种颜色", "蓝\t\n色"])
        images = model.encode_image([Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")])
    of_texts = files.read_features(tmp_path / "out" / "valid_texts.txt_feat.jsonl", "text")
    of_images = files.read_features(tmp_path / "out" / "valid_imgs.img_feat.jsonl", "image")
    assert of_texts.ids == [3, 1, 2] and (of_texts.vectors - texts).abs().max() < 1e-5
    assert of_images.ids == [7, 12] and (of_images.vectors - images).abs().max() < 1e-5
    first = (texts @ images.T).argmax(dim=1).tolist()
    hits = sum(row in right for row, right in zip(first, ([0], [0, 1], [1]), strict=True))
    assert json.loads(text)["text_to_image"]["r1"] == pytest.approx(100 * hits / 3)


def test_a_text_without_pictures_is_told_and_left_out(repo, tmp_path, run):
    texts = [{"text_id": n, "text": "红", "image_ids": [7] if n else []} for n in range(2)]
    data = tsv(tmp_path / "data", texts=texts)
    code, text, told = run(repo, data, "--json")
    assert code == 0 and json.loads(text)["text_to_image"]["r10"] == 100
    assert "1 texts name no picture: left out." in told
    code, text, told = run(repo, data, "--json", "--as-cn-clip")
    assert code == 0 and json.loads(text)["text_to_image"]["r10"] == 50 and "count as misses" in told


def test_classes_are_found_with_a_confusion_table_and_elevaters_file(repo, classes, run, tmp_path):
    options = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    code, text, _ = run(repo, classes, *options, "--json", "--out", tmp_path / "out")
    assert code == 0 and json.loads(text)["classification"]["pictures"] == 4
    assert Image.open(tmp_path / "out" / "confusion.png").size[0] > 300
    told = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert len(told["predictions"][0]) == 4 and told["dataset_name"] == "classes"
    assert told["num_params"] == sum(each.numel() for each in ZhCLIPModel.from_pretrained(repo).parameters())


def test_class_names_are_drawn_as_they_are(repo, classes, run, tmp_path):
    (tmp_path / "names.txt").write_text("$\\frac$ _x^\n\x1b[31m红 $ 狗\n", encoding="utf-8")
    options = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    code, text, _ = run(repo, classes, *options, "--out", tmp_path / "out")
    assert code == 0 and "\x1b" not in text


def test_a_threshold_is_fitted_to_labelled_pairs_and_to_a_split(repo, pairs, data, run, tmp_path):
    code, text, _ = run(repo, pairs, "--threshold", "--json", "--out", tmp_path / "out")
    found = json.loads(text)["threshold"]
    assert code == 0 and (found["fitting_pairs"], found["other_pairs"]) == (2, 1)
    assert Image.open(tmp_path / "out" / "threshold.png").size[0] > 300
    code, text, told = run(repo, data, "--threshold", "--json")
    assert code == 0 and json.loads(text)["threshold"]["fitting_pairs"] == 4
    assert "4 pairs of the split fit; 2 pairs were drawn that do not" in told


def test_a_folder_that_an_evaluation_wrote_is_replaced_with_force_alone(of_files, run, tmp_path):
    assert run(*of_files, "--out", tmp_path / "out")[0] == 0
    before = contents(tmp_path / "out")
    code, _, told = run(*of_files, "--out", tmp_path / "out")
    assert code == 2 and "is not overwritten" in told and contents(tmp_path / "out") == before
    (tmp_path / "out" / "my notes.txt").write_text("")
    code, _, told = run(*of_files, "--out", tmp_path / "out", "--force")
    assert code == 2 and "out holds my notes.txt, which no evaluation holds" in told
    (tmp_path / "out" / "my notes.txt").unlink()
    refused_without = run(*of_files, "--force")
    assert refused_without[0] == 2 and "no out is given. Name one." in refused_without[2]
    assert run(*of_files, "--out", tmp_path / "out", "--force")[0] == 0
    assert contents(tmp_path / "out") == before


# What is refused


def refused(run, tmp_path, match, *arguments):
    """Exit code 2, one message, no traceback, and nothing written."""
    before = contents(tmp_path)
    code, text, told = run(*arguments)
    assert (code, text) == (2, ""), told
    assert told.startswith("zhclip: ") and "Traceback" not in told
    assert match in told
    assert contents(tmp_path) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, match",
    [
        ("", "found nothing to evaluate"),
        ("REPO", "found REPO to evaluate"),
        ("REPO DATA --texts T", "REPO DATA; or"),
        ("--texts T", "found --texts to evaluate"),
        ("--texts T --text-features F", "wanted is one of"),
        ("REPO DATA --classes C", "found only one of --classes and --templates"),
        ("REPO DATA --templates C", "found only one of --classes and --templates"),
        ("REPO DATA --classes C --templates T --threshold", "found --classes and --threshold"),
        ("REPO DATA --classes C --templates T --split x", "found --split with --classes"),
        ("--texts T --predictions P --threshold", "hold no cosines"),
        ("--texts T --predictions P --split x", "found --split without REPO"),
        ("--texts T --predictions P --context-length 9", "found --context-length without REPO"),
        ("--texts T --predictions P --device cpu", "found --device without REPO"),
        ("--texts T --predictions P --card", "--card notes figures in a repo's folder, but nothing"),
        ("user/repo DATA --card", "--card notes figures in a repo's folder, but user/repo"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments, match, run, tmp_path, never_loads):
    refused(run, tmp_path, match, *arguments.split(), "--out", tmp_path / "out")


@pytest.mark.parametrize(
    "options, match",
    [
        (["--batch-size", 0], "found --batch-size 0"),
        (["--context-length", 2], "found --context-length 2; 3 to 64 was wanted"),
        (["--context-length", 65], "found --context-length 65; 3 to 64 was wanted"),
        (["--device", "cuda:77"], "found --device cuda:77"),
        (["--device", "meta"], "found --device meta"),
        (["--device", "gpu"], "found --device gpu"),
        (["--split", "tset"], "holds no split tset"),
    ],
)
def test_options_out_of_range_are_refused_before_the_model_is_loaded(
    options, match, repo, data, run, tmp_path, never_loads
):
    refused(run, tmp_path, match, repo, data, *options, "--out", tmp_path / "out")


def repos(tmp_path, repo):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    foreign = {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}, "architectures": ["Own"]}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text(json.dumps(foreign))
    (tmp_path / "foreign" / "code.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    (tmp_path / "epoch_latest.pt").write_bytes(b"PK\x03\x04 no repo \xff")
    (tmp_path / "empty").mkdir()
    (tmp_path / "typeless").mkdir()
    (tmp_path / "typeless" / "config.json").write_text("{}")
    ZhCLIPTextModelWithProjection.from_pretrained(repo).save_pretrained(tmp_path / "tower")


@pytest.mark.parametrize(
    "name, match",
    [
        ("nothing", "does not exist"),
        ("chinese-clip-vit-base-patch16", "chinese-clip-vit-base-patch16 does not exist"),
        ("epoch_latest.pt", "epoch_latest.pt is a file; a folder was wanted"),
        ("empty", "empty has no config.json; a folder was wanted"),
        ("broken", "is no valid JSON"),
        ("bert", "BertModel"),
        ("foreign", "foreign does not load"),
        ("typeless", "key in its config.json. A repo"),
        ("tower", "holds the model 'ZhCLIPTextModelWithProjection'"),
        ("user/missing", "user/missing is no path here, and does not lie in the hub"),
    ],
)
def test_what_is_no_repo_with_both_towers_is_refused(name, match, repo, data, run, tmp_path, never_loads):
    repos(tmp_path, repo)
    place = tmp_path / name if (tmp_path / name).exists() else name
    refused(run, tmp_path, match, place, data)
    way = "Fetch it again, or correct it." if name == "broken" else "zhclip convert SOURCE OUT"
    refused(run, tmp_path, way, place, data)


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_repo_with_damaged_weights_is_refused(damage, repo, data, run, tmp_path):
    copy = shutil.copytree(repo, tmp_path / "copy")
    if damage == "cut":
        content = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(copy / "model.safetensors")
        del tensors["text_projection.weight"]
        save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    refused(run, tmp_path, "does not load" if damage == "cut" else "lacks 1 weights", copy, data)


def test_a_model_that_gives_no_finite_vectors_is_refused(repo, data, run, tmp_path):
    model = ZhCLIPModel.from_pretrained(repo)
    model.text_projection.weight.data.fill_(float("nan"))
    copy = shutil.copytree(repo, tmp_path / "copy")
    model.save_pretrained(copy)
    refused(run, tmp_path, "vectors that are not finite", copy, data, "--out", tmp_path / "out")


GOOD = f"7\t{base64.b64encode(picture()).decode()}"


@pytest.mark.parametrize(
    "pictures, texts, match",
    [
        ([GOOD], [{"text_id": 1, "text": "猫", "image_ids": [8]}], "1 pictures that are not there: 8"),
        ([GOOD, GOOD], [{"text_id": 1, "text": "猫", "image_ids": [7]}], "image ids stand more than once: 7"),
        ([GOOD], [{"text_id": 1, "text": "猫", "image_ids": [7]}] * 2, "text ids stand more than once: 1"),
        ([GOOD], [{"text_id": 1, "text": "猫", "image_ids": []}], "blind test split"),
        ([GOOD], [{"text_id": 1.5, "text": "猫", "image_ids": [7]}], "text_id 1.5"),
        ([GOOD], [{"text_id": True, "text": "猫", "image_ids": [7]}], "text_id True"),
        (["7\t*base64*"], [{"text_id": 1, "text": "猫", "image_ids": [7]}], "no character of base64"),
    ],
)
def test_data_that_are_wrong_are_refused_before_the_model_is_loaded(
    pictures, texts, match, repo, run, tmp_path, never_loads
):
    data = tsv(tmp_path / "data", pictures=pictures, texts=texts)
    refused(run, tmp_path, match, repo, data, "--out", tmp_path / "out")


def test_a_broken_picture_among_good_ones_is_named_and_nothing_is_written(repo, run, tmp_path):
    broken = base64.b64encode(picture()[:40]).decode()
    data = tsv(tmp_path / "data", pictures=[GOOD, f"12\t{broken}"])
    refused(run, tmp_path, "line 2", repo, data, "--out", tmp_path / "out")


def test_a_broken_picture_of_a_class_is_removed_as_the_message_says(repo, classes, run, tmp_path):
    (classes / "a" / "x.png").write_bytes(b"no picture")
    lists = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    refused(run, tmp_path, "Pillow reads. Remove it from its class folder", repo, classes, *lists)
    (classes / "a" / "x.png").unlink()
    assert run(repo, classes, *lists)[0] == 0


def test_data_in_several_formats_have_to_be_chosen(repo, data, run, tmp_path, never_loads):
    (data / "metadata.csv").write_text("file_name,text\na.png,x\n")
    (data / "a.png").write_bytes(picture())
    refused(run, tmp_path, "can be read as", repo, data)


@pytest.mark.parametrize(
    "names, templates, match",
    [
        ("红色\n", "{}\n", "found 1 class names for 2 class folders"),
        ("红色\n蓝色\n绿色\n", "{}\n", "found 3 class names for 2 class folders"),
        ("红色\n\n蓝色\n", "{}\n", "no name for class 1 (line 2)"),
        ("红色\n蓝色\n", "照片\n", "a text with {} once"),
        ("红色\n蓝色\n", "{}和{}\n", "a text with {} once"),
    ],
)
def test_lists_that_do_not_fit_are_refused_before_the_model_is_loaded(
    names, templates, match, repo, classes, run, tmp_path, never_loads
):
    (tmp_path / "names.txt").write_text(names, encoding="utf-8")
    (tmp_path / "templates.txt").write_text(templates, encoding="utf-8")
    options = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    refused(run, tmp_path, match, repo, classes, *options, "--out", tmp_path / "out")


def test_an_empty_class_folder_is_refused(repo, classes, run, tmp_path, never_loads):
    (classes / "c").mkdir()
    options = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    refused(run, tmp_path, "c holds no picture", repo, classes, *options)


def test_features_of_another_split_or_model_are_refused(of_files, run, tmp_path):
    files.write_features(tmp_path / "other.jsonl", "image", [10, 30], torch.eye(2))
    files.write_features(tmp_path / "wide.jsonl", "image", [10, 20], torch.eye(3)[:2])
    for name, match in (("other", "1 ids have no feature: image_id 20"), ("wide", "2 numbers and the pictures' 3")):
        arguments = [str(tmp_path / f"{name}.jsonl") if word.endswith("i.jsonl") else word for word in of_files]
        for more in ([], ["--threshold"]):
            refused(run, tmp_path, match, *arguments, *more, "--out", tmp_path / "out")


def test_predictions_of_ids_that_the_texts_do_not_know_are_told(of_files, run, tmp_path):
    """Picture 70 may be in the pool although no text names it; text 90 cannot."""
    lines = [{"text_id": each, "image_ids": [10, 20, 70]} for each in (1, 2, 3)]
    (tmp_path / "ir.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [{"image_id": each, "text_ids": [90, 1, 2, 3]} for each in (10, 20)]
    (tmp_path / "tr.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = ("--predictions", tmp_path / "ir.jsonl", "--predictions", tmp_path / "tr.jsonl")
    code, text, told = run("--texts", tmp_path / "s_texts.jsonl", *files, "--json")
    assert code == 0 and json.loads(text)["image_to_text"]["r1"] == 0
    assert "1 pictures are predicted that no text names: 70. They count as misses" in told
    assert "1 texts are predicted that do not exist: 90. They count as misses" in told


def test_a_feature_of_zeros_is_refused_and_scored_as_cn_clip_does_on_request(of_files, run, tmp_path):
    files.write_features(tmp_path / "i.jsonl", "image", [10, 20], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    refused(run, tmp_path, "give --as-cn-clip to score it", *of_files)
    assert run(*of_files, "--as-cn-clip")[0] == 0


def test_two_files_of_predictions_of_one_direction_are_refused(of_files, run, tmp_path):
    files.write_predictions(tmp_path / "p.jsonl", "text", {1: [10], 2: [20], 3: [20]})
    twice = ["--predictions", tmp_path / "p.jsonl"] * 2
    refused(run, tmp_path, "second file whose queries are texts", "--texts", tmp_path / "s_texts.jsonl", *twice)
    files.write_predictions(tmp_path / "p.jsonl", "text", {1: [10], 2: [20]})
    refused(run, tmp_path, "text_id 3", "--texts", tmp_path / "s_texts.jsonl", *twice[:2])


def test_a_split_of_labelled_pairs_means_nothing(repo, pairs, run, tmp_path, never_loads):
    refused(run, tmp_path, "holds labelled pairs and no splits", repo, pairs, "--threshold", "--split", "valid")


def test_a_split_in_which_everything_fits_has_no_threshold(repo, run, tmp_path, never_loads):
    data = tsv(tmp_path / "data", pictures=[GOOD], texts=[{"text_id": 1, "text": "猫", "image_ids": [7]}])
    refused(run, tmp_path, "no pair is left that does not fit", repo, data, "--threshold")


@pytest.mark.parametrize("place", ["data", "repo"])
def test_an_out_that_holds_what_is_evaluated_is_never_replaced(place, repo, data, run, tmp_path, never_loads):
    shutil.copytree(repo, tmp_path / "repo")
    out = tmp_path / place
    before = contents(tmp_path)
    for force in ([], ["--force"]):
        assert run(tmp_path / "repo", data, "--out", out, *force)[0] == 2
    assert contents(tmp_path) == before


def test_an_out_that_would_become_a_part_of_the_data_is_refused(repo, classes, run, tmp_path, never_loads):
    lists = ("--classes", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt")
    refused(run, tmp_path, "would become another class", repo, classes, *lists, "--out", classes / "c")
    named = tmp_path / "named"
    named.mkdir()
    (named / "1猫.png").write_bytes(picture())
    refused(run, tmp_path, "would become a part of the data", repo, named, "--threshold", "--out", named / "c")


def test_pictures_of_results_need_matplotlib_and_other_results_do_not(
    of_files, repo, pairs, run, tmp_path, monkeypatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(loading, "_load", None)
    refused(run, tmp_path, 'pip install "hf-zhclip[train]"', repo, pairs, "--threshold", "--out", tmp_path / "out")
    assert run(*of_files, "--out", tmp_path / "out")[0] == 0


def test_the_python_function_raises_the_same(tmp_path):
    with pytest.raises(InputError, match="found nothing to evaluate"):
        evaluate()
