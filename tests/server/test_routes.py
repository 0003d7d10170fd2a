"""The table of plain HTTP."""

from __future__ import annotations

import pytest

from nrepl_py.server import routes
from nrepl_py.server.auth import tcp_guard

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
    for method, path in [("POST", "/"), ("GET", "/healthz"), ("GET", "/x"), ("GET", "/?")]:
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
