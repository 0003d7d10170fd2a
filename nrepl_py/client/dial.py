"""Opening a connection to a server and saying hello: the first time, and again after it broke."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Final

import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from nrepl_py import codec as codecs
from nrepl_py import errors
from nrepl_py.client import trust
from nrepl_py.client.address import Address, NoServer
from nrepl_py.ops import SUBPROTOCOLS
from nrepl_py.version import __version__

OPEN_SECONDS: Final = 10
"""Until a server must have accepted the connection, and until it must have answered `hello`; as long as it
waits for a token."""

PING_SECONDS: Final = 60
"""Until a ping must be answered: long enough for a program that blocks its own event loop a while."""


@dataclass(frozen=True)
class Dial:
    """Whom to call, and what to say. `max_frame`, `max_value`: bytes of what the client takes."""

    address: Address
    cafile: str | None
    codec: str
    name: str
    max_frame: int
    max_value: int

    async def open(self) -> tuple[websockets.asyncio.client.ClientConnection, dict[str, Any]]:
        """A connection, and the answer to its `hello`. Raises `NoServer`, `Unauthorized`, `Forbidden`,
        `UnsupportedVersion`."""
        websocket = await self._handshake()
        try:
            return websocket, await self._hello(websocket)
        except BaseException:
            await websocket.close()
            raise

    async def _hello(self, websocket: websockets.asyncio.client.ClientConnection) -> dict[str, Any]:
        hello: dict[str, Any] = {"op": "hello", "id": "hello", "client-name": self.name, "client-version": __version__}
        hello |= {"max-frame": self.max_frame, "max-value": self.max_value}
        codec = SUBPROTOCOLS.get(websocket.subprotocol or "", "json")
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await websocket.send(codecs.encode(hello, codec), text=codec == "json")
                frame = await websocket.recv()
            reply = codecs.decode(frame, "json" if isinstance(frame, str) else "msgpack")
        except TimeoutError:
            raise NoServer(f"the server at {self.address} did not answer 'hello' within {OPEN_SECONDS} s") from None
        except ConnectionClosed:
            raise NoServer(f"the server at {self.address} closed the connection ({why_closed(websocket)})") from None
        error = errors.from_reply(reply)
        if error is not None:
            raise error
        return reply

    async def _handshake(self) -> websockets.asyncio.client.ClientConnection:
        address = self.address
        options: dict[str, Any] = {"unix": True, "path": address.unix} if address.unix else {}
        context = trust.context(address, self.cafile)
        if context is not None:
            options["ssl"] = context
        try:
            return await websockets.asyncio.client.connect(
                "ws://localhost/" if address.unix else address.url,
                subprotocols=[Subprotocol(name) for name, codec in SUBPROTOCOLS.items() if codec == self.codec],
                additional_headers={"Authorization": f"Bearer {address.token}"} if address.token else None,
                compression=None,
                # A proxy from the environment is for the web, and a token is not for a proxy.
                proxy=None,
                open_timeout=OPEN_SECONDS,
                ping_timeout=PING_SECONDS,
                # In JSON, bytes grow by a third.
                max_size=self.max_frame + self.max_value * 4 // 3,
                **options,
            )
        except InvalidStatus as refused:
            raise _refusal(refused) from None
        except ssl.SSLCertVerificationError as error:
            raise trust.untrusted(address, error) from None
        except TimeoutError:
            raise NoServer(f"nothing answered at {address} within {OPEN_SECONDS} s") from None
        except (OSError, WebSocketException, InvalidHandshake, ValueError, EOFError) as error:
            raise NoServer(f"no server answers at {address}: {_sentence(error)}") from None


def why_closed(websocket: websockets.asyncio.client.ClientConnection) -> str:
    """The code and the reason of a connection's end."""
    code, reason = websocket.close_code, websocket.close_reason
    return f"{code}{f', {reason}' if reason else ''}"


def _refusal(refused: InvalidStatus) -> errors.NreplError:
    """The error an HTTP status at the handshake stands for."""
    status = refused.response.status_code
    said = bytes(refused.response.body or b"").decode("utf-8", "replace").strip()
    if status in (401, 429):
        return errors.Unauthorized(said or "the server does not know this token")
    if status == 403:
        return errors.Forbidden(said or "the server refuses connections by this name")
    return NoServer(f"the server refused the connection with HTTP status {status}{f': {said}' if said else ''}")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
