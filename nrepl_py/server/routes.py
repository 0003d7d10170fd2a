"""What plain HTTP gets, and what may become a WebSocket: one table, one guard before all of it.

Plain HTTP only ever reads: no request changes the server's state. The `Host` and `Origin` of every
request are checked before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from nrepl_py.server.auth import Guard

WEBSOCKET_PATH: Final = "/"

PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>nREPL server</title>
<p>This is an nREPL server. Connect to it with a WebSocket client: <code>nrepl-py repl</code>, or an editor.</p>
</html>
"""

ROUTES: Final[dict[str, tuple[str, str]]] = {
    WEBSOCKET_PATH: ("text/html; charset=utf-8", PAGE),
    "/healthz": ("text/plain; charset=utf-8", "ok"),
}
"""Every path there is: its type and its body."""

SECURITY_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


class Answer(NamedTuple):
    """An HTTP response; the connection closes after it."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(
    method: str, path: str, upgrade: bool, hosts: Sequence[str], origins: Sequence[str], guard: Guard
) -> Answer | None:
    """The response to a request with these headers; None where it may become a WebSocket."""
    refusal = guard.refusal(hosts, origins)
    if refusal is not None:
        return text(HTTPStatus.FORBIDDEN, refusal)
    if path not in ROUTES:
        return text(HTTPStatus.NOT_FOUND, "There is nothing here; WebSockets connect to /.")
    if method != "GET":
        return text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is known here.", ("Allow", "GET"))
    if upgrade and path == WEBSOCKET_PATH:
        return None
    kind, body = ROUTES[path]
    return _answer(HTTPStatus.OK, kind, body)


def text(status: HTTPStatus, sentence: str, *headers: tuple[str, str]) -> Answer:
    """A plain-text response of one sentence."""
    return _answer(status, "text/plain; charset=utf-8", sentence + "\n", *headers)


def _answer(status: HTTPStatus, kind: str, body: str, *headers: tuple[str, str]) -> Answer:
    data = body.encode()
    own = (("Connection", "close"), ("Content-Type", kind), ("Content-Length", str(len(data))))
    return Answer(status, own + headers + SECURITY_HEADERS, data)
