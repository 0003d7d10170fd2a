"""Listening sockets: where a server may listen, with what rights, and who is at the other end."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from typing import Final

from nrepl_py.config import ConfigError
from nrepl_py.server import auth

BACKLOG: Final = 128
"""Connections the kernel keeps for us while the loop is busy."""


async def tcp(host: str, port: int, insecure: bool, tls: bool = False) -> socket.socket:
    """A socket listening there. Raises `ConfigError` where that is unsafe or cannot be had."""
    refusal = auth.exposure(host, insecure, tls)
    if refusal is not None:
        raise ConfigError(refusal)
    try:
        # Of a name's addresses the first: with port 0 each would get a port of its own.
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def unix(path: str, shared: bool = False) -> socket.socket:
    """A socket listening at the path, for its user only; `shared`: for everyone, and who connects is
    looked at. Raises `ConfigError` where something else is there, or it cannot be had."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        # Nobody can connect before `listen`, so nobody ever does with another mode.
        os.chmod(path, 0o666 if shared else 0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"--unix: cannot listen on {path}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def peer(transport: asyncio.BaseTransport) -> str:
    """Who connected, in a word: an address and port, or over a Unix socket the user's number."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family == getattr(socket, "AF_UNIX", None):
        if not hasattr(socket, "SO_PEERCRED"):
            return "unix"
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f"uid {struct.unpack('3i', credentials)[1]}"
    name = transport.get_extra_info("peername")
    return f"{auth.bracketed(str(name[0]))}:{name[1]}" if name else "gone"


def identity(path: str) -> tuple[int, int] | None:
    """Which file is at the path, whatever its name; None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket nobody listens on. Raises `ConfigError` where there is something else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(f"--unix: {path} exists and is not a socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # It has a full backlog: somebody listens.
    raise ConfigError(f"--unix: another server listens on {path}; stop it or choose another path")
