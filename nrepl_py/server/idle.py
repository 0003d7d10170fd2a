"""When a session that nobody uses is to end.

It is used by each op that names it, and as long as it evaluates or its worker starts or stops. A session
cloned with `idle` ends when it was not used for so long, whoever is attached; any other one by the server's
`session-idle-seconds`, of which only the time counts that nobody was attached. `culling` says it before.

The clock is looked at rather than set anew with each op: one timer, which finds out what happened meanwhile.
"""

from __future__ import annotations

from typing import Final

from nrepl_py.server.context import Context
from nrepl_py.server.instructions import CancelTimer, SetTimer

NOTICE_SHARE: Final = 10
"""The notice is a tenth of the time at most: a session for minutes is not announced to end all the time."""

_EARLY_SECONDS: Final = 0.001  # a timer may come before its time by the clock's resolution


class Idle:
    """The time of one session. `own` is what its `clone` asked for; 0: for ever."""

    __slots__ = ("_context", "_key", "_seconds", "_touched", "_warned", "notice", "whoever")

    def __init__(self, context: Context, session: str, own: float | None) -> None:
        self._context = context
        self._key = ("idle", session)
        self.whoever = own is not None
        """Whether it is no matter who is attached."""
        self._seconds = context.limits.session_idle_seconds if own is None else own
        self.notice = min(context.limits.cull_notice_seconds, self._seconds / NOTICE_SHARE)
        """Seconds from the event to the end."""
        self._warned = False
        self._touched = context.monotonic()
        if self._seconds:
            self._wait(self._seconds - self.notice)

    def touch(self) -> None:
        """It is used now."""
        self._touched = self._context.monotonic()
        self._warned = False

    def look(self, used: bool) -> float | None:
        """The timer fired: seconds until the end where that is to be said now, 0 where it has come, else None."""
        if used:
            self.touch()
        left = self._touched + self._seconds - self._context.monotonic()
        if left > self.notice + _EARLY_SECONDS:
            self._wait(left - self.notice)
            return None
        if not self._warned:
            self._warned = True
            self._wait(self.notice)
            return self.notice
        return 0

    def end(self) -> None:
        """There is no session any more."""
        if self._seconds:
            self._context.out.append(CancelTimer(self._key))

    def _wait(self, seconds: float) -> None:
        self._context.out.append(SetTimer(self._key, seconds))
