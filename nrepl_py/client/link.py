"""A client's connection, that comes back when it breaks: what `connection.py` decides is carried out here.

connected ──broke──▶ trying again ──let in──▶ connected        until `aclose`, or it is given up
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Final, Protocol

import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed

from nrepl_py import codec as codecs
from nrepl_py import errors
from nrepl_py.client.address import NoServer
from nrepl_py.client.connection import Connection, ConnectionLost, Incoming
from nrepl_py.client.dial import Dial, why_closed
from nrepl_py.ops import SUBPROTOCOLS

RESUME_SECONDS: Final = 30
"""For how long a connection that broke is tried to be had again: a laptop that changes its network has it
sooner, and a person who waits for an answer waits no longer."""

FIRST_SECONDS: Final = 0.05
"""Before the second try; each later one waits up to twice as long as the one before, at random, so that many
clients of one server do not come back all at once."""

LONGEST_SECONDS: Final = 2.0

RESUMABLE: Final = (None, 1006, 1012, 1013, 4408)
"""Close codes after which it is worth trying: the network's end, a proxy's, or the client was too slow. The
others are final: the server ends, and its sessions with it, or one of us broke the protocol."""

Websocket = websockets.asyncio.client.ClientConnection


class Owner(Protocol):
    """Whose connection it is."""

    def incoming(self, incoming: Incoming) -> Awaitable[object] | None:
        """Something came; nothing more is read before what is returned was awaited."""

    def ended(self, ids: list[str], error: ConnectionLost) -> None:
        """These requests have ended, with that error."""

    def resumed(self, reason: str) -> None:
        """The connection had gone, for that reason, and is back."""

    def over(self, error: ConnectionLost) -> None:
        """It is gone for good; whatever is asked from now on raises that."""


class Link:
    """One. It reads until it is closed, in a task of its own."""

    def __init__(self, dial: Dial, websocket: Websocket, connection: Connection, owner: Owner, patience: float) -> None:
        self._dial = dial
        self._websocket: Websocket | None = websocket
        self._connection = connection
        self._owner = owner
        self._patience = patience
        self._deadline: float | None = None
        self._delay = 0.0
        self._closing = False
        self.codec = SUBPROTOCOLS.get(websocket.subprotocol or "", "json")
        self._task = asyncio.get_running_loop().create_task(self._run(websocket))

    async def send(self, payload: bytes) -> None:
        """Send a frame, if there is a connection: else its request waits for one, in `connection.py`."""
        if self._websocket is not None:
            try:
                await self._websocket.send(payload, text=self.codec == "json")
            except ConnectionClosed:
                pass  # The reader sees to it.

    def end(self, reason: str) -> None:
        """Every open request ends now, for that reason."""
        ended, error = self._connection.lost(reason)
        self._owner.ended(ended, error)
        self._owner.over(error)

    async def aclose(self) -> None:
        """Close it for good."""
        self._closing = True
        if self._websocket is not None:
            await self._websocket.close()
        else:
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, websocket: Websocket) -> None:
        reason = "this client was closed"
        try:
            while True:
                reason = await self._read(websocket)
                self._websocket = None
                if self._closing or websocket.close_code not in RESUMABLE or not self._patience:
                    return
                self._owner.ended(*self._connection.broken(reason))
                try:
                    websocket = await self._again()
                except errors.NreplError as error:
                    reason = f"{reason}, and could not be had again: {error}"
                    return
                self._websocket = websocket
                for message in self._connection.resume():
                    await self.send(codecs.encode(message, self.codec))
                self._owner.resumed(reason)
        finally:
            self.end(reason)

    async def _read(self, websocket: Websocket) -> str:
        """Take what comes until there is no more; returns why."""
        try:
            async for frame in websocket:
                self._deadline = None
                message = codecs.decode(frame, "json" if isinstance(frame, str) else "msgpack")
                for incoming in self._connection.received(message):
                    waits = self._owner.incoming(incoming)
                    if waits is not None:
                        await waits
                for more in self._connection.take():
                    await self.send(codecs.encode(more, self.codec))
        except ConnectionClosed:
            pass
        except errors.NreplError as error:
            await websocket.close(1002)
            return f"the server broke the protocol: {error}"
        if websocket.close_code in (None, 1006):
            return f"the connection to {self._dial.address} broke"
        return f"the server closed the connection ({why_closed(websocket)})"

    async def _again(self) -> Websocket:
        """A new connection. Raises the last reason why there is none when it takes too long, and what is no
        use to try again."""
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            # Anew only when something came: a server that lets us in and breaks at once is not tried for ever.
            self._deadline, self._delay = loop.time() + self._patience, 0.0
        while True:
            await asyncio.sleep(random.uniform(0, self._delay))
            self._delay = min(max(FIRST_SECONDS, 2 * self._delay), LONGEST_SECONDS)
            try:
                async with asyncio.timeout_at(self._deadline):
                    websocket, _ = await self._dial.open()
                    return websocket
            except TimeoutError:
                raise NoServer(f"nothing answered within {self._patience} s") from None
            except NoServer:
                if loop.time() + self._delay > self._deadline or self._dial.address.is_gone():
                    raise
