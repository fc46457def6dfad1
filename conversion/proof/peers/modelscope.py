"""cn_clip's own class, because ModelScope's class is a copy of it (recorded outputs prove it)."""

from ..witness import Facts, Offer
from . import cn_clip
from .common import Tensors

PREFIX = "clip_model."


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness from the installed cn_clip."""
    return cn_clip.original({key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}, facts)
