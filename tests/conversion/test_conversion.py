import importlib.util

import pytest

import hf_zhclip.conversion


def test_the_folder_cannot_be_imported_under_a_second_name():
    spec = importlib.util.spec_from_file_location("conversion", hf_zhclip.conversion.__file__)

    with pytest.raises(ImportError, match="as `conversion` it would exist twice"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("name", hf_zhclip.conversion.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(hf_zhclip.conversion, name).__doc__


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        hf_zhclip.conversion.nothing  # noqa: B018


def test_what_the_user_can_mend_is_told_from_what_the_machine_did():
    conversion = hf_zhclip.conversion

    assert {conversion.InputError.exit_code, conversion.MappingError.exit_code} == {2}
    assert {conversion.UnknownFormat.exit_code} == {2}
    assert {conversion.WorkError.exit_code, conversion.ParityError.exit_code} == {1}
    assert issubclass(conversion.InputError, ValueError)
