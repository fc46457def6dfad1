"""A push that is killed at any request leaves the repo absent, old or complete, and the next push completes it."""

import os
import signal

import pytest
from huggingface_hub.utils import get_session

import zhclip_cli
from hf_zhclip.conversion.publishing.publish import push

from tests import kills
from tests.conversion.helpers import contents, entries
from tests.conversion.publishing.pushing import FILES, repo_of

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="forks and kills"),
    pytest.mark.usefixtures("stand_in_cards"),
]


@pytest.fixture
def asked(monkeypatch):
    """Makes each request of the hub's client two moments: before it is sent, and when it was answered."""
    kind = type(get_session())
    send = kind.send

    def seen(self, request, **options):
        kills.point(f"before {request.method} {request.url.path}")
        answer = send(self, request, **options)
        kills.point(f"after {request.method} {request.url.path}")
        return answer

    monkeypatch.setattr(kind, "send", seen)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_push_leaves_the_repo_old_or_complete(sent, hub, asked, tmp_path):
    old = repo_of(tmp_path / "old", {**FILES, "config.json": b'{"model_type": "hf_zhclip", "old": 1}\n'})
    new = repo_of(tmp_path / "new", FILES)

    def run():
        return zhclip_cli.main(["push", str(new), "user/x"])

    push(old, "user/x")
    before = hub.contents("user/x")
    names = kills.points(run, tmp_path)
    complete = hub.contents("user/x")
    assert len(names) > 10 and complete != before
    for moment, name in enumerate(names):
        push(old, "user/x")

        code = kills.exit_code(run, tmp_path, moment, sent)

        assert code in ({-9} if sent == signal.SIGKILL else {0, 1}), name
        assert hub.contents("user/x") in (before, complete), name
        assert kills.exit_code(run, tmp_path) == 0, name
        assert hub.contents("user/x") == complete, name
        assert set(contents(new)) == {*FILES, "README.md", "conversion_report.json"}, name
        assert {each for each in entries(tmp_path) if not each.endswith(".said")} >= {"old", "new"}, name
