"""Zero-shot classification by hand."""

import math
import os

import pytest
import torch

from hf_zhclip.errors import InputError
from hf_zhclip.evaluation.classification import Classification, class_vectors, classify, elevater, read_labelled
from hf_zhclip.evaluation.encoding import Encoder
from hf_zhclip.evaluation.lists import read_classes

from tests.data.made import picture, write

NAMES = ["a", "b", "c"]
COSINES = [[0.9, 0.1, 0.0], [0.2, 0.3, 0.1], [0.1, 0.5, 0.4], [0.5, 0.2, 0.6]]
LABELS = [0, 0, 1, 2]


def classification(cosines=COSINES, labels=LABELS, names=NAMES):
    return Classification(list(names), torch.tensor(labels), torch.tensor(cosines))


def test_accuracy_and_confusion_by_hand():
    found = classification()
    assert [found.top(k) for k in (1, 2, 5)] == [75, 100, 100]
    assert found.mean_per_class == pytest.approx(100 * (1 / 2 + 1 + 1) / 3)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert found.worst() == [("a", "b", 1)]
    assert found.to_json() == {
        "classification": {"top1": 75, "top5": 100, "mean_per_class": pytest.approx(250 / 3), "pictures": 4}
    }
    assert "a -> b" in found.text()


def test_equal_cosines_are_ordered_as_the_classes_in_every_figure():
    found = classification([[0.5, 0.5, 0.5]] * 3, [0, 1, 2])
    assert [found.top(k) for k in (1, 2, 3)] == pytest.approx([100 / 3, 200 / 3, 100])
    assert found.confusion.tolist() == [[1, 0, 0]] * 3


def test_elevater_has_the_softmax_of_a_hundred_cosines_with_six_digits():
    told = elevater(classification([[0.01, 0.0]], [0], NAMES[:2]), "r", "d", 10, 4)
    share = math.e / (math.e + 1)
    assert told["predictions"] == [[[round(share, 6), round(1 - share, 6)]]]
    assert (told["num_params"], told["num_visual_params"], told["num_backbone_params"]) == (10, 4, 10)


class Written(Encoder):
    """Texts as vectors that a test writes, before they are normalised."""

    VECTORS = {"x1": [2.0, 0.0], "x2": [0.0, 5.0], "y1": [0.0, -1.0], "y2": [0.0, -3.0]}

    def texts(self, texts):
        return torch.tensor([self.VECTORS[text] for text in texts])

    def pictures(self, pictures):
        return torch.tensor([[0.6, 0.8] if each.getpixel((0, 0)) == (255, 0, 0) else [0.0, -1.0] for each in pictures])


ENCODER = Written(None, None, 8, None, True)


def test_a_class_vector_is_the_normalised_mean_of_normalised_templates():
    found = class_vectors(ENCODER, ["x", "y"], ["{}1", "{}2"])
    half = math.sqrt(0.5)
    assert found.tolist() == [pytest.approx([half, half]), pytest.approx([0, -1])]


def test_pictures_are_taken_by_class_folders(tmp_path):
    write(tmp_path / "2", **{"z.PNG": picture("blue"), "notes.txt": b"", "sub/a.png": picture("blue")})
    write(tmp_path / "10", **{"z.jpeg": picture("red"), "a.webp": picture("red")})  # Pillow looks at the bytes
    write(tmp_path, **{"stray.png": picture()})
    write(tmp_path / ".hidden", **{"a.png": picture()})
    labelled = read_labelled(tmp_path)
    assert labelled.classes == ["10", "2"]  # by name, as in ImageFolder
    assert [(path.name, label) for path, label in zip(labelled.paths, labelled.labels, strict=True)] == [
        ("a.webp", 0), ("z.jpeg", 0), ("z.PNG", 1), ("a.png", 1),
    ]  # fmt: skip
    told: list[str] = []
    found = classify(ENCODER, labelled, ["x", "y"], ["{}1", "{}2"], told.append)
    assert found.top(1) == 100
    assert told == [
        "The class folders are numbers, and are taken in the order of their names, as ImageFolder takes them: 10, 2 … "
        "Leading zeros make both orders the same."
    ]


def test_names_that_stand_twice_are_told(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, **{"x.png": picture()})
    told: list[str] = []
    found = classify(ENCODER, read_labelled(tmp_path), ["x", "x"], ["{}1"], told.append)
    assert told == ["The same name stands for several classes, which then tie: ['x']."]
    assert found.top(1) == 50


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_no_picture_and_no_list(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "data" / "a" / "x.png")
    with pytest.raises(InputError, match="x.png is a pipe; a picture was wanted. Remove it from its class folder"):
        list(read_labelled(tmp_path / "data").pictures(to_rgb=False))
    for place in ("names", "names.py:LIST"):
        file = tmp_path / place.partition(":")[0]
        os.mkfifo(file)
        with pytest.raises(InputError, match=f"^{file} is a pipe; a list of names or templates was wanted.$"):
            read_classes(str(tmp_path / place))


@pytest.mark.parametrize(
    "files, match",
    [
        ({}, "is no folder"),
        ({"a.png": b""}, "holds no folders"),
        ({"a/x.png": b"", "b/notes.txt": b""}, "b holds no picture"),
    ],
)
def test_folders_without_pictures_are_refused(files, match, tmp_path):
    folder = write(tmp_path / "data", **files) if files else tmp_path / "data"
    with pytest.raises(InputError, match=match):
        read_labelled(folder)
