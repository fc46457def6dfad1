import json

import pytest
from transformers import AutoConfig, BertConfig

from hf_zhclip import ZhCLIPConfig, ZhCLIPModel, ZhCLIPResNetConfig

BERT = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 50}
VIT = {"model_type": "clip_vision_model", "hidden_size": 24, "num_attention_heads": 4}
RESNET = {"model_type": "hf_zhclip_resnet", "output_dim": 16}
PADDED = {"text_config": BERT, "text_attends_to_padding": True}


def test_a_config_comes_back_from_its_file_unchanged(tmp_path):
    facts = {
        "text_config": BERT | {"layer_norm_eps": 1e-7, "hidden_act": "relu"},
        "vision_config": VIT | {"hidden_act": "gelu", "num_attention_heads": 3},
        "projection_dim": 20,
        "logit_scale_init_value": 4.5,
        "text_pooling": "mean",
        "text_projection_type": "mlp",
        "visual_projection_type": "linear_bias",
        "vision_pooling": "cls",
        "text_attends_to_padding": True,
        "text_padded_length": 77,
    }
    ZhCLIPConfig(**facts).save_pretrained(tmp_path)

    loaded = AutoConfig.from_pretrained(tmp_path)

    assert isinstance(loaded, ZhCLIPConfig)
    for name, value in facts.items():
        found = getattr(loaded, name)
        if isinstance(value, dict):
            found = {field: getattr(found, field) for field in value}
        assert found == value, name


def test_every_fact_is_written_even_where_it_is_the_default(tmp_path):
    ZhCLIPConfig(text_config=BERT, vision_config=VIT).save_pretrained(tmp_path)

    written = json.loads((tmp_path / "config.json").read_text())

    own = "projection_dim text_pooling text_projection_type visual_projection_type vision_pooling".split()
    text = "hidden_act layer_norm_eps pad_token_id num_hidden_layers max_position_embeddings".split()
    vision = "hidden_act layer_norm_eps image_size patch_size num_hidden_layers".split()
    own += [
        "text_attends_to_padding",
        "text_padded_length",
        "text_masks_pad_token",
        "logit_scale_init_value",
        "model_type",
    ]
    assert {*own} <= written.keys()
    assert {*text, "model_type", "hidden_size", "num_attention_heads"} <= written["text_config"].keys()
    assert {*vision, "model_type", "hidden_size", "num_attention_heads"} <= written["vision_config"].keys()


def test_a_tower_can_be_given_as_a_config_or_as_a_dict():
    text = BertConfig(hidden_size=32)

    assert ZhCLIPConfig(text_config=text).text_config is text
    assert isinstance(ZhCLIPConfig(text_config=BERT).text_config, BertConfig)
    assert isinstance(ZhCLIPConfig(vision_config=RESNET).vision_config, ZhCLIPResNetConfig)


def test_a_field_of_a_tower_can_be_overridden_on_load(tmp_path):
    ZhCLIPConfig(text_config=BERT, vision_config=VIT).save_pretrained(tmp_path)

    loaded = ZhCLIPConfig.from_pretrained(tmp_path, text_config={"vocab_size": 77})

    assert (loaded.text_config.vocab_size, loaded.text_config.hidden_size) == (77, 32)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"text_pooling": "last"}, "text_pooling"),
        ({"vision_pooling": "mean"}, "vision_pooling"),
        ({"text_projection_type": "linear_without_bias"}, "text_projection_type"),
        ({"visual_projection_type": "conv"}, "visual_projection_type"),
        ({"projection_dim": "512"}, "projection_dim"),
        ({"projection_dim": 0}, "projection_dim is 0"),
        ({"text_config": {"hidden_size": 32}}, "text_config has no model_type"),
        ({"text_config": 3}, "text_config is a int"),
        ({"text_config": {"model_type": "gpt2"}}, "text_config.model_type is 'gpt2'; wanted one of bert"),
        ({"vision_config": {"model_type": "vit"}}, "vision_config.model_type is 'vit'"),
        ({"text_config": {"model_type": "distilbert"}, "text_pooling": "pooler"}, "distilbert tower offers cls, mean"),
        ({"text_config": BERT, "text_pooling": "eos"}, "text_pooling is 'eos'; a bert tower offers"),
        (
            {"text_config": {"model_type": "clip_text_model"}},
            "text_pooling is 'cls'; a clip_text_model tower offers eos",
        ),
        (
            {"text_config": {"model_type": "clip_text_model", "eos_token_id": None}, "text_pooling": "eos"},
            "eos_token_id is None",
        ),
        (
            {"vision_config": RESNET, "vision_pooling": "cls"},
            "vision_pooling is 'cls'; a hf_zhclip_resnet tower offers",
        ),
        ({"text_config": BERT | {"pad_token_id": None}}, "pad_token_id is None"),
        ({"text_config": BERT | {"pad_token_id": 50}}, "pad_token_id is 50"),
        (
            {
                "text_config": {"model_type": "clip_text_model"},
                "text_pooling": "eos",
                "text_attends_to_padding": True,
            },
            "text_attends_to_padding",
        ),
        (
            {
                "text_config": {"model_type": "clip_text_model"},
                "text_pooling": "eos",
                "text_padded_length": 77,
            },
            "text_padded_length is 77 without text_attends_to_padding",
        ),
        ({"text_config": BERT, "text_padded_length": 77}, "text_padded_length is 77 without text_attends_to_padding"),
        (PADDED | {"text_masks_pad_token": True}, "text_masks_pad_token is set, and text_attends_to_padding says"),
        (
            {"text_config": {"model_type": "clip_text_model"}, "text_pooling": "eos", "text_masks_pad_token": True},
            "text_masks_pad_token is set, and a causal tower has no mask",
        ),
        (PADDED | {"text_padded_length": 0}, "text_padded_length is 0; wanted 1 to 512"),
        (PADDED | {"text_padded_length": 513}, "text_padded_length is 513; wanted 1 to 512"),
        (PADDED | {"text_padded_length": "77"}, "text_padded_length"),
        ({"text_config": BERT, "text_projection_type": "none"}, "text_projection_type is 'none' and its tower is 32"),
        (
            {"vision_config": RESNET, "visual_projection_type": "none"},
            "its tower is 16 wide; wanted projection_dim, 512",
        ),
    ],
)
def test_what_no_model_can_be_built_from_is_refused_by_name(facts, message):
    with pytest.raises(Exception, match=message):
        ZhCLIPConfig(**facts)


def test_a_field_set_later_is_checked_when_a_model_is_built():
    config = ZhCLIPConfig(text_config=BERT, vision_config=VIT)
    config.text_projection_type = "none"

    with pytest.raises(Exception, match="text_projection_type is 'none'"):
        ZhCLIPModel(config)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"layers": [3, 4, 6]}, "four numbers"),
        ({"layers": [3, 4, 0, 3]}, "at least 1"),
        ({"image_size": 100}, "image_size is 100"),
        ({"width": 7}, "width is 7"),
        ({"num_attention_heads": 7}, "num_attention_heads is 7"),
        ({"output_dim": None}, "output_dim"),
    ],
)
def test_an_impossible_resnet_is_refused_by_name(facts, message):
    with pytest.raises(Exception, match=message):
        ZhCLIPResNetConfig(**facts)


@pytest.mark.parametrize(
    ("text", "positions", "causal", "tokenizer"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512, False, "BertTokenizer"),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512, False, "XLMRobertaTokenizer"),
        ({"model_type": "distilbert", "max_position_embeddings": 512}, 512, False, "DistilBertTokenizer"),
        ({"model_type": "clip_text_model", "max_position_embeddings": 77}, 77, True, "CLIPTokenizer"),
    ],
)
def test_the_text_tower_says_its_length_its_mask_and_its_tokenizer(text, positions, causal, tokenizer):
    config = ZhCLIPConfig(text_config=text, text_pooling="eos" if causal else "mean")

    assert (config.max_text_positions, config.is_text_causal, config.tokenizer_class) == (positions, causal, tokenizer)


def test_the_longest_text_is_that_to_which_texts_are_padded():
    text = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    padded = {"text_config": text, "text_attends_to_padding": True}

    found = ZhCLIPConfig(**padded, text_padded_length=77)
    assert (found.max_text_positions, found.text_positions) == (77, 512)
    assert ZhCLIPConfig(**padded, text_padded_length=512).max_text_positions == 512
    with pytest.raises(Exception, match="text_padded_length is 513; wanted 1 to 512"):
        ZhCLIPConfig(**padded, text_padded_length=513)


def test_a_tokenizer_that_the_checkpoint_names_is_kept():
    wukong = ZhCLIPConfig(
        text_config={"model_type": "clip_text_model"}, text_pooling="eos", tokenizer_class="BertTokenizer"
    )

    assert wukong.tokenizer_class == "BertTokenizer"


UNCONVERTED = [
    ({"model_type": "clip", "text_config": {"model_type": "bert"}}, "BertCLIP", "zhclip convert {} OUT\n"),
    (
        {"model_type": "bert", "architectures": ["BertForSequenceClassification"]},
        "Taiyi-CLIP",
        "zhclip convert {} OUT --vision VISION\n",
    ),
    ({"model_type": "chinese_clip"}, "Hugging Face ChineseCLIP", "zhclip convert {} OUT\n"),
    ({"model_type": "clip", "text_config": {}}, "Hugging Face CLIP checkpoint", "zhclip convert {} OUT\n"),
    ({"model_type": "altclip"}, "of model_type 'altclip'", "zhclip convert {} OUT\n"),
]


@pytest.mark.parametrize(("config", "family", "command"), UNCONVERTED)
@pytest.mark.parametrize("load", [ZhCLIPModel.from_pretrained, ZhCLIPConfig.from_pretrained])
def test_an_unconverted_folder_is_refused_with_its_family_and_the_command(tmp_path, config, family, command, load):
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ValueError) as refusal:
        load(tmp_path)

    assert family in str(refusal.value)
    assert command.format(tmp_path) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("clip_cn_vit-b-16.pt", "a PyTorch checkpoint file"), ("model.safetensors", "a safetensors file")],
)
def test_a_checkpoint_file_is_refused_with_the_command(tmp_path, name, kind):
    path = tmp_path / name
    path.write_bytes(b"\x80\x02")

    for load in (ZhCLIPModel.from_pretrained, ZhCLIPConfig.from_pretrained):
        with pytest.raises(ValueError, match=kind) as refusal:
            load(path)
        assert f"zhclip convert {path} OUT\n" in str(refusal.value)


def test_an_unconverted_hub_repository_is_refused_with_its_family(tmp_path):
    snapshot = tmp_path / "models--somebody--taiyi" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(UNCONVERTED[1][0]))
    refs = tmp_path / "models--somebody--taiyi" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)

    with pytest.raises(ValueError, match="Taiyi-CLIP") as refusal:
        ZhCLIPModel.from_pretrained("somebody/taiyi", cache_dir=tmp_path)

    assert "zhclip convert somebody/taiyi OUT --vision VISION" in str(refusal.value)


@pytest.mark.parametrize("tower", [None, "text_config"])
@pytest.mark.parametrize("load", [ZhCLIPConfig.from_pretrained, AutoConfig.from_pretrained])
@pytest.mark.parametrize(
    "field, value, told",
    [
        ("attn_implementation", "stranger/kernel", "makes transformers run code from the hub"),
        ("_attn_implementation", {"text_config": "stranger/kernel"}, "makes transformers run code from the hub"),
        ("_experts_implementation_internal", "stranger/kernel", "makes transformers run code from the hub"),
        ("transformers_weights", "other.safetensors", "holds its weights in model.safetensors"),
    ],
)
def test_a_config_json_that_makes_transformers_load_something_else_is_refused(
    tower, load, field, value, told, tmp_path
):
    ZhCLIPConfig(text_config=BERT, vision_config=VIT).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (content if tower is None else content[tower])[field] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        load(tmp_path)
    del (content if tower is None else content[tower])[field]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert load(tmp_path, attn_implementation="eager").projection_dim


def test_a_caller_may_still_choose_a_kernel(tmp_path):
    ZhCLIPConfig(text_config=BERT, vision_config=VIT).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, attn_implementation="kernels-community/flash-attn2")
    assert config._attn_implementation == "kernels-community/flash-attn2"
