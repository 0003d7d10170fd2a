"""`nrepl-py repl`: read, evaluate, print, in a session; over a pipe without prompts.

What begins with `%` is for us and not for Python: `%restart` starts the session afresh, `%snapshot [NAME]` keeps it as
it is, and `%rollback [NAME]` goes back to that (`snapshots.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from nrepl_py.cli.console import Input, Left, exit_code, interrupting, opened, prepare_output, session_of, show
from nrepl_py.cli.snapshots import command
from nrepl_py.client import aio
from nrepl_py.client.connection import ConnectionLost
from nrepl_py.client.results import EvalResult, describe_cause
from nrepl_py.client.snapshots import Snapshots
from nrepl_py.client.stream import Stream
from nrepl_py.errors import NreplError

HINT: Final = "[it still runs; Ctrl-C once more leaves it, and then %restart starts the session afresh]"
LEFT: Final = "[left running; %restart ends it, and starts the session afresh]"

COMMANDS: Final[dict[str, Callable[[aio.Session], Awaitable[object]]]] = {"%restart": aio.Session.restart}


class Terminal(Protocol):
    """Where the user is."""

    def start(self) -> None:
        """Called once, before anything is read."""

    async def code(self) -> str | None:
        """The next thing to run, complete; None at the end. KeyboardInterrupt clears what was typed."""

    async def input(self, prompt: str, password: bool) -> str | None:
        """A line the code asked for; None for end of file. KeyboardInterrupt interrupts the code."""


class Plain:
    """A pipe: no prompts. Code and what it reads come from the same lines."""

    def __init__(self, session: aio.Session) -> None:
        self._session = session
        self._input = Input()

    def start(self) -> None:
        pass

    async def code(self) -> str | None:
        code = ""
        while (line := await self._input.line()) is not None:
            code += line
            # A newline ends the line; an empty line ends a block.
            typed = code if not line.strip() else code.rstrip("\n")
            if code.strip() and (await self._session.is_complete(typed))["state"] != "incomplete":
                return code
        return code if code.strip() else None

    async def input(self, prompt: str, password: bool) -> str | None:
        return await self._input.line(prompt, password)


def repl(args: argparse.Namespace) -> int:
    """Run until the end of input or `exit()`; returns the exit code."""
    prepare_output()
    return asyncio.run(_repl(args))


async def _repl(args: argparse.Namespace) -> int:
    async with opened(args) as client, session_of(client, args) as session:
        terminal = _terminal(session)
        terminal.start()
        client.on_other = note
        snapshots = Snapshots(client, session)
        try:
            return await _loop(session, terminal, snapshots)
        finally:
            client.on_other = None  # The session ends because we do: no news.
            await snapshots.close()


async def _loop(session: aio.Session, terminal: Terminal, snapshots: Snapshots) -> int:
    while True:
        try:
            code = await terminal.code()
        except KeyboardInterrupt:
            continue
        if code is None:
            return 0
        if not code.strip():
            continue
        try:
            if code.strip() in COMMANDS:
                await COMMANDS[code.strip()](session)
                continue
            if await command(snapshots, code):
                continue
            result = await _evaluate(session, terminal, code)
        except ConnectionLost as error:
            if session.client.is_lost:
                raise
            print(f"nrepl-py: {error}", file=sys.stderr, flush=True)
            continue
        except Left:
            print(LEFT, file=sys.stderr, flush=True)
            continue
        except NreplError as error:
            print(f"nrepl-py: {error}", file=sys.stderr, flush=True)
            continue
        if result.exit_code is not None:
            return exit_code(result)


def _terminal(session: aio.Session) -> Terminal:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return Plain(session)
    from nrepl_py.cli.prompt import Prompt

    return Prompt(session)


async def _evaluate(session: aio.Session, terminal: Terminal, code: str) -> EvalResult:
    stream = session.stream(code, values="all")

    async def on_input(prompt: str, password: bool) -> str | None:
        try:
            return await terminal.input(prompt, password)
        except KeyboardInterrupt:
            await stream.interrupt()
            return await _until_cancelled(stream)

    with interrupting(stream, HINT):
        return await stream.result(on_message=show, on_input=on_input)


async def _until_cancelled(stream: Stream) -> str | None:
    """The end of the eval cancels whoever answers its questions."""
    await asyncio.get_running_loop().create_future()
    return None


def note(message: dict[str, Any]) -> None:
    """Late output, and what happened to the session."""
    show(message)
    event = message.get("event")
    if event in ("died", "closed"):
        why = f": {describe_cause(message['cause'])}" if message.get("cause") else ""
        again = "; %restart to try again" if message.get("crash-loop") else ""
        print(f"[session {event}{why}{again}]", file=sys.stderr, flush=True)
    elif event == "culling":
        print(f"[the session ends in {message.get('seconds'):g} s unless it is used]", file=sys.stderr, flush=True)
    elif event == "restarted":
        print("[a fresh worker: everything defined before is gone]", file=sys.stderr, flush=True)
