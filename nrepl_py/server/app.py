"""The server: sockets, connections, timers and workers around the sans-I/O router.

It decides nothing about the protocol: it hands every event to the router and carries out, in order,
what the router answers. The way of an eval through here is synchronous, from the bytes read to the
worker told, and from what the worker says to the bytes written.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from nrepl_py.config import Settings
from nrepl_py.errors import Internal, NreplError
from nrepl_py.evaluators.base import Evaluator, Ref, WorkerEvent
from nrepl_py.ops import PROTOCOL_VERSION
from nrepl_py.server import instructions
from nrepl_py.server.connection import Connection
from nrepl_py.server.core import UNAUTHORIZED
from nrepl_py.server.counters import Sample, sample
from nrepl_py.server.door import Door
from nrepl_py.server.handshake import Handshake
from nrepl_py.server.instructions import Instruction, TimerKey
from nrepl_py.server.listeners import Listeners
from nrepl_py.server.outbox import Encoded
from nrepl_py.server.principals import Principal
from nrepl_py.server.router import Router
from nrepl_py.server.watching import Watching
from nrepl_py.tokens import new_token
from nrepl_py.version import __version__

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 4.5
"""For a whole stop: workers, clients, evaluator. A supervisor is promised an exit within 5 s."""

RECHECK_SECONDS: Final = 3600
"""The longest wait for the next token to expire: timers do not count the time a machine sleeps."""

OVER_CAP: Final = 100
"""Connections beyond the bound that still get a 503; the ones after them are cut without a word."""


class Server:
    """A server from `async with` to its end.

    The evaluator becomes the server's: it is closed at the end.
    """

    def __init__(self, settings: Settings, evaluator: Evaluator, *, token: str | None = None) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.token = token or new_token()
        self.door = Door(self.token, settings.tokens, settings.limits, self._recheck_soon)
        self.listeners = Listeners(settings, self._room)
        self.evaluator = evaluator
        self._sockets: set[Handshake] = set()
        self._open: dict[int, Connection] = {}
        self._last_number = 0
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[Ref, list[WorkerEvent]] = {}
        self._queue: deque[Instruction] = deque()
        self._dirty: list[Connection] = []
        self._carrying_out = False
        self._asking: Connection | None = None
        self._shown: Principal | None = None
        self._closing: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self.watching = Watching(settings, (self.token,))
        self._observer = self.watching.observer
        self._router = Router(
            evaluator_describe=evaluator.describe,
            evaluator_capabilities=evaluator.capabilities,
            limits=settings.limits,
            stages=evaluator.stages,
            memory=evaluator.memory,
            clock=time.time,
            monotonic=time.monotonic,
            new_id=lambda: secrets.token_hex(8),
            check_token=self._check_token,
            on_bug=lambda where, bug: log.error("a bug in the router", exc_info=bug, extra={"where": where}),
            watch=self._observer,
            defaults={
                "versions": versions(),
                "transports": self.listeners.transports,
                "insecure": self.listeners.insecure,
            },
        )
        self._actions: dict[type, Callable[[Any], object]] = {
            instructions.Send: self._send,
            instructions.Tell: lambda tell: self.evaluator.send(tell.ref, tell.message),
            instructions.Hold: lambda hold: self.evaluator.hold(hold.ref, hold.held),
            instructions.Signal: lambda signal: self.evaluator.interrupt(signal.ref, signal.serial),
            instructions.Start: lambda start: self._spawn(self._start(start.spec)),
            instructions.Stop: lambda stop: self._spawn(self._stop(stop.ref, stop.grace)),
            instructions.Room: self._wait_for_room,
            instructions.Disconnect: self._disconnect,
            instructions.SetTimer: self._set_timer,
            instructions.CancelTimer: self._cancel_timer,
        }

    @property
    def url(self) -> str:
        """Where clients on this machine connect; beside a Unix socket alone, what they write as `Host`."""
        return self.listeners.url

    @property
    def port(self) -> int | None:
        """None where only a Unix socket is listened on."""
        return self.listeners.port

    @property
    def unix(self) -> str | None:
        """The path of the Unix socket, where there is one."""
        return self.listeners.unix

    def reload(self) -> None:
        """Read the certificate and the tokens again; who is no longer let in has to leave."""
        if self.listeners.certificate is not None:
            self.listeners.certificate.reload()
        self.door.refresh()

    async def __aenter__(self) -> Server:
        """Listen. Raises `ConfigError` with a sentence for the user where that cannot be, and
        `StartFailed` where the evaluator has no interpreter to start."""
        self._loop = asyncio.get_running_loop()
        self.evaluator.watch(self._worker_said)
        try:
            self.watching.open()
            self.door.open()
            await self.evaluator.open()
            await self.listeners.open(lambda guard: Connection(self, guard, self._loop))
            self._recheck()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Tell running evals, stop the workers, close the connections: all within `DRAIN_SECONDS`.
        Idempotent: every caller waits for the same end."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._drain())
        await asyncio.shield(self._closing)

    # -- for connections (`connection.Owner`) ---------------------------------------------------

    def admit(self, connection: Handshake) -> bool:
        self._sockets.add(connection)
        self._empty.clear()
        if len(self._sockets) > self.limits.max_connections + OVER_CAP:
            self._observer.refused(connection.peer, "over-capacity")
            connection.abort()
        return len(self._sockets) <= self.limits.max_connections and self._closing is None

    def _room(self) -> int:
        """How many more sockets there may be."""
        return self.limits.max_connections + OVER_CAP - len(self._sockets)

    def left(self, connection: Handshake) -> None:
        self._sockets.discard(connection)
        if not self._sockets:
            self._empty.set()

    def authenticate(self, token: str, peer: str) -> Principal | None:
        return self.door.authenticate(token, peer)

    def refused(self, connection: Handshake, status: HTTPStatus, why: str) -> None:
        self._observer.refused(connection.peer, status.phrase.lower().replace(" ", "-"), why)

    def metrics(self) -> tuple[str, str]:
        return self.watching.page(self.sample)

    def sample(self) -> Sample:
        lost = self.watching.lost()
        return sample(self._router.sessions, self._open.values(), self._router.output_bytes, lost)

    def opened(self, connection: Connection, principal: Principal | None) -> None:
        self._last_number += 1
        connection.number = self._last_number
        self._open[connection.number] = connection
        if principal is not None:
            connection.principal = principal
            connection.trust()
        log.debug("connected", extra={"connection": connection.number})
        self._observer.connected(connection.number, connection.peer, principal.name if principal else None)
        self._ask(self._router.connected, connection.number, principal, connection.peer)

    def received(self, connection: Connection, message: dict[str, Any]) -> None:
        if message.get("op") != "hello":
            self._ask(self._router.received, connection.number, message)
            return
        self._asking, self._shown = connection, None
        self._ask(self._router.received, connection.number, message)
        if self._shown is not None and connection.principal is None:
            connection.principal = self._shown
            connection.trust()
        connection.max_frame, connection.max_value = self._router.bounds(connection.number)

    def unparseable(self, connection: Connection, error: NreplError) -> None:
        self._ask(self._router.unparseable, connection.number, error)

    def congested(self, connection: Connection, full: bool) -> None:
        self._ask(self._router.congested, connection.number, full)

    def room(self, connection: Connection) -> None:
        self._ask(self._router.room, connection.number)

    def closed(self, connection: Connection) -> None:
        if self._open.pop(connection.number, None) is not None:
            log.debug("disconnected", extra={"connection": connection.number})
            self._observer.disconnected(connection.number, connection.peer)
            self._ask(self._router.disconnected, connection.number)

    def _check_token(self, token: str) -> Principal | None:
        """For the router: who this token, that came in a `hello`, stands for; remembers it. Raises `TooMany`."""
        assert self._asking is not None
        self._shown = self.door.authenticate(token, self._asking.source)
        return self._shown

    def _recheck_soon(self) -> None:
        # Not at once: a token is being looked at.
        self._loop.call_soon(self._recheck)

    def _recheck(self) -> None:
        """Close the connections whose token stands no longer for what it did; again when the next one expires."""
        # Asked for first: a token that expires meanwhile is due at once, and not forgotten.
        next_expiry = self.door.next_expiry()
        for connection in list(self._open.values()):
            if connection.principal is not None and not self.door.stands(connection.principal):
                connection.close(UNAUTHORIZED, "this token was revoked, changed, or has expired")
        key: TimerKey = ("tokens",)
        self._cancel_timer(instructions.CancelTimer(key))
        if next_expiry is not None and self._closing is None:
            self._timers[key] = self._loop.call_later(min(next_expiry, RECHECK_SECONDS), self._recheck)

    # -- the router's answers -------------------------------------------------------------------

    def _ask(self, method: Callable[..., list[Instruction]], *event: Any) -> None:
        """Hand an event to the router and carry out its answer. An event that comes while an answer
        is carried out (an outbox runs full) is answered after it: order is kept."""
        try:
            self._queue += method(*event)
        except Exception:
            log.exception("the router failed; the event was lost")
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._queue or self._dirty:
                if self._queue:
                    self._carry_out(self._queue.popleft())
                else:
                    self._flush(self._dirty.pop())
        finally:
            self._carrying_out = False

    def _carry_out(self, instruction: Instruction) -> None:
        try:
            self._actions[type(instruction)](instruction)
        except Exception:
            log.exception("an instruction failed", extra={"instruction": type(instruction).__name__})

    def _flush(self, connection: Connection) -> None:
        connection.dirty = False
        try:
            connection.flush()
        except Exception:
            log.exception("a connection could not be written to and was cut")
            connection.abort()

    def _send(self, send: instructions.Send) -> None:
        encoded, packed = None, send.packed
        for number in send.connections:
            connection = self._open.get(number)
            if connection is None:
                continue
            if packed is not None and connection.codec == "msgpack" and len(packed) <= connection.max_frame:
                connection.send(packed)
            else:
                encoded = encoded or Encoded(send.message)
                connection.send(encoded.payload(connection.codec, connection.max_frame, connection.max_value))
            if not connection.dirty:
                connection.dirty = True
                self._dirty.append(connection)

    def _wait_for_room(self, room: instructions.Room) -> None:
        connection = self._open.get(room.connection)
        if connection is not None:
            connection.when_room()

    def _disconnect(self, disconnect: instructions.Disconnect) -> None:
        connection = self._open.get(disconnect.connection)
        if connection is not None:
            self._observer.refused(connection.peer, disconnect.reason.partition(";")[0].replace(" ", "-"))
            connection.close(disconnect.code, disconnect.reason)

    def _set_timer(self, timer: instructions.SetTimer) -> None:
        self._cancel_timer(instructions.CancelTimer(timer.key))
        self._timers[timer.key] = self._loop.call_later(timer.seconds, self._timer_fired, timer.key)

    def _cancel_timer(self, timer: instructions.CancelTimer) -> None:
        handle = self._timers.pop(timer.key, None)
        if handle is not None:
            handle.cancel()

    def _timer_fired(self, key: TimerKey) -> None:
        self._timers.pop(key, None)
        self._ask(self._router.timer, key)

    # -- workers --------------------------------------------------------------------------------

    def _worker_said(self, event: WorkerEvent) -> None:
        # What a worker says before the router knows that it has started waits for that.
        early = self._starting.get(event.ref) if self._starting else None
        if early is None:
            self._ask(self._router.worker, event)
        else:
            early.append(event)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("starting or stopping a worker failed", exc_info=task.exception())

    async def _start(self, spec: Any) -> None:
        ref = spec.ref
        early = self._starting[ref] = []
        began = self._observer.now()
        try:
            ready = await self.evaluator.start(spec)
        except NreplError as error:
            self._observer.start_failed(error.code)
            log.info("a worker did not start", extra={"session": ref.id, "code": error.code})
            self._ask(self._router.start_failed, ref, error)
        except Exception:
            self._observer.start_failed(Internal.code)
            log.exception("the evaluator failed to start a worker", extra={"session": ref.id})
            self._ask(self._router.start_failed, ref, Internal("the worker could not be started; see the server's log"))
        else:
            self._observer.worker_started(self._observer.now() - began)
            log.info("worker started", extra={"session": ref.id, "epoch": ref.epoch, "pid": ready.pid})
            self._ask(self._router.started, ref, ready)
        finally:
            self._starting.pop(ref, None)
        for event in early:
            self._ask(self._router.worker, event)

    async def _stop(self, ref: Ref, grace: float) -> None:
        await self.evaluator.stop(ref, grace)
        log.info("worker stopped", extra={"session": ref.id, "epoch": ref.epoch})

    # -- the end --------------------------------------------------------------------------------

    async def _drain(self) -> None:
        start = asyncio.get_running_loop().time()
        self.listeners.close()
        self._ask(self._router.drain)
        # Clients hear of it while the workers end.
        for connection in list(self._open.values()):
            connection.close(1001, "the server stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS / 3)
        for task in self._tasks:
            task.cancel()
        await self._close_evaluator(start + DRAIN_SECONDS * 2 / 3)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self._cut(start + DRAIN_SECONDS)
        self.watching.close()

    async def _close_evaluator(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self.evaluator.aclose()
        except TimeoutError:
            log.error("the evaluator did not close in time; workers end with this process")
        except Exception:
            log.exception("the evaluator failed to close")

    async def _cut(self, until: float) -> None:
        """Give clients the rest of the time to read their last messages, then cut."""
        for connection in list(self._sockets):
            if connection.number == 0:
                connection.abort()
        while self._sockets:
            try:
                async with asyncio.timeout_at(until):
                    await self._empty.wait()
            except TimeoutError:
                for connection in list(self._sockets):
                    connection.abort()
                until += 0.1


def versions() -> dict[str, str]:
    """What is running here, as `describe` and the connection file say it."""
    return {"nrepl-py": __version__, "protocol": str(PROTOCOL_VERSION), "python": platform.python_version()}
