"""The page for browsers, in a browser: what a user does and sees, and what each thing that goes wrong says."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, WebSocketRoute, expect

from nrepl_py.client import connect
from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.server.assets import DIRECTORY
from tests.client.background import in_thread
from tests.client.proxy import Proxy, proxy
from tests.conftest import need
from tests.editors.page import PATIENCE, User, chromium

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC"

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(XDG_RUNTIME_DIR=str(tmp_path_factory.mktemp("chromium"))) as browser:  # it leaves files there
        yield browser


@pytest.fixture
def users(browser: Browser, server: Embedded) -> Iterator[list[User]]:
    """Those of a test; none may have seen an error of the page's own."""
    some: list[User] = []
    yield some
    problems = [problem for user in some for problem in user.problems]
    for user in some:
        user.context.close()
    assert problems == []


def visit(users: list[User], browser: Browser, server: Embedded, session: str = "", url: str = "") -> User:
    """A user on that session, which is made if there is none of the name; by default on a new one."""
    session = session or f"s{next(NUMBERS)}"
    user = User(browser, url or server.url, f"#token={server.token}&session={session}").go()
    users.append(user)
    expect(user.line).to_be_visible()
    return user


def test_the_bundle_is_that_of_the_sources(page_source: Path, tmp_path: Path) -> None:
    for command in (["npx", "--no-install", "tsc"], ["node", "build.mjs", str(tmp_path)]):
        done = subprocess.run(
            command, cwd=page_source, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in DIRECTORY.iterdir()}
    stale = sorted(name for name in built.keys() | kept.keys() if built.get(name) != kept.get(name))
    assert stale == [], "npm run build, in editors/browser"


def test_its_parts_without_a_page(page_source: Path) -> None:
    done = subprocess.run(
        [need("node"), "--test", "test/units.test.mjs"], cwd=page_source, capture_output=True, encoding="utf-8",
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE)


def test_the_story_of_a_session(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    assert user.page.url == server.url.replace("ws", "http") + "/", "the token is gone from the address"

    cell = user.done("import sys\nprint('\\x1b[31mred\\x1b[0m and plain')\nprint('wrong', file=sys.stderr)\n6 * 7")
    expect(cell.locator(".rows > div").first).to_have_text("red and plain")
    assert "--ansi-1" in cell.get_by_text("red", exact=True).get_attribute("style")
    expect(cell.locator(".a-err")).to_have_text("wrong")
    expect(cell.locator(".value")).to_have_text("42")

    cell = user.done(f"import base64\ndisplay({{'image/png': base64.b64decode('{PNG}')}}, raw=True)")
    expect(cell.locator("img")).to_have_js_property("naturalWidth", 10)

    cell = user.done("def half(n):\n    return n / 0\nhalf(4)")
    expect(cell.locator(".error")).to_contain_text("in half")
    expect(cell.locator(".error")).to_contain_text("ZeroDivisionError: division by zero")
    expect(cell).to_have_attribute("data-state", "failed")

    cell = user.run("import getpass\nname = input('name? ')\nword = getpass.getpass('word? ')\nprint(name, len(word))")
    field = cell.get_by_role("textbox", name="name?")
    expect(field).to_be_focused()
    user.state("asks")
    user.page.keyboard.type("Ada")
    user.page.keyboard.press("Enter")
    secret = cell.locator("input[type=password]")
    expect(secret).to_be_focused()
    user.page.keyboard.type("secret")
    user.page.keyboard.press("Enter")
    expect(cell.locator(".text")).to_have_text("Ada 6")
    expect(user.line).to_be_focused()
    assert "secret" not in user.page.content()

    cell = user.done("display('one', display_id='x')\ndisplay('two', display_id='x', update=True)")
    expect(cell.locator(".rich")).to_have_text("'two'")

    # Edited and run again, a cell says what it says now, in the same place.
    first = user.pane.locator(".cell").first
    first.get_by_role("button", name="Edit").click()
    user.page.keyboard.press("Control+A")
    user.page.keyboard.press("Delete")
    user.page.keyboard.insert_text("'again'")
    user.page.keyboard.press("Control+Enter")
    expect(first.locator(".output")).to_have_text("'again'")


def test_html_is_shown_and_can_do_nothing(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    elsewhere = socket.create_server(("127.0.0.1", 0))
    elsewhere.setblocking(False)
    html = (
        "<b id=there style='color: green'>there</b><script>parent.document.title = 'bad'</script>"
        f"<img src='http://127.0.0.1:{elsewhere.getsockname()[1]}/leak' onerror='parent.document.title = `bad`'>"
        "<svg onload='parent.document.title = `bad`'></svg><form action='/healthz'><button>send</button></form>"
    )
    cell = user.done(f"class Table:\n    def _repr_html_(self): return {html!r}\nTable()")
    frame = cell.frame_locator("iframe")
    expect(frame.locator("#there")).to_have_css("color", "rgb(0, 128, 0)")
    assert cell.locator("iframe").get_attribute("sandbox") == "allow-same-origin"
    frame.locator("button").click()
    svg = "<svg xmlns='http://www.w3.org/2000/svg' width='20' height='20'><rect width='20' height='20'/></svg>"
    drawn = user.done(f"display({{'image/svg+xml': {svg!r}}}, raw=True)").frame_locator("iframe").locator("rect")
    expect(drawn).to_be_visible()
    assert user.page.title() == "nrepl-py"
    with elsewhere, pytest.raises(BlockingIOError):
        elsewhere.accept()  # nobody came
    refusals = [one for one in user.problems if "Content Security Policy" in one or "Blocked" in one]
    assert refusals, "the browser says what it refused"
    user.problems[:] = [one for one in user.problems if one not in refusals]


def test_a_flood_is_interrupted(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    cell = user.run("n = 0\nwhile True:\n    n += 1\n    print('line', n)")
    expect(cell.locator(".cut button")).to_be_visible()
    user.write("len('still here')")
    expect(user.line).to_have_text("len('still here')")
    user.press("Interrupt")
    expect(cell.locator(".said")).to_have_text("interrupted")
    user.page.keyboard.press("Control+Home")
    user.line.click()
    user.page.keyboard.press("Enter")
    expect(user.cell.locator(".value")).to_have_text("10")
    # Ctrl-C does the same.
    user.run("import time; print('on'); time.sleep(1000)")
    expect(user.cell.locator(".text")).to_have_text("on")
    user.line.click()
    user.page.keyboard.press("Control+c")
    expect(user.cell.locator(".said")).to_have_text("interrupted")


def test_a_million_lines(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    cell = user.done("print('\\n'.join(map(str, range(1_000_000))))")
    rows = cell.locator(".rows > div")
    expect(rows.last).to_have_text("999999")
    assert rows.count() <= 200
    cell.get_by_role("button", name="Show all 1,000,000 lines").click()
    window = cell.get_by_role("region", name="All lines")
    expect(window).to_be_focused()
    expect(window).to_contain_text("999999")
    user.page.keyboard.press("Home")
    expect(rows.first).to_have_text("0")
    window.evaluate("window => window.scrollTop = window.scrollHeight / 2")
    expect(rows.first).to_have_text(re.compile("^(49|50)[0-9]{4}$"))
    assert rows.count() < 200


def test_branches_snapshots_and_restarts(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    user.done("items = [1]")
    user.press("Snapshot")
    expect(user.pane).to_contain_text("Snapshot 1: ")
    user.done("items.append(2)")
    user.press("Branch")
    expect(user.page.locator(".pane")).to_have_count(2)
    branch = user.page.locator(".pane").last
    branch.get_by_role("textbox", name="Code for").click()
    user.page.keyboard.insert_text("items.append(3); items")
    user.page.keyboard.press("Control+Enter")
    expect(branch.locator(".value")).to_have_text("[1, 2, 3]")
    expect(user.done("items").locator(".value")).to_have_text("[1, 2]")
    user.press("Roll back")
    expect(user.pane).to_contain_text("Back at snapshot 1.")
    expect(user.done("items").locator(".value")).to_have_text("[1]")
    user.press("Restart")
    expect(user.pane.locator(".note").last).to_contain_text("afresh")
    expect(user.done("items").locator(".error")).to_contain_text("NameError")
    expect(branch.locator(".value")).to_have_text("[1, 2, 3]")


@pytest.fixture
def way(server: Embedded) -> Iterator[tuple[Proxy, asyncio.AbstractEventLoop]]:
    """A way to the server that can be cut, and the loop it runs in."""
    with in_thread(proxy(server.url)) as running:
        yield running


def test_a_lost_connection_loses_nothing(
    users: list[User], browser: Browser, server: Embedded, way: tuple[Proxy, asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    running, loop = way
    user = visit(users, browser, server, url=running.url)
    go = tmp_path / "go"
    cell = user.run(
        f"import os, time\nprint('before')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "for n in range(50): print('line', n)\n'the end'"
    )
    expect(cell.locator(".text")).to_have_text("before")
    running.refuses = True
    loop.call_soon_threadsafe(running.cut)
    banner = user.page.get_by_role("alert")
    expect(banner).to_contain_text("Connection lost")
    go.touch()  # it goes on while nobody listens
    banner.get_by_role("button", name="Try now").click()
    running.refuses = False
    expect(banner).to_be_hidden()
    expect(cell.locator(".value")).to_have_text("'the end'")
    assert cell.locator(".rows").first.inner_text().split("\n") == ["before", *(f"line {n}" for n in range(50))]
    user.problems[:] = [one for one in user.problems if "WebSocket" not in one]  # the browser tells of its attempts


def test_two_pages_on_one_session(users: list[User], browser: Browser, server: Embedded) -> None:
    one = visit(users, browser, server)
    session = one.pane.locator("h2").inner_text()
    one.done("x = 1")
    other = visit(users, browser, server, session)
    expect(other.cell.locator(".code")).to_have_text("x = 1")
    expect(one.pane.locator(".watchers")).to_contain_text("looking on: browser-")
    cell = one.run("x = input('what? '); x")
    expect(other.cell.locator(".by")).to_contain_text("by browser-")
    expect(cell.locator(".by")).to_have_text("")
    other.cell.get_by_role("textbox", name="what?").fill("from the other")
    other.page.keyboard.press("Enter")
    expect(cell.locator(".value")).to_have_text("'from the other'")
    expect(cell.locator("form")).to_have_count(0)
    # Loaded again, it is the same page, and has its token and all it showed.
    one.page.reload()
    expect(one.cell.locator(".value")).to_have_text("'from the other'")
    expect(one.cell.locator(".by")).to_have_text("")


def test_completion_and_signature_come_from_the_live_session(
    users: list[User], browser: Browser, server: Embedded
) -> None:
    user = visit(users, browser, server)
    user.done("def scale(value, factor=2): return value\nthing_of_mine = 1")
    user.line.click()
    user.page.keyboard.type("thing_of")
    expect(user.page.get_by_role("option", name="thing_of_mine")).to_be_visible()
    user.page.keyboard.press("Tab")
    user.page.keyboard.press("Escape")
    user.page.keyboard.press("Control+A")
    user.page.keyboard.type("scale(1, ")
    expect(user.page.locator(".signature b")).to_have_text("factor=2")


def test_everything_by_keyboard(users: list[User], browser: Browser, server: Embedded) -> None:
    user = visit(users, browser, server)
    user.line.focus()
    user.page.keyboard.type("for n in 'ab':")
    user.page.keyboard.press("Enter")
    expect(user.line.locator(".cm-line")).to_have_count(2)  # it is not complete
    user.page.keyboard.type("print(n)")
    user.page.keyboard.press("Enter")
    expect(user.line.locator(".cm-line")).to_have_count(3)
    user.page.keyboard.press("Enter")
    expect(user.cell.locator(".text .rows > div")).to_have_text(["a", "b"])
    user.page.keyboard.press("ArrowUp")
    expect(user.line).to_contain_text("print(n)")
    user.page.keyboard.press("Control+A")
    user.page.keyboard.press("Delete")
    # Tab does not stay in the editor, and reaches every button.
    reached: set[str] = set()
    for _ in range(40):
        user.page.keyboard.press("Tab")
        reached.add(user.page.evaluate("document.activeElement.innerText"))
    assert {
        "New session",
        "Branch",
        "Snapshot",
        "Roll back",
        "Restart",
        "Hide",
        "Close",
        "Edit",
        "Run again",
    } <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(users: list[User], browser: Browser, server: Embedded, scheme: str) -> None:
    user = visit(users, browser, server)
    user.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    colours = "".join(f"\\x1b[{n}mcolour {n}\\x1b[0m " for n in [*range(30, 38), *range(90, 98)])
    user.done(f"import sys\nprint('{colours}')\nprint('err', file=sys.stderr)\nfor n in range(300): print(n)")
    user.done("def f(): return 'text' # comment\n1 / 0")
    user.done("display({'text/html': '<table><tr><th>a</th></tr><tr><td>1</td></tr></table>'}, raw=True)")
    user.done(f"import base64\ndisplay({{'image/png': base64.b64decode('{PNG}')}}, raw=True)")
    user.run("input('name? ')")
    user.state("asks")
    results = Axe().run(user.page)
    assert results.violations_count == 0, results.generate_report()


def test_a_page_without_a_token_asks_for_it_and_a_wrong_one_is_told(
    users: list[User], browser: Browser, server: Embedded
) -> None:
    user = User(browser, server.url, "").go()
    users.append(user)
    field = user.page.get_by_label("token")
    expect(field).to_be_focused()
    expect(user.page.get_by_text("nrepl-py open")).to_be_visible()
    user.page.keyboard.type("wrong")
    user.page.keyboard.press("Enter")
    alert = user.page.get_by_role("alert")
    expect(alert).to_contain_text("token")
    expect(alert).to_contain_text("Run nrepl-py open")
    assert Axe().run(user.page).violations_count == 0
    user.page.get_by_label("token").fill(server.token)
    user.page.keyboard.press("Enter")
    expect(user.line).to_be_visible()


def test_a_server_that_dies_is_told(users: list[User], browser: Browser) -> None:
    with serve_in_thread(kind="local") as server:
        user = visit(users, browser, server)
        user.done("1")
    expect(user.page.get_by_role("alert")).to_contain_text("start it again: nrepl-py open")
    expect(user.cell.locator(".value")).to_have_text("1")
    user.problems.clear()  # the browser tells of attempts that fail


def test_a_server_of_another_version_is_told(users: list[User], browser: Browser, server: Embedded) -> None:
    user = User(browser, server.url, "#token=any")
    users.append(user)

    def newer(socket: WebSocketRoute) -> None:
        sentence = "this server speaks protocol 2, not 1"

        def answer(frame: str | bytes) -> None:
            status = ["error", "unsupported-version", "done"]
            socket.send(json.dumps({"id": json.loads(frame)["id"], "status": status, "message": sentence}))

        socket.on_message(answer)

    user.page.route_web_socket(re.compile("."), newer)
    user.go()
    expect(user.page.get_by_role("alert")).to_have_text(
        "this server speaks protocol 2, not 1. This page and the server are of different versions: reload it."
    )


def test_firefox_connects_too(server: Embedded, tmp_path: Path) -> None:
    """No more than that: nothing drives it here. What it asks of the server shows that the page works there."""
    profile = tmp_path / "profile"
    profile.mkdir()
    url = f"{server.url.replace('ws', 'http')}/#token={server.token}&session=fox"
    own = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    firefox = subprocess.Popen(
        [need("firefox-esr"), "--headless", "--no-remote", "--profile", str(profile), url],
        env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        with connect(server.url, token=server.token) as client:
            deadline = time.monotonic() + PATIENCE
            # Nothing tells of a session that another client makes.
            while not any(one["name"] == "fox" and one["clients"] for one in client.sessions()):
                assert firefox.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.killpg(firefox.pid, signal.SIGKILL)
        firefox.wait()
