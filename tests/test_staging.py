import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.staging import check_absent, check_absent_file, staging, staging_file

from tests.conversion.helpers import contents, entries

POSIX = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


OLD, NEW = '{"model_type": "hf_zhclip"}', '{"model_type": "hf_zhclip", "new": 1}'


def write(out, text="new", force=False, needed=0):
    with staging(out, needed, force) as folder:
        (folder / "config.json").write_text(text)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "OUT"


@pytest.fixture
def old(out):
    """A repo that stood there before."""
    out.mkdir()
    (out / "config.json").write_text(OLD)
    return out


def test_the_folder_appears_whole_and_nothing_else_stays(out, tmp_path):
    with staging(out, 0, False) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "x").write_text("x")
        assert folder.parent == tmp_path
        assert not out.exists()

    assert contents(out) == {"deep/x": b"x"}
    assert entries(tmp_path) == {"OUT"}


def test_the_last_act_is_one_rename(out, monkeypatch):
    renames = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, target: (renames.append((self, target)), rename(self, target)))

    with staging(out, 0, False) as folder:
        (folder / "x").write_text("x")

    assert renames == [(folder, out)]


@pytest.mark.parametrize("error", [InputError("bad"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(error, out, tmp_path):
    with pytest.raises(type(error)), staging(out, 0, False) as folder:
        (folder / "x").write_text("x")
        raise error

    assert entries(tmp_path) == set()


def test_a_system_error_is_told_as_such_and_leaves_nothing(out, tmp_path):
    with pytest.raises(WorkError, match="OUT could not be written: No space left on device"):
        with staging(out, 0, False) as folder:
            (folder / "x").write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device")

    assert entries(tmp_path) == set()


def test_a_full_disk_is_seen_before_anything_is_written(out, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))

    with pytest.raises(
        WorkError, match="5 bytes free, but 1,000 bytes are needed. Free some space or choose another disk"
    ):
        write(out, needed=1000)

    assert entries(tmp_path) == set()


def test_parents_that_were_made_for_nothing_are_removed(tmp_path):
    (tmp_path / "a").mkdir()

    with pytest.raises(ValueError), staging(tmp_path / "a" / "b" / "c" / "OUT", 0, False):
        raise ValueError

    assert entries(tmp_path) == {"a"}
    assert entries(tmp_path / "a") == set()


def test_missing_parents_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "OUT")

    assert contents(tmp_path / "a" / "b" / "OUT") == {"config.json": b"new"}


def test_a_relative_path_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    with staging(Path("OUT"), 0, False):
        monkeypatch.chdir(tmp_path / "elsewhere")

    assert entries(tmp_path) == {"OUT", "elsewhere"}


# What exists


def folder(out):
    out.mkdir()
    (out / "x").write_text("x")


def empty_folder(out):
    out.mkdir()


def file(out):
    out.write_text("x")


def dangling_link(out):
    out.symlink_to("nowhere")


def link_to_a_folder(out):
    (out.parent / "target").mkdir()
    out.symlink_to("target")


def state(path):
    """What tells another file or another content; the time of the last reading is none of it."""
    found = path.lstat()
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("make", [folder, empty_folder, file, dangling_link], ids=lambda make: make.__name__)
def test_nothing_that_exists_is_overwritten(make, out, tmp_path):
    make(out)
    before = entries(tmp_path), state(out)

    for attempt in (lambda: check_absent(out, False), lambda: write(out)):
        with pytest.raises(InputError, match="OUT exists already, and is not overwritten"):
            attempt()

    assert (entries(tmp_path), state(out)) == before


@pytest.mark.parametrize("make", [file, dangling_link, link_to_a_folder], ids=lambda make: make.__name__)
def test_force_replaces_folders_alone(make, out, tmp_path):
    make(out)
    before = entries(tmp_path), state(out)

    for attempt in (lambda: check_absent(out, True), lambda: write(out, force=True)):
        with pytest.raises(InputError, match="OUT is not a folder, so --force does not replace it"):
            attempt()

    assert (entries(tmp_path), state(out)) == before


@pytest.mark.parametrize("force", [False, True])
def test_the_root_is_no_place_for_a_repo(force):
    with pytest.raises(InputError):
        check_absent(Path(os.path.abspath(os.sep)), force)


def test_force_replaces_a_folder(old, tmp_path):
    write(old, force=True)

    assert contents(old) == {"config.json": b"new"}
    assert entries(tmp_path) == {"OUT"}


def test_force_deletes_the_old_folder_last(old, monkeypatch):
    seen = []
    rmtree = shutil.rmtree

    def spy(path, **options):
        seen.append((Path(path).name, contents(old)["config.json"]))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", spy)
    write(old, force=True)

    assert seen[0] == (".OUT.zhclip-old", b"new")


def test_a_failure_under_force_leaves_the_old_folder(old, tmp_path):
    with pytest.raises(ValueError), staging(old, 0, True) as new:
        (new / "config.json").write_text("new")
        raise ValueError

    assert contents(old) == {"config.json": OLD.encode()}
    assert entries(tmp_path) == {"OUT"}


def test_a_rename_that_fails_under_force_brings_the_old_folder_back(old, tmp_path, monkeypatch):
    rename = Path.rename

    def fail(self, target):
        if self.name.endswith("staging"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)

    with pytest.raises(WorkError, match="Input/output error"):
        write(old, force=True)

    assert contents(old) == {"config.json": OLD.encode()}
    assert entries(tmp_path) == {"OUT"}


def test_an_old_folder_that_cannot_be_deleted_does_not_undo_the_work(old, monkeypatch):
    rmtree = shutil.rmtree

    def refuse(path, ignore_errors=False):
        if str(path).endswith("-old") and not ignore_errors:
            raise PermissionError(errno.EACCES, "a file is open")
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    write(old, force=True)

    assert contents(old) == {"config.json": b"new"}


def test_a_folder_that_appears_during_the_work_is_not_overwritten(out, tmp_path):
    with pytest.raises(InputError, match="OUT exists already"), staging(out, 0, False) as new:
        (new / "config.json").write_text("new")
        out.mkdir()
        (out / "precious").write_text("x")

    assert contents(out) == {"precious": b"x"}
    assert entries(tmp_path) == {"OUT"}


# Other runs


@pytest.mark.parametrize("force", [False, True])
def test_a_second_run_is_refused_and_does_not_disturb_the_first(force, out, tmp_path):
    with staging(out, 0, False) as new:
        (new / "config.json").write_text("first")
        with pytest.raises(
            InputError, match="Another run is writing .*OUT. Wait until it ends, or choose another place"
        ):
            write(out, "second", force)

    assert contents(out) == {"config.json": b"first"}
    assert entries(tmp_path) == {"OUT"}


def test_runs_for_different_places_do_not_wait_for_each_other(tmp_path):
    with staging(tmp_path / "a", 0, False), staging(tmp_path / "b", 0, False):
        pass

    assert entries(tmp_path) == {"a", "b"}


def test_a_lock_that_cannot_be_removed_does_not_undo_the_work(out, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "the file is open")

    monkeypatch.setattr(Path, "unlink", refuse)
    write(out)

    assert contents(out) == {"config.json": b"new"}


def killed(out, force, after):
    """Writes in a child that kills itself: `after` that many renames, None before the first."""
    child = os.fork()
    if child:
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        return
    done = []
    rename = Path.rename

    def count(self, target):
        rename(self, target)
        done.append(target)
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.rename = count
    try:
        with staging(out, 0, force) as new:
            (new / "config.json").write_text(NEW)
            if after is None:
                os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(0)


@POSIX
def test_a_run_killed_at_work_is_put_right_by_the_next(out, tmp_path):
    killed(out, False, after=None)
    assert not out.exists()
    assert ".OUT.zhclip-staging" in entries(tmp_path)

    write(out)

    assert contents(out) == {"config.json": b"new"}
    assert entries(tmp_path) == {"OUT"}


@POSIX
def test_a_run_killed_after_its_rename_has_done_its_work(out, tmp_path):
    killed(out, False, after=1)
    assert contents(out) == {"config.json": NEW.encode()}

    write(out, force=True)

    assert contents(out) == {"config.json": b"new"}
    assert entries(tmp_path) == {"OUT"}


@POSIX
@pytest.mark.parametrize("after", [None, 1, 2])
def test_a_forced_run_killed_at_any_point_is_put_right_by_the_next(after, old, tmp_path):
    killed(old, True, after)
    folders = [contents(each) for each in tmp_path.iterdir() if each.is_dir()]
    assert {"config.json": OLD.encode()} in folders

    write(old, force=True)

    assert contents(old) == {"config.json": b"new"}
    assert entries(tmp_path) == {"OUT"}


@POSIX
@pytest.mark.parametrize(("after", "stands"), [(None, OLD.encode()), (1, OLD.encode()), (2, NEW.encode())])
def test_after_a_killed_forced_run_a_run_without_force_brings_one_of_the_two_back(after, stands, old, tmp_path):
    killed(old, True, after)

    with pytest.raises(InputError, match="OUT exists already"):
        write(old)

    assert contents(old) == {"config.json": stands}
    assert entries(tmp_path) == {"OUT"}


# A single file


def write_file(out, text="new", force=False, needed=0):
    with staging_file(out, needed, force) as staged:
        staged.write_text(text)


def test_a_file_appears_whole_and_nothing_else_stays(tmp_path):
    with staging_file(tmp_path / "deep" / "x.pt", 0, False) as staged:
        staged.write_text("new")
        assert staged.parent == tmp_path / "deep"
        assert not (tmp_path / "deep" / "x.pt").exists()

    assert contents(tmp_path) == {"deep/x.pt": b"new"}


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("force", [False, True])
def test_a_failure_leaves_no_file_and_does_not_touch_the_old_one(error, force, out, tmp_path):
    if force:
        out.write_text("old")
    with pytest.raises(type(error)), staging_file(out, 0, force) as staged:
        staged.write_text("half")
        raise error

    assert contents(tmp_path) == ({"OUT": b"old"} if force else {})


def test_a_file_for_which_there_is_no_room_is_not_begun(out, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))

    with pytest.raises(WorkError, match="5 bytes free, but 1,000 bytes are needed"):
        write_file(out, needed=1000)

    assert entries(tmp_path) == set()


@pytest.mark.parametrize("make", [folder, file, dangling_link], ids=lambda make: make.__name__)
def test_no_file_is_written_over_what_exists(make, out, tmp_path):
    make(out)
    before = entries(tmp_path), state(out)

    for attempt in (lambda: check_absent_file(out, False), lambda: write_file(out)):
        with pytest.raises(InputError, match="OUT exists already, and is not overwritten"):
            attempt()

    assert (entries(tmp_path), state(out)) == before


@pytest.mark.parametrize("make", [folder, empty_folder, dangling_link], ids=lambda make: make.__name__)
def test_force_replaces_files_alone_by_a_file(make, out, tmp_path):
    make(out)
    before = entries(tmp_path), state(out)

    for attempt in (lambda: check_absent_file(out, True), lambda: write_file(out, force=True)):
        with pytest.raises(InputError, match="OUT is not a file, so --force does not replace it"):
            attempt()

    assert (entries(tmp_path), state(out)) == before


def test_force_replaces_a_file_in_one_step(out, tmp_path, monkeypatch):
    out.write_text("old")
    replace, steps = Path.replace, []

    def spy(self, target):
        steps.append((out.read_text(), target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_file(out, force=True)

    assert steps == [("old", out)]
    assert contents(tmp_path) == {"OUT": b"new"}


def test_a_file_that_appears_during_the_work_is_not_overwritten(out, tmp_path):
    with pytest.raises(InputError, match="OUT exists already"), staging_file(out, 0, False) as staged:
        staged.write_text("new")
        out.write_text("precious")

    assert contents(tmp_path) == {"OUT": b"precious"}


def test_a_file_and_a_folder_of_one_name_are_not_written_at_once(out, tmp_path):
    with staging_file(out, 0, False) as staged:
        staged.write_text("first")
        with pytest.raises(InputError, match="Another run is writing .*OUT"):
            write(out)

    assert contents(tmp_path) == {"OUT": b"first"}


@pytest.mark.parametrize("make", [folder, file, link_to_a_folder, dangling_link], ids=lambda make: make.__name__)
def test_what_a_killed_run_left_is_put_right_by_the_next(make, out, tmp_path):
    make(out.with_name(".OUT.zhclip-staging"))

    write_file(out)

    assert out.read_text() == "new" and entries(tmp_path) <= {"OUT", "target"}


def test_what_a_killed_run_left_of_a_file_is_put_right_by_one_that_writes_a_folder(out, tmp_path):
    out.with_name(".OUT.zhclip-staging").write_text("half")

    write(out)

    assert contents(tmp_path) == {"OUT/config.json": b"new"}


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="has a name that is too long for the file system. Choose a shorter name"):
        check_absent(tmp_path / ("x" * 250), force=False)


@pytest.mark.parametrize("stage", [staging, staging_file])
@pytest.mark.parametrize("make", [file, dangling_link], ids=lambda make: make.__name__)
def test_a_place_under_a_file_is_refused_before_any_work(make, stage, tmp_path):
    make(tmp_path / "fil")
    check = check_absent if stage is staging else check_absent_file
    for place in (tmp_path / "fil" / "OUT", tmp_path / "fil" / "deep" / "OUT"):
        with pytest.raises(InputError, match="fil is no folder, so that .*OUT cannot be made in it"):
            check(place, False)
        with pytest.raises(InputError, match="is no folder"), stage(place, 0, False):
            pytest.fail("work was done")
    assert entries(tmp_path) == {"fil"}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a file system of the kernel")
def test_where_no_file_can_be_made_no_other_run_is_blamed():
    with pytest.raises(WorkError, match="/proc/OUT could not be written: no file can be made in /proc"):
        with staging(Path("/proc/OUT"), 0, False):
            pytest.fail("work was done")


def test_an_error_within_names_the_place_that_was_chosen(tmp_path):
    with pytest.raises(InputError) as error, staging(tmp_path / "OUT", 0, force=False) as folder:
        raise InputError(f"{folder / 'config.json'} is wrong.")

    assert str(error.value) == f"{tmp_path / 'OUT' / 'config.json'} is wrong."


@pytest.mark.parametrize("force", [False, True])
def test_force_is_offered_only_where_it_would_replace(force, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    for name in ("foreign", "file"):
        with pytest.raises(InputError, match=r"Choose another place\.$"):
            check_absent(tmp_path / name, force)
    if not force:
        with pytest.raises(InputError, match=r"Choose another place or pass --force\.$"):
            check_absent(tmp_path / "empty", force)
