"""EasyNLP copied cn_clip's forward (recorded outputs prove it), but prepares texts and pictures itself."""

from dataclasses import replace

from ..reference import easynlp
from ..witness import Facts, Offer
from . import cn_clip
from .common import Tensors


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The towers of the installed cn_clip."""
    bare = {key.removeprefix(easynlp.PREFIX): tensor for key, tensor in tensors.items()}
    offer = cn_clip.original(bare, replace(facts, config={**facts.config, **easynlp.HEADS}, vocab=facts.vocab.tokens))
    return offer and replace(offer, token_ids=None, pixels=None)
