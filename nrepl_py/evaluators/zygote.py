"""The router's end of a zygote: starts it, asks it to fork, learns how its children end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from nrepl_py import codec
from nrepl_py.errors import StartFailed
from nrepl_py.evaluators import bounds, bundle
from nrepl_py.evaluators.exits import Exits, OnExit

_MESSAGE = 64 << 10  # bytes of one datagram
_MAX_PIDFDS = 2  # the worker's and its init's

Plan: TypeAlias = Callable[[list[str]], dict[str, Any]]
"""From what is to be executed to a plan of `sandbox/build.py`."""


class _Said(msgspec.Struct):
    """Any message of a zygote's."""

    say: Literal["ready", "failed", "forked", "adopted", "unknown", "marked", "left", "ended", "exited"]
    error: str = ""
    number: int = 0
    status: int = 0


class Zygote:
    """One warm parent. `on_gone()`: it ended, and all its children with it.

    It has run code of its environment's (`site`, preloads), so what it says is not trusted: it can lie
    about the sessions it forked, and a word that is not of its protocol is its last.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_gone = on_gone
        self._forks: dict[int, asyncio.Future[list[int]]] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._exits = Exits()
        self._number = 0
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = bytearray()

    async def start(
        self,
        executable: str,
        source: int,
        preload: list[str],
        env: dict[str, str],
        own: dict[str, str],
        limit: float,
        plan: Plan | None,
    ) -> None:
        """Returns once it can fork. Raises `StartFailed` with what the interpreter wrote to stderr. With a plan
        it is confined first, and nothing of the interpreter's has run outside, nor been told `own`, what a client wants
        in its environment beside `env`."""
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        errors, write = os.pipe()
        os.set_blocking(errors, False)
        self._errors = errors
        command = bundle.command(executable, source, "zygote", theirs.fileno())
        inherited = [source, theirs.fileno()]
        if plan is not None:
            confined = codec.to_json(plan(command) | {"env": env | own})
            inherited.append(bundle.sealed_file("nrepl-py-plan", confined))
            command = bundle.command(sys.executable, source, "confine", inherited[-1])
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, cwd="/",
                env=env if plan is not None else env | own,
                pass_fds=inherited, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._ready.set_exception(StartFailed(f"cannot run {executable}: {error.strerror or error}"))
        finally:
            theirs.close()
            for fd in (write, *inherited[2:]):
                os.close(fd)
        if self._process is not None:
            bounds.rank(self._process.pid, bounds.ZYGOTE)
        self._loop.add_reader(errors, self._read_errors)
        self._loop.add_reader(self._sock, self._read)
        try:
            with contextlib.suppress(OSError):
                self._sock.send(codec.to_json({"preload": preload, "confined": plan is not None}))
            async with asyncio.timeout(limit):
                await self._ready
        except TimeoutError:
            await self._abandon()
            raise StartFailed(f"{executable} was not ready within {limit:g} s\n{self._said()}".strip()) from None
        except BaseException:  # it failed, or nobody wants it any more
            await self._abandon()
            raise

    async def fork(
        self, descriptors: Sequence[int], confine: dict[str, Any] | None, on_exit: OnExit
    ) -> tuple[int, list[int]]:
        """A new child that owns these descriptors, the last of them its init's: its number, its pidfd, and that of its
        init if it has one. Raises `StartFailed`; else `on_exit(status)` is called once, with the raw wait status, when
        it has ended."""
        self._number += 1
        number = self._number
        future: asyncio.Future[list[int]] = self._loop.create_future()
        self._forks[number] = future
        self._exits.expect(number, on_exit, number if confine and "id" in confine else None)
        try:
            _ask(self._sock, {"do": "fork", "number": number, "confine": confine}, descriptors)
        except OSError as error:
            del self._forks[number]
            self._exits.forget(number)
            raise StartFailed(f"the zygote cannot be asked: {error.strerror}") from None
        return number, await future

    async def adopt(self, family: int, init: socket.socket | None, pidfd: int, on_exit: OnExit) -> int:
        """The number of that process, an orphan of the family's, from now on a child like those that were forked here;
        `init` is where its family's listens, if it has one. Raises `StartFailed` where there is no such orphan."""
        self._number += 1
        number = self._number
        self._exits.expect(number, on_exit, None if init is None else family)
        try:
            answer = self._answer(init or self._sock, "adopt", number, pidfd)
        except OSError as error:
            self._exits.forget(number)
            raise StartFailed(f"clone: the session has ended ({error.strerror})") from None
        await answer
        return number

    async def mark(self, number: int, init: socket.socket) -> None:
        """That member is about to end; once this returns, what it has started by now will end with it."""
        with contextlib.suppress(OSError, StartFailed):  # it has ended
            await self._answer(init, "mark", number)

    def _answer(self, sock: socket.socket, what: str, number: int, *descriptors: int) -> asyncio.Future[None]:
        """Ask, and give what will be settled by the answer, or by the end of that child. Raises OSError."""
        _ask(sock, {"do": what, "number": number}, descriptors)
        answer = self._asked[number] = self._loop.create_future()
        return answer

    @property
    def alive(self) -> bool:
        return self._process is not None

    @property
    def idle(self) -> bool:
        """Whether it has no child, and none under way."""
        return not len(self._exits)

    async def _abandon(self) -> None:
        if self._process is not None:
            self._process.kill()
        await self.close()

    async def close(self) -> None:
        """End it, and all its children."""
        process, self._process = self._process, None
        self._close_descriptors()
        if process is not None:
            try:
                await asyncio.wait_for(asyncio.to_thread(process.wait), 1)
            except TimeoutError:
                process.kill()
                await asyncio.to_thread(process.wait)
        self._fail(StartFailed("the zygote was stopped"))

    def _close_descriptors(self) -> None:
        if self._errors >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_reader(self._errors)
            self._sock.close()
            os.close(self._errors)
            self._errors = -1

    def _fail(self, error: StartFailed) -> None:
        waiting: list[asyncio.Future[Any]] = [*self._forks.values(), *self._asked.values(), self._ready]
        self._forks.clear()
        self._asked.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()

    def _read(self) -> None:
        try:
            data, rights, _, _ = socket.recv_fds(self._sock, _MESSAGE, _MAX_PIDFDS)
        except BlockingIOError:
            return
        except OSError:
            data, rights = b"", []
        if not data:
            self._gone()
            return
        try:
            self._heard(msgspec.json.decode(data, type=_Said), rights)
        except (msgspec.MsgspecError, asyncio.InvalidStateError, KeyError):
            for fd in rights:
                os.close(fd)
            if self._process is not None:
                self._process.kill()

    def _heard(self, said: _Said, rights: list[int]) -> None:
        if said.say == "ready":
            self._ready.set_result(None)
        elif said.say == "failed":
            self._ready.set_exception(StartFailed(said.error))
        elif said.say == "forked":
            future = self._forks.pop(said.number)
            if not rights:
                raise KeyError("no pidfd")
            if not future.cancelled():
                future.set_result(rights)
                return
            for pidfd in rights:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
        elif said.say == "adopted":
            _settle(self._asked.pop(said.number))
        elif said.say == "unknown":
            answer = self._asked.pop(said.number)
            self._exits.forget(said.number)
            _settle(answer, StartFailed("clone: what said to be the clone is no child of the session's"))
        elif said.say == "marked":
            if said.number in self._asked:  # whoever asked may have had enough of waiting
                _settle(self._asked.pop(said.number))
        elif said.say == "ended":
            self._exits.ended(said.number, said.status)
        elif said.say == "left":
            self._tell(self._exits.left(said.number, said.status))
        else:
            told = self._exits.exited(said.number, said.status)
            if fork := self._forks.pop(said.number, None):
                _settle(fork, StartFailed(f"the session's process ended with status {said.status} as it started"))
            for number in [number for number in self._asked if number not in self._exits]:
                _settle(self._asked.pop(number), StartFailed("clone: the session ended before it was copied"))
            self._tell(told)

    def _tell(self, told: list[tuple[OnExit, int]]) -> None:
        for on_exit, status in told:
            # Not now: whoever awaits the fork has to learn of the child before of its end.
            self._loop.call_soon(on_exit, status)

    def _gone(self) -> None:
        self._read_errors()
        self._close_descriptors()
        self._fail(StartFailed(f"the interpreter ended while starting\n{self._said()}".strip()))
        if self._process is not None:
            process, self._process = self._process, None
            self._loop.run_in_executor(None, process.wait)
            self._on_gone()

    def _read_errors(self) -> None:
        try:
            data = os.read(self._errors, _MESSAGE)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._errors)
        self._stderr = (self._stderr + data)[-_MESSAGE:]

    def _said(self) -> str:
        return self._stderr.decode("utf-8", "backslashreplace").strip()


def _ask(sock: socket.socket, request: dict[str, Any], descriptors: Sequence[int]) -> None:
    data, rights = codec.to_json(request), struct.pack(f"{len(descriptors)}i", *descriptors)
    if len(data) > _MESSAGE:  # it would be cut, and the zygote's end
        raise OSError(errno.EMSGSIZE, "the paths that the session is to be shown are too many and too long")
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else [])


def _settle(future: asyncio.Future[Any], error: StartFailed | None = None) -> None:
    """Nobody may be waiting any more."""
    if not future.done():
        future.set_exception(error) if error else future.set_result(None)
