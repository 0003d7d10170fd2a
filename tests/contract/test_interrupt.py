"""Interrupts: aimed at one eval, ending it, harming no other."""

from __future__ import annotations

import pytest

from nrepl_py.embed import serve_in_thread
from nrepl_py.limits import Limits
from tests.contract.driver import Peer, Run, Session


def interrupt(session: Session, id: str, **options: object) -> tuple[Run, Run]:
    """The interrupt's reply and the rest of the eval's."""
    return session.request("interrupt", **options), session.peer.until(id)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "for _ in iter(int, 1): [i for i in range(100)]",
        "while True: print('x' * 1000)",
        "while True:\n    try: 1/0\n    except Exception: pass",
    ],
)
def test_running_code(any_session: Session, code: str) -> None:
    any_session.ok("kept = 1")
    id = any_session.start("print('running')\n" + code)
    any_session.peer.until(id, key="out")
    reply, run = interrupt(any_session, id, interrupt_id=id)
    assert (reply.last["status"], reply.last["stages"]) == (["done"], ["sigint"])
    assert set(run.last["status"]) >= {"interrupted", "done"}
    assert any_session.ok("kept").value == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(1000)",
        "import threading; threading.Lock().acquire() and (l := threading.Lock()).acquire() and l.acquire()",
        "import os; os.read(os.pipe()[0], 1)",
        "import asyncio; asyncio.run(asyncio.sleep(1000))",
        "import subprocess; subprocess.run(['sleep', '1000'])",
        "import queue; queue.Queue().get()",
    ],
)
def test_blocked_code(session: Session, code: str) -> None:
    id = session.start("print('running')\n" + code)
    session.peer.until(id, key="out")
    reply, run = interrupt(session, id, interrupt_id=id)
    assert reply.last["stages"] == ["sigint"]
    assert "interrupted" in run.last["status"]
    assert session.ok("1").value == "1"


def test_without_an_id_the_running_eval_is_meant(any_session: Session) -> None:
    id = any_session.start("print('running')\nwhile True: pass")
    any_session.peer.until(id, key="out")
    _, run = interrupt(any_session, id)
    assert "interrupted" in run.last["status"]


def test_nothing_running(any_session: Session) -> None:
    assert any_session.request("interrupt").last["status"] == ["session-idle", "done"]


def test_an_id_that_is_not_open(any_session: Session) -> None:
    assert any_session.request("interrupt", interrupt_id="other").last["status"] == ["interrupt-id-mismatch", "done"]
    done = any_session.start("1")
    any_session.peer.until(done)
    assert any_session.request("interrupt", interrupt_id=done).last["status"] == ["interrupt-id-mismatch", "done"]


def test_a_queued_eval_is_cancelled_alone(any_session: Session) -> None:
    running = any_session.start("import time\nwhile not globals().get('stop'): time.sleep(0.001)")
    first, second = any_session.start("'first'"), any_session.start("'second'")
    any_session.request("interrupt", interrupt_id=first)
    cancelled = any_session.peer.until(first)
    assert "cancelled" in cancelled.last["status"]
    assert "started" not in cancelled.messages[0]
    any_session.request("interrupt", interrupt_id=running)
    assert any_session.peer.until(second).value == "'second'"


def test_all_cancels_the_queue_too(any_session: Session) -> None:
    running = any_session.start("print('running')\nwhile True: pass")
    queued = [any_session.start("1") for _ in range(3)]
    any_session.peer.until(running, key="out")
    any_session.request("interrupt", all=True)
    assert "interrupted" in any_session.peer.until(running).last["status"]
    assert all("cancelled" in any_session.peer.until(id).last["status"] for id in queued)


def test_a_caught_interrupt_is_the_codes_business(any_session: Session) -> None:
    id = any_session.start(
        "try:\n    print('running')\n    while True: pass\nexcept KeyboardInterrupt:\n    result = 'cleaned up'\nresult"
    )
    any_session.peer.until(id, key="out")
    _, run = interrupt(any_session, id, interrupt_id=id)
    assert (run.value, run.last["status"]) == ("'cleaned up'", ["done"])


def test_swallowed_twice_it_gives_up_and_says_so(session: Session) -> None:
    id = session.start(
        "import time\ncount = 0\nwhile count < 3:\n    try:\n        if not count: print('running')\n"
        "        while True: time.sleep(0.001)\n"
        "    except KeyboardInterrupt: count += 1"
    )
    session.peer.until(id, key="out")
    reply = session.request("interrupt", interrupt_id=id).last
    assert reply["status"] == ["still-running", "done"]
    assert reply["stages"] == ["sigint"]
    _, run = interrupt(session, id, interrupt_id=id)
    assert run.last["status"] == ["done"]


def test_children_are_interrupted_too(session: Session) -> None:
    id = session.start(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(1000)'],"
        " stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "child.stdout.readline(); print('running'); child.wait()"
    )
    session.peer.until(id, key="out")
    interrupt(session, id, interrupt_id=id)
    assert session.ok("child.wait() != 0").value == "True"


@pytest.mark.parametrize("system", ["__import__('os').system(", "__import__('ctypes').CDLL(None).system(b"])
def test_a_child_that_c_code_waits_for_is_interrupted(session: Session, system: str) -> None:
    id = session.start(f"{system}'echo running; sleep 1000')")
    session.peer.until(id, key="out")
    reply, run = interrupt(session, id, interrupt_id=id)
    assert (reply.last["stages"], run.last["status"]) == (["sigint"], ["interrupted", "done"])
    assert session.ok("1").value == "1"


HEARS = """
import signal, sys
heard = []
def end(*_):
    print(len(heard), flush=True)
    sys.exit()
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
signal.signal(signal.SIGTERM, end)
print('on', flush=True)
while True: signal.pause()
"""


def test_children_hear_once_of_an_interrupt_that_their_parent_is_deaf_to(session: Session) -> None:
    id = session.start(
        f"import os, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {HEARS!r}], stdout=-1)\n"
        "child.stdout.readline(); os.system('echo running; sleep 1000')"
    )
    session.peer.until(id, key="out")
    reply, run = interrupt(session, id, interrupt_id=id)
    assert (reply.last["stages"], run.last["status"]) == (["sigint"], ["interrupted", "done"])
    assert session.ok("child.terminate(); child.stdout.read()").value == "b'1\\n'"


def test_a_busy_thread_does_not_take_what_the_main_one_waits_for() -> None:
    never = Limits(interrupt_grace_seconds=600, interrupt_giveup_seconds=600)  # a second signal would hide it
    with serve_in_thread(kind="local", limits=never) as served:
        peer = Peer.open(url=served.url, token=served.token)
        session = Session(peer)
        session.ok(
            "import os, threading, time\ndef busy():\n    while not over: os.stat('/')\n"
            "over = []\nfor _ in range(3): threading.Thread(target=busy).start()"
        )
        for _ in range(30):
            id = session.start("print('on')\ntime.sleep(1000)")
            peer.until(id, key="out")
            _, run = interrupt(session, id, interrupt_id=id)
            assert run.last["status"] == ["interrupted", "done"]
        session.ok("over.append(1)")
        peer.close()


def test_races_never_hit_the_next_eval(any_session: Session) -> None:
    for _ in range(150):
        meant = any_session.start("x = 1")
        any_session.send("interrupt", interrupt_id=meant)
        following = any_session.start("y = 2\ny")
        any_session.peer.until(meant)
        run = any_session.peer.until(following)
        assert (run.value, run.last["status"]) == ("2", ["done"])


def test_an_interrupt_sent_with_its_eval_is_not_lost(any_session: Session) -> None:
    for _ in range(30):
        id = any_session.start("while True: pass")
        any_session.send("interrupt", interrupt_id=id)
        assert "interrupted" in any_session.peer.until(id).last["status"]
