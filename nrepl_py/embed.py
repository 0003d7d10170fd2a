"""A server inside a running program, in a thread of its own.

    with serve_in_thread() as server:
        print(server.url, server.token)     # connect, and evaluate inside this program

The program keeps its main thread, its signals and its log; nothing is written where other programs
would find it.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Final, Literal

from nrepl_py.config import Settings
from nrepl_py.evaluators.base import Evaluator
from nrepl_py.limits import Limits
from nrepl_py.server.app import Server

STOP_SECONDS: Final = 10
"""Until a server that was told to stop is given up; it promises an end within 5."""


class Embedded:
    """A running server: `url`, `token`, and `unix` (the socket's path, or None). A context manager."""

    def __init__(self, settings: Settings, kind: str) -> None:
        self._settings = settings
        self._kind = kind
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        # A daemon, so that a program that forgets to stop it still ends; its workers end with it.
        self._thread = threading.Thread(target=self._run, name="nrepl-py server", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    @property
    def url(self) -> str:
        """Where to connect, over TCP."""
        return self._running.url

    @property
    def token(self) -> str:
        """What opens it. Keep it as you would keep a password."""
        return self._running.token

    @property
    def unix(self) -> str | None:
        """The path of its Unix socket, where it has one."""
        return self._running.unix

    def stop(self) -> None:
        """End open evals and sessions, and the server. Waits for its end. Idempotent."""
        if self._loop is not None and self._stop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # The loop is closed: it has ended.
        self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Embedded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _running(self) -> Server:
        assert self._server is not None, "the constructor waits for it"
        return self._server

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Server(self._settings, _evaluator(self._kind, self._settings)) as self._server:
            self._up.set()
            await self._stop.wait()


def serve_in_thread(
    *, kind: Literal["inprocess", "local"] = "inprocess", limits: Limits | None = None, **settings: Any
) -> Embedded:
    """Start a server in a thread, on a free port of 127.0.0.1 unless told otherwise; returns once
    clients can connect. Stop it with `stop()`, or use it in a `with` statement.

    `kind`: `inprocess` evaluates inside this program, each session in a thread of its own, in any of
    its modules (`module`); `local` in worker processes. `settings`: fields of `nrepl_py.config.Settings`
    (`host`, `port`, `unix`, `python`, `preload`, `allow_origins`, …). Raises `ConfigError`, or OSError
    where it cannot listen.
    """
    return Embedded(Settings(**{"port": 0, **settings}, limits=limits or Limits()), kind)


def _evaluator(kind: str, settings: Settings) -> Evaluator:
    if kind == "local":
        from nrepl_py.evaluators.local import LocalEvaluator

        return LocalEvaluator.of(settings, settings.sandbox or "process")
    if kind != "inprocess":
        raise ValueError(f"kind must be 'inprocess' or 'local', not {kind!r}")
    from nrepl_py.evaluators.inprocess import InProcessEvaluator

    return InProcessEvaluator()
