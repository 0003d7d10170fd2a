"""The table of plain HTTP."""

from __future__ import annotations

import gzip

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


PAGES = [path for path, page in routes.ROUTES.items() if isinstance(page, routes.Page)]


def get(path: str, **headers: list[str]) -> tuple[int, dict[str, str], bytes]:
    answer = routes.answer("GET", path, False, HOST, [], GUARD, **headers)
    assert answer is not None
    assert len(dict(answer.headers)) == len(answer.headers), "no header twice"
    return answer.status, dict(answer.headers), answer.body


@pytest.mark.parametrize("path", PAGES)
def test_a_file_is_asked_for_anew_and_sent_once(path: str) -> None:
    status, headers, body = get(path)
    assert (status, headers["Cache-Control"], int(headers["Content-Length"])) == (200, "no-cache", len(body))
    tag = headers["ETag"]
    for known in ([tag], ['"x"', f'W/"y", {tag}']):
        status, headers, nothing = get(path, known=known)
        assert (status, headers["ETag"], nothing) == (304, tag, b"")
    assert get(path, known=['W/"x"'])[0] == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_file_is_compressed_for_who_takes_that(path: str) -> None:
    plain = get(path)[2]
    _, headers, packed = get(path, encodings=["deflate, gzip, br"])
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert int(headers["Content-Length"]) == len(packed)
    for encodings in (["br"], ["gzip;q=0"], ["identity"]):
        assert get(path, encodings=encodings)[2] == plain


def test_nothing_runs_but_the_page_s_own_script() -> None:
    policies = {path: get(path)[1]["Content-Security-Policy"] for path in PAGES}
    for path, policy in policies.items():
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'", path
        assert rules.get("script-src", "'self'") == "'self'"
        assert rules["frame-ancestors"] == ("'self'" if path == "/frame" else "'none'")
        assert ("sandbox" in rules) == (path == "/frame")
    assert "unsafe" not in policies["/"]
    assert "script-src" not in policies["/frame"]
    assert "allow-scripts" not in policies["/frame"]


def test_the_page_weighs_little() -> None:
    assert sum(len(get(path, encodings=["gzip"])[2]) for path in PAGES) <= 350_000
