import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.mapping import log_inverse, plan, rename, zero
from hf_zhclip.conversion.repos.scale import scale_limits

from tests import checkpoints as c
from tests.checkpoints import FAMILIES
from tests.weights import seeded_state_dict

AS_IT_IS = rename("s", "logit_scale")


def limits(value, rule=AS_IT_IS, dtype=torch.float32):
    tensors = {"s": torch.tensor(value, dtype=dtype)} if rule.sources else {}
    made = plan((rule,), {key: () for key in tensors})
    return scale_limits([made], dict(made.run(tensors)))


# ln(1 / 0.07), what CLIP starts from; ln 100 in float32; the clamp of cn_clip's training; the same in half precision.
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2.6593, torch.float32),
        (math.log(100), torch.float32),
        (4.6052, torch.float32),
        (4.6052, torch.float16),
        (4.6052, torch.bfloat16),
        (1.0, torch.float32),
    ],
)
def test_nothing_is_said_up_to_the_logarithm_of_100(value, dtype):
    assert limits(value, dtype=dtype) == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4.61, "is 4.61: a factor of 100.484 on the cosines. CLIP's trainings limit this factor to 100."),
        (4.8, "is 4.8: a factor of 121.51 on the cosines. CLIP's trainings limit this factor to 100."),
        (0.0, "is 0: a factor of 1 on the cosines. A softmax over the cosines is nearly flat."),
        (-0.01, "is -0.01: a factor of 0.99005 on the cosines. A softmax"),
        (0.07, "is 0.07: a factor of 1.07251 on the cosines. A softmax"),
        (0.07, "If the number is a temperature, the right value is 2.65926:"),
    ],
)
def test_what_may_be_honest_is_kept_and_said_in_both_languages(value, said):
    (told,) = limits(value)
    assert said in told.en and "The value is kept unchanged" in told.en
    assert f"来源的 logit_scale 是 {value:.6g}，" in told.zh and "这里原样保留" in told.zh


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (100.0, "s is 100\\. .* looks like the factor itself; the factor's logarithm is 4.60517"),
        (14.285714, "s is 14.2857\\. .* looks like the factor itself; the factor's logarithm is 2.65926"),
        (1e30, "s is 1e\\+30\\. .*the factor itself"),
        (
            -2.6593,
            "s is -2.6593\\. .* looks like the logarithm of a temperature of 0.0699.*; the negative .* is 2.6593",
        ),
        (-1e30, "s is -1e\\+30\\. .* the logarithm of a temperature"),
        (math.nan, "s is nan\\. .*diverged"),
        (math.inf, "s is inf\\. .*diverged"),
    ],
)
def test_what_cannot_be_the_logarithm_of_a_factor_is_refused_with_the_reason(value, wanted):
    with pytest.raises(InputError, match=wanted):
        limits(value)


@pytest.mark.parametrize(
    ("temperature", "wanted"),
    [
        (0.0, r"s is 0\. Wanted: a temperature"),
        (-0.07, r"s is no number above 0\. Wanted: a temp"),
        (14.3, r"s is 14\.3\. Wanted: a temp"),
    ],
)
def test_a_temperature_is_refused_in_its_own_words(temperature, wanted):
    with pytest.raises(InputError, match=wanted):
        limits(temperature, log_inverse("s", "logit_scale"))
    assert limits(0.07, log_inverse("s", "logit_scale")) == ()


def test_a_zero_that_no_source_key_gives_is_the_familys_own_matter():
    assert limits(None, zero("logit_scale")) == ()
    assert scale_limits([], {}) == ()


def with_scale(folder, value):
    """A cn_clip file of another scale."""
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit()) | {"logit_scale": torch.tensor(value)}
    torch.save({"state_dict": tensors}, folder / "x.pt")
    return folder / "x.pt", {"config": c.cn_clip.cn_clip_config(folder / "facts.json")}


def test_a_scale_that_was_exponentiated_is_refused_and_its_logarithm_is_the_way_out(tmp_path):
    source, options = with_scale(tmp_path, 14.285714)
    with pytest.raises(
        InputError, match=r"logit_scale is 14\.2857\. .*the factor's logarithm is 2\.65926.*into the file"
    ):
        convert(source, tmp_path / "OUT", **options)
    assert not (tmp_path / "OUT").exists()

    state = torch.load(source)
    state["state_dict"]["logit_scale"] = torch.tensor(2.65926)
    torch.save(state, source)
    report = convert(source, tmp_path / "OUT", **options)

    assert report.passed and not any("logit_scale" in limit.en for limit in report.conversion["limits"])


@pytest.mark.usefixtures("written_card")
def test_a_scale_that_drifted_is_said_on_the_terminal_in_the_report_and_on_the_card(tmp_path):
    source, options = with_scale(tmp_path, 4.61)
    lines = []

    report = convert(source, tmp_path / "OUT", progress=lines.append, **options)

    (told,) = [limit for limit in report.conversion["limits"] if "logit_scale of the source is 4.61" in limit.en]
    assert report.passed and told.en in lines
    card = (tmp_path / "OUT/README.md").read_text(encoding="utf-8")
    assert told.en in card and told.zh in card


def in_a_vector(place):
    """Gives the scale of a file, or of a folder of safetensors, the shape that FSDP asks for."""

    def turned(tensors):
        scales = [key for key in tensors if key.endswith(("logit_scale", "temp"))]
        return {**tensors, **{key: tensors[key].reshape(1) for key in scales}}

    if place.is_dir():
        save_file(
            turned(load_file(place / "model.safetensors")), place / "model.safetensors", metadata={"format": "pt"}
        )
        return
    state = torch.load(place)
    inner = "model" if "model" in state else "state_dict"
    torch.save({**state, inner: turned(state[inner])}, place)


# The ways to a scale: a rename, a logarithm, a rename under a prefix, and a rename in an image part.
@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["cn_clip_vit", "r2d2", "taiyi_finetune", "taiyi_head"])
def test_a_scale_of_one_element_in_a_vector_is_taken(family, tmp_path, repo):
    made = FAMILIES[family](tmp_path)
    in_a_vector(made.arguments.get("vision", made.source))

    report = convert(made.source, tmp_path / "OUT", **made.arguments)

    assert report.passed
    found = load_file(tmp_path / "OUT" / "model.safetensors")["logit_scale"]
    assert found.shape == () and torch.equal(found, load_file(repo(family).path / "model.safetensors")["logit_scale"])
