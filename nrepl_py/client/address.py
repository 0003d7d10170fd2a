"""Where a server is and what opens it: from what the caller gave, a connection file, or the environment.

A token is never taken from a URL or a command line: it is given in the program, is in the file that
`NREPL_PY_TOKEN_FILE` names, or in the connection file of the server itself.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from nrepl_py import connection_file
from nrepl_py.errors import NreplError

TOKEN_FILE: Final = "NREPL_PY_TOKEN_FILE"
"""The environment variable with the path of a file that holds the token."""


class NoServer(NreplError):
    """No server was found, or none answers where one was said to be. `str(error)` says what to do."""

    code = "no-server"


class Address(NamedTuple):
    """How to reach a server: over the Unix socket where there is one, else at the URL."""

    url: str
    token: str | None
    unix: str | None = None
    file: connection_file.ServerFile | None = None
    """What its connection file says, where there is one that this user may read."""

    @property
    def certfile(self) -> str | None:
        """The file of the certificate it shows."""
        return self.file.certfile if self.file else None

    def is_gone(self) -> bool:
        """Whether its process is known to have ended."""
        return self.file is not None and not connection_file.alive(self.file)

    def __str__(self) -> str:
        return self.unix or self.url


def find(directory: str | None = None, file: str | None = None) -> connection_file.ServerFile:
    """The live server whose connection file is `file`, else the one started in `directory` (default:
    the current one) or nearest above it. Raises `NoServer`."""
    if file is not None:
        server = connection_file.read(file)
        if server is None:
            raise NoServer(f"{file} is no connection file that can be read; nrepl-py serve writes one")
        if not connection_file.alive(server):
            raise NoServer(f"the server that wrote {file} (process {server.pid}) is gone")
        return server
    directory = os.getcwd() if directory is None else directory
    try:
        found = connection_file.find(directory)
    except (OSError, connection_file.UnsafeDirectory) as error:
        raise NoServer(str(error)) from None
    if found is None:
        raise NoServer(f"no server runs for {directory}; start one there with: nrepl-py serve")
    return found


def resolve(
    url: str | None = None,
    token: str | None = None,
    unix: str | None = None,
    directory: str | None = None,
    file: str | None = None,
) -> Address:
    """The address to connect to. Raises `NoServer`."""
    if url is None and unix is None:
        server = find(directory, file)
        return Address(server.url, token or server.token, server.unix, server)
    token = token or _token_from_environment()
    known = None if token and not (url or "").startswith("wss://") else _known(url, unix)
    if known is None:
        return Address(url or "ws://localhost/", token, unix)
    return Address(url or "ws://localhost/", token or known.token, unix, known)


def _token_from_environment() -> str | None:
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoServer(f"{TOKEN_FILE}={path}: the token cannot be read: {error}") from None


def _known(url: str | None, unix: str | None) -> connection_file.ServerFile | None:
    """The server of this user's at that address."""
    try:
        servers = connection_file.servers()
    except (OSError, connection_file.UnsafeDirectory):
        return None
    for server in servers:
        same = url is not None and server.url.rstrip("/") == url.rstrip("/")
        if same or (unix is not None and server.unix == os.path.abspath(unix)):
            return server
    return None
