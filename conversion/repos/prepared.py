"""Checks the tokenizer against the model."""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..tokenizers.vocabularies import DEFAULT_VOCAB
from ..ways_out import finish_it
from ..words import Words

OTHER_VOCABULARY = "Pass the vocabulary that the model was trained with: --tokenizer PATH."

PADDED_TO = (8, 16, 32, 64, 128)
"""Multiples to which trainings round up an embedding's rows, so that a GPU multiplies it faster."""

WIDE = (256, 512, 1024)
"""Larger multiples, up to which so many rows may lie beyond a vocabulary that another vocabulary is as likely."""

SPARE_ROWS = Words(
    "The text tower has {rows} rows for words, and its vocabulary has {words} words. The other rows are taken as "
    "padding up to a multiple of {multiple}. No text uses these rows.",
    "文本塔的词嵌入有 {rows} 行，词表有 {words} 个词。多出的行视为补齐到 {multiple} 的倍数的填充，任何文本都用不到。",
)

LEGACY_EOS = 2
"""An eos_token_id in CLIP's older configs, wrong but harmless (transformers, models/clip/modeling_clip.py)."""


def check_tokenizer(tokenizer: Any, model_config: Any) -> None:
    """Checks a tokenizer against its model: rows, masked and pooled ids, padding and token types.

    Raises:
        InputError: they belong to different models, or a batch would give a text other inputs than the text alone.
    """
    _check_ids(tokenizer, model_config)
    if tokenizer.padding_side != "right":
        raise InputError(
            f"The tokenizer pads on the {tokenizer.padding_side}, and padding there moves the positions of the words. "
            "Wanted: right, as convert writes it. Correct padding_side, or take the base's tokenizer: "
            f"{finish_it('TRAINED')}"
        )
    if any(types := tokenizer("x").get("token_type_ids", [])):
        raise InputError(
            f"The tokenizer gives a text the token types {types}; wanted zeros, because these models were trained "
            f"with zeros. {finish_it('TRAINED')}"
        )


def spare_rows(tokenizer: Any, model_config: Any) -> tuple[Words, ...]:
    """The card's sentences about rows without a word in the vocabulary; none if each row has its word."""
    words, rows = words_of(tokenizer), model_config.text_config.vocab_size
    if words >= rows:
        return ()
    return (SPARE_ROWS.filled(rows=rows, words=words, multiple=padded_to(words, rows)),)


def words_of(tokenizer: Any) -> int:
    """The number of rows that a vocabulary needs; with gaps, it has fewer words than its highest id suggests."""
    return max(tokenizer.get_vocab().values()) + 1


def padded_to(words: int, rows: int, multiples: Sequence[int] = PADDED_TO) -> int | None:
    """The smallest of the multiples by which rounding up the words gives these rows."""
    return next((multiple for multiple in multiples if -(-words // multiple) * multiple == rows), None)


def _check_ids(tokenizer: Any, model_config: Any) -> None:
    text = model_config.text_config
    if len(tokenizer) > text.vocab_size:
        raise InputError(
            f"The tokenizer has {len(tokenizer)} words, but the model has only {text.vocab_size} rows for words. "
            f"{OTHER_VOCABULARY}"
        )
    words = words_of(tokenizer)
    if words > text.vocab_size:
        raise InputError(
            f"The tokenizer gives ids up to {words - 1}, but the model has only {text.vocab_size} rows for words. "
            f"{OTHER_VOCABULARY}"
        )
    if words < text.vocab_size and padded_to(words, text.vocab_size) is None:
        _refuse_wide_padding(tokenizer, words, model_config)
        raise InputError(
            f"The tokenizer has words up to id {words - 1}, but the model has {text.vocab_size} rows. Padding up to a "
            f"multiple of {', '.join(map(str, PADDED_TO))} does not give this number of rows. Words are missing, or "
            f"the tokenizer belongs to another model. {OTHER_VOCABULARY}"
        )
    if not model_config.is_text_causal and tokenizer.pad_token_id != text.pad_token_id:
        raise InputError(
            f"The tokenizer pads with id {tokenizer.pad_token_id}, but the model pads with id {text.pad_token_id}. "
            f"{OTHER_VOCABULARY}"
        )
    if model_config.text_pooling == "eos":
        _check_end(tokenizer("")["input_ids"][-1], words, text.eos_token_id, text.vocab_size)


def _refuse_wide_padding(tokenizer: Any, words: int, model_config: Any) -> None:
    """Names the way out for a vocabulary whose rows may be padded up to a larger multiple."""
    rows = model_config.text_config.vocab_size
    multiple = padded_to(words, rows, WIDE)
    if multiple is None:
        return
    own = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    pools_last = model_config.text_pooling == "eos" and model_config.text_config.eos_token_id == rows - 1
    if pools_last or max(own.values()) + 1 < words:
        # Words at the last rows would move the pooled id, or those that were added behind the vocabulary.
        way = f"{_cut(words, rows)} "
    else:
        way = _words_for_rows(type(tokenizer.backend_tokenizer.model).__name__, words, rows)
        if model_config.text_pooling == "eos":
            end = tokenizer("")["input_ids"][-1]
            way += (
                f'State the end, too, if it is not stated: "eos_token_id": {end} in the text_config of config.json. '
            )
    raise InputError(
        f"The tokenizer has words up to id {words - 1}, but the model has {rows} rows, a multiple of {multiple}. More "
        "rows are taken as padding only up to a multiple of 128. If the model was trained with this vocabulary, "
        f"{way}If the model was trained with another vocabulary: --tokenizer PATH."
    )


def _cut(words: int, rows: int) -> str:
    return (
        f"cut the rows beyond it: keep the first {words} rows of the word embedding, in the weights, and state "
        f'"vocab_size": {words} where the weights, a config.json or the file of --config state {rows}.'
    )


WITH_ROWS = {
    "WordPiece": {
        "tokenizer.json": "vocab['model']['vocab'].update(rows)",
        "vocab.txt": "'\\n'.join([text.rstrip('\\n'), *rows, ''])",
    },
    "BPE": {"tokenizer.json": "vocab['model']['vocab'].update(rows)", "vocab.json": "vocab.update(rows)"},
    "Unigram": {"tokenizer.json": "vocab['model']['vocab'].extend([word, 0.0] for word in rows)"},
}
"""By a vocabulary's kind: its files, and the code that adds words. No text reaches a word that holds a space."""

PACKAGED = (
    "If vocab.txt lies beside no config.json, pass it: --tokenizer vocab.txt. The packaged vocabulary to copy is "
    f"{str(DEFAULT_VOCAB)!r}. "
)


def _words_for_rows(kind: str, words: int, rows: int) -> str:
    """The code that gives each row a word, and where to run it."""
    lines = ["import json, pathlib", f"rows = {{f'[row {{n}}]': n for n in range({words}, {rows})}}"]
    for name, change in WITH_ROWS[kind].items():
        lines += [
            f"file = pathlib.Path({name!r})",
            "if file.is_file():",
            "    text = file.read_text(encoding='utf-8')",
        ]
        if name.endswith(".json"):
            lines += ["    vocab = json.loads(text)", f"    {change}"]
            change = "json.dumps(vocab, ensure_ascii=False)"
        lines.append(f"    file.write_text({change}, encoding='utf-8')")
    code = "".join(f"\n  {line}" for line in lines)
    return (
        "give each row beyond it a word that no text reaches. In the folder of the vocabulary, in Python:"
        f"{code}\n{PACKAGED if kind == 'WordPiece' else ''}"
    )


def _check_end(end: int, words: int, pooled: int, rows: int) -> None:
    """Checks the id that ends a text against the id whose state is pooled."""
    state_it = (
        f'"eos_token_id": {end} in the text_config of config.json, and in its text_config_dict if it has one. If no '
        "config.json lies beside the weights, state it in the file of --config. If the vocabulary belongs to another "
        "model: "
        f"{OTHER_VOCABULARY}"
    )
    if pooled == LEGACY_EOS and end != words - 1:
        raise InputError(
            f"The model's eos_token_id is {LEGACY_EOS}. With this value, CLIP takes the state of a text's highest id. "
            f"The tokenizer ends a text with id {end} but has words up to id {words - 1}, so CLIP may take the state "
            f"of another word. If words were added after the end token, state the end token: {state_it}"
        )
    if words < rows == pooled + 1:  # OpenAI's and open_clip's files state no end: it is the last row's
        raise InputError(
            f"The tokenizer ends a text with id {end}, but the model takes the state of id {pooled}, its last row. If "
            f"this vocabulary belongs to the model, {_cut(words, rows)} If the vocabulary belongs to another model: "
            f"{OTHER_VOCABULARY}"
        )
    if pooled not in (LEGACY_EOS, end):
        raise InputError(
            f"The tokenizer ends a text with id {end}, but the model takes the state of its eos_token_id, {pooled}. "
            f"If this vocabulary belongs to the model, the eos_token_id is wrong. Correct it: {state_it}"
        )
