"""open_clip's models: what their JSON states and what of it is refused; what is read, paired, exported and fetched."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from hf_zhclip import ZhCLIPConfig
from hf_zhclip.conversion import convert
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.reading.hub import locate
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.sources.open_clip import SOURCE as PLAIN
from hf_zhclip.conversion.sources.open_clip_xlm_roberta import SOURCE as XLM_ROBERTA
from hf_zhclip.conversion.sources.open_clip_xlm_roberta import body_config
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints as c
from tests import unigram
from tests.weights import seeded_state_dict

WORDS = len(unigram.pieces())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return c.open_clip.open_clip_folder(tmp_path_factory.mktemp("plain") / "open_clip")


@pytest.fixture(scope="module")
def with_xlm_roberta(tmp_path_factory):
    return c.open_clip.open_clip_xlm_roberta_folder(tmp_path_factory.mktemp("xlm") / "open_clip")


def stated(folder, side="", **fields):
    """The folder's own JSON with fields of one side replaced."""
    config = json.loads((folder / "open_clip_config.json").read_text())
    (config["model_cfg"][side] if side in config["model_cfg"] else config[side]).update(fields)
    return config


def described(folder, source=PLAIN, side="text_cfg", **fields):
    return source.describe(read(folder), stated(folder, side, **fields))


@pytest.mark.quick(1)
@pytest.mark.parametrize("prefix", ["", "text."], ids=["CLIP", "CustomTextCLIP"])
def test_both_classes_convert_and_are_told_by_their_keys(prefix, tmp_path):
    folder = c.open_clip.open_clip_folder(tmp_path / "open_clip", prefix)
    assert detect(read(folder)).certainty == "certain"

    report = convert(folder, tmp_path / "out")

    assert (report.sources[0]["format"], report.passed) == ("open_clip", True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    assert (text["hidden_act"], vision["hidden_act"]) == ("gelu", "gelu")
    assert (text["num_attention_heads"], vision["num_attention_heads"]) == (4, c.common.WIDTH // 16)
    assert report.conversion["image_order"] == "crop_then_rgb"


def test_a_training_checkpoint_takes_a_file_of_model_configs_and_how_pictures_are_prepared(tmp_path):
    tensors = {f"module.{key}": value for key, value in seeded_state_dict(c.open_clip.open_clip(resnet=True)).items()}
    tensors["module.attn_mask"] = torch.full((c.common.POSITIONS, c.common.POSITIONS), float("-inf")).triu(1)
    top = {"epoch": 5, "name": "run", "optimizer": {"state": {}}, "scaler": {"scale": 65536.0}}
    torch.save({**top, "state_dict": tensors}, tmp_path / "epoch_5.pt")
    bare = c.open_clip.open_clip_config(c.open_clip.OPEN_CLIP_TEXT, c.open_clip.OPEN_CLIP_RESNET, quick_gelu=True)[
        "model_cfg"
    ]
    (tmp_path / "RN.json").write_text(json.dumps({"model_cfg": bare, "preprocess_cfg": {"resize_mode": "shortest"}}))
    vocabulary = c.open_clip.open_clip_folder(tmp_path / "vocabulary")

    said = {"config": tmp_path / "RN.json", "tokenizer": vocabulary / "vocab.json", "format": "open_clip"}
    report = convert(tmp_path / "epoch_5.pt", tmp_path / "out", **said)

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vision_config"]["model_type"] == "hf_zhclip_resnet"
    assert config["vision_config"]["num_attention_heads"] == 16 * 32 // 64
    assert config["text_config"]["hidden_act"] == "quick_gelu"
    assert report.conversion["image_order"] == "crop_then_rgb"


@pytest.mark.parametrize("bare", [True, False], ids=["a file of model_configs", "an open_clip_config.json"])
@pytest.mark.parametrize("describe", [PLAIN.describe, PLAIN.describe_image], ids=["whole", "image part"])
def test_how_pictures_are_prepared_has_to_be_stated(bare, describe, plain):
    """Some of open_clip's models squash them, and their model_configs don't say so."""
    model = stated(plain, "model_cfg")["model_cfg"]
    config = model if bare else {"model_cfg": model, "preprocess_cfg": {}}
    with pytest.raises(InputError, match="how pictures are prepared") as error:
        describe(read(plain), config)
    assert '{"model_cfg": {...}, "preprocess_cfg": {"resize_mode": "shortest"}}' in str(error.value)


def test_what_a_config_leaves_out_has_open_clips_defaults(plain):
    """As of 3.2.0, model.py: CLIPVisionCfg and CLIPTextCfg."""
    model = stated(plain, "model_cfg")["model_cfg"]
    pictures = {"resize_mode": "shortest"}
    for side, field, default in (
        ("vision_cfg", "layers", 12),
        ("vision_cfg", "width", 768),
        ("vision_cfg", "image_size", 224),
        ("text_cfg", "context_length", 77),
        ("text_cfg", "vocab_size", 49408),
        ("text_cfg", "width", 512),
        ("text_cfg", "layers", 12),
    ):
        less = {key: value for key, value in model[side].items() if key != field}
        with pytest.raises(InputError, match=f"The {side} .* does not fit the weights: {field}: stated {default}, "):
            PLAIN.describe(read(plain), {"model_cfg": {**model, side: less}, "preprocess_cfg": pictures})
    bare = {key: value for key, value in model.items() if key != "embed_dim"}
    with pytest.raises(InputError, match="embed_dim: stated None"):
        PLAIN.describe(read(plain), {"model_cfg": bare, "preprocess_cfg": pictures})


def test_without_a_config_it_is_asked_for(tmp_path):
    torch.save({"state_dict": seeded_state_dict(c.open_clip.open_clip())}, tmp_path / "epoch_5.pt")
    with pytest.raises(
        InputError, match=r"the activation, heads and pooling of epoch_5\.pt, and .* Pass --config FILE"
    ):
        convert(tmp_path / "epoch_5.pt", tmp_path / "out", format="open_clip")
    assert not (tmp_path / "out").exists()


PLAIN_REFUSED = [
    ("vision_cfg", "ls_init_value", 1e-5),
    ("vision_cfg", "attentional_pool", True),
    ("vision_cfg", "no_ln_pre", True),
    ("vision_cfg", "pool_type", "avg"),
    ("vision_cfg", "output_tokens", True),
    ("vision_cfg", "act_kwargs", {"approximate": "tanh"}),
    ("vision_cfg", "norm_kwargs", {"eps": 1e-6, "elementwise_affine": False}),
    ("vision_cfg", "norm_kwargs", {"eps": None}),
    ("text_cfg", "norm_kwargs", {"eps": "1e-6"}),
    ("text_cfg", "norm_kwargs", {"eps": 0}),
    ("vision_cfg", "mlp_ratio", None),
    ("text_cfg", "mlp_ratio", "4"),
    ("text_cfg", "mlp_ratio", [4.0]),
    ("model_cfg", "quick_gelu", "false"),
    ("vision_cfg", "block_type", "custom"),
    ("vision_cfg", "qk_norm", True),
    ("vision_cfg", "timm_model_name", "vit_base_patch16"),
    ("vision_cfg", "a_field_of_a_later_version", 1),
    ("text_cfg", "embed_cls", True),
    ("text_cfg", "no_causal_mask", True),
    ("text_cfg", "pool_type", "last"),
    ("text_cfg", "proj_type", "none"),
    ("text_cfg", "proj_bias", True),
    ("text_cfg", "hf_tokenizer_name", "bert-base-uncased"),
    ("text_cfg", "tokenizer_kwargs", {"clean": "canonicalize"}),
    ("text_cfg", "text_arch", "modern"),
    ("model_cfg", "init_logit_bias", -10),
    ("model_cfg", "multimodal_cfg", {}),
    ("preprocess_cfg", "mean", [0.5, 0.5, 0.5]),
    ("preprocess_cfg", "std", 0.5),
    ("preprocess_cfg", "interpolation", "bilinear"),
    ("preprocess_cfg", "resize_mode", "squash"),
    ("preprocess_cfg", "resize_mode", "longest"),
]


@pytest.mark.parametrize(("side", "field", "value"), PLAIN_REFUSED)
def test_what_could_change_a_number_is_refused_by_its_name_and_value(side, field, value, plain):
    with pytest.raises(InputError) as error:
        described(plain, side=side, **{field: value})
    assert f"The {side} of open_clip's config states" in str(error.value) and f"{field} {value!r}" in str(error.value)


XLM_ROBERTA_REFUSED = [
    ("hf_model_name", "roberta-base"),
    ("hf_model_name", "google/mt5-base"),
    ("hf_pooler_type", "max_pooler"),
    ("hf_proj_type", "clap_mlp"),
    ("tokenizer_kwargs", {"strip_sep_token": True}),
    ("tokenizer_mode", "clips"),
]


@pytest.mark.parametrize(("field", "value"), XLM_ROBERTA_REFUSED)
def test_of_a_text_tower_of_hugging_face_too(field, value, with_xlm_roberta):
    with pytest.raises(InputError) as error:
        described(with_xlm_roberta, XLM_ROBERTA, **{field: value})
    assert f"{field} {value!r}" in str(error.value)


@pytest.mark.parametrize(
    ("side", "field", "value"),
    [
        ("vision_cfg", "patch_dropout", 0.5),
        ("vision_cfg", "final_ln_after_pool", True),
        ("vision_cfg", "image_size", [c.common.SIZE, c.common.SIZE]),
        ("text_cfg", "pad_id", 7),
        ("text_cfg", "tokenizer_kwargs", {}),
        ("preprocess_cfg", "interpolation", "random"),
        ("model_cfg", "custom_text", True),
        ("model_cfg", "init_logit_scale", 2.0),
    ],
)
def test_what_changes_no_number_changes_nothing(side, field, value, plain):
    found, wanted = described(plain, side=side, **{field: value}), described(plain)
    assert (found.text, found.vision, found.image_order) == (wanted.text, wanted.vision, wanted.image_order)


@pytest.mark.parametrize(
    ("side", "field", "value"),
    [
        ("vision_cfg", "width", 80),
        ("vision_cfg", "image_size", 240),
        ("vision_cfg", "patch_size", 32),
        ("vision_cfg", "patch_size", None),
        ("vision_cfg", "mlp_ratio", 3.0),
        ("vision_cfg", "head_width", 48),
        ("text_cfg", "layers", 3),
        ("text_cfg", "context_length", 77),
        ("text_cfg", "vocab_size", 49408),
        ("text_cfg", "mlp_ratio", 3.0),
        ("text_cfg", "heads", 5),
        ("model_cfg", "embed_dim", 512),
        ("preprocess_cfg", "size", 240),
    ],
)
def test_a_config_of_another_model_is_refused(side, field, value, plain):
    with pytest.raises(InputError, match=field):
        described(plain, side=side, **{field: value})


def test_heads_in_quotes_are_called_no_whole_number(plain):
    with pytest.raises(InputError, match="states heads '4'; a whole number was wanted"):
        described(plain, side="text_cfg", heads="4")


def test_the_epsilon_of_norm_kwargs_is_taken(plain):
    assert described(plain, norm_kwargs={"eps": 1e-6}).text.config["layer_norm_eps"] == 1e-6
    assert described(plain, side="vision_cfg", norm_kwargs={"eps": 1e-6}).vision.config["layer_norm_eps"] == 1e-6


def test_another_end_than_the_last_word_is_refused(plain):
    end = len(c.common.bpe()[0]) - 1
    assert described(plain, pool_type="eos", eos_id=end).text.config["eos_token_id"] == end
    with pytest.raises(InputError, match="pools at eos_id 2"):
        described(plain, pool_type="eos", eos_id=2)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("text", "projection", "pooler", "wanted"),
    [
        ({"hf_pooler_type": "cls_pooler"}, "mlp", True, ("pooler", "mlp")),
        (
            {"hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": "linear"},
            "linear",
            False,
            ("cls", "linear"),
        ),
        ({"hf_pooler_type": None}, "mlp", False, ("mean", "mlp")),
    ],
)
def test_every_pooler_and_projection_converts(text, projection, pooler, wanted, tmp_path):
    folder = c.open_clip.open_clip_xlm_roberta_folder(tmp_path / "open_clip", **text)
    shapes = c.open_clip.open_clip_xlm_roberta(WORDS, projection, pooler)
    torch.save(seeded_state_dict(shapes), folder / "open_clip_pytorch_model.bin")

    report = convert(folder, tmp_path / "out")

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert report.passed
    assert (config["text_pooling"], config["text_projection_type"]) == wanted
    assert report.conversion["context_length"] == 40


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({"hf_pooler_type": "cls_pooler"}, "has no text.transformer.pooler"),
        ({"hf_proj_type": "linear"}, "ends in text.proj.0.weight, text.proj.2.weight"),
        ({"context_length": 77}, "context_length 77; wanted 62"),
        ({"hf_model_config": None}, "does not fit the weights: vocab_size: stated 250002"),
        ({"hf_model_config": {"rope_theta": 1}}, "unknown fields: rope_theta"),
        ({"hf_model_config": "x"}, "hf_model_config 'x'; a JSON object was wanted"),
        ({"hf_model_config": {"hidden_size": None}}, "hidden_size None; a number was wanted"),
        ({"hf_model_config": {"pad_token_id": "x"}}, "pad_token_id 'x'; a number was wanted"),
        ({"hf_model_config": {"max_position_embeddings": None}}, "max_position_embeddings None; a number was wanted"),
        ({"hf_model_config": {"hidden_act": 3}}, "hidden_act 3; a word was wanted"),
    ],
)
def test_a_text_tower_that_the_config_does_not_fit_is_refused(text, match, with_xlm_roberta):
    with pytest.raises(InputError, match=match):
        described(with_xlm_roberta, XLM_ROBERTA, **text)


def test_a_pooler_that_nothing_takes_is_refused(tmp_path):
    folder = c.open_clip.open_clip_xlm_roberta_folder(tmp_path / "open_clip")
    torch.save(
        seeded_state_dict(c.open_clip.open_clip_xlm_roberta(WORDS, pooler=True)),
        folder / "open_clip_pytorch_model.bin",
    )
    with pytest.raises(InputError, match="has text.transformer.pooler"):
        described(folder, XLM_ROBERTA)


def test_the_published_bodies_are_known_by_both_of_their_names():
    for name, heads in (("xlm-roberta-base", 12), ("FacebookAI/xlm-roberta-large", 16)):
        config = body_config({"hf_model_name": name})
        assert (config["num_attention_heads"], config["layer_norm_eps"], config["pad_token_id"]) == (heads, 1e-5, 1)


@pytest.mark.quick(1)
@pytest.mark.parametrize("format", ["open_clip", "open_clip_xlm_roberta"])
def test_its_image_tower_stands_beside_taiyi(format, monkeypatch, tmp_path):
    """As Taiyi's ViT-L and ViT-H were published: texts and the order of pictures are Taiyi's."""
    with monkeypatch.context() as patch:
        patch.setattr(c.common, "EMBED", c.common.HIDDEN)
        image = getattr(c.open_clip, f"{format}_folder")(tmp_path / "image")
    text = c.taiyi.taiyi_folder(tmp_path / "taiyi", head=False)

    report = convert(text, tmp_path / "out", vision=image, format="taiyi")

    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [each["format"] for each in report.sources] == ["taiyi", format]
    assert (config["vision_config"]["hidden_act"], config["text_pooling"]) == ("gelu", "pooler")
    assert report.passed


def test_an_image_part_of_other_normalisation_is_refused(plain, tmp_path):
    folder = c.open_clip.open_clip_folder(tmp_path / "open_clip")
    (folder / "open_clip_config.json").write_text(json.dumps(stated(plain, "preprocess_cfg", mean=[0.5] * 3)))
    text = c.taiyi.taiyi_folder(tmp_path / "taiyi", head=True)
    parts = identify(Stated(text, folder, "taiyi"))
    with pytest.raises(InputError, match="mean"):
        parts[1].describe()


def test_transformers_class_of_the_plain_one_is_clip_model_and_none_holds_the_other(repo):
    plain, other = (
        ZhCLIPConfig.from_pretrained(repo(family).path).to_dict() for family in ("open_clip", "open_clip_xlm_roberta")
    )
    assert native_for(plain).name == "CLIPModel"
    with pytest.raises(InputError, match="the second layer of the text projection and the GELU between the two"):
        native_for(other)


def test_openais_own_names_of_the_ends_cut_a_text_here(plain, with_xlm_roberta):
    """The last of the limits that the card says."""
    tokenizer = PLAIN.tokenizer(plain, 64)
    assert tokenizer("a <|endoftext|>")["input_ids"].count(tokenizer.eos_token_id) == 2
    assert any("<|endoftext|>" in limit.en for limit in PLAIN.limits)
    assert not any("<|endoftext|>" in limit.en for limit in XLM_ROBERTA.limits)


def test_a_sigmoid_model_is_refused_by_its_name(tmp_path):
    """SigLIP's image towers are timm's; of its keys one says more."""
    tensors = {
        key.replace("visual.", "visual.trunk."): value
        for key, value in seeded_state_dict(c.open_clip.open_clip()).items()
    }
    torch.save(tensors | {"logit_bias": torch.tensor(-10.0)}, tmp_path / "siglip.pt")
    with pytest.raises(UnknownFormat, match="SigLIP in open_clip's format"):
        detect(read(tmp_path / "siglip.pt"))


BOTH = ["config.json", "open_clip_config.json", "open_clip_pytorch_model.bin", "pytorch_model.bin", "tokenizer.json"]


@pytest.mark.parametrize(
    ("names", "config", "fetched"),
    [
        (BOTH, '{"model_type": "clip"}', "pytorch_model.bin"),
        (BOTH, '{"architecture": "vit_base_patch32_clip_224"}', "open_clip_pytorch_model.bin"),
        ([*BOTH[1:], "open_clip_model.safetensors"], None, "open_clip_model.safetensors"),
        (BOTH[1:3], None, "open_clip_pytorch_model.bin"),
    ],
    ids=["transformers'", "timm's", "none", "open_clip's alone"],
)
def test_of_a_repository_those_weights_are_fetched_that_are_read(names, config, fetched, monkeypatch, tmp_path):
    asked = []
    siblings = [SimpleNamespace(rfilename=name, size=9) for name in names]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    described = SimpleNamespace(siblings=siblings, sha="0" * 40)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: described)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **options: asked.append(options) or str(tmp_path)
    )
    if config:
        (tmp_path / "config.json").write_text(config)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "config.json"))

    locate("user/repo")

    patterns = asked[0]["allow_patterns"]
    assert [name for name in patterns if name.endswith((".bin", "model.safetensors"))] == [fetched]
    assert "open_clip_config.json" in patterns


def test_a_scale_that_the_config_states_as_no_scalar_is_taken(tmp_path):
    """open_clip 3.2.0, model.py: `nonscalar_logit_scale` keeps the same number in a vector."""
    folder = c.open_clip.open_clip_folder(tmp_path / "open_clip", nonscalar_logit_scale=True)
    weights = folder / "open_clip_pytorch_model.bin"
    tensors = torch.load(weights)
    torch.save({**tensors, "logit_scale": tensors["logit_scale"].reshape(1)}, weights)

    assert convert(folder, tmp_path / "out").passed
