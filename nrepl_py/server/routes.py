"""What plain HTTP gets, and what may become a WebSocket: one table, one guard before all of it.

Plain HTTP only ever reads: no request changes the server's state. The `Host` and `Origin` of every
request are checked before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from nrepl_py.server.assets import asset
from nrepl_py.server.auth import Guard
from nrepl_py.server.principals import Principal

WEBSOCKET_PATH: Final = "/"
METRICS_PATH: Final = "/metrics"

_NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'"

TEXT_POLICY: Final = f"{_NOTHING}; frame-ancestors 'none'"

PAGE_POLICY: Final = (
    f"{_NOTHING}; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; frame-src 'self'; "
    "frame-ancestors 'none'"
)
"""Scripts and styles are files of ours, nothing is inline, nothing is fetched from elsewhere; `data:` is the icon."""

FRAME_POLICY: Final = (
    f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox allow-same-origin; "
    "frame-ancestors 'self'"
)
"""Where the page shows HTML that code made: styles and pictures that it brings along, no scripts, nothing fetched."""


class Page(NamedTuple):
    """A file of the page for browsers: its type, and what it may do."""

    name: str
    kind: str
    policy: str = TEXT_POLICY


ROUTES: Final[dict[str, Page | str | None]] = {
    WEBSOCKET_PATH: Page("index.html", "text/html; charset=utf-8", PAGE_POLICY),
    "/frame": Page("frame.html", "text/html; charset=utf-8", FRAME_POLICY),
    "/page.js": Page("page.js", "text/javascript; charset=utf-8"),
    "/page.css": Page("page.css", "text/css; charset=utf-8"),
    "/healthz": "ok",
    METRICS_PATH: None,
}
"""Every path there is: a file, a text, or None where it is made for who may see it (`private`)."""

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
PRIVATE_HEADERS: Final = (("Content-Security-Policy", TEXT_POLICY), ("Cache-Control", "no-store"), *SECURITY_HEADERS)
"""Of all that is no file of the page's."""


class Answer(NamedTuple):
    """An HTTP response; the connection closes after it."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(
    method: str,
    path: str,
    upgrade: bool,
    hosts: Sequence[str],
    origins: Sequence[str],
    guard: Guard,
    *,
    known: Sequence[str] = (),
    encodings: Sequence[str] = (),
) -> Answer | None:
    """The response to a request with these headers (`known`: If-None-Match, `encodings`: Accept-Encoding); None
    where a token decides: it may become a WebSocket, or is to be answered by `private`."""
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
    if isinstance(page, str):
        return _answer(HTTPStatus.OK, "text/plain; charset=utf-8", page)
    return _file(page, known, encodings)


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
    return Answer(status, own + headers + PRIVATE_HEADERS, data)


def _file(page: Page, known: Sequence[str], encodings: Sequence[str]) -> Answer:
    file = asset(page.name)
    shared = (
        ("Connection", "close"),
        ("Content-Security-Policy", page.policy),
        ("Cache-Control", "no-cache"),  # kept, and asked for each time
        ("ETag", file.etag),
        ("Vary", "Accept-Encoding"),
        *SECURITY_HEADERS,
    )
    if file.etag in (tag for value in known for tag in _listed(value)):
        return Answer(HTTPStatus.NOT_MODIFIED, shared, b"")
    packed = "gzip" in (name for value in encodings for name in _listed(value))
    body = file.packed if packed else file.body
    about = (("Content-Type", page.kind), ("Content-Length", str(len(body))))
    return Answer(HTTPStatus.OK, shared + about + ((("Content-Encoding", "gzip"),) if packed else ()), body)


def _listed(value: str) -> list[str]:
    """What a header lists. What has a weight is left out, which costs no more than a few bytes."""
    return [one.strip() for one in value.split(",")]
