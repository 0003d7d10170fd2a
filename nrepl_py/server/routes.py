"""What plain HTTP gets, and what may become a WebSocket: one table, one guard before all of it.

Plain HTTP only ever reads: no request changes the server's state. The `Host` and `Origin` of every
request are checked before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from nrepl_py.server.auth import Guard
from nrepl_py.server.principals import Principal

WEBSOCKET_PATH: Final = "/"
METRICS_PATH: Final = "/metrics"

PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>nREPL server</title>
<p>This is an nREPL server. Connect to it with a WebSocket client: <code>nrepl-py repl</code>, or an editor.</p>
</html>
"""

ROUTES: Final[dict[str, tuple[str, str] | None]] = {
    WEBSOCKET_PATH: ("text/html; charset=utf-8", PAGE),
    "/healthz": ("text/plain; charset=utf-8", "ok"),
    METRICS_PATH: None,
}
"""Every path there is: its type and its body; None where these are made for who may see them (`private`)."""

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
    """The response to a request with these headers; None where a token decides: it may become a
    WebSocket, or is to be answered by `private`."""
    refusal = guard.refusal(hosts, origins)
    if refusal is not None:
        return text(HTTPStatus.FORBIDDEN, refusal)
    if path not in ROUTES:
        return text(HTTPStatus.NOT_FOUND, "There is nothing here; WebSockets connect to /.")
    if method != "GET":
        return text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is known here.", ("Allow", "GET"))
    page = ROUTES[path]
    if page is None or (upgrade and path == WEBSOCKET_PATH):
        return None
    return _answer(HTTPStatus.OK, *page)


def private(principal: Principal | None, page: Callable[[], tuple[str, str]]) -> Answer:
    """What only those with the capability `admin` see: its type and its body, made for them alone."""
    if principal is None:
        return text(HTTPStatus.UNAUTHORIZED, "Show a token: Authorization: Bearer …", ("WWW-Authenticate", "Bearer"))
    if "admin" not in principal.capabilities:
        return text(HTTPStatus.FORBIDDEN, "This needs the capability 'admin', which this token lacks.")
    return _answer(HTTPStatus.OK, *page())


def text(status: HTTPStatus, sentence: str, *headers: tuple[str, str]) -> Answer:
    """A plain-text response of one sentence."""
    return _answer(status, "text/plain; charset=utf-8", sentence + "\n", *headers)


def _answer(status: HTTPStatus, kind: str, body: str, *headers: tuple[str, str]) -> Answer:
    data = body.encode()
    own = (("Connection", "close"), ("Content-Type", kind), ("Content-Length", str(len(data))))
    return Answer(status, own + headers + SECURITY_HEADERS, data)
