"""What the kernel is told of each worker from outside: the group that bounds it, and who is to end first."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nrepl_py.evaluators import cgroups
from nrepl_py.evaluators.cgroups import Group, Place, Unavailable

log = logging.getLogger(__name__)

ZYGOTE, SESSION = 200, 400
"""Above the server's own `oom_score_adj`, thousandths of the machine's memory: when there is none left, sessions end
before the zygotes they come from, and those before the server."""

_RETRY_SECONDS: Final = 0.02
_RETRIES: Final = 250  # 5 s: far longer than what was killed takes to end


class Bounds:
    """The groups of one evaluator's workers."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Task[None]] = set()

    @functools.cached_property
    def _place(self) -> Place | None:
        try:
            return cgroups.find()
        except Unavailable:
            return None

    def bound(
        self, name: str, pids: Sequence[int], limits: Mapping[str, int], count: bool, on_out: Callable[[], object]
    ) -> Group | None:
        """The group that these processes, which run nothing of the user's yet, are in from now on; None where there
        are none. `count`: whether processes are to be bounded too; `on_out()`: they want too much memory."""
        if self._place is None:
            return None
        processes = limits["processes"] + 1 if count and limits["processes"] else 0  # besides the worker
        try:
            group = Group(self._place, name, limits["memory-bytes"], processes)
        except OSError as error:
            log.warning("memory is bounded for each process only", extra={"why": str(error)})
            return None
        with contextlib.suppress(OSError):  # one that has ended already: soon that is told
            for pid in pids:
                group.add(pid)
        if group.event >= 0:
            asyncio.get_running_loop().add_reader(group.event, on_out)
        return group

    def release(self, group: Group) -> None:
        """End what is left in it, and forget it."""
        if group.event >= 0:
            asyncio.get_running_loop().remove_reader(group.event)
        group.kill()
        if not group.close():
            task = asyncio.ensure_future(self._close(group))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Wait until all are forgotten."""
        await asyncio.gather(*self._closing)

    @staticmethod
    async def _close(group: Group) -> None:
        for _ in range(_RETRIES):
            await asyncio.sleep(_RETRY_SECONDS)  # nothing tells of a group's end
            if group.close():
                return


def rank(pid: int, above: int) -> None:
    """Have the kernel end that process, and what it starts, so much sooner than us."""
    with contextlib.suppress(OSError):  # it has ended, or this is not Linux
        with open("/proc/self/oom_score_adj") as file:
            ours = int(file.read())
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(min(1000, ours + above)))
