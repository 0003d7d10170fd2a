"""Interrupting one running eval: a signal at once, one more after the grace, and then the worker's end or ours.

Every `interrupt` climbs again (a person pressing Ctrl-C twice means it) and is answered when the
eval has ended. One with `kill-after` has the worker killed then; one without is answered
`still-running` when its time to give up has come, and destroys no state. Of several deadlines for
the kill the first one counts.
"""

from __future__ import annotations

from typing import Any, Final

from nrepl_py.evaluators.base import Ref
from nrepl_py.server.context import Asker, Context
from nrepl_py.server.instructions import CancelTimer, SetTimer, Signal

MAX_WAITING: Final = 32
"""Interrupts of one eval waiting for its end; past it the oldest is told `still-running` early, which is true."""


class Ladder:
    """The interrupts of the eval `serial`, from the first one to its end."""

    __slots__ = ("_again", "_context", "_count", "_kill_at", "_ref", "_session", "_waiting", "_walked", "serial")

    def __init__(self, context: Context, ref: Ref, serial: int, session: str | None) -> None:
        self._context = context
        self._ref = ref
        self.serial = serial
        self._session = session
        self._again = False
        self._kill_at: float | None = None
        self._walked: tuple[str, ...] | None = None
        self._count = 0
        self._waiting: dict[int, Asker] = {}

    def climb(self, kill_after: float | None = None) -> None:
        """Signal now, once more after the grace, and have the worker killed so many seconds from now."""
        self._again = True
        self._context.out.append(Signal(self._ref, self.serial))
        grace = self._context.limits.interrupt_grace_seconds
        self._context.out.append(SetTimer(("grace", self._ref.id, self.serial), grace))
        if kill_after is not None:
            self._kill_in(kill_after)

    def join(self, asker: Asker, kill_after: float | None = None) -> None:
        """Climb for this request, which waits for the eval's end."""
        if len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            self._context.out.append(CancelTimer(("giveup", self._ref.id, self.serial, oldest)))
            self.give_up(oldest)
        self.climb(kill_after)
        self._count += 1
        self._waiting[self._count] = asker
        if kill_after is None:
            giveup = self._context.limits.interrupt_giveup_seconds
            self._context.out.append(SetTimer(("giveup", self._ref.id, self.serial, self._count), giveup))

    def repeat(self) -> None:
        """The grace is over and the eval still runs: signal once more."""
        if self._again:
            self._again = False
            self._context.out.append(Signal(self._ref, self.serial))

    def give_up(self, number: int) -> None:
        """That request has waited long enough."""
        asker = self._waiting.pop(number, None)
        if asker is not None:
            self._reply(asker, {"status": ["still-running", "done"]}, self._tried())

    def kill(self) -> None:
        """The last stage is walked now. Those before it are noted here: the worker cannot be asked any more."""
        self._walked = (*self._tried(), "kill")

    def end(self, last: dict[str, Any]) -> None:
        """The eval has ended: answer all that wait with `last` and the stages walked."""
        if self._again:
            self._context.out.append(CancelTimer(("grace", self._ref.id, self.serial)))
        if self._kill_at is not None:
            self._context.out.append(CancelTimer(("kill", self._ref.id, self.serial)))
        stages = self._walked or self._context.stages(self._ref, self.serial)
        for number, asker in self._waiting.items():
            self._context.out.append(CancelTimer(("giveup", self._ref.id, self.serial, number)))
            self._reply(asker, last, stages)
        self._waiting.clear()

    def _kill_in(self, seconds: float) -> None:
        at = self._context.monotonic() + seconds
        if self._kill_at is None or at < self._kill_at:
            self._kill_at = at
            self._context.out.append(SetTimer(("kill", self._ref.id, self.serial), seconds))

    def _tried(self) -> tuple[str, ...]:
        """What an eval that goes on was sent. One deep in C code has not yet come to notice."""
        return self._context.stages(self._ref, self.serial) or ("sigint",)

    def _reply(self, asker: Asker, last: dict[str, Any], stages: tuple[str, ...]) -> None:
        message: dict[str, Any] = {"id": asker.id}
        if self._session is not None:
            message["session"] = self._session
        self._context.reply(asker, message | {"stages": list(stages)} | last)
