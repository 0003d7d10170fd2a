"""When not to sleep: while a program asks one session again and again, as fast as it is answered.

To be woken takes a process as long as a short eval, and what wakes up runs cold: two thirds of such a round trip.
So in a streak of evals the worker looks for the next request, and the router for the answer, for a moment before
they sleep, as adaptive locks do. Where sessions take turns, or whoever asks takes a breath as people do, nobody
spins: it would take the processor from those who have something to do. Nor does a worker whose processor time is
bounded, and would be spent on it.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import Final

from nrepl_py.evaluators.base import Ref

WORKER_SECONDS: Final = 0.0015
"""Between two evals of a streak at most, so a worker looks that long for the next; a slow machine's round trip takes
half of it."""

ROUTER_SECONDS: Final = 0.0002
"""How long the router, which others wait for, looks for the answer: a short eval takes a third of it."""

_LENGTH: Final = 2
"""Evals before one that make a streak: more than an editor sends for one key."""


class Streak:
    """The evals that one worker was sent in a row, and quickly."""

    def __init__(self) -> None:
        self._ref: Ref | None = None
        self._at = 0.0
        self._length = 0
        self._one_processor = _processors() == 1  # then only who sleeps lets the others run

    def goes_on(self, ref: Ref) -> bool:
        """An eval is sent to that worker now: whether it is one of a streak."""
        now = perf_counter()
        quick = ref == self._ref and now - self._at < WORKER_SECONDS
        self._ref, self._at = ref, now
        self._length = self._length + 1 if quick else 1
        return self._length > _LENGTH and not self._one_processor


def _processors() -> int:
    """How many we may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
