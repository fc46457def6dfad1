"""The reference forwards on small tensors: their formulas, their layouts, and what they refuse."""

import ast
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hf_zhclip.conversion.proof import reference
from hf_zhclip.conversion.proof.reference import bert_clip, cn_clip, hf_clip, layers, pictures, taiyi

from tests import checkpoints, planted
from tests.inputs import seeded_ids, seeded_pixels
from tests.planted import SEEN, Case, cosine
from tests.weights import seeded_state_dict

FACTS = checkpoints.cn_clip.CN_CLIP_FACTS
HF_CONFIG = {"text_config": checkpoints.common.BERT_CONFIG, "vision_config": checkpoints.common.VISION_CONFIG}
IDS = seeded_ids(checkpoints.common.VOCAB)
PIXELS = seeded_pixels(checkpoints.common.SIZE)
VOCAB = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[",
    "]",
    "mask",
    "x",
    "##x",
    "猫",
    "狗",
    "e",
    "σ",
    "##ς",
    "##σ",
]


@pytest.mark.parametrize("path", sorted(Path(reference.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_a_reference_imports_torch_pillow_and_the_standard_library_only(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"line {node.lineno} reaches out of conversion/reference"
            imported |= {node.module.split(".")[0]} if node.level == 0 else set()
    assert imported - {"torch", "PIL"} <= sys.stdlib_module_names


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_that_of_torch(heads):
    module = torch.nn.MultiheadAttention(16, heads, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    query, key, value = F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
    ours = module.out_proj(layers.attention(query, key, value, heads, padding * -10000.0))

    torch.testing.assert_close(ours, module(x, x, x, key_padding_mask=padding, need_weights=False)[0])


def test_a_head_count_that_does_not_divide_the_width_is_refused():
    x = torch.randn(1, 2, 16)
    with pytest.raises(ValueError, match="width of 16 can not be cut into 3"):
        layers.attention(x, x, x, 3)


def test_layer_norm_and_gelu_are_those_of_torch():
    x = torch.randn(3, 8) * 0.01
    tensors = {"norm.weight": torch.rand(8), "norm.bias": torch.rand(8)}
    wanted = F.layer_norm(x, (8,), tensors["norm.weight"], tensors["norm.bias"], eps=1e-5)

    torch.testing.assert_close(layers.layer_norm(tensors, "norm", x, 1e-5), wanted)
    torch.testing.assert_close(layers.gelu(x * 300), F.gelu(x * 300))


@pytest.mark.parametrize(
    "shapes", [checkpoints.cn_clip.cn_clip_vit(), checkpoints.cn_clip.cn_clip_resnet()], ids=["ViT", "ResNet"]
)
def test_half_precision_tensors_are_used_in_single(shapes):
    half = {key: tensor.half() for key, tensor in seeded_state_dict(shapes).items()}
    single = {key: tensor.float() for key, tensor in half.items()}

    assert torch.equal(cn_clip.encode_text(half, IDS, FACTS), cn_clip.encode_text(single, IDS, FACTS))
    assert torch.equal(cn_clip.encode_image(half, PIXELS, FACTS), cn_clip.encode_image(single, PIXELS, FACTS))
    assert cn_clip.encode_text(half, IDS, FACTS).dtype == torch.float32


def flash_layout(tensors):
    """The flash-attention layout of the same weights, written by hand."""
    flash = {key.replace("attn.in_proj_", "attn.Wqkv."): tensor for key, tensor in tensors.items()}
    for layer in range(checkpoints.common.LAYERS):
        attention = f"bert.encoder.layer.{layer}.attention."
        for kind in ("weight", "bias"):
            parts = [flash.pop(f"{attention}self.{name}.{kind}") for name in ("query", "key", "value")]
            flash[f"{attention}self.Wqkv.{kind}"] = torch.cat(parts)
            flash[f"{attention}self.out_proj.{kind}"] = flash.pop(f"{attention}output.dense.{kind}")
    return flash


def test_the_flash_layout_gives_the_same_embeddings():
    tensors = seeded_state_dict(checkpoints.cn_clip.cn_clip_vit())
    flash = flash_layout(tensors)
    assert {key: tuple(tensor.shape) for key, tensor in flash.items()} == checkpoints.cn_clip.cn_clip_vit(flash=True)

    texts = cn_clip.encode_text(flash, IDS, FACTS), cn_clip.encode_text(tensors, IDS, FACTS)
    images = cn_clip.encode_image(flash, PIXELS, FACTS), cn_clip.encode_image(tensors, PIXELS, FACTS)
    torch.testing.assert_close(*texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(*images, atol=1e-5, rtol=0)


def test_a_pooler_in_a_cn_clip_file_is_not_used():
    plain = seeded_state_dict(checkpoints.cn_clip.cn_clip_vit())
    pooled = seeded_state_dict(checkpoints.cn_clip.cn_clip_vit(pooler=True))
    assert torch.equal(cn_clip.encode_text(plain, IDS, FACTS), cn_clip.encode_text(pooled, IDS, FACTS))


def test_padding_changes_nothing_unless_taiyi_attends_to_it():
    cases = [
        (cn_clip.encode_text, checkpoints.cn_clip.cn_clip_vit(), FACTS),
        (bert_clip.encode_text, checkpoints.bert_clip.bert_clip(), HF_CONFIG),
        (taiyi.encode_text, checkpoints.taiyi.taiyi(head=True), checkpoints.common.BERT_CONFIG),
        (taiyi.encode_text, checkpoints.taiyi.taiyi(head=False), checkpoints.common.BERT_CONFIG),
    ]
    for encode, shapes, config in cases:
        tensors = seeded_state_dict(shapes)
        alone = torch.cat([encode(tensors, row[row != 0][None], config) for row in IDS])
        torch.testing.assert_close(encode(tensors, IDS, config), alone, atol=1e-5, rtol=0)

    attending = taiyi.encode_text(tensors, IDS, {**checkpoints.common.BERT_CONFIG, "attend_to_padding": True})
    assert cosine(attending, alone) < SEEN


def test_every_embedding_has_length_one():
    tensors = seeded_state_dict(checkpoints.bert_clip.bert_clip())
    for rows in (bert_clip.encode_text(tensors, IDS, HF_CONFIG), hf_clip.encode_image(tensors, PIXELS, HF_CONFIG)):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)))


@pytest.mark.parametrize("tower", ["text", "ViT", "ResNet"])
def test_every_planted_error_is_seen_in_the_small_checkpoints(tower):
    shapes = (
        checkpoints.cn_clip.cn_clip_resnet() if tower == "ResNet" else checkpoints.cn_clip.cn_clip_vit(pooler=True)
    )
    encode, inputs, errors = {
        "text": (cn_clip.encode_text, IDS, planted.cn_clip_text(other_heads=2)),
        "ViT": (cn_clip.encode_image, PIXELS, planted.cn_clip_vit(other_width=32)),
        "ResNet": (cn_clip.encode_image, PIXELS, planted.cn_clip_resnet(other_width=32)),
    }[tower]
    tensors = seeded_state_dict(shapes)
    right = encode(tensors, inputs, FACTS)
    cosines = {}
    for name, plant in errors.items():
        with pytest.MonkeyPatch.context() as patch:
            case = plant(Case(tensors, FACTS, patch))
            cosines[name] = cosine(encode(case.tensors, inputs, case.config), right)
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


@pytest.mark.parametrize("width, stated", [(768, 64), (1024, 64), (1280, 80)])
def test_published_vit_widths_have_their_head_width(width, stated):
    shapes = {
        "visual.conv1.weight": (width, 3, 32, 32),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (5, width),
        "visual.proj": (width, 8),
    }
    for name in ("ln_pre", "ln_post", "transformer.resblocks.0.ln_1", "transformer.resblocks.0.ln_2"):
        shapes |= {f"visual.{name}.weight": (width,), f"visual.{name}.bias": (width,)}
    for name, rows, columns in (("attn.out_proj", width, width), ("mlp.c_fc", 64, width), ("mlp.c_proj", width, 64)):
        block = f"visual.transformer.resblocks.0.{name}"
        shapes |= {f"{block}.weight": (rows, columns), f"{block}.bias": (rows,)}
    joint = "visual.transformer.resblocks.0.attn.in_proj_"
    shapes |= {f"{joint}weight": (3 * width, width), f"{joint}bias": (3 * width,)}
    tensors = seeded_state_dict(shapes)
    unstated = cn_clip.encode_image(tensors, PIXELS, {})

    assert torch.equal(unstated, cn_clip.encode_image(tensors, PIXELS, {"vision_head_width": stated}))
    assert cosine(unstated, cn_clip.encode_image(tensors, PIXELS, {"vision_head_width": stated * 2})) < SEEN


def test_a_head_count_that_is_not_known_is_asked_for_by_the_configs_own_name():
    vit, resnet = (
        seeded_state_dict(checkpoints.cn_clip.cn_clip_vit()),
        seeded_state_dict(checkpoints.cn_clip.cn_clip_resnet()),
    )
    with pytest.raises(LookupError, match="width of 32 is of no published size.*'text_num_attention_heads'"):
        cn_clip.encode_text(vit, IDS, {})
    with pytest.raises(LookupError, match="width of 64 is of no published size.*'vision_head_width'"):
        cn_clip.encode_image(vit, PIXELS, {})
    with pytest.raises(LookupError, match="'vision_head_width'"):
        cn_clip.encode_image(resnet, PIXELS, {})
    with pytest.raises(LookupError, match="no 'vision_config'.*found \\['text_config'\\]"):
        hf_clip.encode_image(vit, PIXELS, {"text_config": {}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ({"position_embedding_type": "relative_key"}, "relative"),
    ],
)
def test_a_fact_that_the_reference_does_not_have_is_refused(fields, message):
    tensors = seeded_state_dict(checkpoints.taiyi.taiyi(head=True))
    with pytest.raises(ValueError, match=message):
        taiyi.encode_text(tensors, IDS, {**checkpoints.common.BERT_CONFIG, **fields})


def test_a_missing_layer_is_refused():
    tensors = seeded_state_dict(checkpoints.cn_clip.cn_clip_vit())
    tensors = {key: tensor for key, tensor in tensors.items() if ".layer.0." not in key}
    with pytest.raises(LookupError, match=r"'bert.encoder.layer.N.\*'.*found \[1\]"):
        cn_clip.encode_text(tensors, IDS, FACTS)


def test_texts_longer_than_the_positions_are_refused():
    tensors = seeded_state_dict(checkpoints.cn_clip.cn_clip_vit())
    with pytest.raises(ValueError, match=f"texts of 65 ids, but the checkpoint has {checkpoints.common.POSITIONS}"):
        cn_clip.encode_text(tensors, torch.ones(1, 65, dtype=torch.int64), FACTS)


def test_the_image_size_is_that_of_the_position_table():
    for shapes in (checkpoints.cn_clip.cn_clip_vit(), checkpoints.cn_clip.cn_clip_resnet()):
        assert cn_clip.image_size(seeded_state_dict(shapes), {}) == checkpoints.common.SIZE
    assert hf_clip.image_size(seeded_state_dict(checkpoints.common.hf_clip_vision()), {}) == checkpoints.common.SIZE
    with pytest.raises(ValueError, match="12 positions"):
        layers.square_side(12)


@pytest.mark.parametrize(
    ("text", "cn_clip_ids", "transformers_ids"),
    [
        ("猫狗", [10, 11], [10, 11]),
        ("[MASK]", [5, 7, 6], [4]),
        ("x" * 101, [8] + [9] * 100, [1]),
        ("x" * 201, [1], [1]),
        ("É\ue000", [1], [12]),
        ("ΣΣ", [13, 14], [13, 15]),
        ("\U0002b820\U0002b821", [1, 1], [1]),
        ("\u200b \t", [], []),
    ],
)
def test_each_tokenizer_has_its_own_rules(text, cn_clip_ids, transformers_ids):
    assert cn_clip.token_ids([text], VOCAB, 300) == [[2, *cn_clip_ids, 3]]
    assert bert_clip.token_ids([text], VOCAB, 300) == [[2, *transformers_ids, 3]]
    assert taiyi.token_ids([text], VOCAB, 300) == [[2, *transformers_ids, 3]]


def test_truncation_keeps_the_end_mark():
    assert cn_clip.token_ids(["猫狗猫狗"], VOCAB, 4) == [[2, 10, 11, 3]]
    assert bert_clip.token_ids(["猫狗猫狗"], VOCAB, 4) == [[2, 10, 11, 3]]


def column_numbers(width: int, height: int) -> Image.Image:
    return Image.frombytes("L", (width, height), bytes(range(width)) * height).convert("RGB")


def test_the_two_crops_of_227_pixels_start_at_different_columns():
    def first_column(pixels):
        return round(float(pixels[0, 0, 0]) * pictures.STD[0] * 255 + pictures.MEAN[0] * 255)

    image = column_numbers(227, 224)
    assert first_column(bert_clip.pixels(image, {}, 224)) == 1
    assert first_column(taiyi.pixels(image, {"classifier.weight": torch.zeros(1)}, 224)) == 1
    assert first_column(taiyi.pixels(image, {}, 224)) == 2
    assert first_column(cn_clip.pixels(image, {}, 224)) == 0


def test_a_transparent_picture_is_black_when_resized_first_and_keeps_its_colour_otherwise():
    image = Image.new("RGBA", (50, 60), (255, 255, 255, 0))
    black = -torch.tensor(pictures.MEAN) / torch.tensor(pictures.STD)
    white = (1 - torch.tensor(pictures.MEAN)) / torch.tensor(pictures.STD)

    torch.testing.assert_close(cn_clip.pixels(image, {}, 32)[:, 5, 5], black)
    torch.testing.assert_close(taiyi.pixels(image, {}, 32)[:, 5, 5], black)
    torch.testing.assert_close(bert_clip.pixels(image, {}, 32)[:, 5, 5], white)


@pytest.mark.parametrize("size", [(1, 1), (2000, 20), (20, 2000)])
def test_every_shape_becomes_a_square(size):
    image = Image.new("L", size, 128)
    for pixels in (cn_clip.pixels(image, {}, 32), bert_clip.pixels(image, {}, 32), taiyi.pixels(image, {}, 32)):
        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == torch.float32
