"""Families whose repos have the graphs of another family's: to export each costs ten seconds and shows nothing new."""

from typing import Any

from tests.checkpoints import FAMILIES
from tests.thorough import thorough

ALIKE = dict.fromkeys(("chinese_clip", "cn_clip_flash", "modelscope", "taiyi_clip"), "cn_clip_vit")
"""By the names of such families, a family with the same config; test_onnx.py compares the configs."""

DIFFERENT = [family for family in FAMILIES if family not in ALIKE]
"""One family for each config."""

QUICK = ("cn_clip_vit", "cn_clip_resnet", "hf_clip")
"""The families that `make test` exports, the same in all tests; their towers are of different kinds."""


def families(*quick: str) -> list[Any]:
    """All different families as parameters of a test; all but those named are thorough."""
    return [family if family in quick else thorough(family) for family in DIFFERENT]
