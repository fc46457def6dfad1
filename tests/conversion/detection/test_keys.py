"""Every checkpoint of tests/keys at full size, on the meta device: its keys and shapes against the model they make."""

import pytest

from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import describe
from hf_zhclip.conversion.errors import UnknownFormat
from hf_zhclip.conversion.mapping import check, claimed, inverse, plan
from hf_zhclip.conversion.pipeline import build
from hf_zhclip.conversion.sources import SOURCES

from tests.published import KEYS, checkpoint, parts
from tests.thorough import in_turns

# Formats of which no checkpoint was published: what their projects' code saves is recorded at a small size.
UNPUBLISHED = {"easynlp", "taiyi_clip"}


@pytest.mark.quick(8)
@pytest.mark.parametrize("name", in_turns(KEYS, lambda name: KEYS[name]["format"]))
def test_every_key_is_claimed_and_every_key_of_the_model_filled_and_the_inverse_gives_them_back(name, tmp_path):
    found = parts(name, tmp_path)
    config, shapes = build(describe(found))
    check([each.plan for each in found], shapes)

    for each in found:
        table = inverse(each.home(config.to_dict()))
        own = {key: shapes[key] for key in claimed(table, shapes)}
        kept = {key: shape for key, shape in each.checkpoint.shapes.items() if key not in each.plan.dropped}
        assert plan(table, own).shapes == kept


@pytest.mark.quick(27)
@pytest.mark.parametrize("name", KEYS)
def test_exactly_one_source_claims_it_or_the_format_is_asked_for(name, tmp_path):
    found, format = checkpoint(name, tmp_path), KEYS[name]["format"]

    if KEYS[name].get("ask"):
        with pytest.raises(UnknownFormat, match=rf"state it: .*--format {format} \("):
            detect(found)
        assert detect(found, format).source.name == format
    else:
        assert detect(found).source.name == format


def test_every_format_has_a_checkpoint_and_every_file_says_what_the_docstring_of_its_recording_lists():
    assert {recorded["format"] for recorded in KEYS.values()} == SOURCES.keys() - UNPUBLISHED
    required, optional = {"format", "architecture", "made_by", "config", "keys"}, {"vision", "beside", "ask"}
    for name, recorded in KEYS.items():
        assert required <= recorded.keys() <= required | optional, name
        assert (SOURCES[recorded["format"]].part == "text") == ("vision" in recorded), name
