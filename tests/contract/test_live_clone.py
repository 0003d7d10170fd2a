"""Live clones over a real socket: what is in them, what is not, and that nobody's end is another's."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.limits import Limits
from tests.contract.driver import PATIENCE, Peer, Session


@pytest.fixture(scope="module", params=["none", "landlock", "sandbox", "strict"])
def tier_server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    with serve_in_thread(kind="local", port=0, sandbox=request.param) as server:
        yield server


@pytest.fixture
def peer(tier_server: Embedded) -> Iterator[Peer]:
    peer = Peer.open(url=tier_server.url, token=tier_server.token)
    yield peer
    for entry in peer.request("ls-sessions").last["sessions"]:
        peer.request("close", session=entry["id"])
    peer.close()


@pytest.fixture
def session(peer: Peer) -> Session:
    return Session(peer)


def copy(session: Session, **options: Any) -> Session:
    return Session(session.peer, session=session.id, **options)


def left_behind(clone: Session) -> dict[str, Any]:
    return dict(clone.reply["info"]["left-behind"])


def pid_of(session: Session) -> int:
    return int(session.reply["info"]["pid"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ended(pid: int) -> Callable[[], None]:
    """To be called later: waits until the process of that pid now has ended."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)

    def wait() -> None:
        assert poll.poll(PATIENCE * 1000), f"{pid} lives on"
        os.close(pidfd)

    return wait


def test_it_has_what_the_original_has(session: Session, tmp_path: Path) -> None:
    session.ok(
        "import asyncio, colorsys, inspect, os, random\ndef f():\n    return 'f'  # here\nclass C: pass\n"
        "data = {'list': [1]}; old = C()\nrandom.seed(7)\nos.chdir('/')"
    )
    session.ok("6 * 7")
    session.ok("'last'")
    clone = copy(session, name="copy")
    assert clone.ok("_, __, data, f(), type(old) is C, colorsys.__name__, os.getcwd()").value == (
        "('last', 42, {'list': [1]}, 'f', True, 'colorsys', '/')"
    )
    assert "# here" in str(clone.ok("inspect.getsource(f)").value)
    assert clone.ok("random.random()").value == session.ok("random.random()").value
    assert clone.reply["info"]["start"] == "clone"
    assert clone.reply["info"]["pid"] != session.reply["info"]["pid"]


def test_each_goes_its_own_way(session: Session) -> None:
    session.ok("x = [1]")
    clone = copy(session)
    clone.ok("x.append(2)")
    session.ok("x.append(3)")
    assert (session.ok("x").value, clone.ok("x").value) == ("[1, 3]", "[1, 2]")
    run = clone.eval("import sys; print('out'); print('err', file=sys.stderr); 1 / 0")
    assert (run.out, "err" in run.err, run.error["type"]) == ("out\n", True, "ZeroDivisionError")
    assert "line 1" in run.err


def test_its_stream_begins_at_one(session: Session) -> None:
    session.ok("1")
    clone = copy(session)
    event = clone.peer.wait_for(session=clone.id, event="started")
    assert (event["seq"], event["epoch"]) == (1, 1)
    assert clone.ok("2").messages[0]["seq"] == 2


def test_evals_are_counted_on(session: Session) -> None:
    session.ok("def f(): return 1 / 0")
    clone = copy(session)
    clone.ok("# another text\n2")
    frames = clone.eval("f()").error["traceback"]
    assert frames[-1]["source"] == "def f(): return 1 / 0"


def test_clones_of_clones(session: Session) -> None:
    session.ok("x = 0")
    chain = [session]
    for number in range(1, 5):
        chain.append(copy(chain[-1]))
        chain[-1].ok(f"x = {number}")
    assert [one.ok("x").value for one in chain] == ["0", "1", "2", "3", "4"]
    for one in (chain[0], chain[2], chain[4]):
        one.close()
    assert [one.ok("x").value for one in (chain[1], chain[3])] == ["1", "3"]


def test_whatever_else_a_session_does_a_clone_does(session: Session) -> None:
    session.ok("import asyncio\nawait asyncio.sleep(0)")
    clone = copy(session)
    peer = clone.peer
    id = clone.start("input('? ')")
    peer.until(id, status="need-input")
    clone.request("stdin", stdin="yes\n")
    assert peer.until(id).value == "'yes'"
    for code in ("while True: pass", "await asyncio.sleep(1000)"):
        id = clone.start(f"print('now', flush=True)\n{code}")
        peer.until(id, key="out")
        assert clone.request("interrupt").last["status"] == ["done"]
        assert "interrupted" in peer.until(id).last["status"]
    (found,) = clone.ask("completions", code="asyncio.get_event_loop_pol", cursor=26).last["completions"]
    assert found["candidate"] == "get_event_loop_policy"
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1)']); import os\nos.system('echo 2');"
    assert clone.ok(code).out.split() == ["1", "2"]
    code = "pid = os.fork()\nif pid == 0: print('child')\nelse: os.waitpid(pid, 0); print('parent')"
    assert sorted(clone.ok(code).out.split()) == ["child", "parent"]
    assert clone.ok("await asyncio.to_thread(lambda: 3)").value == "3"
    assert session.ok("await asyncio.to_thread(lambda: 4)").value == "4"


def test_a_pending_task_goes_on_in_both(session: Session) -> None:
    session.ok("import asyncio\nasync def work():\n    await asyncio.sleep(0.01)\n    return 'worked'")
    session.ok(
        "async def begin():\n    global task\n    task = asyncio.create_task(work())\n    await asyncio.sleep(0)"
    )
    session.ok("await begin()")
    clone = copy(session)
    assert clone.ok("await task").value == "'worked'"
    assert session.ok("await task").value == "'worked'"


def test_threads_are_a_reason_not_to(session: Session) -> None:
    session.ok("import threading\nflag = threading.Event()")
    session.ok("thread = threading.Thread(target=flag.wait, name='waiting', daemon=True); thread.start()")
    refused = session.peer.request("clone", session=session.id).last
    assert refused["status"] == ["error", "busy", "done"]
    assert "waiting" in refused["message"]
    assert "'force'" in refused["message"]
    clone = copy(session, force=True)
    assert left_behind(clone)["threads"] == ["waiting"]
    assert clone.ok("threading.active_count()").value == session.ok("threading.active_count() - 1").value
    session.ok("flag.set(); thread.join()")
    assert left_behind(copy(session))["threads"] == []


def test_an_eval_in_progress_is_one_too(session: Session) -> None:
    id = session.start("print('now', flush=True)\nwhile True: pass")
    session.peer.until(id, key="out")
    for force in (False, True):
        refused = session.peer.request("clone", session=session.id, force=force).last
        assert refused["status"] == ["error", "busy", "done"]
        assert "interrupt" in refused["message"]
    session.request("interrupt")
    session.peer.until(id)
    assert copy(session).ok("1").value == "1"


def test_sockets_are_cut_and_files_are_shared(session: Session, tier_server: Embedded) -> None:
    session.ok("import os, socket, tempfile\na, b = socket.socketpair()\nfile = tempfile.TemporaryFile('w+')")
    session.ok("file.write('buffered')")
    clone = copy(session)
    told = left_behind(clone)
    assert (told["sockets"], told["files"], told["children"]) == (2, 1, 0)
    assert clone.ok("a.recv(1)").value == "b''"
    assert clone.eval("a.send(b'x')").error["type"] == "BrokenPipeError"
    assert session.ok("a.send(b'x'), b.recv(1)").value == "(1, b'x')"
    clone.ok("file.flush()")
    assert session.ok("os.lseek(file.fileno(), 0, os.SEEK_CUR), file.flush(), file.seek(0), file.read()").value == (
        "(8, None, 0, 'buffered')"
    )


def test_output_is_not_written_twice(session: Session) -> None:
    session.ok("import ctypes, sys\nlibc = ctypes.CDLL(None)\nlibc.setvbuf.argtypes = [ctypes.c_void_p] * 4")
    run = session.ok("import threading, time\nsys.stdout.write('no line end'); libc.printf(b'from C')")
    assert (run.out.count("no line end"), run.out.count("from C")) == (1, 1)
    clones = [copy(session) for _ in range(3)]
    runs = [clone.ok("print('mine')") for clone in clones]
    assert [run.out for run in runs] == ["mine\n"] * 3
    others = [m for m in session.peer.backlog if "no line end" in m.get("out", "")]
    assert others == []


def test_children_stay_the_originals(session: Session) -> None:
    session.ok("import subprocess; child = subprocess.Popen(['sleep', '1000'])")
    clone = copy(session)
    assert left_behind(clone)["children"] == 1
    clone.close()
    assert session.ok("child.poll() is None").value == "True"
    session.ok("child.kill(); child.wait()")


def test_what_is_to_be_done_at_the_end_is_the_originals(session: Session) -> None:
    session.ok("import atexit, os, tempfile, multiprocessing\nplace = tempfile.TemporaryDirectory()")
    session.ok("mark = os.path.join(place.name, 'mark'); open(mark, 'w').close()\natexit.register(os.unlink, mark)")
    session.ok("def wait(): import time; time.sleep(1000)")
    session.ok("process = multiprocessing.get_context('fork').Process(target=wait, daemon=True); process.start()")
    clone = copy(session)
    stop = ended(pid_of(clone))
    clone.close()
    stop()
    assert session.ok("os.path.exists(mark), process.is_alive()").value == "(True, True)"
    session.ok("process.kill()")


def test_it_outlives_its_original(session: Session) -> None:
    session.ok("x = 'kept'")
    for how in ("close", "exit", "kill"):
        original = copy(session)
        clone = copy(original)
        if how == "close":
            original.close()
        else:
            code = "import os; os._exit(3)" if how == "exit" else "import os; os.kill(os.getpid(), 9)"
            original.eval(code)
        assert clone.ok("x").value == "'kept'"


def test_deaths_are_told_with_their_cause(session: Session) -> None:
    clones = [copy(session) for _ in range(3)]
    deaths = [
        ("import os; os._exit(245)", {"kind": "exit", "code": 245}),
        ("import ctypes; ctypes.string_at(0)", {"kind": "signal", "signal": "SIGSEGV"}),
        ("import os; os.kill(os.getpid(), 9)", {"kind": "signal", "signal": "SIGKILL"}),
    ]
    for clone, (code, cause) in zip(clones, deaths, strict=True):
        assert cause.items() <= clone.eval(code).last["cause"].items()
        assert cause.items() <= session.peer.wait_for(session=clone.id, event="died")["cause"].items()
    cause = session.eval("import os; os._exit(7)").last["cause"]  # the last of them
    assert cause == {"kind": "exit", "code": 7}


def test_a_dead_clone_starts_afresh(session: Session) -> None:
    session.ok("x = 1")
    clone = copy(session)
    clone.eval("import os; os._exit(1)")
    refused = session.peer.request("clone", session=clone.id).last
    assert refused["status"] == ["error", "unavailable", "done"]
    assert clone.ok("'x' in globals()").value == "False"
    assert session.peer.wait_for(session=clone.id, event="restarted")["epoch"] == 2
    assert session.ok("x").value == "1"
    assert copy(clone).ok("'x' in globals()").value == "False"


def test_closing_one_ends_what_it_started_and_nothing_else(session: Session, tier_server: Embedded) -> None:
    clone = copy(session)
    started = "import os, subprocess\nchild = subprocess.Popen(['sleep', '1000']); child.pid"
    inner = "['sh', '-c', 'sleep 1001 & sleep 1002']"
    session.ok(started)
    clone.ok(started)
    clone.ok(f"shell = subprocess.Popen({inner}, start_new_session=True)")
    children = _below(pid_of(clone))
    while len(children) < 4:  # the shell is about to start its own
        children = _below(pid_of(clone))
    confined = clone.reply["info"]["sandbox"]["tier"] in ("sandbox", "strict")
    with_group = [pid for pid in children if confined or os.getpgid(pid) == pid_of(clone)]
    waits = [ended(pid) for pid in with_group]
    clone.close()
    for wait in waits:
        wait()
    assert session.ok("child.poll()").value is None
    for pid in set(children) - set(with_group):
        os.kill(pid, signal.SIGKILL)  # elsewhere what has left its group is nobody's


def test_a_busy_clone_is_ended_with_its_tree(session: Session) -> None:
    clone = copy(session)
    id = clone.start("import signal, subprocess, time\nchild = subprocess.Popen(['sleep', '1000'])\n"
                     "signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('now', flush=True)\nwhile True: pass")  # fmt: skip
    clone.peer.until(id, key="out")
    waits = [ended(pid) for pid in (pid_of(clone), *_below(pid_of(clone)))]
    clone.close()
    assert "session-closed" in clone.peer.until(id).last["status"]
    for wait in waits:
        wait()
    assert session.ok("1").value == "1"


def _below(pid: int) -> list[int]:
    found = []
    with suppress(OSError):  # it ended just now
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_below(child)]
    return found


CONFINED = pytest.mark.parametrize("tier_server", ["sandbox", "strict"], indirect=True)
"""Where there is an init."""


@CONFINED
def test_the_last_one_ends_the_family(peer: Peer) -> None:
    session = Session(peer)
    clone = copy(session)
    init = parent_of(pid_of(clone))
    session.ok(
        "import os\nreading, writing = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        os.write(writing, b'x')\n        os.execvp('sleep', ['sleep', '1000'])\n"
        "    os._exit(0)\nos.wait(); os.read(reading, 1)"
    )
    daemons = [pid for pid in _below(init) if pid not in (pid_of(session), pid_of(clone))]
    assert daemons
    session.close()
    assert clone.ok("1").value == "1"
    assert set(daemons) <= set(_below(init))
    waits = [ended(pid) for pid in (*daemons, init)]
    clone.close()
    for wait in waits:
        wait()


@CONFINED
def test_the_end_of_its_init_is_told_to_each(peer: Peer) -> None:
    session = Session(peer)
    members = [session, copy(session), copy(session)]
    busy = members[1].start("print('now', flush=True)\nwhile True: pass")
    peer.until(busy, key="out")
    init = parent_of(pid_of(session))
    os.kill(init, signal.SIGKILL)
    for member in members:
        event = peer.wait_for(session=member.id, event="died")
        assert event["cause"]["kind"] == "signal"
    assert "session-died" in peer.until(busy).last["status"]
    assert members[2].ok("'again'").value == "'again'"


@pytest.mark.parametrize("tier_server", ["none"], indirect=True)
def test_the_death_of_the_zygote_is_told_to_each(peer: Peer) -> None:
    session = Session(peer)
    clone = copy(session)
    zygote = int(session.ok("import os; os.getppid()").value or 0)
    assert clone.ok("import os; os.getppid()").value == str(zygote)
    os.kill(zygote, signal.SIGKILL)
    for member in (session, clone):
        assert peer.wait_for(session=member.id, event="died")["cause"] == {"kind": "killed", "by": "zygote"}
    assert clone.ok("1").value == "1"


def test_what_comes_after_a_clone_is_not_in_it(session: Session) -> None:
    """Even where the client did not wait for the answer."""
    session.ok("x = 0")
    for number in range(1, 6):
        id = session.peer.send("clone", session=session.id)
        later = session.start(f"x = {number}")
        clone = session.peer.until(id).last["new-session"]
        session.peer.until(later)
        assert session.peer.request("eval", session=clone, code="x").value == str(number - 1)
        session.peer.request("close", session=clone)


def test_going_back_any_number_of_times(session: Session) -> None:
    session.ok("x = [1]")
    snapshot = copy(session, name="snapshot")
    for epoch in range(2, 6):
        session.ok("x.append(2); y = 1")
        reply = session.request("restart", **{"from": "snapshot"}).last
        assert (reply["epoch"], reply["info"]["start"]) == (epoch, "clone")
        run = session.ok("x, 'y' in globals()")
        assert run.value == "([1], False)"
    snapshot.close()
    assert session.ok("x").value == "[1]"
    session.eval("import os; os._exit(1)")
    assert session.ok("'x' in globals()").value == "False"


def test_going_back_from_everywhere(session: Session) -> None:
    session.ok("x = 'kept'")
    snapshot = copy(session)
    id = session.start("print('now', flush=True)\nwhile True: pass")
    session.peer.until(id, key="out")
    back = session.send("restart", **{"from": snapshot.id})
    after = session.start("x")  # in the new worker
    assert "session-restarted" in session.peer.until(id).last["status"]
    assert session.peer.until(back).last["status"] == ["done"]
    assert session.peer.until(after).value == "'kept'"
    session.eval("import os; os._exit(1)")
    assert session.request("restart", **{"from": snapshot.id}).last["status"] == ["done"]
    assert session.ok("x").value == "'kept'"


def test_where_one_cannot_go_back_to(session: Session) -> None:
    session.ok("x = 1")
    snapshot = copy(session)
    for origin, code in ((session.id, "invalid-message"), ("nobody", "unknown-session")):
        assert session.request("restart", **{"from": origin}).last["status"] == ["error", code, "done"]
    id = snapshot.start("print('now', flush=True)\nwhile True: pass")
    session.peer.until(id, key="out")
    assert session.request("restart", **{"from": snapshot.id}).last["status"][1] == "busy"
    snapshot.request("interrupt")
    session.peer.until(id)
    snapshot.eval("import os; os._exit(1)")
    assert session.request("restart", **{"from": snapshot.id}).last["status"][1] == "unavailable"
    assert session.ok("x").value == "1"  # nothing has changed


FIELDS = {
    "python": "python3", "cwd": "/", "env": {"A": "1"}, "inherit-env": ["A"], "preload": ["json"], "sandbox": {"tier": "strict"},
    "limits": {"processes": 5},
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_what_cannot_be_chosen(session: Session, field: str) -> None:
    reply = session.peer.request("clone", session=session.id, **{field: FIELDS[field]}).last
    assert reply["status"] == ["error", "invalid-message", "done"]
    assert repr(field) in reply["message"]


def test_names(session: Session) -> None:
    copy(session, name="one")
    taken = session.peer.request("clone", session=session.id, name="one").last
    assert taken["status"] == ["error", "invalid-message", "done"]
    assert session.peer.request("clone", session="one", name="two").last["status"] == ["done"]
    assert session.peer.request("eval", session="two", code="1").value == "1"
    unknown = session.peer.request("clone", session="nobody").last
    assert unknown["status"] == ["error", "unknown-session", "done"]
    lost = session.peer.request("clone", force=True).last
    assert lost["status"] == ["error", "invalid-message", "done"]


def test_a_family_has_a_bound() -> None:
    with serve_in_thread(kind="local", port=0, sandbox="none", limits=Limits(max_family_sessions=3)) as server:
        peer = Peer.open(url=server.url, token=server.token)
        session = Session(peer)
        clones = [copy(session), copy(session)]
        refused = peer.request("clone", session=clones[0].id).last
        assert refused["status"] == ["error", "quota-exceeded", "done"]
        clones[1].close()
        assert copy(clones[0]).ok("1").value == "1"
        assert Session(peer).ok("1").value == "1"
        peer.close()


def test_where_it_cannot_be(any_peer: Peer) -> None:
    session = Session(any_peer)
    works = "clone" in any_peer.request("describe").last["sandbox"]["capabilities"]
    reply = any_peer.request("clone", session=session.id).last
    assert reply["status"] == (["done"] if works else ["error", "not-supported", "done"])
    if works:
        any_peer.request("close", session=reply["new-session"])
    session.close()


def test_an_interpreter_that_was_spawned(local_server: Any) -> None:
    peer = Peer.open(url=local_server.url, token=local_server.token)
    session = Session(peer, env={"PYTHONHASHSEED": "1"})
    assert session.reply["info"]["start"] == "spawn"
    reply = peer.request("clone", session=session.id).last
    assert reply["status"] == ["error", "not-supported", "done"]
    assert session.ok("1").value == "1"
    session.close()
    peer.close()


@pytest.mark.parametrize("how", ["close", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_clones_racing_with_the_end_of_their_original(tier_server: Embedded, peer: Peer, how: str) -> None:
    """Whichever comes first, each request has one answer, and what was made lives."""
    for _ in range(10):
        session = Session(peer)
        session.ok("import os; x = 'kept'")
        ids = [peer.send("clone", session=session.id) for _ in range(3)]
        end = session.send("close") if how == "close" else session.start(how)
        replies = [peer.until(id).last for id in ids]
        peer.until(end)
        for reply in replies:
            if "error" in reply["status"]:
                assert reply["status"][1] in ("start-failed", "busy", "unavailable"), reply
            else:
                assert peer.request("eval", session=reply["new-session"], code="x").value == "'kept'"
                peer.request("close", session=reply["new-session"])
        if how != "close":
            session.close()


def test_members_coming_and_going_at_once(session: Session, tier_server: Embedded) -> None:
    """Several clients copy, use and close; the original goes on."""
    session.ok("x = 'kept'")
    failures: list[BaseException] = []

    def churn() -> None:
        peer = Peer.open(url=tier_server.url, token=tier_server.token)
        try:
            for _ in range(6):
                clone = Session(peer, session=session.id)
                assert clone.ok("x").value == "'kept'"
                clone.close()
        except BaseException as error:
            failures.append(error)
        finally:
            peer.close()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert session.ok("x").value == "'kept'"
