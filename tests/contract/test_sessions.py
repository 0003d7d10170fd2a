"""Sessions: made, named, listed, surrounded, closed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.driver import Peer, Session


def test_clone_says_what_it_made(any_session: Session) -> None:
    info = any_session.reply["info"]
    assert info["version"].count(".") >= 2
    assert info["implementation"] == "cpython"
    assert Path(info["python"]).exists()
    assert "sandbox" in info


def test_sessions_do_not_share_names(any_peer: Peer) -> None:
    one, two = Session(any_peer), Session(any_peer)
    one.ok("x = 1")
    assert two.eval("x").error["type"] == "NameError"
    one.close()
    two.close()


def test_a_name_serves_as_an_id(any_peer: Peer) -> None:
    session = Session(any_peer, name="mine")
    assert any_peer.request("eval", session="mine", code="1 + 1").value == "2"
    reply = any_peer.request("clone", name="mine").last
    assert reply["status"][:2] == ["error", "invalid-message"]
    assert "mine" in reply["message"]
    session.close()
    Session(any_peer, name="mine").close()


def test_ids_are_never_reused(any_peer: Peer) -> None:
    ids = []
    for _ in range(5):
        session = Session(any_peer)
        ids.append(session.id)
        session.close()
    assert len(set(ids)) == 5


def test_ls_sessions(any_peer: Peer) -> None:
    session = Session(any_peer, name="listed")
    running = session.start("print('running')\nimport time\nwhile not globals().get('stop'): time.sleep(0.001)")
    queued = session.start("1")
    any_peer.until(running, key="out")
    (entry,) = [entry for entry in any_peer.request("ls-sessions").last["sessions"] if entry["id"] == session.id]
    assert {key: entry[key] for key in ("name", "state", "epoch", "running", "queued")} == {
        "name": "listed", "state": "busy", "epoch": 1, "running": running, "queued": 1,
    }  # fmt: skip
    assert entry["created"] <= entry["last-active"]
    assert entry["clients"] == 1
    any_peer.request("interrupt", session=session.id)
    any_peer.until(queued)
    (entry,) = [entry for entry in any_peer.request("ls-sessions").last["sessions"] if entry["id"] == session.id]
    assert (entry["state"], entry["running"], entry["queued"]) == ("ready", None, 0)
    session.close()


def test_close_ends_open_evals(any_peer: Peer) -> None:
    session = Session(any_peer)
    ids = [session.start("print('running')\nwhile True: pass"), session.start("1")]
    any_peer.until(ids[0], key="out")
    closing = session.send("close")
    assert all("session-closed" in any_peer.until(id).last["status"] for id in ids)
    assert any_peer.until(closing).last["status"] == ["session-closed", "done"]
    assert session.eval("1").last["status"][:2] == ["error", "unknown-session"]


def test_a_session_outlives_its_connection(any_server, any_peer: Peer) -> None:  # type: ignore[no-untyped-def]
    first = Peer.open(url=any_server.url, token=any_server.token)
    session = Session(first)
    session.ok("kept = 'still here'")
    id = session.start("import time; time.sleep(0.05); done = True")
    first.until(id, key="started")
    first.close()
    assert any_peer.request("eval", session=session.id, code="kept, done").value == "('still here', True)"
    any_peer.request("close", session=session.id)


def test_a_session_that_nobody_uses_ends(any_peer: Peer) -> None:
    session = Session(any_peer, idle=2)
    session.ok("1")
    event = any_peer.wait_for(event="culling")
    assert event["seconds"] == pytest.approx(0.2)
    event = any_peer.wait_for(event="closed")
    assert (event["session"], event["cause"]) == (session.id, {"kind": "idle"})
    assert session.eval("1").last["status"][:2] == ["error", "unknown-session"]


def test_a_session_that_works_is_used(any_peer: Peer) -> None:
    session = Session(any_peer, idle=2)
    assert session.ok("import time; time.sleep(3); 'still here'").value == "'still here'"
    any_peer.wait_for(event="closed")


class TestSurroundings:
    def test_cwd(self, peer: Peer, tmp_path: Path) -> None:
        session = Session(peer, cwd=str(tmp_path))
        assert session.ok("import os; os.getcwd()").value == repr(os.path.realpath(tmp_path))
        (tmp_path / "here.py").write_text("x = 'imported from cwd'")
        assert session.ok("import here; here.x").value == "'imported from cwd'"
        session.close()

    def test_env(self, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_OF_SERVER", "s3cret")
        monkeypatch.setenv("WANTED", "w")
        session = Session(peer, env={"MINE": "ü"}, inherit_env=["WANTED"])
        code = "import os; [os.environ.get(n) for n in ('MINE', 'WANTED', 'SECRET_OF_SERVER')], 'PATH' in os.environ"
        assert session.ok(code).value == "(['ü', 'w', None], True)"
        run = session.ok("import subprocess; subprocess.run(['sh', '-c', 'echo $MINE']); None")
        assert run.out == "ü\n"
        session.close()

    def test_pythonpath(self, peer: Peer, tmp_path: Path) -> None:
        (tmp_path / "onpath.py").write_text("x = 1")
        session = Session(peer, env={"PYTHONPATH": str(tmp_path)})
        assert session.reply["info"]["start"] == "spawn"
        assert session.ok("import onpath; onpath.x").value == "1"
        session.close()

    def test_preload(self, peer: Peer) -> None:
        session = Session(peer, preload=["fractions"])
        assert session.ok("import sys; 'fractions' in sys.modules, 'fractions' in globals()").value == "(True, False)"
        session.close()

    def test_a_plain_interpreter(self, session: Session) -> None:
        session.ok("import sys")
        assert session.ok("__name__, sys.argv, sys.path[0]").value == "('__main__', [''], '')"
        assert session.ok("sys.modules['__main__'].__dict__ is globals()").value == "True"
        assert session.ok("[n for n in sorted(globals()) if not n.startswith('_')]").value == "['sys']"
        for name in ("jedi", "parso", "cloudpickle", "msgpack", "websockets", "msgspec", "nrepl_py"):
            assert session.ok(f"{name!r} in sys.modules").value == "False", name
        assert session.ok("[p for p in sys.path if 'nrepl' in p]").value == "[]"


class TestFailedStarts:
    @pytest.mark.parametrize("python", ["/no/such/python", "no-such-python", "/etc/passwd", "/"])
    def test_no_interpreter(self, peer: Peer, python: str) -> None:
        reply = peer.request("clone", python=python).last
        assert reply["status"] == ["error", "start-failed", "done"]
        assert python in reply["message"]

    def test_the_interpreters_own_stderr(self, peer: Peer, tmp_path: Path) -> None:
        fake = tmp_path / "python"
        fake.write_text("#!/bin/sh\necho 'this is no interpreter' >&2\nexit 3\n")
        fake.chmod(0o755)
        reply = peer.request("clone", python=str(fake)).last
        assert reply["status"] == ["error", "start-failed", "done"]
        assert "this is no interpreter" in reply["message"]

    def test_a_preload_that_fails(self, peer: Peer) -> None:
        reply = peer.request("clone", preload=["no_such_module_x"]).last
        assert reply["status"] == ["error", "start-failed", "done"]
        assert "No module named 'no_such_module_x'" in reply["message"]

    def test_no_such_directory(self, peer: Peer) -> None:
        reply = peer.request("clone", cwd="/no/such/dir").last
        assert reply["status"] == ["error", "start-failed", "done"]
        assert "/no/such/dir" in reply["message"]

    def test_afterwards_all_is_well(self, peer: Peer) -> None:
        peer.request("clone", python="/no/such/python")
        Session(peer).close()
