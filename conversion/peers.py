"""Pieces of transformers that the witnesses of several sources are made of."""

from collections.abc import Callable

import torch
from PIL import Image


def clip_pixels(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """CLIP's image processor as the published repos set it: a picture -> `(3, size, size)`."""
    import transformers

    # transformers 4 converted with Pillow; version 5 would lay transparent pictures on white.
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size, do_convert_rgb=False)
    return lambda image: processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
