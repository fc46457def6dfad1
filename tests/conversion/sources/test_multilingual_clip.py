"""Multilingual-CLIP: the models of 2022 and of 2021, the facts that they leave to others, and XLM-R's tokenizer."""

import collections
import json
import pickle

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import describe, identify, join_tensors
from hf_zhclip.conversion.errors import InputError, UnknownFormat, WorkError
from hf_zhclip.conversion.exports.natives import NATIVES
from hf_zhclip.conversion.layouts import bases
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.builders import xlm_roberta_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import read_unigram, read_wordpieces

from tests import checkpoints, unigram

MODELS = {
    "xlm-roberta": (checkpoints.multilingual_clip.multilingual_clip_folder, True),
    "bert": (lambda folder: checkpoints.multilingual_clip.multilingual_clip_folder(folder, "bert"), True),
    "legacy bert": (checkpoints.multilingual_clip.multilingual_clip_legacy_folder, False),
    "legacy distilbert": (
        lambda folder: checkpoints.multilingual_clip.multilingual_clip_legacy_folder(folder, True),
        False,
    ),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return checkpoints.hf_clip.clip_folder(tmp_path_factory.mktemp("vision") / "clip")


def head(folder):
    return folder / "M-BERT-Base-69-ViT Linear Weights.pkl"


@pytest.fixture
def legacy(tmp_path):
    return checkpoints.multilingual_clip.multilingual_clip_legacy_folder(tmp_path / "legacy")


# The models


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", list(MODELS)[1:])  # XLM-R's is among the families
def test_a_model_becomes_a_verified_repo_that_needs_nothing_of_the_original(name, clip, tmp_path):
    make, leaves_out = MODELS[name]
    config = (
        checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "base.json", name) if leaves_out else None
    )
    source, out = make(tmp_path / "source"), tmp_path / "out"
    report = convert(source, out, vision=clip, config=config)

    assert report.passed and report.level in ("reference", "peer")
    assert leaves_out or verify(out).passed
    stated = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (stated["text_pooling"], stated["text_projection_type"]) == ("mean", "linear_bias")
    assert stated["text_config"]["model_type"] == name.split()[-1]
    processor = json.loads((out / "processor_config.json").read_text(encoding="utf-8"))
    assert processor["image_processor"]["image_order"] == "crop_then_rgb"


def test_the_head_of_2021_is_read_from_its_pickle_and_turned(legacy, clip):
    weight, bias = pickle.loads(head(legacy).read_bytes())
    found = join_tensors(identify(Stated(legacy, clip)))

    assert torch.equal(found["text_projection.weight"], torch.from_numpy(weight.T.copy()))
    assert torch.equal(found["text_projection.bias"], torch.from_numpy(bias))


def test_the_longest_text_of_an_xlm_r_leaves_out_the_positions_before_its_first(repo):
    converted = repo("multilingual_clip")

    assert converted.report.conversion["context_length"] == checkpoints.common.POSITIONS - 2
    model = AutoModel.from_pretrained(converted.path)
    assert model.config.max_text_positions == checkpoints.common.POSITIONS - 2
    assert torch.isfinite(model.encode_text(torch.full((1, checkpoints.common.POSITIONS - 2), 5))).all()


def test_padding_does_not_change_an_embedding_whether_a_mask_is_given_or_not(repo):
    path = repo("multilingual_clip").path
    model, tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    alone = tokenizer(["一只猫"], return_tensors="pt")
    padded = tokenizer(["一只猫", "两只可爱的小狗在草地上奔跑"], return_tensors="pt", padding=True)
    with torch.no_grad():
        wanted = model.encode_text(alone["input_ids"])
        for mask in (padded["attention_mask"], None):
            found = model.encode_text(padded["input_ids"], mask)[:1]
            assert (found - wanted).abs().max() <= 1e-6


def test_no_class_of_transformers_holds_it_and_each_says_why(repo):
    config = AutoModel.from_pretrained(repo("multilingual_clip").path).config.to_dict()
    for native in NATIVES:
        losses = " ".join(loss.en for loss in native.losses(config))
        assert "the pooling of texts" in losses or "text_pooling 'mean'" in losses, native.name
        assert "the bias of the text projection" in losses, native.name


# Facts of the base model


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("xlm-roberta-large", ("xlm-roberta", 1024, 24, 16, 1e-5, 250002, 514)),
        ("FacebookAI/xlm-roberta-large", ("xlm-roberta", 1024, 24, 16, 1e-5, 250002, 514)),
        ("sentence-transformers/LaBSE", ("bert", 768, 12, 12, 1e-12, 501153, 512)),
    ],
)
def test_the_facts_of_the_published_bases_are_known_by_name(name, sizes):
    fields = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps")
    found = bases.published_base(name)
    assert tuple(found[field] for field in (*fields, "vocab_size", "max_position_embeddings")) == sizes
    assert found["hidden_act"] == "gelu"


def test_the_facts_of_another_base_come_from_its_config_on_the_hub(monkeypatch, tmp_path, clip):
    asked = []
    file = checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "config.json")
    monkeypatch.setattr(bases, "locate", lambda source: asked.append(source) or file)
    parts = identify(Stated(checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip"), clip))

    assert asked == ["nobody/xlm-roberta:config.json"]
    assert describe(parts).text.config["num_attention_heads"] == 4


def test_a_base_that_can_not_be_had_is_asked_for(monkeypatch, tmp_path, clip):
    def fails(source):
        raise WorkError("no network.")

    monkeypatch.setattr(bases, "locate", fails)
    with pytest.raises(InputError, match="'nobody/xlm-roberta'(.|\n)*no network(.|\n)*--config FILE"):
        identify(Stated(checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip"), clip))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden_size": 64}, "hidden_size: config.json says 64, the shapes say 32"),
        ({"num_attention_heads": 5}, "5 heads; wanted a divisor of the width 32"),
        ({"max_position_embeddings": 512}, "max_position_embeddings: config.json says 512, the shapes say 64"),
        ({"hidden_act": "gelu_new"}, "the activation 'gelu_new'"),
        ({"model_type": "roberta"}, "model_type 'roberta'; the keys are the keys of xlm-roberta or bert"),
        ({"pad_token_id": "1"}, "pad_token_id '1'; a number was wanted"),
    ],
)
def test_a_wrong_fact_of_the_base_is_refused(changed, said, tmp_path, clip):
    file = tmp_path / "base.json"
    file.write_text(
        json.dumps({**checkpoints.multilingual_clip.MCLIP_BASE["xlm-roberta"], **changed}), encoding="utf-8"
    )
    with pytest.raises(InputError) as error:
        describe(
            identify(
                Stated(checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip"), clip, config=file)
            )
        )
    assert said in str(error.value)


def test_widths_that_the_folder_states_are_held_against_the_weights(tmp_path, clip):
    folder = checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip")
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**stated, "numDims": 640}), encoding="utf-8")
    base = checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "base.json")
    with pytest.raises(InputError, match="numDims: stated 640, the weights say 48"):
        describe(identify(Stated(folder, clip, config=base)))


def test_weights_alone_ask_for_the_config_of_their_base(tmp_path, clip):
    file = checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip") / "pytorch_model.bin"
    file = file.rename(tmp_path / "alone.bin")
    with pytest.raises(InputError, match="config.json of the text tower is missing(.|\n)*--config FILE"):
        describe(identify(Stated(file, clip)))
    base = checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "base.json")
    assert describe(identify(Stated(file, clip, config=base))).text.config["model_type"] == "xlm-roberta"


def test_a_folder_that_states_its_own_tower_takes_no_config(legacy, tmp_path, clip):
    base = checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "base.json")
    with pytest.raises(InputError, match="--config has nothing to state"):
        identify(Stated(legacy, clip, config=base))


# Detection, and the pickle of the head


@pytest.mark.parametrize("name", MODELS)
def test_it_is_known_by_its_keys(name, tmp_path):
    found = detect(read(MODELS[name][0](tmp_path / "source")))
    assert (found.source.name, found.certainty) == ("multilingual_clip", "certain")


@pytest.mark.parametrize("name", ["legacy bert", "legacy distilbert"])
def test_a_tower_without_its_head_is_not_guessed_at_and_the_head_is_named(name, tmp_path):
    folder = MODELS[name][0](tmp_path / "source")
    head(folder).unlink()
    with pytest.raises(UnknownFormat, match="Linear Weights.pkl(.|\n)*legacy_get-weights.sh"):
        detect(read(folder))


def test_two_heads_in_one_folder_are_refused(legacy):
    (legacy / "Swedish-2M Linear Weights.pkl").write_bytes(head(legacy).read_bytes())
    with pytest.raises(InputError, match="M-BERT-Base-69-ViT(.|\n)*Swedish-2M(.|\n)*heads of several models"):
        read(legacy)


class Harm:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "content",
    [
        [Harm(), np.zeros(4, np.float32)],
        [np.array([Harm()], object), np.zeros(4, np.float32)],
        collections.Counter(a=1),
        {"weight": np.zeros((3, 4), np.float32)},
        [np.zeros((3, 4), np.float32)],
        [np.zeros((4, 3), np.float32), np.zeros(4, np.float32)],
        [np.zeros((3, 4), np.float32), "bias"],
    ],
)
def test_a_pickle_that_is_no_head_is_refused_and_nothing_in_it_is_run(content, legacy, capsys):
    head(legacy).write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="Linear Weights.pkl"):
        read(legacy)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_a_head_that_is_no_matrix_is_an_error_in_words(shape, tmp_path, clip):
    folder = checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip")
    file = folder / "pytorch_model.bin"
    torch.save({**torch.load(file), "LinearTransformation.weight": torch.zeros(shape)}, file)
    base = checkpoints.multilingual_clip.multilingual_clip_config(tmp_path / "base.json", "xlm-roberta")
    with pytest.raises(InputError, match=r"LinearTransformation\.weight"):
        describe(identify(Stated(folder, clip, config=base)))


# XLM-R's tokenizer

TEXTS = [
    "一只猫",
    "CLIP模型，２０22年！",
    "  tabs\tand\nlines ",
    "cafe\u0301 ﬁ",
    "<mask> the  <mask>",
    "</s>猫",
    "▁猫▁▁",
    "",
    "很长的句子要被截断" * 9,
]


@pytest.mark.parametrize("mapped", [True, False])
def test_the_frozen_tokenizer_gives_the_ids_of_transformers_own_class(mapped, tmp_path):
    from transformers import XLMRobertaTokenizer

    unigram.tokenizer_file(tmp_path / "tokenizer.json", mapped)
    frozen = xlm_roberta_tokenizer(tmp_path, 24)
    frozen.save_pretrained(tmp_path / "out")
    reloaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    wanted = XLMRobertaTokenizer.from_pretrained(tmp_path)(TEXTS, truncation=True, max_length=24)["input_ids"]

    assert frozen(TEXTS, truncation=True)["input_ids"] == wanted
    assert reloaded(TEXTS, truncation=True)["input_ids"] == wanted
    assert reloaded.model_max_length == 24 and reloaded.pad_token_id == 1
    assert list(reloaded("猫")) == ["input_ids", "attention_mask"]


def test_an_xlm_r_tokenizer_that_only_sentencepiece_reads_says_how_to_get_the_other_file(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\x0a\x0e")
    with pytest.raises(
        InputError, match="no tokenizer.json(.|\n)*Fetch tokenizer.json(.|\n)*sentencepiece and protobuf"
    ):
        xlm_roberta_tokenizer(tmp_path, 32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["model"].update(type="BPE"), "of type 'BPE'"),
        (lambda content: content["model"]["vocab"].pop(1) and content["added_tokens"].pop(1), "no <pad> among"),
        (lambda content: content.update(normalizer={"type": "Lowercase"}), "the normalizer Lowercase"),
        (lambda content: content.update(pre_tokenizer={"type": "BertPreTokenizer"}), "the pre-tokenizer"),
        (lambda content: content["post_processor"]["single"].pop(0), "the order of special tokens and text"),
    ],
)
def test_a_tokenizer_that_prepares_texts_otherwise_is_refused(change, said, tmp_path):
    file = unigram.tokenizer_file(tmp_path / "tokenizer.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_unigram(tmp_path)


def test_no_vocabulary_serves_every_xlm_r():
    with pytest.raises(InputError, match="--tokenizer PATH"):
        xlm_roberta_tokenizer(None, 32)


def test_a_cased_vocabulary_stays_cased(tmp_path):
    folder = checkpoints.multilingual_clip.multilingual_clip_folder(tmp_path / "mclip", "bert")
    assert not read_wordpieces(folder).lowercase
