"""A whole VS Code to be driven: its server, which has the extension host, and Chromium for its windows.

`editors/vscode/test/drive/install.sh` installs it. Everything of one lies in one directory; nothing of the user's is read.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, expect
from playwright.sync_api import TimeoutError as NotYet

from nrepl_py import connection_file
from tests.clients.conftest import install
from tests.conftest import CI, need

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
EXTENSION = ROOT / "editors" / "vscode"
PATIENCE = int(os.environ.get("PATIENCE", "120"))  # seconds for what takes 5 where nothing else runs
HOVER_SECONDS = 5  # before the mouse is moved again

expect.set_options(timeout=PATIENCE * 1000)

SETTINGS = {
    "workbench.startupEditor": "none",
    "chat.disableAIFeatures": True,
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "git.enabled": False,
    "telemetry.telemetryLevel": "off",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "remote.autoForwardPorts": False,
    "window.dialogStyle": "custom",
    "workbench.reduceMotion": "on",
    "editor.minimap.enabled": False,
    "editor.cursorBlinking": "solid",
}
"""What keeps VS Code from asking, from the network, and from drawing what is not looked at. Nothing that the extension is about."""

TOLD = ("passed: ", "failed: ")
"""How lines begin by which tests in the extension host say how they went; others write to the console, too."""

INLINE = """() => [...document.querySelectorAll(".view-line span")]
    .map((span) => getComputedStyle(span, "::after").content)
    .filter((content) => content.startsWith('"'))
    .map((content) => JSON.parse(content).replaceAll("\u00a0", " "))"""

WHERE = """(words) => {
    for (const span of document.querySelectorAll(".view-line span")) {
        const content = getComputedStyle(span, "::after").content.replaceAll("\u00a0", " ");
        const { right, top, height } = span.getBoundingClientRect();
        if (content.includes(words)) return [right - 4, top + height / 2];
    }
}"""


def installed(version: str) -> Path:
    """The directory of the `oldest` or `current` VS Code, which is installed where it is not there yet."""
    return _install(version)


def needed(version: str) -> Path:
    """The same for a test: where it is not there the test is skipped, but in CI it is installed."""
    try:
        return _install(version, *([] if CI else ["--if-there"]))
    except subprocess.CalledProcessError:
        if CI:
            raise
        pytest.skip(f"this test needs a VS Code to drive: editors/vscode/test/drive/install.sh {version}")


def _install(version: str, *options: str) -> Path:
    command = ["bash", EXTENSION / "test" / "drive" / "install.sh", version, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return Path(done.stdout.strip())


def packaged(directory: Path) -> Path:
    """The extension's package, made in that directory."""
    made = directory / "nrepl-py.vsix"
    install(need("npm"), "run", "package", "--", "--out", str(made), cwd=EXTENSION)
    return made


def make_project(folder: Path, settings: dict[str, object] | None = None, program: bool = True, **files: str) -> Path:
    """Make a folder with settings and files (`a__py` is `a.py`), and an environment that has `nrepl-py` or nothing."""
    venv.create(folder / ".venv", with_pip=False, symlinks=True)
    if program:
        install_program(folder / ".venv" / "bin" / "nrepl-py")
    (folder / ".vscode").mkdir()
    (folder / ".vscode" / "settings.json").write_text(json.dumps(settings or {}), "utf-8")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return folder


def install_program(path: Path) -> None:
    """Put `nrepl-py` there, as pip does."""
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom nrepl_py.cli.main import main\nsys.exit(main())\n")
    path.chmod(0o755)


class VSCode:
    """One that is installed, with a profile of its own."""

    def __init__(self, program: Path, home: Path, environment: dict[str, str]) -> None:
        self._program, self._home = program, home
        self._environment = os.environ | environment
        user = home / "server" / "data" / "User"
        user.mkdir(parents=True)
        (user / "settings.json").write_text(json.dumps(SETTINGS), "utf-8")

    def _command(self, *arguments: str | Path) -> list[str]:
        own = ("--server-data-dir", self._home / "server", "--extensions-dir", self._home / "extensions")
        quiet = ("--accept-server-license-terms", "--telemetry-level", "off")
        return [str(part) for part in (self._program / "node", "out/server-main.js", *own, *quiet, *arguments)]

    def add(self, vsix: Path) -> None:
        """Install an extension."""
        subprocess.run(
            self._command("--install-extension", vsix), cwd=self._program, env=self._environment, check=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """Its server, on a free port, for as long as that is wanted."""
        where = ("--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--disable-workspace-trust")
        process = subprocess.Popen(
            self._command(*where, *arguments), cwd=self._program, env=self._environment, encoding="utf-8",
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"listening on (\d+)", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        # Nobody reads on, and what it says of its windows may be more than the pipe holds.
        reader = Thread(target=process.stdout.read)
        reader.start()
        try:
            yield Running(f"127.0.0.1:{found[1]}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its extension hosts, and what they have not let go
            process.wait()
            reader.join()
            process.stdout.close()


class Running(NamedTuple):
    """One that runs."""

    host: str

    def address(self, folder: Path, *payload: tuple[str, str]) -> str:
        """Where its window on a folder is; `payload` is what a command line would say."""
        query = f"?folder={quote(str(folder))}"
        return f"http://{self.host}/{query}" + (f"&payload={quote(json.dumps(payload))}" if payload else "")

    def remote(self, path: Path) -> str:
        """That file as a window names it."""
        return f"vscode-remote://{self.host}{path}"


class Window:
    """A window of it on a folder, and who sits before it."""

    def __init__(self, code: Running, browser: Browser, folder: Path, *payload: tuple[str, str]) -> None:
        self.context = browser.new_context(viewport={"width": 1400, "height": 900})
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        """What tests in the extension host wrote to the console; see `run_in_host`."""
        self.exit_code: int | None = None
        self.page.expose_function("codeAutomationLog", self._log)
        self.page.expose_function("codeAutomationExit", self._exit)
        self.page.goto(code.address(folder, *payload))
        self.loaded()

    def loaded(self) -> None:
        """Wait until it takes keys."""
        expect(self.page.locator(".explorer-folders-view .monaco-list-row").first).to_be_visible()

    def _log(self, kind: str, words: Sequence[object]) -> None:
        self.said += [word for word in words if isinstance(word, str) and word.startswith(TOLD)]

    def _exit(self, status: int, *_: object) -> None:
        self.exit_code = status

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.picture("failed")
        self.context.close()

    def until(self, what: str, condition: Callable[[], T], patience: int = PATIENCE) -> T:
        """Wait until the condition gives something, and return that."""
        deadline = time.monotonic() + patience
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}; {self.said}"
            self.page.wait_for_timeout(30)  # between two looks; the window's own calls are served meanwhile
        return found

    @property
    def box(self) -> Locator:
        """Where commands, files and answers are typed."""
        return self.page.locator(".quick-input-widget .quick-input-box input")

    def choose(self, words: str) -> None:
        """Pick the row of the open list that says these words."""
        self.page.locator(".quick-input-list .monaco-list-row", has_text=words).first.click()

    def command(self, title: str) -> None:
        """Run a command by its title in the palette."""
        self.page.keyboard.press("F1")
        self.box.fill(f">{title}")
        self.choose(title)

    def open(self, name: str, line: int = 1) -> None:
        """Open a file of the folder, with the cursor on that line."""
        self.page.keyboard.press("Control+p")
        self.box.fill(name)
        self.choose(name)
        expect(self.page.locator(".tab.active", has_text=name)).to_be_visible()
        expect(self.page.locator(".monaco-editor.focused").first).to_be_visible()
        self.go_to(line)

    def go_to(self, line: int) -> None:
        """Put the cursor of the editor on that line."""
        self.page.keyboard.press("Control+g")
        self.box.fill(f":{line}")
        self.page.keyboard.press("Enter")
        expect(self.box).to_be_hidden()
        expect(self.page.locator(".monaco-editor.focused").first).to_be_visible()

    def asked(self, title: str, kind: str) -> None:
        """Wait until a box asks for that; `kind`: `text` or `password`."""
        expect(self.page.locator(".quick-input-widget")).to_contain_text(title)
        expect(self.box).to_have_attribute("type", kind)

    def answer(self, text: str) -> None:
        """Type it into the open box, in place of what is there."""
        self.box.fill(text)
        self.page.keyboard.press("Enter")

    def hover(self, words: str, what: str) -> None:
        """Rest the mouse on what has these words behind a line until the hover shows `what`, a selector."""
        shown = self.page.locator(f".monaco-hover {what}")

        def once() -> bool:
            # Lines move while lenses and results come, and a hover is gone when they do: then again, as a user would.
            self.shows(words)
            self.page.mouse.move(0, 0)
            self.page.mouse.move(*self.page.evaluate(WHERE, words))
            try:
                shown.wait_for(timeout=HOVER_SECONDS * 1000)
            except NotYet:
                return False
            return True

        self.until(f"{what} over {words!r}", once)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def inline(self) -> list[str]:
        """What is shown behind lines of the editors, from top to bottom; style sheets have it, not the text."""
        found: list[str] = self.page.evaluate(INLINE)
        return found

    def shows(self, words: str) -> str:
        """Wait until one of them has these words, and return it."""
        return self.until(
            f"{words!r} behind a line", lambda: next((text for text in self.inline() if words in text), "")
        )

    def status(self, words: str | re.Pattern[str]) -> Locator:
        """Wait until the status bar has an item with these words."""
        item = self.page.locator(".statusbar-item", has_text=words).first
        expect(item).to_be_visible()
        return item

    def notified(self, words: str | re.Pattern[str]) -> Locator:
        """Wait for a notification that says so."""
        toast = self.page.locator(".notifications-toasts .notification-list-item", has_text=words).first
        expect(toast).to_be_visible()
        return toast

    def told(self, *words: str) -> Locator:
        """Wait for a notification that says all of it, buttons included."""
        toast = self.notified(words[0])
        for word in words[1:]:
            expect(toast).to_contain_text(word)
        return toast

    def reload(self) -> None:
        """Load the window again, as a user does."""
        self.page.reload()
        self.loaded()

    def output(self) -> list[str]:
        """The lines of the session's output channel, once nothing more is to come."""
        self.command("nREPL for Python: Show Output")
        lines = self.page.locator(".part.panel .view-lines")
        expect(lines).to_contain_text("ended")
        return lines.inner_text().replace("\u00a0", " ").split()

    def open_notebook(self, name: str) -> None:
        """Open a file of the folder that is a notebook."""
        self.page.keyboard.press("Control+p")
        self.box.fill(name)
        self.choose(name)
        expect(self.page.locator(".notebook-editor .cell-list-container .monaco-list-row").first).to_be_visible()

    def prints(self, words: str) -> None:
        """Wait until the output of some cell has these words."""
        outputs = self.page.frame_locator("iframe.webview").frame_locator("#active-frame")
        expect(outputs.get_by_text(words).first).to_be_visible()

    def picture(self, name: str) -> None:
        """Keep what is seen in `$NREPL_PICTURES`, for whoever wants to look."""
        if directory := os.environ.get("NREPL_PICTURES"):
            self.page.screenshot(path=f"{directory}/{name}.png")


def run_in_host(code: VSCode, browser: Browser, folder: Path, tests: Path) -> tuple[int, list[str]]:
    """Run the tests of that directory, an extension with an `index.js`, in the extension host: the exit code, and a line for each."""
    # A window of this kind shows no notifications, so others are without.
    with code.started("--enable-smoke-test-driver") as running:
        module = running.remote(tests / "index.js")
        payload = ("extensionDevelopmentPath", running.remote(tests)), ("extensionTestsPath", module)
        with Window(running, browser, folder, *payload) as window:
            window.until("the tests' end", lambda: window.exit_code is not None, 4 * PATIENCE)
            assert window.exit_code is not None
            return window.exit_code, window.said


def serving(runtime: Path, folder: Path) -> connection_file.ServerFile:
    """The server of the folder, by the file in which it says where it is."""
    found = [connection_file.read(str(file)) for file in (runtime / "nrepl-py").glob("*.json")]
    return next(server for server in found if server and server.cwd == str(folder))


@contextmanager
def advertised(runtime: Path, folder: Path, url: str, token: str) -> Iterator[None]:
    """Let the folder's server be one of this process."""
    start = connection_file.process_start(os.getpid())
    assert start
    path = str(runtime / "nrepl-py" / "advertised.json")
    file = connection_file.ServerFile(url, token, os.getpid(), start, str(folder), time.time(), {}, path=path)
    connection_file.write(file)
    try:
        yield
    finally:
        connection_file.remove(file)
