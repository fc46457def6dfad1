"""Declares the operators that a torchvision for another torch lacks, before anything imports it; none is called."""

try:
    import torch
except ImportError:  # pip's own processes start here too
    pass
else:
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
