"""`restart`: a fresh worker under the same id, from every state, and what becomes of what was open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.driver import Peer, Session

RESTARTED = ["session-restarted", "done"]


def test_a_fresh_worker_under_the_same_id(any_session: Session) -> None:
    any_session.ok("state = 1")
    reply = any_session.request("restart").last
    assert (reply["epoch"], reply["status"]) == (2, ["done"])
    assert reply["info"].keys() == any_session.reply["info"].keys()
    event = any_session.peer.wait_for(event="restarted")
    assert (event["session"], event["epoch"]) == (any_session.id, 2)
    run = any_session.ok("'state' in globals()")
    assert run.value == "False"
    assert run.messages[0]["seq"] > event["seq"]


def test_all_that_was_open_ends_with_the_old_worker(any_session: Session) -> None:
    running = any_session.start("print('on')\nwhile True: pass")
    queued = any_session.start("'never runs'")
    any_session.peer.until(running, key="out")
    restarting = any_session.send("restart")
    after = any_session.start("'after'")
    assert any_session.peer.until(running).last["status"] == RESTARTED
    assert any_session.peer.until(queued).last["status"] == RESTARTED
    assert any_session.peer.until(restarting).last["epoch"] == 2
    assert any_session.peer.until(after).value == "'after'"


def test_while_it_starts(any_peer: Peer) -> None:
    cloning = any_peer.send("clone", name="starting")
    restarting = any_peer.send("restart", session="starting")
    any_peer.until(cloning)
    assert any_peer.until(restarting).last["epoch"] == 2
    assert any_peer.request("eval", session="starting", code="1").value == "1"
    any_peer.request("close", session="starting")


def test_a_dead_session(killable: Session) -> None:
    killable.eval("import os; os._exit(1)")
    assert killable.request("restart").last["epoch"] == 2
    assert killable.ok("1").value == "1"


def test_a_worker_that_hangs(killable: Session) -> None:
    id = killable.start("import os, signal; print('on'); os.kill(os.getpid(), signal.SIGSTOP)")
    killable.peer.until(id, key="out")
    assert killable.request("restart").last["epoch"] == 2
    assert killable.peer.until(id).last["status"] == RESTARTED
    assert killable.ok("1").value == "1"


def test_restarts_in_a_row_each_get_a_worker(killable: Session) -> None:
    restarting = [killable.send("restart") for _ in range(8)]
    epochs = [killable.peer.until(id).last["epoch"] for id in restarting]
    assert epochs == sorted(epochs)
    assert epochs[0] == 2
    assert killable.ok("1").value == "1"


def test_an_idle_worker_may_finish_what_it_has_to_do(peer: Peer, tmp_path: Path) -> None:
    session = Session(peer)
    session.ok(f"import atexit; atexit.register(open({str(tmp_path / 'left')!r}, 'w').close)")
    session.request("restart")
    assert (tmp_path / "left").exists()
    session.close()


def test_a_start_that_fails_leaves_it_dead_and_can_be_tried_again(peer: Peer, tmp_path: Path) -> None:
    module = tmp_path / "early.py"
    module.write_text("x = 1")
    session = Session(peer, env={"PYTHONPATH": str(tmp_path)}, preload=["early"])
    module.write_text("raise RuntimeError('not now')")
    reply = session.request("restart").last
    assert reply["status"] == ["error", "start-failed", "done"]
    assert "not now" in reply["message"]
    (entry,) = [e for e in peer.request("ls-sessions").last["sessions"] if e["id"] == session.id]
    assert (entry["state"], entry["epoch"]) == ("dead", 2)
    module.write_text("x = 2")
    assert session.request("restart").last["epoch"] == 3
    assert session.ok("import early; early.x").value == "2"
    session.close()


def test_it_cannot_be_a_copy_of_itself(any_session: Session) -> None:
    copies = "clone" in any_session.peer.request("describe").last["sandbox"]["capabilities"]
    reply = any_session.request("restart", **{"from": any_session.id}).last
    assert reply["status"] == ["error", "invalid-message" if copies else "not-supported", "done"]
    assert any_session.ok("1").value == "1"


def test_an_unknown_session(any_peer: Peer) -> None:
    assert any_peer.request("restart", session="nobody").last["status"][:2] == ["error", "unknown-session"]


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)"])
def test_closing_what_is_being_restarted(killable: Session, code: str) -> None:
    peer, session = killable.peer, Session(killable.peer)
    id = session.start(f"print('on')\n{code}")
    peer.until(id, key="out")
    restarting, closing = session.send("restart"), session.send("close")
    assert "done" in peer.until(restarting).last["status"]
    assert peer.until(closing).last["status"] == ["session-closed", "done"]
    assert peer.until(id).last["status"][-1] == "done"
