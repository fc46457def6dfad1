"""mteb on the block of examples/README.md: a task made of held-out scenes, through SentenceTransformer, offline."""

import re

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.evaluation import evaluate
from hf_zhclip.examples import demo, held_out

from tests.conversion.helpers import save_time
from tests.newcomer import ROOT

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Polars binary is missing:UserWarning")]

BLOCK = re.compile(r"^```python\n(import mteb\n.*?)^```$", re.MULTILINE | re.DOTALL)
PART = "unseen"
RANKS = (1, 5, 10)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The block, in a folder where what the page's commands made lies: the model, and one part of the scenes."""
    save_time(monkeypatch)
    convert(demo.CHECKPOINT, tmp_path / "scenes-clip", config=demo.MODEL_CONFIG, skip_verify=True)
    monkeypatch.setattr(held_out, "PARTS", {PART: held_out.PARTS[PART]})
    held_out.write(tmp_path / "held")
    monkeypatch.chdir(tmp_path)
    (found,) = BLOCK.findall((ROOT / "examples" / "README.md").read_text(encoding="utf-8"))
    return found


def test_mteb_finds_as_many_pictures_as_zhclip_evaluate_and_as_the_page_says(code):
    import mteb

    names = {"__name__": "readme"}
    exec(compile(code, "examples/README.md", "exec"), names)

    scores = names["scores"]
    ours = evaluate("scenes-clip", names["PLACE"]).to_json()["text_to_image"]
    theirs = {f"r{k}": 100 * scores[f"hit_rate_at_{k}"] for k in RANKS}
    assert theirs == pytest.approx({f"r{k}": ours[f"r{k}"] for k in RANKS}, abs=1e-3)  # mteb rounds to five digits
    # Each caption has one picture.
    assert all(scores[f"recall_at_{k}"] == scores[f"hit_rate_at_{k}"] for k in RANKS)
    (stated,) = re.findall(r"# \[(.*)\]$", code, re.MULTILINE)
    assert [float(figure) for figure in stated.split(", ")] == [scores[f"hit_rate_at_{k}"] for k in RANKS]
    # As the page says, the object itself is refused.
    with pytest.raises(ValueError, match=r"supports \['text'\]"):
        mteb.evaluate(names["model"].model, names["CaptionsToScenes"](), cache=None)
