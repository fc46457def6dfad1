"""The originals' own packages, imported when they are asked for."""

import importlib
import sys
from types import ModuleType

import torch


def package(name: str) -> ModuleType:
    """A module of an original's package; where it is missing, the test that asks for it fails."""
    torchvision_transforms()
    return importlib.import_module(name)


def torchvision_transforms() -> ModuleType:
    """torchvision.transforms, also of a build for another torch, whose missing operators are never called."""
    if sys.modules.get("torchvision", "") is None:  # hidden from transformers by hf_zhclip
        del sys.modules["torchvision"]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision.transforms")


def cn_clip(module: str) -> ModuleType:
    """A module of cn_clip, such as "clip.utils"."""
    return package(f"cn_clip.{module}")
