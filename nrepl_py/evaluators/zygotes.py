"""Which zygote serves whom: one for each interpreter, list of preloads and view of the machine, started when needed.

Those that nobody uses are kept warm, the most recently used `MAX_IDLE` of them; one made for a single session
ends with it. One that ends unasked is started again at once, unless that was done just before.
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


REVIVAL_SECONDS: Final = 10
"""One that ends again so soon is not started for its own sake: the next session that needs it will tell why."""


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
    """All of one evaluator. `on_gone(zygote)`: it ended unasked. `source` is the bundle's descriptor, `memory` what a
    confined one may have, in bytes: what its interpreter runs at its start may be a session's work."""

    def __init__(self, source: int, start_seconds: float, memory: int, on_gone: Callable[[Zygote], None]) -> None:
        self._memory = memory
        self._source = source
        self._start_seconds = start_seconds
        self._on_gone = on_gone
        self._tasks: dict[Kind, asyncio.Task[Zygote]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._revived: dict[Kind, float] = {}
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

    def _gone(self, zygote: Zygote) -> None:
        self._on_gone(zygote)
        kind = next((kind for kind, task in self._tasks.items() if _result(task) is zygote), None)
        now = asyncio.get_running_loop().time()
        self._revived = {one: at for one, at in self._revived.items() if at + REVIVAL_SECONDS > now}
        if kind is not None and kind.alone is None and kind not in self._revived:
            self._revived[kind] = now
            self.warm(kind).add_done_callback(_result)

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
        zygote = Zygote(on_gone=lambda: self._gone(zygote))
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
            plan = kind.view.plan(kind.executable, argv)
        else:
            reach = kind.view.reach(kind.executable)
            plan = {"read": reach, "write": [*kind.view.write, self.private], "argv": argv}
        return plan | {"memory": self._memory}

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
    zygote = _result(task)
    return zygote if zygote is not None and zygote.alive else None


def _result(task: asyncio.Task[Zygote]) -> Zygote | None:
    """The zygote it started, whatever became of it."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
