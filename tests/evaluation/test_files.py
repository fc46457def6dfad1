"""cn_clip's files of features and predictions, read and refused."""

import json

import pytest
import torch

from hf_zhclip.errors import InputError
from hf_zhclip.evaluation import files


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("side", ["text", "image"])
def test_what_is_written_is_read_to_the_last_bit(side, tmp_path):
    vectors = torch.randn(20, 7) * 10.0 ** torch.randint(-30, 30, (20, 1))
    files.write_features(tmp_path / "f.jsonl", side, range(20), vectors)
    found = files.read_features(tmp_path / "f.jsonl", side)
    assert found.ids == list(range(20)) and torch.equal(found.vectors, vectors)
    assert json.loads((tmp_path / "f.jsonl").read_text().splitlines()[3])[f"{side}_id"] == 3


def feature(**values):
    return {"text_id": 1, "feature": [0.5, 1], **values}


@pytest.mark.parametrize(
    "rows, match",
    [
        ([feature(text_id="1")], "line 1.*a whole number"),
        ([feature(text_id=True)], "line 1.*a whole number"),
        ([feature(text_id=1.0)], "line 1.*a whole number"),
        ([{"image_id": 1, "feature": [1]}], "found no text_id"),
        ([feature(), feature()], "line 2 has the text_id 1 for the second time"),
        ([feature(), feature(text_id=2, feature=[1, 2, 3])], "line 2 has a feature of 3 numbers; 2 were wanted"),
        ([feature(feature=[])], "feature of 0 numbers"),
        ([feature(feature="0.5")], "found feature '0.5'"),
        ([feature(feature=["0.5", 1])], "holds no number of float32"),
        ([feature(feature=[None, 1])], "holds no number of float32"),
        ([feature(feature=[[1], 1])], "holds no number of float32"),
        ([feature(feature=[True, 1])], "true or false in a feature"),
        (['{"text_id": 1, "feature": [NaN, 1]}'], "line 1.*NaN"),
        (['{"text_id": 1, "feature": [-Infinity, 1]}'], "line 1.*Infinity"),
        ([feature(), '{"text_id": 2, "feature": [1e39, 1]}'], "line 2 has a feature that is not finite in float32"),
        ([feature(), feature(text_id=2, feature=[0, -0.0])], "line 2 has a feature of zeros"),
        (['{"text_id": 1, "feature": [1e999, 1]}'], "line 1.*not finite in float32"),
        ([feature(feature=[10**60, 1])], "holds no number of float32|not finite in float32"),
        (['{"text_id": 1, "text_id": 2, "feature": [1]}'], "text_id"),
        (["[1, 2]"], "a JSON object was wanted"),
        (["{"], "no valid JSON"),
        ([], "is empty"),
        ([""], "is empty"),
    ],
)
def test_features_that_are_wrong_are_refused_with_their_line(rows, match, tmp_path):
    path = lines(tmp_path / "f.jsonl", *rows)
    with pytest.raises(InputError, match=match):
        files.read_features(path, "text")


def text(**values):
    return {"text_id": 1, "text": "猫", "image_ids": [1], **values}


@pytest.mark.parametrize(
    "rows, match",
    [
        ([text(), text(text="狗")], "line 2 has the text_id 1 for the second time"),
        ([text(text_id="1")], "whole number"),
        ([text(image_ids=["1"])], "'1' in image_ids; whole numbers were wanted"),
        ([text(image_ids=[True])], "True in image_ids"),
        ([text(image_ids=[1.0])], "1.0 in image_ids"),
        ([text(image_ids=None)], "found image_ids None"),
        ([text(text=3)], "found text 3"),
        ([], "is empty"),
    ],
)
def test_texts_that_are_wrong_are_refused(rows, match, tmp_path):
    with pytest.raises(InputError, match=match):
        files.read_texts(lines(tmp_path / "t.jsonl", *rows))


@pytest.mark.parametrize(
    "rows, match",
    [
        ([{"text_id": 1, "image_ids": [1, 1]}], "predicts the same id twice"),
        ([{"text_id": 1, "image_ids": ["1"]}], "whole numbers were wanted"),
        ([{"text_id": 1, "image_ids": [1]}, {"text_id": 1, "image_ids": [2]}], "second time"),
        ([{"text_id": 1, "image_ids": [1]}, {"image_id": 1, "text_ids": [2]}], "line 2"),
        ([{"text_id": "1", "image_ids": [1]}], "whole number"),
        ([{"id": 1}], "has no text_id and no image_id"),
        ([], "is empty"),
    ],
)
def test_predictions_that_are_wrong_are_refused(rows, match, tmp_path):
    path = lines(tmp_path / "p.jsonl", *rows)
    with pytest.raises(InputError, match=match):
        files.read_predictions(path, files.side_of_predictions(path))
