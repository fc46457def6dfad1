"""The reference's crop in the picture's own mode against torchvision's transforms, which open_clip composes."""

import numpy as np
import pytest

from hf_zhclip.conversion.proof.reference import pictures, taiyi

from tests.image_modes import PICTURES
from tests.parity.pipelines import crop_then_rgb

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:Palette images with Transparency"),
]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", [224, 336])
def test_pixels_are_equal_to_the_bit(name, size):
    theirs = crop_then_rgb(PICTURES[name](), size)

    assert np.array_equal(pictures.crop_then_rgb(PICTURES[name](), size).numpy(), theirs)
    assert np.array_equal(taiyi.pixels(PICTURES[name](), {}, size).numpy(), theirs)
