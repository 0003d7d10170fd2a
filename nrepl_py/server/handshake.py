"""A connection before it is a WebSocket: who may come in, and what everybody else is told.

What is wrong is answered by HTTP, before the upgrade, and in time; what comes after the upgrade is `connection.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from nrepl_py.limits import Limits
from nrepl_py.ops import SUBPROTOCOLS
from nrepl_py.server import auth, listen, peers, routes
from nrepl_py.server.door import TooMany
from nrepl_py.server.principals import Principal

MAX_HEAD: Final = 32 << 10
"""Bytes of a request's head: room for the cookies a browser keeps for localhost, and far below the
1 MiB websockets would gather from someone who has shown no token."""

HELLO_BYTES: Final = 16 << 10
"""Bytes of a message before a token was shown: `hello` fits, and strangers cannot fill the memory."""

CLOSE_SECONDS: Final = 3.0
"""From our last word until the connection is cut; a stop of the server must end within 5 s."""

WRONG_TOKEN_SECONDS: Final = 0.2
"""Before a wrong token is answered: the few that a peer may show at once take it a while all the same."""

# websockets logs frames and headers, tokens included, at DEBUG.
_log = logging.getLogger("nrepl_py.websockets")
_log.setLevel(logging.WARNING)


class Doorkeeper(Protocol):
    """Whom a handshake reports to."""

    limits: Limits

    def admit(self, connection: Handshake) -> bool:
        """Whether one more connection may be had. Every connection made reports `left` once."""

    def left(self, connection: Handshake) -> None:
        """The transport is gone."""

    def authenticate(self, token: str, peer: str) -> Principal | None:
        """Who the token of the handshake stands for. Raises `TooMany`."""

    def refused(self, connection: Handshake, status: HTTPStatus, why: str) -> None:
        """A request was refused, by this response."""

    def metrics(self) -> tuple[str, str]:
        """The page of metrics: its type and its body."""


class Handshake(asyncio.Protocol, ABC):
    """The beginning of a connection, and its end."""

    def __init__(self, owner: Doorkeeper, guard: auth.Guard, loop: asyncio.AbstractEventLoop) -> None:
        self.number = 0
        """Chosen by the owner in `opened`."""
        self.peer = ""
        """Who is at the other end."""
        self.source = ""
        """What of it wrong tokens are counted under."""
        self.codec = "json"
        self._owner = owner
        self._guard = guard
        self._loop = loop
        self._head: bytearray | None = bytearray()
        self._ended = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._websocket = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            select_subprotocol=_select_subprotocol,
            max_size=HELLO_BYTES,
            logger=_log,
        )

    @abstractmethod
    def _accepted(self, principal: Principal | None) -> None:
        """It is a WebSocket from here on, of that principal's, or of one who has yet to show a token."""

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = listen.peer(transport)
        self._set("wait", self._owner.limits.handshake_seconds, self._no_request)
        peer = transport.get_extra_info("socket")
        if self._guard.uids is None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif peers.is_stranger(peer, self._guard.uids):
            self.abort()
        self.source = peers.name(peer)
        self._admitted = self._owner.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._owner.left(self)

    def _shake_hands(self, head: bytearray, data: bytes) -> bytes:
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
            request.method,
            request.path,
            upgrade,
            headers.get_all("Host"),
            headers.get_all("Origin"),
            self._guard,
            known=headers.get_all("If-None-Match"),
            encodings=headers.get_all("Accept-Encoding"),
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
            response.headers.update(dict(routes.PRIVATE_HEADERS))
            self._websocket.send_response(response)
            self._owner.refused(self, HTTPStatus(response.status_code), "This is no handshake of a WebSocket.")
            self._write()
            return False
        self._websocket.send_response(response)
        self.codec = SUBPROTOCOLS.get(str(self._websocket.subprotocol), "json")
        self._write()
        self._accepted(principal)
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

    def _no_request(self) -> None:
        self._owner.refused(self, HTTPStatus.REQUEST_TIMEOUT, "No request came in time.")
        self._transport.abort()

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
            for timer in list(self._timers):
                self._cancel(timer)
            self._set("wait", CLOSE_SECONDS, self._transport.abort)

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
