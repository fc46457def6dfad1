from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.reading.hub import locate, published, read_source

from tests.checkpoints.cn_clip import cn_clip_file

# What the hub's client reads of a response; its HTTP package has changed between versions.
RESPONSE = SimpleNamespace(headers={}, request=None)


@pytest.fixture
def hub(monkeypatch):
    """A hub of one repository; what is asked of it is noted."""
    calls = []
    names = ["config.json", "vocab.txt", "pytorch_model.bin", "README.md", "optimizer.pt"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub = SimpleNamespace(calls=calls, names=names)

    def model_info(repo, revision=None, files_metadata=False):
        return SimpleNamespace(sha=None, siblings=[SimpleNamespace(rfilename=name, size=1) for name in hub.names])

    def note(kind):
        def call(*arguments, revision=None, **options):
            calls.append((kind, arguments, options))
            hub.revision = revision
            return "cache/snapshot"

        return call

    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", note("file"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", note("folder"))
    return hub


def failing(monkeypatch, error):
    def fail(*_, **__):
        raise error

    for call in ("model_info", "hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, call, fail)


def test_what_exists_here_wins(tmp_path, monkeypatch, hub):
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "repo").write_text("x")
    monkeypatch.chdir(tmp_path)

    assert locate("user/repo").as_posix() == "user/repo"
    assert hub.calls == []


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "x.pt").write_text("x")

    assert locate("~/x.pt") == tmp_path / "x.pt"


def test_one_file_of_a_repository_is_fetched(hub):
    assert locate("user/repo:sub/x.pt").as_posix() == "cache/snapshot"
    assert hub.calls == [("file", ("user/repo", "sub/x.pt"), {})]


def test_of_a_repository_only_the_weights_that_are_read_are_fetched(hub):
    locate("user/repo")

    ((kind, arguments, options),) = hub.calls
    assert (kind, arguments) == ("folder", ("user/repo",))
    assert {"config.json", "vocab.txt", "pytorch_model.bin"} <= set(options["allow_patterns"])
    assert "optimizer.pt" not in options["allow_patterns"]


def test_shards_come_with_their_index(hub):
    hub.names[:] = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"]

    locate("user/repo")

    patterns = hub.calls[0][2]["allow_patterns"]
    assert {"model.safetensors.index.json", "model-*.safetensors"} <= set(patterns)
    assert "pytorch_model.bin" not in patterns


def test_a_repository_of_unknown_files_names_them(hub):
    hub.names[:] = ["clip_cn_vit-b-16.pt", "README.md"]

    with pytest.raises(InputError, match=r"It holds clip_cn_vit-b-16\.pt: name a file as user/repo:FILE"):
        locate("user/repo")


def test_a_repository_without_weights_says_so(hub):
    hub.names[:] = ["README.md"]

    with pytest.raises(InputError, match="It holds no weights"):
        locate("user/repo")


def test_offline_the_cache_is_asked(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    locate("user/repo")

    ((kind, arguments, options),) = hub.calls
    assert (kind, arguments) == ("folder", ("user/repo",))
    # What has to be there of all that the repository lists; test_mirror.py asks the real client.
    assert "config.json" in options["allow_patterns"] and "*" not in "".join(options["allow_patterns"])


@pytest.mark.parametrize("source", ["user/repo", "user/repo:x.pt"])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            errors.RepositoryNotFoundError("404", response=RESPONSE),
            InputError,
            "user/repo does not exist: it is no file or folder here, and no",
        ),
        (errors.HFValidationError("bad"), InputError, "user/repo does not exist"),
        (errors.LocalEntryNotFoundError("no network"), WorkError, "is not in the cache.* no network"),
        (errors.OfflineModeIsEnabled("offline"), WorkError, "is not in the cache. Offline mode is on"),
        (errors.HTTPError("Name or service not known"), WorkError, "or stopped answering: Name or service not known"),
        (errors.HTTPError(""), WorkError, "or stopped answering: HTTPError"),
        (OSError(28, "No space left on device"), WorkError, "No space left on device"),
    ],
)
def test_the_hub_s_refusals_are_the_user_s_fault_and_its_failures_are_not(
    source, error, kind, message, hub, monkeypatch
):
    failing(monkeypatch, error)

    with pytest.raises(kind, match=message):
        locate(source)


def test_a_file_that_a_repository_lacks_is_named(hub, monkeypatch):
    failing(monkeypatch, errors.RemoteEntryNotFoundError("404", response=RESPONSE))

    with pytest.raises(InputError, match=r"user/repo has no file x\.pt\. .* name a file as user/repo:FILE"):
        locate("user/repo:x.pt")


@pytest.mark.parametrize(
    "source", ["/user/repo", "./user/repo", "../repo", "~/repo", "repo", "a/b/c", "user/repo:", ""]
)
def test_what_can_only_be_a_path_is_not_looked_for_on_the_hub(source, hub):
    with pytest.raises(
        InputError, match="does not exist. Wanted: a file, a folder, a name that `zhclip list` prints, user/repo"
    ):
        locate(source)

    assert hub.calls == []


@pytest.mark.parametrize(
    ("source", "proposed"),
    [
        ("chinese-clip-vit-base-patch61", "chinese-clip-vit-base-patch16"),
        ("Chinese-Clip-ViT-Base-Patch61", "chinese-clip-vit-base-patch16"),
        ("Taiyi-CLIP-Roberta-102M-Chines", "Taiyi-CLIP-Roberta-102M-Chinese"),
    ],
)
def test_a_mistyped_name_of_the_catalogue_gets_the_nearest_names(source, proposed, hub):
    with pytest.raises(InputError, match=rf"{source} does not exist\. Did you mean .*{proposed}.*\? Wanted: a file"):
        locate(source)


def test_a_mistyped_repository_gets_the_nearest_published_repository(hub, monkeypatch):
    failing(monkeypatch, errors.RepositoryNotFoundError("404", response=RESPONSE))

    with pytest.raises(InputError, match=r"Did you mean .*OFA-Sys/chinese-clip-vit-base-patch16.*\?$"):
        locate("OFA-Sys/chinese-clip-vit-base-patch61")


@pytest.mark.parametrize("file", ["../../x", "/etc/passwd", "a/../x", "a\\x"])
def test_a_file_outside_of_a_repository_is_refused(file, hub):
    with pytest.raises(InputError, match="is no path inside user/repo. Wanted: a file, named as"):
        locate(f"user/repo:{file}")

    assert hub.calls == []


def test_a_source_from_the_hub_keeps_its_name_there(tmp_path, monkeypatch, hub):
    fetched = cn_clip_file(tmp_path / "0a1b2c3d")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, revision: str(fetched))

    assert read_source("user/repo:epoch_latest.pt").name == "user/repo:epoch_latest.pt"
    assert read_source(fetched).name == "0a1b2c3d"


@pytest.mark.parametrize("name", ["chinese-clip-rn50", "RN50", "rn50", "OFA-Sys/chinese-clip-rn50:clip_cn_rn50.pt"])
def test_a_published_checkpoint_is_fetched_where_it_is_published(name, hub):
    locate(name)

    assert hub.calls == [("file", ("OFA-Sys/chinese-clip-rn50", "clip_cn_rn50.pt"), {})]
    assert published(name).name == "chinese-clip-rn50"


@pytest.mark.parametrize(
    ("source", "revision"),
    [
        ("RN50", "717ba215769231e53b9b7c6b9d329b9cc5944418"),
        ("OFA-Sys/chinese-clip-rn50:clip_cn_rn50.pt", None),
        ("ViT-B-16", None),
    ],
)
def test_a_name_stands_for_what_was_published_and_an_id_for_what_is_there_now(source, revision, hub):
    locate(source)

    assert hub.revision == revision


def test_a_name_that_is_published_on_a_page_says_where_to_fetch_it_and_what_then(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError,
        match=r"prd2_pretrain_250m is published at https://drive\.google\.com/\S+, .* Download "
        r"prd2_pretrain_250m\.pth from the page, and run "
        r"`zhclip convert prd2_pretrain_250m\.pth OUT --format prd2` in the file's folder\.",
    ):
        locate("PRD2_pretrain_250m")
    assert hub.calls == []

    (tmp_path / "prd2_pretrain_250m.pth").write_text("x")
    assert locate("prd2_pretrain_250m.pth").name == "prd2_pretrain_250m.pth"


def test_what_exists_here_wins_over_a_name_of_the_catalogue(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RN50").mkdir()

    assert locate("RN50").as_posix() == "RN50"
    assert published("RN50") is None
    assert hub.calls == []


def test_a_source_from_the_hub_knows_its_commit(tmp_path, monkeypatch, hub):
    commit = "0123456789abcdef0123456789abcdef01234567"
    (tmp_path / "snapshots" / commit).mkdir(parents=True)
    fetched = cn_clip_file(tmp_path / "snapshots" / commit / "clip_cn_rn50.pt")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, revision: str(fetched))

    checkpoint = read_source("RN50")

    assert checkpoint.hub_id == "OFA-Sys/chinese-clip-rn50:clip_cn_rn50.pt"
    assert checkpoint.revision == commit
