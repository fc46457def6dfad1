"""What the server of the page lets through, without gradio: a stand-in application tells what it was given."""

import asyncio
import json
import os

import pytest

from hf_zhclip.inference import gate, serving

HOST = "127.0.0.1:7860"
COUNT, COSINE = gate._number_of(1, 100), gate._number_of(-1, 1)
EVENTS = {
    0: [gate._sentence, COUNT, COSINE],
    2: [gate._picture, COUNT, COSINE],
    3: [gate._state, COUNT, COSINE],
}


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    (folder / "abc").mkdir(parents=True)
    (folder / "abc" / "a.png").write_bytes(b"a")
    return folder


@pytest.fixture
def ask(uploads):
    """Sends a request through the gate: the status of its answer, the answer, and the body that the page was given."""
    return lambda *arguments, **options: asyncio.run(_ask(uploads, *arguments, **options))


async def _ask(uploads, method, path, body=b"", headers=None, pieces=None):
    given, answers = [], []
    pieces = [body] if pieces is None else pieces

    async def page(scope, receive, send):
        content = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            content += message["body"]
            if not message.get("more_body"):
                break
        given.append(content)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def receive():
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message):
        answers.append(message)

    found = {"host": HOST, "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in found.items() if value is not None]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    await gate.Gate(page, uploads, EVENTS)(scope, receive, send)
    assert [each["type"] for each in answers] == ["http.response.start", "http.response.body"]
    return answers[0]["status"], answers[1]["body"].decode(), given[0] if given else None


def join(number, data, **more):
    """The body of a request that asks for an event."""
    return json.dumps({"data": data, "fn_index": number, "session_hash": "abc123", **more}).encode()


JOIN = "/gradio_api/queue/join"


def test_what_the_page_asks_for_is_let_through_and_nothing_but_what_was_checked(ask, uploads):
    picture = str(uploads / "abc" / "a.png")
    sent = {"path": picture, "url": "http://example.com/a.png", "is_stream": True, "orig_name": "a.png"}
    for number, value, kept in (
        (0, "一只狗", "一只狗"),
        (2, sent, {"path": picture, "meta": {"_type": "gradio.FileData"}}),
        (2, None, None),
        (3, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, None),
    ):
        body = join(number, [value, 10, -0.5], trigger_id=7, event_data={"path": "/etc/passwd"}, oauth_token="x")
        status, _, given = ask("POST", JOIN, body)
        assert status == 200
        assert json.loads(given) == {
            "data": [kept, 10, -0.5],
            "fn_index": number,
            "session_hash": "abc123",
            "trigger_id": 7,
        }


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/dev/zero", "../../etc/passwd", "http://example.com/a.png", "", "\0", "x" * 9_000, "~/.bashrc"],
)
def test_a_path_that_was_not_uploaded_is_refused_in_every_value_and_as_a_file(path, ask):
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for number in (0, 2):
        status, told, given = ask("POST", JOIN, join(number, [picture, 3, -1]))
        assert (status, given) == (422, None) and "root:" not in told
    assert ask("POST", JOIN, join(0, ["狗", picture, -1]))[0] == 422
    assert ask("GET", f"/gradio_api/file={path}")[0] == 404


def test_a_path_in_the_folder_of_uploads_is_refused_unless_it_is_a_file_there(ask, uploads, tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes(b"secret")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    (uploads / "folder").symlink_to(tmp_path)
    (uploads / "large.png").write_bytes(b"12345")
    refused = [
        "link.png",
        "folder/secret.png",
        "../secret.png",
        "abc/../abc/a.png",
        "abc",
        "none.png",
        "large.png",
        ".",
    ]
    if hasattr(os, "mkfifo"):
        os.mkfifo(uploads / "pipe.png")
        refused.append("pipe.png")
    monkeypatch.setattr(gate, "MOST_UPLOAD", 4)
    monkeypatch.chdir(uploads)
    for each in [f"{uploads}/{name}" for name in refused] + ["abc/a.png", f"{uploads}-2/a.png"]:
        picture = {"path": each, "meta": {"_type": "gradio.FileData"}}
        assert ask("POST", JOIN, join(2, [picture, 3, -1]))[0] == 422, each
        assert ask("GET", f"/gradio_api/file={each}")[0] == 404, each
    assert ask("GET", f"/gradio_api/file={uploads}/abc/a.png")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/config", 200),
        ("GET", "/assets/a.js", 200),
        ("GET", "/pictures/0", 200),
        ("GET", "/gradio_api/queue/data", 200),
        ("GET", "/gradio_api/heartbeat/abc", 200),
        ("GET", "/gradio_api/upload_progress", 200),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/x", 404),
        ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8", 404),
        ("GET", "/gradio_api/file/etc/passwd", 404),
        ("GET", "/gradio_api/deep_link", 404),
        ("GET", "/gradio_api/custom_component/a/client/b/c", 404),
        ("POST", "/", 404),
        ("POST", "/login", 404),
        ("POST", "/gradio_api/run/by_picture", 404),
        ("POST", "/gradio_api/call/by_picture", 404),
        ("POST", "/gradio_api/api/by_picture", 404),
        ("POST", "/gradio_api/component_server", 404),
        ("POST", "/gradio_api/process_recording", 404),
        ("POST", "/gradio_api/queue/join/", 404),
        ("PUT", JOIN, 405),
        ("DELETE", "/pictures/0", 405),
        ("OPTIONS", JOIN, 405),
    ],
)
def test_only_the_addresses_that_the_page_uses_are_answered(method, path, status, ask):
    assert ask(method, path)[0] == status


FOREIGN = [
    {"origin": "http://example.com"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8000"},
    {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://["},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_can_change_nothing_and_read_nothing(headers, ask):
    assert ask("POST", JOIN, join(0, ["狗", 3, -1]), headers)[::2] == (403, None)
    assert ask("POST", "/gradio_api/upload", b"x", headers)[::2] == (403, None)
    assert ask("GET", "/pictures/0", headers=headers)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:7860", "host": "localhost:7860"},
        {"sec-fetch-site": "none"},
    ],
)
def test_the_page_itself_is_not_foreign(headers, ask):
    assert ask("POST", JOIN, join(0, ["狗", 3, -1]), headers)[0] == 200


def test_a_link_on_a_foreign_page_opens_the_page(ask):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask("GET", "/", headers=link)[0] == 200
    assert ask("POST", JOIN, join(0, ["狗", 3, -1]), link)[0] == 403


@pytest.mark.parametrize("path", [JOIN, "/gradio_api/upload"])
def test_a_body_is_bounded_whether_it_states_its_length_or_not(path, ask, monkeypatch):
    monkeypatch.setattr(gate, "MOST_BODY", 100)
    monkeypatch.setattr(gate, "MOST_UPLOAD", 100)
    most = 100 + gate.AROUND * ("upload" in path)
    for length in (str(most + 1), "9" * 5_000):
        assert ask("POST", path, b"", {"content-length": length})[::2] == (413, None)
    assert ask("POST", path, pieces=[b"x" * most, b"x", b"x"], headers={"content-length": None})[0] == 413
    for length in ("-1", "1e3", "٣", ""):
        assert ask("POST", path, b"", {"content-length": length})[0] == 400
    assert ask("POST", "/gradio_api/upload", pieces=[b"x" * 60, b"x" * 40], headers={"content-length": None}) == (
        200,
        "page",
        b"x" * 100,
    )


def test_a_body_that_is_too_large_is_dropped_before_the_answer_up_to_a_bound(ask, monkeypatch):
    """A browser shows the answer only then."""
    monkeypatch.setattr(gate, "MOST_BODY", 10)
    monkeypatch.setattr(gate, "MOST_UNREAD", 50)
    for length, read in (("20", 20), ("50", 50), ("51", 0), (None, 70), ("0", 70)):
        pieces = [b"x" * 10] * (int(length or 0) // 10 or 20)
        before = len(pieces)
        assert ask("POST", JOIN, pieces=pieces, headers={"content-length": length})[0] == 413
        assert 10 * (before - len(pieces)) == read


def test_no_address_takes_a_body_that_nobody_needs(ask, monkeypatch):
    monkeypatch.setattr(gate, "MOST_BODY", 100)
    assert ask("GET", "/", pieces=[b"x" * 100, b"x"], headers={"content-length": None})[0] == 413


def test_an_application_that_fails_for_a_body_that_is_too_large_does_not_answer_itself(uploads, monkeypatch):
    """Frameworks answer 500 where a body ends too early; the gate's own words come instead."""
    monkeypatch.setattr(gate, "MOST_UPLOAD", 10)
    answers = []

    async def page(scope, receive, send):
        try:
            while True:
                await receive()
        finally:
            await send({"type": "http.response.start", "status": 500, "headers": []})

    async def receive():
        return {"type": "http.request", "body": b"x" * 70_000, "more_body": True}

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": [(b"host", b"localhost")]}
    asyncio.run(gate.Gate(page, uploads, EVENTS)(scope, receive, send))
    assert [each.get("status") for each in answers] == [413, None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 200_000,
        b"\xff",
        b"[]",
        b"{}",
        join(1, ["狗", 3, -1]),
        join(-1, ["狗", 3, -1]),
        join(10**30, ["狗", 3, -1]),
        join(True, ["狗", 3, -1]),
        join(0, ["狗", 3]),
        join(0, ["狗", 3, -1, None]),
        join(0, [{"a": 1}, 3, -1]),
        join(0, ["狗", [], -1]),
        join(0, ["狗", 3, "<b>\x1b[31m"]),
        join(0, ["狗", 0, -1]),
        join(0, ["狗", 101, -1]),
        join(0, ["狗", True, -1]),
        join(0, ["狗", None, -1]),
        join(0, ["狗", 3, float("nan")]),
        join(0, ["狗", 10**50, -1]),
        join(0, ["狗", 3, -1.5]),
        join(2, ["a.png", 3, -1]),
        join(2, [[{"path": "/etc/passwd"}], 3, -1]),
        join(2, [{"path": 5}, 3, -1]),
        join(0, ["狗", 3, -1], session_hash=None),
        join(0, ["狗", 3, -1], session_hash="a" * 100),
        join(0, ["狗", 3, -1], session_hash="../a"),
        join(0, ["狗", 3, -1], trigger_id="a"),
        join(0, ["狗", 3, -1], trigger_id=2**64),
        b'{"data":["\\ud800",3,-1],"fn_index":0,"session_hash":"a"}',
        b'{"data":["a",1e999,-1],"fn_index":0,"session_hash":"a"}',
        b'{"fn_index":0,"fn_index":2,"data":["a",3,-1],"session_hash":"a"}',
        b'{"data":["a",' + b"9" * 5_000 + b',-1],"fn_index":0,"session_hash":"a"}',
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_escaped_line_and_nothing_is_printed(body, ask, capfd):
    status, told, given = ask("POST", JOIN, body)
    assert (status, given) == (422, None)
    words = json.loads(told)["detail"]
    assert 0 < len(words) < 400 and words.isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("path", "status"), [("/gradio_api/upload", 400), ("/pictures/0", 500)])
def test_an_upload_that_cannot_be_read_is_the_mistake_of_its_client(path, status, uploads):
    answers = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"trouble"})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answers.append(message)

    method = "POST" if "upload" in path else "GET"
    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"localhost")]}
    asyncio.run(gate.Gate(page, uploads, EVENTS)(scope, receive, send))
    assert [each.get("status") for each in answers] == [status, None]


def test_a_client_that_leaves_gets_no_answer(uploads):
    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": [(b"host", b"localhost")]}
    asyncio.run(gate.Gate(None, uploads, EVENTS)(scope, receive, None))


def test_the_oldest_uploads_go_where_they_take_too_much(ask, uploads, monkeypatch):
    monkeypatch.setattr(gate, "MOST_STORED", 10)
    monkeypatch.setattr(gate, "MOST_FILES", 3)
    for number, size in enumerate([1, 5, 1, 4, 4]):
        file = uploads / str(number) / "a.png"
        file.parent.mkdir()
        file.write_bytes(b"x" * size)
        os.utime(file, (number, number))
    os.utime(uploads / "abc" / "a.png", (9, 9))
    assert ask("POST", "/gradio_api/upload", b"x")[0] == 200
    assert sorted(each.name for each in uploads.iterdir()) == ["3", "4", "abc"]


@pytest.mark.parametrize("row", ["-1", "+1", "1_0", "٣", "9" * 5_000, "a", "", "1.0", "0x1", " 1", "1\n"])
def test_the_number_of_a_row_is_read_within_bounds(row):
    assert serving._row_number(row) is None


def test_the_number_of_a_row_is_read():
    assert (serving._row_number("0"), serving._row_number("123456")) == (0, 123456)
