"""Looking on: all that a session says, as an async iterator over a connection of its own.

Of its own, because who only looks on must hold up nobody: a slow observer is dropped by the server, comes
back, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Any, Final

from nrepl_py import codec
from nrepl_py.client.connection import Connection, ConnectionLost, Incoming
from nrepl_py.client.dial import Dial
from nrepl_py.client.link import Link
from nrepl_py.errors import from_reply

AHEAD: Final = 1000
"""Messages kept that nobody has taken yet; beyond that none are read, so that they wait with the server."""


class Observer:
    """The messages of one session, as dicts, each number once and in order. Made by `Session.attach`.

    Ends when the session is closed, after the message that says so. Where some are missing there is a message
    with `replay-gap` in its `status`, which has no `seq`. Raises `UnknownSession`, `BadSince`, and
    `ConnectionLost` when the connection is gone for good. Close it, or leave it as a context manager."""

    def __init__(self, dial: Dial, resume: float, session: str, since: int | None) -> None:
        self._dial = dial
        self._resume = resume
        self._attach = {"session": session, "since": since}
        self._queue: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._link: Link | None = None
        self._ended = False

    def __aiter__(self) -> Observer:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next message. The connection is made when the first one is asked for."""
        if self._ended:
            raise StopAsyncIteration
        if self._link is None:
            await self._open()
        message = await self._queue.get()
        if self._queue.qsize() <= AHEAD // 2:
            self._taken.set()
        if isinstance(message, Exception):
            await self.aclose()
            raise message
        if message.get("event") == "closed":
            await self.aclose()
        return message

    async def __aenter__(self) -> Observer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Look no more. Idempotent."""
        self._ended = True
        self._taken.set()
        if self._link is not None:
            await self._link.aclose()

    async def _open(self) -> None:
        websocket, _ = await self._dial.open()
        connection = Connection(secrets.token_hex(4))
        self._link = Link(self._dial, websocket, connection, self, self._resume)
        request = connection.request("attach", self._attach)
        await self._link.send(codec.encode(request, self._link.codec))

    # -- for the link (`link.Owner`) ----------------------------------------------------------------

    def incoming(self, incoming: Incoming) -> Awaitable[object] | None:
        message = incoming.message
        if incoming.id is None or "replay-gap" in message["status"] or incoming.error is not None:
            error = from_reply(message)
            self._queue.put_nowait(error or message)
        if self._queue.qsize() <= AHEAD or self._ended:
            return None
        self._taken.clear()
        return self._taken.wait()

    def ended(self, ids: list[str], error: ConnectionLost) -> None:
        pass

    def resumed(self, reason: str) -> None:
        pass

    def over(self, error: ConnectionLost) -> None:
        self._queue.put_nowait(error)
