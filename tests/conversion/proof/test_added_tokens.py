"""Words that somebody added to a tokenizer: the witness and the repo find them where transformers' own class does."""

import json
import re
import shutil
import textwrap
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertTokenizer, CLIPTokenizer, XLMRobertaTokenizer

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.proof import texts
from hf_zhclip.conversion.proof.reference import bpe, vocabularies, wordpiece
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.tokenizers.builders import bert_tokenizer, xlm_roberta_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import DEFAULT_VOCAB

from tests import checkpoints as c
from tests import unigram
from tests.thorough import in_turns

WHOLE = texts.whole
"""Before the tests of other rooms make it brief."""

SMALL = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "猫", "狗", "cat", "##s", "e", "x", "##x", "sku", "[MORE]"]
TEXTS = [
    "一只猫狗",
    "猫狗猫 狗",
    "x<sku>e <SKU>",
    "x <sku> e",
    "xabcq abcqx abcq",
    "Éclair eclair",
    "a [PAD] b[MASK]",
    "[more] [MORE]x",
    "catcats",
    "猫\t<sku>\n狗 数据",
    "",
]


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def flags(content, **given):
    return {
        **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False),
        "content": content,
        **given,
    }


def by_added_tokens(folder, place):
    """Files of transformers before 4.34."""
    words = ["<sku>", "猫狗", "abcq", "Éclair"]
    write_json(folder / "added_tokens.json", {word: place + number for number, word in enumerate(words)})
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": ["abcq"]})


def by_decoder(folder, place):
    """Files of transformers 4.34 to 4.57."""
    tokens = [
        flags("<sku>", normalized=True, lstrip=True),
        flags("猫狗", normalized=True),
        flags("abcq", single_word=True),
        flags("Éclair", rstrip=True),
    ]
    decoder = {str(place + number): each for number, each in enumerate(tokens)}
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": decoder})


def by_tokenizer_json(folder, place):
    """The file of the tokenizers library alone."""
    type_of = CLIPTokenizer if (folder / "merges.txt").exists() else BertTokenizer
    backend = type_of.from_pretrained(folder).backend_tokenizer
    backend.save(str(folder / "tokenizer.json"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"] += [
        {"id": place, **flags("<sku>", rstrip=True)},
        {"id": place + 1, **flags("猫狗", normalized=True, single_word=True)},
        {"id": place + 2, **flags("abcq", special=True)},
        {"id": place + 3, **flags("Éclair", normalized=True)},
    ]
    write_json(folder / "tokenizer.json", content)


def saved_now(folder, place):
    """What the installed transformers saves."""
    type_of = CLIPTokenizer if (folder / "merges.txt").exists() else BertTokenizer
    tokenizer = type_of.from_pretrained(folder)
    tokenizer.add_tokens(["<sku>", "猫狗"])
    tokenizer.add_tokens(["abcq", "Éclair"], special_tokens=True)
    tokenizer.save_pretrained(folder)


WAYS = [by_added_tokens, by_decoder, by_tokenizer_json, saved_now]


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"tokenize_chinese_chars": False}], ids=str)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_reference_cuts_a_text_at_added_words_as_bert_tokenizer_does(tmp_path, way, settings):
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in SMALL), encoding="utf-8")
    way(tmp_path, len(SMALL))
    file = tmp_path / "tokenizer_config.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    write_json(file, {**found, **settings})
    upstream = BertTokenizer.from_pretrained(tmp_path)

    vocab = vocabularies.stated_wordpiece(tmp_path)

    assert vocabularies.table(vocab).rows == upstream.get_vocab()
    for text in TEXTS:
        assert wordpiece.folder_ids([text], vocab, 99) == [upstream(text)["input_ids"]], text


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_reference_cuts_a_text_at_added_words_as_clip_tokenizer_does(tmp_path, way):
    folder = c.common.bpe_folder(tmp_path / "clip")
    way(folder, len(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))))
    upstream = CLIPTokenizer.from_pretrained(folder)

    vocab = vocabularies.clip_bpe(folder)

    assert vocabularies.table(vocab).rows == upstream.get_vocab()
    for text in TEXTS:
        assert bpe.clip_ids([text], vocab.ids, vocab.merges, vocab.added, 99) == [upstream(text)["input_ids"]], text


def with_rows(folder, key, rows, **text_config):
    """Gives the checkpoint of a folder these rows for words."""
    file = next(folder / name for name in ("pytorch_model.bin", "model.safetensors") if (folder / name).exists())
    weights = torch.load(file) if file.suffix == ".bin" else load_file(file)
    extra = torch.randn(
        max(rows - len(weights[key]), 0), weights[key].shape[1], generator=torch.Generator().manual_seed(0)
    )
    (torch.save if file.suffix == ".bin" else save_file)(
        {**weights, key: torch.cat([weights[key][:rows], extra])}, file
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("text_config", "text_config_dict"):
        if name in config:
            config[name].update(vocab_size=rows, **text_config)
    write_json(folder / "config.json", config)


FOLDERS = {
    "chinese_clip": "text_model.embeddings.word_embeddings.weight",
    "hf_clip": "text_model.embeddings.token_embedding.weight",
}
END = {"hf_clip": {"eos_token_id": len(c.common.bpe()[0]) - 1}}
"""Behind which the added words stand, so that the config has to state it."""

GIVEN = ["一只猫狗和<sku>", "x<SKU>x 猫 狗", "xabcqx abcq", "ÉCLAIR Éclair eclair"]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("family", "way"),
    in_turns(product(FOLDERS, WAYS), lambda row: row[1]),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_folder_with_added_words_converts_with_its_own_tokenizer_s_ids(family, way, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "whole", WHOLE)
    found = c.FAMILIES[family](tmp_path)
    type_of = CLIPTokenizer if family == "hf_clip" else BertTokenizer
    own = len(type_of.from_pretrained(found.source))
    way(found.source, own)
    upstream = type_of.from_pretrained(found.source)
    with_rows(found.source, FOLDERS[family], len(upstream), **END.get(family, {}))

    report = convert(found.source, tmp_path / "OUT", **found.arguments)

    assert report.level == "peer"
    ours = AutoTokenizer.from_pretrained(tmp_path / "OUT")
    assert ours(GIVEN)["input_ids"] == upstream(GIVEN)["input_ids"]
    assert verify(tmp_path / "OUT").passed
    assert max(map(max, ours(GIVEN)["input_ids"])) == len(upstream) - 1 > own


def test_a_tokenizer_json_alone_with_added_words_is_sent_to_its_folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in SMALL), encoding="utf-8")
    by_tokenizer_json(tmp_path, len(SMALL))

    with pytest.raises(InputError, match=f"added tokens.*<sku>.*Pass the folder {tmp_path}"):
        bert_tokenizer(tmp_path / "tokenizer.json", 12)

    assert bert_tokenizer(tmp_path, 12)("x <sku>")["input_ids"] == [2, 10, len(SMALL), 3]


def test_words_added_beside_an_xlm_roberta_are_refused_where_its_tokenizer_json_lacks_them(tmp_path):
    unigram.tokenizer_file(tmp_path / "tokenizer.json")
    write_json(tmp_path / "added_tokens.json", {"<mask>": 4, "<sku>": 900})

    with pytest.raises(InputError, match=r"\['<sku>'\] in .*added_tokens.json.*save_pretrained"):
        xlm_roberta_tokenizer(tmp_path, 12)

    # The advice, walked.
    XLMRobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    wanted = XLMRobertaTokenizer.from_pretrained(tmp_path)("x <sku>")["input_ids"]
    assert xlm_roberta_tokenizer(tmp_path, 12)("x <sku>")["input_ids"] == wanted


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["chinese_clip", "cn_clip_vit"])
def test_rows_up_to_a_multiple_of_512_are_told_a_way_out_that_works(family, tmp_path, monkeypatch):
    found = c.FAMILIES[family](tmp_path)
    arguments = dict(found.arguments)
    place = found.source if family == "chinese_clip" else tmp_path
    if family == "chinese_clip":
        with_rows(found.source, FOLDERS[family], 21504)
    else:
        weights = torch.load(found.source)
        holder = weights.get("state_dict", weights)
        key = next(name for name in holder if name.endswith("word_embeddings.weight"))
        holder[key] = torch.cat([holder[key], holder[key][: 21504 - len(holder[key])]])
        torch.save(weights, found.source)
        arguments["tokenizer"] = shutil.copy(DEFAULT_VOCAB, tmp_path / "vocab.txt")

    with pytest.raises(InputError, match="a multiple of 512") as error:
        convert(found.source, tmp_path / "OUT", **arguments)

    monkeypatch.chdir(place)
    exec(told_code(error))
    assert convert(found.source, tmp_path / "OUT", **arguments).passed


def told_code(error):
    """The indented lines of a message."""
    return textwrap.dedent("\n".join(line for line in str(error.value).splitlines() if line.startswith("  ")))


@pytest.mark.quick(1)
@pytest.mark.parametrize("kept", ["vocab.json", "tokenizer.json"])
def test_rows_of_clip_up_to_a_multiple_of_256_are_told_a_way_out_that_works(kept, tmp_path, monkeypatch):
    folder = c.FAMILIES["hf_clip"](tmp_path).source
    if kept == "tokenizer.json":
        CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
        (folder / "vocab.json").unlink()
    with_rows(folder, FOLDERS["hf_clip"], 768)

    with pytest.raises(InputError, match="a multiple of 256") as error:
        convert(folder, tmp_path / "OUT")

    monkeypatch.chdir(folder)
    exec(told_code(error))
    (end,) = re.findall(r'"eos_token_id": (\d+) in the text_config', str(error.value))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["eos_token_id"] = int(end)
    write_json(folder / "config.json", config)
    assert convert(folder, tmp_path / "OUT").passed


def test_rows_of_xlm_roberta_up_to_a_multiple_of_256_are_told_a_way_out_that_works(tmp_path, monkeypatch):
    folder, key = (
        c.FAMILIES["open_clip_xlm_roberta"](tmp_path).source,
        "text.transformer.embeddings.word_embeddings.weight",
    )
    weights = torch.load(folder / "open_clip_pytorch_model.bin")
    torch.save({**weights, key: weights[key].repeat(9, 1)[:256]}, folder / "open_clip_pytorch_model.bin")
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    config["model_cfg"]["text_cfg"]["hf_model_config"]["vocab_size"] = 256
    write_json(folder / "open_clip_config.json", config)

    with pytest.raises(InputError, match="a multiple of 256") as error:
        convert(folder, tmp_path / "OUT")

    monkeypatch.chdir(folder)
    exec(told_code(error))
    assert convert(folder, tmp_path / "OUT").passed


@pytest.mark.quick(1)
@pytest.mark.parametrize("rows", [528, 768])
def test_padded_rows_of_openai_s_clip_are_cut(rows, original, tmp_path):
    found = original("openai_clip")
    weights = read(found.source).tensors
    key, words = "token_embedding.weight", len(weights["token_embedding.weight"])
    padded = -(-words // rows) * rows
    more = {key: weights[key].repeat(2, 1)[:padded], "vocab_size": torch.tensor(padded)}
    torch.save({**weights, **more}, tmp_path / "padded.pt")

    with pytest.raises(InputError, match=f"cut the rows beyond it: keep the first {words} rows"):
        convert(tmp_path / "padded.pt", tmp_path / "OUT", **found.arguments)

    torch.save({**weights, **more, key: more[key][:words], "vocab_size": torch.tensor(words)}, tmp_path / "cut.pt")
    assert convert(tmp_path / "cut.pt", tmp_path / "OUT", **found.arguments).passed


def test_rows_behind_added_words_are_cut(tmp_path):
    folder = c.FAMILIES["chinese_clip"](tmp_path).source
    tokenizer = BertTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<sku>"])
    tokenizer.save_pretrained(folder)
    with_rows(folder, FOLDERS["chinese_clip"], 21504)

    with pytest.raises(InputError, match='keep the first 21129 rows .* state "vocab_size": 21129') as error:
        convert(folder, tmp_path / "OUT")
    assert "in Python" not in str(error.value)

    with_rows(folder, FOLDERS["chinese_clip"], 21129)
    assert convert(folder, tmp_path / "OUT").passed
