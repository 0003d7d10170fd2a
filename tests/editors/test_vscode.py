"""The VS Code extension: its checks and units, what its package has, and the package in two whole VS Codes, the
oldest and the newest of those that can be had: tests in the extension host, and windows that are typed into."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from nrepl_py import codec, connection_file
from nrepl_py.client import connect
from nrepl_py.embed import serve_in_thread
from tests.client.background import in_thread
from tests.client.proxy import proxy
from tests.clients.conftest import install
from tests.conftest import PATIENT, PATIENT_VARIABLE, need
from tests.editors.page import chromium
from tests.editors.vs_code import (
    EXTENSION,
    PATIENCE,
    Running,
    VSCode,
    Window,
    advertised,
    install_program,
    make_project,
    needed,
    packaged,
    run_in_host,
    serving,
)

pytestmark = pytest.mark.timeout(3 * PATIENCE)

VERSIONS = ("oldest", "current")

Project = Callable[..., Path]

ONCE = pytest.mark.parametrize("vs_code", ["current"], indirect=True)
"""Nothing in it depends on which VS Code it is."""


@pytest.fixture(scope="module")
def vsix(vscode_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as it is installed."""
    return packaged(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def host_tests(vscode_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension that runs the tests in the extension host."""
    made = tmp_path_factory.mktemp("host")
    (made / "package.json").write_text('{"name": "tests", "publisher": "nrepl-py", "version": "0.0.1", "engines": {"vscode": "*"}}')  # fmt: skip
    bundle = ("--bundle", "--platform=node", "--format=cjs", "--external:vscode", f"--outfile={made / 'index.js'}")
    client = f"--alias:nrepl-py-client={EXTENSION.parent / 'client-js' / 'src' / 'index.ts'}"
    install(need("npx"), "--no-install", "esbuild", "test/host/index.ts", *bundle, client, cwd=vscode_source)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(XDG_RUNTIME_DIR=str(tmp_path_factory.mktemp("chromium"))) as browser:  # it leaves files there
        yield browser


@pytest.fixture(scope="module")
def runtime() -> Iterator[Path]:
    """Where a user's connection files are, and sockets, whose paths must be short; what is connected to is ended."""
    directory = Path(os.environ["TMPDIR"]) / "vscode"
    (directory / "nrepl-py").mkdir(mode=0o700, parents=True)
    yield directory
    for file in (directory / "nrepl-py").glob("*.json"):
        server = connection_file.read(str(file))
        if server and connection_file.alive(server):
            os.kill(server.pid, signal.SIGTERM)  # it outlives the window it was started from
        while server and connection_file.alive(server):
            time.sleep(0.02)  # between two looks
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def environment(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of somebody who has configured nothing, and has no `nrepl-py` on PATH."""
    path = [place for place in os.environ["PATH"].split(os.pathsep) if not Path(place, "nrepl-py").exists()]
    (runtime / "tmp").mkdir()
    own = {"HOME": str(tmp_path_factory.mktemp("home")), "XDG_RUNTIME_DIR": str(runtime), "TMPDIR": f"{runtime}/tmp"}
    return {**own, "PATH": os.pathsep.join(path), PATIENT_VARIABLE: os.environ[PATIENT_VARIABLE]}


@pytest.fixture(scope="module", params=VERSIONS)
def vs_code(
    request: pytest.FixtureRequest, vsix: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> VSCode:
    """A VS Code with the extension, and a clean profile otherwise."""
    need("node")
    code = VSCode(needed(request.param), tmp_path_factory.mktemp("vscode"), environment)
    code.add(vsix)
    return code


@pytest.fixture(scope="module")
def code(vs_code: VSCode) -> Iterator[Running]:
    """That VS Code, running."""
    with vs_code.started() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Make a folder to work in; see `make_project`."""
    return partial(make_project, tmp_path / "project")


def test_its_own_checks_and_units(vscode_source: Path) -> None:
    for task in ("check", "test"):
        done = subprocess.run(
            [need("npm"), "run", task], cwd=vscode_source, capture_output=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tests +\S*[1-9]\d* passed", re.sub(r"\x1b\[[\d;]*m", "", done.stdout)), done.stdout


def test_the_package_has_what_it_needs_and_no_more(vsix: Path) -> None:
    with zipfile.ZipFile(vsix) as archive:
        names = {name.removeprefix("extension/") for name in archive.namelist() if name.startswith("extension/")}
        manifest = json.loads(archive.read("extension/package.json"))
    entries = {manifest["main"], manifest["browser"]}
    assert {entry.removeprefix("./") for entry in entries} == {name for name in names if name.startswith("dist/")}
    documents = {name.lower() for name in names if not name.startswith("dist/")}
    assert documents <= {"package.json", "readme.md", "license", "license.txt", "changelog.md"}
    assert {"package.json", "readme.md"} < documents
    assert any(name.startswith("license") for name in documents)
    assert manifest["license"] == "MIT"


@pytest.mark.timeout(6 * PATIENCE)
def test_in_the_extension_host(vs_code: VSCode, browser: Browser, project: Project, host_tests: Path) -> None:
    status, said = run_in_host(vs_code, browser, project(), host_tests)
    failed = [line for line in said if line.startswith("failed: ")]
    assert failed == []
    assert status == 0, said
    sources = [path.read_text("utf-8") for path in (EXTENSION / "test" / "host").glob("*.test.ts")]
    assert len(said) == sum(len(re.findall(r"^test\(", source, re.M)) for source in sources) > 0


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC"

STORY = f"""\
# %% what is live
import base64
greeting = "hello"
greeting.upper()
# %% a picture
class Plot:
    def _repr_png_(self):
        return base64.b64decode("{PNG}")
Plot()
# %% what fails
def half(n):
    return n / zero
zero = 0
half(4)
# %% what asks
name = input("who? ")
import getpass
word = getpass.getpass("word? ")
(name, len(word))
# %% a flood
while True: print("x" * 100)
# %%
greeting
"""


def test_the_story_of_a_session(code: Running, browser: Browser, project: Project, runtime: Path) -> None:
    """From a clean profile, as the README has it: the first result, and on."""
    folder = project(first__py="", story__py=STORY)
    with Window(code, browser, folder) as user:
        user.open("first.py")
        user.page.keyboard.type("6 * 7")
        user.press("Shift+Enter")
        user.shows("=> 42")
        user.status("project: ready")
        user.picture("first-result")

        user.open("story.py")
        user.press("Shift+Enter")
        user.shows("=> 'HELLO'")

        user.press("Shift+Enter")
        user.hover("=> <", "img[src^='data:image/png']")
        user.picture("hover")
        user.press("Escape")

        user.press("Shift+Enter")
        user.shows("ZeroDivisionError: division by zero")
        user.press("F8")
        expect(user.page.locator(".zone-widget")).to_contain_text("ZeroDivisionError")
        user.picture("error")
        user.press("Escape")

        user.go_to(15)
        user.press("Shift+Enter")
        user.asked("who?", "text")
        user.answer("Ada")
        user.asked("word?", "password")
        user.answer("secret")
        user.shows("=> ('Ada', 6)")

        user.press("Shift+Enter")
        user.status("project: busy")
        user.command("nREPL for Python: Interrupt")
        user.shows("interrupted")
        user.status("project: ready")

        user.command("nREPL for Python: Branch Session")
        user.notified("project-branch is project as it is now")
        server = serving(runtime, folder)
        with connect(server.url, token=server.token) as other:
            assert other.session("project").eval("greeting = 'changed by another'").ok
            user.go_to(22)
            user.press("Control+Enter")
            user.shows("=> 'changed by another'")
        user.command("nREPL for Python: Roll Back Session")
        user.choose("project-branch")
        user.go_to(22)
        user.press("Control+Enter")
        user.shows("=> 'hello'")

        os.kill(server.pid, signal.SIGKILL)
        user.told("server has ended", "what its sessions held is gone", "Start Again")
        user.page.get_by_role("button", name="Start Again").click()
        user.status("project: ready")
        user.go_to(22)
        user.press("Control+Enter")
        user.shows("NameError")


WAITS = """\
# %%
import pathlib, time
print("begun")
while not pathlib.Path("go").exists(): time.sleep(0.01)
print("ended")
"found again"
"""


def test_a_reload_finds_what_runs_with_its_output(code: Running, browser: Browser, project: Project) -> None:
    cell: dict[str, object] = {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": WAITS,
    }  # fmt: skip
    notebook = {"cells": [cell], "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 2}
    folder = project(waits__py=WAITS, cells__ipynb=json.dumps(notebook))
    with Window(code, browser, folder) as user:
        user.open("waits.py")
        user.press("Control+Enter")
        user.status("project: busy")
        user.open_notebook("cells.ipynb")
        user.command("Notebook: Run All")
        user.prints("begun")
        user.picture("notebook")
        user.reload()
        user.open_notebook("cells.ipynb")  # whether VS Code does that by itself is its own affair
        user.prints("begun")
        (folder / "go").touch()
        user.prints("'found again'")
        user.prints("ended")
        user.open("waits.py")
        user.shows("=> 'found again'")
        user.status("project: ready")
        assert user.output() == ["begun", "ended"]


@ONCE
def test_what_is_missing_is_said_and_how_to_get_it(code: Running, browser: Browser, project: Project) -> None:
    folder = project({"nreplPy.python": "/nowhere/python"}, program=False, first__py="6 * 7\n")
    with Window(code, browser, folder) as user:
        user.open("first.py")
        user.press("Control+Enter")
        user.told("The program nrepl-py is not in", "-m pip install nrepl-py", "Install in Terminal")
        install_program(folder / ".venv" / "bin" / "nrepl-py")
        user.press("Control+Enter")
        user.told("The session did not start", "/nowhere/python", "Choose the Interpreter")


@ONCE
def test_servers_that_let_nobody_in_and_one_that_is_lost(
    code: Running, browser: Browser, project: Project, runtime: Path
) -> None:
    folder = project(waits__py=WAITS)
    with Window(code, browser, folder) as user, serve_in_thread(kind="local", limits=PATIENT) as server:
        user.open("waits.py")
        with advertised(runtime, folder, server.url, "wrong"):
            user.press("Control+Enter")
            user.told("token", "Connect to a Server…")
        with in_thread(newer_server()) as (url, _), advertised(runtime, folder, url, "any"):
            user.press("Control+Enter")
            user.told("this server speaks protocol 2, not 1", "Update the older of the two")
        with in_thread(proxy(server.url)) as (way, loop), advertised(runtime, folder, way.url, server.token):
            user.press("Control+Enter")
            user.status("project: busy")
            way.refuses = True
            loop.call_soon_threadsafe(way.cut)
            user.status("project: lost")
            (folder / "go").touch()
            way.refuses = False
            user.shows("=> 'found again'")
            assert user.output() == ["begun", "ended"]


@asynccontextmanager
async def newer_server() -> AsyncIterator[str]:
    """A server that speaks another protocol than ours."""

    async def refuse(socket: ServerConnection) -> None:
        hello = codec.decode(await socket.recv(), "msgpack")
        status = ["error", "unsupported-version", "done"]
        message = {"id": hello["id"], "status": status, "message": "this server speaks protocol 2, not 1"}
        await socket.send(codec.encode(message, "msgpack"))

    async with serve(refuse, "127.0.0.1", 0, subprotocols=[Subprotocol("nrepl.v1.msgpack")]) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_it_runs_in_a_browser_alone(
    vsix: Path, environment: dict[str, str], browser: Browser, project: Project, tmp_path: Path
) -> None:
    """Without a host of its own kind of Node: there it connects to a server elsewhere, and the page's origin is to be allowed."""
    other = VSCode(needed("current"), tmp_path / "vscode", environment)
    other.add(for_browsers(vsix, tmp_path / "web.vsix"))
    with (
        other.started() as code,
        serve_in_thread(kind="local", allow_origins=(f"http://{code.host}",)) as server,
        Window(code, browser, project({"nreplPy.url": server.url}, first__py="6 * 7\ninput('who? ')\n")) as user,
    ):
        user.open("first.py")
        user.press("Shift+Enter")
        user.asked(f"The token of {server.url}", "password")
        user.answer(server.token)
        user.shows("=> 42")
        user.press("Shift+Enter")
        user.asked("who?", "text")
        user.answer("Ada")
        user.shows("=> 'Ada'")
        user.picture("web")


def for_browsers(vsix: Path, made: Path) -> Path:
    """The same package, as it is for a VS Code that has no Node."""
    with zipfile.ZipFile(vsix) as archive, zipfile.ZipFile(made, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "extension/package.json":
                manifest = json.loads(content)
                del manifest["main"]
                content = json.dumps(manifest).encode()
            other.writestr(name, content)
    return made
