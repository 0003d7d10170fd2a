"""How much of a session's stream a client has seen, so that nothing is told twice and a gap is noticed. No I/O."""

from __future__ import annotations

from typing import Literal


class Seen:
    """Of one session. Nothing up to `upto` is new any more."""

    __slots__ = ("_ahead", "upto")

    def __init__(self) -> None:
        self.upto = 0
        self._ahead: set[int] = set()

    def take(self, seq: int, *, whole: bool = False, loose: bool = False) -> Literal["new", "old", "gap"]:
        """A message came. `whole`: every number of the stream is to come, so one that is left out is a gap.
        `loose`: some may come that are lower than this one, and are new."""
        if seq <= self.upto or seq in self._ahead:
            return "old"
        if loose:
            self._ahead.add(seq)
        elif whole:
            gap, self.upto = seq > self.upto + 1, seq
            self._absorb()
            return "gap" if gap else "new"
        else:
            self.settle(seq)
        self._absorb()
        return "new"

    def settle(self, last: int = 0) -> None:
        """Nothing lower than what has come, or than `last`, is to come any more."""
        self.upto = max(self.upto, last, *self._ahead)
        self._ahead.clear()

    def _absorb(self) -> None:
        while self.upto + 1 in self._ahead:
            self.upto += 1
        self._ahead = {seq for seq in self._ahead if seq > self.upto}
