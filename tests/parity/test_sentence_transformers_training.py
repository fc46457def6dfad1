"""sentence-transformers trains the model that ships; what it saves is finished, pushed, and loaded by a stranger."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import scenes
from hf_zhclip.conversion import convert, push
from hf_zhclip.conversion.errors import InputError

from tests.conversion.helpers import save_time
from tests.loopback_hub import connect, environment, serve
from tests.newcomer import ROOT

pytestmark = pytest.mark.parity

SHIM = Path(__file__).with_name("shim")
EXAMPLES = [scenes.training_example(number) for number in range(8)]
CAPTIONS, PICTURES = [caption for _, caption in EXAMPLES], [scenes.draw(scene) for scene, _ in EXAMPLES]

STRANGER = """
    import sys

    import numpy as np

    sys.modules["hf_zhclip"] = None  # as where it is not installed
    from examples import scenes
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer("user/tuned", device="cpu", trust_remote_code=True)
    examples = [scenes.training_example(number) for number in range(8)]
    texts = model.encode([caption for _, caption in examples])
    pictures = model.encode([scenes.draw(scene) for scene, _ in examples])
    np.savez(sys.argv[1], texts=texts, pictures=pictures)
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The model that ships, converted."""
    save_time(monkeypatch)
    facts = ROOT / "examples" / "scenes" / "model_config.json"
    convert(facts.with_name("epoch_latest.pt"), tmp_path / "scenes", config=facts)
    return tmp_path / "scenes"


def trained(base):
    """Two steps of MultipleNegativesRankingLoss: captions and their pictures."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(base), device="cpu")
    loss, optimiser = MultipleNegativesRankingLoss(model), torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        loss([model.preprocess(CAPTIONS), model.preprocess(PICTURES)], None).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def test_what_sentence_transformers_trained_is_finished_pushed_and_loaded_by_a_stranger(base, tmp_path, monkeypatch):
    model = trained(base)
    model.save_pretrained(str(tmp_path / "TRAINED"), create_model_card=False)
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path / "here")
        push(base, "user/scenes")
        report = convert(tmp_path / "TRAINED", tmp_path / "OUT", base="user/scenes")
        push(tmp_path / "OUT", "user/tuned")
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(STRANGER), str(tmp_path / "found.npz")],
            cwd=tmp_path,
            env={
                **os.environ,
                **environment(hub, "hf_writer", tmp_path / "home"),
                "PYTHONPATH": os.pathsep.join((str(SHIM), str(ROOT))),
            },
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    assert ran.returncode == 0, ran.stderr
    assert report.passed and all(report.lineage["towers"][tower]["changed"] for tower in ("text", "image"))
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["texts"], model.encode(CAPTIONS), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["pictures"], model.encode(PICTURES), rtol=0, atol=1e-5)


def test_a_module_that_was_added_to_it_is_refused(base, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense

    model = SentenceTransformer(str(base), device="cpu")
    model.append(Dense(64, 16))
    model.save_pretrained(str(tmp_path / "TRAINED"), create_model_card=False)

    with pytest.raises(InputError, match="Dense"):
        convert(tmp_path / "TRAINED", tmp_path / "OUT", base=base)
