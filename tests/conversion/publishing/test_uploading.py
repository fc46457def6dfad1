"""What goes wrong on the way to the hub: what is told, and that the next push mends it."""

import hashlib

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from hf_zhclip.conversion.errors import InputError, WorkError
from hf_zhclip.conversion.publishing.publish import push
from hf_zhclip.conversion.repos.report import FILE

from tests.conversion.publishing.pushing import FILES, SHARDS, refused, repo_of

pytestmark = pytest.mark.usefixtures("stand_in_cards")


@pytest.mark.parametrize("token", [None, "hf_typo"])
def test_without_a_valid_token_nobody_pushes(token, hub, out, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    kind = WorkError if token else InputError
    message = refused("Log in with `hf auth login`, or set HF_TOKEN", kind, out, "user/new")

    assert message.endswith("No file was pushed.")
    assert bool(hub.requests) == bool(token)


def test_a_token_that_may_not_write_is_told_from_a_wrong_name(hub, out, monkeypatch):
    message = refused(r"status 403", WorkError, out, "stranger/new")
    assert 'under the namespace "stranger"' in message and "Log in as a user who has the right" in message
    hub.create("user/new")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "No file of user/new was changed." in refused("status 403", WorkError, out, "user/new")
    assert not hub.contents("user/new")


QUOTA = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit."
# What the hub answers at a step -> the class of the error and what its message says.
ANSWERS = [
    (
        "/repos/create",
        401,
        "",
        WorkError,
        "does not know who sent the request .* Log in with `hf auth login`.* No file was pushed",
    ),
    ("/repos/create", 404, "No such namespace", InputError, "No such namespace. Check the name of the user"),
    (
        "/repos/create",
        429,
        "Too fast",
        WorkError,
        "refuses more requests for now .*Too fast. Wait 77 seconds, .* No file was pushed",
    ),
    (
        "/repos/create",
        503,
        "Down",
        WorkError,
        r"The hub failed \(status 503\): Down. Try again later. No file was pushed",
    ),
    ("validate-yaml", 500, "", WorkError, "The hub failed .* No file of user/new was changed"),
    (
        "preupload",
        403,
        "No",
        WorkError,
        r"You have no right for this request .*\(status 403\): .*No. Log in as a user who has the right",
    ),
    ("preupload", 504, "Slow", WorkError, "The hub failed .* No file of user/new was changed"),
    (
        "objects/batch",
        403,
        QUOTA,
        WorkError,
        "no room for user/new .*storage limit reached.* Free some storage of user",
    ),
    ("objects/batch", 413, "Too large", WorkError, "no room for user/new .*Too large. Free some storage of user"),
    (
        "objects/batch",
        429,
        "Too fast",
        WorkError,
        "refuses more requests for now .* Wait 77 seconds.* No file of user/new was changed",
    ),
    ("^PUT", 500, "Oops", WorkError, "The hub failed .* No file of user/new was changed"),
    ("/verify", 404, "Gone", InputError, "Gone. .* No file of user/new was changed"),
    ("/commit/", 403, QUOTA, WorkError, "no room for user/new .* No file of user/new was changed"),
    (
        "/commit/",
        409,
        "Lock",
        WorkError,
        "Somebody else changed user/new at the same time: Lock. Run the command again. No fi",
    ),
    (
        "/commit/",
        429,
        "Too fast",
        WorkError,
        "refuses more requests for now .* Wait 77 seconds.* No file of user/new was changed",
    ),
    (
        "/commit/",
        502,
        "",
        WorkError,
        "The hub failed .* Either all files are on the hub, or no file was changed. Run the command again",
    ),
    (
        "/tree/[0-9a-f]+$",
        500,
        "Oops",
        WorkError,
        "The hub failed .* Commit [0-9a-f]{40} is on the hub, but could not be read",
    ),
]


@pytest.mark.quick(8)
@pytest.mark.parametrize(("step", "status", "said", "kind", "match"), ANSWERS)
def test_what_the_hub_answers_is_told_and_the_next_push_mends_it(step, status, said, kind, match, hub, out):
    first = 2 if step.startswith("/tree") else 1
    fault = hub.plan(step, status=status, message=said, headers={"Retry-After": "77"}, first=first)

    message = refused(match, kind, out, "user/new")

    assert "\n" not in message and ".." not in message
    committed = step.startswith("/tree")
    made = (hub.root / "repos/user/new").exists()
    assert ("The repo user/new was created, and is empty." in message) == (made and "No file of" in message)
    assert not (hub.root / "repos/user/new").exists() or bool(hub.contents("user/new")) == committed
    hub.faults.remove(fault)
    pushed = push(out, "user/new")
    assert set(hub.contents("user/new")) == {*FILES, FILE, "README.md"}
    assert bool(pushed.sent) != committed


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ({"status": 404}, r"large files of user/new with xet: .*set HF_HUB_DISABLE_XET=1"),
        ({"status": 403}, r"You have no right for this request .*\(status 403\)"),
        ({"status": 401}, r"does not know who sent the request .*\(status 401\).*hf auth login"),
    ],
)
def test_what_the_hub_says_to_xet_is_told_too(fault, match, hub, out, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.plan("xet-write-token", **fault)

    hub.create("user/new")

    assert refused(match, WorkError, out, "user/new").endswith("No file of user/new was changed.")


def test_a_full_quota_reported_for_one_file_is_told(hub, out):
    refusal = {"oid": "0" * 64, "size": 1, "error": {"code": 403, "message": QUOTA}}
    hub.plan("objects/batch", answer={"objects": [refusal], "transfer": "basic"})

    message = refused("storage limit reached", WorkError, out, "user/new")
    assert "Free some storage of user" in message and "No file of user/new was changed" in message


def test_somebody_else_s_push_in_between_is_noticed(hub, out, monkeypatch):
    create = HfApi.create_commit

    def late(api, *arguments, **options):
        hub.add("user/new", {"config.json": b"theirs"})
        return create(api, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_commit", late)
        refused("Somebody else changed user/new .* Run the command again", WorkError, out, "user/new")
    assert hub.contents("user/new") == {"config.json": b"theirs"}

    push(out, "user/new")
    assert hub.contents("user/new")["config.json"] == FILES["config.json"]


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_sent(hub, out):
    (out / "README.md").write_text("---\nlicense: not-a-licence\n---\n")

    message = refused('refused the card: .*"license" must be one of', InputError, out, "user/new")
    assert "Correct the metadata at the top of README.md" in message
    assert not hub.asked("^PUT|/commit/")


def test_an_upload_that_broke_off_is_taken_up_again_and_files_that_arrived_are_not_sent_again(hub, tmp_path):
    files = {"config.json": b"{}", "tokenizer.json": b"{}", SHARDS[0]: b"1" * 300_000, SHARDS[1]: b"2" * 300_000}
    out = repo_of(tmp_path / "OUT", files)
    second = f"^PUT .*{hashlib.sha256(files[SHARDS[1]]).hexdigest()}"
    fault = hub.plan(second, drop_after=1000)

    message = refused(
        "did not answer, or stopped answering.* No file of user/new was changed", WorkError, out, "user/new"
    )
    assert "HF_ENDPOINT" in message
    assert not hub.contents("user/new")
    hub.faults.remove(fault)
    hub.requests.clear()
    push(out, "user/new")

    assert len(hub.asked("^PUT")) == len(hub.asked(second)) == 1
    assert hub.contents("user/new")[SHARDS[1]] == files[SHARDS[1]]
    assert sum(hub.waits) < 60


def test_a_connection_that_drops_once_is_mended_without_the_user(hub, out):
    hub.plan("^PUT", drop_after=1000, times=1)
    hub.plan("objects/batch", status=503, times=1)

    push(out, "user/new")

    assert hub.contents("user/new")["model.safetensors"] == FILES["model.safetensors"]


@pytest.mark.parametrize("create_pr", [False, True])
def test_an_answer_that_is_lost_is_not_taken_for_a_failure(create_pr, hub, out):
    hub.create("user/new")
    hub.plan("/commit/", lose_answer=True, times=1)

    state = "or only the hub's answer was lost. Look" if create_pr else "Either all files are on the hub, or no file"
    refused(state, WorkError, out, "user/new", create_pr=create_pr)

    if not create_pr:
        assert push(out, "user/new").sent == ()
        assert len(hub.asked("/commit/")) == 1


def test_a_hub_that_keeps_something_else_is_not_called_done(hub, out, monkeypatch):
    create = HfApi.create_commit

    def changed(api, repo_id, operations, **options):
        add = CommitOperationAdd("config.json", b"{}")
        return create(
            api, repo_id, [add if each.path_in_repo == "config.json" else each for each in operations], **options
        )

    monkeypatch.setattr(HfApi, "create_commit", changed)

    refused(
        r"Commit [0-9a-f]{40} of user/new differs from the local files: config\.json\.", WorkError, out, "user/new"
    )


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_hub_that_is_not_there_is_told(endpoint, hub, out, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)

    message = refused(f"The hub at {endpoint} did not answer, or stopped answering: ", WorkError, out, "user/new")
    assert message.endswith("No file was pushed.")


def test_a_password_in_the_address_of_a_hub_is_not_told(hub, out, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://somebody:secret@127.0.0.1:9")

    message = refused(r"The hub at http://\*\*\*@127.0.0.1:9 did not answer", WorkError, out, "user/new")
    assert "secret" not in message
    assert "secret" not in push(out, "user/new", dry_run=True).url

    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "secret" not in refused("You are not logged in to the hub at", InputError, out, "user/new")


def test_a_token_that_an_answer_repeats_is_not_told(hub, out):
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    hub.plan("/api/repos/create", status=400, message=f"the token {token} is of another kind")

    assert token not in refused(r"the token hf_\*\*\* is of another kind", InputError, out, "user/new")


def test_offline_nothing_is_pushed(hub, out, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    refused("Offline mode is on.* Unset HF_HUB_OFFLINE", WorkError, out, "user/new")
    assert hub.requests == []


def test_a_revision_that_can_not_be_made_is_told(hub, out):
    hub.create("user/new")
    refused("user/new has no such revision", InputError, out, "user/new", revision="refs/pr/7")
    refused("user/new has no such revision", InputError, out, "user/new", revision="v9", create_pr=True)
