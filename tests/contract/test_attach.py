"""Many eyes on one session, and coming back to it: over every codec, transport and evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import Address, _open
from tests.contract.driver import Message, Peer, Session

LIVES = "import time\nprint('before', flush=True)\ninput()\nfor i in range(5): print(i, flush=True)\n'the end'"
"""Says something, waits until told, and then says more."""


@pytest.fixture(params=["json-tcp", "msgpack-unix"])
def other(any_server: Address, request: pytest.FixtureRequest) -> Iterator[Peer]:
    """Another connection to the same server."""
    peer = _open(any_server, request.param)
    yield peer
    peer.close()


def attach(peer: Peer, session: Session, **fields: Any) -> tuple[list[Message], Message]:
    """What was replayed, and the reply."""
    id = peer.send("attach", session=session.id, **fields)
    replayed: list[Message] = []
    while (message := peer.receive()).get("id") != id:
        replayed.append(message)
    return [message for message in replayed if message.get("session") == session.id], message


def seen(peer: Peer, session: Session, last: int) -> list[Message]:
    """The messages of the stream up to that number."""
    found: list[Message] = []
    while not found or found[-1]["seq"] < last:
        message = peer.receive()
        if message.get("session") == session.id and "seq" in message:
            found.append(message)
    return found


def test_since_0_is_the_whole_stream(any_session: Session, other: Peer) -> None:
    any_session.ok("print('one'); 2")
    replayed, reply = attach(other, any_session, since=0)
    assert [message["seq"] for message in replayed] == list(range(1, reply["last-seq"] + 1))
    assert replayed[0]["event"] == "started"
    assert "".join(message.get("out", "") for message in replayed) == "one\n"
    assert replayed[-1]["event"] == "clients"
    assert replayed[-1]["count"] == 2
    assert reply == reply | {
        "session": any_session.id, "first-seq": 1, "epoch": 1, "running": None, "queued": 0, "open": [],
        "waiting-for-input": False,
        "status": ["done"],
    }  # fmt: skip


def test_live_only(any_session: Session, other: Peer) -> None:
    any_session.ok("1")
    replayed, reply = attach(other, any_session)
    assert replayed == []
    run = any_session.ok("print('now'); 7")
    live = seen(other, any_session, run.last["seq"])
    assert [message["seq"] for message in live] == list(range(reply["last-seq"] + 1, run.last["seq"] + 1))
    assert live[0]["event"] == "clients"
    assert live[1]["started"]["code"] == "print('now'); 7"
    assert live[1:] == run.messages


def test_a_client_that_drops_in_the_middle_sees_the_rest(any_server: Address, any_peer: Peer, other: Peer) -> None:
    session = Session(any_peer)
    id = session.start(LIVES, **{"allow-stdin": True})
    before = any_peer.until(id, status="need-input").messages
    any_peer.close()
    replayed, reply = attach(other, session, since=before[-1]["seq"])
    assert all(message["event"] == "clients" for message in replayed)
    assert (reply["running"], reply["waiting-for-input"]) == (id, True)
    assert other.request("stdin", session=session.id, stdin="go\n").last["status"] == ["done"]
    run = other.until(id)
    assert (run.out, run.value, run.last["status"]) == ("0\n1\n2\n3\n4\n", "'the end'", ["done"])
    numbers = [m["seq"] for m in [*replayed, *run.messages]]
    assert numbers == list(range(before[-1]["seq"] + 1, numbers[-1] + 1))
    # Sending the same once more shows that it had been accepted, and runs nothing.
    assert other.until(other.send("eval", id=id, session=session.id, code="1 / 0")).last["status"] == [
        "error",
        "duplicate-id",
        "done",
    ]
    session.peer = other
    session.close()


def test_detach_ends_it(any_session: Session, other: Peer) -> None:
    attach(other, any_session)
    assert other.request("detach", session=any_session.id).last["status"] == ["done"]
    assert other.request("detach", session=any_session.id).last["status"] == ["done"]
    any_session.ok("print('unseen')")
    assert other.request("describe").last["status"] == ["done"]
    assert not [message for message in other.backlog if "out" in message]
    # What it asks for itself it still gets.
    assert other.request("eval", session=any_session.id, code="6 * 7").value == "42"


def test_who_is_there_is_told(any_session: Session, other: Peer) -> None:
    other.request("hello", client_name="an observer")
    attach(other, any_session)
    joined = any_session.peer.wait_for(event="clients", count=2)
    assert [client["name"] for client in joined["clients"]] == [None, "an observer"]
    (entry,) = [e for e in other.request("ls-sessions").last["sessions"] if e["id"] == any_session.id]
    assert entry["clients"] == 2
    other.close()
    left = any_session.peer.wait_for(event="clients", count=1)
    assert [client["name"] for client in left["clients"]] == [None]


@pytest.mark.parametrize("since", [-1, 1000, 1 << 62])
def test_a_number_never_reached(any_session: Session, since: int) -> None:
    _, reply = attach(any_session.peer, any_session, since=since)
    assert reply["status"] == ["error", "bad-since", "done"]
    assert str(since) in reply["message"]


def test_attaching_again_begins_again(any_session: Session) -> None:
    last = any_session.ok("print('said once')").last["seq"]
    any_session.peer.backlog.clear()
    for _ in range(2):
        replayed, reply = attach(any_session.peer, any_session, since=1)
        assert [message["seq"] for message in replayed] == list(range(2, last + 1))
        assert reply["last-seq"] == last
    assert any_session.ok("1").last["seq"] > last


def test_nobody_attaches_to_an_eval_without_a_session(any_peer: Peer) -> None:
    id = any_peer.send("eval", code="input()")
    any_peer.until(id, status="need-input")
    reply = any_peer.request("attach", session=id, since=0).last
    assert reply["status"] == ["error", "unknown-session", "done"]
    any_peer.request("stdin", eval_=id, stdin="x\n")
    assert any_peer.until(id).value == "'x'"
