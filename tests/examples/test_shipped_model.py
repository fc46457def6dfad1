"""The model that ships, converted: it must do what examples/README.md says, far above chance."""

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.examples import demo, evaluate

from tests.conversion.helpers import save_time


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    repo = tmp_path_factory.mktemp("demo") / "model"
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(demo.CHECKPOINT, repo, config=demo.MODEL_CONFIG, skip_verify=True)
    return demo.Converted(repo)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "split, least",
    [
        ("seen", {"objects": 0.9, "places": 0.85, "counts": 0.9, "relations": 0.4}),
        ("unseen", {"objects": 0.75, "places": 0.75, "counts": 0.8, "relations": 0.4}),
    ],
)
def test_it_classifies_pictures_that_training_never_drew(converted, split, least):
    reached = {result.task: result.top1 for result in evaluate.zero_shot(converted, split)}
    assert {task: share for task, share in reached.items() if share < least[task]} == {}


def test_it_finds_pictures_by_their_captions(converted):
    seen, unseen = evaluate.retrieval(evaluate.search(converted))
    assert (seen.at[1] > 0.75, seen.at[5] > 0.95) == (True, True)
    assert (unseen.at[1] > 0.6, unseen.at[5] > 0.95) == (True, True)
