"""The router's end of a zygote: starts it, asks it to fork, learns how its children end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators import bundle

_MESSAGE = 64 << 10  # bytes of one datagram


class Zygote:
    """One warm parent. `on_exit(pid, status)`: a child ended, with its raw wait status;
    `on_gone()`: the zygote ended, and all its children with it."""

    def __init__(self, on_exit: Callable[[int, int], None], on_gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._on_gone = on_gone
        self._forks: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._number = 0
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = bytearray()

    async def start(self, executable: str, source: int, preload: list[str], env: dict[str, str], limit: float) -> None:
        """Returns once it can fork. Raises `StartFailed` with what the interpreter wrote to stderr."""
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        errors, write = os.pipe()
        os.set_blocking(errors, False)
        self._errors = errors
        try:
            self._process = subprocess.Popen(
                bundle.command(executable, source, "zygote", theirs.fileno()),
                stdin=subprocess.DEVNULL, stdout=write, stderr=write, env=env, cwd="/",
                pass_fds=(source, theirs.fileno()), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._ready.set_exception(StartFailed(f"cannot run {executable}: {error.strerror or error}"))
        finally:
            theirs.close()
            os.close(write)
        self._loop.add_reader(errors, self._read_errors)
        self._loop.add_reader(self._sock, self._read)
        try:
            with contextlib.suppress(OSError):
                self._sock.send(json.dumps({"preload": preload}).encode())
            async with asyncio.timeout(limit):
                await self._ready
        except TimeoutError:
            await self._abandon()
            raise StartFailed(f"{executable} was not ready within {limit:g} s\n{self._said()}".strip()) from None
        except BaseException:  # it failed, or nobody wants it any more
            await self._abandon()
            raise

    async def fork(self, *descriptors: int) -> tuple[int, int]:
        """A new child that owns these descriptors: its pid and a pidfd. Raises `StartFailed`."""
        self._number += 1
        future: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        self._forks[self._number] = future
        request = json.dumps({"do": "fork", "number": self._number}).encode()
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        try:
            self._sock.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            self._forks.pop(self._number)
            raise StartFailed(f"the zygote does not answer: {error.strerror}") from None
        return await future

    @property
    def alive(self) -> bool:
        return self._process is not None

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
        waiting: list[asyncio.Future[Any]] = [*self._forks.values(), self._ready]
        self._forks.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_MESSAGE, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self._gone()
            return
        message: dict[str, Any] = json.loads(data)
        if message["say"] == "ready":
            self._ready.set_result(None)
        elif message["say"] == "failed":
            self._ready.set_exception(StartFailed(message["error"]))
        elif message["say"] == "forked":
            pidfd = struct.unpack("i", ancillary[0][2])[0]
            future = self._forks.pop(message["number"])
            if future.cancelled():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
            else:
                future.set_result((message["pid"], pidfd))
        else:
            # Not now: whoever awaits the fork has to learn of the child before of its end.
            self._loop.call_soon(self._on_exit, message["pid"], message["status"])

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
