"""The sockets one server listens on: opened together, named together, closed together."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from nrepl_py.config import Settings
from nrepl_py.server import auth, listen, peers
from nrepl_py.server.tls import Certificate
from nrepl_py.server.tls import Listener as TlsListener

log = logging.getLogger(__name__)


class Listeners:
    """TCP, with or without TLS, and a Unix socket, as the settings have them. `room`: how many more
    connections there may be."""

    def __init__(self, settings: Settings, room: Callable[[], int]) -> None:
        self.certificate = Certificate(settings.certfile, settings.keyfile) if settings.certfile else None
        self.host = settings.host
        self.port: int | None = None
        self.unix = os.path.abspath(settings.unix) if settings.unix else None
        self._settings = settings
        self._room = room
        self._open: list[asyncio.Server | TlsListener] = []
        self._unix_identity: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """Where clients on this machine connect; beside a Unix socket alone, what they write as `Host`."""
        if self.port is None:
            return "ws://localhost"
        scheme = "wss" if self.certificate else "ws"
        return f"{scheme}://{auth.bracketed('127.0.0.1' if auth.is_wildcard(self.host) else self.host)}:{self.port}"

    @property
    def transports(self) -> list[str]:
        """What clients connect by: of `tcp`, `tls` and `unix`."""
        over_tcp = ["tls" if self.certificate else "tcp"] if self._wants_tcp else []
        return over_tcp + (["unix"] if self.unix else [])

    @property
    def insecure(self) -> bool:
        """Whether others on the network can read along."""
        return self._wants_tcp and self.certificate is None and not auth.is_loopback(self.host)

    @property
    def _wants_tcp(self) -> bool:
        return self.unix is None or self._settings.port is not None

    async def open(self, connection: Callable[[auth.Guard], asyncio.Protocol]) -> None:
        """Listen; each connection is made with the guard of its socket. Raises `ConfigError` where that
        is unsafe or cannot be had."""
        settings = self._settings
        allowed = settings.allow_hosts, settings.allow_origins
        if self._wants_tcp:
            tls = self.certificate is not None
            listener = await listen.tcp(self.host, settings.port or 0, settings.insecure, tls)
            self.port = int(listener.getsockname()[1])
            await self._accept(listener, connection, auth.tcp_guard(self.host, self.port, *allowed, tls=tls))
        if self.unix:
            uids = peers.allowed(settings.allow_uids)
            listener = listen.unix(self.unix, shared=bool(settings.allow_uids))
            await self._accept(listener, connection, auth.unix_guard(uids, *allowed))
            self._unix_identity = listen.identity(self.unix)
        if self.insecure:
            log.warning("insecure: others on the network can read the token and all else", extra={"host": self.host})

    async def _accept(
        self, listener: socket.socket, connection: Callable[[auth.Guard], asyncio.Protocol], guard: auth.Guard
    ) -> None:
        unix = listener.family == getattr(socket, "AF_UNIX", None)
        loop = asyncio.get_running_loop()

        def factory() -> asyncio.Protocol:
            return connection(guard)

        if self.certificate is not None and not unix:
            context, seconds = self.certificate.context, self._settings.limits.handshake_seconds
            self._open.append(TlsListener(listener, factory, context, self._room, seconds))
            return
        create: Any = loop.create_unix_server if unix else loop.create_server
        self._open.append(await create(factory, sock=listener, backlog=listen.BACKLOG))

    def close(self) -> None:
        """Listen no more; connections live on."""
        for listener in self._open:
            listener.close()
        self.unlink_socket()

    def unlink_socket(self) -> None:
        """Remove the socket's file, if it is still ours."""
        if self.unix and self._unix_identity and listen.identity(self.unix) == self._unix_identity:
            os.unlink(self.unix)
