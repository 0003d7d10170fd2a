"""Input: `input`, `getpass`, `sys.stdin`, end of file and the debugger, through `need-input` and `stdin`."""

from __future__ import annotations

from tests.contract.driver import Peer, Run, Session


def answer(session: Session, id: str, *lines: str) -> Run:
    """Wait until the eval wants input, and give it, for each line."""
    messages = []
    for line in lines:
        messages += session.peer.until(id, status="need-input").messages
        assert session.request("stdin", stdin=line).last["status"] == ["done"]
    return Run(messages + session.peer.until(id).messages)


def test_input(any_session: Session) -> None:
    run = answer(any_session, any_session.start("name = input('Name? ')\nprint('hi', name)"), "Ada\n")
    (wanted,) = [message for message in run.messages if "need-input" in message.get("status", ())]
    assert (wanted["prompt"], wanted["password"]) == ("Name? ", False)
    assert "input-done" in run.status
    assert run.out == "hi Ada\n"  # the prompt is not repeated


def test_several_inputs(any_session: Session) -> None:
    run = answer(any_session, any_session.start("[input() for _ in range(3)]"), "a\n", "b\n", "\n")
    assert run.value == "['a', 'b', '']"


def test_input_sent_ahead_is_kept(any_session: Session) -> None:
    id = any_session.start("[input('a'), input('b')]")
    any_session.peer.until(id, status="need-input")
    any_session.request("stdin", stdin="1\n2\n")
    run = any_session.peer.until(id)
    assert run.value == "['1', '2']"


def test_a_line_in_pieces(any_session: Session) -> None:
    run = answer(any_session, any_session.start("input()"), "he", "llo\n")
    assert run.value == "'hello'"


def test_end_of_file(any_session: Session) -> None:
    run = answer(any_session, any_session.start("input()"), "")
    assert run.error["type"] == "EOFError"


def test_reading_stdin(any_session: Session) -> None:
    run = answer(
        any_session, any_session.start("import sys\nsys.stdin.readline(), sys.stdin.read()"), "a\nb\n", "c", ""
    )
    assert run.value in ("('a\\n', 'b\\nc')",)
    run = answer(any_session, any_session.start("list(sys.stdin)"), "x\ny\n", "")
    assert run.value == "['x\\n', 'y\\n']"
    run = answer(any_session, any_session.start("sys.stdin.buffer.readline()"), "ü\n")
    assert run.value == repr("ü\n".encode())


def test_input_that_is_not_allowed_is_end_of_file(any_session: Session) -> None:
    run = any_session.eval("input('x')", allow_stdin=False)
    assert run.error["type"] == "EOFError"
    assert "need-input" not in run.status


def test_unread_input_dies_with_its_eval(any_session: Session) -> None:
    run = answer(any_session, any_session.start("input()"), "first\nleft over\n")
    assert run.value == "'first'"
    assert answer(any_session, any_session.start("input()"), "second\n").value == "'second'"


def test_input_from_a_thread(any_session: Session) -> None:
    id = any_session.start("import asyncio\nawait asyncio.to_thread(input, 'thread? ')")
    assert answer(any_session, id, "yes\n").value == "'yes'"


def test_input_can_be_interrupted(any_session: Session) -> None:
    id = any_session.start("input()")
    any_session.peer.until(id, status="need-input")
    any_session.send("interrupt", interrupt_id=id)
    assert "interrupted" in any_session.peer.until(id).last["status"]
    assert answer(any_session, any_session.start("input()"), "fine\n").value == "'fine'"


def test_stdin_to_nobody(any_session: Session) -> None:
    assert "session-idle" in any_session.request("stdin", stdin="x\n").last["status"]


def test_input_of_a_transient_eval(any_peer: Peer) -> None:
    id = any_peer.send("eval", code="input('? ')")
    any_peer.until(id, status="need-input")
    any_peer.request("stdin", eval=id, stdin="there\n")
    assert any_peer.until(id).value == "'there'"


def test_getpass(session: Session) -> None:
    id = session.start("import getpass; getpass.getpass('Secret: ')")
    run = answer(session, id, "hunter2\n")
    (wanted,) = [message for message in run.messages if "need-input" in message.get("status", ())]
    assert (wanted["prompt"], wanted["password"], run.value) == ("Secret: ", True, "'hunter2'")


def test_the_debugger(session: Session) -> None:
    code = "def f(x):\n    y = x * 2\n    breakpoint()\n    return y\nf(21)"
    run = answer(session, session.start(code, file="/p/debug.py", line=10), "p y\n", "l\n", "c\n")
    assert run.value == "42"
    assert "42\n" in run.out
    assert "/p/debug.py(13)f()" in run.out or "/p/debug.py(12)f()" in run.out
    assert "return y" in run.out
    assert [m["prompt"] for m in run.messages if "prompt" in m] == ["(Pdb) "] * 3


def test_quitting_the_debugger(session: Session) -> None:
    run = answer(session, session.start("breakpoint()\n'after'"), "q\n")
    assert "eval-error" in run.last["status"] or "exit" in run.last["status"]
    assert session.ok("1").value == "1"


def test_a_flood_of_stdin_is_refused(any_session: Session) -> None:
    id = any_session.start("import time\nwhile True: time.sleep(0.001)")
    any_session.peer.until(id, key="started")
    statuses = [any_session.request("stdin", stdin="x" * 500_000).status for _ in range(4)]
    assert "busy" in statuses[-1]
    any_session.send("interrupt", interrupt_id=id)
    any_session.peer.until(id)
