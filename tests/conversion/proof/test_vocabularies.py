"""The witness's own readers: what transformers, tokenizers and OpenAI's code make of the same files, and bad files."""

import base64
import gzip
import json
import random
from functools import partial
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.bert.tokenization_bert import load_vocab

from hf_zhclip import conversion
from hf_zhclip.conversion.detection.parts import identify, witness_vocabulary
from hf_zhclip.conversion.proof.reference import bpe, vocabularies
from hf_zhclip.conversion.proof.reference.unigram import xlm_roberta_ids
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers import builders, mending
from hf_zhclip.conversion.tokenizers import vocabularies as conversion_readers

from tests import checkpoints, unigram
from tests.checkpoints import FAMILIES
from tests.conversion.sources.test_openai_clip_reference import IDS

PACKAGED = Path(conversion.__file__).parent / "tokenizers"
VOCAB_FILE = PACKAGED / "vocab.txt"
OPENAI_FILE = PACKAGED / "bpe_simple_vocab_16e6.txt.gz"
SMALL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "猫", "cat", "##s", "Cat", "e", "é"]
TEXTS = ["一只 猫", "CLIP模型！ ½", "super <mask>léo\u3000a  b", "A\u2028一只猫 ", "ｅ\u0301 x\ty", "", "ca  猫▁猫"]


def in_order(vocab):
    return sorted(vocab, key=vocab.__getitem__)


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def changed(path, change):
    """Changes the JSON of a file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    return write_json(path, content)


def vocab_file(folder, tokens=SMALL, end="\n"):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes("".join(token + end for token in tokens).encode())
    return folder


def added(number, token, **fields):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, "special": True, **flags, **fields}


class TestWordPiece:
    def test_the_packaged_vocabulary_is_what_transformers_reads(self):
        assert vocabularies.wordpiece(VOCAB_FILE) == list(load_vocab(VOCAB_FILE))

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_ends_are_those_of_python(self, tmp_path, end):
        vocab_file(tmp_path, end=end)
        assert vocabularies.wordpiece(tmp_path) == list(load_vocab(tmp_path / "vocab.txt")) == SMALL

    @pytest.mark.parametrize("token", ["\u2028", "a\u2028b", "\x85", "a\x0bb", " ", ""])
    def test_no_other_character_ends_a_line(self, tmp_path, token):
        vocab_file(tmp_path, [*SMALL, token, "z"])
        assert vocabularies.wordpiece(tmp_path) == list(load_vocab(tmp_path / "vocab.txt")) == [*SMALL, token, "z"]

    def test_a_byte_order_mark_is_no_part_of_the_first_token(self, tmp_path):
        (tmp_path / "vocab.txt").write_text("\n".join(SMALL), encoding="utf-8-sig")
        assert vocabularies.wordpiece(tmp_path) == SMALL

    def test_lines_that_are_empty_at_the_end_are_no_tokens(self, tmp_path):
        vocab_file(tmp_path, [*SMALL, "", ""])
        assert vocabularies.wordpiece(tmp_path) == SMALL

    def test_a_tokenizer_json_gives_the_ids_of_the_tokenizers_library(self, tmp_path):
        tokenizer = BertTokenizer.from_pretrained(vocab_file(tmp_path / "text"))
        tokenizer.add_tokens(["<犬>", "<b>"])
        tokenizer.save_pretrained(tmp_path / "json")
        file = tmp_path / "json" / "tokenizer.json"
        wanted = in_order(Tokenizer.from_file(str(file)).get_vocab())
        assert vocabularies.wordpiece(file) == vocabularies.wordpiece(file.parent) == wanted == [*SMALL, "<犬>", "<b>"]

    @pytest.mark.parametrize(("number", "token"), [(40, "<far>"), (40, "猫"), (0, "<taken>")])
    def test_an_added_token_has_the_id_that_the_library_gives_it(self, tmp_path, number, token):
        backend = BertTokenizer.from_pretrained(vocab_file(tmp_path)).backend_tokenizer
        backend.save(str(tmp_path / "tokenizer.json"))
        file = changed(tmp_path / "tokenizer.json", lambda it: it["added_tokens"].append(added(number, token)))
        assert vocabularies.wordpiece(tmp_path) == in_order(Tokenizer.from_file(str(file)).get_vocab())

    def test_added_tokens_go_by_their_ids_as_in_bert_tokenizer(self, tmp_path):
        BertTokenizer.from_pretrained(vocab_file(tmp_path)).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        more = [added(12, "<b>"), added(11, "<a>")]
        changed(tmp_path / "tokenizer.json", lambda it: it["added_tokens"].extend(more))
        assert vocabularies.wordpiece(tmp_path) == in_order(BertTokenizer.from_pretrained(tmp_path).get_vocab())

    def test_tokenizer_json_goes_before_vocab_txt(self, tmp_path):
        BertTokenizer.from_pretrained(vocab_file(tmp_path)).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        vocab_file(tmp_path, [*SMALL, "more"])
        assert (
            vocabularies.wordpiece(tmp_path) == in_order(BertTokenizer.from_pretrained(tmp_path).get_vocab()) == SMALL
        )


def seen_flags(normalizer):
    """Lower case, accents and CJK characters, as what is done to a text shows them."""
    done = normalizer.normalize_str("É猫x")
    return done[0].islower(), done[0] in "Ee", " 猫 " in done


def found_flags(folder):
    found = vocabularies.stated_wordpiece(folder)
    return found.lowercase, found.strip_accents, found.cjk_alone


STATED = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": False, "strip_accents": None},
    {"tokenize_chinese_chars": False},
    {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False},
    {"lowercase": False, "handle_chinese_chars": False},
]


class TestStatedWordPiece:
    @pytest.mark.parametrize("stated", STATED, ids=str)
    def test_the_settings_are_those_that_bert_tokenizer_acts_by(self, tmp_path, stated):
        write_json(vocab_file(tmp_path) / "tokenizer_config.json", stated)
        assert found_flags(tmp_path) == seen_flags(
            BertTokenizer.from_pretrained(tmp_path).backend_tokenizer.normalizer
        )

    @pytest.mark.parametrize("stated", [{}, {"tokenizer_class": "BertTokenizer"}, {"do_lower_case": False}], ids=str)
    def test_bert_tokenizer_takes_no_setting_from_tokenizer_json(self, tmp_path, stated):
        BertTokenizer.from_pretrained(vocab_file(tmp_path)).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        changed(
            tmp_path / "tokenizer.json",
            lambda it: it["normalizer"].update(lowercase=False, strip_accents=True, handle_chinese_chars=False),
        )
        write_json(tmp_path / "tokenizer_config.json", stated)
        assert found_flags(tmp_path) == seen_flags(
            BertTokenizer.from_pretrained(tmp_path).backend_tokenizer.normalizer
        )

    @pytest.mark.parametrize("stated", STATED, ids=str)
    def test_a_frozen_folder_says_it_in_tokenizer_json(self, tmp_path, stated):
        source = vocab_file(tmp_path / "source")
        write_json(source / "tokenizer_config.json", stated)
        builders.bert_tokenizer(source, 12).save_pretrained(tmp_path / "frozen")
        frozen = AutoTokenizer.from_pretrained(tmp_path / "frozen")
        assert found_flags(tmp_path / "frozen") == seen_flags(frozen.backend_tokenizer.normalizer)
        assert found_flags(tmp_path / "frozen") == found_flags(source)

    def test_a_file_alone_has_the_defaults_of_bert_tokenizer(self, tmp_path):
        write_json(vocab_file(tmp_path) / "tokenizer_config.json", {"do_lower_case": False})
        defaults = BertTokenizer(vocab={token: number for number, token in enumerate(SMALL)})
        assert found_flags(tmp_path / "vocab.txt") == seen_flags(defaults.backend_tokenizer.normalizer)

    def test_it_has_the_tokens_too(self, tmp_path):
        assert vocabularies.stated_wordpiece(vocab_file(tmp_path)).tokens == SMALL


def check_clip(folder):
    """Compares with CLIPTokenizer: ids, merges, and the tokens that a text is cut at."""
    upstream = CLIPTokenizer.from_pretrained(folder)
    merges = json.loads(upstream.backend_tokenizer.to_str())["model"]["merges"]
    found = vocabularies.clip_bpe(folder)
    assert found.ids == upstream.get_vocab()
    # A merge that stands twice counts by its last place.
    assert list(dict.fromkeys(reversed(found.merges))) == [tuple(merge) for merge in reversed(merges)]
    assert found.special == {token.content for token in upstream.added_tokens_decoder.values()}
    return found


CLIP_SETTINGS = [
    {"pad_token": "<pad>"},
    {"pad_token": "!"},
    {"pad_token": None},
    {"unk_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True}},
    {"additional_special_tokens": ["<a>", "the</w>"]},
    {"extra_special_tokens": {"image_token": "<a>"}},
    {"extra_special_tokens": ["<a>"], "mask_token": "<m>", "cls_token": "<c>", "sep_token": "<s>"},
    {
        "added_tokens_decoder": {"900": {"content": "<z>", "special": True}, "513": {"content": "the</w>"}},
        "pad_token": "<p>",
    },
]


class TestClipBpe:
    def folder(self, tmp_path, form="vocab.json"):
        folder = checkpoints.common.bpe_folder(tmp_path / "clip")
        if form == "tokenizer.json":
            CLIPTokenizer.from_pretrained(folder).backend_tokenizer.save(str(folder / form))
        return folder

    @pytest.mark.parametrize("form", ["vocab.json", "tokenizer.json"])
    @pytest.mark.parametrize("settings", [None, *CLIP_SETTINGS], ids=str)
    def test_it_is_what_clip_tokenizer_reads(self, tmp_path, form, settings):
        folder = self.folder(tmp_path, form)
        if settings is not None:
            write_json(folder / "tokenizer_config.json", settings)
        check_clip(folder)

    @pytest.mark.parametrize("form", ["vocab.json", "tokenizer.json"])
    @pytest.mark.parametrize("settings", [{"mask_token": "<m>"}, CLIP_SETTINGS[-1]], ids=str)
    def test_other_files_of_the_folder_add_what_clip_tokenizer_takes_from_them(self, tmp_path, form, settings):
        folder = self.folder(tmp_path, form)
        if form == "tokenizer.json":
            changed(folder / form, lambda it: it["added_tokens"].append(added(525, "<q>")))
        write_json(folder / "tokenizer_config.json", settings)
        write_json(folder / "special_tokens_map.json", {"mask_token": {"content": "<m2>"}, "sep_token": "<s>"})
        write_json(folder / "added_tokens.json", {"<more>": 600, "<first>": 30, "<same>": 525})
        check_clip(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.split("\n", 1)[1],
            lambda text: text.removesuffix("\n"),
            lambda text: text + "t h\n",
            lambda text: text.replace("c a\n", "#version: 0.3\nc a\n"),
        ],
        ids=["CRLF", "no title", "no last line end", "one merge twice", "a title within"],
    )
    def test_merges_are_read_as_clip_tokenizer_reads_them(self, tmp_path, change):
        folder = self.folder(tmp_path)
        text = (folder / "merges.txt").read_text(encoding="utf-8")
        (folder / "merges.txt").write_bytes(change(text).encode())
        assert check_clip(folder).merges

    def test_a_byte_order_mark_is_no_part_of_the_title(self, tmp_path):
        folder = self.folder(tmp_path)
        plain = vocabularies.clip_bpe(folder)
        for file in folder.iterdir():
            file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
        assert vocabularies.clip_bpe(folder) == plain

    def test_old_files_write_a_merge_as_one_text(self, tmp_path):
        folder = self.folder(tmp_path, "tokenizer.json")
        plain = vocabularies.clip_bpe(folder)
        changed(
            folder / "tokenizer.json", lambda it: it["model"].update(merges=list(map(" ".join, it["model"]["merges"])))
        )
        assert check_clip(folder) == plain

    @pytest.mark.parametrize("form", ["vocab.json", "tokenizer.json"])
    def test_the_file_stands_for_its_folder(self, tmp_path, form):
        folder = self.folder(tmp_path, form)
        assert vocabularies.clip_bpe(folder / form) == vocabularies.clip_bpe(folder)

    def test_a_file_that_does_not_go_first_is_refused(self, tmp_path):
        folder = self.folder(tmp_path, "tokenizer.json")
        with pytest.raises(ValueError, match="found .*vocab.json beside tokenizer.json, which goes first"):
            vocabularies.clip_bpe(folder / "vocab.json")


class TestOpenaiBpe:
    def test_ids_are_numbered_as_in_simple_tokenizer(self):
        found = vocabularies.openai_bpe(OPENAI_FILE)
        # openai/CLIP, clip/simple_tokenizer.py, SimpleTokenizer.__init__; transformers has its bytes_to_unicode.
        lines = gzip.open(OPENAI_FILE).read().decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
        letters = list(bytes_to_unicode().values())
        tokens = letters + [letter + "</w>" for letter in letters] + ["".join(line.split()) for line in lines]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        assert found.merges == tuple(tuple(line.split()) for line in lines)
        assert found.ids == dict(zip(tokens, range(49408), strict=True))
        assert found.special == {"<|startoftext|>", "<|endoftext|>"}

    def test_openais_own_code_gave_the_same_ids(self):
        found = vocabularies.openai_bpe(OPENAI_FILE)
        assert bpe.openai_ids(list(IDS), found.ids, found.merges, 77) == list(IDS.values())

    def test_clip_tokenizer_over_it_gives_openais_ids(self):
        found = vocabularies.openai_bpe(OPENAI_FILE)
        tokenizer = CLIPTokenizer(vocab=dict(found.ids), merges=list(found.merges))
        # The ids of a text in OpenAI's README.
        assert tokenizer("a diagram").input_ids == IDS["a diagram"]
        assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (49408, 49406, 49407)

    def test_another_vocabulary_is_that_of_its_folder(self, tmp_path):
        folder = checkpoints.common.bpe_folder(tmp_path / "small")
        assert vocabularies.openai_bpe(folder) == vocabularies.clip_bpe(folder)

    @pytest.mark.parametrize("kept", [0, 20, 100_000])
    def test_a_file_that_is_cut_is_refused(self, tmp_path, kept):
        (tmp_path / "cut.txt.gz").write_bytes(OPENAI_FILE.read_bytes()[:kept])
        with pytest.raises(ValueError, match="cut.txt.gz"):
            vocabularies.openai_bpe(tmp_path / "cut.txt.gz")

    def test_merges_that_are_cut_are_counted(self, tmp_path):
        lines = gzip.open(OPENAI_FILE).read().split(b"\n")[:40_000]
        (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"\n".join(lines), 1))
        with pytest.raises(ValueError, match="found 39999 merges in .*; wanted 48894"):
            vocabularies.openai_bpe(tmp_path / "cut.txt.gz")

    def test_a_file_of_gigabytes_is_not_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr(vocabularies, "MOST_BYTES", 1 << 20)
        (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(bytes(1 << 21)))
        with pytest.raises(ValueError, match="found more than 1048576 bytes"):
            vocabularies.openai_bpe(tmp_path / "bomb.txt.gz")


def unigram_ids(found, texts=TEXTS):
    return xlm_roberta_ids(
        texts,
        found.pieces,
        found.unknown,
        found.normalizers,
        found.splits,
        found.special,
        found.added,
        40,
    )


class TestUnigram:
    def check(self, file):
        upstream = Tokenizer.from_file(str(file))
        found = vocabularies.unigram(file)
        ids = {piece: number for number, (piece, _) in enumerate(found.pieces)} | dict(found.special)
        assert ids == upstream.get_vocab()
        assert found.pieces == [tuple(each) for each in json.loads(upstream.to_str())["model"]["vocab"]]
        assert unigram_ids(found) == [each.ids for each in upstream.encode_batch(TEXTS)]
        return found

    @pytest.mark.parametrize("mapped", [True, False])
    def test_it_gives_the_ids_of_the_tokenizers_library(self, tmp_path, mapped):
        found = self.check(unigram.tokenizer_file(tmp_path / "tokenizer.json", mapped))
        assert [step["type"] for step in found.normalizers] == ["Precompiled"] * mapped
        assert (found.unknown, found.greedy, found.splits) == (3, {"<mask>"}, True)
        assert set(found.special) == {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}

    def test_new_files_have_steps_and_cut_at_spaces_alone(self, tmp_path):
        def change(content):
            joins = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
            strips = {"type": "Strip", "strip_left": False, "strip_right": True}
            own = [content["normalizer"], strips, joins]
            content["normalizer"] = {"type": "Sequence", "normalizers": own}
            content["pre_tokenizer"] = content["pre_tokenizer"]["pretokenizers"][1]

        found = self.check(changed(unigram.tokenizer_file(tmp_path / "tokenizer.json"), change))
        assert [step["type"] for step in found.normalizers] == ["Precompiled", "Strip", "Replace"]
        assert not found.splits

    def test_added_tokens_have_the_ids_that_the_library_gives_them(self, tmp_path):
        def change(content):
            content["added_tokens"] += [added(7, "一"), added(900, "<far>"), added(80, "<farther>", lstrip=True)]

        self.check(changed(unigram.tokenizer_file(tmp_path / "tokenizer.json"), change))

    def test_old_files_say_no_type(self, tmp_path):
        file = unigram.tokenizer_file(tmp_path / "tokenizer.json")
        plain = vocabularies.unigram(file)
        assert vocabularies.unigram(changed(file, lambda it: it["model"].pop("type"))) == plain

    @pytest.mark.parametrize("family", ["open_clip_xlm_roberta", "multilingual_clip"])
    def test_a_converted_repo_reads_as_its_source(self, repo, family):
        converted = repo(family)
        assert vocabularies.unigram(converted.path) == vocabularies.unigram(converted.original.source)

    @pytest.mark.parametrize("steps", [0, 1, 3])
    def test_what_a_conversion_puts_in_front_of_the_steps_is_left_out(self, tmp_path, steps):
        def change(content):
            strips = {"type": "Strip", "strip_left": True, "strip_right": True}
            content["normalizer"] = {
                "type": "Sequence",
                "normalizers": [content["normalizer"], strips, strips][:steps],
            }

        source = changed(unigram.tokenizer_file(tmp_path / "tokenizer.json"), change)
        fast = mending.with_mending(builders.xlm_roberta_tokenizer(source, 20))
        fast.save_pretrained(tmp_path / "repo")
        assert vocabularies.unigram(tmp_path / "repo") == vocabularies.unigram(source)
        assert len(vocabularies.unigram(source).normalizers) == steps

    def test_sentencepieces_own_file_is_no_help(self, tmp_path):
        (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n")
        for path in (tmp_path, tmp_path / "sentencepiece.bpe.model"):
            for read in (vocabularies.unigram, vocabularies.multilingual):
                with pytest.raises(LookupError, match="but no tokenizer.json; wanted the tokenizer.json of the same"):
                    read(path)


class TestMultilingual:
    @pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
    def test_a_folder_says_of_which_kind_it_is(self, tmp_path, kind):
        folder = checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip", kind)
        read = vocabularies.unigram if kind == "xlm-roberta" else vocabularies.stated_wordpiece
        assert vocabularies.multilingual(folder) == read(folder)

    def test_a_word_piece_model_in_json_is_bert_s(self, tmp_path):
        write_json(vocab_file(tmp_path) / "tokenizer_config.json", {"do_lower_case": False})
        BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
        assert vocabularies.multilingual(tmp_path) == vocabularies.WordPieces(SMALL, False, False, True)
        assert vocabularies.multilingual(tmp_path / "tokenizer.json").tokens == SMALL


# The two readers are written apart; where they differ, the one or the other is wrong.
READERS = {
    id(conversion_readers.WORDPIECE): vocabularies.wordpiece,
    id(conversion_readers.OWN_WORDPIECE): vocabularies.wordpiece,
    id(conversion_readers.STATED_WORDPIECE): vocabularies.stated_wordpiece,
    id(conversion_readers.BPE): vocabularies.clip_bpe,
    id(conversion_readers.OPENAI_BPE): vocabularies.openai_bpe,
    id(conversion_readers.XLM_ROBERTA): vocabularies.unigram,
    id(conversion_readers.MULTILINGUAL): vocabularies.multilingual,
}
FIELDS = (
    *("tokens", "lowercase", "strip_accents", "cjk_alone", "ids", "special"),
    *("pieces", "unknown", "normalizers", "splits", "greedy"),
)


def plain(found):
    """What a reader found, of whatever class."""
    if isinstance(found, list):
        return found
    merges = {"merges": list(found.merges)} if hasattr(found, "merges") else {}
    return merges | {name: getattr(found, name) for name in FIELDS if hasattr(found, name)}


@pytest.mark.quick(10)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_conversion_and_the_witness_read_the_same(family, original):
    made = original(family)
    stated = Stated(made.source, **made.arguments)
    parts = identify(stated)
    vocabulary = parts[0].source.vocabulary
    path = Path(witness_vocabulary(parts, stated))
    assert plain(READERS[id(vocabulary)](path)) == plain(vocabulary.read(path))


# Bad files.

DEEP = b'{"model": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def word_piece_json(**model):
    vocab = {token: number for number, token in enumerate(SMALL)}
    return {"model": {"type": "WordPiece", "vocab": vocab, **model}, "added_tokens": []}


BAD_WORD_PIECES = [
    ("vocab.txt", b"", r"found no \[PAD\], .* among the 1 tokens"),
    ("vocab.txt", "\n".join([*SMALL, "猫"]).encode(), "found '猫' twice or more in"),
    ("vocab.txt", "词汇".encode("gbk"), "that are no UTF-8"),
    ("tokenizer.json", b"{", "found no sound JSON in"),
    ("tokenizer.json", b"", "found no sound JSON in"),
    ("tokenizer.json", b"[]", "found a list in .*; wanted a JSON object"),
    ("tokenizer.json", DEEP, "found JSON nested too deep"),
    ("tokenizer.json", b'{"a": ' + b"1" * 5000 + b"}", "found no sound JSON|found no model"),
    ("tokenizer.json", b'{"a": NaN}', "NaN is no number of JSON"),
    ("tokenizer.json", b'{"model": {}, "model": {}}', "the key 'model' stands twice"),
    ("tokenizer.json", b'{"a": "\\ud83d"}', "half a character"),
    ("tokenizer.json", b"{}", "found no model in .*; wanted an object"),
    ("tokenizer.json", {"model": None}, "found null as model"),
    ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}}}, "found a model of type BPE in .*; wanted WordPiece"),
    ("tokenizer.json", {"model": {"type": [], "vocab": {}}}, "found a model of type a list"),
    ("tokenizer.json", {"model": {}}, "found no vocab in"),
    ("tokenizer.json", word_piece_json(vocab=[["a", 1]]), "found a list as vocab in .*; wanted an object"),
    ("tokenizer.json", word_piece_json(vocab={"a": True}), "found true or false as the id of 'a'"),
    ("tokenizer.json", word_piece_json(vocab={"a": 1.0}), "found a number as the id of 'a'"),
    ("tokenizer.json", word_piece_json(vocab={"a": -1}), "found -1 as the id of 'a'"),
    ("tokenizer.json", word_piece_json(vocab={"a": 2**30}), "found 1073741824 as the id of 'a'"),
    ("tokenizer.json", word_piece_json(vocab={"a": 10**99}), "found a number of 329 bits as the id of 'a'"),
    ("tokenizer.json", word_piece_json(vocab={"a": 1}), "whose ids leave gaps; wanted 0 to 0"),
    ("tokenizer.json", word_piece_json(vocab={"a": 0, "b": 0}), "found 2 tokens with 1 ids"),
    ("tokenizer.json", {**word_piece_json(), "added_tokens": {}}, "found an object as added_tokens"),
    ("tokenizer.json", {**word_piece_json(), "added_tokens": [1]}, "found a whole number as an added token"),
    ("tokenizer.json", {**word_piece_json(), "added_tokens": [{}]}, "found null as the id of an added token"),
    ("tokenizer.json", {**word_piece_json(), "added_tokens": [{"id": 1}]}, "found null as the text of an added token"),
]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize(("name", "content", "message"), BAD_WORD_PIECES)
def test_a_bad_word_piece_file_is_refused_in_words(tmp_path, name, content, message):
    file = write(tmp_path / name, content)
    for path in (file, tmp_path):
        with pytest.raises((ValueError, LookupError), match=message):
            vocabularies.wordpiece(path)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"do_lower_case": None}, "found null as do_lower_case in .*tokenizer_config.json; wanted true or false"),
        ({"do_lower_case": 0}, "found a whole number as do_lower_case"),
        ({"strip_accents": "no"}, "found a text as strip_accents"),
        ({"tokenize_chinese_chars": []}, "found a list as tokenize_chinese_chars"),
        ({"tokenizer_class": "TokenizersBackend"}, "found no file .*tokenizer.json"),
    ],
)
def test_a_setting_of_another_type_is_refused(tmp_path, stated, message):
    write_json(vocab_file(tmp_path) / "tokenizer_config.json", stated)
    with pytest.raises((ValueError, LookupError), match=message):
        vocabularies.stated_wordpiece(tmp_path)


def bpe_change(name, change):
    return lambda folder: changed(folder / name, change)


def merges_change(old, new):
    def change(folder):
        text = (folder / "merges.txt").read_text(encoding="utf-8")
        (folder / "merges.txt").write_text(text.replace(old, new), encoding="utf-8")

    return change


BAD_BPE = [
    (lambda folder: (folder / "merges.txt").unlink(), "found no file .*merges.txt; wanted the merges that belong to"),
    (
        lambda folder: (folder / "vocab.json").unlink(),
        "found no vocabulary in .*; wanted tokenizer.json or vocab.json",
    ),
    (merges_change("c a\n", ""), "found no merge that makes 'ca' of .*; wanted all"),
    (merges_change("c a\n", "c a t\n"), "found 'c a t' as a merge in .*merges.txt; wanted two tokens"),
    (merges_change("c a\n", "c a\nq q\n"), "found the merge q q beside .*vocab.json, which lacks its tokens"),
    (bpe_change("vocab.json", lambda it: it.pop("<|endoftext|>")), r"found no <\|endoftext\|> among the 524 tokens"),
    (bpe_change("vocab.json", lambda it: it.pop("a</w>")), "found no a</w> among"),
    (bpe_change("vocab.json", lambda it: it.update(a="1")), "found a text as the id of 'a'"),
    (bpe_change("vocab.json", lambda it: it.update(a=2**30)), "found 1073741824 as the id of 'a'"),
    (bpe_change("vocab.json", lambda it: it.update(a=0)), "found 525 tokens with 524 ids"),
]


@pytest.mark.parametrize(("change", "message"), BAD_BPE)
def test_a_bad_bpe_is_refused_in_words(tmp_path, change, message):
    folder = checkpoints.common.bpe_folder(tmp_path / "clip")
    change(folder)
    with pytest.raises((ValueError, LookupError), match=message):
        vocabularies.clip_bpe(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", {"bos_token": "<s>"}, r"found \['<s>', .* as the ends of a text"),
        ("tokenizer_config.json", {"pad_token": 3}, "found a whole number as the text of pad_token"),
        ("tokenizer_config.json", {"pad_token": {"special": True}}, "found null as the text of pad_token"),
        ("tokenizer_config.json", {"extra_special_tokens": "x"}, "found a text as special tokens"),
        ("tokenizer_config.json", {"extra_special_tokens": [""]}, "found an empty text as a special token"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "found a list as added_tokens_decoder"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": "y"}}, "found the id 'x' of an added token"),
        ("special_tokens_map.json", ["x"], "found a list in .*special_tokens_map.json"),
        ("added_tokens.json", {"x": "y"}, "found a text as an id in .*added_tokens.json"),
    ],
)
def test_settings_that_clip_tokenizer_could_not_use_are_refused(tmp_path, name, content, message):
    folder = checkpoints.common.bpe_folder(tmp_path / "clip")
    write_json(folder / name, content)
    with pytest.raises((ValueError, LookupError), match=message):
        vocabularies.clip_bpe(folder)


def in_model(**fields):
    return lambda it: it["model"].update(fields)


def at_top(**fields):
    return lambda it: it.update(fields)


def precompiled(content):
    return at_top(normalizer={"type": "Precompiled", "precompiled_charsmap": content})


NFC = {"type": "NFC"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BAD_UNIGRAM = [
    (in_model(type="BPE"), "found a model of type BPE in .*; wanted Unigram"),
    (in_model(vocab={}), "found an object as vocab"),
    (in_model(vocab=[["a"]]), "found a list among the pieces"),
    (in_model(vocab=[["a", "b"]]), "found a text as the score of 'a'"),
    (in_model(vocab=[["a", 10**400]]), "found a whole number as the score of 'a'"),
    (in_model(vocab=[["a", True]]), "found true or false as the score of 'a'"),
    (in_model(vocab=[]), "found unk_id 3 and 0 pieces"),
    (lambda it: (it["model"]["vocab"].pop(2), it["added_tokens"].clear()), "found no </s> among the 66 tokens"),
    (in_model(unk_id=None), "found null as unk_id"),
    (in_model(unk_id=10**99), "found unk_id a number of 329 bits and 67 pieces"),
    (in_model(byte_fallback=True), "found byte_fallback"),
    (lambda it: it["model"].pop("unk_id"), "found no unk_id"),
    (lambda it: it["added_tokens"][0].update(lstrip=1), "found a whole number as lstrip"),
    (precompiled(3), "found a whole number as precompiled_charsmap"),
    (precompiled("?"), "that is no base64"),
    (precompiled(""), "found a character map of 0 bytes in .*, which is cut"),
    (
        precompiled(base64.b64encode(b"\x08\0\0\0abcd").decode()),
        "found a character map of 8 bytes in .*, which is cut",
    ),
    (at_top(normalizer={"type": "NFKC"}), "found the normalizer NFKC"),
    (at_top(normalizer={"type": "Strip"}), "found no strip_left"),
    (at_top(normalizer={"type": "Sequence"}), "found no normalizers"),
    (at_top(normalizer={"type": "Sequence", "normalizers": [3]}), "found a whole number as a part of normalizer"),
    (at_top(normalizer={"type": "Sequence", "normalizers": [NFC]}), "found NFC behind nothing"),
    (
        at_top(normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}, NFC]}),
        "found NFC behind Lowercase",
    ),
    (
        at_top(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": ""}),
        "found the normalizer Replace",
    ),
    (at_top(pre_tokenizer=None), r"found the pre-tokenizers \[\]"),
    (at_top(pre_tokenizer={"type": "Whitespace"}), r"found the pre-tokenizers \['Whitespace'\]"),
    (at_top(pre_tokenizer={**METASPACE, "prepend_scheme": "first"}), "found another prepend_scheme of Metaspace"),
    (at_top(post_processor=None), "found null as post_processor"),
    (at_top(post_processor={"single": [{"Sequence": {"id": "A"}}]}), "wanted <s>, A and </s>"),
    (at_top(post_processor={"single": [{}, 3]}), "wanted <s>, A and </s>"),
]


@pytest.mark.parametrize(("change", "message"), BAD_UNIGRAM)
def test_a_bad_unigram_model_is_refused_in_words(tmp_path, change, message):
    file = changed(unigram.tokenizer_file(tmp_path / "tokenizer.json"), change)
    with pytest.raises((ValueError, LookupError), match=message):
        vocabularies.unigram(file)


@pytest.mark.parametrize("read", [getattr(vocabularies, reader.__name__) for reader in READERS.values()])
def test_what_is_no_file_is_refused(tmp_path, read):
    for path in (tmp_path / "nowhere", tmp_path / "nowhere.json", tmp_path, tmp_path / ("x" * 5000), Path("a\0b")):
        with pytest.raises((ValueError, LookupError), match="found no (file|vocabulary)"):
            read(path)


# Each folder's files are cut, changed byte by byte, and have values of every type put in every place.

VALUES = [
    None,
    True,
    0,
    -1,
    2**31,
    10**400,
    0.5,
    "",
    "x",
    "\x00",
    [],
    [[]],
    [None],
    {},
    {"": None},
    {"type": "Sequence"},
]


def mutated(content, random_):
    """The JSON with one value replaced, removed, or put in twice, at a place of any depth."""
    holder, place = None, None
    while isinstance(content_here := content if holder is None else holder[place], (dict, list)) and content_here:
        if holder is not None and random_.random() < 0.3:
            break
        holder = content_here
        # The first few: the rest of a vocabulary is more of the same.
        places = list(holder)[:12] if isinstance(holder, dict) else range(min(12, len(holder)))
        place = random_.choice(places)
    if random_.random() < 0.3:
        del holder[place]
    else:
        holder[place] = random_.choice(VALUES)
    return content


def damaged(raw, random_):
    if random_.random() < 0.5:
        return raw[: random_.randrange(len(raw))]
    place = random_.randrange(len(raw))
    return (
        raw[:place] + random_.choice([b"", b'"', b"{", b"\xff", b"9" * 20, b"\n", b"\\ud800", b" "]) + raw[place + 1 :]
    )


def fuzzed_folders(folder):
    """A folder for each reader, and the name of that reader."""
    text = vocab_file(folder / "text")
    write_json(text / "tokenizer_config.json", {"do_lower_case": False, "strip_accents": True})
    yield text, "stated_wordpiece"
    builders.bert_tokenizer(text, 20).save_pretrained(folder / "frozen")
    yield folder / "frozen", "stated_wordpiece"
    clip = checkpoints.common.bpe_folder(folder / "clip")
    write_json(clip / "tokenizer_config.json", CLIP_SETTINGS[-1])
    yield clip, "clip_bpe"
    CLIPTokenizer.from_pretrained(checkpoints.common.bpe_folder(folder / "json")).save_pretrained(folder / "json")
    write_json(folder / "json" / "special_tokens_map.json", {"pad_token": {"content": "<p>"}})
    write_json(folder / "json" / "added_tokens.json", {"<more>": 600})
    yield folder / "json", "openai_bpe"
    (folder / "unigram").mkdir()
    file = unigram.tokenizer_file(folder / "unigram" / "tokenizer.json")
    yield folder / "unigram", "unigram"
    mending.with_mending(builders.xlm_roberta_tokenizer(file, 20)).save_pretrained(folder / "repo")
    yield folder / "repo", "multilingual"


def test_no_damage_raises_anything_but_a_value_or_a_lookup_error(tmp_path):
    random_ = random.Random(0)
    read = refused = 0
    for folder, name in fuzzed_folders(tmp_path):
        reader = partial(getattr(vocabularies, name), folder)
        reader()
        for file in sorted(folder.iterdir()):
            raw = file.read_bytes()
            for turn in range(60):
                json_turn = file.suffix == ".json" and turn % 3
                new = json.dumps(mutated(json.loads(raw), random_)).encode() if json_turn else damaged(raw, random_)
                file.write_bytes(new)
                try:
                    reader()
                    read += 1
                except (ValueError, LookupError) as error:
                    # Those of the reader, in its words: KeyError and IndexError would be accidents.
                    assert type(error) in (ValueError, LookupError) and str(error).startswith("found "), new[:200]
                    refused += 1
            file.write_bytes(raw)
    assert read > 100 and refused > 300
