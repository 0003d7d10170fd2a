"""The table of plain HTTP."""

from __future__ import annotations

import pytest

from nrepl_py.server import routes
from nrepl_py.server.auth import tcp_guard
from nrepl_py.server.principals import Principal

GUARD = tcp_guard("127.0.0.1", 4000)
HOST = ["127.0.0.1:4000"]


@pytest.mark.parametrize("path", routes.ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("upgrade", [True, False])
def test_the_guard_comes_first_on_every_route(path: str, method: str, upgrade: bool) -> None:
    for hosts, origins in (([], []), (["evil"], []), (HOST, ["null"]), (HOST, ["https://evil.example"])):
        refused = routes.answer(method, path, upgrade, hosts, origins, GUARD)
        assert refused is not None
        assert refused.status == 403


def test_only_get_of_the_root_may_become_a_websocket() -> None:
    assert routes.answer("GET", "/", True, HOST, [], GUARD) is None
    for method, path in [("POST", "/"), ("GET", "/healthz"), ("POST", "/metrics"), ("GET", "/x"), ("GET", "/?")]:
        assert routes.answer(method, path, True, HOST, [], GUARD) is not None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/healthz", 200), ("GET", "/x", 404), ("POST", "/", 405), ("POST", "/x", 404)],
)
def test_statuses_and_headers(method: str, path: str, status: int) -> None:
    answer = routes.answer(method, path, False, HOST, [], GUARD)
    assert answer is not None
    assert answer.status == status
    headers = dict(answer.headers)
    assert headers["Content-Length"] == str(len(answer.body))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_what_is_private_is_made_for_an_admin_alone() -> None:
    made: list[str] = []

    def page() -> tuple[str, str]:
        made.append("page")
        return "text/plain", "secret"

    for upgrade in (True, False):
        assert routes.answer("GET", routes.METRICS_PATH, upgrade, HOST, [], GUARD) is None
    stranger = routes.private(None, page)
    user = routes.private(Principal("ann", frozenset({"eval", "observe"})), page)
    assert (stranger.status, user.status, made) == (401, 403, [])
    assert ("WWW-Authenticate", "Bearer") in stranger.headers
    assert b"secret" not in stranger.body + user.body
    admin = routes.private(Principal("bob", frozenset({"admin"})), page)
    assert (admin.status, admin.body, made) == (200, b"secret", ["page"])
    assert dict(admin.headers)["Cache-Control"] == "no-store"
