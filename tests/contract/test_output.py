"""Output: from Python, threads, tasks, children and C; merged, ordered, tagged, never lost."""

from __future__ import annotations

import pytest

from tests.contract.driver import Session


def test_out_and_err_keep_their_order(any_session: Session) -> None:
    code = "import sys\nfor i in range(5):\n    print(i)\n    print(-i, file=sys.stderr)"
    run = any_session.ok(code)
    seen = [(key, message[key]) for message in run.messages for key in ("out", "err") if key in message]
    assert seen == [pair for i in range(5) for pair in (("out", f"{i}\n"), ("err", f"{-i}\n"))]


def test_a_flood_arrives_whole(any_session: Session) -> None:
    run = any_session.ok("for i in range(50_000): print(i)")
    assert run.out == "".join(f"{i}\n" for i in range(50_000))
    assert len(run.messages) < 2_000  # merged


def test_one_long_text_is_cut_into_messages(any_session: Session) -> None:
    run = any_session.ok("print('é' * 3_000_000)")
    assert run.out == "é" * 3_000_000 + "\n"
    assert len(run.all("out")) > 1


@pytest.mark.parametrize("text", ["naïve ☃ 😀", "\x00\x1b[31mred\x1b[0m\r\n", "\ud800 lone", "﻿bom"])
def test_text_of_every_kind(any_session: Session, text: str) -> None:
    run = any_session.ok(f"print({text!r}, end='')")
    assert run.out == text.encode("utf-8", "backslashreplace").decode()


def test_a_str_subclass_cannot_lie(any_session: Session) -> None:
    any_session.ok(
        "class S(str):\n"
        "    def __str__(self): return 'lie'\n"
        "    def encode(self, *a): return b'\\xff'\n"
        "    def __len__(self): return 10**9\n"
        "    def endswith(self, *a): raise RuntimeError\n"
    )
    assert any_session.ok("import sys; _ = sys.stdout.write(S('truth'))").out == "truth"


def test_write_takes_text_only(any_session: Session) -> None:
    assert any_session.eval("import sys; sys.stdout.write(b'x')").error["type"] == "TypeError"


def test_stdout_is_a_file(any_session: Session) -> None:
    code = (
        "import sys\nsys.stdout.writelines(['a', 'b'])\nsys.stdout.buffer.write('ü'.encode())\nsys.stdout.flush()\n"
        "sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable(), sys.stdout.closed"
    )
    run = any_session.ok(code)
    assert (run.out, run.value) == ("abü", "(False, 'utf-8', True, False)")


def test_closing_stdout_does_not_end_it(any_session: Session) -> None:
    any_session.ok("import sys; sys.stdout.close(); sys.stdin.close()")
    assert any_session.ok("print('still here')").out == "still here\n"


def test_redirection_is_the_users_business(any_session: Session) -> None:
    code = "import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b): print('kept')\nb.getvalue()"
    run = any_session.ok(code)
    assert (run.out, run.value) == ("", "'kept\\n'")


def test_threads_keep_their_eval(any_session: Session) -> None:
    code = (
        "import threading\ngo = threading.Event()\n"
        "def late():\n    go.wait()\n    print('late output', flush=True)\n"
        "thread = threading.Thread(target=late); thread.start()"
    )
    first = any_session.start(code)
    any_session.peer.until(first)
    second = any_session.ok("print('mine'); go.set(); thread.join(); print('mine too')")
    assert second.out == "mine\nmine too\n"
    late = any_session.peer.wait_for(id=first, late=True)
    assert late["out"] == "late output\n"
    assert "seq" in late
    assert "status" not in late


def test_a_thread_pool_keeps_apart_whose_calls_it_runs(session: Session) -> None:
    first = session.ok("from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
                       "pool.submit(print, 'one').result()")  # fmt: skip
    second = session.ok("pool.submit(print, 'two').result()")
    assert (first.out, second.out) == ("one\n", "two\n")


def test_tasks_keep_their_eval(any_session: Session) -> None:
    first = any_session.start(
        "import asyncio\nevent = asyncio.Event()\nasync def t():\n    await event.wait()\n    print('task')\n"
        "async def make():\n    return asyncio.create_task(t())\ntask = await make()"
    )
    any_session.peer.until(first)
    assert any_session.ok("event.set()\nawait task\nprint('me')").out == "me\n"
    assert any_session.peer.wait_for(id=first, late=True)["out"] == "task\n"


class TestDescriptors:
    """Output that does not come through Python's streams (a session with its own process)."""

    def test_os_write(self, session: Session) -> None:
        run = session.ok("import os\n_ = os.write(1, b'out'), os.write(2, b'err')")
        assert (run.out, run.err) == ("out", "err")

    def test_c_output_is_flushed_before_done(self, session: Session) -> None:
        run = session.ok("import ctypes; libc = ctypes.CDLL(None); libc.puts(b'from C'); None")
        assert run.out == "from C\n"

    def test_children(self, session: Session) -> None:
        run = session.ok(
            "print('before'); import subprocess; subprocess.run(['sh', '-c', 'echo child; echo e >&2']); None"
        )
        assert (run.out, run.err) == ("before\nchild\n", "e\n")

    def test_a_character_split_across_writes(self, session: Session) -> None:
        run = session.ok("import os, time\nfor b in '☃😀'.encode():\n    os.write(1, bytes([b])); time.sleep(0.001)")
        assert run.out == "☃😀"

    def test_bytes_that_are_no_text(self, session: Session) -> None:
        assert session.ok(r"import os; os.write(1, b'a\xff\xfeb'); None").out == r"a\xff\xfeb"

    def test_a_child_left_behind_keeps_its_eval(self, session: Session) -> None:
        first = session.start(
            "import subprocess\nchild = subprocess.Popen(['sh', '-c', 'read x; echo late child'], stdin=subprocess.PIPE)"
        )
        session.peer.until(first)
        second = session.ok(
            "import os; os.write(1, b'mine\\n'); child.stdin.close(); child.wait(); os.write(1, b'end\\n')"
        )
        assert second.out == "mine\nend\n"
        assert session.peer.wait_for(id=first, late=True)["out"] == "late child\n"

    def test_a_forked_child_ends_with_its_eval(self, session: Session) -> None:
        run = session.ok("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('parent' if pid else 'child')")
        assert sorted(run.out.split()) == ["child", "parent"]
        assert session.ok("1").value == "1"

    def test_a_forked_child_that_fails(self, session: Session) -> None:
        run = session.ok("import os\npid = os.fork()\nif not pid: raise ValueError('in child')\nos.waitpid(pid, 0)[1]")
        assert "ValueError: in child" in run.err
        assert run.value == "256"

    def test_a_daemon_thread_that_floods_can_be_outlived(self, session: Session) -> None:
        session.ok(
            "import threading\nstop = threading.Event()\n"
            "def flood():\n    while not stop.is_set(): print('x' * 100)\n"
            "thread = threading.Thread(target=flood, daemon=True); thread.start()"
        )
        assert session.ok("1 + 1").value == "2"
        session.ok("stop.set(); thread.join()")
        assert session.ok("'quiet'").out == ""


def test_output_of_a_del_and_atexit_does_no_harm(session: Session) -> None:
    session.ok("import atexit; atexit.register(print, 'bye')\nclass D:\n    def __del__(self): print('gone')\nd = D()")
    assert session.ok("del d").out == "gone\n"
