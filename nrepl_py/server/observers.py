"""Who watches the server: what the core tells (`context.Watch`), and what only the shell sees.

An observer counts or writes; it decides nothing and never waits.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from nrepl_py.ops import Cause
from nrepl_py.server.context import Asker, Watch


class Observer(Watch):
    """Is told what happens; this one does not listen. Of the core it is told as any `Watch` is."""

    now = staticmethod(perf_counter)

    def connected(self, connection: int, peer: str, principal: str | None) -> None:
        """A WebSocket is open; without a principal it has yet to show a token."""

    def disconnected(self, connection: int, peer: str) -> None:
        """It is gone."""

    def refused(self, peer: str, reason: str, why: str | None = None) -> None:
        """Somebody was not let in: a reason of few, all ours, and the sentence they were answered with."""

    def worker_started(self, seconds: float) -> None:
        """A worker is up, so long after it was asked for."""

    def start_failed(self, code: str) -> None:
        """A worker did not come up; the code of the error."""


class Observers(Observer):
    """Several as one: each is told everything, in this order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def answered(self, asker: Asker, reply: dict[str, Any]) -> None:
        for observer in self._observers:
            observer.answered(asker, reply)

    def running(self, asker: Asker) -> None:
        for observer in self._observers:
            observer.running(asker)

    def session(self, event: str, session: str, principal: str, cause: Cause | None) -> None:
        for observer in self._observers:
            observer.session(event, session, principal, cause)

    def died(self, cause: Cause) -> None:
        for observer in self._observers:
            observer.died(cause)

    def connected(self, connection: int, peer: str, principal: str | None) -> None:
        for observer in self._observers:
            observer.connected(connection, peer, principal)

    def disconnected(self, connection: int, peer: str) -> None:
        for observer in self._observers:
            observer.disconnected(connection, peer)

    def refused(self, peer: str, reason: str, why: str | None = None) -> None:
        for observer in self._observers:
            observer.refused(peer, reason, why)

    def worker_started(self, seconds: float) -> None:
        for observer in self._observers:
            observer.worker_started(seconds)

    def start_failed(self, code: str) -> None:
        for observer in self._observers:
            observer.start_failed(code)
