"""The reference of sentence-transformers' multilingual CLIP: against transformers' tower, by hand, and with errors."""

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel

from hf_zhclip.conversion.proof.reference import bert, distilbert, layers, sentence_transformers, wordpiece
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces

from tests import checkpoints
from tests.weights import seeded_state_dict

FACTS = {**checkpoints.common.DISTILBERT_CONFIG, "text_pooling": "mean"}
IDS = torch.tensor([[101, 2769, 4263, 7427, 102, 0, 0, 0], [101, 671, 1372, 4344, 8024, 3345, 752, 102]])


@pytest.fixture(scope="module")
def tensors():
    dense = {"2_Dense.linear.weight": (checkpoints.common.EMBED, checkpoints.common.HIDDEN)}
    return seeded_state_dict({**checkpoints.common.distilbert(), **dense})


def states(tensors, ids=IDS):
    mask = bert.padding_bias(ids)
    return distilbert.last_hidden(tensors, "", ids, 4, layers.gelu, sentence_transformers.DISTILBERT_EPS, mask)


def smallest_cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b).min())


def test_the_tower_gives_the_states_of_transformers_own_class(tensors):
    model = DistilBertModel(DistilBertConfig(**checkpoints.common.DISTILBERT_CONFIG)).eval()
    model.load_state_dict({key: tensor for key, tensor in tensors.items() if not key.startswith("2_Dense.")})
    with torch.no_grad():
        wanted = model(input_ids=IDS, attention_mask=(IDS != 0).long()).last_hidden_state

    found, wanted = (torch.nn.functional.normalize(each[IDS != 0], dim=-1) for each in (states(tensors), wanted))
    assert float((found - wanted).abs().max()) <= 1e-5


def test_the_mean_is_that_of_the_text_without_its_padding(tensors):
    padded = sentence_transformers.encode_text(tensors, IDS, FACTS)
    alone = torch.cat(
        [
            sentence_transformers.encode_text(tensors, ids[None, :length], FACTS)
            for ids, length in zip(IDS, (5, 8), strict=True)
        ]
    )
    by_hand = states(tensors, IDS[:1, :5])[0].mean(0) @ tensors["2_Dense.linear.weight"].T

    assert float((padded - alone).abs().max()) <= 1e-5
    assert torch.allclose(padded[0], by_hand / by_hand.norm(), atol=1e-5)
    assert torch.allclose(padded.norm(dim=-1), torch.ones(2))


def test_cls_and_a_bias_are_those_of_the_modules(tensors):
    bias = torch.linspace(-1, 1, checkpoints.common.EMBED)
    found = sentence_transformers.encode_text(
        {**tensors, "2_Dense.linear.bias": bias}, IDS, {**FACTS, "text_pooling": "cls"}
    )
    wanted = states(tensors)[:, 0] @ tensors["2_Dense.linear.weight"].T + bias

    assert torch.allclose(found, wanted / wanted.norm(dim=-1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("wrong", [{"n_heads": 2}, {"activation": "quick_gelu"}, {"text_pooling": "cls"}])
def test_a_wrong_fact_shows(wrong, tensors):
    right = sentence_transformers.encode_text(tensors, IDS, FACTS)
    assert smallest_cosine(right, sentence_transformers.encode_text(tensors, IDS, {**FACTS, **wrong})) < 0.99


def test_a_wrong_eps_and_a_missing_mask_show(tensors, monkeypatch):
    right = sentence_transformers.encode_text(tensors, IDS, FACTS)
    with monkeypatch.context() as patch:
        patch.setattr(sentence_transformers, "DISTILBERT_EPS", 1e-5)
        assert smallest_cosine(right, sentence_transformers.encode_text(tensors, IDS, FACTS)) < 0.99
    monkeypatch.setattr(bert, "behind_bias", lambda ids: None)
    assert smallest_cosine(right, sentence_transformers.encode_text(tensors, IDS, FACTS)) < 0.99


def test_another_pooling_and_a_text_that_is_too_long_are_refused(tensors):
    with pytest.raises(ValueError, match="text_pooling is 'max'"):
        sentence_transformers.encode_text(tensors, IDS, {**FACTS, "text_pooling": "max"})
    with pytest.raises(ValueError, match="64 text positions"):
        sentence_transformers.encode_text(tensors, IDS.repeat(1, 9), FACTS)


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "cjk_alone", "wanted"),
    [
        # BertNormalizer of the library `tokenizers`, step by step on "Été CAT 猫猫".
        (False, False, True, ["[CLS]", "Été", "CAT", "猫", "猫", "[SEP]"]),
        (True, True, True, ["[CLS]", "ete", "cat", "猫", "猫", "[SEP]"]),
        (True, False, False, ["[CLS]", "été", "cat", "猫猫", "[SEP]"]),
        (False, True, True, ["[CLS]", "Ete", "CAT", "猫", "猫", "[SEP]"]),
    ],
)
def test_texts_are_prepared_as_the_folder_states(lowercase, strip_accents, cjk_alone, wanted):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Été", "été", "Ete", "ete", "CAT", "cat", "猫", "猫猫"]
    vocab = WordPieces(tokens, lowercase, strip_accents, cjk_alone)

    (ids,) = sentence_transformers.token_ids(["Été CAT 猫猫"], vocab, 16)

    assert [tokens[number] for number in ids] == wanted
    assert wordpiece.folder_ids(["CAT"], WordPieces(tokens), 16) == [[2, 10, 3]]
