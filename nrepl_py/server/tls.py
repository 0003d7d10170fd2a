"""TLS for the server: a certificate that can be renewed while it is in use, and handshakes that count."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from nrepl_py.config import ConfigError

SHUTDOWN_SECONDS: Final = 3.0
"""For the peer to say goodbye too; the server ends within 5 s."""

PAUSE_SECONDS: Final = 1.0
"""After a connection could not be accepted, for want of descriptors mostly: some will be closed by then."""

MIN_SECONDS: Final = 0.001
"""For a handshake: asyncio takes 0 for a mistake."""

log = logging.getLogger(__name__)


class Certificate:
    """The server's certificate and its key, as files. Raises `ConfigError` where they cannot be used."""

    def __init__(self, certfile: str, keyfile: str | None = None) -> None:
        self._files = certfile, keyfile
        self.context = self._loaded()
        """For every handshake; connections that are open keep the certificate they began with."""

    def reload(self) -> None:
        """Read the files again. Where they cannot be used, those from before stay, and the log says why."""
        try:
            self._loaded()  # Tried elsewhere: a failure half-way would leave a certificate without its key.
            self._load(self.context)
        except ConfigError as error:
            log.error("the certificate was not renewed", extra={"why": str(error)})
        else:
            log.info("certificate read again", extra={"certfile": self._files[0]})

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        certfile, keyfile = self._files
        try:
            # An empty password: without any, an encrypted key would be asked for on the terminal.
            context.load_cert_chain(certfile, keyfile, password="")
        except ssl.SSLError as error:
            raise ConfigError(
                f"--certfile {certfile}, --keyfile {keyfile or certfile}: they are not a certificate and its "
                f"unencrypted key in PEM: {error.reason or error}"
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--certfile {certfile}, --keyfile {keyfile or certfile}: cannot be read: {error}"
            ) from None


class Listener:
    """Accepts connections under TLS. A handshake counts from when TCP is there: with as many under way as
    `room()` leaves, who comes next is cut. asyncio's own server would tell of none before it is over."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        room: Callable[[], int],
        seconds: float,
    ) -> None:
        self._listener = listener
        self._make = make
        self._context = context
        self._room = room
        self._seconds = max(seconds, MIN_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept())
        # Not before: the loop must not wait for a descriptor that is another's by then.
        self._accepting.add_done_callback(lambda task: listener.close())

    def close(self) -> None:
        """Accept no more, and give up the handshakes under way."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                log.error("cannot accept a connection", extra={"why": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if len(self._handshakes) >= self._room():
                connection.close()
                continue
            task = self._loop.create_task(self._agree(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _agree(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:
            log.debug("no TLS was agreed upon", extra={"why": str(error)})
