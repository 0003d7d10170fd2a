"""Code that does not want to end, and what each rung of the ladder does to it. After each, the session works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nrepl_py.embed import serve_in_thread
from nrepl_py.limits import Limits
from tests.contract.driver import Peer, Run, Session

# Each prints "on" when it has begun, in a place where an interrupt finds it; `DEEP` go on from there into C code, and
# hold the interpreter so that no question is answered any more.
YIELDS = {
    "a long computation that looks": "print('on'); 9**9**8",
    "an await without end": "import asyncio\nprint('on')\nawait asyncio.Event().wait()",
    "input": "input('on')",
    "C code that a signal wakes": "import ctypes; print('on'); ctypes.PyDLL(None).sleep(1000)",
    "a child that ignores SIGINT": (
        "import subprocess, sys\n"
        "code = 'import signal; signal.signal(2, signal.SIG_IGN); print(\"on\", flush=True); signal.pause()'\n"
        "child = subprocess.Popen([sys.executable, '-c', code])\nchild.wait()"
    ),
}
NEVER = {
    "sum(range(10**11))": "print('on'); sum(range(10**11))",
    "a swallowed KeyboardInterrupt": (
        "import time\nwhile True:\n    try:\n        print('on')\n        while True: time.sleep(1000)\n"
        "    except KeyboardInterrupt: pass"
    ),
    "SIGINT ignored": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('on')\nwhile True: pass",
    "a sleep in finally": "import time\ntry:\n    print('on')\n    while True: pass\nfinally: time.sleep(1000)",
    "C code that holds the GIL": "import ctypes; print('on'); ctypes.PyDLL(None).system(b'exec sleep 1000')",
    "SIGSTOP to itself": "import os, signal; print('on'); os.kill(os.getpid(), signal.SIGSTOP)",
}
DEEP = {"a long computation that looks", "C code that a signal wakes"} | {
    "sum(range(10**11))", "C code that holds the GIL", "SIGSTOP to itself",
}  # fmt: skip


def begin(session: Session, name: str, **options: object) -> str:
    """Start that code and wait until it is where it wants to stay."""
    id = session.start((YIELDS | NEVER)[name], **options)
    session.peer.until(id, key="prompt" if name == "input" else "out")
    if name in DEEP:
        while "unavailable" not in session.request("completions", code="a", cursor=1).last["status"]:
            pass
    return id


def interrupt(session: Session, id: str, **fields: object) -> tuple[dict[str, object], Run]:
    interrupting = session.send("interrupt", interrupt_id=id, **fields)
    run = session.peer.until(id)
    return session.peer.until(interrupting).last, run


@pytest.mark.parametrize("name", YIELDS)
def test_what_yields_is_interrupted_and_keeps_its_state(killable: Session, name: str) -> None:
    killable.ok("kept = 'kept'")
    reply, run = interrupt(killable, begin(killable, name), kill_after=60)
    assert (run.last["status"], reply["status"]) == (["interrupted", "done"], ["done"])
    # An await is cancelled, if the code has come to it by then.
    assert reply["stages"] in (["sigint"], ["cancel"] if "await" in name else None)
    assert killable.ok("kept").value == "'kept'"


@pytest.mark.parametrize("name", NEVER)
def test_what_never_yields_is_killed_and_replaced(killable: Session, name: str) -> None:
    id = begin(killable, name)
    queued = killable.start("'never runs'")
    reply, run = interrupt(killable, id, kill_after=0.1)
    assert run.last["status"] == ["interrupted", "session-restarted", "done"]
    assert (reply["status"], reply["stages"]) == (["done"], ["sigint", "kill"])
    assert killable.peer.until(queued).last["status"] == ["cancelled", "done"]
    assert killable.peer.wait_for(event="restarted")["epoch"] == 2
    assert killable.ok("'name' in globals()").value == "False"
    (entry,) = [e for e in killable.peer.request("ls-sessions").last["sessions"] if e["id"] == killable.id]
    assert (entry["state"], entry["epoch"]) == ("ready", 2)


@pytest.mark.parametrize("name", NEVER)
def test_a_timeout_walks_the_ladder_too(killable: Session, name: str) -> None:
    run = killable.eval(NEVER[name], timeout=1, kill_after=0.1)
    assert run.last["status"] == ["timeout", "interrupted", "session-restarted", "done"]
    assert killable.ok("1 + 1").value == "2"


def test_a_timeout_of_load_file_does(killable: Session) -> None:
    run = killable.request("load-file", code=NEVER["SIGINT ignored"], timeout=1, kill_after=0)
    assert run.last["status"] == ["timeout", "interrupted", "session-restarted", "done"]
    assert killable.ok("1 + 1").value == "2"


def test_an_await_that_swallows_its_cancellation_gets_every_rung(killable: Session) -> None:
    id = killable.start(
        "import asyncio\nprint('on')\n"
        "while True:\n    try: await asyncio.Event().wait()\n    except (asyncio.CancelledError, KeyboardInterrupt): pass"
    )
    killable.peer.until(id, key="out")
    first = killable.send("interrupt", interrupt_id=id, kill_after=60)
    second = killable.send("interrupt", interrupt_id=id, kill_after=0.3)
    run = killable.peer.until(id)
    assert run.last["status"] == ["interrupted", "session-restarted", "done"]
    for interrupting in (first, second):
        stages = killable.peer.until(interrupting).last["stages"]
        assert stages[-1] == "kill"
        assert stages[0] in ("cancel", "sigint")


def test_what_it_wrote_before_the_kill_comes_before_its_end(killable: Session) -> None:
    run = killable.eval(
        "import os, signal, sys\nsignal.signal(signal.SIGINT, lambda *_: (print('x' * 100_000 + 'end', flush=True),"
        " os.write(2, b'last words'), os.kill(os.getpid(), signal.SIGSTOP)))\nwhile True: pass",
        timeout=1,
        kill_after=3,
    )
    assert run.last["status"] == ["timeout", "interrupted", "session-restarted", "done"]
    assert run.out == "x" * 100_000 + "end\n"
    assert run.err == "last words"


def test_without_a_kill_state_is_never_destroyed(tmp_path: Path) -> None:
    soon = Limits(interrupt_grace_seconds=0.05, interrupt_giveup_seconds=0.2, answer_seconds=0.2)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serve_in_thread(kind="local", limits=soon) as served:
        peer = Peer.open(url=served.url, token=served.token)
        session = Session(peer)
        id = session.start(f"import ctypes; print('on')\nkept = ctypes.PyDLL(None).system(b'exec cat {gate}')")
        peer.until(id, key="out")
        while "unavailable" not in session.request("completions", code="a", cursor=1).last["status"]:
            pass
        reply = session.request("interrupt", interrupt_id=id).last
        assert (reply["status"], reply["stages"]) == (["still-running", "done"], ["sigint"])
        gate.write_text("go on")
        peer.until(id)
        assert session.ok("ctypes.__name__").value == "'ctypes'"
        peer.close()


def test_a_lone_eval_is_killed_too(killable: Session) -> None:
    peer = killable.peer
    run = peer.request("eval", code=NEVER["SIGINT ignored"], timeout=1, kill_after=0.1)
    assert run.last["status"] == ["timeout", "interrupted", "session-closed", "done"]


@pytest.mark.parametrize("op", ["eval", "load-file", "interrupt"])
def test_what_cannot_be_killed_says_so_and_changes_nothing(hosted: Session, op: str) -> None:
    id = hosted.start("print('on')\nwhile not globals().get('over'): pass\n'untouched'")
    hosted.peer.until(id, key="out")
    fields = {"interrupt_id": id} if op == "interrupt" else {"code": "1"}
    assert hosted.request(op, kill_after=0, **fields).last["status"] == ["error", "not-supported", "done"]
    reply, run = interrupt(hosted, id)
    assert (run.last["status"], reply["stages"]) == (["interrupted", "done"], ["sigint"])


@pytest.mark.parametrize("peer", ["msgpack-unix"], indirect=True)
def test_six_thousand_races(peer: Peer) -> None:
    """An eval that ends by itself at the moment of its interrupt never makes the next one suffer."""
    races = 6000
    sessions = [Session(peer) for _ in range(4)]
    left = {session.id: races // len(sessions) for session in sessions}
    meant: set[str] = set()
    nexts: dict[str, Session] = {}
    outcomes = {True: 0, False: 0}

    def race(session: Session) -> None:
        left[session.id] -= 1
        # Of all lengths around the time that the interrupt takes to arrive.
        id = session.start(f"for _ in range({left[session.id] * 7 % 3000}): pass")
        session.send("interrupt", interrupt_id=id)
        meant.add(id)
        nexts[session.start("'next'")] = session

    for session in sessions:
        race(session)
    while nexts:
        message = peer.receive()
        id = message.get("id")
        if "done" not in message.get("status", ()):
            continue
        if id in meant:
            assert message["status"] in (["done"], ["interrupted", "done"]), message
            outcomes["interrupted" in message["status"]] += 1
            meant.remove(id)
        elif id in nexts:
            assert (message.get("value"), message["status"]) == ("'next'", ["done"]), message
            session = nexts.pop(id)
            if left[session.id]:
                race(session)
    assert sum(outcomes.values()) == races
    assert all(outcomes.values()), f"no races: {outcomes}"
    for session in sessions:
        session.close()
