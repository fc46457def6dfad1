"""What a config.json may state of a tower: each field that changes a number is taken, or refused by its name."""

import pytest
import transformers

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.layouts.hf_config import DEFAULTS, tower_config

# transformers 5.23: is_decoder masks what follows (modeling_bert.py, modeling_xlm_roberta.py), is_causal lifts CLIP's
# own mask (masking_utils.py), attribute_map gives DistilBERT's sizes a second name (configuration_distilbert.py).
REFUSED = [
    ("bert", "is_decoder", True),
    ("bert", "add_cross_attention", True),
    ("bert", "position_embedding_type", "relative_key"),
    ("xlm-roberta", "is_decoder", True),
    ("xlm-roberta", "add_cross_attention", True),
    ("clip_text_model", "is_causal", False),
    ("distilbert", "num_attention_heads", 6),
    ("distilbert", "hidden_size", 512),
]

CLASSES = {
    "bert": transformers.BertConfig,
    "xlm-roberta": transformers.XLMRobertaConfig,
    "distilbert": transformers.DistilBertConfig,
    "clip_text_model": transformers.CLIPTextConfig,
    "clip_vision_model": transformers.CLIPVisionConfig,
}


def upstream(kind):
    """What the class of a tower takes for the fields that are read here."""
    config = CLASSES[kind]()
    return {field: getattr(config, field) for field in DEFAULTS[kind]}


def test_each_tower_has_its_class_and_the_class_its_type():
    assert {kind: config.model_type for kind, config in CLASSES.items()} == {kind: kind for kind in DEFAULTS}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_default_is_that_of_transformers_class(kind):
    assert DEFAULTS[kind] == upstream(kind)


@pytest.mark.parametrize(("kind", "field", "value"), REFUSED)
def test_a_field_that_changes_a_number_is_refused_by_its_name(kind, field, value):
    with pytest.raises(InputError, match=f"The text_config of config.json states {field} {value!r}"):
        tower_config(kind, [{field: value}], {}, "text_config")


@pytest.mark.parametrize(
    ("kind", "stated", "said"),
    [
        ("bert", {"model_type": "roberta"}, "model_type 'roberta'; 'bert'"),
        ("bert", {"architectures": ["RobertaModel"]}, "class RobertaModel; a class that begins with Bert"),
        ("clip_vision_model", {"model_type": "siglip_vision_model"}, "model_type 'siglip_vision_model'; 'clip_vision"),
        ("clip_text_model", {"model_type": "bert"}, "model_type 'bert'; 'clip_text_model'"),
    ],
)
def test_a_tower_of_another_kind_is_refused_whatever_its_keys_are(kind, stated, said):
    with pytest.raises(InputError, match=f"The text_config of config.json is of {said}.*same folder"):
        tower_config(kind, [stated], {}, "text_config")


# As the repos of BertCLIP, ChineseCLIP, ZH-CLIP and CLIP state them.
@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("bert", {"model_type": "bert", "architectures": ["BertForMaskedLM"]}),
        ("bert", {"model_type": "chinese_clip_text_model", "architectures": None}),
        ("bert", {"architectures": ["BertForSequenceClassification"]}),
        ("xlm-roberta", {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"]}),
        ("clip_vision_model", {"model_type": "chinese_clip_vision_model"}),
        ("clip_vision_model", {"model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"]}),
    ],
)
def test_the_kinds_under_which_a_tower_is_published_are_taken(kind, stated):
    assert tower_config(kind, [stated], {}, "text_config") == {"model_type": kind, **upstream(kind)}


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("bert", {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}),
        ("bert", {"is_decoder": None, "use_cache": True, "classifier_dropout": None, "tie_word_embeddings": False}),
        ("clip_text_model", {"is_causal": True}),
        # The positions are stored, whatever they were made from.
        ("distilbert", {"sinusoidal_pos_embds": True, "num_attention_heads": 12, "hidden_size": 768}),
    ],
)
def test_what_changes_none_is_let_be(kind, stated):
    assert tower_config(kind, [stated], {}, "text_config") == {"model_type": kind, **upstream(kind)}
