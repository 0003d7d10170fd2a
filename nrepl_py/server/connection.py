"""One client's connection: bytes in and out, a handshake, frames, deadlines. Knows no op.

An asyncio protocol around websockets' sans-I/O `ServerProtocol`, rather than `websockets.serve`, so
that frames leave together in one write, and so that a slow reader stalls only who it should. What a
message means is its owner's affair.

Every wait has a deadline: the handshake, a message begun, a ping sent, a close, a full outbox.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from nrepl_py import codec as codecs
from nrepl_py.errors import NreplError
from nrepl_py.limits import Limits
from nrepl_py.ops import SUBPROTOCOLS
from nrepl_py.server import auth, framing, listen, peers, routes
from nrepl_py.server.door import TooMany
from nrepl_py.server.instructions import TOO_SLOW
from nrepl_py.server.outbox import Outbox
from nrepl_py.server.pace import Pace
from nrepl_py.server.principals import Principal

MAX_HEAD: Final = 32 << 10
"""Bytes of a request's head: room for the cookies a browser keeps for localhost, and far below the
1 MiB websockets would gather from someone who has shown no token."""

HELLO_BYTES: Final = 16 << 10
"""Bytes of a message before a token was shown: `hello` fits, and strangers cannot fill the memory."""

STRANGER_BYTES: Final = 2 * HELLO_BYTES
"""Bytes before a token was shown: small frames, pings above all, cost more time than memory."""

CLOSE_SECONDS: Final = 3.0
"""From our last word until the connection is cut; a stop of the server must end within 5 s."""

WRONG_TOKEN_SECONDS: Final = 0.2
"""Before a wrong token is answered: the few that a peer may show at once take it a while all the same."""

PAUSE_SECONDS: Final = 0.01
"""The shortest pause of a connection that sends too fast; messages are then taken many at a time."""

HARD_FACTOR: Final = 2
"""Times `outbox_bytes` at which a client that does not read is no longer heard. Between the two marks
its requests, an interrupt above all, still are."""

# websockets logs frames and headers, tokens included, at DEBUG.
_log = logging.getLogger("nrepl_py.websockets")
_log.setLevel(logging.WARNING)


class Owner(Protocol):
    """Whom a connection reports to; all on the event loop's thread."""

    limits: Limits

    def admit(self, connection: Connection) -> bool:
        """Whether one more connection may be had. Every connection made reports `left` once."""

    def left(self, connection: Connection) -> None:
        """The transport is gone."""

    def authenticate(self, token: str, peer: str) -> Principal | None:
        """Who the token of the handshake stands for. Raises `TooMany`."""

    def refused(self, connection: Connection, status: HTTPStatus, why: str) -> None:
        """A request was refused, by this response."""

    def metrics(self) -> tuple[str, str]:
        """The page of metrics: its type and its body."""

    def opened(self, connection: Connection, principal: Principal | None) -> None:
        """A WebSocket is open; `closed` will follow."""

    def received(self, connection: Connection, message: dict[str, Any]) -> None:
        """A message came."""

    def unparseable(self, connection: Connection, error: NreplError) -> None:
        """A frame came that is no message."""

    def congested(self, connection: Connection, full: bool) -> None:
        """The outbox went over its bound, or under half of it."""

    def room(self, connection: Connection) -> None:
        """Less than half the outbox is full, as was asked by `when_room`."""

    def closed(self, connection: Connection) -> None:
        """No more messages are taken or sent."""


class Connection(asyncio.Protocol):
    """One connection, from its first byte. `send`, `flush` and `close` may be called at any time."""

    def __init__(self, owner: Owner, guard: auth.Guard, loop: asyncio.AbstractEventLoop) -> None:
        self.number = 0
        """Chosen by the owner in `opened`."""
        self.peer = ""
        """Who is at the other end."""
        self.codec = "json"
        self.open = False
        """Messages are taken and sent."""
        self.dirty = False
        """The owner will flush."""
        self.max_frame = owner.limits.max_frame_bytes
        self.max_value = 0
        """What the client takes; the owner's to know and to cut messages to."""
        self.source = ""
        """What of it wrong tokens are counted under."""
        self.principal: Principal | None = None
        """Who has shown a token here; the owner's to set."""
        self._owner = owner
        self._guard = guard
        self._loop = loop
        self._head: bytearray | None = bytearray()
        self._stranger = True
        self._strange = 0
        self._inbox: deque[Frame] = deque()
        self._partial: bytearray | None = None
        self._boundary = framing.Boundary()
        self._heard = self._pinged = self._ended = False
        self._half_full = self._full = self._awaited = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pace = Pace(owner.limits.max_messages_per_second, owner.limits.max_messages_burst)
        self._websocket = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            select_subprotocol=_select_subprotocol,
            max_size=HELLO_BYTES,
            logger=_log,
        )

    # -- for the owner --------------------------------------------------------------------------

    def trust(self) -> None:
        """A token was shown: take messages up to the full size."""
        self._stranger = False
        self._websocket.max_message_size = self._owner.limits.max_frame_bytes

    def send(self, payload: bytes) -> None:
        """Add a message to the outbox, to leave with the next `flush`."""
        if self.open:
            self._outbox.put(payload)

    def flush(self) -> None:
        """Write what waits."""
        if self.open:
            self._outbox.flush()
            if self._half_full and not self._full and self.waiting > self._owner.limits.outbox_bytes:
                self._full = True
                self._set("stall", self._owner.limits.stall_seconds, self._stalled)
                self._owner.congested(self, True)

    def when_room(self) -> None:
        """Tell the owner once, but not at once, that less than half the outbox is full."""
        self._awaited = True
        if not self._half_full:
            self._loop.call_soon(self._room)
        elif "stall" not in self._timers:
            self._set("stall", self._owner.limits.stall_seconds, self._stalled)

    def close(self, code: int, reason: str) -> None:
        """Send what waits and a close frame; cut the connection when its answer takes too long."""
        if not self.open:
            return
        self._outbox.flush()
        if self._websocket.state is OPEN:
            # A close frame's reason has 123 bytes.
            self._websocket.send_close(code, reason.encode()[:123].decode(errors="ignore"))
            self._write()
        self._end()

    @property
    def waiting(self) -> int:
        """Bytes written that the peer has not taken."""
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = listen.peer(transport)
        limits = self._owner.limits
        half = limits.outbox_bytes // 2
        self._transport.set_write_buffer_limits(high=half, low=half)
        self._set("wait", limits.handshake_seconds, self._no_request)
        peer = transport.get_extra_info("socket")
        if self._guard.uids is None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif peers.is_stranger(peer, self._guard.uids):
            self.abort()
        self.source = peers.name(peer)
        self._admitted = self._owner.admit(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._between_messages and len(data) <= self._owner.limits.max_frame_bytes:
            payload = framing.whole(data, self._first)
            if payload is not None and not self._pace.take(self._loop.time()):
                self._message(payload)
                return
        if self._head is not None:
            data = self._handshake(self._head, data)
            if not data:
                return
        elif not self.number:
            return  # refused: what still comes is nobody's
        start = 0
        while self._stranger and self.open and start < len(data):
            # Frame by frame: what follows `hello` must not be judged by the bound before it.
            piece = data[start : start + self._boundary.ahead]
            self._take(piece)
            start += len(piece)
            self._strange += len(piece)
            if self._stranger and self._strange > STRANGER_BYTES:
                self.close(1008, "too much was said before a token was shown")
                self._transport.pause_reading()
                return
        if start < len(data):
            self._take(data[start:] if start else data)
        self._write()
        if self._inbox:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._work(paced=False)
        self._websocket.receive_eof()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._owner.left(self)

    def pause_writing(self) -> None:
        self._half_full = True
        if self._awaited:
            self._set("stall", self._owner.limits.stall_seconds, self._stalled)

    def resume_writing(self) -> None:
        was_full, self._half_full, self._full = self._full, False, False
        self._cancel("stall")
        if self.open and was_full:
            self._owner.congested(self, False)
        self._room()
        self._go_on()

    def _room(self) -> None:
        if self.open and self._awaited and not self._half_full:
            self._awaited = False
            self._owner.room(self)

    @property
    def _between_messages(self) -> bool:
        """Nothing half-read or waiting: what comes now is the next frame, from its first byte."""
        return self.open and not self._stranger and not self._inbox and self._partial is None and self._boundary.here

    # -- handshake ------------------------------------------------------------------------------

    def _handshake(self, head: bytearray, data: bytes) -> bytes:
        """Take bytes of the request; those after it when it became a WebSocket, else none."""
        head += data
        end = head.find(b"\r\n\r\n") + 4
        if not head[:1].isalpha():
            self._refuse(HTTPStatus.BAD_REQUEST, "This port speaks HTTP and WebSocket only.")
            return b""
        if max(end, len(head) if end < 4 else 0) > MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too long.")
            return b""
        if end < 4:
            return b""
        # Only the head is fed now: frames sent ahead must not be parsed before the request is accepted.
        self._websocket.receive_data(bytes(head[:end]))
        events = self._websocket.events_received()
        if not events:
            self._websocket.data_to_send()
            self._refuse(HTTPStatus.BAD_REQUEST, "This is not a request this server understands.")
            return b""
        self._head = None
        return bytes(head[end:]) if self._request(cast(Request, events[0])) else b""

    def _request(self, request: Request) -> bool:
        headers = request.headers
        upgrade = "Upgrade" in headers
        answer = routes.answer(
            request.method, request.path, upgrade, headers.get_all("Host"), headers.get_all("Origin"), self._guard
        )
        if answer is not None:
            self._answer(answer)
            return False
        metrics = request.path == routes.METRICS_PATH  # wanted most when there is no room left
        if not self._admitted and not metrics:
            # Not before the request has come: clients take an answer ahead of it for a broken server.
            self._answer(routes.text(HTTPStatus.SERVICE_UNAVAILABLE, "This server has all the connections it takes."))
            return False
        principal = None
        authorization = headers.get_all("Authorization")
        if authorization:
            try:
                principal = self._owner.authenticate(auth.bearer(authorization) or "", self.source)
            except TooMany as error:
                wait = ("Retry-After", str(error.seconds))
                self._answer(routes.text(HTTPStatus.TOO_MANY_REQUESTS, str(error), wait))
                return False
            if principal is None:
                self._transport.pause_reading()
                self._set("wait", WRONG_TOKEN_SECONDS, self._wrong_token)
                return False
        if metrics:
            self._answer(routes.private(principal, self._owner.metrics))
            return False
        return self._upgrade(request, principal)

    def _upgrade(self, request: Request, principal: Principal | None) -> bool:
        response = self._websocket.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            response.headers.update(dict(routes.SECURITY_HEADERS))
            self._websocket.send_response(response)
            self._owner.refused(self, HTTPStatus(response.status_code), "This is no handshake of a WebSocket.")
            self._write()
            return False
        self._websocket.send_response(response)
        self.codec = SUBPROTOCOLS.get(str(self._websocket.subprotocol), "json")
        self._kind = Opcode.TEXT if self.codec == "json" else Opcode.BINARY
        self._first = framing.TEXT if self.codec == "json" else framing.BINARY
        self._outbox = Outbox(self._transport, self._first)
        self._write()
        self._set("wait", self._owner.limits.ping_seconds, self._tick)
        self.open = True
        self._owner.opened(self, principal)
        return True

    def _wrong_token(self) -> None:
        self._transport.resume_reading()
        sentence = "This token is not this server's; the connection file has the right one."
        self._answer(routes.text(HTTPStatus.UNAUTHORIZED, sentence, ("WWW-Authenticate", "Bearer")))

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer what is not even a request."""
        self._head = None
        if self._websocket.eof_sent:
            self._owner.refused(self, status, sentence)
            self._transport.write(_response(routes.text(status, sentence)).serialize())
            self._half_close()
        else:
            self._answer(routes.text(status, sentence))

    def _answer(self, answer: routes.Answer) -> None:
        if answer.status >= HTTPStatus.BAD_REQUEST:
            self._owner.refused(self, answer.status, answer.body.decode().rstrip())
        self._websocket.send_response(_response(answer))
        self._write()

    # -- frames ---------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        self._boundary.pass_over(data)
        frames = self._websocket.events_received()
        self._inbox.extend(cast("list[Frame]", frames))
        # What was sent before a close is still heard: there is no more to come, so no need to slow it down.
        self._work(paced=self._websocket.close_rcvd is None)
        # A message once begun must be whole in time, or its bytes would be held for ever.
        if not frames or self._partial is not None or not self._boundary.here:
            if self.open and "message" not in self._timers:
                self._set("message", self._owner.limits.stall_seconds, self._unfinished)
        elif "message" in self._timers:
            self._cancel("message")

    def _work(self, paced: bool = True) -> None:
        """Take the frames that came, as long as there is room for what they are answered, and not too fast."""
        hard = HARD_FACTOR * self._owner.limits.outbox_bytes
        while self._inbox and not (self._full and self._transport.get_write_buffer_size() > hard):
            wait = self._pace.take(self._loop.time())
            if wait and paced:
                self._set("pace", max(wait, PAUSE_SECONDS), self._go_on)
                break
            self._frame(self._inbox.popleft())

    def _go_on(self) -> None:
        """Take what waits, then read on."""
        self._work()
        if not self._inbox:
            self._transport.resume_reading()

    def _frame(self, frame: Frame) -> None:
        if not self.open:
            return
        if frame.opcode is Opcode.CLOSE:
            self._outbox.flush()
            self._end()
        elif frame.opcode is Opcode.CONT:
            if self._partial is not None:
                # One growing buffer: a list of tiny fragments would cost far more than their bytes.
                self._partial += frame.data
                if frame.fin:
                    whole, self._partial = self._partial, None
                    self._message(whole)
        elif frame.opcode is self._kind:
            if frame.fin:
                self._message(frame.data)
            else:
                self._partial = bytearray(frame.data)
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            kind = self._kind.name.lower()
            self.close(1003, f"this connection speaks {self.codec}, in {kind} frames")

    def _message(self, data: Any) -> None:
        try:
            message = codecs.decode(data, self.codec, codecs.REQUEST_ITEMS)
        except NreplError as error:
            self._owner.unparseable(self, error)
        else:
            self._owner.received(self, message)

    # -- ends and deadlines ---------------------------------------------------------------------

    def _no_request(self) -> None:
        self._owner.refused(self, HTTPStatus.REQUEST_TIMEOUT, "No request came in time.")
        self._transport.abort()

    def _unfinished(self) -> None:
        self.close(1008, "a message begun was not finished in time")

    def _stalled(self) -> None:
        self.close(*TOO_SLOW)

    def _tick(self) -> None:
        """Every `ping_seconds`: ping a silent peer, and give up one that was silent since its ping."""
        if self._heard or "stall" in self._timers or self._inbox:
            self._pinged = False
        elif self._pinged:
            self._transport.abort()
            return
        else:
            self._pinged = True
            self._websocket.send_ping(b"")
            self._write()
        self._heard = False
        self._set("wait", self._owner.limits.ping_seconds, self._tick)

    def _write(self) -> None:
        """Write what the WebSocket protocol itself has to say: handshake, pongs, closing."""
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            elif self._websocket.close_rcvd is not None:
                self._end()
                self._transport.close()
            else:
                self._half_close()

    def _half_close(self) -> None:
        """Say no more, and let the peer read it all before the connection is cut: closing with bytes
        unread would reset it and destroy what was sent last."""
        if not self._transport.can_write_eof():
            self._transport.close()  # TLS: it says goodbye itself, and waits for the peer's.
        elif not self._transport.is_closing():
            self._transport.write_eof()
        self._end()

    def _end(self) -> None:
        """Take and send no more messages; what is under way to the peer has its deadline."""
        if not self._ended:
            self._ended = True
            for timer in ("stall", "message", "pace"):
                self._cancel(timer)
            self._set("wait", CLOSE_SECONDS, self._transport.abort)
        if self.open:
            self.open = False
            self._partial = None
            self._inbox.clear()
            self._outbox.clear()
            self._owner.closed(self)

    def _set(self, name: str, seconds: float, callback: Any) -> None:
        self._cancel(name)
        self._timers[name] = self._loop.call_later(seconds, callback)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _select_subprotocol(protocol: ServerProtocol, offered: Any) -> Subprotocol | None:
    """The first of the client's that we know; without one the codec is JSON."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def _response(answer: routes.Answer) -> Response:
    return Response(answer.status.value, answer.status.phrase, Headers(list(answer.headers)), answer.body)
