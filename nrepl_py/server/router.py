"""Connections, sessions and requests: events in, instructions out.

The router knows who may ask (`received` lets nobody past without a principal), finds the session
that is meant, and turns every refusal and every bug of its own into the one reply the asker is owed.
What an op does is in `handlers.py`; what a session promises, in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from nrepl_py.errors import Forbidden, Internal, NreplError, Unauthorized, Unavailable, reply
from nrepl_py.evaluators.base import Ref, Said, WorkerEvent
from nrepl_py.evaluators.frames import Ready
from nrepl_py.limits import Limits
from nrepl_py.ops import OPS, EvalOptions
from nrepl_py.server import audience
from nrepl_py.server.context import Asker, Connection, Context, Watch
from nrepl_py.server.core import UNAUTHORIZED, Core
from nrepl_py.server.handlers import HANDLERS
from nrepl_py.server.instructions import CancelTimer, Disconnect, Instruction, SetTimer, Stop, TimerKey
from nrepl_py.server.principals import Principal
from nrepl_py.server.registry import Registry
from nrepl_py.server.requests import to_request, valid_id
from nrepl_py.server.session import Session


def _ignore(where: str, bug: BaseException) -> None:
    """For routers nobody listens to."""


class Router:
    """The whole server but its I/O. No method raises; each returns what is to be done, in order.

    Connections are numbers chosen by the shell and never used twice. `defaults` holds `python`,
    `preload`, `versions` (for `describe` and `hello`) and `transports`. `on_bug` is told of
    exceptions that are our fault, `watch` of every request's end and every session's life. `clock` tells
    the time of day, `monotonic` seconds of a clock that never goes back.
    """

    def __init__(
        self,
        *,
        evaluator_describe: Callable[[], dict[str, Any]],
        evaluator_capabilities: frozenset[str],
        limits: Limits,
        stages: Callable[[Ref, int], tuple[str, ...]],
        memory: Callable[[Ref], int | None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        check_token: Callable[[str], Principal | None],
        defaults: dict[str, Any],
        on_bug: Callable[[str, BaseException], None] = _ignore,
        watch: Watch | None = None,
    ) -> None:
        self._context = Context(limits, clock, monotonic, stages, memory, evaluator_describe, watch or Watch())
        self._registry = Registry()
        self._core = Core(self._context, self._registry, new_id, check_token, evaluator_capabilities, defaults)
        self._limits = limits
        self._on_bug = on_bug
        self._draining = False

    @property
    def sessions(self) -> Collection[Session]:
        """All there are, for who counts them."""
        return self._registry.by_id.values()

    @property
    def output_bytes(self) -> int:
        """What workers have written so far."""
        return self._context.output_bytes

    # -- connections ----------------------------------------------------------------------------

    def connected(self, connection: int, principal: Principal | None, peer: str | None = None) -> list[Instruction]:
        """A connection is open; without a principal it must say `hello` with a token in time.
        `peer` says where it comes from, to those who watch."""
        limits = self._limits
        self._context.connections[connection] = Connection(connection, principal, limits.max_frame_bytes, peer)
        if principal is None:
            self._context.out.append(SetTimer(("hello", connection), limits.handshake_seconds))
        return self._context.take()

    def disconnected(self, connection: int) -> list[Instruction]:
        """It is gone. Its sessions and their evals go on; its evals without a session end."""
        gone = self._context.connections.pop(connection, None)
        if gone is None:
            return []
        self._context.full.discard(connection)
        if gone.principal is None:
            self._context.out.append(CancelTimer(("hello", connection)))
            return self._context.take()
        for session_id in list(gone.transients.values()):
            session = self._registry.by_id[session_id]
            self._core.close(session, "disconnect")
        for session in self._registry.of(gone.principal.name):
            audience.leave(self._context, session, connection)
        for replay in list(gone.replays):  # of sessions that are closed
            replay.end()
        return self._context.take()

    def congested(self, connection: int, full: bool) -> list[Instruction]:
        """Its outbox is over its bound (or again under half of it): hold (or release) the workers it asked."""
        client = self._context.connections.get(connection)
        if client is None:
            return []
        (self._context.full.add if full else self._context.full.discard)(connection)
        if client.principal is None:
            return []
        for session in self._registry.of(client.principal.name):
            session.hold()
        return self._context.take()

    def room(self, connection: int) -> list[Instruction]:
        """Its outbox has room, as `Room` asked: it gets more of a log, of several in turn."""
        client = self._context.connections.get(connection)
        if client is None:
            return []
        client.waits = False
        if client.replays:
            client.replays[0].go_on()
        if client.replays:
            client.replays.rotate(-1)
            self._context.ask_room(client)
        return self._context.take()

    def bounds(self, connection: int) -> tuple[int, int]:
        """Bytes of the largest frame this connection takes; and of `data` and `mime` in one message beyond that, 0 for
        none."""
        client = self._context.connections.get(connection)
        return (self._limits.max_frame_bytes, 0) if client is None else (client.max_frame, client.max_value)

    # -- messages -------------------------------------------------------------------------------

    def received(self, connection: int, message: dict[str, Any]) -> list[Instruction]:
        """A client said something."""
        client = self._context.connections.get(connection)
        if client is None:
            return []
        try:
            self._handle(client, message)
        except NreplError as error:
            self._refuse(client, message, error)
        except Exception as bug:
            self._on_bug(f"op {message.get('op')!r}", bug)
            self._refuse(client, message, Internal("the server failed at this; its log says how"))
        return self._context.take()

    def unparseable(self, connection: int, error: NreplError) -> list[Instruction]:
        """A frame was no message: say so, without an id."""
        client = self._context.connections.get(connection)
        if client is not None:
            self._context.reply(Asker(client, "", None), reply(error))
        return self._context.take()

    def _handle(self, client: Connection, message: dict[str, Any]) -> None:
        if client.principal is None and message.get("op") != "hello":
            raise Unauthorized("say 'hello' with the server's token first")
        request = to_request(message)
        kind = type(request)
        if client.principal is not None and not client.principal.may(kind):
            raise Forbidden(f"this needs the capability {kind.capability!r}, which {client.principal.name!r} lacks")
        if self._draining:
            raise Unavailable("the server is shutting down")
        fields = HANDLERS[kind](self._core, client, request)
        if fields is not None:
            self._context.reply(self._context.asker(client, request), {"id": request.id} | fields)

    def _refuse(self, client: Connection, message: dict[str, Any], error: NreplError) -> None:
        ref = message.get("session")
        known = None
        if client.principal is not None and isinstance(ref, str):
            known = self._registry.lookup(client.principal.name, ref)
        session = known.id if known is not None else valid_id({"id": ref})
        self._context.reply(self._asker(client, message), reply(error, valid_id(message), session))
        if isinstance(error, Unauthorized):
            self._context.out.append(Disconnect(client.number, UNAUTHORIZED, "unauthorized"))

    def _asker(self, client: Connection, message: dict[str, Any]) -> Asker:
        """Who sent a message that may be no request at all."""
        op, code = message.get("op"), message.get("code")
        kind = OPS.get(op) if isinstance(op, str) else None
        runs = kind is not None and issubclass(kind, EvalOptions) and isinstance(code, str)
        id = valid_id(message) or ""
        return Asker(client, id, op if kind else None, code if runs else None, self._context.watch.now())

    # -- workers --------------------------------------------------------------------------------

    def worker(self, event: WorkerEvent) -> list[Instruction]:
        """A worker said something or has ended; one that was replaced or closed is not heard."""
        session = self._registry.by_id.get(event.ref.id)
        if session is not None and session.spec.ref == event.ref:
            try:
                if type(event) is Said:
                    session.said(event.report)
                else:
                    session.died(event.cause)  # type: ignore[union-attr]
            except Exception as bug:
                self._on_bug(f"worker {event.ref}", bug)
            self._core.tidy(session)
        return self._context.take()

    def started(self, ref: Ref, ready: Ready) -> list[Instruction]:
        """The worker asked for by `Start` is up."""
        session = self._registry.by_id.get(ref.id)
        if session is None or session.spec.ref != ref or session.life != "starting":
            # Closed, or dead, before this came.
            self._context.out.append(Stop(ref, self._limits.stop_grace_seconds))
        elif session.orphan:
            self._core.close(session, "disconnect")
            self._context.out.append(Stop(ref, self._limits.stop_grace_seconds))
        else:
            session.ready(ready)
        return self._start_over(ref)

    def start_failed(self, ref: Ref, error: NreplError) -> list[Instruction]:
        """The worker asked for by `Start` did not come up."""
        session = self._registry.by_id.get(ref.id)
        if session is not None and session.spec.ref == ref and session.life == "starting":
            session.failed(error)
            self._core.tidy(session)
        return self._start_over(ref)

    def _start_over(self, ref: Ref) -> list[Instruction]:
        tell = self._context.copying.pop(ref, None)
        if tell is not None:
            tell(ref)
        return self._context.take()

    def timer(self, key: TimerKey) -> list[Instruction]:
        """The timer set under that key is due."""
        kind, owner, *numbers = key
        if kind == "hello":
            client = self._context.connections.get(int(owner))
            if client is not None and client.principal is None:
                self._context.out.append(Disconnect(client.number, UNAUTHORIZED, "no hello in time"))
        else:
            session = self._registry.by_id.get(str(owner))
            if session is not None:
                session.timer(str(kind), *map(int, numbers))
                self._core.tidy(session)
        return self._context.take()

    def drain(self) -> list[Instruction]:
        """The server shuts down: everything open ends `session-closed`, new requests are refused."""
        self._draining = True
        for session in list(self._registry.by_id.values()):
            self._core.close(session, "shutdown")
        return self._context.take()
