"""The tokenizers: ids that cn_clip and BertTokenizer gave, vocabularies in and out, and what is refused."""

import hashlib
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.proof.reference.vocabularies import stated_wordpiece
from hf_zhclip.conversion.proof.reference.wordpiece import folder_ids
from hf_zhclip.conversion.tokenizers.builders import (
    bert_tokenizer,
    clip_tokenizer,
    cn_clip_tokenizer,
    xlm_roberta_tokenizer,
)
from hf_zhclip.conversion.tokenizers.vocabularies import DEFAULT_VOCAB, default_vocab, read_vocab

from tests import checkpoints, unigram

RECORD = json.loads(
    (Path(__file__).parents[2] / "parity" / "recorded" / "cn_clip_token_ids.json").read_text(encoding="utf-8")
)
SMALL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "猫", "cat", "##s", "Cat", "e", "é"]


@pytest.fixture(scope="module")
def vocab():
    return default_vocab()


@pytest.fixture
def small_folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(SMALL) + "\n", encoding="utf-8")
    return tmp_path


def test_the_packaged_vocabulary_is_googles():
    content = DEFAULT_VOCAB.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "45bbac6b341c319adc98a532532882e91a9cefc0329aa57bac9ae761c27b291c"


def test_the_packaged_vocabulary_has_21128_tokens(vocab):
    assert len(vocab) == len(set(vocab)) == 21128
    assert [vocab[index] for index in (0, 100, 101, 102, 103)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class TestCnClip:
    @pytest.mark.parametrize("length", [52, 128])
    def test_ids_are_those_that_cn_clip_gave(self, vocab, length):
        tokenizer = cn_clip_tokenizer(vocab, length)
        found = dict(zip(RECORD["texts"], tokenizer(RECORD["texts"], truncation=True).input_ids, strict=True))
        assert found == dict(zip(RECORD["texts"], RECORD[f"ids, {length} at most"], strict=True))

    def test_ids_and_settings_outlive_a_reload(self, vocab, tmp_path):
        cn_clip_tokenizer(vocab, 52).save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        assert tokenizer(RECORD["texts"], truncation=True).input_ids == RECORD["ids, 52 at most"]
        assert tokenizer.model_max_length == 52
        assert tokenizer.is_fast
        assert len(tokenizer) == 21128
        named = ("pad", "unk", "cls", "sep", "mask")
        assert [getattr(tokenizer, f"{name}_token_id") for name in named] == [0, 100, 101, 102, 103]

    def test_padding_to_the_limit_gives_zeros_and_a_mask(self, vocab):
        inputs = cn_clip_tokenizer(vocab, 6)("猫", padding="max_length")
        assert inputs.input_ids == [101, vocab.index("猫"), 102, 0, 0, 0]
        assert inputs.attention_mask == [1, 1, 1, 0, 0, 0]

    def test_ids_decode_to_the_text(self, vocab):
        tokenizer = cn_clip_tokenizer(vocab, 52)
        assert tokenizer.decode(tokenizer("a photographer")["input_ids"], skip_special_tokens=True) == "a photographer"

    def test_a_lone_surrogate_is_refused(self, vocab):
        with pytest.raises((TypeError, UnicodeEncodeError)):
            cn_clip_tokenizer(vocab, 52)("\ud83d")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda vocab: vocab.remove("[MASK]"), r"found no \[MASK\] among the 10 tokens"),
            (lambda vocab: vocab.append("猫"), "found '猫' more than once"),
            (lambda vocab: vocab.insert(0, "a"), r"found 'a' as token 0 of the vocabulary, wanted \[PAD\]"),
        ],
    )
    def test_an_unfit_vocabulary_is_refused(self, change, message):
        vocab = list(SMALL)
        change(vocab)
        with pytest.raises(InputError, match=message):
            cn_clip_tokenizer(vocab, 52)

    def test_a_context_without_room_for_a_token_is_refused(self):
        with pytest.raises(InputError, match="context length of 2; wanted at least 3"):
            cn_clip_tokenizer(SMALL, 2)


class TestBert:
    def check(self, folder, reloaded_at, texts=RECORD["texts"]):
        original = BertTokenizer.from_pretrained(folder)
        ours = bert_tokenizer(folder, 77)
        wanted = original(texts, truncation=True, max_length=77)
        assert ours(texts, truncation=True) == wanted
        ours.save_pretrained(reloaded_at)
        reloaded = AutoTokenizer.from_pretrained(reloaded_at)
        assert reloaded(texts, truncation=True) == wanted
        assert (reloaded.model_max_length, len(reloaded)) == (77, len(original))
        return reloaded

    @pytest.mark.quick(5)
    @pytest.mark.parametrize(
        "config",
        [
            None,
            {"do_lower_case": False},
            {"do_lower_case": True, "strip_accents": False},
            {"tokenize_chinese_chars": False, "tokenizer_class": "BertTokenizer"},
            {"model_max_length": 512, "tokenizer_class": "BertTokenizerFast", "padding_side": "right"},
        ],
    )
    @pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
    def test_ids_are_those_of_bert_tokenizer_on_the_folder(self, vocab, tmp_path, config, form):
        source = tmp_path / "source"
        source.mkdir()
        (source / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
        if config is not None:
            (source / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        if form == "tokenizer.json":
            BertTokenizer.from_pretrained(source).backend_tokenizer.save(str(source / "tokenizer.json"))
            (source / "vocab.txt").unlink()
        reloaded = self.check(source, tmp_path / "saved")
        assert (reloaded.padding_side, reloaded.truncation_side) == ("right", "right")

    def test_settings_change_the_ids(self, small_folder):
        lower = bert_tokenizer(small_folder, 9)("Cats é").input_ids
        (small_folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
        cased = bert_tokenizer(small_folder, 9)("Cats é").input_ids
        assert (lower, cased) == ([2, 6, 7, 9, 3], [2, 8, 7, 10, 3])

    def test_added_tokens_are_kept(self, small_folder, tmp_path):
        original = BertTokenizer.from_pretrained(small_folder)
        original.add_tokens(["<犬>"])
        original.save_pretrained(tmp_path / "more")
        reloaded = self.check(tmp_path / "more", tmp_path / "saved", ["猫<犬>猫"])
        assert reloaded("猫<犬>猫").input_ids == [2, 5, 11, 5, 3]

    def test_truncation_and_padding_of_the_file_are_left_out(self, small_folder, tmp_path):
        backend = BertTokenizer.from_pretrained(small_folder).backend_tokenizer
        backend.enable_truncation(4)
        backend.enable_padding(length=8)
        backend.save(str(small_folder / "tokenizer.json"))
        bert_tokenizer(small_folder, 20).save_pretrained(tmp_path / "saved")
        saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text(encoding="utf-8"))
        assert (saved["truncation"], saved["padding"]) == (None, None)
        assert AutoTokenizer.from_pretrained(tmp_path / "saved")("猫" * 9).input_ids == [2] + [5] * 9 + [3]

    def test_a_vocabulary_alone_is_used_as_bert_tokenizer_does(self):
        tokenizer = bert_tokenizer(SMALL, 9)
        assert tokenizer("Cats é [MASK]").input_ids == [2, 6, 7, 9, 4, 3]
        assert tokenizer("猫").token_type_ids == [0, 0, 0]

    @pytest.mark.parametrize(
        ("name", "found"), [("lowercase", False), ("strip_accents", False), ("handle_chinese_chars", False)]
    )
    def test_a_setting_that_only_tokenizer_json_holds_is_refused(self, small_folder, name, found):
        BertTokenizer.from_pretrained(small_folder).backend_tokenizer.save(str(small_folder / "tokenizer.json"))
        content = json.loads((small_folder / "tokenizer.json").read_text(encoding="utf-8"))
        content["normalizer"][name] = found
        (small_folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(InputError, match=f"found {name}={found} in tokenizer.json"):
            bert_tokenizer(small_folder, 9)

    def test_another_tokenizer_class_is_refused(self, small_folder):
        (small_folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}', encoding="utf-8")
        with pytest.raises(InputError, match="found tokenizer_class 'T5Tokenizer'"):
            bert_tokenizer(small_folder, 9)


# What changes the ids of transformers' own class of each (5.23), where padding stands, or is no value for it.
ALTERING = [
    ("truncation_side", "left"),
    ("truncation_side", None),
    ("padding_side", "left"),
    ("padding_side", "x"),
    ("split_special_tokens", True),
    ("tokenizer_class", 3),
    ("unk_token", 3),
    ("pad_token", {"special": True}),
]
ALTERING_BERT = [
    ("do_lower_case", "false"),
    ("do_lower_case", None),
    ("do_lower_case", 0),
    ("strip_accents", "x"),
    ("tokenize_chinese_chars", []),
]
ALTERING_XLM_ROBERTA = [
    ("add_prefix_space", False),
    ("eos_token", "<mask>"),
    ("pad_token", {"__type": "AddedToken", "content": "<unk>"}),
    ("additional_special_tokens", ["the"]),
    ("extra_special_tokens", {"image_token": "the"}),
    ("added_tokens_decoder", {"9": {"content": "the", "special": True}}),
    ("additional_special_tokens", 3),
]

PUBLISHED_XLM_ROBERTA = {
    **{"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>"},
    "pad_token": "<pad>",
    "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True},
    "added_tokens_decoder": {"1": {"content": "<pad>", "special": True}},
    "additional_special_tokens": [],
    "extra_special_tokens": {},
    "tokenizer_class": "XLMRobertaTokenizerFast",
    "model_max_length": 512,
    "padding_side": "right",
    "truncation_side": "right",
    "split_special_tokens": False,
    "add_prefix_space": True,
    "clean_up_tokenization_spaces": False,
}


class TestSettingsThatChangeIds:
    def check(self, tokenizer, folder, key, value):
        tokenizer(folder, 12)
        file = folder / "tokenizer_config.json"
        stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(json.dumps({**stated, key: value}), encoding="utf-8")
        with pytest.raises(InputError) as error:
            tokenizer(folder, 12)
        assert f"{key} {value!r}" in str(error.value) and "tokenizer_config.json" in str(error.value)

    @pytest.mark.parametrize(("key", "value"), [*ALTERING, *ALTERING_BERT])
    def test_of_bert_are_refused(self, key, value, small_folder):
        self.check(bert_tokenizer, small_folder, key, value)

    @pytest.mark.parametrize(("key", "value"), ALTERING)
    def test_of_clip_are_refused(self, key, value, tmp_path):
        self.check(clip_tokenizer, checkpoints.hf_clip.clip_folder(tmp_path / "clip"), key, value)

    @pytest.mark.parametrize(("key", "value"), [*ALTERING, *ALTERING_XLM_ROBERTA])
    def test_of_xlm_r_are_refused(self, key, value, tmp_path):
        unigram.tokenizer_file(tmp_path / "tokenizer.json")
        self.check(xlm_roberta_tokenizer, tmp_path, key, value)

    def test_what_published_xlm_r_folders_state_is_taken(self, tmp_path):
        unigram.tokenizer_file(tmp_path / "tokenizer.json")
        plain = xlm_roberta_tokenizer(tmp_path, 12)("猫<mask>猫").input_ids
        stated = json.dumps(PUBLISHED_XLM_ROBERTA)
        (tmp_path / "tokenizer_config.json").write_text(stated, encoding="utf-8")
        assert xlm_roberta_tokenizer(tmp_path, 12)("猫<mask>猫").input_ids == plain


class TestReadVocab:
    def test_a_text_file_a_json_file_and_a_folder_give_the_same(self, vocab, tmp_path):
        (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
        cn_clip_tokenizer(vocab, 52).save_pretrained(tmp_path / "saved")
        forms = [tmp_path / "vocab.txt", tmp_path, tmp_path / "saved" / "tokenizer.json", tmp_path / "saved"]
        assert all(read_vocab(form) == vocab for form in forms)

    def test_line_ends_of_windows_are_no_part_of_a_token(self, tmp_path):
        (tmp_path / "vocab.txt").write_bytes("\r\n".join(SMALL).encode())
        assert read_vocab(tmp_path / "vocab.txt") == SMALL

    def test_added_tokens_count(self, small_folder, tmp_path):
        tokenizer = BertTokenizer.from_pretrained(small_folder)
        tokenizer.add_tokens(["<犬>"])
        tokenizer.save_pretrained(tmp_path / "more")
        assert read_vocab(tmp_path / "more") == [*SMALL, "<犬>"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("vocab.txt", "一\n二\n".encode(), r"found no \[PAD\], \[UNK\], .* among the 2 tokens of .*vocab\.txt"),
            ("vocab.txt", "\n".join([*SMALL, "猫"]).encode(), "found '猫' more than once in .*vocab.txt"),
            ("vocab.txt", "词汇".encode("gbk"), "not UTF-8"),
            ("tokenizer.json", b"{", "is no valid JSON"),
            ("tokenizer.json", b"[]", "as .*tokenizer.json; wanted an object"),
            ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}}}', "tokenizer of type 'BPE'"),
            (
                "tokenizer.json",
                b'{"model": {"type": "WordPiece", "vocab": {"a": 1}}}',
                "with the ids 0 to 0, each once",
            ),
        ],
    )
    def test_a_file_that_is_no_vocabulary_is_refused(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_vocab(tmp_path / name)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="found no file .*nowhere; wanted a vocab.txt"):
            read_vocab(tmp_path / "nowhere")
        with pytest.raises(InputError, match="found no vocabulary in"):
            read_vocab(tmp_path)


# Classes that take everything from tokenizer.json


@pytest.fixture
def frozen_folder(tmp_path):
    """Gives a folder of BERT's files whose tokenizer.json keeps capitals, of a named class."""

    def make(name):
        vocab = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "猫", "cat", "Cat", "##s"]
        (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab), encoding="utf-8")
        cased = BertTokenizer(vocab={token: number for number, token in enumerate(vocab)}, do_lower_case=False)
        cased.add_tokens(["<sku>"])
        cased.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        write(tmp_path / "tokenizer_config.json", {"tokenizer_class": name})
        return tmp_path

    return make


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend", "ChineseCLIPTokenizer"])
def test_a_class_that_takes_everything_from_tokenizer_json_is_taken_with_it(name, frozen_folder):
    folder = frozen_folder(name)
    texts = ["Cats 猫cat", "a <sku>[MASK]Cat", "CAT"]

    ours = bert_tokenizer(folder, 12)(texts)["input_ids"]

    assert ours == PreTrainedTokenizerFast.from_pretrained(folder)(texts)["input_ids"]
    assert ours == folder_ids(texts, stated_wordpiece(folder), 12)
    assert 7 in ours[0], "a capital that was kept"


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "ChineseCLIPTokenizer", "RobertaTokenizer"])
def test_a_class_that_cannot_be_taken_is_told_a_way_out_that_works(name, frozen_folder):
    folder = frozen_folder(name)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(InputError, match='"tokenizer_class": "BertTokenizer"'):
        bert_tokenizer(folder, 12)

    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    assert bert_tokenizer(folder, 12)("cats")["input_ids"] == [2, 6, 8, 3]


def test_a_tokenizer_json_of_other_steps_is_refused_in_words(frozen_folder):
    folder = frozen_folder("PreTrainedTokenizerFast")
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    write(folder / "tokenizer.json", {**content, "pre_tokenizer": {"type": "Whitespace"}})

    with pytest.raises(
        InputError, match="BertNormalizer, Whitespace in .*wanted BERT's steps, BertNormalizer and BertPreTokenizer"
    ):
        bert_tokenizer(folder, 12)
