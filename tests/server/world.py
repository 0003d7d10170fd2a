"""A world around the router, for random schedules: clients, workers, timers, and what must always hold.

`World(Router).play(schedule)` turns bytes into events (a client's message, a worker's report, its
death, a timer, a disconnect), carries out the instructions against models of the workers and the
clients, and asserts the promises of the contract at every step and at the end. Byte 0 does nothing,
so that a failing schedule shrinks to the few steps that matter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Ask, Exited, Feed, Lost, Ref, Run, Said
from nrepl_py.evaluators.frames import Answer, Display, End, Failure, Finished, NeedInput, Output, Ready, Value
from nrepl_py.limits import Limits
from nrepl_py.ops import Cause, ErrorInfo
from nrepl_py.server import instructions as do
from nrepl_py.server.context import Asker, Watch
from nrepl_py.server.principals import Principal

from .seats import Seats

ANN = Principal("ann", frozenset({"eval"}))
BOB = Principal("bob", frozenset({"eval"}))
EYE = Principal("ann", frozenset({"observe"}))
LOOKS = ("attach", "detach", "completions", "signature", "lookup", "is-complete")
"""What who may only observe may ask for."""
LIMITS = Limits(
    max_queue_evals=3, max_open_questions=2, max_sessions_per_principal=3, max_stdin_bytes=1024,
    log_bytes=12 << 10, outbox_bytes=16 << 10,
    session_idle_seconds=40, cull_notice_seconds=2, max_crashes_in_a_row=2, crash_seconds=6,
)  # fmt: skip


def make_router(Router: Any, limits: Limits = LIMITS, **changes: Any) -> Any:  # noqa: N803
    """A router in surroundings where nothing is random and every bug is raised."""
    numbers = count(1)

    def raise_bug(where: str, bug: BaseException) -> None:
        raise AssertionError(f"bug in {where}") from bug

    tokens = {"ann": ANN, "bob": BOB}
    arguments = {
        "evaluator_describe": lambda: {"tier": "none"},
        "evaluator_capabilities": frozenset({"interrupt", "kill"}),
        "limits": limits,
        "stages": lambda ref, serial: ("sigint",),
        "memory": lambda ref: 1000,
        "clock": lambda: float(next(numbers)),
        "monotonic": lambda: 0.0,
        "new_id": lambda: f"s{next(numbers)}",
        "check_token": tokens.get,
        "defaults": {"versions": {"nrepl-py": "1"}, "transports": ["ws"]},
        "on_bug": raise_bug,
    }
    return Router(**(arguments | changes))


@dataclass
class Worker:
    """What the world knows of one worker."""

    up: bool = False
    stopped: bool = False
    gone: bool = False
    held: bool = False
    running: int | None = None
    waits: bool = False
    questions: list[int] = field(default_factory=list)
    up_at: float = 0.0
    proved: bool = False


@dataclass
class Use:
    """What the world knows of how a session was used."""

    idle: float
    own: bool
    last: float
    warned: bool = False
    crashes: int = 0


@dataclass
class Request:
    """What the world knows of one request."""

    op: str
    connection: int
    session: str | None = None
    order: int = 0
    epoch: int | None = None
    started: bool = False
    answered: bool = False
    timed_out: bool = False
    given: list[str] = field(default_factory=list)
    fed: list[str] = field(default_factory=list)
    target: str | None = None
    gave_up: bool = False
    refused: bool = False
    asker: int = 0
    """Who is told, and waited for: who asked, or came back for it."""
    kill_after: float | None = None
    kill_at: float | None = None
    """When the worker of this eval must be killed, at the latest."""
    killed: bool = False
    must_say_timeout: bool = False
    asked_in: int = 0
    """The epoch in which a restart was asked for."""

    def __post_init__(self) -> None:
        self.asker = self.connection


class Witness(Watch):
    """Remembers what the watcher is told."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[int, str]] = Counter()
        self.outcome: dict[tuple[int, str], list[str]] = {}
        self.ran: Counter[tuple[int, str]] = Counter()
        self.lives: dict[str, list[str]] = {}

    def answered(self, asker: Asker, reply: dict[str, Any]) -> None:
        assert reply["status"][-1] == "done"
        self.ended[asker.connection, asker.id] += 1
        self.outcome[asker.connection, asker.id] = reply["status"]

    def running(self, asker: Asker) -> None:
        self.ran[asker.connection, asker.id] += 1

    def session(self, event: str, session: str, principal: str, cause: Cause | None) -> None:
        self.lives.setdefault(session, []).append(event)


class World:
    def __init__(self, Router: Any) -> None:  # noqa: N803
        self.witness = Witness()
        self.asked: Counter[tuple[int, str]] = Counter()
        """How often each request was sent, and so must have ended when all has settled."""
        self.now = 0.0
        self.router = make_router(Router, watch=self.witness, monotonic=lambda: self.now)
        self.connections: dict[int, Principal | None] = {}
        self.full: set[int] = set()
        self.rooms: set[int] = set()
        """Connections that are to be told when they have room."""
        self.dropped: set[int] = set()
        self.seats = Seats()
        self.stallers: dict[str, int] = {}
        """Whose eval runs, or ran last, in each session."""
        self.workers: dict[Ref, Worker] = {}
        self.timers: dict[do.TimerKey, float] = {}
        """When each is due."""
        self.all_timers: list[do.TimerKey] = []
        self.requests: dict[str, Request] = {}
        self.uses: dict[str, Use] = {}
        self.idles: dict[str, float | None] = {}
        """What each `clone` asked for."""
        self.sessions: dict[str, Any] = {}
        self.seen: dict[str, int] = {}
        self.serials: dict[tuple[str, int], str] = {}
        self.aimed: set[str] = set()
        self.sent: list[tuple[tuple[int, ...], dict[str, Any]]] = []
        self.number = 0
        self.may_stop_early = False

    # -- the schedule ---------------------------------------------------------------------------

    def play(self, schedule: bytes) -> None:
        self._connect(ANN)
        self._clone(0)
        self._worker_starts(0)
        for action, argument in zip(schedule[::2], schedule[1::2], strict=False):
            _ACTIONS[action % len(_ACTIONS)](self, argument)
        self._end(schedule[-1] if schedule else 0)

    def _end(self, how: int) -> None:
        """However it goes on from here, every request is answered."""
        if how % 4 == 0:
            self._carry_out(self.router.drain())
        elif how % 4 == 1:
            for ref in [ref for ref, worker in self.workers.items() if worker.up and not worker.gone]:
                self._die(ref)
        elif how % 4 == 2:
            for session in [session for session in self.sessions.values() if session.life != "closed"]:
                connection = next((c for c in self.connections if self._may(c, session)), None)
                if connection is not None and not session.transient:
                    self._ask(connection, "close", session=session.id)
        self._settle()
        for id, request in self.requests.items():
            assert request.answered or request.connection not in self.connections, f"{id} {request} has no done"
            assert request.answered or not request.started or request.session is None, request
        assert self.witness.ended == +self.asked, "not each request has had one outcome"
        assert set(self.witness.ran) == {self._sender(code) for code in self.serials.values()}
        assert max(self.witness.ran.values(), default=1) == 1
        assert not any(session.evals for session in self.sessions.values())
        assert not any(session.transient for session in self.router._registry.by_id.values()), "it has nothing to run"
        live = {("idle", session.id) for session in self.router._registry.by_id.values()}
        assert not {key for key in self.timers if key[0] not in ("hello", "tick")} - live
        for ref, worker in self.workers.items():
            owner = self.router._registry.by_id.get(ref.id)
            wanted = owner is not None and owner.ref == ref
            assert wanted or worker.stopped or worker.gone or not worker.up, f"{ref} is left behind"

    def _settle(self) -> None:
        """Workers start and stop, evals end, questions are answered, until nothing is left to do."""
        for _ in range(1000):
            starting = [i for i, worker in enumerate(self._alive()) if not worker[1].up]
            busy = [ref for ref, worker in self._alive() if worker.running is not None]
            asked = [ref for ref, worker in self._alive() if worker.questions]
            stopping = [ref for ref, worker in self._alive() if worker.up and worker.stopped]
            if self.rooms:
                self._give_room(next(iter(self.rooms)))
            elif starting:
                self._worker_starts(0)
            elif stopping:
                self._die(stopping[0])
            elif busy:
                self._finish(busy[0], ())
            elif asked:
                self._answer(asked[0])
            else:
                return
        raise AssertionError("it never settles")

    # -- actions --------------------------------------------------------------------------------

    def _nothing(self, n: int) -> None:
        pass

    def _connect(self, principal: Principal | None) -> int:
        self.number += 1
        if len(self.connections) < 4:
            self.connections[self.number] = principal
            self._carry_out(self.router.connected(self.number, principal))
        return self.number

    def _client_comes(self, n: int) -> None:
        self._connect((ANN, BOB, None, EYE)[n % 4])

    def _client_goes(self, n: int) -> None:
        connection = self._connection(n)
        if connection is not None:
            self._leaves(connection)

    def _leaves(self, connection: int) -> None:
        for session in self.sessions.values():
            if connection in session.stream.clients:
                self._used(session.id)
        del self.connections[connection]
        self.full.discard(connection)
        self.rooms.discard(connection)
        self.dropped.discard(connection)
        self.seats.leave(connection)
        self._carry_out(self.router.disconnected(connection))
        alone = [s.transient for s in self.router._registry.by_id.values() if s.transient]
        assert all(asker.connection != connection for asker in alone), "an eval nobody can hear goes on"

    def _hello(self, n: int) -> None:
        connection = next((c for c, p in self.connections.items() if p is None), None)
        if connection is not None:
            if n % 2:
                self.connections[connection] = ANN
                self._ask(connection, "hello", token="ann")
            else:
                self._ask(connection, "describe")

    def _clone(self, n: int) -> None:
        connection = self._connection(n)
        if connection is not None:
            idle = (None, None, 9, 0)[(n >> 3) % 4]
            self._ask(connection, "clone", name="main" if n % 5 == 4 else None, idle=idle)

    def _eval(self, n: int) -> None:
        connection = self._connection(n)
        session = self._session(n >> 2)
        if connection is None or session is None or self.connections[connection] is None:
            return
        hopeless = session.life == "dead" and self.uses[session.id].crashes >= LIMITS.max_crashes_in_a_row
        starts = len(self.workers)
        id = self._ask(connection, "load-file" if n & 64 else "eval", session=session.id, **_bounds(n))
        if session.life == "dead" and self._may(connection, session) and hopeless:
            assert self.witness.outcome[connection, id][1] == "start-failed", "the loop goes on"
        assert len(self.workers) == starts or not hopeless, "the loop goes on"
        assert not hopeless or self.requests[id].answered

    def _eval_alone(self, n: int) -> None:
        connection = self._connection(n)
        if connection is not None and self.connections[connection] is not None:
            self._ask(connection, "eval", **_bounds(n >> 2))

    def _eval_again(self, n: int) -> None:
        """The id of an open eval, or of the one with the newest message, is refused."""
        session = self._session(n)
        if session is None:
            return
        ids = list(session.evals) + [
            m["id"] for m in session.stream.log.since(session.stream.log.last_seq - 1) if "id" in m
        ]
        connection = next((c for c in self.connections if self._may(c, session)), None)
        if ids and connection is not None:
            message = {"op": "eval", "id": ids[n % len(ids)], "session": session.id, "code": "again"}
            self.asked[connection, message["id"]] += 1
            self._used(session.id)
            said = self.router.received(connection, message)
            assert len(said) == 1, "accepted twice"
            send = said[0]
            assert isinstance(send, do.Send)
            assert send.connections == (connection,)
            assert send.message["status"] == ["error", "duplicate-id", "done"]

    def _interrupt(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is None or session is None:
            return
        named = list(session.evals)[(n >> 3) % 4 :][:1] if n & 4 else []
        running = session.running.id if session.running else None
        mine = self._may(connection, session)
        target = running if named in ([], [running]) else None
        if mine and target is not None:
            self.aimed.add(target)
        extra: dict[str, Any] = {"interrupt-id": named[0]} if named else {}
        if n & 64:
            extra["kill-after"] = n % 5
        if mine and target is not None:
            self._will_kill(target, extra.get("kill-after"))
        id = self._ask(connection, "interrupt", session=session.id, all=n & 32 > 0, target=target, **extra)
        if named and mine and n & 32 == 0 and named[0] != running and not session.transient:
            assert self.requests[named[0]].answered
            assert self.requests[id].answered

    def _interrupt_alone(self, n: int) -> None:
        connection = self._connection(n)
        ids = [id for id, r in self.requests.items() if r.op == "eval" and r.session is None and not r.answered]
        if connection is not None and ids:
            id = ids[n % len(ids)]
            self.aimed.add(id)
            extra: dict[str, Any] = {"kill-after": n % 5} if n & 64 else {}
            if any(s.running is not None and s.running.id == id for s in self.sessions.values()):
                self._will_kill(id, extra.get("kill-after"))
            self._ask(self.requests[id].connection, "interrupt", **{"interrupt-id": id, "target": id}, **extra)

    def _stdin(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is None or session is None or session.transient or not self._may(connection, session):
            return
        text = ("", "x\n", "yy\n", "z" * 600)[n % 4] + (str(n) if n % 4 else "")
        running = session.running
        id = self._ask(connection, "stdin", session=session.id, stdin=text)
        if running is not None and self.requests[id].gave_up is False:
            self.requests[running.id].given.append(text)

    def _introspect(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is not None and session is not None:
            self._ask(connection, "is-complete" if n & 16 else "completions", session=session.id, cursor=0)

    def _close(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is not None and session is not None and n % 3 == 0:
            self._ask(connection, "close", session=session.id)

    def _attach(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is None or session is None:
            return
        last = session.stream.log.last_seq
        since = (None, 0, last // 2, last, last, last + 1, -1, None)[(n >> 4) % 8]
        sees = self._sees(connection, session)
        valid = sees and (since is None or 0 <= since <= last)
        if valid:
            self.number += 1
            id, at = f"r{self.number}", last if since is None else since
            if since is not None or not self.seats.stay(session.id, connection, id):
                self.seats.take(session.id, connection, at, live=since is None, request=id)
            self.number -= 1
            if since is not None and self._may(connection, session):
                self._take_over(connection, session)
        fields = {} if since is None else {"since": since}
        id = self._ask(connection, "attach", session=session.id, **fields)
        assert self.requests[id].refused is not valid

    def _take_over(self, connection: int, session: Any) -> None:
        for id in session.evals:
            if self.requests[id].asker not in self.connections:
                self.requests[id].asker = connection
        if self.stallers.get(session.id, connection) not in self.connections:
            self.stallers[session.id] = connection

    def _detach(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is not None and session is not None:
            if self._sees(connection, session):
                self.seats.detach(session.id, connection)
            self._ask(connection, "detach", session=session.id)

    def _room_comes(self, n: int) -> None:
        waiting = sorted(self.rooms - self.full)
        if waiting:
            self._give_room(waiting[n % len(waiting)])

    def _give_room(self, connection: int) -> None:
        if connection in self.full:
            self.full.discard(connection)
            self._carry_out(self.router.congested(connection, False))
        self.rooms.discard(connection)
        self._carry_out(self.router.room(connection))

    def _restart(self, n: int) -> None:
        connection, session = self._connection(n), self._session(n >> 2)
        if connection is not None and session is not None:
            self._ask(connection, "restart", session=session.id)

    def _congest(self, n: int) -> None:
        connection = self._connection(n)
        if connection is not None:
            (self.full.add if n & 128 else self.full.discard)(connection)
            self._carry_out(self.router.congested(connection, bool(n & 128)))

    def _nonsense(self, n: int) -> None:
        connection = self._connection(n)
        if connection is not None:
            message: dict[str, Any] = ({}, {"op": 3}, {"op": "evl", "id": "1"})[n % 3]
            self.asked[connection, message.get("id", "")] += 1
            (send, *_) = self.router.received(connection, message)
            assert send.message["status"][0] == "error"

    def _worker_starts(self, n: int) -> None:
        starting = [ref for ref, worker in self._alive() if not worker.up]
        if starting:
            ref = starting[n % len(starting)]
            if n % 7 == 6:
                self.workers[ref].gone = True
                self._crashed(ref.id)
                self._carry_out(self.router.start_failed(ref, StartFailed("no such interpreter")))
            elif n % 7 == 5:
                # Its end may be told before its start.
                self._die(ref)
                self._carry_out(self.router.started(ref, Ready()))
            else:
                self.workers[ref].up = True
                self.workers[ref].up_at = self.now
                self._carry_out(self.router.started(ref, Ready(python="3.11", executable="py", cwd="/")))

    def _worker_dies(self, n: int) -> None:
        alive = [ref for ref, worker in self._alive() if worker.up]
        if alive and n % 3 == 0:
            self._die(alive[n % len(alive)])

    def _worker_stops(self, n: int) -> None:
        stopping = [ref for ref, worker in self._alive() if worker.up and worker.stopped]
        if stopping:
            self._die(stopping[n % len(stopping)])

    def _worker_says(self, n: int) -> None:
        alive = [ref for ref, worker in self._alive() if worker.up]
        if not alive:
            return
        ref = alive[n % len(alive)]
        running = self.workers[ref].running
        # Also what has ended, what is not yet running, and what is nothing at all.
        others: tuple[int | None, ...] = (None, (running or 2) - 1, (running or 0) + 1, 999)
        serial = running if n & 8 else others[(n >> 4) % 4]
        number = serial or 0
        report: Any = (
            Output(stream="out", serial=serial, text="o" * (9000 if n & 128 else 3)),
            Value(serial=number, text="1", end=None if n & 64 else End()),
            Display(serial=serial, mime={"text/plain": "d"}),
            NeedInput(serial=number, prompt="? "),
            Failure(serial=number, error=ErrorInfo(type="E", module=None, message=""), traceback="E\n"),
            Finished(serial=number),
            Ready(),
            Answer(number=n),
        )[(n >> 1) % 8]
        end = getattr(report, "end", None)
        if serial == running and running is not None:
            if isinstance(report, NeedInput):
                self.workers[ref].waits = True
            if end is not None:
                self._ended(ref)
                self._proved(ref)
        self._carry_out(self.router.worker(Said(ref, report)))

    def _worker_finishes(self, n: int) -> None:
        busy = [ref for ref, worker in self._alive() if worker.running is not None]
        if busy:
            status = ((), (), ("eval-error",), ("interrupted",), ("exit",))[n % 5]
            self._finish(busy[n % len(busy)], status)

    def _worker_answers(self, n: int) -> None:
        asked = [ref for ref, worker in self._alive() if worker.questions]
        if asked:
            self._answer(asked[n % len(asked)])

    def _worker_asks(self, n: int) -> None:
        busy = [ref for ref, worker in self._alive() if worker.running is not None and not worker.waits]
        if busy:
            ref = busy[n % len(busy)]
            self.workers[ref].waits = True
            self._carry_out(
                self.router.worker(Said(ref, NeedInput(serial=self.workers[ref].running or 0, prompt="? ")))
            )

    def _timer_fires(self, n: int) -> None:
        """One that is due, or one that was cancelled just as it fired: that one must do nothing."""
        due = sorted(self.timers, key=str)
        if n & 64:  # the rarest ones, of which there is most to say
            due = [key for key in due if key[0] in ("kill", "idle")] or due
        if n % 4 == 3 and self.all_timers:
            key = self.all_timers[n % len(self.all_timers)]
        elif due:
            key = due[n % len(due)]
        else:
            return
        live = key in self.timers
        self.now = max(self.now, self.timers.pop(key, 0))
        if key[0] in ("timeout", "giveup", "grace", "kill") and live:
            id = self.serials[str(key[1]), int(key[2])]
            request = self.requests[id]
            self.may_stop_early = key[0] == "giveup"
            self.aimed.add(id)
            request.timed_out |= key[0] == "timeout"
            if key[0] == "timeout":
                self._will_kill(id, request.kill_after)
            if key[0] == "kill":
                assert request.kill_at is not None, "nobody wanted it killed"
                assert self.now >= request.kill_at, "killed too early"
                request.must_say_timeout |= request.timed_out and not request.killed
                request.killed = True
        before = len(self.sent)
        wanted = self._idle_fires(str(key[1])) if key[0] == "idle" and live else None
        self._carry_out(self.router.timer(key))
        self.may_stop_early = False
        assert wanted is None or wanted == self.witness.lives[str(key[1])][-1], f"idle for long, and not {wanted}"
        assert live or len(self.sent) == before, f"{key} was cancelled, yet it said something"

    def _idle_fires(self, id: str) -> str | None:
        """What must become of an idle session now."""
        session, use = self.sessions[id], self.uses[id]
        at_work = session.evals or session.life in ("starting", "stopping")
        if at_work or (session.stream.clients and not use.own):
            self._used(id)
            return None
        notice = min(LIMITS.cull_notice_seconds, use.idle / 10)
        if self.now - use.last < use.idle - notice:
            return None
        return "closed" if use.warned else "culling"

    # -- helpers --------------------------------------------------------------------------------

    def _connection(self, n: int) -> int | None:
        return list(self.connections)[n % len(self.connections)] if self.connections else None

    def _session(self, n: int) -> Any:
        sessions = [s for s in self.sessions.values() if s.life != "closed" and not s.transient]
        return sessions[n % len(sessions)] if sessions else None

    def _ready(self) -> list[Any]:
        return [session for session in self.sessions.values() if session.life == "ready"]

    def _will_kill(self, id: str, after: float | None) -> None:
        request = self.requests[id]
        if after is not None:
            at = self.now + after
            request.kill_at = at if request.kill_at is None else min(request.kill_at, at)

    def _alive(self) -> list[tuple[Ref, Worker]]:
        return [(ref, worker) for ref, worker in self.workers.items() if not worker.gone]

    def _sees(self, connection: int, session: Any) -> bool:
        principal = self.connections[connection]
        return principal is not None and principal.name == session.principal

    def _may(self, connection: int, session: Any) -> bool:
        return self._sees(connection, session) and self.connections[connection] is not EYE

    def _ask(self, connection: int, op: str, target: str | None = None, **fields: Any) -> str:
        self.number += 1
        id = f"r{self.number}"
        kill_after = fields.get("kill-after")
        fields = {name: value for name, value in fields.items() if value is not None or name != "idle"}
        request = Request(op, connection, fields.get("session"), self.number, target=target, kill_after=kill_after)
        self.requests[id] = request
        session = self.sessions.get(request.session or "")
        if op == "clone":
            self.idles[id] = fields.get("idle")
        if session is not None:
            request.asked_in = session.ref.epoch
            if self._may(connection, session) or (self._sees(connection, session) and op in LOOKS):
                self._used(session.id)
                self.uses[session.id].crashes *= op != "restart"
        if session is not None and op in ("eval", "load-file"):
            to_come = session.life in ("dead", "stopping") or bool(session.waiting._later)
            request.epoch = session.ref.epoch + to_come
        self.asked[connection, id] += connection in self.connections  # else it is nobody's
        self._carry_out(self.router.received(connection, {"op": op, "id": id, "code": id} | fields))
        return id

    def _sender(self, id: str) -> tuple[int, str]:
        return self.requests[id].connection, id

    def _die(self, ref: Ref) -> None:
        worker = self.workers[ref]
        worker.gone = True
        if not worker.stopped:
            if worker.up and (worker.proved or self.now >= worker.up_at + LIMITS.crash_seconds):
                self.uses[ref.id].crashes = 0
            else:
                self._crashed(ref.id)
        cause = Cause(kind="oom" if ref.epoch % 2 else "exit", code=3, last_stderr="Killed")
        self._carry_out(self.router.worker((Exited if ref.epoch % 2 else Lost)(ref, cause)))

    def _crashed(self, id: str) -> None:
        if id in self.uses:
            self.uses[id].crashes += 1

    def _proved(self, ref: Ref) -> None:
        if not self.workers[ref].stopped:
            self.workers[ref].proved = True
            self.uses[ref.id].crashes = 0

    def _used(self, id: str) -> None:
        self.uses[id].last = self.now
        self.uses[id].warned = False

    def _ended(self, ref: Ref) -> None:
        self.workers[ref].running = None
        self.workers[ref].waits = False

    def _finish(self, ref: Ref, status: Any) -> None:
        serial = self.workers[ref].running or 0
        self._ended(ref)
        self._proved(ref)
        self._carry_out(self.router.worker(Said(ref, Finished(serial=serial, end=End(status=status)))))

    def _answer(self, ref: Ref) -> None:
        number = self.workers[ref].questions.pop()
        self._carry_out(
            self.router.worker(Said(ref, Answer(number=number, body={"state": "complete", "completions": []})))
        )

    # -- carrying out, and what must hold -------------------------------------------------------

    def _carry_out(self, instructions: list[do.Instruction]) -> None:
        for session in self.router._registry.by_id.values():
            if session.id not in self.sessions:
                self.sessions[session.id] = session
                own = None
                if not session.transient:
                    clone = session.waiting.clone
                    self.seats.take(session.id, clone.connection, 0, live=True)
                    own = self.idles[clone.id]
                self.uses[session.id] = Use(own if own is not None else 40, own is not None, self.now)
        self.seats.live.clear()
        self.ended_now: set[str] = set()
        self.claims: list[tuple[str, bool]] = []
        for instruction in instructions:
            _DO[type(instruction)](self, instruction)
        for session in self.sessions.values():
            if not session.transient:
                self._check_stream(session)
                self._check_bounds(session)
        self._check_holds()
        for connection in sorted(self.dropped):
            if connection in self.dropped:
                self._leaves(connection)
        self._check_workers()
        for target, ended in self.claims:
            assert self.requests[target].answered, "an interrupt was answered before its eval had ended"
            assert ended == (target in self.ended_now), "an interrupt was answered ahead of its eval's end"

    def _check_stream(self, session: Any) -> None:
        log, id = session.stream.log, session.id
        for message in log.since(self.seen.get(id, 0)):
            seen = self.seen[id] = self.seen.get(id, 0) + 1
            assert message["seq"] == seen, f"a hole before {message}"
            assert message["session"] == id
            self.seats.said[id, seen] = message
            if message.get("event") == "clients":
                assert abs(message["count"] - self.seats.count[id]) == 1, "told of what is no news"
                self.seats.count[id] = message["count"]
            asker = self._asker(message)
            sent = self.seats.live.get((id, seen), set())
            strangers = {connection for connection in sent if (id, connection) not in self.seats.taken}
            assert strangers <= {asker}, f"{message} went to {strangers}"
            if (
                asker in set(self.connections) - self.dropped
                and (id, asker) not in self.seats.taken
                and "late" not in message
            ):
                assert asker in sent, f"{message} did not go to {asker}"
            self._check_reply(message)
            if message.get("event") in ("culling", "closed", "died"):
                self._check_event(session, message)
        assert self.seen.get(id, 0) == log.last_seq
        self.seats.check(id, log.last_seq, closed=session.life == "closed", leaving=self.dropped)

    def _asker(self, message: dict[str, Any]) -> int | None:
        request = self.requests.get(message.get("id", ""))
        return request.asker if request else None

    def _check_event(self, session: Any, message: dict[str, Any]) -> None:
        use = self.uses[session.id]
        if message["event"] == "died":
            loops = use.crashes >= LIMITS.max_crashes_in_a_row
            assert message.get("crash-loop", False) == loops, f"{use.crashes} crashes"
            return
        culled = message["event"] == "culling" or message["cause"]["kind"] == "idle"
        if not culled:
            return
        assert not session.evals, "it works"
        assert use.own or not session.stream.clients, "somebody is there"
        assert use.idle, "it is for ever"
        ends = message["event"] == "closed"
        assert use.warned == ends, "not said, or said twice"
        notice = min(LIMITS.cull_notice_seconds, use.idle / 10)
        assert self.now - use.last >= use.idle - (0 if ends else notice) - 0.01, "too early"
        if not ends:
            assert message["seconds"] == notice
            use.warned = True

    def _check_bounds(self, session: Any) -> None:
        assert len(session.queue) <= LIMITS.max_queue_evals
        assert len(session.questions._open) <= LIMITS.max_open_questions

    def _check_workers(self) -> None:
        """Whoever wants one killed is not forgotten, and nobody waits longer than the first of them; and each session
        has its time."""
        for session in self.router._registry.by_id.values():
            assert (("idle", session.id) in self.timers) == (not session.transient and self.uses[session.id].idle > 0)
        for session in self._ready():
            worker = self.workers[session.ref]
            assert worker.up, "ready, with a worker that is not"
            assert not worker.gone, "ready, with a worker that is gone"
            if session.running is not None:
                at = self.requests[session.running.id].kill_at
                assert self.timers.get(("kill", session.id, session.running.run.serial)) == at

    def _check_holds(self) -> None:
        for session in self._ready():
            worker = self.workers.get(session.ref)
            if worker is not None and worker.running is not None and session.running is not None and not worker.gone:
                asker = self.requests[session.running.id].asker
                wanted = asker in self.full or self.seats.replaying(session.id, asker)
                assert worker.held == wanted, f"{session.ref} held: {worker.held}"

    def _check_reply(self, message: dict[str, Any]) -> None:
        """One message of a request, in the order in which it was said."""
        id = message.get("id")
        if id is None or id not in self.requests:
            return
        request = self.requests[id]
        assert request.answered == ("late" in message), f"{message} after done, or late before it"
        status = message.get("status", [])
        if "done" in status:
            assert set(self.witness.outcome[self._sender(id)]) <= set(status), f"something else was told of {message}"
        if "seq" in message and not request.started and "late" not in message:
            ended = {"cancelled", "session-died", "session-closed", "session-restarted"}
            assert "started" in message or set(status) & ended, message
        request.started |= "started" in message
        if "done" not in status:
            return
        request.answered = True
        request.refused = "error" in status
        if "seq" in message and request.started and "session" in message:
            self._used(message["session"])
        assert status[-1] == "done"
        assert status.count("done") == 1
        request.gave_up = "busy" in status or "session-idle" in status
        if request.op in ("eval", "load-file"):
            assert "error" in status or ("timeout" in status) <= request.timed_out
            if request.killed and {"interrupted", "session-restarted"} <= set(status):
                assert request.must_say_timeout <= ("timeout" in status)
        if request.op == "restart" and status == ["done"]:
            session = self.sessions[message["session"]]
            assert message["epoch"] == session.ref.epoch > request.asked_in, (
                "answered by a worker that was there before"
            )
            assert self.workers[session.ref].up
        if "kill" in message.get("stages", ()):
            assert request.target is not None
            assert self.requests[request.target].killed
        if request.op == "interrupt" and status == ["done"] and request.target is not None:
            self.claims.append((request.target, request.target in self.ended_now))
        if "still-running" in status:
            assert self.may_stop_early
            assert request.kill_after is None, "gave up, though it was to be killed"

    def _send(self, send: do.Send) -> None:
        assert send.connections
        assert len(set(send.connections)) == len(send.connections), "sent twice"
        assert set(send.connections) <= set(self.connections), "sent to one that is gone"
        self.sent.append((send.connections, send.message))
        message = send.message
        if "seq" in message and "session" in message and not self._seated(send):
            return
        if "seq" in message and "done" in message.get("status", ()):
            self.ended_now.add(message["id"])
        if "seq" not in message:
            self.seats.answer({"id": None} | message, self.seen.get(message.get("session", ""), 0))
            self._check_reply(message)
        elif "session" not in message:
            request = self.requests[message["id"]]
            seen = self.seen[message["id"]] = self.seen.get(message["id"], 0) + 1
            assert message["seq"] == seen
            assert send.connections == (request.connection,)
            self._check_reply(message)

    def _seated(self, send: do.Send) -> bool:
        """It is of a session's stream; whether it is said now, and not sent once more."""
        message, session = send.message, send.message["session"]
        new = {
            self.seats.send(connection, message, self.sessions[session].stream.log.first_seq)
            for connection in send.connections
            if connection not in self.dropped
        } or {True}
        assert len(new) == 1
        if new == {True}:
            patient = {self.stallers.get(session), None if "late" in message else self._asker(message)}
            assert not set(send.connections) & self.full - patient - self.dropped, (
                "it piles up where nobody reads and nobody waits"
            )
        return new == {True}

    def _room(self, room: do.Room) -> None:
        assert room.connection not in self.rooms, "asked for twice"
        assert room.connection in self.connections
        self.rooms.add(room.connection)

    def _start(self, start: do.Start) -> None:
        ref = start.spec.ref
        before = {r.epoch: w for r, w in self.workers.items() if r.id == ref.id}
        assert ref.epoch == max(before, default=0) + 1, "epochs count the workers"
        assert all(worker.gone for worker in before.values()), "two workers at once"
        self.workers[ref] = Worker()

    def _tell(self, tell: do.Tell) -> None:
        worker, message = self.workers[tell.ref], tell.message
        assert worker.up, "told before it had started"
        assert not worker.stopped
        assert not worker.gone
        if isinstance(message, Run):
            request = self.requests[message.code]
            assert worker.running is None, "two evals at once"
            assert not request.answered
            assert request.epoch in (None, tell.ref.epoch), "ran in another worker than it was queued for"
            before = [self.requests[id].order for (s, _), id in self.serials.items() if s == tell.ref.id]
            assert all(order < request.order for order in before), "not in order"
            worker.running = message.serial
            self.stallers[tell.ref.id] = request.asker
            self.serials[tell.ref.id, message.serial] = message.code
        elif isinstance(message, Feed):
            if message.serial == worker.running:
                request = self.requests[self.serials[tell.ref.id, message.serial]]
                assert worker.waits, "fed before it asked"
                worker.waits = False
                request.fed.append(message.text)
                given = [*request.given, message.text]
                assert request.fed == given[: len(request.fed)], "input out of order"
            else:
                assert message.text == ""
        elif isinstance(message, Ask):
            worker.questions.append(message.number)

    def _signal(self, signal: do.Signal) -> None:
        worker = self.workers[signal.ref]
        assert worker.stopped or worker.running == signal.serial, "a signal for an eval that does not run"
        assert self.serials[signal.ref.id, signal.serial] in self.aimed, "a signal nobody asked for"

    def _stop(self, stop: do.Stop) -> None:
        worker = self.workers[stop.ref]
        assert worker.up or worker.gone
        assert not worker.stopped, "stopped twice"
        session = self.sessions[stop.ref.id]
        assert session.ref != stop.ref or session.life in ("stopping", "dead", "closed"), "it was wanted"
        worker.stopped = True

    def _hold(self, hold: do.Hold) -> None:
        assert self.workers[hold.ref].held != hold.held
        self.workers[hold.ref].held = hold.held

    def _set_timer(self, timer: do.SetTimer) -> None:
        self.timers[timer.key] = self.now + timer.seconds
        self.all_timers.append(timer.key)

    def _cancel_timer(self, timer: do.CancelTimer) -> None:
        self.timers.pop(timer.key, None)

    def _disconnect(self, disconnect: do.Disconnect) -> None:
        if disconnect.code == 4408:
            assert disconnect.connection in self.full
            mine = {id for id, staller in self.stallers.items() if staller == disconnect.connection}
            watched = {id for id, connection in self.seats.taken if connection == disconnect.connection} - mine
            asked = {r.session for r in self.requests.values() if r.asker == disconnect.connection} - mine
            assert watched or asked, "it was dropped, and the worker could have waited for it"
            self.dropped.add(disconnect.connection)
            return
        assert disconnect.code == 4401
        assert self.connections[disconnect.connection] is None


def _bounds(n: int) -> dict[str, Any]:
    """An eval's own."""
    return ({"timeout": 3} if n % 3 == 0 else {}) | ({"kill-after": n % 4} if n % 2 else {})


_DO: dict[type, Any] = {
    do.Send: World._send,
    do.Room: World._room,
    do.Start: World._start,
    do.Tell: World._tell,
    do.Signal: World._signal,
    do.Stop: World._stop,
    do.Hold: World._hold,
    do.SetTimer: World._set_timer,
    do.CancelTimer: World._cancel_timer,
    do.Disconnect: World._disconnect,
}

_ACTIONS: list[Any] = [
    World._nothing,
    *[World._eval] * 5,
    *[World._worker_says] * 5,
    *[World._worker_finishes] * 4,
    *[World._worker_starts] * 3,
    *[World._interrupt] * 3,
    *[World._timer_fires] * 4,
    *[World._stdin] * 2,
    *[World._restart] * 2,
    *[World._worker_stops] * 2,
    *[World._introspect] * 2,
    *[World._attach] * 3,
    *[World._room_comes] * 2,
    World._detach,
    World._worker_asks,
    World._worker_answers,
    World._worker_dies,
    *[World._eval_alone] * 3,
    World._interrupt_alone,
    World._eval_again,
    World._clone,
    World._close,
    World._client_comes,
    World._client_goes,
    World._hello,
    World._congest,
    World._nonsense,
]
