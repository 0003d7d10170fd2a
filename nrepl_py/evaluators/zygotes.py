"""Which zygote serves whom: one for each interpreter, list of preloads and view of the machine, started when needed.

Those that nobody uses are kept warm, the most recently used `MAX_IDLE` of them; one made for a single session
ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Ref
from nrepl_py.evaluators.environment import is_base
from nrepl_py.evaluators.policy import NAMESPACED
from nrepl_py.evaluators.views import View
from nrepl_py.evaluators.zygote import Zygote

MAX_IDLE: Final = 4
"""Zygotes kept without sessions: a few interpreters and projects of one person, some 15 MB each."""


class Kind(NamedTuple):
    """What the sessions of one zygote have in common. `view`: None where it is not confined; `env`: what has to be
    set before its interpreter starts; `alone`: the only session it may have."""

    executable: str
    preload: tuple[str, ...]
    tier: str
    view: View | None
    env: tuple[tuple[str, str], ...] = ()
    alone: Ref | None = None


class Zygotes:
    """All of one evaluator. `on_gone(zygote)`: it ended unasked. `source` is the bundle's descriptor."""

    def __init__(self, source: int, start_seconds: float, on_gone: Callable[[Zygote], None]) -> None:
        self._source = source
        self._start_seconds = start_seconds
        self._on_gone = on_gone
        self._tasks: dict[Kind, asyncio.Task[Zygote]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._private_directory: str | None = None

    def warm(self, kind: Kind) -> asyncio.Task[Zygote]:
        """The start of the zygote of that kind, under way or done; a new one where the last failed or ended."""
        task = self._tasks.pop(kind, None)
        if task is None or (task.done() and _started(task) is None):
            self._retire_idle()
            task = asyncio.ensure_future(self._start(kind))
        self._tasks[kind] = task  # the most recently used is the last
        return task

    async def get(self, kind: Kind) -> Zygote:
        """The zygote of that kind, ready to fork. Raises `StartFailed`."""
        return await asyncio.shield(self.warm(kind))

    def left(self, zygote: Zygote) -> None:
        """One of its sessions has ended."""
        kind = next((kind for kind, task in self._tasks.items() if _started(task) is zygote), None)
        if kind is not None and kind.alone is not None:
            self._retire(kind, zygote)

    @property
    def private(self) -> str:
        """The directory for private directories of sessions without a file system of their own."""
        if self._private_directory is None:
            self._private_directory = tempfile.mkdtemp(prefix="nrepl-py-")
        return self._private_directory

    async def close(self) -> None:
        """End them all."""
        await asyncio.gather(*self._closing)
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            if not task.done():
                task.cancel()
            with contextlib.suppress(StartFailed, asyncio.CancelledError):
                await (await task).close()
        if self._private_directory is not None:
            shutil.rmtree(self._private_directory, ignore_errors=True)

    async def _start(self, kind: Kind) -> Zygote:
        zygote = Zygote(on_gone=lambda: self._on_gone(zygote))
        env = {name: value for name, value in os.environ.items() if is_base(name)}
        # One thread per BLAS: a threaded process cannot fork safely, nor enter a user namespace.
        env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        plan = None if kind.view is None else lambda argv: self._plan(kind, argv)
        await zygote.start(
            kind.executable, self._source, list(kind.preload), env, dict(kind.env), self._start_seconds, plan
        )
        return zygote

    def _plan(self, kind: Kind, argv: list[str]) -> dict[str, Any]:
        assert kind.view is not None
        if kind.tier in NAMESPACED:
            return kind.view.plan(kind.executable, argv)
        return {"read": kind.view.reach(kind.executable), "write": [*kind.view.write, self.private], "argv": argv}

    def _retire_idle(self) -> None:
        started = ((kind, _started(task)) for kind, task in self._tasks.items())
        idle = [(kind, zygote) for kind, zygote in started if zygote is not None and zygote.idle]
        for kind, zygote in idle[: max(0, len(idle) - MAX_IDLE + 1)]:
            self._retire(kind, zygote)

    def _retire(self, kind: Kind, zygote: Zygote) -> None:
        del self._tasks[kind]
        closing = asyncio.ensure_future(zygote.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _started(task: asyncio.Task[Zygote]) -> Zygote | None:
    """Its zygote, where there is one that can fork."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result() if task.result().alive else None
