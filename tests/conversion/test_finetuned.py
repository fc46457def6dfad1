"""What training saved of a converted repo becomes a repo like any other, proved by the family's own witness."""

import pytest
import torch
from transformers import AutoModel

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.repos.report import read_report

from tests.checkpoints import FAMILIES
from tests.thorough import every_third


def trained(folder, place, dtype=None, seed=1):
    """A repo's model after a change of every weight, as training saves it."""
    model = AutoModel.from_pretrained(folder, dtype=dtype or "auto")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.05 * torch.rand(weight.shape, generator=generator).to(weight.dtype))
    model.save_pretrained(place)
    return place


@pytest.mark.parametrize("family", every_third(FAMILIES))
def test_a_fine_tuned_repo_of_every_family_is_finished_and_proved(family, repo, tmp_path):
    base = repo(family)
    saved = trained(base.path, tmp_path / "TRAINED")

    report = convert(saved, tmp_path / "OUT", base=base.path)

    assert report.passed and report.level == base.report.level
    assert report.sources == read_report(base.path).sources
    written, before = read(tmp_path / "OUT").tensors, read(saved).tensors
    assert written.keys() == before.keys() and all(torch.equal(written[key], before[key]) for key in written)
    assert all(each["changed"] for tower, each in report.lineage["towers"].items() if tower != "logit_scale")
