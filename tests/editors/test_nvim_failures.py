"""The Neovim plugin where something is wrong: it says what, and what to do, and the next command goes on. And a
newcomer, who has a terminal and the README."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from nrepl_py.embed import Embedded
from tests.cli.conftest import Shell
from tests.conftest import need
from tests.editors.nvim import PATIENCE, PLUGIN, PROGRAMS, Nvim, environment, running, sweep
from tests.editors.screen import Screen


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return need(PROGRAMS[request.param])


def run(nvim: Nvim, directory: Path, source: str) -> None:
    nvim.edit(directory / "work.py", source)
    nvim.at(1, "NreplFile")


def test_no_program(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path, cmd=["/no/such/nrepl-py"]) as nvim:
        run(nvim, tmp_path, "1\n")
        nvim.told(
            "there is no program '/no/such/nrepl-py', which setup names as cmd: install nrepl-py, or name it in setup"
        )
        nvim.command("NreplRepl")
        nvim.keys("1<CR>")
        nvim.until("return vim.fn.getline('$') == '1'")  # which is not lost
        nvim.command("stopinsert")
        # What is no option is said at once.
        said = nvim.lua("return { pcall(require('nrepl_py').setup, { key = true }) }")[1]
        assert said.startswith("nrepl-py: setup: there is no option 'key'; there are args, autostart, cmd, keys")
        said = nvim.lua("return { pcall(require('nrepl_py').setup, { keys = 'yes' }) }")[1]
        assert said == "nrepl-py: setup: 'keys' must be a boolean, got a string"


def test_no_server_and_a_program_that_ends(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path, args=["--url", "ws://127.0.0.1:9"]) as nvim:
        run(nvim, tmp_path, "1\n")
        nvim.told("no server answers at ws://127.0.0.1:9")
        nvim.idle()
        nvim.lua("require('nrepl_py.config').current.args = { '--no-such-option' }")
        nvim.command("NreplStop")
        nvim.until("return require('nrepl_py.project').of(0).client == nil")
        nvim.at(1, "NreplFile")
        nvim.told("the language server has ended with code 2; the next command starts it anew")
        nvim.idle()
        nvim.lua("require('nrepl_py.config').current.args = {}")
        nvim.at(1, "NreplLine")
        nvim.shows(1, "=> 1")


def test_a_wrong_token(program: str, server: Embedded, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")
    with running(program, tmp_path, {"NREPL_PY_TOKEN_FILE": str(token)}, args=["--url", server.url]) as nvim:
        run(nvim, tmp_path, "1\n")
        nvim.told("token")
        nvim.idle()


def test_a_protocol_that_is_too_new(program: str, tmp_path: Path) -> None:
    def refuse(websocket: ServerConnection) -> None:
        websocket.recv()
        status = '["error", "unsupported-version", "done"]'
        websocket.send(
            f'{{"id": "hello", "status": {status}, "message": "this server speaks version 2: update the client"}}'
        )
        websocket.close()

    with serve(refuse, "127.0.0.1", 0, subprotocols=["nrepl.v1.json"]) as listening:  # type: ignore[list-item]
        serving = threading.Thread(target=listening.serve_forever)
        serving.start()
        url = f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        with running(program, tmp_path, args=["--url", url]) as nvim:
            run(nvim, tmp_path, "1\n")
            nvim.told("this server speaks version 2: update the client")
            nvim.idle()
    serving.join()


def test_no_such_interpreter(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path, python="/no/such/python") as nvim:
        run(nvim, tmp_path, "1\n")
        nvim.told("/no/such/python")
        nvim.idle()
        checked = health(nvim)
        assert "the interpreter of new sessions, /no/such/python, does not exist" in checked
        assert re.search(r"OK:? the program is .*, nrepl-py \d", checked), checked


def test_health_and_help(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path, python=sys.executable, autostart=True) as nvim:
        run(nvim, tmp_path, "'fine'\n")
        nvim.shows(1, "=> 'fine'")
        checked = health(nvim)
        assert "a language server runs for" in checked
        assert not re.search("ERROR|WARNING", checked), checked
        nvim.command("help nrepl-py-repl")
        assert nvim.lua("return vim.fn.expand('%:t')") == "nrepl-py.txt"


def health(nvim: Nvim) -> str:
    """What `:checkhealth` says of the plugin."""
    nvim.command("silent checkhealth nrepl_py")
    nvim.until("return vim.fn.search('Neovim is 0.7') > 0")
    said = "\n".join(nvim.rpc.current.buffer[:])
    nvim.command("bwipeout!")
    return said


@pytest.fixture(scope="module", autouse=True)
def help_tags() -> Iterator[None]:
    """As a plugin manager makes them."""
    command = [need(PROGRAMS["0.7"]), "--headless", "-u", "NONE", "-c", f"helptags {PLUGIN}/doc", "-c", "qall"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    yield
    (PLUGIN / "doc" / "tags").unlink()
    sweep()


def test_a_server_that_dies_and_a_session_that_does(program: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    server = shell.start("serve", "--log-level", "error")
    assert server.stdout is not None
    server.stdout.readline()
    with running(program, tmp_path) as nvim:
        run(nvim, tmp_path, "import os; os._exit(3)\n")
        nvim.told("the session's Python has ended (exit 3), and what it held is gone; the next run gets a fresh one")
        nvim.idle()
        run(nvim, tmp_path, "print('runs', flush=True)\nwhile True: pass\n")
        nvim.says("runs")
        server.kill()
        server.communicate()
        nvim.told("the next run begins anew")
        nvim.idle()
        run(nvim, tmp_path, "'anew'\n")
        nvim.shows(1, "=> 'anew'")


@pytest.fixture
def screen(program: str, tmp_path: Path) -> Iterator[Screen]:
    """Neovim in a terminal, with what the README says in its init file, and the program where it has to be."""
    readme = (PLUGIN / "README.md").read_text("utf-8")
    (init,) = re.findall(r"^```lua\n(.*?)^```$", readme, re.M | re.S)
    place = tmp_path / "CONFIG" / "nvim"
    place.mkdir(parents=True)
    (place / "init.lua").write_text(init.replace("~/nrepl-py/editors/nvim", str(PLUGIN)))
    command = tmp_path / ".venv" / "bin" / "nrepl-py"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nrepl_py "$@"\n')
    command.chmod(0o755)
    file = tmp_path / "first.py"
    file.write_text(
        "# %% first\ngreeting = 'hello'\ngreeting.upper()\n# %% second\nname = input('who? ')\n1 / 0\n", "utf-8"
    )
    terminal: dict[str, Any] = {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    running = Screen({**environment(tmp_path), **terminal}, tmp_path, program, str(file))
    yield running
    running.kill()
    sweep()


@pytest.mark.timeout(3 * PATIENCE)
def test_a_newcomer_types(screen: Screen) -> None:
    screen.shows(r"greeting\.upper\(\)")
    screen.write(":NreplCell")
    screen.type("Enter")
    screen.shows(r"greeting\.upper\(\) +=> 'HELLO'")
    screen.write("4Gyyp")  # an edit elsewhere moves nothing away
    screen.write("ddjj\\c")
    screen.shows(r"^who\?")
    screen.write("Ada")
    screen.type("Enter")
    screen.shows(r"1 / 0 .*ZeroDivisionError: division by zero")
    screen.write("gg\\x\\r")
    screen.shows(r">>")
    screen.write("name + greeting")
    screen.type("Enter")
    screen.shows(r"^ +'Adahello'")
    screen.write("print('it runs', flush=True); import time; time.sleep(1000)")
    screen.type("Enter")
    screen.shows(r"^ +it runs")
    screen.type("C-c")
    screen.shows(r"; interrupted")
    screen.type("Escape")
    screen.write(":qa!")
    screen.leave("Enter")
