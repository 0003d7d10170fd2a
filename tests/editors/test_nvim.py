"""The Neovim plugin, in the oldest and the newest Neovim it is made for: one story, which is told in every client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nrepl_py.client import connect
from nrepl_py.embed import Embedded
from tests.conftest import need
from tests.editors.nvim import PLUGIN, PROGRAMS, Nvim, running, way

PLOT = """\
# %% plot
import base64
class Plot:
    def _repr_png_(self):
        return base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
    def __repr__(self):
        return "<plot>"
Plot()
# %% numbers
radius = 2
radius * 21
print("𝄞", radius); "é"

"""


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return need(PROGRAMS[request.param])


@pytest.fixture(scope="module")
def shared(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nvim]:
    """One for a whole file, whose first run starts a server."""
    with running(program, tmp_path_factory.mktemp("work"), keys=True) as nvim:
        nvim.lua("require('nrepl_py.config').current.open = function(name) opened = name end")
        yield nvim


@pytest.fixture
def nvim(shared: Nvim) -> Iterator[Nvim]:
    """That one, in which nothing runs, one window is open, and nothing was said."""
    yield shared
    shared.command("stopinsert")
    shared.lua("require('nrepl_py.project').of(0):interrupt()")
    shared.idle()
    shared.command("silent! only! | silent! %bwipeout!")


def test_cells_and_what_they_are_worth(nvim: Nvim, tmp_path: Path) -> None:
    nvim.edit(tmp_path / "plot.py", PLOT)
    nvim.at(2, "NreplCell")
    nvim.shows(8, "=> <plot>")
    said = nvim.says("[image/png, 0.1 KiB: ")
    name = said.partition("KiB: ")[2].partition("]")[0]
    assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert "; " in said  # where it came from
    nvim.at(11, "NreplCell")
    nvim.shows(12, "=> 'é'")
    assert nvim.results() == {8: "=> <plot>", 11: "=> 42", 12: "=> 'é'"}
    nvim.says("𝄞 2\n'é'")
    # An edit takes away what it makes untrue, and moves the rest.
    nvim.keys("gg:call append(0, ['', ''])<CR>")
    nvim.shows(13, "=> 42")
    nvim.at(13, "normal! A + 1")
    assert 13 not in nvim.results()
    nvim.at(14, "normal! dd")
    assert nvim.results() == {10: "=> <plot>"}
    # <CR> on the image opens it.
    nvim.command("NreplRepl")
    nvim.keys("<Esc>?image/png<CR><CR>")
    assert nvim.until("return opened") == name


def test_a_failure_and_the_way_there(nvim: Nvim, tmp_path: Path) -> None:
    nvim.edit(tmp_path / "fails.py", "def divide(n):\n    return 1 / n\n\ndivide(0)\n")
    nvim.at(1, "NreplFile")
    (found,) = nvim.until("local all = vim.diagnostic.get(0) return #all > 0 and all")
    assert (found["lnum"], found["message"]) == (1, "ZeroDivisionError: division by zero")
    assert nvim.lua("return vim.diagnostic.config(nil, ...).virtual_text", found["namespace"]) is True
    nvim.says("ZeroDivisionError: division by zero")
    nvim.command("NreplError")
    assert nvim.rpc.current.window.cursor == (2, 11)
    listed = nvim.lua("return vim.fn.getqflist({ title = 0, items = 0 })")
    assert listed["title"] == "nrepl-py: ZeroDivisionError: division by zero"
    assert [item["text"] for item in listed["items"]] == ["in <module>: divide(0)", "in divide: return 1 / n"]
    nvim.command("cprevious")
    assert nvim.rpc.current.window.cursor[0] == 4
    # From the REPL too; and the list of the next error takes the place of this one's.
    nvim.command("NreplRepl")
    nvim.keys("<Esc>?line 2<CR><CR>")
    nvim.until("return vim.fn.line('.') == 2 and vim.fn.expand('%:t') == 'fails.py'")
    before = nvim.lua("return vim.fn.getqflist({ nr = '$' }).nr")
    nvim.edit(tmp_path / "other.py", "[][1]\n")
    nvim.at(1, "NreplLine")
    nvim.until("return vim.fn.getqflist({ title = 0 }).title == 'nrepl-py: IndexError: list index out of range'")
    assert nvim.lua("return vim.fn.getqflist({ nr = '$' }).nr") == before
    # Where it runs clean, the error is gone.
    nvim.keys("ggcc[1][0]<Esc>")
    nvim.at(1, "NreplLine")
    nvim.until("return #vim.diagnostic.get(0) == 0")


def test_operator_text_objects_and_motions(nvim: Nvim, tmp_path: Path) -> None:
    source = "# %% a\nx = 1\nx + 1\n\n# %% b\ny = '''\n# %% no cell\n'''\n(x, len(y), 'é')\n\n"
    nvim.edit(tmp_path / "objects.py", source)
    nvim.command("call cursor(2, 1)")
    nvim.keys("\\eij")
    nvim.shows(3, "=> 2")
    nvim.keys("]j")
    assert nvim.rpc.current.window.cursor == (5, 0)
    nvim.keys("jvijy")
    assert nvim.lua("return vim.fn.getreg('\"')") == "y = '''\n# %% no cell\n'''\n(x, len(y), 'é')\n"
    nvim.keys("vajy")
    assert nvim.lua("return vim.fn.getreg('\"')").startswith("# %% b\n")
    nvim.keys("2[j")
    assert nvim.rpc.current.window.cursor == (1, 0)
    nvim.keys("\\n")  # this cell, and on to the next
    assert nvim.rpc.current.window.cursor == (5, 0)
    nvim.command("call cursor(9, 1)")
    nvim.keys("/é<CR>hvll\\e")  # by characters, of which one takes two bytes
    nvim.shows(9, "=> 'é'")
    nvim.command("6,9NreplLine")
    nvim.shows(9, "=> (1, 14, 'é')")
    nvim.keys("gg\\d")
    nvim.told("line 1 is in no definition")
    nvim.keys("gg<C-v>jl\\e")
    nvim.told("select lines")


def test_input(nvim: Nvim, tmp_path: Path) -> None:
    nvim.edit(tmp_path / "asks.py", "import getpass\n[input('who? '), getpass.getpass('secret? '), input('why? ')]\n")
    nvim.at(1, "NreplFile")
    nvim.until("return vim.api.nvim_get_mode().mode == 'c' and vim.fn.getcmdtype() == '@'")
    nvim.keys("Ada<CR>")
    nvim.says("secret?")
    nvim.until("return vim.api.nvim_get_mode().mode == 'c'")
    nvim.keys("hidden<CR>")
    nvim.says("why?")
    nvim.until("return vim.api.nvim_get_mode().mode == 'c'")
    nvim.keys("<CR>")  # an empty line is one
    nvim.shows(2, "=> ['Ada', 'hidden', '']")
    assert "hidden" not in nvim.said().partition("=>")[0].partition("['Ada'")[0]
    # <Esc> interrupts what asks; and what is interrupted asks no more.
    nvim.at(2, "NreplLine")
    nvim.until("return vim.api.nvim_get_mode().mode == 'c'")
    nvim.keys("<Esc>")
    nvim.says("; interrupted")
    nvim.idle()
    for key in ("<Esc>", "<C-c>"):
        nvim.edit(tmp_path / "secret.py", "import getpass; getpass.getpass('secret? '); 'not left'\n")
        nvim.at(1, "NreplFile")
        nvim.until("return vim.api.nvim_get_mode().mode == 'c'")
        nvim.keys(key)
        nvim.idle()
        nvim.ends_with("; interrupted")
    nvim.at(1, "NreplLine")
    nvim.until("return vim.api.nvim_get_mode().mode == 'c'")
    nvim.lua("require('nrepl_py').interrupt()")
    nvim.until("return vim.api.nvim_get_mode().mode == 'n'")
    nvim.idle()


def test_the_repl(nvim: Nvim, tmp_path: Path) -> None:
    nvim.edit(tmp_path / "beside.py", "live_value = 7\n")
    nvim.at(1, "NreplLine")
    nvim.idle()
    nvim.command("NreplRepl")
    nvim.keys("for n in 1, 2:<CR>")
    nvim.until("return vim.fn.getline('.') == '    '")
    nvim.keys("print(n * live_va")
    nvim.until(  # a session's first completion may come too late to be one
        "vim.api.nvim_input('<Tab>') vim.wait(200) return vim.fn.getline('.') == '    print(n * live_value'"
    )
    nvim.keys(")<CR>")
    nvim.until("return vim.fn.getline('$') == '    '")
    nvim.keys("<C-u><CR>")
    nvim.says(">>> for n in 1, 2:\n...     print(n * live_value)\n... \n7\n14")
    nvim.keys("input('name? ').upper()<CR>")
    nvim.says("name? ")
    nvim.until("return require('nrepl_py.project').of(0):repl().asks")
    nvim.keys("ada<CR>")
    nvim.says("name? ada\n'ADA'")
    nvim.keys("<C-p>")
    assert nvim.lua("return vim.fn.getline('$')") == "input('name? ').upper()"
    nvim.keys("<CR>")
    nvim.until("return require('nrepl_py.project').of(0):repl().asks")
    nvim.keys("<C-d>")
    nvim.says("EOFError")
    nvim.keys("unfinished<C-c>")
    nvim.until("return vim.fn.getline('$') == ''")
    nvim.keys("1 + 1<CR>print('runs', flush=True)<CR>while True: pass<CR><CR>")  # ahead of what is known to be complete
    nvim.says("\nruns")
    nvim.keys("<C-c>")
    nvim.says("; interrupted")
    # What is typed where the session speaks goes to where the user does.
    nvim.keys("<Esc>gg0iabc")
    assert nvim.lua("return vim.fn.getline('$')") == "abc"
    nvim.keys("<C-c><Esc>")
    nvim.command("NreplEval 6 * 7")
    nvim.says(">>> 6 * 7\n42")
    nvim.until("return told[#told] == '42'")


def test_what_terminals_overwrite(nvim: Nvim, tmp_path: Path) -> None:
    source = r"print('10%', end='\r'); print('\x1b[31m100%\x1b[0m'); print('a', end=''); import sys; print('b', file=sys.stderr)"
    nvim.edit(tmp_path / "bars.py", source + "\n'end'\n")
    nvim.at(1, "NreplFile")
    assert "10%" not in nvim.says("100%\nab\n'end'").rpartition("bars.py")[2].replace("100%", "")


def test_a_flood_and_an_interrupt(nvim: Nvim, tmp_path: Path) -> None:
    nvim.lua("require('nrepl_py.config').current.max_lines = 10000")
    nvim.edit(tmp_path / "flood.py", "n = 0\nwhile True: print(n); n += 1\n'after'\n")
    nvim.at(1, "NreplFile")
    nvim.counts_to(20000)
    assert nvim.lua("return require('nrepl_py').status()") == "nrepl-py: 1 running"
    nvim.command("NreplInterrupt")
    nvim.idle()
    assert len(nvim.says("; interrupted").splitlines()) == 10000
    numbers = nvim.counted()
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    nvim.at(3, "NreplLine")
    nvim.shows(3, "=> 'after'")


def test_branches_and_a_fresh_interpreter(nvim: Nvim, tmp_path: Path) -> None:
    nvim.edit(tmp_path / "branches.py", "items = []\nitems.append(1); len(items)\n")
    nvim.at(1, "NreplLine")
    nvim.idle()
    nvim.command("NreplBranch empty")
    nvim.told("kept as branch empty")
    nvim.at(2, "NreplLine")
    nvim.shows(2, "=> 1")
    nvim.at(2, "NreplLine")
    nvim.shows(2, "=> 2")
    nvim.command("NreplRollback")
    nvim.told("back at branch empty")
    nvim.at(2, "NreplLine")
    nvim.shows(2, "=> 1")
    nvim.command("NreplRollback nowhere")
    nvim.told("no snapshot 'nowhere'")
    nvim.command("NreplRestart")
    nvim.told("a fresh session")
    nvim.at(2, "NreplLine")
    nvim.says("NameError: name 'items' is not defined")


def test_a_lost_connection_and_another_client(program: str, server: Embedded, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(server.token)
    env = {"NREPL_PY_TOKEN_FILE": str(token)}
    with way(server.url) as (proxy, cut), running(
        program, tmp_path, env, session="shared", args=["--url", proxy.url]
    ) as nvim:  # fmt: skip
        nvim.edit(
            tmp_path / "long.py",
            "import os, time\nfor n in range(300): print(n, flush=True); time.sleep(0.005)\n'whole'\n",
        )
        nvim.at(1, "NreplFile")
        nvim.counts_to(50)
        cut()
        nvim.told("it is back")
        nvim.shows(3, "=> 'whole'")
        nvim.says("\n299\n'whole'")
        assert nvim.counted() == list(range(300))
        assert proxy.accepted == 2
        # Another client of the session: each sees what the other does.
        with connect(server.url, token=server.token) as client:
            session = client.session("shared")
            session.eval("theirs = 'from elsewhere'; print('they print')")
            assert "; " in nvim.says("they print").rpartition("they print")[0]
            nvim.edit(tmp_path / "their.py", "theirs\n")
            nvim.at(1, "NreplLine")
            nvim.shows(1, "=> 'from elsewhere'")
            session.eval("import time; print('busy', flush=True); seen = 1")
            nvim.says("busy")


def test_sessions(program: str, server: Embedded, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(server.token)
    env = {"NREPL_PY_TOKEN_FILE": str(token)}
    with (
        connect(server.url, token=server.token) as client,
        running(program, tmp_path, env, args=["--url", server.url]) as nvim,
    ):
        session = client.clone(name="elsewhere")
        session.eval("place = 'elsewhere'")
        nvim.edit(tmp_path / "work.py", "place\n")
        nvim.command("NreplStart")
        nvim.told("is ready, Python")
        nvim.lua(
            "vim.ui.select = function(all, options, choose) offered = vim.tbl_map(options.format_item, all); choose(nil) end"
        )
        nvim.command("NreplSessions elsewhere")
        nvim.told("now in session elsewhere")
        nvim.at(1, "NreplLine")
        nvim.shows(1, "=> 'elsewhere'")
        nvim.command("NreplSessions")
        offered = nvim.until("return offered")
        assert any(line.startswith("* elsewhere, ready, in ") for line in offered)
        session.close()
        nvim.told("the session was closed")


def test_nothing_is_used_that_will_go(nvim: Nvim) -> None:
    """What was done in the tests above."""
    if not nvim.lua("return vim.fn.has('nvim-0.11') == 1"):
        assert nvim.lua("return vim.deprecate") is None  # it does not say yet what will
        return
    nvim.command("silent checkhealth vim.deprecated")
    nvim.until("return vim.fn.search('OK') > 0")
    assert "WARNING" not in "\n".join(nvim.rpc.current.buffer[:])


def test_luacheck_has_nothing_to_say() -> None:
    checked = subprocess.run([need("luacheck"), "--no-color", "."], cwd=PLUGIN, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
