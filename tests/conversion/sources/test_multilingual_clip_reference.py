"""The reference of Multilingual-CLIP: planted errors show, and its XLM-R tokenizer against the tokenizers library."""

import random

import pytest
import torch
from tokenizers import Tokenizer, normalizers

from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.reference import multilingual_clip, unigram, vocabularies

from tests import checkpoints
from tests import unigram as small
from tests.inputs import seeded_ids
from tests.planted import SEEN, cosine
from tests.weights import seeded_state_dict

BASES = {
    "xlm-roberta": {**checkpoints.multilingual_clip.MCLIP_BASE["xlm-roberta"], "hidden_act": "gelu"},
    "bert": checkpoints.multilingual_clip.MCLIP_BASE["bert"],
    "distilbert": checkpoints.common.DISTILBERT_CONFIG,
}
FACTS = {"distilbert": {"n_heads": 8, "activation": "quick_gelu"}}
OTHERS = {"num_attention_heads": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
KINDS = ["xlm-roberta", "bert", "legacy bert", "legacy distilbert"]


def model(kind):
    """Tensors, config and ids of a small model."""
    name = kind.split()[-1]
    if kind.startswith("legacy"):
        body = checkpoints.common.distilbert() if name == "distilbert" else checkpoints.common.bert("", pooler=True)
        tensors = seeded_state_dict(
            body
            | {"head.0": (checkpoints.common.HIDDEN, checkpoints.common.EMBED), "head.1": (checkpoints.common.EMBED,)}
        )
    else:
        tensors = seeded_state_dict(checkpoints.multilingual_clip.multilingual_clip(name))
    ids = seeded_ids(200)
    if name == "xlm-roberta":
        # Ids of the small vocabulary, and its padding, which is 1.
        ids = torch.where(ids == 0, 1, ids % 60 + 4)
    return tensors, {"base_config": BASES[name]}, ids


@pytest.mark.parametrize("kind", KINDS)
def test_each_wrong_fact_shows(kind):
    tensors, config, ids = model(kind)
    right = multilingual_clip.encode_text(tensors, ids, config)
    name = kind.split()[-1]
    wrong = FACTS.get(name, {**OTHERS, "layer_norm_eps": 1e-12 if name == "xlm-roberta" else 1e-5})
    for field, value in wrong.items():
        changed = {"base_config": {**config["base_config"], field: value}}
        cosines = (right * multilingual_clip.encode_text(tensors, ids, changed)).sum(-1)
        # A mean over tokens is moved less than one of them: not by as much in every text.
        assert cosines.min() < SEEN and cosines.max() < 0.998, field


@pytest.mark.parametrize("kind", KINDS)
def test_the_bias_counts_and_so_does_the_direction_of_the_matrix(kind):
    tensors, config, ids = model(kind)
    right = multilingual_clip.encode_text(tensors, ids, config)
    legacy = kind.startswith("legacy")
    bias, weight = ("head.1", "head.0") if legacy else ("LinearTransformation.bias", "LinearTransformation.weight")
    for key, changed in ((bias, torch.zeros_like(tensors[bias])), (weight, tensors[weight].flip(0))):
        assert cosine(right, multilingual_clip.encode_text({**tensors, key: changed}, ids, config)) < SEEN, key


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_the_mean_of_its_tokens_whatever_it_is_padded_to(kind):
    tensors, config, ids = model(kind)
    pad = 1 if kind == "xlm-roberta" else 0
    right = multilingual_clip.encode_text(tensors, ids, config)
    longer = torch.nn.functional.pad(ids, (0, 5), value=pad)
    assert (multilingual_clip.encode_text(tensors, longer, config) - right).abs().max() < 1e-5
    attended = torch.where(ids == pad, 5, ids)
    assert cosine(right, multilingual_clip.encode_text(tensors, attended, config)) < SEEN


def test_the_positions_of_an_xlm_r_begin_behind_its_padding():
    tensors, config, ids = model("xlm-roberta")
    right = multilingual_clip.encode_text(tensors, ids, config)
    key = "transformer.embeddings.position_embeddings.weight"
    unused = {**tensors, key: torch.cat([torch.full_like(tensors[key][:2], 9.0), tensors[key][2:]])}
    assert (multilingual_clip.encode_text(unused, ids, config) - right).abs().max() < 1e-5
    moved = {**tensors, key: tensors[key].roll(2, 0)}
    assert cosine(right, multilingual_clip.encode_text(moved, ids, config)) < SEEN
    with pytest.raises(ValueError, match="has 62 text positions"):
        multilingual_clip.encode_text(tensors, torch.full((1, 63), 5), config)


def texts():
    letters = [*small.REPLACED, "▁", "▁▁", " ", "  ", "<mask>", "<s>", " <mask>", "一", "只", "猫", "é", "x", "😀"]
    letters += ["\u0301", "\u200d", "c", "a", "t", "super", "\x85", "\u2028", "\r\n"]
    choice = random.Random(0)
    made = ["".join(choice.choices(letters, k=choice.randrange(14))) for _ in range(600)]
    return [*samples.TEXTS, *made]


@pytest.mark.parametrize("mapped", [True, False])
def test_token_ids_are_those_of_the_tokenizers_library(mapped, tmp_path):
    file = small.tokenizer_file(tmp_path / "tokenizer.json", mapped)
    library = Tokenizer.from_file(str(file))
    library.enable_truncation(24)
    found = multilingual_clip.token_ids(texts(), vocabularies.unigram(file), 24)
    assert found == [each.ids for each in library.encode_batch(texts())]


def test_the_character_map_is_read_as_the_tokenizers_library_reads_it():
    content = small.character_map(small.REPLACED)
    library, ours = normalizers.Precompiled(content), unigram._CharacterMap(content)
    for text in texts():
        assert ours.apply(text) == library.normalize_str(text)
