"""A server as a program: log, banner, connection file, signals, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from msgspec.structs import replace

from nrepl_py import connection_file
from nrepl_py.config import ConfigError, Settings
from nrepl_py.connection_file import ServerFile, UnsafeDirectory
from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Evaluator
from nrepl_py.server import auth, logs
from nrepl_py.server.app import Server, versions
from nrepl_py.server.audit import Audit
from nrepl_py.tokens import default_path, new_token

log = logging.getLogger(__name__)

COLLECT_AFTER: Final = 10_000
"""New objects after which Python looks for cycles; its own 700 are some 20 evals'."""
UNUSED_LOOKS: Final = 10
"""Looks at whether anything was asked or runs, in a row and in the time given, after which a server is unused."""
MAX_DESCRIPTORS = 1 << 16
"""For ten thousand sessions; where there is no bound at all, some systems name a number of billions."""


def main(settings: Settings, make_evaluator: Callable[[Settings], Evaluator] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 after a drain, 2 where the server
    could not start, with the reason on stderr."""
    token = new_token()
    _have_descriptors()
    if settings.tokens is None:
        settings = replace(settings, tokens=default_path())
    try:
        writer = logs.setup(settings.log_level, settings.log_format, settings.log_file, (token,))
    except OSError as error:
        return _refuse(f"--log-file: {settings.log_file} cannot be written: {error.strerror}")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings, token=token, writer=writer, make_evaluator=make_evaluator))
    except (ConfigError, UnsafeDirectory, StartFailed) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"the server cannot start: {error}")
    finally:
        logs.teardown(writer)
    return 0


async def serve(
    settings: Settings,
    *,
    token: str | None = None,
    writer: logs.Writer | None = None,
    make_evaluator: Callable[[Settings], Evaluator] | None = None,
) -> None:
    """Serve until told to stop. Prints the banner once clients can connect and find the server.
    Raises `ConfigError`, `StartFailed`, `UnsafeDirectory` or OSError where it cannot start."""
    stop = _Stop(writer)
    try:
        async with Server(settings, (make_evaluator or _local)(settings), token=token) as server:
            file = connection_file.write(_describe(server, settings.connection_file or ""))
            try:
                stop.files = file, server
                # What was imported stays, and what is made since has hardly a cycle: no client waits for a look.
                gc.freeze()
                gc.set_threshold(COLLECT_AFTER)
                print(banner(server), flush=True)
                log.info("server started", extra={"url": server.url, "unix": server.unix, "pid": os.getpid()})
                await stop.wait(server)
                log.info("server stops", extra={"signal": stop.signal or "none, but nobody uses it"})
            finally:
                connection_file.remove(file)
    finally:
        stop.restore()


def banner(server: Server) -> str:
    """The one line on stdout that programs starting a server wait for."""
    listeners = server.listeners
    if listeners.port is None:
        return f"nREPL server started on socket {listeners.unix} - ws+unix://{listeners.unix}"
    scheme, host = "wss" if listeners.certificate else "ws", auth.bracketed(listeners.host)
    warning = " (insecure: no TLS)" if listeners.insecure else ""
    return f"nREPL server started on port {listeners.port} on host {listeners.host} - {scheme}://{host}:{listeners.port}{warning}"


class _Stop:
    """Waits for the signal to stop, or for nobody to use it. The first drains, the next ends the process at once."""

    def __init__(self, writer: logs.Writer | None) -> None:
        self.signal: str | None = None
        self.files: tuple[ServerFile, Server] | None = None
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._before = {}
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
        for number in (getattr(signal, name, None) for name in names):
            # Ignored on purpose: `nohup nrepl-py serve &`.
            if number is not None and (before := signal.getsignal(number)) != signal.SIG_IGN:
                self._before[number] = before
                with suppress(NotImplementedError):  # Windows
                    # Wakes the loop, whichever thread gets the signal, and however close to the loop's falling asleep.
                    self._loop.add_signal_handler(number, lambda: None)
                signal.signal(number, self._handle)

    async def wait(self, server: Server) -> None:
        """Until a signal comes, or nobody has used the server for as long as its settings say."""
        unused = requests = 0
        while unused < UNUSED_LOOKS:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), server.settings.unused_seconds / UNUSED_LOOKS or None)
                return
            now, before, requests = server.sample(), requests, server.watching.counters.requests.total()
            at_work = now.connections + now.queued + now.sessions["busy"] + now.sessions["starting"]
            unused = 0 if at_work or requests != before else unused + 1

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            with suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, handler or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        name = signal.Signals(number).name
        if name == "SIGUSR1":
            self._soon(lambda server: server.door.refresh())
        elif name == "SIGHUP" and self._reloads:
            for file in self._reopened():
                file.reopen()
            self._soon(Server.reload)
        elif self.signal is None:
            self.signal = name
            self._loop.call_soon_threadsafe(self._event.set)
        elif name == "SIGINT":
            self._force()

    def _reopened(self) -> list[logs.Writer | Audit]:
        """The files that a hangup opens anew."""
        audit = self.files[1].watching.audit if self.files is not None else None
        log = self._writer if self._writer is not None and self._writer.is_file else None
        return [file for file in (log, audit) if file is not None]

    @property
    def _reloads(self) -> bool:
        """Whether there is something to read again; without, a terminal that closes ends the server."""
        settings = self.files[1].settings if self.files is not None else Settings()
        further = settings.certfile is not None or settings.tokens not in (None, default_path())
        return further or bool(self._reopened())

    def _soon(self, what: Callable[[Server], None]) -> None:
        if self.files is not None:
            self._loop.call_soon_threadsafe(what, self.files[1])

    def _force(self) -> None:
        # The process's end is the end of its workers; only files would stay.
        if self.files is not None:
            with suppress(Exception):
                file, server = self.files
                connection_file.remove(file)
                server.listeners.unlink_socket()
        os._exit(128 + signal.SIGINT)


def _describe(server: Server, path: str) -> ServerFile:
    return ServerFile(
        url=server.url,
        unix=server.unix,
        token=server.token,
        pid=os.getpid(),
        pid_start=connection_file.process_start(os.getpid()) or "",
        cwd=os.getcwd(),
        started=time.time(),
        versions=versions(),
        path=path,
        tokens=os.path.realpath(server.settings.tokens) if server.settings.tokens else None,
        certfile=os.path.abspath(server.settings.certfile) if server.settings.certfile else None,
    )


def _local(settings: Settings) -> Evaluator:
    from nrepl_py.evaluators import policy
    from nrepl_py.evaluators.local import LocalEvaluator

    return LocalEvaluator.of(settings, settings.sandbox or policy.DEFAULT_TIER)


def _have_descriptors() -> None:
    """As many as we may: a session takes about six, and many systems give 1024 unless one asks. Sessions get a bound of
    their own."""
    try:
        import resource
    except ImportError:
        return  # Windows, where nobody counts them
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _refuse(sentence: str) -> int:
    print(f"nrepl-py: {sentence}", file=sys.stderr, flush=True)
    return 2
