"""A server that answers as the test says: for what a real one should never do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve, unix_serve
from websockets.typing import Subprotocol

from nrepl_py import codec
from nrepl_py.ops import SUBPROTOCOLS

HELLO = {"principal": "owner", "capabilities": ["eval"], "server": {"name": "scripted"}, "protocol": {"min": 1}}


@dataclass
class Peer:
    """One connection, seen from the server."""

    websocket: ServerConnection
    received: list[dict[str, Any]]
    codec: str = field(init=False)

    def __post_init__(self) -> None:
        self.codec = SUBPROTOCOLS[self.websocket.subprotocol or "nrepl.v1.json"]

    async def next(self, op: str | None = None) -> dict[str, Any]:
        """The next request (of that op: others are skipped)."""
        while True:
            message = codec.decode(await self.websocket.recv(), self.codec)
            self.received.append(message)
            if op is None or message["op"] == op:
                return message

    async def send(self, **message: Any) -> None:
        payload = codec.encode(message, self.codec)
        await self.websocket.send(payload, text=self.codec == "json")

    async def reply(self, request: dict[str, Any], *status: str, **fields: Any) -> None:
        await self.send(id=request["id"], status=[*status, "done"], **fields)


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Scripted:
    """A running one; `received` is everything any client sent, `headers` of each handshake."""

    url: str
    received: list[dict[str, Any]]
    headers: list[dict[str, str]]


@asynccontextmanager
async def scripted(script: Script, unix: str | None = None, **options: Any) -> AsyncIterator[Scripted]:
    """Serve: `hello` is answered, then each connection runs the script."""
    running = Scripted("", [], [])

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        running.headers.append(dict(websocket.request.headers.raw_items()))
        peer = Peer(websocket, running.received)
        await peer.reply(await peer.next("hello"), **HELLO)
        await script(peer)

    subprotocols = [Subprotocol(name) for name in SUBPROTOCOLS]
    options = {"subprotocols": subprotocols, "max_size": None, "compression": None} | options
    server: Server
    if unix:
        async with unix_serve(handler, unix, **options):
            yield running
        return
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        running.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield running
