"""Every refusal: the right code, a sentence that helps, and a connection that lives on."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from nrepl_py.errors import ERRORS
from tests.contract.conftest import Address
from tests.contract.driver import PATIENCE, Peer, Session


def refused(peer: Peer, op: str, **fields: Any) -> tuple[str, str]:
    reply = peer.ask(op, **fields).last
    assert (reply["status"][0], reply["status"][2]) == ("error", "done")
    assert reply["status"][1] in ERRORS
    assert peer.request("describe").last["status"] == ["done"]
    return reply["status"][1], reply["message"]


@pytest.mark.parametrize(
    ("op", "fields", "says"),
    [
        ("eval", {}, "code"),
        ("eval", {"code": 1}, "'code' must be a string, got an integer"),
        ("eval", {"code": "1", "line": "x"}, "'line' must be an integer, got a string"),
        ("eval", {"code": "1", "line": 0}, "line"),
        ("eval", {"code": "1", "values": "some"}, "values"),
        ("eval", {"code": "1", "mime": "text/html"}, "mime"),
        ("eval", {"code": "1", "timeout": -1}, "timeout"),
        ("stdin", {"stdin": None}, "stdin"),
        ("clone", {"env": {"A": 1}}, "env"),
        ("hello", {"max-frame": 1}, "max-frame"),
        ("completions", {"code": "x"}, "session"),
    ],
)
def test_invalid_message(any_peer: Peer, op: str, fields: dict[str, Any], says: str) -> None:
    code, message = refused(any_peer, op, **fields)
    assert code == "invalid-message"
    assert message.startswith(f"{op}: ")
    assert says in message


@pytest.mark.parametrize("op", ["evall", "Eval", ""])
def test_unknown_op(any_peer: Peer, op: str) -> None:
    code, message = refused(any_peer, op)
    assert code == "unknown-op"
    if op == "evall":
        assert "eval" in message


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("eval", {"code": "1"}), ("load-file", {"code": "1"}), ("close", {}), ("interrupt", {}), ("stdin", {"stdin": ""}),
        ("completions", {"code": "", "cursor": 0}), ("lookup", {"sym": "x"}), ("is-complete", {"code": ""}),
    ],
)  # fmt: skip
def test_unknown_session(any_peer: Peer, op: str, fields: dict[str, Any]) -> None:
    code, message = refused(any_peer, op, session="nobody", **fields)
    assert code == "unknown-session"
    assert "nobody" in message


def test_duplicate_id(any_session: Session) -> None:
    peer = any_session.peer
    peer.request("eval", session=any_session.id, code="count = 1")
    request = {"op": "eval", "id": "twice", "session": any_session.id, "code": "count += 1"}
    for expected in (["done"], ["error", "duplicate-id", "done"]):
        peer.socket.send(msgpack.packb(request) if peer.codec == "msgpack" else __import__("json").dumps(request))
        assert peer.until("twice").last["status"] == expected
    assert any_session.ok("count").value == "2"


def test_busy(any_session: Session) -> None:
    running = any_session.start("import time\nwhile not globals().get('stop'): time.sleep(0.001)")
    limit = any_session.peer.request("describe").last["limits"]["max-queue-evals"]
    queued = [any_session.start("1") for _ in range(limit)]
    reply = any_session.eval("1").last
    assert reply["status"] == ["error", "busy", "done"]
    any_session.request("interrupt", all=True)
    for id in (running, *queued):
        any_session.peer.until(id)
    assert any_session.ok("1").value == "1"


@pytest.mark.parametrize("fields", [{"session": "x"}])
def test_not_supported(any_peer: Peer, fields: dict[str, Any]) -> None:
    code, _ = refused(any_peer, "clone", **fields)
    assert code in ("not-supported", "unknown-session")


def test_unsupported_version(any_peer: Peer) -> None:
    code, message = refused(any_peer, "hello", protocol=99)
    assert code == "unsupported-version"
    assert "1" in message


def test_not_found(any_session: Session) -> None:
    assert refused(any_session.peer, "lookup", session=any_session.id, sym="nothing_of_this_name")[0] == "not-found"


def test_unauthorized(local_server: Address) -> None:
    with connect(local_server.url, subprotocols=["nrepl.v1.msgpack"]) as socket:  # type: ignore[list-item]
        socket.send(msgpack.packb({"op": "ls-sessions", "id": "1"}))
        reply = msgpack.unpackb(socket.recv(timeout=PATIENCE))
        assert reply["status"] == ["error", "unauthorized", "done"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


@pytest.mark.parametrize(
    "frame", ["{", "nonsense", '{"op": "eval", "op": "eval", "id": "1"}', "[" * 100_000, '{"id": NaN}', "1" * 1000]
)
def test_unparseable(local_server: Address, frame: str) -> None:
    peer = Peer.open(url=local_server.url, token=local_server.token)
    peer.socket.send(frame)
    reply = peer.receive()
    assert reply["status"][:2] in (["error", "unparseable"], ["error", "invalid-message"])
    assert peer.request("eval", code="1").value == "1"
    peer.close()


def test_every_code_is_tested_somewhere() -> None:
    """`forbidden`, `quota-exceeded`, `no-capacity`, `unavailable`, `internal` need a server made for it:
    see tests/server/test_router.py. `bad-since` is in test_attach.py."""
    here = {"invalid-message", "unknown-op", "unknown-session", "duplicate-id", "busy", "not-supported",
            "unsupported-version", "not-found", "unauthorized", "unparseable", "start-failed"}  # fmt: skip
    elsewhere = {"forbidden", "quota-exceeded", "no-capacity", "unavailable", "internal"}
    assert here | elsewhere | {"bad-since"} == set(ERRORS)
