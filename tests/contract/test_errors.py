"""Errors of user code, as data and as the interpreter prints them; exits."""

from __future__ import annotations

import pytest

from tests.contract.driver import Session


def test_an_error_is_structured(any_session: Session) -> None:
    run = any_session.eval("def f(x):\n    return 1 / x\nf(0)", file="e.py")
    error = run.error
    assert (error["type"], error["module"], error["message"]) == ("ZeroDivisionError", "builtins", "division by zero")
    assert [(frame["line"], frame["function"]) for frame in error["traceback"]] == [(3, "<module>"), (2, "f")]
    assert run.err.startswith("Traceback (most recent call last):\n")
    assert run.err.endswith("ZeroDivisionError: division by zero\n")
    assert next(message for message in run.messages if "error" in message)["err"] == run.err


def test_no_frame_of_ours_is_shown(any_session: Session) -> None:
    for code in (
        "1/0",
        "print(1, file=3)",
        "input('x')",
        "import threading; threading.Thread(target=1/0)",
        "open('/x')",
    ):
        run = any_session.eval(code, allow_stdin=False)
        assert "nrepl" not in run.err, run.err
        assert all("nrepl" not in frame["file"] for frame in run.error["traceback"])


def test_cause_and_context(any_session: Session) -> None:
    error = any_session.eval("try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e").error
    assert (error["type"], error["cause"]["type"]) == ("KeyError", "ZeroDivisionError")
    error = any_session.eval("try:\n    1/0\nexcept Exception:\n    raise KeyError('k')").error
    assert (error["cause"], error["context"]["type"]) == (None, "ZeroDivisionError")
    error = any_session.eval("try:\n    1/0\nexcept Exception:\n    raise KeyError('k') from None").error
    assert (error["cause"], error["context"]) == (None, None)


def test_a_loop_of_causes_ends(any_session: Session) -> None:
    code = "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a"
    assert any_session.eval(code).error["cause"]["message"] == "b"


def test_notes_and_groups(any_session: Session) -> None:
    code = "e = ExceptionGroup('many', [ValueError('v'), TypeError('t')])\ne.add_note('a note')\nraise e"
    run = any_session.eval(code)
    assert run.error["notes"] == ["a note"]
    assert [member["type"] for member in run.error["exceptions"]] == ["ValueError", "TypeError"]
    assert "a note" in run.err


def test_a_class_of_the_users_own(any_session: Session) -> None:
    any_session.ok("class Outer:\n    class Mine(Exception): pass")
    error = any_session.eval("raise Outer.Mine('m')").error
    assert (error["type"], error["module"]) == ("Outer.Mine", "__main__")


@pytest.mark.parametrize("kind", ["BaseException", "KeyboardInterrupt", "GeneratorExit"])
def test_base_exceptions_do_not_end_the_session(any_session: Session, kind: str) -> None:
    run = any_session.eval(f"raise {kind}('b')")
    assert (run.error["type"], run.last["status"]) == (kind, ["eval-error", "done"])
    assert any_session.ok("1").value == "1"


def test_deep_recursion(any_session: Session) -> None:
    run = any_session.eval("def f(): return f()\nf()")
    assert run.error["type"] == "RecursionError"
    assert len(run.error["traceback"]) <= 100
    assert any_session.ok("1").value == "1"


@pytest.mark.parametrize(
    "method", ["def __str__(self): raise RuntimeError", "def __str__(self): return 7", "__str__ = None"]
)
def test_an_exception_that_cannot_be_shown(any_session: Session, method: str) -> None:
    any_session.ok(f"class Bad(Exception):\n    {method}")
    run = any_session.eval("raise Bad('x')")
    assert run.error["type"] == "Bad"
    assert run.last["status"] == ["eval-error", "done"]


def test_a_huge_message_is_cut(any_session: Session) -> None:
    run = any_session.eval("raise ValueError('x' * 10_000_000)")
    assert len(run.error["message"]) < 1_000_000
    assert any_session.ok("1").value == "1"


@pytest.mark.parametrize(
    ("code", "exit_code", "err"),
    [
        ("exit()", 0, ""), ("exit(3)", 3, ""), ("raise SystemExit", 0, ""), ("import sys; sys.exit('why')", 1, "why\n"),
        ("quit(True)", 1, ""),
    ],
)  # fmt: skip
def test_exit_ends_the_eval_not_the_session(any_session: Session, code: str, exit_code: int, err: str) -> None:
    any_session.ok("kept = 1")
    run = any_session.eval(code)
    assert run.last["status"] == ["exit", "done"]
    assert (run.last["exit-code"], run.err) == (exit_code, err)
    assert any_session.ok("kept").value == "1"
