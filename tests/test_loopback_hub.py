"""The double is held to what the real client makes of it."""

import hashlib

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors

from tests.loopback_hub import connect, serve

TOKENS = {"hf_writer": ("user", "club"), "hf_reader": (), "hf_other": ("other",)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(tmp_path / "server", TOKENS) as hub:
        hub.waits = connect(monkeypatch, hub, "hf_writer", tmp_path)
        yield hub


def add(**files):
    return [CommitOperationAdd(path, content) for path, content in files.items()]


WEIGHTS = bytes(range(256)) * 400


@pytest.fixture
def api(hub):
    """A client, and a repo that holds a large and a small file."""
    api = HfApi()
    api.name = "user/model"
    api.create_repo(api.name)
    files = {"model.safetensors": WEIGHTS, "config.json": b"{}"}
    api.first = api.create_commit(api.name, add(**files), commit_message="first").oid
    return api


def test_what_was_committed_is_listed_and_read_back(api, hub):
    rows = {row.path: row for row in api.list_repo_tree(api.name, recursive=True)}

    assert set(rows) == {".gitattributes", "model.safetensors", "config.json"}
    assert rows["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    # `printf '{}' | git hash-object --stdin`
    assert rows["config.json"].blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
    assert api.repo_info(api.name).sha == api.first
    blobs = {each.rfilename: each for each in api.model_info(api.name, files_metadata=True).siblings}
    assert blobs["model.safetensors"].lfs.sha256 == rows["model.safetensors"].lfs.sha256
    assert open(huggingface_hub.hf_hub_download(api.name, "model.safetensors"), "rb").read() == WEIGHTS
    assert api.file_exists(api.name, "config.json") and not api.file_exists(api.name, "vocab.txt")
    assert len(list(api.get_paths_info(api.name, ["config.json", "nothing"]))) == 1


def test_the_same_content_is_sent_once_and_committed_once(api, hub):
    again = api.create_commit(api.name, add(**{"model.safetensors": WEIGHTS}), commit_message="again")
    api.create_commit(api.name, add(**{"copy.safetensors": WEIGHTS}), commit_message="copy")

    assert again.oid == api.first
    assert len(hub.asked("^PUT")) == 1


def test_files_go_and_a_stale_parent_is_refused(api, hub):
    api.create_commit(api.name, [CommitOperationDelete("config.json")], commit_message="without")

    assert set(hub.contents(api.name)) == {"model.safetensors"}
    assert set(hub.contents(api.name, api.first)) == {"model.safetensors", "config.json"}
    with pytest.raises(errors.HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(api.name, add(x=b"x"), commit_message="late", parent_commit=api.first)


def test_a_branch_and_a_pull_request_leave_main_alone(api, hub):
    api.create_branch(api.name, branch="v2/new")
    api.create_branch(api.name, branch="v2/new", exist_ok=True)
    api.create_commit(api.name, add(x=b"x"), commit_message="on a branch", revision="v2/new")
    proposal = api.create_commit(api.name, add(y=b"y"), commit_message="proposed", create_pr=True)

    assert (proposal.pr_num, proposal.pr_revision) == (1, "refs/pr/1")
    assert [branch.name for branch in api.list_repo_refs(api.name).branches] == ["main", "v2/new"]
    assert "x" in hub.contents(api.name, "v2/new") and "y" in hub.contents(api.name, "refs/pr/1")
    assert api.repo_info(api.name).sha == api.first
    huggingface_hub.hf_hub_download(api.name, "y", revision="refs/pr/1")
    with pytest.raises(errors.BadRequestError):
        api.create_branch(api.name, branch="refs/pr/1")
    with pytest.raises(errors.RevisionNotFoundError):
        api.list_repo_files(api.name, revision="v3")


def test_who_may_do_what(api, hub):
    api.create_repo("club/secret", private=True)
    reader, stranger, other = HfApi(token="hf_reader"), HfApi(token=False), HfApi(token="hf_other")

    assert api.whoami()["name"] == "user"
    assert api.create_repo("club/secret", exist_ok=True).repo_id == "club/secret"
    assert stranger.repo_info(api.name).sha == api.first
    for call, status in (
        (lambda: reader.repo_info("club/secret"), 404),
        (lambda: stranger.repo_info("club/secret"), 401),
        (lambda: reader.create_repo("user/new"), 403),
        (lambda: stranger.create_repo("user/new"), 401),
        (lambda: HfApi(token="hf_typo").create_repo("user/new"), 401),
        (lambda: other.create_commit(api.name, add(x=b"x"), commit_message="no"), 403),
        (lambda: api.create_repo("club/secret"), 409),
    ):
        with pytest.raises(errors.HfHubHTTPError) as caught:
            call()
        assert caught.value.response.status_code == status
    assert other.create_commit(api.name, add(x=b"x"), commit_message="please", create_pr=True).pr_num == 1
    api.delete_repo("club/secret")
    with pytest.raises(errors.RepositoryNotFoundError):
        api.repo_info("club/secret")


def test_a_card_that_the_hub_would_refuse_is_refused(api):
    api.create_commit(api.name, add(**{"README.md": b"---\nlicense: mit\n---\n"}), commit_message="card")
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        api.create_commit(api.name, add(**{"README.md": b"---\nlicense: not-a-licence\n---\n"}), commit_message="card")


def test_planned_faults_come_when_they_are_due(api, hub):
    hub.plan("GET /api/models/", status=503, first=2, times=1)
    api.repo_info(api.name)
    with pytest.raises(errors.HfHubHTTPError, match="503"):
        api.repo_info(api.name)
    api.repo_info(api.name)


def test_a_cut_upload_is_sent_again_and_a_cut_download_is_resumed(api, hub):
    hub.plan("^PUT", drop_after=1000, times=1)
    hub.plan("^GET .*/resolve/.*model", drop_after=70_000, times=1)

    api.create_commit(api.name, add(**{"model.safetensors": WEIGHTS[::-1]}), commit_message="reversed")

    assert open(huggingface_hub.hf_hub_download(api.name, "model.safetensors"), "rb").read() == WEIGHTS[::-1]
    assert len(hub.asked("^PUT")) == 3  # the first file, the cut one, the same again
    assert len(hub.asked("^GET .*/resolve/.*model")) == 2
    assert hub.waits == [1, 1]


def test_an_answer_can_be_lost_though_the_work_was_done(api, hub):
    hub.plan("/commit/", lose_answer=True, times=1)

    with pytest.raises(errors.HTTPError):
        api.create_commit(api.name, add(x=b"x"), commit_message="lost")
    assert "x" in hub.contents(api.name)
