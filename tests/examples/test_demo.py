"""The demo's tables, queries and the checkpoint that it starts from."""

import io
import json
import sys

import pytest
import torch

from hf_zhclip.errors import InputError
from hf_zhclip.examples import demo, evaluate, scenes


def test_a_chinese_character_is_two_columns_wide():
    assert demo.width("红色 ab") == 7


def test_columns_align_under_chinese_text():
    lines = demo.table(("名", "n"), [("红色", "1"), ("abc", "20")]).split("\n")
    assert lines == ["名     n", "----  --", "红色   1", "abc   20"]


def test_tables_name_the_chance_level_beside_the_figure():
    accuracy = demo.accuracy_table([evaluate.Accuracy("objects", "seen", 100, 50, 0.9)])
    assert accuracy.split("\n")[2].split() == ["objects", "seen", "100", "50", "90.0", "%", "2.0", "%"]
    recall = demo.recall_table([evaluate.Recall("unseen", 10, 40, {1: 0.5, 5: 0.75, 10: 1.0})])
    figures = recall.split("\n")[2].replace(" %", "%").split()
    assert figures == ["unseen", "10", "40", "50.0%", "2.5%", "75.0%", "12.5%", "100.0%", "25.0%"]


class Noise:
    """Embeddings without a meaning, always the same."""

    def encode_text(self, texts):
        generator = torch.Generator().manual_seed(len(texts))
        return torch.nn.functional.normalize(torch.randn(len(texts), 8, generator=generator), dim=-1)

    encode_image = encode_text


def test_the_last_line_is_the_path_of_the_contact_sheet(tmp_path, capsys):
    demo.evaluate_and_show(Noise(), tmp_path / "sheet.png")
    printed = capsys.readouterr().out
    assert printed.strip().split("\n")[-1] == str(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


def test_queries_are_of_each_kind_and_split_and_their_pictures_fall_in_score():
    rows = demo.sheet_rows(evaluate.search(Noise()))
    kinds = [(row.split, row.query.kind) for row in rows]
    assert kinds == [(split, kind) for split in ("seen", "unseen") for kind in ("place", "count", "relation")]
    for row in rows:
        scores = [found.score for found in row.found]
        assert scores == sorted(scores, reverse=True)
        assert [found.right for found in row.found] == [found.scene.facts == row.query for found in row.found]


@pytest.mark.quick(2)
@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "ascii", "utf-8"])
def test_a_console_of_any_code_page_prints_without_failing(encoding, tmp_path, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(demo, "convert_example", lambda out: None)
    monkeypatch.setattr(demo, "Converted", lambda repo: Noise())
    demo.run(tmp_path / "演示")
    console.flush()
    assert b"recall@10" in console.buffer.getvalue()
    assert (tmp_path / "演示" / "contact_sheet.png").is_file()


def test_a_file_in_place_of_the_folder_is_refused_in_words(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="notes.txt is no folder, so that .* Choose another place"):
        demo.run(tmp_path / "notes.txt")


@pytest.fixture(scope="module")
def checkpoint():
    return torch.load(demo.CHECKPOINT, map_location="cpu", weights_only=True)


def test_the_checkpoint_is_what_the_upstream_trainer_saves(checkpoint):
    assert sorted(checkpoint) == ["epoch", "name", "optimizer", "state_dict", "step"]
    assert all(key.startswith("module.") for key in checkpoint["state_dict"])
    assert all(tensor.dtype == torch.float32 for tensor in checkpoint["state_dict"].values())
    parameters = [number for group in checkpoint["optimizer"]["param_groups"] for number in group["params"]]
    assert sorted(checkpoint["optimizer"]["state"]) == sorted(parameters)


def test_the_checkpoint_is_at_most_ten_megabytes():
    assert demo.CHECKPOINT.stat().st_size <= 10_000_000


def test_the_config_agrees_with_the_checkpoint_and_the_pictures(checkpoint):
    config = json.loads(demo.MODEL_CONFIG.read_text("utf-8"))
    weights = checkpoint["state_dict"]
    patches = (config["image_resolution"] // config["vision_patch_size"]) ** 2
    width, hidden = config["vision_width"], config["text_hidden_size"]
    words = weights["module.bert.embeddings.word_embeddings.weight"]
    assert words.shape == (config["vocab_size"], hidden)
    assert weights["module.visual.positional_embedding"].shape == (patches + 1, width)
    assert weights["module.text_projection"].shape == (hidden, config["embed_dim"])
    assert weights["module.visual.proj"].shape == (width, config["embed_dim"])
    assert config["image_resolution"] == scenes.SIDE


def test_the_optimizer_has_done_the_steps_that_the_checkpoint_names(checkpoint):
    assert {int(state["step"]) for state in checkpoint["optimizer"]["state"].values()} == {checkpoint["step"]}
