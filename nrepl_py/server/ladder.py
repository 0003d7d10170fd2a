"""Interrupting one running eval: a signal at once, one more after the grace, and an end to waiting.

Every `interrupt` climbs again (a person pressing Ctrl-C twice means it) and is answered when the
eval has ended, or as `still-running` when its own time to give up has come. State is never destroyed.
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

    __slots__ = ("_again", "_context", "_count", "_ref", "_session", "_waiting", "serial")

    def __init__(self, context: Context, ref: Ref, serial: int, session: str | None) -> None:
        self._context = context
        self._ref = ref
        self.serial = serial
        self._session = session
        self._again = False
        self._count = 0
        self._waiting: dict[int, Asker] = {}

    def climb(self) -> None:
        """Signal now, and once more after the grace."""
        self._again = True
        self._context.out.append(Signal(self._ref, self.serial))
        grace = self._context.limits.interrupt_grace_seconds
        self._context.out.append(SetTimer(("grace", self._ref.id, self.serial), grace))

    def join(self, asker: Asker) -> None:
        """Climb for this request, which waits for the eval's end."""
        if len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            self._context.out.append(CancelTimer(("giveup", self._ref.id, self.serial, oldest)))
            self.give_up(oldest)
        self.climb()
        self._count += 1
        self._waiting[self._count] = asker
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
            self._reply(asker, {"status": ["still-running", "done"]})

    def end(self, last: dict[str, Any]) -> None:
        """The eval has ended: answer all that wait with `last` and the stages walked."""
        if self._again:
            self._context.out.append(CancelTimer(("grace", self._ref.id, self.serial)))
        for number, asker in self._waiting.items():
            self._context.out.append(CancelTimer(("giveup", self._ref.id, self.serial, number)))
            self._reply(asker, last)
        self._waiting.clear()

    def _reply(self, asker: Asker, last: dict[str, Any]) -> None:
        message: dict[str, Any] = {"id": asker.id}
        if self._session is not None:
            message["session"] = self._session
        stages = list(self._context.stages(self._ref, self.serial))
        self._context.reply(asker, message | {"stages": stages} | last)
