"""The page of `zhclip search --serve`, as a user sees it in Chromium; neither browser nor server asks another host."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest

import zhclip_cli
from hf_zhclip.inference import Embedder, gate, serving
from hf_zhclip.inference.corpus import Corpus

from tests.inference.corpora import write_corpus
from tests.page import guarded
from tests.test_readme import SERVE

pytestmark = pytest.mark.page

HERE = "127.0.0.1"
PATIENCE = 30_000
"""Milliseconds."""


@contextmanager
def served(home):
    """README.md's command at a free port: the page's address, what was printed, and the process, which is ended."""
    command = [sys.executable, guarded.__file__, *shlex.split(SERVE)[1:], "--port", "0"]
    environment = {**os.environ, "GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", env=environment, cwd=home)
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(rf"http://{HERE}:\d+", line):
            break
    else:
        raise AssertionError("".join(said))
    rest = threading.Thread(target=lambda: said.extend(process.stderr))
    rest.start()
    try:
        yield found[0], said, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
            rest.join()
    assert not [line for line in said if guarded.ASKED in line or "Traceback" in line], "".join(said)


@pytest.fixture(scope="module")
def address(home):
    with served(home) as (found, _, _):
        yield found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"))
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, **options):
    """A tab with the page; it fails if the page asks another host for anything, or an error shows."""
    elsewhere, troubles = [], []
    context = browser.new_context(viewport={"width": 1180, "height": 1000}, **options)

    def answer(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            return route.continue_()
        elsewhere.append(route.request.url)
        return route.abort()

    context.route("**/*", answer)
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.on("websocket", lambda found: elsewhere.append(found.url))
    tab.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("console", lambda line: troubles.append(line.text) if "Content Security Policy" in line.text else None)
    tab.goto(address)
    tab.wait_for_selector("#sentence textarea, #sentence input")
    yield tab
    context.close()
    assert (elsewhere, troubles) == ([], [])


@pytest.fixture
def tab(browser, address):
    with opened(browser, address) as tab:
        yield tab


def type_in(tab, text: str) -> None:
    box = tab.locator("#sentence textarea, #sentence input").first
    box.fill(text)
    box.press("Enter")


def state(tab) -> tuple[list[str], list[str]]:
    """The names and the cosines in the grid."""
    return tab.locator("#grid .name").all_inner_texts(), tab.locator("#grid .cosine").all_inner_texts()


def wait_for_first(tab, name: str) -> None:
    tab.wait_for_function("name => document.querySelector('#grid .name')?.title === name", arg=name)


def wait_for_line(tab, words: str) -> None:
    tab.wait_for_function("words => document.querySelector('#line').innerText.includes(words)", arg=words)


def rows_and_names(home) -> tuple[np.ndarray, list[str]]:
    corpus = Corpus.open(home / "pokemon-vectors")
    return np.concatenate(list(corpus.blocks())), list(corpus.paths)


def cosines_of(home, text: str) -> np.ndarray:
    """Of all pictures, by the model's own call."""
    model = Embedder.from_pretrained(home / "repo").model
    return rows_and_names(home)[0] @ model.encode_text([text]).detach().numpy()[0]


def choose(tab, slider: str, value: str) -> None:
    number = tab.locator(f"#{slider} input[type=number]")
    number.fill(value)
    number.press("Enter")


def test_a_typed_sentence_shows_ranks_cosines_and_pictures(home, tab):
    sentence = "两个红色正方形"
    cosines = cosines_of(home, sentence)
    best = np.argsort(-cosines)[:10]

    type_in(tab, sentence)
    wait_for_first(tab, rows_and_names(home)[1][best[0]])

    names, shown = state(tab)
    assert names == [rows_and_names(home)[1][number] for number in best]
    assert list(map(float, shown)) == pytest.approx(cosines[best], abs=1e-4)
    assert tab.locator("#grid .rank").all_inner_texts() == [str(rank) for rank in range(1, 11)]
    tab.wait_for_function("[...document.querySelectorAll('#grid img')].every(each => each.naturalWidth === 48)")


def test_a_click_on_search_does_the_same_for_english(home, tab):
    tab.locator("#sentence textarea, #sentence input").first.fill("a red circle")
    tab.locator("#go").click()
    best = cosines_of(home, "a red circle").argmax()
    wait_for_first(tab, rows_and_names(home)[1][best])


def test_a_click_on_a_picture_shows_it_alone(tab):
    type_in(tab, "一个红色圆形")
    tab.wait_for_selector("#grid li")
    with tab.expect_popup() as popup:
        tab.locator("#grid a").first.click()
    popup.value.wait_for_load_state()
    assert re.search(r"/pictures/\d+\?large=1$", popup.value.url)
    assert popup.value.evaluate("document.images[0].naturalWidth") == 48


def test_the_sliders_choose_how_many_results_and_the_least_cosine_with_its_count(home, tab):
    cosines = cosines_of(home, "两个红色正方形")
    type_in(tab, "两个红色正方形")
    tab.wait_for_selector("#grid li")
    wait_for_line(tab, f"{len(cosines):,} of {len(cosines):,} pictures have a cosine of at least -1.00")

    choose(tab, "many", "17")
    tab.wait_for_function("document.querySelectorAll('#grid li').length === 17")
    bound = np.sort(cosines)[-6] - 0.0001
    choose(tab, "least", f"{bound:.2f}")
    above = int((cosines >= round(bound, 2)).sum())
    wait_for_line(tab, f"{above} of {len(cosines):,} pictures have a cosine of at least {bound:.2f}")
    assert len(state(tab)[0]) == min(17, above) > 0

    choose(tab, "least", "1")
    wait_for_line(tab, f"0 of {len(cosines):,} pictures have a cosine of at least 1.00")
    wait_for_line(tab, f"{cosines.max():.4f}")
    assert state(tab) == ([], [])


def drop(tab, file: Path) -> None:
    """Drops a file on the page as a file manager does."""
    content = list(file.read_bytes())
    data = tab.evaluate_handle(
        """([content, name]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], name, { type: 'image/png' }));
            return data;
        }""",
        [content, file.name],
    )
    tab.locator("#picture button").first.dispatch_event("drop", {"dataTransfer": data})


def test_a_dropped_picture_finds_itself_first_and_takes_the_place_of_the_sentence(home, tab):
    _, names = rows_and_names(home)
    type_in(tab, "一个红色圆形")
    tab.wait_for_selector("#grid li")

    drop(tab, home / "pictures" / names[20])
    wait_for_first(tab, names[20])

    assert state(tab)[1][0] == "1.0000"
    assert tab.locator("#sentence textarea, #sentence input").first.input_value() == ""


def test_a_chosen_file_does_the_same_and_a_sentence_takes_its_place(home, tab):
    _, names = rows_and_names(home)
    tab.set_input_files("#picture input[type=file]", home / "pictures" / names[30])
    wait_for_first(tab, names[30])
    tab.wait_for_selector("#picture img")

    type_in(tab, "两个红色正方形")
    wait_for_first(tab, names[int(cosines_of(home, "两个红色正方形").argmax())])
    tab.wait_for_selector("#picture img", state="detached")


def test_every_label_stands_in_both_languages(tab):
    words = ["图片搜索 Picture search", "一句话 Sentence", "搜索 Search", "结果数 Results", "余弦 Cosine"]
    words += [
        "或一张图片 Or a picture",
        "拖入图片，或点击选择",
        "Drop a picture, or click",
        "输入一句话",
        "type a sentence",
    ]
    words += ["不是概率", "is no probability", "EXIF 的旋转不起作用", "a rotation by EXIF has no effect"]
    for each in words:
        tab.wait_for_function("words => document.body.innerText.toLowerCase().includes(words)", arg=each.lower())
    assert "%" not in tab.inner_text("body")


def test_an_empty_sentence_and_a_broken_picture_are_told_and_the_page_goes_on(home, tab, tmp_path):
    type_in(tab, "  ")
    wait_for_line(tab, "found an empty sentence")
    (tmp_path / "broken.png").write_bytes((home / "secret.png").read_bytes()[:40])
    tab.set_input_files("#picture input[type=file]", tmp_path / "broken.png")
    wait_for_line(tab, "found broken.png, which holds no picture")
    type_in(tab, "一个红色圆形")
    tab.wait_for_selector("#grid li")


def test_a_foreign_name_is_text_and_nothing_in_it_runs(home, tab):
    (name,) = [each for each in rows_and_names(home)[1] if "alert" in each]
    tab.set_input_files("#picture input[type=file]", home / "pictures" / name)
    wait_for_first(tab, name)
    assert state(tab)[0][0] == name
    tab.wait_for_function("document.querySelector('#grid img').naturalWidth === 48")


def test_pictures_that_are_gone_or_lie_outside_are_told(home, tab):
    names = rows_and_names(home)[1]
    tab.set_input_files("#picture input[type=file]", home / "secret.png")
    tab.wait_for_function("document.querySelectorAll('#grid li.lost').length === 3")
    lost = tab.locator("#grid li.lost")
    assert set(lost.locator(".name").all_inner_texts()) == set(names[-4:-1])
    assert "图片已不在" in lost.first.inner_text() and "gone or cannot be read" in lost.first.inner_text()
    choose(tab, "many", "100")
    choose(tab, "many", str(len(names)))


def status(url: str, host: str | None = None, data: bytes | None = None) -> int:
    request = urllib.request.Request(url, data, {"Host": host} if host else {})
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_gives_pictures_of_the_corpus_by_number_and_no_other_file(home, address):
    names = rows_and_names(home)[1]
    inside = home / "pictures" / names[0]
    assert status(f"{address}/pictures/0") == 200
    refused = [
        "-1",
        str(len(names)),
        "9" * 18,
        "9" * 40,
        quote("../../etc/passwd", safe=""),
        quote(str(inside), safe=""),
    ]
    refused += [str(number) for number in range(len(names) - 4, len(names))]
    for each in refused:
        assert status(f"{address}/pictures/{each}") == 404, each
    for file in (inside, home / "secret.png", home / "pokemon-vectors" / "zhclip_corpus.json", Path("/etc/passwd")):
        for route in ("file=", "file/", "stream/"):
            assert status(f"{address}/gradio_api/{route}{quote(str(file))}") in (403, 404), (route, file)


def test_a_page_under_another_name_is_refused(address):
    """A foreign page may give its own name this machine's address, to read what the server says."""
    assert status(address, host=urlsplit(address).netloc) == 200
    assert status(address, host="example.com") == 400


def joined(address, api_name: str, data: list, session: str) -> tuple[int, str]:
    """Asks for an event as the page does: the status, and what the server then told."""
    with urllib.request.urlopen(f"{address}/config", timeout=20) as config:
        events = json.loads(config.read())["dependencies"]
    number = next(event["id"] for event in events if event["api_name"] == api_name)
    body = json.dumps({"data": data, "fn_index": number, "session_hash": session}).encode()
    found, told = answered(f"{address}/gradio_api/queue/join", {"Content-Type": "application/json"}, body)
    if found != 200:
        return found, told
    return answered(f"{address}/gradio_api/queue/data?session_hash={session}")


def answered(url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def uploaded(address, name: str, content: bytes, **headers: str) -> tuple[int, str]:
    start = f'--x1\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = start.encode() + content + b"\r\n--x1--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x1"}
    return answered(f"{address}/gradio_api/upload", {**kind, **headers}, body)


def file_data(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_a_foreign_page_shows_no_picture_of_the_corpus(address):
    """Also in a browser that does not say who asks: the size of a picture would tell which picture it is."""
    with urllib.request.urlopen(f"{address}/pictures/0", timeout=20) as answer:
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answered(f"{address}/pictures/0", {"Sec-Fetch-Site": "same-site"})[0] == 403


def test_an_address_in_the_place_of_a_picture_is_not_fetched(address):
    """The fixture of the server fails if the server asked for it."""
    status, told = joined(address, "by_picture", [file_data("http://example.com/a.png"), 10, -1], "abc")
    assert status == 422 and "No address and no path is opened" in json.loads(told)["detail"]


def test_a_file_that_a_client_names_is_neither_opened_nor_copied(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with served(home) as (address, said, _):
        for number, place in enumerate(("/dev/zero", "/etc/passwd", str(home / "secret.png"), "/none")):
            for event in ("by_picture", "by_sentence"):
                assert joined(address, event, [file_data(place), 3, -1], f"{event}{number}")[0] == 422
        assert not list(tmp_path.rglob("*.png")) + list(tmp_path.rglob("passwd"))

        secret = (home / "secret.png").read_bytes()
        for headers in ({"Origin": "http://example.com"}, {"Sec-Fetch-Site": "cross-site"}):
            assert uploaded(address, "a.png", secret, **headers)[0] == 403
        for name in ("../../a.png", "a" * 3_000 + ".png", "a%00\x01.png", ""):
            assert uploaded(address, name, secret)[0] in (200, 400), name
        assert not [each for each in tmp_path.rglob("*.png") if "zhclip_search_" not in str(each)]

        status, told = uploaded(address, "a.png", secret)
        (path,) = json.loads(told)
        assert status == 200
        status, told = joined(address, "by_picture", [file_data(path), 1, -1], "good")
        assert status == 200 and '"success":true' in told and "pictures/" in told
        status, told = joined(address, "by_sentence", ["狗" * 20_000, 1, -1], "long")
        assert status == 200 and "found a sentence of 20,000 characters" in told
        assert joined(address, "by_sentence", ["狗" * 1_000_000, 1, -1], "longer")[0] == 413
        assert answered(f"{address}/pictures/{'9' * 5_000}")[0] == 404
        for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data; boundary=x"}):
            assert answered(f"{address}/gradio_api/upload", headers, b"no form")[0] in (400, 422), headers
        assert answered(f"{address}/gradio_api/queue/join", {"Content-Type": "text/plain"}, b"[")[0] == 422
        large = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
        large.putrequest("POST", "/gradio_api/upload")
        for name, value in (("Content-Type", "multipart/form-data; boundary=x1"), ("Transfer-Encoding", "chunked")):
            large.putheader(name, value)
        large.endheaders()
        start = b'--x1\r\nContent-Disposition: form-data; name="files"; filename="b.png"\r\n\r\n'
        for piece in (start, *[bytes(2**20)] * (gate.MOST_UPLOAD // 2**20 + 2), b""):
            large.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        assert large.getresponse().status == 413
        assert status_of_page(address) == 200
    assert said[1:] == [] and not list(tmp_path.glob("zhclip_search_*"))


def status_of_page(address) -> int:
    return answered(address)[0]


def test_pictures_that_are_no_files_come_from_their_reader(home):
    told = []
    picture = serving._opener(Corpus.open(home / "OUT-tsv"), told.append)
    assert (picture(0).getpixel((0, 0)), picture(1).getpixel((0, 0)), told) == ((255, 0, 0), (0, 0, 255), [])


def test_pictures_whose_place_is_gone_are_told_when_the_page_opens(home, tmp_path):
    told = []
    write_corpus(tmp_path / "OUT", rows_and_names(home)[0][:1], ["a.png"], root=str(tmp_path / "gone"))
    write_corpus(tmp_path / "OUT-tsv", np.eye(2, dtype=np.float32), ["", ""], path=str(tmp_path / "no"), root=None)
    for out in ("OUT", "OUT-tsv"):
        picture = serving._opener(Corpus.open(tmp_path / out), told.append)
        assert serving._answer(picture, 0, False).status_code == 404
    assert told[0] == f"{tmp_path / 'gone'} is gone; the page finds pictures and cannot show them."
    assert told[1].startswith("The pictures cannot be shown: ")


def test_ctrl_c_ends_it_with_0_while_a_page_is_open_and_leaves_no_upload(home, browser, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with served(home) as (address, said, process), opened(browser, address) as tab:
        tab.set_input_files("#picture input[type=file]", home / "secret.png")
        tab.wait_for_selector("#grid li")
        assert list(tmp_path.rglob("*.png"))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert not list(tmp_path.rglob("*.png"))
    assert said[-1].startswith(address)


def test_a_port_in_use_is_told_and_any_other_is_the_way_out(home, capsys):
    with socket.create_server((HERE, 0)) as used:
        port = str(used.getsockname()[1])
        assert zhclip_cli.main(["search", str(home / "pokemon-vectors"), "--serve", "--port", port]) == 2
    said = capsys.readouterr().err
    assert f"found --port {port}, which is in use by another program. Name a free port, such as --port 7861." in said
    with serving._listening(int(port)):
        pass


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_told(home, port, capsys):
    assert zhclip_cli.main(["search", str(home / "pokemon-vectors"), "--serve", "--port", port]) == 2
    assert f"found --port {port}, which cannot be opened" in capsys.readouterr().err


def test_a_signal_ends_a_server_that_hangs(monkeypatch):
    """So that `serve` removes the folder of uploads."""
    monkeypatch.setattr(serving, "ENDING", 0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    hangs, free = threading.Event(), threading.Event()

    async def page(scope, receive, send):
        if scope["type"] == "http":
            hangs.set()
            free.wait(20)  # it holds the server's only loop

    def interrupt():
        client = http.client.HTTPConnection(*listening.getsockname(), timeout=20)
        client.request("GET", "/")
        hangs.wait(20)
        os.kill(os.getpid(), 2)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=interrupt, daemon=True).start()
        began = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                serving._run(page, listening)
            assert time.monotonic() - began < 10
        finally:
            signal.signal(signal.SIGINT, before)
            free.set()
            for each in threading.enumerate():
                if each.name == serving.THREAD:
                    each.join(20)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_for_a_person_to_look_at(browser, address, scheme, tmp_path_factory):
    folder = Path(os.environ.get("ZHCLIP_SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    with opened(browser, address, color_scheme=scheme) as tab:
        type_in(tab, "两个红色正方形")
        tab.wait_for_selector("#grid li")
        tab.wait_for_function("[...document.querySelectorAll('#grid img')].every(each => each.complete)")
        tab.wait_for_timeout(300)
        tab.screenshot(path=folder / f"{scheme}.png")
    assert (folder / f"{scheme}.png").stat().st_size > 10_000
