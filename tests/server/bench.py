"""A router with one client and one session, and short words for what tests say to it."""

from __future__ import annotations

from itertools import count
from typing import Any

from nrepl_py.evaluators.base import Exited, Feed, Ref, Run, Said
from nrepl_py.evaluators.frames import End, Finished, Ready
from nrepl_py.limits import Limits
from nrepl_py.ops import Cause
from nrepl_py.server import instructions as do
from nrepl_py.server.router import Router

from .world import ANN, make_router

READY = Ready(
    python="3.11.7",
    implementation="cpython",
    executable="/usr/bin/python3",
    prefix="/usr",
    cwd="/w",
    pid=7,
    sandbox={"tier": "none"},
)


class Bench:
    """`ask` and its kin return the messages sent; `did` are all instructions of the last event."""

    hasty = False
    """Whether the worker is quicker than the time `started` may wait."""

    def __init__(self, limits: Limits | None = None, **changes: Any) -> None:
        self.router = make_router(Router, limits or Limits(), **changes)
        self.did: list[Any] = []
        self._numbers = count(1)
        self._serials = count(1)
        self.router.connected(1, ANN)
        self.session = ""
        self.ref = Ref("", 0)

    def clone(self, **fields: Any) -> Bench:
        """Make the session that the rest is about."""
        self.ask("clone", id="clone", **fields)
        (start,) = self.of(do.Start)
        self.ref = start.spec.ref
        self.session = self.ref.id
        self.note(self.router.started(self.ref, READY))
        return self

    def ask(self, op: str, connection: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """A request; its id is counted up where none is given."""
        fields.setdefault("id", f"q{next(self._numbers)}")
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.note(self.router.received(connection, {"op": op} | fields))

    def eval(self, id: str, connection: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """An eval in the session; its code is its id."""
        return self.ask("eval", connection, id=id, **({"session": self.session, "code": id} | fields))

    def says(self, report: Any) -> list[dict[str, Any]]:
        """The session's worker says something."""
        return self.note(self.router.worker(Said(self.ref, report)))

    def ends(self, serial: int, *status: Any, **fields: Any) -> list[dict[str, Any]]:
        """The eval of that serial ends."""
        return self.says(Finished(serial=serial, end=End(status, **fields)))

    def dies(self, **cause: Any) -> list[dict[str, Any]]:
        """The worker is gone."""
        defaults: dict[str, Any] = {"kind": "exit", "code": 1}
        return self.note(self.router.worker(Exited(self.ref, Cause(**defaults | cause))))

    def timer(self, *key: Any) -> list[dict[str, Any]]:
        return self.note(self.router.timer(key))

    def note(self, instructions: list[do.Instruction]) -> list[dict[str, Any]]:
        ticks = [i for i in instructions if isinstance(i, do.SetTimer) and i.key[0] == "tick"]
        self.did = [instruction for instruction in instructions if instruction not in ticks]
        if not self.hasty:  # an eval's `started` is told by itself, as when the eval takes its time
            for tick in ticks:
                self.did += self.router.timer(tick.key)
        for start in self.of(do.Start):
            if start.spec.ref.id == self.session:
                self.ref = start.spec.ref
        return [send.message for send in self.of(do.Send)]

    def of(self, kind: type) -> list[Any]:
        """The last event's instructions of that kind."""
        return [instruction for instruction in self.did if type(instruction) is kind]

    def told(self, kind: type) -> list[Any]:
        """What the last event told workers, of that kind."""
        return [tell.message for tell in self.of(do.Tell) if type(tell.message) is kind]

    @property
    def ran(self) -> list[str]:
        """The codes that began to run in the last event."""
        return [run.code for run in self.told(Run)]

    @property
    def fed(self) -> list[str]:
        return [feed.text for feed in self.told(Feed)]


def status(messages: list[dict[str, Any]]) -> list[tuple[str | None, list[str]]]:
    """Who was told which status."""
    return [(message.get("id"), message["status"]) for message in messages if "status" in message]
