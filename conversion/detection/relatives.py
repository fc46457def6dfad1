"""Models that are known and not converted: the neighbours that each family names, and those of no family."""

from collections.abc import Iterable

from ..mapping import has_match
from ..reading.read import Checkpoint
from ..source import Relative
from ..sources import SOURCES

NOTHING_TO_CONVERT = "There is nothing to convert: transformers' own AutoModel loads its folder."

STOCK_TYPES = {"altclip": "AltCLIP", "siglip": "SigLIP", "siglip2": "SigLIP 2", "metaclip_2": "MetaCLIP 2"}
"""transformers' own dual encoders that no source reads, by the model type in config.json."""

NOT_BACK = (
    "Quantisation cannot be undone. Convert the checkpoint from before the quantisation, which holds the original "
    "weights."
)

OF_NO_FAMILY = (
    Relative(
        "a LoRA adapter, or a model with unmerged LoRA weights",
        ("*lora_A*",),
        "Merge it with PEFT's merge_and_unload() and save the result.",
        altered=True,
    ),
    Relative("a model with quantised weights", ("*_packed_params*",), NOT_BACK, altered=True),
    Relative("a model with quantised weights (bitsandbytes)", ("*.quant_state*",), NOT_BACK, altered=True),
    Relative("a model with quantised weights (bitsandbytes, 8 bit)", ("*.SCB",), NOT_BACK, altered=True),
    Relative("AltCLIP", ("text_model.roberta.*", "text_model.transformation.*"), NOTHING_TO_CONVERT),
    Relative(
        "SigLIP or SigLIP 2 in Hugging Face's format",
        ("text_model.head.*", "vision_model.head.probe", "logit_bias"),
        NOTHING_TO_CONVERT,
    ),
    Relative(
        "a BERT without a pooler: a text tower whose vectors cannot be compared with pictures",
        ("embeddings.word_embeddings.weight", "encoder.layer.{}.*"),
        "It is not converted, because nothing says which of its vectors represents a text. transformers' own "
        "AutoModel loads it.",
    ),
)

RELATIVES = (*(relative for source in SOURCES.values() for relative in source.relatives), *OF_NO_FAMILY)


def altered(checkpoint: Checkpoint) -> str | None:
    """The message for a model of any format that was changed so that it does not convert; None if it was not."""
    return _message(checkpoint, [relative for relative in RELATIVES if relative.altered])


def known(checkpoint: Checkpoint) -> str | None:
    """The message for a known model that is not converted; None if it is unknown."""
    return _message(checkpoint, RELATIVES)


def stock(checkpoint: Checkpoint) -> str | None:
    """The message for a model that transformers itself loads, by its config.json; None if it is no such model."""
    kind = checkpoint.config.get("model_type")
    if not isinstance(kind, str) or kind not in STOCK_TYPES:
        return None
    return f"{checkpoint.name} is {STOCK_TYPES[kind]}. {NOTHING_TO_CONVERT}"


def _message(checkpoint: Checkpoint, relatives: Iterable[Relative]) -> str | None:
    found = next((relative for relative in relatives if _fits(relative, checkpoint)), None)
    return f"{checkpoint.name} is {found.title}. {found.advice}" if found else None


def _fits(relative: Relative, checkpoint: Checkpoint) -> bool:
    return (
        all(checkpoint.shapes.get(key) in allowed for key, allowed in relative.sizes.items())
        and all(_any(pattern, checkpoint) for pattern in relative.required)
        and not any(_any(pattern, checkpoint) for pattern in relative.absent)
    )


def _any(pattern: str, checkpoint: Checkpoint) -> bool:
    return has_match(pattern, checkpoint.ordered)
