"""The requests that are answered when a session's worker is up: the `clone` that made it, and `restart`s.

A restart that comes while a worker starts wants one that starts after it, so there are two rounds:
those for whom the start under way is good, and those for whom it is not.
"""

from __future__ import annotations

from typing import Any, Final

from nrepl_py.errors import Busy, NreplError, StartFailed, reply
from nrepl_py.server.context import Asker, Context

MAX_WAITING: Final = 32
"""Restarts of one session waiting at once: more than its clients are, unless one of them has a bug."""


class Waiting:
    """Who waits for the worker of `session`."""

    __slots__ = ("_context", "_later", "_now", "_session", "clone")

    def __init__(self, context: Context, session: str) -> None:
        self._context = context
        self._session = session
        self.clone: Asker | None = None
        """Whom to tell that the session exists, while that is open."""
        self._now: list[Asker] = []
        self._later: list[Asker] = []

    @property
    def later(self) -> bool:
        """Whether some wait for another start than the one under way."""
        return bool(self._later)

    def join(self, asker: Asker, later: bool) -> None:
        """A `restart`; `later`: the start under way is none of its. Raises `Busy` where too many wait."""
        if len(self._now) + len(self._later) >= MAX_WAITING:
            raise Busy(f"restart: {MAX_WAITING} restarts of this session are under way; wait for their answers")
        (self._later if later else self._now).append(asker)

    def made(self, info: dict[str, Any]) -> None:
        """The first worker is up: answer the `clone`."""
        asker, self.clone = self.clone, None
        if asker is not None:
            fields = {"id": asker.id, "new-session": self._session, "info": info, "status": ["done"]}
            self._context.reply(asker, fields)

    def up(self, epoch: int, info: dict[str, Any]) -> bool:
        """A worker is up: answer those who wait for it. Whether others want one more."""
        answered, self._now, self._later = self._now, self._later, []
        for asker in answered:
            self._say(asker, {"epoch": epoch, "info": info, "status": ["done"]})
        return bool(self._now)

    def failed(self, error: NreplError) -> None:
        """No worker came up."""
        if self.clone is not None:
            self._context.reply(self.clone, reply(error, self.clone.id))
        for asker in self._take():
            self._context.reply(asker, reply(error, asker.id, self._session))

    def closed(self, last: dict[str, Any]) -> None:
        """None will: the session was closed."""
        if self.clone is not None:
            error = StartFailed("the session was closed before it had started")
            self._context.reply(self.clone, reply(error, self.clone.id))
        for asker in self._take():
            self._say(asker, last)

    def _take(self) -> list[Asker]:
        waiting = self._now + self._later
        self.clone, self._now, self._later = None, [], []
        return waiting

    def _say(self, asker: Asker, fields: dict[str, Any]) -> None:
        self._context.reply(asker, {"id": asker.id, "session": self._session} | fields)
