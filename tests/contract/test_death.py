"""Workers that die, and what they leave: every request answered, the cause said, a fresh worker next."""

from __future__ import annotations

import os
import select
import signal

import pytest

from tests.contract.conftest import Address
from tests.contract.driver import PATIENCE, Peer, Session


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(7)", {"kind": "exit", "code": 7}),
        ("import os; os.abort()", {"kind": "signal", "signal": "SIGABRT"}),
        ("import ctypes; ctypes.string_at(0)", {"kind": "signal", "signal": "SIGSEGV"}),
        (
            "import os, signal, time; os.kill(os.getpid(), signal.SIGKILL); time.sleep(1000)",
            {"kind": "signal", "signal": "SIGKILL"},
        ),
    ],
)
def test_a_death_is_told_with_its_cause(session: Session, code: str, cause: dict[str, object]) -> None:
    running = session.start(f"input()\n{code}")
    session.peer.until(running, status="need-input")
    queued = session.start("'never runs'")
    session.peer.send("stdin", session=session.id, stdin="\n")  # by now the other one waits
    for id in (running, queued):
        last = session.peer.until(id).last
        assert "session-died" in last["status"]
        assert cause.items() <= last["cause"].items()
    event = session.peer.wait_for(event="died")
    assert cause.items() <= event["cause"].items()
    (entry,) = [e for e in session.peer.request("ls-sessions").last["sessions"] if e["id"] == session.id]
    assert entry["state"] == "dead"


def test_the_next_eval_gets_a_fresh_worker(session: Session) -> None:
    session.ok("state = 1")
    session.eval("import os; os._exit(1)")
    run = session.eval("'state' in globals()")
    assert run.value == "False"
    assert session.peer.wait_for(event="restarted")["epoch"] == 2
    assert run.messages[0]["seq"] > 5


@pytest.mark.parametrize(
    ("code", "signal", "words"),
    [
        ("def bad():\n    import ctypes; ctypes.string_at(0)\nbad()", "SIGSEGV", "Segmentation fault"),
        ("def bad():\n    import os; os.abort()\nbad()", "SIGABRT", "Aborted"),
        (  # the C stack overflows: a small one, since from 3.12 on the interpreter counts C calls too
            "import ctypes, resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 19, 1 << 19))\n"
            "f = ctypes.CFUNCTYPE(None)\n@f\ndef bad(): bad()\nsys.setrecursionlimit(10**8); bad()",
            "SIGSEGV",
            "Segmentation fault",
        ),
    ],
)
def test_a_crash_explains_itself(killable: Session, code: str, signal: str, words: str) -> None:
    killable.ok("import os; os.write(2, b'of the user'); None")
    run = killable.eval(code)
    cause = run.last["cause"]
    assert (cause["kind"], cause["signal"]) == ("signal", signal)
    assert words in cause["trace"]
    assert "in bad" in cause["trace"]
    assert cause["last-stderr"] == "of the user"
    assert run.err == ""


def test_the_users_own_faulthandler_is_the_users(killable: Session) -> None:
    run = killable.eval("import faulthandler; faulthandler.enable()\nimport ctypes; ctypes.string_at(0)")
    assert "Segmentation fault" in run.err
    assert "Segmentation fault" in run.last["cause"]["last-stderr"]
    assert "trace" not in run.last["cause"]


def test_a_childs_crash_is_the_childs(killable: Session) -> None:
    run = killable.eval(
        "import os, ctypes\npid = os.fork()\nif not pid: ctypes.string_at(0)\nos.waitpid(pid, 0)[1] & 127"
    )
    assert run.value == "11"
    assert "Segmentation fault" in run.err
    cause = killable.eval("os.kill(os.getpid(), 9); import time; time.sleep(1000)").last["cause"]
    assert "trace" not in cause


def test_a_bound_gone_beyond_is_named(killable_server: Address) -> None:
    peer = Peer.open(url=killable_server.url, token=killable_server.token)
    session = Session(peer, limits={"cpu-seconds": 1})
    cause = session.eval("while True: pass").last["cause"]
    assert cause == {"kind": "limit", "signal": "SIGXCPU", "by": "cpu-seconds"}
    code = "import os, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGXFSZ)"
    cause = session.eval(code).last["cause"]
    assert cause == {"kind": "limit", "signal": "SIGXFSZ", "by": "file-bytes"}
    assert session.ok("1").value == "1"
    session.close()
    peer.close()


def test_a_crash_loop_is_stopped_until_a_restart(session: Session) -> None:
    for number in range(5):
        run = session.eval("import os; os.write(2, b'why'); os._exit(3)")
        assert "session-died" in run.last["status"]
        assert session.peer.wait_for(event="died").get("crash-loop", False) is (number == 4)
    reply = session.eval("1").last
    assert reply["status"] == ["error", "start-failed", "done"]
    assert "exit 3: why" in reply["message"]
    assert "'restart'" in reply["message"]
    assert session.request("restart").last["epoch"] == 6
    assert session.ok("1").value == "1"


def test_output_before_the_death_arrives(session: Session) -> None:
    run = session.eval("import os\nprint('x' * 100_000, flush=True)\nos.write(2, b'last words')\nos._exit(1)")
    assert run.out == "x" * 100_000 + "\n"
    assert run.err == "last words"


def test_the_stack_of_c_overflowing(session: Session) -> None:
    run = session.eval(
        "import sys; sys.setrecursionlimit(10**8)\n"
        "class A:\n    def __getattr__(self, name): return getattr(A(), name)\nA().x"
    )
    assert run.status & {"session-died", "eval-error"}
    assert session.ok("1").value == "1"


@pytest.mark.parametrize(
    "junk", ["b'\\xff' * 64", "b'\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x00{}'", "b'\\x7f\\xff\\xff\\xff' * 4"]
)
def test_a_worker_that_breaks_the_rules_is_lost(session: Session, junk: str) -> None:
    run = session.eval(
        "import os, socket, stat\n"
        "for fd in map(int, os.listdir('/proc/self/fd')):\n"
        "    try:\n        if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, " + junk + ")\n"
        "    except OSError: pass\n"
        "import time; time.sleep(1000)"
    )
    assert "session-died" in run.last["status"]
    assert run.last["cause"]["kind"] == "lost"
    assert session.ok("1").value == "1"


def test_a_closed_control_channel_ends_only_that_session(session: Session) -> None:
    other = Session(session.peer)
    run = session.eval("import os; os.closerange(3, 100)")
    assert "session-died" in run.last["status"]
    assert other.ok("1").value == "1"
    other.close()


def test_a_worker_killed_from_outside(session: Session) -> None:
    pid = int(session.ok("import os; os.getpid()").value or 0)
    id = session.start("print('running')\nwhile True: pass")
    session.peer.until(id, key="out")
    os.kill(pid, signal.SIGKILL)
    assert session.peer.until(id).last["cause"] == {"kind": "signal", "signal": "SIGKILL"}


def test_children_die_with_their_session(peer: Peer) -> None:
    session = Session(peer)
    code = "import subprocess; child = subprocess.Popen(['sleep', '1000']); child.pid"
    pid = int(session.ok(code).value or 0)
    pidfd = os.pidfd_open(pid)
    session.close()
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "the child outlived its session"
    os.close(pidfd)


def test_the_zygotes_death_is_survived(session: Session) -> None:
    zygote = int(session.ok("import os; os.getppid()").value or 0)
    os.kill(zygote, signal.SIGKILL)
    event = session.peer.wait_for(event="died")
    assert event["cause"] == {"kind": "killed", "by": "zygote"}
    assert session.ok("'alive again'").value == "'alive again'"


def test_questions_open_at_a_death_are_answered(session: Session) -> None:
    id = session.start("import os, time\nos.kill(os.getpid(), 19)")  # SIGSTOP: it neither works nor dies
    session.peer.until(id, key="started")
    question = session.send("completions", code="os.pa", cursor=5)
    pid = session.peer.request("ls-sessions")
    assert pid.last["sessions"]
    assert "unavailable" in session.peer.until(question).last["status"]
    session.close()
