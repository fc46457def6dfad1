"""Figures, predictions and features are those of cn_clip's own scripts on the same files; only CUDA does nothing.

Where they differ, on purpose:

- cn_clip compares scores of float32 products, in which equal vectors of a pool may have different scores by their
  places. Here the scores are computed in float64 and rounded to float32, so that equal vectors tie. The tests take
  vectors of small whole numbers where scores tie, because their products are exact.
- cn_clip refuses queries with fewer than ten predictions. Here they are scored, with a word.
- cn_clip's scripts read the same id twice; the last line counts. Here it is an error.
- In ELEVATER's file, `model_name` is the repo's name.

In float32 both differ from float64 by rounding: with these weights by up to 4e-6 in a feature, and so by up to 7e-5 in
a probability of cosines times 100. The same is therefore compared a second time in float64, there to the last digit.
"""

import base64
import json
import runpy
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import torch

from hf_zhclip import ZhCLIPModel
from hf_zhclip.conversion import convert
from hf_zhclip.evaluation import charts, evaluate, files, lists
from hf_zhclip.evaluation.retrieval import predict, score

from tests.checkpoints import FAMILIES, common
from tests.checkpoints.cn_clip import CN_CLIP_FACTS
from tests.conversion.helpers import save_time
from tests.image_modes import PICTURES
from tests.parity.peers import cn_clip

pytestmark = pytest.mark.parity


def run_script(
    monkeypatch, name: str, *arguments: str, folder: Path | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Runs a script of cn_clip/eval, or its copy in another folder, as its main program, where a GPU is the CPU.

    With float64 as `dtype`, the script's float32 is float64.
    """
    package, to, numpy = cn_clip("eval.data").__file__, torch.Tensor.to, torch.Tensor.numpy
    with monkeypatch.context() as patch:
        for kind in (torch.nn.Module, torch.Tensor):
            patch.setattr(kind, "cuda", lambda self, *args, **kwargs: self)
        patch.setattr(
            torch.Tensor, "to", lambda self, *args, **named: self if args == (0,) else to(self, *args, **named)
        )
        # The script calls float on an array of one number, which numpy refuses since 2.4.
        patch.setattr(torch.Tensor, "numpy", lambda self: numpy(self.squeeze() if self.shape == (1,) else self))
        patch.setattr(torch.cuda, "set_device", lambda device: None)
        patch.setattr(torch.Tensor, "float", lambda self: to(self, dtype))
        patch.setattr(torch.Tensor, "type", lambda self, new: to(self, dtype if new is torch.float32 else new))
        patch.setattr(sys, "argv", [name, *arguments])
        torch.set_default_dtype(dtype)
        try:
            runpy.run_path(str((folder or Path(package).parent) / f"{name}.py"), run_name="__main__")
        finally:
            torch.set_default_dtype(torch.float32)


# Retrieval from files


def random_split(folder: Path, kind: str) -> None:
    """60 texts and 45 pictures: random vectors, or vectors of small whole numbers, whose scores are exact and tie."""
    generator = torch.Generator().manual_seed(len(kind))
    texts, images = (torch.randn(count, 8, generator=generator) for count in (60, 45))
    if kind != "random":
        texts, images = texts.round(), images.round()
    if kind == "duplicates":
        images = images[torch.randint(0, 6, (45,), generator=generator)]
    if kind == "zeros":
        texts, images = texts * 0, images
    text_ids = torch.randperm(1000, generator=generator)[:60].tolist()
    image_ids = torch.randperm(1000, generator=generator)[:45].tolist()
    files.write_features(folder / "texts.txt_feat.jsonl", "text", text_ids, texts)
    files.write_features(folder / "imgs.img_feat.jsonl", "image", image_ids, images)
    lines = []
    for number, each in enumerate(text_ids):
        some = torch.randperm(45, generator=generator)[: number % 4 + 1].tolist()
        named = [image_ids[row] for row in some]
        if kind == "ties":
            named += named[:1]  # a picture that a text names twice
        lines.append({"text_id": each, "text": "猫", "image_ids": named})
    if kind == "missing":
        lines = lines[:40]  # features of texts that are no queries, and of pictures that no text names
        lines[3]["image_ids"] = lines[7]["image_ids"] = []
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def scored_by_its_scripts(folder: Path, monkeypatch) -> dict[str, dict]:
    run_script(monkeypatch, "transform_ir_annotation_to_tr", f"--input={folder / 'texts.jsonl'}")
    for script, answers, name in (("evaluation", "texts", "ir"), ("evaluation_tr", "texts.tr", "tr")):
        paths = (folder / f"{answers}.jsonl", folder / f"{name}.jsonl", folder / f"{name}.json")
        run_script(monkeypatch, script, *map(str, paths))
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("ir", "tr")}


@pytest.mark.parametrize("kind", ["random", "ties", "duplicates", "zeros", "missing"])
def test_predictions_and_recall_are_those_of_its_scripts(kind, tmp_path, monkeypatch):
    random_split(tmp_path, kind)
    texts, images = tmp_path / "texts.txt_feat.jsonl", tmp_path / "imgs.img_feat.jsonl"
    features = [f"--image-feats={images}", f"--text-feats={texts}"]
    run_script(monkeypatch, "make_topk_predictions", *features, f"--output={tmp_path / 'ir.jsonl'}")
    run_script(monkeypatch, "make_topk_predictions_tr", *features, f"--output={tmp_path / 'tr.jsonl'}")
    told = scored_by_its_scripts(tmp_path, monkeypatch)
    assert told["ir"]["success"] and told["tr"]["success"]

    given = {"text_features": str(texts), "image_features": str(images), "texts": str(tmp_path / "texts.jsonl")}
    found = evaluate(**given, as_cn_clip=True, out=tmp_path / "ours")

    sides = (("ir", ""), ("tr", "tr_"))
    for name, infix in sides:
        ours = tmp_path / "ours" / f"texts_{infix}predictions.jsonl"
        assert ours.read_text() == (tmp_path / f"{name}.jsonl").read_text()
        scores = json.loads((tmp_path / "ours" / f"texts_{infix}scores.json").read_text())
        assert scores.pop("scoreJson") == pytest.approx(told[name].pop("scoreJson"), abs=1e-12)
        assert scores == pytest.approx(told[name], abs=1e-12)
    predictions = [str(tmp_path / f"{name}.jsonl") for name in ("ir", "tr")]
    assert evaluate(texts=given["texts"], predictions=predictions, as_cn_clip=True) == found
    assert found.of["text"].unanswered == (2 if kind == "missing" else 0)


def test_its_scripts_read_the_features_that_are_written(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    given = {"text_features": "texts.txt_feat.jsonl", "image_features": "imgs.img_feat.jsonl", "texts": "texts.jsonl"}
    evaluate(**{name: str(tmp_path / place) for name, place in given.items()}, out=tmp_path / "ours")
    for name in ("texts.txt_feat.jsonl", "imgs.img_feat.jsonl"):
        ours = tmp_path / "ours" / ("texts_" + name)
        assert ours.read_text() == (tmp_path / name).read_text()


def test_what_it_refuses_to_score_for_missing_predictions_is_refused(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    split = files.read_texts(tmp_path / "texts.jsonl")
    predicted = predict(
        files.read_features(tmp_path / "texts.txt_feat.jsonl", "text"),
        files.read_features(tmp_path / "imgs.img_feat.jsonl", "image"),
        split,
    )
    left = dict(list(predicted["text"].items())[1:])
    files.write_predictions(tmp_path / "ir.jsonl", "text", left)
    files.write_predictions(tmp_path / "tr.jsonl", "image", predicted["image"])
    told = scored_by_its_scripts(tmp_path, monkeypatch)
    missing = next(iter(predicted["text"]))
    assert not told["ir"]["success"] and str(missing) in told["ir"]["errorMsg"] and told["tr"]["success"]

    with pytest.raises(ValueError, match=f"1 ids have no prediction: text_id {missing}"):
        score({"text": left}, split)


def test_queries_with_fewer_than_ten_predictions_which_it_refuses_are_scored(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    split = files.read_texts(tmp_path / "texts.jsonl")
    few = {each: list(images)[:1] for each, images in split.images.items()}
    files.write_predictions(tmp_path / "ir.jsonl", "text", few)
    files.write_predictions(tmp_path / "tr.jsonl", "image", {1: [2]})
    assert not scored_by_its_scripts(tmp_path, monkeypatch)["ir"]["success"]

    told: list[str] = []
    predictions = [str(tmp_path / "ir.jsonl")]
    found = evaluate(texts=str(tmp_path / "texts.jsonl"), predictions=predictions, tell=told.append)

    figures = dict.fromkeys(("r1", "r5", "r10", "mean_recall"), 100.0)
    assert found.to_json() == {"text_to_image": {**figures, "queries": 60}}
    assert told == ["60 queries have fewer than 10 predictions: recall at 10 says little there."]


# A model on data

SIZES = {
    "cn_clip_vit": ("ViT-B-16", {"vision_layers": common.LAYERS, "vision_width": 64, "vision_patch_size": 16}),
    "cn_clip_resnet": ("RN50", {"vision_layers": "[1,1,1,1]", "vision_width": 16, "vision_patch_size": None}),
}
"""By family, the name of a model_configs file of cn_clip, and what it states of the small checkpoint."""

TEXT_SIDE = {
    "vocab_size": common.VOCAB,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": common.HIDDEN,
    "text_initializer_range": 0.02,
    "text_intermediate_size": common.INTERMEDIATE,
    "text_max_position_embeddings": common.POSITIONS,
    "text_num_hidden_layers": common.LAYERS,
    "text_type_vocab_size": 2,
}


@dataclass(frozen=True)
class Both:
    """A checkpoint with cn_clip's scripts in a folder whose configs have its size, and the repo that it became."""

    scripts: Path
    arguments: tuple[str, ...]
    repos: Mapping[torch.dtype, str]


@pytest.fixture(scope="module", params=SIZES)
def both(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    original = FAMILIES[request.param](folder)
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(original.source, folder / "repo", skip_verify=True, **original.arguments)
    name, vision = SIZES[request.param]
    configs = folder / "cn_clip" / "clip" / "model_configs"
    configs.mkdir(parents=True)
    head = {"embed_dim": common.EMBED, "image_resolution": common.SIZE, "vision_head_width": 16}
    (configs / f"{name}.json").write_text(json.dumps({**head, **vision}))
    (configs / "RBT3-chinese.json").write_text(json.dumps({**TEXT_SIDE, **CN_CLIP_FACTS}))
    shutil.copytree(Path(cn_clip("eval.data").__file__).parent, folder / "cn_clip" / "eval")
    arguments = (f"--vision-model={name}", "--text-model=RBT3-chinese", f"--resume={original.source}")
    shutil.copytree(folder / "repo", folder / "double")
    ZhCLIPModel.from_pretrained(folder / "repo").double().save_pretrained(folder / "double")
    repos = {torch.float32: str(folder / "repo"), torch.float64: str(folder / "double")}
    return Both(folder / "cn_clip" / "eval", arguments, repos)


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
NEAR = {torch.float32: (1e-6, 1e-5, 1e-4), torch.float64: (1e-7, 1e-7, 2e-6)}
"""By dtype, the largest difference of a picture's feature, of a text's, and of a probability with six digits."""


MODES = ("RGB 224x229", "RGB 640x427", "RGB 20x2000", "RGBA", "LA", "L", "P", "1", "I;16", "P, one colour transparent")
CLASS_NAMES = ("“猫” CAT", "Dog 狗 “", "红色 ＣＡＲ")


@pytest.fixture(scope="module")
def pictures():
    """By name, the bytes of pictures of many modes; a photo that lies on its side is among them."""
    found = {}
    for name in (*MODES, "RGB on its side"):
        file = BytesIO()
        picture = PICTURES[name]()
        picture.save(file, "PNG", **({"exif": picture.getexif()} if name == "RGB on its side" else {}))
        found[name] = file.getvalue()
    return found


@pytest.fixture(scope="module")
def classes(pictures, tmp_path_factory):
    """Class folders, one of which has a folder in it, and the file of their names."""
    folder = tmp_path_factory.mktemp("classes")
    for number, content in enumerate(pictures.values()):
        place = folder / "pictures" / f"{number % len(CLASS_NAMES):03}" / ("more" if number == 4 else ".")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.{'PNG' if number % 2 else 'png'}").write_bytes(content)
    (folder / "names.txt").write_text("\n".join(CLASS_NAMES), encoding="utf-8")
    return folder


TEMPLATES = {
    "flower": "oxford-flower-102",
    "food": "food-101",
    "aircraft": "fgvc-aircraft-2013b-variants102",
    "eurosat": "eurosat_clip",
    "country211": "country211",
    "openai": "any-other",
}
"""Names of sets in cn_clip, and of data sets for which its script takes them."""


@DTYPES
@pytest.mark.parametrize("templates", TEMPLATES)
def test_classification_is_that_of_its_script(templates, dtype, both, classes, tmp_path, monkeypatch, capsys):
    dataset = TEMPLATES[templates]
    data = ["--num-workers=0", f"--datapath={classes / 'pictures'}", f"--label-file={classes / 'names.txt'}"]
    options = [*data, f"--dataset={dataset}", f"--save-dir={tmp_path}"]
    run_script(monkeypatch, "zeroshot_evaluation", *both.arguments, *options, folder=both.scripts, dtype=dtype)
    top1 = float(capsys.readouterr().out.partition("zeroshot-top1: ")[2].split()[0])
    told = json.loads((tmp_path / f"{dataset}.json").read_text())

    monkeypatch.setattr(charts, "check_available", lambda: None)
    monkeypatch.setattr(charts, "draw_confusion", lambda found, path: None)
    given = {"classes": str(classes / "names.txt"), "templates": f"cn_clip:{templates}", "as_cn_clip": True}
    found = evaluate(both.repos[dtype], str(classes / "pictures"), **given, out=tmp_path / "ours")

    assert found.top(1) == 100 * top1
    ours = json.loads((tmp_path / "ours" / "pictures.json").read_text())
    assert list(ours) == list(told)
    difference = torch.tensor(ours.pop("predictions")) - torch.tensor(told.pop("predictions"))
    assert difference.abs().max().item() <= NEAR[dtype][2]
    assert ours.pop("model_name") == both.repos[dtype] and told.pop("model_name").startswith("CN-CLIP-")
    assert ours.pop("dataset_name") == "pictures" and told.pop("dataset_name") == dataset
    assert ours == told


TEXTS = ("一只“猫” CAT", "红色", "ＡＢＣ 繁體", "a" * 300, "", "emoji 😀")


@DTYPES
def test_features_and_recall_are_those_of_its_script(dtype, both, pictures, tmp_path, monkeypatch):
    ids = [number * 7 for number in range(len(pictures))]
    lines = [
        {"text_id": 100 - number, "text": text, "image_ids": ids[number : number + 2]}
        for number, text in enumerate(TEXTS)
    ]
    rows = zip(ids, pictures.values(), strict=True)
    tsv = "".join(f"{each}\t{base64.b64encode(content).decode()}\n" for each, content in rows)
    (tmp_path / "valid_imgs.tsv").write_text(tsv)
    (tmp_path / "valid_texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = [f"--data_dir={tmp_path}", "--splits=valid"]
    script = Path(cn_clip("preprocess").__file__).parent / "build_lmdb_dataset.py"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), *run])
        runpy.run_path(str(script), run_name="__main__")
    monkeypatch.setattr(cn_clip("eval.data"), "__file__", str(both.scripts / "data.py"))  # where it looks for configs
    options = [
        *("--extract-image-feats", "--extract-text-feats", f"--text-data={tmp_path / 'valid_texts.jsonl'}"),
        f"--image-data={tmp_path / 'lmdb' / 'valid' / 'imgs'}",
    ]
    run_script(monkeypatch, "extract_features", *both.arguments, *options, folder=both.scripts, dtype=dtype)

    found = evaluate(both.repos[dtype], str(tmp_path / "lmdb" / "valid"), as_cn_clip=True, out=tmp_path / "ours")

    for side, name in (("text", "valid_texts.txt_feat.jsonl"), ("image", "valid_imgs.img_feat.jsonl")):
        ours = files.read_features(tmp_path / "ours" / name, side)
        theirs = files.read_features(tmp_path / name, side)
        assert ours.ids == theirs.ids  # cn_clip takes pictures in the order of the database's keys
        assert (ours.vectors - theirs.vectors).abs().max().item() <= NEAR[dtype][side == "text"]
    given = {"text_features": "valid_texts.txt_feat.jsonl", "image_features": "valid_imgs.img_feat.jsonl"}
    of_files = {name: str(tmp_path / place) for name, place in given.items()}
    assert evaluate(**of_files, texts=str(tmp_path / "valid_texts.jsonl"), as_cn_clip=True) == found


def test_all_its_lists_are_what_its_modules_hold():
    modules = [cn_clip(f"eval.{name}") for name in ("cvinw_zeroshot_templates", "imagenet_zeroshot_templates")]
    held = {name: value for module in modules for name, value in vars(module).items() if isinstance(value, list)}
    called = {
        name: [each("{}") if callable(each) else each for each in value] for name, value in held.items() if value
    }

    found = lists._installed_lists()

    assert found == called and len(found) >= 17
    assert lists.read_classes("cn_clip:imagenet_classnames") == called["imagenet_classnames"]
    assert lists.read_templates("cn_clip:openai") == [each.strip() for each in called["openai_templates"]]
