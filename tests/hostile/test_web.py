"""Pages in a browser, and whatever else speaks to the port: HTTP only ever reads, and the door has one key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest

from nrepl_py.server import handshake, routes
from tests.contract.driver import Session
from tests.hostile.harness import PATIENCE, ROOT, Attack, frame, request, status
from tests.hostile.places import places

PLACES = places("sandbox")
ORIGINS = [
    "https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:{port}.evil.example", "http://127.0.0.1:1",
    "http://evil127.0.0.1:{port}", "http://127.0.0.1:{port}0", "https://127.0.0.1:{port}", "http://localhost:{port}/",
    "http://evil.example/http://127.0.0.1:{port}", "HTTP://127.0.0.1:{port}", "http://127.0.0.1@evil.example:{port}", "",
    "file://", "http://[::1]", "http://127.0.0.1:{port} http://127.0.0.1:{port}",
]  # fmt: skip
HOSTS = [
    "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}0", "127.0.0.1:{port}.evil",
    "localhost.evil.example:{port}", "0.0.0.0:{port}", "127.1:{port}", "2130706433:{port}", "localhost.:{port}", "", None,
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "eval"]
PATHS = [*routes.ROUTES, "/nothing", "/?token=x", "//", "/../", "*", "/%2e%2e/etc/passwd", "http://127.0.0.1/"]
CSP = re.compile(rb"^content-security-policy: (.*?)\r?$", re.IGNORECASE | re.MULTILINE)


def http(attack: Attack, data: bytes, *, unix: bool = False) -> bytes:
    """All that the server answers."""
    raw = attack.raw(unix=unix)
    raw.send(data)
    answer = raw.rest()
    raw.close()
    return answer


def test_a_foreign_origin_is_refused_before_the_upgrade(attack: Attack) -> None:
    message = frame(1, b'{"op":"clone","id":"1"}').decode("latin-1").encode("latin-1")
    for origin in ORIGINS:
        named = origin.format(port=attack.victim.port)
        answer = http(attack, request(attack.victim, Origin=named) + message)
        assert status(answer) == 403, origin
        assert b"Upgrade: websocket" not in answer
    attack.innocent_is_served()


def test_a_missing_origin_is_fine_only_with_the_token(attack: Attack) -> None:
    assert attack.peer().request("describe").last["status"] == ["done"]
    stranger = attack.raw()
    stranger.send(request(attack.victim, Authorization=None) + frame(1, b'{"op":"describe","id":"1"}'))
    assert status(stranger.head()) == 101
    assert stranger.message()["status"] == ["error", "unauthorized", "done"]
    assert stranger.close_code() == 4401
    for wrong in ("Bearer wrong", "Basic x", f"Bearer {attack.victim.token}x", f"Bearer {attack.victim.token[:-1]}"):
        assert status(http(attack, request(attack.victim, Authorization=wrong))) == 401
    in_the_query = f"GET /?token={attack.victim.token} HTTP/1.1"
    assert status(http(attack, request(attack.victim, in_the_query, Authorization=None))) == 404
    attack.innocent_is_served()


def test_a_host_not_on_the_list_is_refused(attack: Attack) -> None:
    """What a name of the attacker's, made to resolve to this machine, says."""
    for host in HOSTS:
        named = host and host.format(port=attack.victim.port)
        assert status(http(attack, request(attack.victim, Host=named))) == 403, host
    twice = request(attack.victim).replace(b"\r\n", b"\r\nHost: evil.example\r\n", 1)
    assert status(http(attack, twice)) == 403
    attack.innocent_is_served()


def test_wrong_tokens_are_slowed_down(attack: Attack) -> None:
    """Each guess costs its connection a wait, however the server is hurried."""
    guesses = 5
    start = time.monotonic()
    for _ in range(guesses):
        assert status(http(attack, request(attack.victim, Authorization="Bearer guess"))) == 401
    assert time.monotonic() - start >= guesses * handshake.WRONG_TOKEN_SECONDS
    # Nobody else waits with the one who guesses.
    guessing = [attack.raw() for _ in range(50)]
    for raw in guessing:
        raw.send(request(attack.victim, Authorization="Bearer guess"))
    attack.innocent_is_served()
    assert {status(raw.head()) for raw in guessing} <= {401, 429}


def test_wrong_tokens_in_hello_are_slowed_down(attack: Attack) -> None:
    """They are counted with those of the handshake, and soon told to wait; who shows a right one is not."""
    said = []
    for _ in range(20):
        raw = attack.raw()
        raw.send(request(attack.victim, Authorization=None) + frame(1, b'{"op":"hello","id":"1","token":"guess"}'))
        assert status(raw.head()) == 101
        said.append(raw.message()["message"])
        assert raw.close_code() == 4401
    assert "too many wrong tokens" in said[-1]
    attack.innocent_is_served()


def test_plain_http_changes_nothing(attack: Attack) -> None:
    before = attack.peer().request("ls-sessions").last["sessions"]
    body = json.dumps({"op": "clone", "id": "1", "token": attack.victim.token})
    for method in METHODS:
        for path in PATHS:
            head = request(attack.victim, f"{method} {path} HTTP/1.1", upgrade=False, Content_Length=str(len(body)))
            assert status(http(attack, head + body.encode())) >= 400 or method == "GET", (method, path)
            assert status(http(attack, request(attack.victim, f"{method} {path} HTTP/1.1", upgrade=False))) >= 400 or (
                method == "GET" and path in routes.ROUTES
            ), (method, path)
    attack.innocent_is_served()
    after = attack.peer().request("ls-sessions").last["sessions"]
    assert [entry["id"] for entry in after] == [entry["id"] for entry in before]


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_raw_bytes_are_never_ops(attack: Attack, unix: bool) -> None:
    clone = {"op": "clone", "id": "1", "token": attack.victim.token, "name": "raw"}
    text = json.dumps(clone).encode()
    bencoded = b"d2:op5:clone2:id1:14:name3:rawe"
    for data in (
        text + b"\n", msgpack.packb(clone), bencoded, frame(1, text), frame(2, msgpack.packb(clone)), b"\x16\x03\x01\x02\x00",
        b"\0" * 100_000, b"GET " * 50_000, b"\r\n\r\n" + text, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 10,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000, text + b"\r\n\r\n", b"GET / HTTP/1.1\nHost: localhost\n\n" + text,
    ):  # fmt: skip
        raw = attack.raw(unix=unix)
        raw.send(data)
        raw.socket.shutdown(1)
        answer = raw.rest()
        assert not answer or status(answer) >= 400, (data[:30], answer[:100])
        raw.close()
    attack.innocent_is_served()
    assert "raw" not in [entry["name"] for entry in attack.peer().request("ls-sessions").last["sessions"]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_listening_beyond_loopback_without_tls_is_refused(host: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nrepl_py", "serve", "--host", host, "--connection-file", str(tmp_path / "c")]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "refusing to listen" in done.stderr
    assert "--insecure" in done.stderr
    assert not (tmp_path / "c").exists()


def test_html_and_svg_results_never_become_pages(attack: Attack) -> None:
    """They are text in a message for the client that asked; the server's own pages hold nothing of anyone's, and run
    no script but the server's own file."""
    script = "<script>fetch('/')</script>"
    session = Session(attack.peer())
    code = f"class Page:\n    def _repr_html_(self): return {script!r}\n    _repr_svg_ = _repr_html_\nPage()"
    run = session.ok(code, mime=["text/html", "image/svg+xml"])
    assert run.last["mime"] == {"text/html": script, "image/svg+xml": script}
    for path in routes.ROUTES:
        page = http(attack, request(attack.victim, f"GET {path} HTTP/1.1", upgrade=False))
        assert status(page) == 200
        assert script.encode() not in page
        (policy,) = CSP.findall(page)
        rules = dict(rule.strip().partition(b" ")[::2] for rule in policy.split(b";"))
        assert rules[b"default-src"] == b"'none'"
        assert rules.get(b"script-src", b"'self'") == b"'self'"
        if path == "/frame":  # where the page shows such results
            assert rules[b"frame-ancestors"] == b"'self'"
            assert b"script-src" not in rules
            assert b"allow-scripts" not in rules[b"sandbox"]
        else:
            assert rules[b"frame-ancestors"] == b"'none'"
        assert b"x-content-type-options: nosniff" in page.lower()
    attack.innocent_is_served()


def test_no_answer_may_be_framed(attack: Attack) -> None:
    victim = attack.victim
    answers = {
        200: request(victim, upgrade=False),
        400: b"nonsense\r\n\r\n",
        401: request(victim, Authorization="Bearer wrong"),
        403: request(victim, Origin="null"),
        404: request(victim, "GET /nothing HTTP/1.1"),
        405: request(victim, "POST / HTTP/1.1"),
        426: request(victim, Upgrade="h2c"),
        431: b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
    }
    for code, data in answers.items():
        answer = http(attack, data)
        # Other tests have shown many wrong tokens just now.
        assert status(answer) == code or (code, status(answer)) == (401, 429)
        assert b"frame-ancestors 'none'" in answer, code
    attack.innocent_is_served()


def test_every_route_is_guarded(attack: Attack) -> None:
    """Whatever routes there are: a wrong Host or Origin gets 403 on each, by every method, upgraded or not."""
    assert {"/", "/healthz"} <= routes.ROUTES.keys()
    for path in [*routes.ROUTES, "/nothing"]:
        for upgrade in (True, False):
            for method in METHODS:
                for wrong in ({"Host": "evil.example"}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
                    text = request(attack.victim, f"{method} {path} HTTP/1.1", upgrade=upgrade, **wrong)
                    answer = status(http(attack, text))
                    # Methods HTTP has no use for here never come as far as the guard.
                    assert answer == 403 or (answer == 400 and method != "GET"), (method, path, wrong)
    attack.innocent_is_served()
