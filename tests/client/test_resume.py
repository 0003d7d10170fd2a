"""Coming back, without I/O: the client's side against the server's own core, over connections that are cut anywhere.

What is under way when a connection is cut is lost, or arrives at the server late, after the client has come back.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nrepl_py.client.connection import Connection, ConnectionLost, Incoming, ReplayGap
from nrepl_py.evaluators.base import Ref, Run, Said
from nrepl_py.evaluators.frames import End, Output, Ready, Value
from nrepl_py.limits import Limits
from nrepl_py.server import instructions as do
from nrepl_py.server.router import Router
from tests.server.world import ANN, make_router

OTHER = 0
"""The connection of another client, who has made the session `shared` and uses it too."""

PIECES = 3  # of output that every eval prints


@dataclass
class Wire:
    """One connection: what is under way each way. Cut, the server may still hear what had left, and hears of the end."""

    number: int
    up: deque[dict[str, Any]] = field(default_factory=deque)
    down: deque[dict[str, Any]] = field(default_factory=deque)


@dataclass
class Told:
    """What the caller was told of one eval."""

    code: str
    session: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    ends: list[Incoming] = field(default_factory=list)

    @property
    def gap(self) -> bool:
        return any("replay-gap" in message.get("status", ()) for message in self.messages)


class World:
    """A client, a server, what its workers do, and what there is between them."""

    def __init__(self, log_bytes: int) -> None:
        self.limits = Limits(log_bytes=log_bytes, outbox_bytes=1 << 14)
        self.router = make_router(Router, self.limits)
        self.client = Connection("p")
        self.workers: dict[Ref, deque[Run]] = {}
        self.said: Counter[tuple[Ref, int]] = Counter()
        self.ran: Counter[str] = Counter()
        self.numbers = 0
        self.ghosts: list[Wire] = []
        self.rooms: set[int] = set()
        self.evals: dict[str, Told] = {}
        self.asked: dict[str, str] = {}
        self.answered: list[str] = []
        self.others: list[dict[str, Any]] = []
        self.sessions: list[str] = []
        self.wire: Wire | None = None
        self.carry_out(self.router.connected(OTHER, ANN))
        self.carry_out(self.router.received(OTHER, {"op": "clone", "id": "c", "name": "shared"}))
        self.connect()

    # -- the client -----------------------------------------------------------------------------

    def connect(self) -> None:
        """A new connection, let in at once."""
        self.numbers += 1
        self.wire = Wire(self.numbers)
        self.carry_out(self.router.connected(self.numbers, ANN))
        if self.numbers > 1:
            self.wire.up.extend(self.client.resume())

    def ask(self, op: str, **fields: Any) -> str:
        request = self.client.request(op, fields)
        id = str(request["id"])
        if not self.client.is_held(id):
            assert self.wire is not None
            self.wire.up.append(request)
        self.asked[id] = op
        if op == "eval":
            self.evals[id] = Told(fields["code"], fields["session"])
        return id

    def cut(self, late: bool) -> None:
        """`late`: the server has yet to read what was sent, and to hear of the end."""
        if self.wire is None:
            return
        wire, self.wire = self.wire, None
        if late:
            self.ghosts.append(wire)
        else:
            self.gone(wire)
        ended, error = self.client.broken("cut")
        self.end(ended, error)

    def end(self, ids: list[str], error: ConnectionLost) -> None:
        for id in ids:
            if id in self.evals:
                self.evals[id].ends.append(Incoming(id, {}, True, error))
            self.answered.append(id)

    def hear(self, count: int) -> None:
        for _ in range(count):
            if self.wire is None or not self.wire.down:
                return
            for incoming in self.client.received(self.wire.down.popleft()):
                self.note(incoming)
            self.wire.up.extend(self.client.take())

    def note(self, incoming: Incoming) -> None:
        if incoming.id is None:
            self.others.append(incoming.message)
            return
        assert incoming.id in self.asked
        assert incoming.id not in self.answered, "told of a request that has ended"
        if incoming.id in self.evals:
            told = self.evals[incoming.id]
            told.messages.append(incoming.message)
            if incoming.last:
                told.ends.append(incoming)
        if incoming.last:
            self.answered.append(incoming.id)
            if self.asked[incoming.id] == "clone":
                self.sessions.append(incoming.message["new-session"])

    # -- the server -----------------------------------------------------------------------------

    def gone(self, wire: Wire) -> None:
        self.rooms.discard(wire.number)
        self.carry_out(self.router.disconnected(wire.number))

    def deliver(self, wire: Wire, count: int) -> None:
        for _ in range(min(count, len(wire.up))):
            self.carry_out(self.router.received(wire.number, wire.up.popleft()))

    def haunt(self, count: int) -> None:
        """The oldest connection that was cut: the server reads more of it, and then its end."""
        if self.ghosts:
            ghost = self.ghosts[0]
            self.deliver(ghost, count)
            if not ghost.up:
                self.gone(self.ghosts.pop(0))

    def room(self) -> None:
        if self.rooms:
            self.carry_out(self.router.room(self.rooms.pop()))

    def work(self, n: int) -> None:
        """A worker says the next thing."""
        busy = [ref for ref, runs in self.workers.items() if runs]
        if not busy:
            return
        ref = busy[n % len(busy)]
        run = self.workers[ref][0]
        piece = self.said[ref, run.serial]
        if piece < PIECES:
            self.said[ref, run.serial] += 1
            self.carry_out(self.router.worker(Said(ref, Output(serial=run.serial, text=f"{run.code}.{piece} "))))
        else:
            self.workers[ref].popleft()
            del self.said[ref, run.serial]
            self.carry_out(self.router.worker(Said(ref, Value(serial=run.serial, text=run.code, end=End()))))

    def carry_out(self, instructions: list[do.Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, do.Send):
                if self.wire is not None and self.wire.number in instruction.connections:
                    self.wire.down.append(instruction.message)
            elif isinstance(instruction, do.Start):
                ref = instruction.spec.ref
                self.workers[ref] = deque()
                self.carry_out(self.router.started(ref, Ready()))
            elif isinstance(instruction, do.Tell) and isinstance(instruction.message, Run):
                self.ran[instruction.message.code] += 1
                self.workers[instruction.ref].append(instruction.message)
            elif isinstance(instruction, do.Room):
                self.rooms.add(instruction.connection)
            else:
                assert not isinstance(instruction, do.Disconnect)

    # -- all of it ------------------------------------------------------------------------------

    def settle(self) -> None:
        """The client comes back and stays, and everything goes its way."""
        if self.wire is None:
            self.connect()
        wire = self.wire
        assert wire is not None
        for _ in range(5000):
            self.deliver(wire, 10)
            self.haunt(10)
            self.hear(10)
            self.room()
            self.work(0)
            if not (wire.up or wire.down or self.ghosts or self.rooms or any(self.workers.values())):
                return
        raise AssertionError("it never settles")

    def play(self, schedule: bytes) -> None:
        self.ask("clone")
        assert self.wire is not None
        self.deliver(self.wire, 1)
        self.hear(9)
        for step, n in zip(schedule[::2], schedule[1::2], strict=False):
            kind = step % 16
            if kind < 3:
                self.ask("eval", session=self.some_session(n), code=f"c{len(self.asked)}")
            elif kind < 6 and self.wire is not None:
                self.deliver(self.wire, n % 4 + 1)
            elif kind < 9:
                self.hear(n % 6 + 1)
            elif kind < 12:
                self.work(n)
            elif kind == 12:
                self.cut(late=n % 2 == 1)
            elif kind == 13 and self.wire is None:
                self.connect()
            elif kind == 14:
                self.haunt(n % 3)
                self.room()
            elif kind == 15:
                self.ask_more(n)
        self.settle()

    def some_session(self, n: int) -> str:
        return (*self.sessions, "shared")[n // 8 % (len(self.sessions) + 1)]

    def ask_more(self, n: int) -> None:
        op = ("describe", "ls-sessions", "clone", "stdin", "detach", "attach", "other")[n % 7]
        session = {"session": self.some_session(n)}
        if op == "other":
            message = {"op": "eval", "id": f"o{self.ran.total()}", "code": f"o{self.ran.total()}"}
            self.carry_out(self.router.received(OTHER, message | {"session": "shared"}))
        else:
            more = {"stdin": session | {"stdin": "x"}, "detach": session, "attach": session}
            self.ask(op, **more.get(op, {}))


def check(world: World, *, complete: bool) -> None:
    """Each request has ended once, each number was told once and in order, and nothing has run twice."""
    assert sorted(world.answered) == sorted(world.asked)
    assert not world.client.open
    for id, told in world.evals.items():
        numbers = [message["seq"] for message in told.messages if "seq" in message]
        assert numbers == sorted(set(numbers)), f"{id} was told {numbers}"
        assert len(told.ends) == 1, f"{id} has ended {len(told.ends)} times"
        error = told.ends[0].error
        assert error is None or isinstance(error, ReplayGap), error
        # Of a session it has never seen anything of, only the log can tell whether an eval had arrived.
        once = world.ran[told.code] <= 1 or (not complete and told.session == "shared")
        assert once, f"{told.code} ran {world.ran[told.code]} times"
        assert not (complete and (error or told.gap)), "something is missed that was there"
        if error is None:
            assert world.ran[told.code] >= 1
            out = "".join(message.get("out", "") for message in told.messages)
            whole = "".join(f"{told.code}.{piece} " for piece in range(PIECES))
            assert out == whole or told.gap, f"{out!r} and not {whole!r}, and nothing was said of it"
    for session in world.sessions:
        seen = [m["seq"] for m in world.others if m.get("session") == session and "seq" in m]
        assert seen == sorted(set(seen))


SCHEDULES = st.binary(min_size=80, max_size=400)


@settings(max_examples=400)
@given(SCHEDULES)
def test_nothing_is_missed_or_told_twice_however_often_it_is_cut(schedule: bytes) -> None:
    world = World(log_bytes=1 << 24)
    world.play(schedule)
    check(world, complete=True)


@settings(max_examples=400)
@given(SCHEDULES)
def test_what_the_log_has_lost_is_said(schedule: bytes) -> None:
    world = World(log_bytes=2000)
    world.play(schedule)
    check(world, complete=False)
