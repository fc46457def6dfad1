"""What prepares a model's texts, held against the model."""

from typing import Any

from ..errors import InputError

OTHER_VOCABULARY = "Pass the vocabulary that the model was trained with: --tokenizer PATH."

LEGACY_EOS = 2
"""An eos_token_id of CLIP's older configs, wrong but harmless (transformers, models/clip/modeling_clip.py)."""


def check_tokenizer(tokenizer: Any, model_config: Any) -> None:
    """Holds a tokenizer against its model: rows, the ids that are masked and pooled, padding and token types.

    Raises:
        InputError: when they are not of one model, or a batch would reach the model otherwise than a text alone.
    """
    _check_ids(tokenizer, model_config)
    if tokenizer.padding_side != "right":
        raise InputError(
            f"The tokenizer pads on the {tokenizer.padding_side}, where positions are counted from; right was wanted, "
            "as convert writes it. Correct padding_side, or convert the original again."
        )
    if any(types := tokenizer("x").get("token_type_ids", [])):
        raise InputError(
            f"The tokenizer gives a text the token types {types}; zeros were wanted, with which these models were "
            "trained. Convert the original again."
        )


def _check_ids(tokenizer: Any, model_config: Any) -> None:
    text = model_config.text_config
    if len(tokenizer) > text.vocab_size:
        raise InputError(
            f"The tokenizer has {len(tokenizer)} words, but the model has {text.vocab_size} rows for them. "
            f"{OTHER_VOCABULARY}"
        )
    # A vocabulary with gaps has fewer words than its highest id says.
    if (highest := max(tokenizer.get_vocab().values())) >= text.vocab_size:
        raise InputError(
            f"The tokenizer gives ids up to {highest}, but the model has {text.vocab_size} rows for them. "
            f"{OTHER_VOCABULARY}"
        )
    if not model_config.is_text_causal and tokenizer.pad_token_id != text.pad_token_id:
        raise InputError(
            f"The tokenizer pads with id {tokenizer.pad_token_id}, but the model pads with id {text.pad_token_id}. "
            f"{OTHER_VOCABULARY}"
        )
    if model_config.text_pooling == "eos":
        # The legacy eos 2 stands for the highest id of the text, which the tokenizer's end then has to be.
        wanted = len(tokenizer) - 1 if text.eos_token_id == LEGACY_EOS else text.eos_token_id
        if (last := tokenizer("")["input_ids"][-1]) != wanted:
            raise InputError(
                f"The tokenizer ends a text with id {last}, but the model takes the state of {wanted}. "
                f"{OTHER_VOCABULARY}"
            )
