"""Seeded inputs of the towers, and characters for the tokenizers."""

import sys
import unicodedata

import torch

LENGTHS, LONGEST = (16, 12, 7, 4), 32


def seeded_ids(vocab_size: int) -> torch.Tensor:
    """`(4, 32)` int64: texts of different lengths, each with much padding, so that attending to it shows."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(105, vocab_size, (len(LENGTHS), LONGEST), generator=generator)
    ids[:, 0] = 101
    for row, length in enumerate(LENGTHS):
        ids[row, length - 1] = 102
        ids[row, length:] = 0
    return ids


def seeded_pixels(size: int) -> torch.Tensor:
    """`(2, 3, size, size)`: large patches with noise; noise alone looks the same to every image tower."""
    generator = torch.Generator().manual_seed(2)
    patches = torch.randn(2, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(patches, size=size, mode="bicubic")
    return smooth + 0.3 * torch.randn(smooth.shape, generator=generator)


def characters() -> list[str]:
    """Every character but surrogates; of ideographs and those without a meaning, one in a hundred."""
    thinned = ("Lo", "Cn", "Co")
    kinds = ((chr(number), unicodedata.category(chr(number))) for number in range(1, sys.maxunicode + 1))
    return [each for each, kind in kinds if kind != "Cs" and (kind not in thinned or ord(each) % 100 == 0)]
