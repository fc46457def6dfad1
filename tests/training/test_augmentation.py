"""The augmentation, and that it is timm's on the same random numbers."""

import random

import pytest
import torch
from PIL import Image

from hf_zhclip.training.augmentation import CHANGES, POLICIES, Augmentation, changed, cropped

from tests.parity.peers import package, torchvision_transforms
from tests.pictures import seeded_pictures

FILL = (123, 117, 104)
PICTURES = [picture for _, picture in seeded_pictures()]


def test_an_augmented_picture_is_rgb_of_the_models_size_and_the_same_for_the_same_seed():
    augment = Augmentation(48, FILL)
    picture = PICTURES[4]
    torch.manual_seed(3)
    first = augment(picture)
    torch.manual_seed(3)
    assert first == augment(picture)
    assert (first.size, first.mode) == ((48, 48), "RGB")
    assert len({augment(picture).tobytes() for _ in range(8)}) > 1


def test_every_policy_names_changes_that_exist():
    assert {name for policy in POLICIES for name, _, _ in policy} == set(CHANGES)


def test_a_strip_that_no_crop_fits_is_cropped_in_its_middle():
    picture = Image.new("RGB", (400, 4), "red")
    assert cropped(picture, 8, random.Random(0)).size == (8, 8)


def test_a_crop_alone_changes_no_colour_and_mirrors_nothing():
    """A picture whose left half is red, and whose right half is blue."""
    picture = Image.new("RGB", (60, 60), "red")
    picture.paste("blue", (30, 0, 60, 60))
    crop = Augmentation(48, FILL, crops_only=True)

    torch.manual_seed(3)
    found = [crop(picture) for _ in range(16)]

    assert {each.getpixel((0, 24)) for each in found} == {(255, 0, 0)}
    assert {each.getpixel((47, 24)) for each in found} == {(0, 0, 255)}
    assert len({each.tobytes() for each in found}) > 1


class DrawnByTorch:
    """torch's random numbers as those of `random.Random`, in torchvision's order."""

    def uniform(self, start, end):
        return torch.empty(1).uniform_(start, end).item()

    def randint(self, start, end):
        return torch.randint(start, end + 1, (1,)).item()


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(30))
def test_crops_are_those_of_torchvision_which_taiyi_calls(seed):
    transforms = torchvision_transforms()
    picture = PICTURES[seed % len(PICTURES)]
    crop = transforms.RandomResizedCrop(48, (0.9, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)

    torch.manual_seed(seed)
    expected = crop(picture)
    torch.manual_seed(seed)
    assert cropped(picture, 48, DrawnByTorch()) == expected


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(60))
def test_crops_and_changes_are_those_of_timm(seed):
    timm = package("timm.data")
    picture = PICTURES[seed % len(PICTURES)]
    crop = timm.transforms.RandomResizedCropAndInterpolation(48, scale=(0.9, 1.0), interpolation="bicubic")
    change = timm.auto_augment.auto_augment_transform(
        "original", {"translate_const": 21, "img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    )
    random.seed(seed)
    expected = change(crop(picture).convert("RGB"))
    draw = random.Random(seed)
    assert changed(cropped(picture, 48, draw).convert("RGB"), FILL, draw) == expected
