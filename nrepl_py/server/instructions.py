"""What the sans-I/O core asks its shell to do.

`Session` and `Router` turn events (a message came, a worker said, a worker ended, a timer fired, a
client is gone) into a list of these, in order; the shell only carries them out.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from msgspec import Struct

from nrepl_py.evaluators.base import Ref, Spec, ToWorker

TimerKey: TypeAlias = tuple[str | int, ...]

TOO_SLOW: Final = (4408, "too slow a reader; resume with attach")
"""Close code, from the contract, and reason for a client that did not read in time."""


class Send(Struct, frozen=True):
    """One message to some connections; `packed`: as MessagePack, where it was encoded already."""

    connections: tuple[int, ...]
    message: dict[str, Any]
    packed: bytes | None = None


class Room(Struct, frozen=True):
    """Call `Router.room(connection)` once, not at once, but when less than half its outbox is full."""

    connection: int


class Disconnect(Struct, frozen=True):
    """Close a connection; what is sent to it from here on is not. Report with `Router.disconnected`."""

    connection: int
    code: int
    reason: str


class Start(Struct, frozen=True):
    """Start a worker; report with `Router.started` or `Router.start_failed`."""

    spec: Spec


class Tell(Struct, frozen=True):
    """Hand a message to a worker."""

    ref: Ref
    message: ToWorker


class Signal(Struct, frozen=True):
    """Softly interrupt that eval."""

    ref: Ref
    serial: int


class Stop(Struct, frozen=True):
    """End a worker: ask, wait `grace` seconds, then kill."""

    ref: Ref
    grace: float


class Hold(Struct, frozen=True):
    """Stop or go on reading what a worker says."""

    ref: Ref
    held: bool


class SetTimer(Struct, frozen=True):
    """Call `Router.timer(key)` once, in `seconds`; setting a key again replaces it."""

    key: TimerKey
    seconds: float


class CancelTimer(Struct, frozen=True):
    key: TimerKey


Instruction: TypeAlias = Send | Room | Disconnect | Start | Tell | Signal | Stop | Hold | SetTimer | CancelTimer
