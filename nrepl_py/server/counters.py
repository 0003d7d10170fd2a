"""What the server counts of itself: plain numbers, kept always and cheap enough for that.

Counts come from what is observed, the rest is sampled from the server's state when somebody asks
(`sample`). `metrics.py` puts both into words that Prometheus reads. Every key here is one of a few
that we chose: what a client or a worker says becomes a key only where it is a word of the protocol.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from nrepl_py.errors import ERRORS, Internal
from nrepl_py.ops import STATUSES, Cause
from nrepl_py.server.connection import Connection
from nrepl_py.server.context import Asker
from nrepl_py.server.observers import Observer
from nrepl_py.server.session import Session

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds of the histograms: from a round trip (0.3 ms) to a computation left alone over lunch."""

MARKS: Final = frozenset({"done", "error", "need-input", "input-done", "truncated", "not-plain"})
"""Statuses that do not say how a request ended."""

OUTCOMES: Final = frozenset(STATUSES) - MARKS
EVALS: Final = ("eval", "load-file")
UNKNOWN: Final = "unknown"


class Histogram:
    """How many were at most so long, in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        """For each of the bounds, those above the one before; the last for those above all."""
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class Counters(Observer):
    """Counts of one server, since its start."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """By op and outcome."""
        self.eval_seconds = Histogram()
        """Of evals that were accepted and have ended."""
        self.queue_seconds = Histogram()
        """Of evals that began to run."""
        self.interrupts: Counter[str] = Counter()
        """By the last stage walked."""
        self.deaths: Counter[str] = Counter()
        self.starts = Histogram()
        self.starts_failed: Counter[str] = Counter()
        self.connections = 0
        self.refusals: Counter[str] = Counter()

    @property
    def evals_ended(self) -> dict[str, int]:
        """Those that were accepted, by outcome; a refusal's is an error's code."""
        return {word: sum(self.requests[op, word] for op in EVALS) for word in sorted({"done", *OUTCOMES})}

    def answered(self, asker: Asker, reply: dict[str, Any]) -> None:
        status, op = reply["status"], asker.op or UNKNOWN
        self.requests[op, outcome(status) if len(status) > 1 else "done"] += 1  # as most are
        if op in EVALS:
            if status[0] != "error":
                self.eval_seconds.add(self.now() - asker.accepted)
        elif op == "interrupt" and "stages" in reply:
            self.interrupts[reply["stages"][-1] if reply["stages"] else "none"] += 1

    def running(self, asker: Asker) -> None:
        self.queue_seconds.add(self.now() - asker.accepted)

    def died(self, cause: Cause) -> None:
        self.deaths[cause.kind] += 1

    def connected(self, connection: int, peer: str, principal: str | None) -> None:
        self.connections += 1

    def refused(self, peer: str, reason: str, why: str | None = None) -> None:
        self.refusals[reason] += 1

    def worker_started(self, seconds: float) -> None:
        self.starts.add(seconds)

    def start_failed(self, code: str) -> None:
        self.starts_failed[code] += 1


def outcome(status: list[str]) -> str:
    """How a request ended, in one word: an error's code, what came of it, or `done`."""
    if status[0] == "error":
        return status[1] if status[1] in ERRORS else Internal.code
    return next((word for word in status if word in OUTCOMES), "done")


class Sample(NamedTuple):
    """The server's state at one moment; sizes are bytes."""

    sessions: Mapping[str, int]
    queued: int
    connections: int
    outbox_total: int
    outbox_max: int
    log: int
    output: int
    dropped: Mapping[str, int]


def sample(
    sessions: Collection[Session], connections: Collection[Connection], output: int, dropped: Mapping[str, int]
) -> Sample:
    """The state now, in time proportional to the sessions and connections."""
    waiting = [connection.waiting for connection in connections]
    return Sample(
        sessions=dict.fromkeys(("starting", "ready", "busy", "dead"), 0) | Counter(each.state for each in sessions),
        queued=sum(len(each.queue) for each in sessions),
        connections=len(waiting),
        outbox_total=sum(waiting),
        outbox_max=max(waiting, default=0),
        log=sum(each.stream.log.size for each in sessions),
        output=output,
        dropped=dropped,
    )
