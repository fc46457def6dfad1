import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zhclip.conversion.errors import MappingError
from hf_zhclip.conversion.layouts import towers
from hf_zhclip.conversion.mapping import (
    check,
    claimed,
    concat,
    drop,
    fold,
    inverse,
    log_inverse,
    matches,
    plan,
    rename,
    split,
    squeeze,
    squeezing,
    transpose,
    zero,
)
from hf_zhclip.conversion.sources import bert_clip, cn_clip, hf_clip, taiyi, zh_clip

from tests import checkpoints

SHAPES = {"a.0.weight": (2, 3), "a.1.weight": (2, 3), "b": (6, 4), "c": (4, 5), "old": (1,)}
TABLE = (
    rename("a.{}.weight", "x.{}.w"),
    split("b", "q", "k", "v"),
    transpose("c", "d"),
    drop("old"),
)
TARGETS = {"x.0.w": (2, 3), "x.1.w": (2, 3), "q": (2, 4), "k": (2, 4), "v": (2, 4), "d": (5, 4)}


def refusal(rules, shapes=SHAPES, targets=TARGETS):
    with pytest.raises(MappingError) as error:
        check([plan(rules, shapes)], targets)
    return str(error.value)


def test_a_table_that_keeps_the_laws_passes():
    found = plan(TABLE, SHAPES)

    check([found], TARGETS)

    assert found.shapes == TARGETS
    assert found.dropped == ("old",)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("a.{}.b", "a.12.b", True),
        ("a.{}.b", "a.x.b", False),
        ("a.*", "a.b.c", True),
        ("a.*", "a.", False),
        ("a.b", "a.b.c", False),
        ("a.b", "x.a.b", False),
        ("a.b", "axb", False),
        ("a.{}.in_proj_*", "a.0.in_proj_bias", True),
    ],
)
def test_a_pattern_matches_the_whole_key(pattern, key, fits):
    assert matches(pattern, key) is fits


def test_a_source_key_that_no_rule_claims_is_named():
    message = refusal(TABLE, {**SHAPES, "extra.weight": (7, 8)})

    assert "unknown keys" in message
    assert "extra.weight [7, 8]" in message


def test_a_source_key_that_two_rules_claim_is_named_with_both():
    message = refusal((*TABLE, rename("c", "e")))

    assert "keys claimed by more than one rule" in message
    assert "c (transpose(c, d); rename(c, e))" in message


def test_a_key_that_is_dropped_and_renamed_is_refused():
    assert "keys claimed by more than one rule" in refusal((*TABLE, drop("c")))


def test_a_target_key_that_is_written_twice_is_named():
    message = refusal((*TABLE[:2], rename("c", "q"), TABLE[3]), targets={**TARGETS, "q": (4, 5)})

    assert "target keys written more than once:\n  q\n" in message


def test_a_target_key_that_two_parts_write_is_named():
    with pytest.raises(MappingError, match=r"(?s)target keys written more than once:\n  d\n"):
        check([plan(TABLE, SHAPES), plan((rename("e", "d"),), {"e": (5, 4)})], TARGETS)


def test_a_layer_number_that_the_target_lacks_is_written_twice():
    message = refusal((rename("a.{}.weight", "x"), *TABLE[1:]))

    assert "target keys written more than once:\n  x\n" in message


def test_a_rule_that_finds_nothing_is_named():
    message = refusal((*TABLE, rename("nowhere.{}.*", "y.{}.*")))

    assert "missing keys (a rule needs them):\n  nowhere.{}.*\n" in message


def test_a_drop_may_find_nothing():
    check([plan((*TABLE, drop("nowhere.*")), SHAPES)], TARGETS)


def test_a_key_that_the_model_does_not_have_is_named():
    assert "keys that the model does not have:\n  d [5, 4]\n" in refusal(
        TABLE, targets={key: shape for key, shape in TARGETS.items() if key != "d"}
    )


def test_a_key_of_the_model_that_nothing_fills_is_named():
    assert "keys of the model that no rule fills:\n  more [9]\n" in refusal(TABLE, targets={**TARGETS, "more": (9,)})


def test_a_wrong_shape_is_named_with_the_one_that_was_wanted():
    assert "wrong shapes:\n  d: found [5, 4], wanted [4, 5]\n" in refusal(TABLE, targets={**TARGETS, "d": (4, 5)})


@pytest.mark.parametrize(
    ("rules", "shapes", "message"),
    [
        (
            (split("b", "q", "k", "v"),),
            {"b": (7, 4)},
            "b has shape [7, 4]; wanted a shape that splits into 3 equal parts",
        ),
        ((split("b", "q", "k"),), {"b": ()}, "b has shape []; wanted a shape that splits into 2 equal parts"),
        ((transpose("b", "q"),), {"b": (7,)}, "b has shape [7]; wanted a matrix to transpose"),
        ((concat(["b", "c"], "q"),), {"b": (2, 3), "c": (2, 4)}, "b, c have shapes that cannot be joined"),
        ((concat(["b", "c"], "q"),), {"b": (), "c": ()}, "b, c have shapes that cannot be joined"),
        ((concat(["b", "c"], "q"),), {"b": (3,), "c": ()}, "b, c have shapes that cannot be joined"),
    ],
)
def test_a_shape_that_an_operation_cannot_take_is_named(rules, shapes, message):
    assert message in refusal(rules, shapes, {})


def test_a_concat_whose_parts_are_not_all_there_names_the_absent_ones():
    rules = (concat(["a.{}.q", "a.{}.k"], "x.{}.qk"),)

    message = refusal(rules, {"a.0.q": (2,), "a.0.k": (2,), "a.1.q": (2,)}, {"x.0.qk": (4,)})

    assert "missing keys (a rule needs them):\n  a.1.k\n" in message


def test_one_error_lists_everything_wrong_sorted_and_with_layers_folded():
    shapes = {f"a.{layer}.w": (2, 2) for layer in range(12)}
    shapes |= {f"z.{layer}.w": (3,) for layer in (2, 0, 1)} | {"y": (1,), "f": (5,), "p": (2,)}
    rules = (
        rename("a.{}.w", "x.{}.w"),
        split("f", "q", "k"),
        rename("p", "x.0.w"),
        rename("p", "n"),
        rename("none", "n"),
    )

    message = refusal(rules, shapes, {"x.0.w": (2, 2), "x.1.w": (2, 3), "n": (2,)})

    assert message == (
        "The checkpoint does not fit its format. Nothing was written.\n"
        "unknown keys (no rule claims them):\n"
        "  y [1]\n"
        "  z.{0...2}.w [3]\n"
        "keys claimed by more than one rule:\n"
        "  p (rename(p, x.0.w); rename(p, n))\n"
        "missing keys (a rule needs them):\n"
        "  none\n"
        "wrong shapes:\n"
        "  f has shape [5]; wanted a shape that splits into 2 equal parts\n"
        "  x.1.w: found [2, 2], wanted [2, 3]\n"
        "keys that the model does not have:\n"
        "  x.{2...11}.w [2, 2]\n"
        "keys of the model that no rule fills:\n"
        "  n [2]\n"
        "`zhclip inspect` prints all keys and shapes of the file."
    )


def test_each_operation_computes_what_it_says():
    tensors = {
        "a.0.weight": torch.tensor([[1.0, 2, 3], [4, 5, 6]]),
        "a.1.weight": torch.zeros(2, 3),
        "b": torch.arange(24.0).reshape(6, 4),
        "c": torch.arange(20.0).reshape(4, 5),
        "old": torch.zeros(1),
    }

    result = dict(plan(TABLE, SHAPES).run(tensors))

    assert result.keys() == TARGETS.keys()
    assert result["x.0.w"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert result["q"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert result["v"].tolist() == [[16, 17, 18, 19], [20, 21, 22, 23]]
    assert result["d"].tolist() == [[0, 5, 10, 15], [1, 6, 11, 16], [2, 7, 12, 17], [3, 8, 13, 18], [4, 9, 14, 19]]


def test_a_concat_joins_in_the_order_of_the_rule_and_not_of_the_file():
    joined = concat(["q", "k", "v"], "b")
    tensors = {"v": torch.tensor([3.0]), "q": torch.tensor([1.0]), "k": torch.tensor([2.0])}

    result = dict(plan((joined,), {key: (1,) for key in tensors}).run(tensors))

    assert result["b"].tolist() == [1, 2, 3]


TEMPERATURE = (log_inverse("temp", "logit_scale"),)


def run(rules, tensors):
    return dict(plan(rules, {key: tuple(tensor.shape) for key, tensor in tensors.items()}).run(tensors))


def test_a_temperature_becomes_the_logarithm_of_its_inverse():
    found = plan(TEMPERATURE, {"temp": ()})
    check([found], {"logit_scale": ()})

    # 0.07 and its ln(1 / 0.07) are what CLIP starts from (Radford et al., 2021, section 2.5).
    assert run(TEMPERATURE, {"temp": torch.tensor(0.07)})["logit_scale"].item() == pytest.approx(2.6592600, abs=2e-7)
    assert run(TEMPERATURE, {"temp": torch.tensor([1.0, 0.5])})["logit_scale"].tolist() == pytest.approx(
        [0, 0.6931472]
    )


@pytest.mark.parametrize(
    ("stored", "computed"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_a_logarithm_is_not_rounded_to_half_precision(stored, computed):
    temperature = torch.tensor(0.0625, dtype=stored)  # every dtype holds it exactly

    found = run(TEMPERATURE, {"temp": temperature})["logit_scale"]

    assert found.dtype == computed
    assert found.item() == pytest.approx(2.7725887222, rel=1e-7)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(2**-10, 1.0, width=32))
def test_a_temperature_that_went_home_gives_the_same_logarithm_to_the_bit(temperature):
    mapped = run(TEMPERATURE, {"temp": torch.tensor(temperature)})
    back = run(inverse(TEMPERATURE), mapped)

    assert back["temp"].item() == pytest.approx(temperature, rel=3e-7)
    assert inverse(inverse(TEMPERATURE)) == TEMPERATURE
    assert bits(run(TEMPERATURE, back)["logit_scale"]) == bits(mapped["logit_scale"])


@pytest.mark.parametrize(
    ("rule", "stored", "wanted"),
    # ln(1 / 0.07), to the float32 that is nearest to it.
    [(rename("s", "logit_scale"), 2.5, 2.5), (log_inverse("s", "logit_scale"), 0.07, 2.6592600345611572)],
)
def test_one_element_in_a_vector_is_the_scalar_that_it_means_and_goes_home_in_its_own_shape(rule, stored, wanted):
    tensors = {"a": torch.ones(1), "s": torch.tensor([stored])}
    shapes = {"a": (1,), "s": (1,)}
    table = squeezing((rename("a", "x"), rule), shapes, "logit_scale")
    assert table == (rename("a", "x"), squeeze(rule))
    check([plan(table, shapes)], {"x": (1,), "logit_scale": ()})

    mapped = run(table, tensors)
    back = run(inverse(table), mapped)

    assert mapped["logit_scale"].shape == () and mapped["logit_scale"].item() == pytest.approx(wanted, abs=1e-9)
    assert mapped["x"].shape == (1,)
    assert back["s"].shape == (1,) and back["s"].item() == pytest.approx(stored, rel=3e-7)
    assert inverse(inverse(table)) == table
    assert plan(inverse(table), {"x": (1,), "logit_scale": ()}).problems == {}


def test_only_a_vector_of_one_element_is_squeezed():
    rule = rename("s", "logit_scale")
    for shape in ((), (2,), (1, 1)):
        assert squeezing((rule,), {"s": shape}, "logit_scale") == (rule,)
    assert squeezing((rule,), {}, "logit_scale") == (rule,)
    assert squeezing((zero("logit_scale"),), {"s": (1,)}, "logit_scale") == (zero("logit_scale"),)
    assert plan((squeeze(rule),), {"s": (2,)}).problems == {"wrong shapes": ("s has shape [2]; [1] was wanted",)}


ZERO = (rename("a", "x"), zero("scale"))


def test_a_zero_fills_a_scalar_that_no_source_key_gives():
    found = plan(ZERO, {"a": (2,)})
    check([found], {"x": (2,), "scale": ()})

    assert found.zeros == ("scale",)
    assert run(ZERO, {"a": torch.ones(2)})["scale"].item() == 0
    assert plan(TABLE, SHAPES).zeros == ()


def test_a_zero_keeps_the_laws():
    shapes = {"a": (2,)}

    assert "keys that the model does not have:\n  scale []\n" in refusal(ZERO, shapes, {"x": (2,)})
    assert "wrong shapes:\n  scale: found [], wanted [1]\n" in refusal(ZERO, shapes, {"x": (2,), "scale": (1,)})
    # A file that holds the scale after all: it would be written over.
    twice = refusal((*ZERO, rename("scale", "scale")), {**shapes, "scale": ()}, {"x": (2,), "scale": ()})
    assert "target keys written more than once:\n  scale\n" in twice
    assert "unknown keys (no rule claims them):\n  scale []\n" in refusal(ZERO, {**shapes, "scale": ()}, {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_zero_brings_no_dtype_that_the_source_does_not_have(dtype):
    mapped = run(ZERO, {"a": torch.ones(2, dtype=dtype)})

    assert {tensor.dtype for tensor in mapped.values()} == {dtype}
    assert run(ZERO, {"a": torch.ones(2, dtype=torch.int64)})["scale"].dtype == torch.float32


def test_a_zero_goes_on_the_way_back():
    mapped = run(ZERO, {"a": torch.ones(2)})

    assert inverse(ZERO) == (rename("x", "a"), drop("scale"))
    assert run(inverse(ZERO), mapped).keys() == {"a"}


def test_renames_and_splits_copy_nothing():
    tensors = {"a": torch.arange(6.0), "b": torch.arange(6.0)}
    found = plan((rename("a", "x"), split("b", "q", "k")), {"a": (6,), "b": (6,)})

    result = dict(found.run(tensors))

    assert result["x"].data_ptr() == tensors["a"].data_ptr()
    assert result["k"].data_ptr() == tensors["b"].data_ptr() + 12


def test_claimed_gives_the_keys_that_some_rule_takes():
    assert claimed(TABLE, ["a.7.weight", "b", "bb", "x.0.w"]) == ["a.7.weight", "b"]


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@st.composite
def tables(draw):
    """A table of every operation over a few layers, with the shapes of its source keys."""
    layers = draw(st.integers(1, 3))
    rules, shapes = [], {}
    for number, op in enumerate(
        draw(st.lists(st.sampled_from(("rename", "transpose", "split", "concat")), min_size=1))
    ):
        key = f"m{number}.{{}}."
        size = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=2 if op == "transpose" else 3)))
        match op:
            case "rename":
                rules.append(rename(key + "*", f"t{number}.{{}}.*"))
                own = {"w": size, "b.deep": ()}
            case "transpose":
                rules.append(transpose(key + "w", f"t{number}.{{}}"))
                own = {"w": size}
            case "split":
                parts = draw(st.integers(1, 4))
                rules.append(split(key + "f_*", *(f"t{number}.{{}}.{part}.*" for part in range(parts))))
                own = {"f_w": (size[0] * parts, *size[1:]), "f_b": (parts,)}
            case "concat":
                rules.append(concat([key + "p.*", key + "q.*"], f"t{number}.{{}}.*"))
                # Equal parts: what is read backwards is split in equal parts again.
                own = {"p.w": size, "q.w": size}
        shapes |= {key.format(layer) + name: shape for layer in range(layers) for name, shape in own.items()}
    return tuple(rules), dict(draw(st.permutations(sorted(shapes.items()))))


def random_bits(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = (torch.float32, torch.float16, torch.bfloat16, torch.int64)[seed % 4]
    count = torch.Size(shape).numel() * dtype.itemsize
    return torch.randint(0, 256, (count,), generator=generator, dtype=torch.uint8).view(dtype).reshape(shape)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tables(), st.integers(0, 2**20))
def test_a_table_and_its_inverse_give_every_bit_back(table, seed):
    rules, shapes = table
    # One dtype for the parts of a concat; any bits, those of NaN too.
    tensors = {key: random_bits(shape, seed + 4 * number) for number, (key, shape) in enumerate(shapes.items())}

    forward = plan(rules, shapes)
    mapped = dict(forward.run(tensors))
    backward = plan(inverse(rules), {key: tuple(tensor.shape) for key, tensor in mapped.items()})
    back = dict(backward.run(mapped))

    assert not forward.problems and not backward.problems
    assert {key: bits(tensor) for key, tensor in back.items()} == {
        key: bits(tensor) for key, tensor in tensors.items()
    }


FAMILY_TABLES = {
    "cn_clip ViT": (cn_clip.rules, checkpoints.cn_clip.cn_clip_vit(pooler=True)),
    "cn_clip ViT flash": (cn_clip.rules, checkpoints.cn_clip.cn_clip_vit(flash=True)),
    "cn_clip RN50": (cn_clip.rules, checkpoints.cn_clip.cn_clip_resnet()),
    "BertCLIP": (bert_clip.rules, checkpoints.bert_clip.bert_clip()),
    "Taiyi with head": (taiyi.rules, checkpoints.taiyi.taiyi(head=True)),
    "Taiyi without head": (taiyi.rules, checkpoints.taiyi.taiyi(head=False)),
    "CLIP": (hf_clip.rules, checkpoints.common.hf_clip_vision()),
    "ZH-CLIP": (zh_clip.rules, checkpoints.zh_clip.zh_clip()),
}


@pytest.mark.parametrize("family", FAMILY_TABLES)
def test_the_table_of_a_family_can_be_read_backwards(family):
    rules, shapes = FAMILY_TABLES[family]
    table = rules(shapes)
    tensors = {key: random_bits(shape, 4 * number) for number, (key, shape) in enumerate(small(shapes).items())}

    forward = plan(table, small(shapes))
    mapped = dict(forward.run(tensors))
    back = dict(plan(inverse(table), {key: tuple(tensor.shape) for key, tensor in mapped.items()}).run(mapped))

    assert not forward.problems
    assert back.keys() == tensors.keys() - set(forward.dropped)
    assert all(bits(back[key]) == bits(tensors[key]) for key in back)


def small(shapes):
    """The vocabulary's rows are many and prove nothing here."""
    return {key: tuple(min(size, 96) for size in shape) for key, shape in shapes.items()}


def test_the_pooler_of_an_old_cn_clip_file_is_dropped():
    found = plan(cn_clip.rules(shapes := checkpoints.cn_clip.cn_clip_vit(pooler=True)), shapes)

    assert sorted(found.dropped) == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]


def test_a_split_takes_query_key_and_value_in_this_order():
    shapes = checkpoints.cn_clip.cn_clip_vit()
    rows = torch.arange(3 * checkpoints.common.WIDTH, dtype=torch.float32)
    key = "visual.transformer.resblocks.1.attn.in_proj_bias"

    mapped = dict(plan(towers.openai_vit("in_proj_"), {key: shapes[key]}).run({key: rows}))

    layer = "vision_model.encoder.layers.1.self_attn."
    assert [mapped[f"{layer}{part}_proj.bias"][0].item() for part in "qkv"] == [0, 64, 128]


def expanded(line):
    """Every key that a folded line stands for."""
    choices = []
    for piece in re.split(r"(\{[^}]*\})", line):
        if span := re.fullmatch(r"\{(\d+)\.\.\.(\d+)\}", piece):
            choices.append([str(number) for number in range(int(span[1]), int(span[2]) + 1)])
        else:
            choices.append(piece[1:-1].split(", ") if piece.startswith("{") else [piece])
    return ["".join(each) for each in itertools.product(*choices)]


pieces = st.sampled_from(("a", "b", "0", "1", "2", "3", "7", "12", "01"))
keys = st.lists(pieces, min_size=1, max_size=5).map(".".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sets(keys, max_size=12))
def test_folding_loses_no_key_and_invents_none(lines):
    folded = fold(sorted(lines))

    assert sorted(key for line in folded for key in expanded(line)) == sorted(lines)
    assert folded == sorted(folded)


def test_folding_reads_as_ranges():
    keys = [f"h.{layer}.w [4]" for layer in range(12)] + ["h.0.b", "h.2.b", "g"]

    assert fold(keys) == ["g", "h.{0, 2}.b", "h.{0...11}.w [4]"]


def test_folding_takes_braces_in_a_key_for_what_they_are():
    assert fold(["a.{}.b", "a.0.b", "a.1.b"]) == ["a.{0...1}.b", "a.{}.b"]
