"""What `eval` and `repl` share: standard output and input, Ctrl-C, and which server and session."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Literal

from nrepl_py.client import aio
from nrepl_py.client.address import NoServer
from nrepl_py.client.results import EvalResult, describe_cause
from nrepl_py.client.stream import Stream
from nrepl_py.errors import NreplError, StartFailed

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the program, but not before what it runs on a server was interrupted."""

READ_BYTES = 65536
"""Bytes of standard input read at once; what a pipe holds."""


@asynccontextmanager
async def opened(args: argparse.Namespace, codec: Literal["msgpack", "json"] = "msgpack") -> AsyncIterator[aio.Client]:
    """The server the options name, else the one of the directory, else one of our own."""
    where = (args.url, args.unix, args.directory, args.connection_file)
    with ExitStack() as stack:
        try:
            connection = await aio.connect(
                args.url,
                unix=args.unix,
                directory=args.directory,
                file=args.connection_file,
                cafile=args.cafile,
                codec=codec,
            )
        except NoServer as error:
            if any(where):
                raise
            if args.session:
                raise NoServer(f"a session that lives on needs a server: {error}") from None
            server = stack.enter_context(_own_server(args.python))
            connection = await aio.connect(server.url, server.token, codec=codec)
        async with connection as client:
            client.on_resumed = lambda reason: dim(f"nrepl-py: {reason}; it is back")
            yield client


def _own_server(python: str | None) -> Any:
    import logging

    from nrepl_py.embed import serve_in_thread

    # What it has to say, it says in replies.
    logging.getLogger("nrepl_py").addHandler(logging.NullHandler())
    return serve_in_thread(kind="local", python=python)


@asynccontextmanager
async def session_of(client: aio.Client, args: argparse.Namespace) -> AsyncIterator[aio.Session]:
    """The session `--session` names, made if it is missing; else a new one that ends with the call."""
    if not args.session:
        async with await _clone(client, args) as session:
            yield session
        return
    if not any(args.session in (known["id"], known["name"]) for known in await client.sessions()):
        await _clone(client, args)
    yield client.session(args.session)


async def _clone(client: aio.Client, args: argparse.Namespace) -> aio.Session:
    """A session that works in this directory, if the server gives it to confined sessions; else in a fresh one."""
    try:
        return await client.clone(name=args.session, python=args.python, cwd=os.getcwd())
    except StartFailed as error:
        session = await client.clone(name=args.session, python=args.python)
        print(f"nrepl-py: {error}; this session works elsewhere", file=sys.stderr, flush=True)
        return session


class Left(Exception):
    """The user pressed Ctrl-C until nobody waited for the eval any more."""


@contextmanager
def interrupting(stream: Stream, hint: str | None = None) -> Iterator[None]:
    """Ctrl-C interrupts the eval; a second one, or a signal to end, leaves it (SystemExit). With `hint` the second
    one shows that, and a third one leaves (`Left`)."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.current_task()
    assert waiting is not None
    asked: list[asyncio.Task[Any]] = []
    hints = [hint] if hint else []
    left_by: list[int] = []

    def pressed(number: int) -> None:
        if asked and hints:
            _print(sys.stderr, f"\n{hints.pop()}\n")
        elif asked:
            leave(number)
        else:
            asked.append(loop.create_task(_quietly(stream)))

    def leave(number: int) -> None:
        if not left_by:
            left_by.append(number)
            waiting.cancel()

    def handle(number: int, frame: object) -> None:
        loop.call_soon_threadsafe(pressed if number == signal.SIGINT else leave, number)

    # Not `loop.add_signal_handler`: taking that one away leaves a moment in which Ctrl-C ends the program.
    before = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, *ENDING)
        if signal.getsignal(number) != signal.SIG_IGN  # as under `nohup`
    }
    try:
        yield
    except asyncio.CancelledError:
        if left_by and hint and left_by[0] == signal.SIGINT:
            waiting.uncancel()
            raise Left from None
        if left_by:
            raise SystemExit(128 + left_by[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(result: EvalResult) -> int:
    """The exit code for how an eval ended."""
    if result.exit_code is not None:
        return result.exit_code & 0xFF
    if "interrupted" in result.status and "timeout" not in result.status:
        return 130
    return 0 if result.ok else 1


def show(message: dict[str, Any]) -> None:
    """Print what a message of an eval says: output, value, display, and the end of a session."""
    if "out" in message:
        _print(sys.stdout, message["out"])
    if "err" in message:
        _print(sys.stderr, message["err"])
    if "display" in message:
        text = message["display"].get("mime", {}).get("text/plain")
        if text is not None:
            _print(sys.stdout, f"{text}\n")
    if "value" in message:
        _print(sys.stdout, f"{message['value']}\n")
    if "replay-gap" in (message.get("status") or ()):
        dim("nrepl-py: something is missing here: it was more than the server keeps")
    ended = {"session-died", "session-closed", "session-restarted", "oom"}.intersection(message.get("status") or ())
    if ended:
        cause = message.get("cause")
        why = f" ({describe_cause(cause)})" if cause else ""
        if cause and "trace" in cause:
            _print(sys.stderr, f"{cause['trace']}\n")
        _print(sys.stderr, f"nrepl-py: {min(ended).replace('-', ' ')}{why}\n")


def show_raw(message: dict[str, Any]) -> None:
    """Print a message as one line of JSON."""
    _print(sys.stdout, json.dumps(message, ensure_ascii=False) + "\n")


def dim(line: str) -> None:
    """A line on standard error, dim where that is a terminal."""
    _print(sys.stderr, f"\x1b[2m{line}\x1b[0m\n" if sys.stderr.isatty() else f"{line}\n")


def prepare_output() -> None:
    """Every text can be printed, whatever the terminal's encoding."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class Input:
    """Lines of standard input, read only when asked for. `all_lines`: every line that is there at
    once, for the one who gets all of them."""

    def __init__(self, all_lines: bool = False) -> None:
        self._split = str.rpartition if all_lines else str.partition
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._text = ""
        self._reading: asyncio.Future[str] | None = None

    async def line(self, prompt: str = "", password: bool = False) -> str | None:
        """The next line with its end; None at the end of file. Cancelled, the line stays for the next call."""
        if prompt:
            _print(sys.stderr if password else sys.stdout, prompt)
        with _no_echo() if password else ExitStack():
            while "\n" not in self._text:
                more = await self._more()
                if not more:
                    break
                self._text += more
        if password and sys.stdin.isatty():
            _print(sys.stderr, "\n")
        if "\n" not in self._text:
            line, self._text = self._text, ""
            return line or None
        line, end, self._text = self._split(self._text, "\n")
        return line + end

    async def _more(self) -> str:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_future()
            # Not the buffered stream, which a thread left in `read` would lock when the program ends.
            threading.Thread(
                target=self._read, args=(self._reading, asyncio.get_running_loop()), name="stdin", daemon=True
            ).start()
        more = await asyncio.shield(self._reading)
        self._reading = None
        return more

    def _read(self, future: asyncio.Future[str], loop: asyncio.AbstractEventLoop) -> None:
        text = ""
        try:
            # A part of a character is not yet text, and no text means the end.
            while data := os.read(0, READ_BYTES):
                text = self._decoder.decode(data)
                if text:
                    break
            else:
                text = self._decoder.decode(b"", True)
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(_give, future, text)
        except RuntimeError:
            pass  # The loop has ended meanwhile.


def _give(future: asyncio.Future[str], text: str) -> None:
    if not future.done():
        future.set_result(text)


@contextmanager
def _no_echo() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    import termios

    before = termios.tcgetattr(0)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(0, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _quietly(stream: Stream) -> None:
    try:
        await stream.interrupt()
    except NreplError:
        pass  # The stream ends with the same error.


def _print(file: Any, text: str) -> None:
    file.write(text)
    file.flush()
