"""What the sans-I/O core asks its shell to do.

`Session` and `Router` turn events (a message came, a worker said, a worker ended, a timer fired, a
client is gone) into a list of these, in order; the shell only carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from nrepl_py.evaluators.base import Ref, Spec, ToWorker

TimerKey: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """One message to some connections."""

    connections: tuple[int, ...]
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Disconnect:
    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker; report with `Router.started` or `Router.start_failed`."""

    spec: Spec


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand a message to a worker."""

    ref: Ref
    message: ToWorker


@dataclass(frozen=True, slots=True)
class Signal:
    """Softly interrupt that eval."""

    ref: Ref
    serial: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End a worker: ask, wait `grace` seconds, then kill."""

    ref: Ref
    grace: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop or go on reading what a worker says."""

    ref: Ref
    held: bool


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `Router.timer(key)` once, in `seconds`; setting a key again replaces it."""

    key: TimerKey
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    key: TimerKey


Instruction: TypeAlias = Send | Disconnect | Start | Tell | Signal | Stop | Hold | SetTimer | CancelTimer
