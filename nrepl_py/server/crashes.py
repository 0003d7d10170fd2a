"""Workers of one session that die before they have done anything, one after the other: a loop is stopped.

Each death makes the next eval start another worker. Where a worker dies as it starts, or soon after and
without having ended a single eval, so will the next one: after some in a row evals are refused, with the
last cause, until somebody asks for a `restart`.
"""

from __future__ import annotations

from nrepl_py.errors import StartFailed
from nrepl_py.server.context import Context


class Crashes:
    """Counts them."""

    __slots__ = ("_context", "_count", "_last", "_new_until")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._count = 0
        self._last = ""
        self._new_until = 0.0

    @property
    def looping(self) -> bool:
        """Whether it is enough."""
        return self._count >= self._context.limits.max_crashes_in_a_row

    def up(self) -> None:
        """A worker is up, and has yet to prove itself."""
        self._new_until = self._context.monotonic() + self._context.limits.crash_seconds

    def proved(self) -> None:
        """An eval has ended in it."""
        self._new_until = 0.0
        self._count = 0

    def died(self, why: str) -> None:
        """It ended unasked."""
        if self._context.monotonic() < self._new_until:
            self.failed(why)
        else:
            self._count = 0

    def failed(self, why: str) -> None:
        """It did not even start."""
        self._count += 1
        self._last = why

    def forgive(self) -> None:
        """Somebody wants to try again."""
        self._count = 0

    def check(self) -> None:
        """Raises `StartFailed` where no further worker is to be started for an eval."""
        if self.looping:
            raise StartFailed(
                f"this session's workers died {self._count} times in a row before they had done anything, the last "
                f"time so: {self._last}; 'restart' it to try again"
            )
