"""Code that attacks its own worker, the wire and the router behind it: its session pays, and nobody else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.contract.driver import Run, Session
from tests.hostile.harness import PATIENCE, Attack
from tests.hostile.places import places

PLACES = places("sandbox", "landlock")
LIMITS = {
    "interrupt_grace_seconds": 0.2,
    "interrupt_giveup_seconds": 0.6,
    "stop_grace_seconds": 0.3,
    "outbox_bytes": 1 << 20,
}

MIB = 1 << 20

SOCKETS = """
import os, socket, stat
sockets = []
for fd in map(int, os.listdir('/proc/self/fd')):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode): sockets.append(fd)
    except OSError: pass
"""
"""Finds the worker's channels, as any code can."""


def begin(session: Session, code: str) -> str:
    """Start code that says when it is about to do it."""
    id = session.start(f"print('now', flush=True)\n{code}")
    session.peer.until(id, key="out")
    return id


def worker_of(session: Session) -> int:
    pid: int = session.reply["info"]["pid"]  # inside it has another
    return pid


def gone(pid: int) -> None:
    """Wait until there is no such process."""
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('now', flush=True)\nwhile True: pass",
        "while True:\n    try:\n        print('now', flush=True)\n        while True: pass\n    except BaseException: pass",
        "while True:\n    try:\n        print('now', flush=True)\n        sum(range(10**11))\n    except BaseException: pass",
    ],
    ids=["ignored", "swallowed", "in C"],
)
def test_interrupts_that_are_ignored(attack: Attack, code: str) -> None:
    """The interrupt says that it did not help; `close` kills."""
    session = attack.session()
    pid = worker_of(session)
    id = session.start(code)
    session.peer.until(id, key="out")
    attack.innocent_is_served()
    interrupt = session.request("interrupt").last
    assert interrupt["status"] == ["still-running", "done"]
    assert "kill" not in interrupt["stages"]
    attack.innocent_is_served()
    session.close()
    assert session.peer.until(id).last["status"] == ["session-closed", "done"]
    gone(pid)


def test_a_worker_that_stops_itself(attack: Attack) -> None:
    session = attack.session()
    pid = worker_of(session)
    id = session.start("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", timeout=2)
    session.peer.until(id, key="started")
    while " T " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.01)  # nothing tells of it
    attack.innocent_is_served()
    assert session.request("interrupt").last["status"] == ["still-running", "done"]
    session.close()
    assert session.peer.until(id).last["status"] == ["session-closed", "done"]
    gone(pid)


@pytest.mark.parametrize(
    "code",
    [
        "os.closerange(3, 1000)",
        "[os.write(fd, b'\\xff' * 64) for fd in sockets]",
        "[os.write(fd, bytes(range(256)) * 200) for fd in sockets]",
        "[os.write(fd, b'\\x7f\\xff\\xff\\xff' * 4) for fd in sockets]",
        "[os.write(fd, b'\\0\\0\\0\\2\\0\\0\\0\\0[]') for fd in sockets]",
        "[os.write(fd, b'\\0\\0\\0\\2\\0\\0\\0\\0{}' * 1000) for fd in sockets]",
        "[socket.socket(fileno=os.dup(fd)).shutdown(2) for fd in sockets]",
    ],
    ids=["closed", "ff", "bytes", "huge", "list", "flood", "shut"],
)
def test_the_control_channel_closed_or_fed_garbage(attack: Attack, code: str) -> None:
    session = attack.session()
    pid = worker_of(session)
    running = session.start(f"input()\n{SOCKETS}{code}\nimport time\ntime.sleep(1000)")
    queued = session.start("'never'")
    session.send("stdin", stdin="\n")  # not before the other one waits
    attack.innocent_is_served()
    for id in (running, queued):
        last = session.peer.until(id).last
        assert "session-died" in last["status"]
        # A worker whose side channel ends takes its own life.
        assert last["cause"]["kind"] in ("lost", "signal"), last
    gone(pid)
    assert session.peer.wait_for(event="died")["session"] == session.id
    assert session.ok("1").value == "1"


FORGE = (
    SOCKETS
    + """
import json, struct
def say(*blobs, **header):
    header = {name.replace('_', '-'): value for name, value in header.items()}
    if blobs: header['blobs'] = [len(blob) for blob in blobs]
    head = json.dumps(header).encode()
    body = b''.join(blobs)
    frame = struct.pack('>II', len(head), len(body)) + head + body
    for fd in sockets: os.write(fd, frame)
"""
)


def test_forged_replies(attack: Attack) -> None:
    """It can end its own eval early, and speak of its own; never of another's, nor in the router's name."""
    session, other = attack.session(), attack.session()
    waiting = begin(other, "input('? ')")
    victims = [waiting, "another's id", other.id, attack.witness.session.id]
    lies = "\n".join(
        f"say(b'lie', say='output', serial={serial!r}, id={id!r}, session={other.id!r}, status=['done'], seq=1)"
        for id in victims
        for serial in (2, 3, 999, None)
    )
    id = session.start(
        f"{FORGE}{lies}\nsay(b'first', say='value', serial=1, end={{}})\nsay(b'second', say='value', serial=1, end={{}})\n"
        "say(say='finished', serial=1)\nsay(say='finished', serial=999)\nsay(b'null', say='answer', number=1)\n'honest'"
    )
    run = session.peer.until(id)
    assert run.value == "'first'".strip("'")
    assert run.status >= {"done"}
    attack.innocent_is_served()
    honest = session.ok("6 * 7")
    assert (honest.value, honest.last["status"]) == ("42", ["done"])
    assert not [m for m in session.peer.backlog if m.get("id") == id and "done" in m.get("status", ())], "a second done"
    assert {m["session"] for m in session.peer.backlog + run.messages if "session" in m} == {session.id}
    other.request("stdin", stdin="mine\n")
    untouched = other.peer.until(waiting)
    assert (untouched.value, untouched.out) == ("'mine'", "")


def test_numbers_no_client_can_be_sent(attack: Attack) -> None:
    """Beyond 64 bits MessagePack has no words for them: it is the worker's end, not the reply's."""
    huge = "10**30"
    for lie in (
        f"say(b'v', say='value', serial=1, line={huge})",
        f"say(say='finished', serial=1, end={{'status': ['exit'], 'exit-code': {huge}}})",
        f"say(json.dumps({{'type': 'E', 'module': None, 'message': '', 'traceback': [{{'file': '', 'line': {huge}}}]}})"
        ".encode(), b'', say='failure', serial=1, end={})",
    ):
        session = Session(attack.peer("msgpack"))
        last = session.eval(f"{FORGE}{lie}\nimport time\ntime.sleep(1000)").last
        assert last["cause"]["kind"] == "lost", last
        assert session.ok("1").value == "1"
        session.close()
    attack.innocent_is_served()


@pytest.mark.parametrize("asked", [False, True], ids=["unasked", "asked"])
def test_plain_data_nobody_asked_for(attack: Attack, asked: bool) -> None:
    """Twenty megabytes of empty lists would take the router more than a gigabyte."""
    session = attack.session()
    lie = "say(b'v', b'\\xdd' + (2 * 10**7).to_bytes(4, 'big') + bytes([0x90]) * (2 * 10**7), say='value', serial=1, has_data=True)"
    code = FORGE.replace("os.write(fd, frame)", "socket.socket(fileno=os.dup(fd)).sendall(frame)")
    id = session.start(f"{code}sockets = sockets[:1]\n{lie}\nimport time\ntime.sleep(1000)", data=asked)
    attack.innocent_is_served()
    last = session.peer.until(id).last
    assert last["cause"]["kind"] == "lost"
    assert "trace" in last["cause"]


DEATHS = {
    "_exit": ("import os; os._exit(7)", {"kind": "exit", "code": 7}),
    "abort": ("import os; os.abort()", {"kind": "signal", "signal": "SIGABRT"}),
    "segfault": ("import ctypes; ctypes.string_at(0)", {"kind": "signal", "signal": "SIGSEGV"}),
    "kill": ("import os; os.kill(os.getpid(), 9)\nwhile True: pass", {"kind": "signal", "signal": "SIGKILL"}),
    "C stack": (  # a small one: from 3.12 on the interpreter counts C calls too
        "import ctypes, sys, threading\nf = ctypes.CFUNCTYPE(None)\n@f\ndef g(): g()\nsys.setrecursionlimit(10**8)\n"
        "threading.stack_size(1 << 16)\nt = threading.Thread(target=g); t.start(); t.join()",
        {"kind": "signal", "signal": "SIGSEGV"},
    ),
    "group": ("import os; os.killpg(0, 9)\nwhile True: pass", {"kind": "signal", "signal": "SIGKILL"}),
}


@pytest.mark.parametrize("death", DEATHS)
def test_sudden_deaths(attack: Attack, death: str) -> None:
    code, cause = DEATHS[death]
    session = attack.session()
    running, queued = session.start(f"input()\n{code}"), session.start("'never'")
    session.send("stdin", stdin="\n")  # not before the other one waits
    attack.innocent_is_served()
    for id in (running, queued):
        last = session.peer.until(id).last
        assert "session-died" in last["status"]
        assert cause.items() <= last["cause"].items()
    assert session.ok("'fresh'").value == "'fresh'"


def test_a_string_of_one_gigabyte(attack: Attack) -> None:
    session = attack.session()
    run = session.ok("'x' * 10**9")
    assert "truncated" in run.last["status"]
    assert len(run.value or "") <= MIB
    attack.innocent_is_served()
    data = session.ok("b'x' * 10**8", data=True)
    assert "truncated" in data.last["status"]
    assert "data" not in data.last


REPRS = {
    "infinite": ("def __repr__(self):\n        while True: pass", None),
    "endless text": ("def __repr__(self): return 'x' * 10**8", "truncated"),
    "raising": ("def __repr__(self): raise RuntimeError('no')", "done"),
    "exiting": ("def __repr__(self): raise SystemExit(3)", "done"),
    "recursive": ("def __repr__(self): return repr(self)", "done"),
    "no string": ("def __repr__(self): return 7", "done"),
    "a string of its own": (
        "def __repr__(self): return type('S', (str,), {'encode': lambda *a: b'\\xff'})('s')",
        "done",
    ),
}


@pytest.mark.parametrize("kind", REPRS)
def test_a_repr(attack: Attack, kind: str) -> None:
    method, expected = REPRS[kind]
    session = attack.session()
    id = session.start(f"print('now', flush=True)\nclass Bad:\n    {method}\nBad()")
    session.peer.until(id, key="out")
    attack.innocent_is_served()
    if expected is None:
        assert session.request("interrupt").last["status"] == ["done"]
        assert "interrupted" in session.peer.until(id).last["status"]
    else:
        run = session.peer.until(id)
        assert expected in run.status, run.last
        assert len(run.value or "") <= MIB
    assert session.ok("1").value == "1"


def test_output_after_done(attack: Attack) -> None:
    """It carries the id of the eval that left it behind, or none; never that of one that runs now."""
    session = attack.session()
    left = (
        "import atexit, threading, time, gc\nflag = threading.Event()\n"
        "class Late:\n    def __del__(self): print('from del')\n"
        "late = Late()\n"
        "threading.Thread(target=lambda: (flag.wait(), print('from thread\\n', end='')), daemon=True).start()\n"
        "_ = atexit.register(lambda: print('from atexit', flush=True))"
    )
    first = session.start(left)
    session.peer.until(first)
    run = session.ok("flag.set(); time.sleep(0.05); del late; gc.collect(); print('mine')")
    assert "from thread" not in run.out
    assert "mine" in run.out
    attack.innocent_is_served()
    thread = session.peer.wait_for(out="from thread\n")
    assert (thread["id"], thread["late"]) == (first, True)
    session.close()
    others = [m for m in session.peer.backlog if "from atexit" in m.get("out", "") and m.get("id") not in (None, first)]
    assert not others


def test_a_daemon_thread_that_floods_stdout(attack: Attack) -> None:
    session = attack.session()
    flood = "import threading\ndef flood():\n    while True: print('x' * 1000)\nthreading.Thread(target=flood, daemon=True).start()"
    session.ok(flood)
    id = session.start("while True: pass")
    attack.innocent_is_served()
    deaf = session.start("1")  # and its client does not look for a while
    for _ in range(20):
        attack.innocent_is_served()
    interrupt = session.send("interrupt")
    run = {message.get("id"): message for message in until_done(session, {id, interrupt, deaf})}
    assert "interrupted" in run[id]["status"]
    assert run[interrupt]["status"] == ["done"]
    session.close()


def until_done(session: Session, ids: set[str]) -> list[dict[str, object]]:
    """The last messages of these requests; what else comes is not kept."""
    last = []
    waiting = set(ids)
    while waiting:
        message = session.peer.receive()
        if message.get("id") in waiting and "done" in message.get("status", ()):
            waiting.discard(message["id"])
            last.append(message)
    return last


@pytest.mark.parametrize(
    "code",
    [
        "import builtins; builtins.print = builtins.repr = builtins.len = builtins.isinstance = None",
        "import builtins; builtins.__import__ = builtins.compile = builtins.exec = builtins.str = lambda *a: 1/0",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; sys.stdout = 7; del sys.stderr; sys.modules.clear()",
        "import json; json.dumps = json.loads = json.JSONEncoder.encode = json.JSONDecoder.decode = lambda *a, **k: 1/0",
        "import struct, socket, os; struct.pack = os.write = os.read = None; socket.socket.send = socket.socket.recv = None",
        "import builtins\nfor name in list(vars(builtins)):\n    try: delattr(builtins, name)\n    except Exception: pass",
        "import sys; sys.settrace(lambda *a: 1/0); sys.setprofile(lambda *a: 1/0)",
        "import gc\nfor o in gc.get_objects():\n    if type(o).__module__.startswith('_nrepl_py'): vars(o).clear()",
    ],
)
def test_its_own_interpreter_taken_apart(attack: Attack, code: str) -> None:
    """Whatever is left of the session, every request to it is answered, or can be ended by closing it."""
    session = attack.session()
    session.start(code)
    ids = [session.start("1 + 1"), session.start("print('x')"), session.start("1 / 0")]
    attack.innocent_is_served()
    asked = session.send("completions", code="os.pa", cursor=5)
    assert "done" in session.peer.until(asked).status
    session.close()
    for id in ids:
        assert "done" in session.peer.until(id).status
    assert attack.session().ok("1").value == "1"


def test_a_pickle_bomb_as_a_result(attack: Attack, tmp_path: Path) -> None:
    """Nothing of a worker's is unpickled by anyone."""
    session = attack.session()
    mark = tmp_path / "exploded"
    bomb = (
        f"import os, pickle\nclass Bomb:\n    def __reduce__(self): return (os.mkdir, ({str(mark)!r},))\n"
        "bomb = pickle.dumps(Bomb())\n"
    )
    for code in ("bomb", "Bomb()", "[bomb]", "{'$pickle': bomb, '__reduce__': 1}"):
        session.eval(bomb + code, data=True, mime=["application/octet-stream", "application/python-pickle"])
    run: Run = session.eval(f"{FORGE}{bomb}say(bomb, bomb, say='value', serial=5, has_data=True)\n'x'")
    assert run.status >= {"done"}
    attack.innocent_is_served()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("import sys; sys.exit(3)", "exit", 3),
        ("import sys; sys.exit('a message')", "exit", 1),
        ("import sys; sys.exit(10**30)", "exit", -1),
        ("import sys; sys.exit(-10**30)", "exit", -1),
        ("raise SystemExit", "exit", 0),
        ("raise BaseException('out')", "eval-error", None),
        ("raise GeneratorExit", "eval-error", None),
        ("raise KeyboardInterrupt", "eval-error", None),
        ("class Own(BaseException):\n    def __str__(self): raise SystemExit(9)\nraise Own", "eval-error", None),
        ("class Code(int):\n    def __int__(self): raise RuntimeError\nraise SystemExit(Code(3))", "eval-error", None),
        ("exit()", "exit", 0),
    ],
)
def test_exits_and_bare_exceptions(attack: Attack, code: str, status: str, exit_code: int | None) -> None:
    for codec in ("json", "msgpack"):
        session = Session(attack.peer(codec))
        session.ok("kept = 1")
        last = session.eval(code).last
        assert status in last["status"]
        assert last.get("exit-code") == exit_code
        assert session.ok("kept").value == "1"
        session.close()
    attack.innocent_is_served()


def test_text_that_is_hardly_text(attack: Attack) -> None:
    """Lone surrogates, NULs and escape sequences arrive as valid UTF-8."""
    for codec in ("json", "msgpack"):
        session = Session(attack.peer(codec))
        run = session.ok(
            "import os, sys\nprint('\\ud800', '\\0', '\\x1b[2J\\x1b]0;title\\a', '\\U0010ffff')\n"
            "sys.stderr.write('\\udcff\\n')\nos.write(1, b'\\xff\\xfe\\xc3')\nos.write(2, bytes(range(256)))\n'\\udfff' + '\\0'"
        )
        assert "\\ud800 \0 \x1b[2J\x1b]0;title\a \U0010ffff\n" in run.out
        assert "\\xff\\xfe" in run.out
        assert "\\udcff" in run.err
        assert run.value == repr("\udfff\0")
        data = session.eval("{'\\ud800': '\\udfff'}", data=True, mime=["text/plain"]).last
        assert data["status"][-1] == "done"
        error = session.eval("raise ValueError('\\ud800' * 3)").error
        assert error["message"] == "\\ud800" * 3
        named = session.eval("class \u0130(Exception): pass\n\u0130.__name__ = '\\ud800'\nraise \u0130")
        assert "done" in named.status
        session.close()
    attack.innocent_is_served()


def test_input_with_nobody_to_ask(attack: Attack) -> None:
    session = attack.session()
    for code in ("input()", "import sys; sys.stdin.readline() or input()", "import getpass; getpass.getpass()"):
        run = session.eval(code, allow_stdin=False)
        assert run.error["type"] == "EOFError"
    # Whoever was asked and left: the next one finds the session waiting, and can answer or end it.
    waiting = attack.peer()
    kept = Session(waiting, name="waiting")
    waiting.until(kept.start("input('? ')"), status="need-input")
    waiting.close()
    attack.innocent_is_served()
    peer = attack.peer()
    assert peer.request("stdin", session="waiting", stdin="answer\n").last["status"] == ["done"]
    assert peer.request("eval", session="waiting", code="_").value == "'answer'"
