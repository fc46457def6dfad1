"""The card of a folder, written anew: whose words are kept, what is refused, and that it is written whole."""

import pytest

from hf_zhclip.conversion import card
from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.publishing.card_file import is_generated

from tests.conversion.publishing.reading import (
    text_of,
)


def test_a_card_that_somebody_wrote_is_kept_unless_forced(copy):
    folder = copy()
    assert is_generated(text_of(folder))
    assert is_generated(text_of(folder).replace("\n", "\r\n"))  # as git writes it on Windows
    edited = text_of(folder).replace("## 分数", "## My own words\n\n## 分数")
    (folder / "README.md").write_text(edited, encoding="utf-8")
    assert not is_generated(edited) and not is_generated("# mine\n")
    with pytest.raises(InputError, match="edited later"):
        card(folder)
    assert text_of(folder) == edited
    card(folder, force=True)
    assert "My own words" not in text_of(folder)


def test_a_folder_that_is_no_repo_and_a_header_that_is_none_are_refused(copy, tmp_path):
    with pytest.raises(InputError, match="no converted repo"):
        card(tmp_path)
    folder = copy()
    for broken in ("- a", "license: [", "1: a", "license: " + "[" * 2_000):
        (folder / "README.md").write_text(f"---\n{broken}\n---\n", encoding="utf-8")
        with pytest.raises(InputError, match="metadata of .* can't be read"):
            card(folder, force=True)
    (folder / "README.md").write_bytes("# 我的".encode("gbk"))
    for force in (False, True):
        with pytest.raises(InputError, match=r"README\.md is not in UTF-8"):
            card(folder, force=force)


@pytest.mark.parametrize(
    ("reason", "told"), [(OSError(28, "No space left on device"), WorkError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_card_that_cannot_be_written_leaves_the_old_one_and_nothing_else(reason, told, copy, monkeypatch):
    folder = copy()
    before, names = text_of(folder), sorted(path.name for path in folder.iterdir())

    def full(self, target):
        raise reason

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(told, match="No space left" if told is WorkError else None):
        card(folder, license="mit")
    assert text_of(folder) == before and sorted(path.name for path in folder.iterdir()) == names
