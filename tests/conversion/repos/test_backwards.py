"""A repo's tensors under its original's keys, with the original's bits."""

import pytest
import torch

from hf_zhclip.conversion.mapping import matches
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.repos.backwards import mapped_back
from hf_zhclip.conversion.repos.repo import read_repo


@pytest.mark.parametrize("family", ["cn_clip_vit", "hf_clip", "chinese_clip"])
def test_a_repo_s_tensors_are_its_original_s_again(family, repo):
    found = repo(family)
    converted = read_repo(found.path)

    (back,) = mapped_back(converted.tensors, converted.config, found.report.sources)

    original, recorded = read(found.original.source).tensors, found.report.sources[0]
    kept = [key for key in original if not any(matches(pattern, key) for pattern in recorded["dropped"])]
    assert (back.format, back.role) == (recorded["format"], "whole")
    assert set(kept) >= back.tensors.keys() and len(back.tensors) > 50
    assert all(torch.equal(tensor, original[key]) for key, tensor in back.tensors.items())
