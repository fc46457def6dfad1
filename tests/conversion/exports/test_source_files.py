"""Repos go back to the files of their own format."""

import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports.exporting import export

from tests.checkpoints import FAMILIES

LOST = {
    "taiyi_clip": "text_model.pooler.dense.weight",
    "taiyi_finetune": "clip_model.text_model",
    "r2d2": "itm_head.weight",
}
"""Families whose class holds tensors that the conversion leaves out, and the name of such a tensor."""


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in LOST])
def test_a_repo_goes_back(family, repo, tmp_path):
    print(export(repo(family).path, tmp_path / "HOME", to="source").text())


@pytest.mark.parametrize("family", LOST)
def test_lost(family, repo, tmp_path):
    with pytest.raises(InputError) as e:
        export(repo(family).path, tmp_path / "HOME", to="source")
    print(e.value)
