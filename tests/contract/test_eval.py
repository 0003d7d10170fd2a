"""Statements, values, lines, modules and files: what an interactive interpreter does with code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.driver import Peer, Run, Session


def test_the_last_expression_is_the_value(any_session: Session) -> None:
    run = any_session.ok("a = 1\na + 1")
    assert run.values == ["2"]
    assert run.last["status"] == ["done"]
    assert (run.last["line"], run.last["end-line"]) == (2, 2)


def test_an_eval_begins_with_started(any_session: Session) -> None:
    first = any_session.ok("1", file="cell.py", line=7).messages[0]
    assert {key: first["started"][key] for key in ("code", "file", "line")} == {
        "code": "1", "file": "cell.py", "line": 7,
    }  # fmt: skip


def test_every_message_of_the_stream_is_numbered(any_session: Session) -> None:
    runs = [any_session.ok("print(1); 2"), any_session.eval("1/0"), any_session.ok("3")]
    numbers = [message["seq"] for run in runs for message in run.messages]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    ("code", "values", "expected"),
    [
        ("1\n2\nx = 3\n4", "last", ["4"]),
        ("1\n2\nx = 3\n4", "all", ["1", "2", "4"]),
        ("1\n2\nx = 3\n4", "none", []),
        ("x = 1", "last", []),
        ("None", "last", []),
        ("1; None; 2", "all", ["1", "2"]),
        ("", "last", []),
        ("# only a comment", "all", []),
        ("'''a docstring'''", "last", ["'a docstring'"]),
        ("def f(): return 1\nf()", "last", ["1"]),
        ("for i in range(3): i", "all", ["0", "1", "2"]),
        ("for i in range(3): i", "last", []),
    ],
)
def test_values(any_session: Session, code: str, values: str, expected: list[str]) -> None:
    assert any_session.ok(code, values=values).values == expected


def test_values_and_output_come_in_the_order_of_happening(any_session: Session) -> None:
    run = any_session.ok("1\nprint('x')\n2\nprint('y')", values="all")
    shown = [message[key] for message in run.messages for key in ("out", "value") if key in message]
    assert shown == ["1", "x\n", "2", "y\n"]


def test_an_error_in_the_middle_ends_the_eval(any_session: Session) -> None:
    run = any_session.eval("a = 1\n'first'\n1/0\nb = 2\n'second'", values="all")
    assert run.values == ["'first'"]
    assert "eval-error" in run.last["status"]
    assert any_session.ok("a, 'b' in dir()").value == "(1, False)"


def test_history(any_session: Session) -> None:
    for code in ("1", "2", "3"):
        any_session.ok(code)
    assert any_session.ok("_, __, ___").value == "(3, 2, 1)"
    any_session.ok("'kept out'", store_history=False)
    assert any_session.ok("_[0]").value == "3"


def test_an_underscore_of_the_users_own_stays(any_session: Session) -> None:
    any_session.ok("_ = str.upper")
    any_session.ok("'some value'")
    assert any_session.ok("_('x')").value == "'X'"


def test_the_last_exception_is_kept(any_session: Session) -> None:
    any_session.eval("raise KeyError('lost')")
    assert any_session.ok("_exc.args").value == "('lost',)"


def test_future_imports_persist(any_session: Session) -> None:
    any_session.ok("from __future__ import annotations")
    any_session.ok("def f(x: undefined_name): pass")
    assert any_session.ok("f.__annotations__").value == "{'x': 'undefined_name'}"


def test_evals_run_in_order(any_session: Session) -> None:
    ids = [any_session.start(f"order = globals().get('order', []) + [{n}]; order") for n in range(20)]
    runs = [any_session.peer.until(id) for id in ids]
    assert runs[-1].value == str(list(range(20)))


class TestLines:
    """`file`, `line` and `column` are the editor's, wherever a line shows."""

    def test_traceback(self, any_session: Session) -> None:
        run = any_session.eval("x = 1\ny = x / 0", file="/project/mod.py", line=41)
        (frame,) = run.error["traceback"]
        assert (frame["file"], frame["line"], frame["function"]) == ("/project/mod.py", 42, "<module>")
        assert frame["source"].strip() == "y = x / 0"
        assert 'File "/project/mod.py", line 42' in run.err
        assert "y = x / 0" in run.err

    @pytest.mark.parametrize(
        "file", ["untitled:Untitled-1", "vscode-notebook-cell:/a%20b.ipynb#X10", "C:\\x.py", "<x>"]
    )
    def test_a_file_is_opaque(self, any_session: Session, file: str) -> None:
        run = any_session.eval("1/0", file=file)
        assert run.error["traceback"][0]["file"] == file
        assert run.messages[0]["started"]["file"] == file

    def test_column_shifts_the_first_line_only(self, session: Session) -> None:
        run = session.eval("(1/\n0)", file="x.py", line=3, column=10)
        frame = run.error["traceback"][0]
        assert (frame["line"], frame["column"]) == (3, 11)
        run = session.eval("a = 1\n1/0", file="x.py", line=3, column=10)
        assert run.error["traceback"][0]["column"] == 0

    def test_columns_count_code_points(self, session: Session) -> None:
        run = session.eval("s = 'äöü😀'; 1/0")
        assert run.error["traceback"][0]["column"] == 12

    def test_a_syntax_error_has_its_place(self, any_session: Session) -> None:
        run = any_session.eval("x = (1,\ny = = 2", file="bad.py", line=10)
        assert run.error["type"] == "SyntaxError"
        (entry,) = run.error["traceback"]
        assert entry["file"] == "bad.py"
        assert entry["line"] in (10, 11)  # where the parser of that version sees it
        assert entry["function"] is None
        run = any_session.eval("ok = 1\nx = = 2", file="bad.py", line=10)
        entry = run.error["traceback"][0]
        assert (entry["line"], entry["column"], entry["source"]) == (11, 4, "x = = 2")

    def test_incomplete_code_is_a_syntax_error(self, any_session: Session) -> None:
        assert any_session.eval("def f(").error["type"] == "SyntaxError"
        assert any_session.eval("if 1:").error["type"] == "IndentationError"

    @pytest.mark.parametrize("code", ["a\0b", "(" * 1000, "x = 1\n\tif", "1" * 5000])
    def test_code_that_is_no_code_is_the_users_error(self, any_session: Session, code: str) -> None:
        assert "eval-error" in any_session.eval(code).last["status"]
        assert any_session.ok("1").value == "1"

    def test_warnings_show_the_line(self, session: Session) -> None:
        run = session.ok("import warnings\nwarnings.warn('look here')", file="/p/w.py", line=5)
        assert "/p/w.py:6: UserWarning: look here" in run.err
        assert "warnings.warn('look here')" in run.err
        run = session.ok("x = 1\nx is 1", file="/p/w2.py", line=5)
        assert "/p/w2.py:6:" in run.err

    def test_getsource(self, session: Session) -> None:
        code = "def f():\n    return 'body'\n\nclass C:\n    x = 1\n\nclass D:\n    def m(self): pass\n"
        session.ok(code, file="/p/src.py", line=100)
        session.ok("import inspect")
        assert session.ok("print(inspect.getsource(f))").out == "def f():\n    return 'body'\n\n"
        assert session.ok("print(inspect.getsource(C))").out == "class C:\n    x = 1\n\n"
        assert session.ok("print(inspect.getsource(D))").out == "class D:\n    def m(self): pass\n\n"
        assert session.ok("inspect.getsourcelines(f)[1]").value == "100"

    def test_getsource_without_a_file(self, session: Session) -> None:
        session.ok("def f(): return 1")
        assert session.ok("import inspect; inspect.getsource(f)").value == repr("def f(): return 1\n")


class TestModules:
    """`module` evaluates in an imported module."""

    @pytest.fixture
    def package(self, session: Session, tmp_path: Path) -> str:
        (tmp_path / "mymod.py").write_text("state = 'initial'\ndef get(): return state\n")
        session.ok(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mymod")
        return str(tmp_path / "mymod.py")

    def test_it_runs_there(self, session: Session, package: str) -> None:
        session.ok("state = 'changed'; extra = 1", module="mymod")
        assert session.ok("mymod.get(), mymod.extra").value == "('changed', 1)"

    def test_it_does_not_leak(self, session: Session, package: str) -> None:
        session.ok("leak = 1\nleak", module="mymod")
        assert session.ok("'leak' in globals(), '_' in vars(mymod)").value == "(False, False)"
        assert session.ok("__name__").value == "'__main__'"
        assert session.ok("__name__", module="mymod").value == "'mymod'"

    def test_auto_finds_the_module_of_the_file(self, session: Session, package: str) -> None:
        session.ok("state = 'auto'", module="auto", file=package)
        assert session.ok("mymod.get()").value == "'auto'"
        session.ok("elsewhere = 1", module="auto", file="/no/such/file.py")
        assert session.ok("elsewhere").value == "1"

    def test_a_module_that_is_not_imported(self, any_session: Session) -> None:
        run = any_session.eval("1", module="no_such_module")
        assert run.error["type"] == "ModuleNotFoundError"
        assert "import it first" in run.error["message"]


class TestLoadFile:
    @staticmethod
    def load(session: Session, code: str, **options: Any) -> Run:
        return session.request("load-file", code=code, file="/p/file.py", **options)

    def test_a_file_shows_no_values_unless_asked(self, any_session: Session) -> None:
        run = self.load(any_session, "'docstring'\nx = 5\nprint('loaded')\nx\n")
        assert (run.values, run.out) == ([], "loaded\n")
        assert self.load(any_session, "x = 5\nx\n", values="last").value == "5"

    def test_lines_count_from_one(self, any_session: Session) -> None:
        assert self.load(any_session, "x = 1\n\n1/0\n").error["traceback"][0]["line"] == 3

    @pytest.mark.parametrize(
        "code",
        [
            "",
            "\n\n",
            "# nothing\n# here\n",
            "# -*- coding: latin-1 -*-\nname = 'é'\n",
            "#!/usr/bin/env python\nname = 'é'",
        ],
        ids=["empty", "blank", "comments", "cookie", "shebang"],
    )
    def test_files_of_every_kind(self, any_session: Session, code: str) -> None:
        assert self.load(any_session, code).last["status"] == ["done"]
        if "name" in code:
            assert any_session.ok("ascii(name)").value == repr(ascii("é"))

    def test_a_huge_file(self, any_session: Session) -> None:
        code = "".join(f"def function_{n}(argument):\n    return argument + {n}\n\n" for n in range(20_000))
        self.load(any_session, code)
        assert any_session.ok("function_19999(1)").value == "20000"


def test_eval_without_session(any_peer: Peer) -> None:
    run = any_peer.request("eval", code="print('hi'); x = 6 * 7; x")
    assert (run.out, run.value, run.last["status"]) == ("hi\n", "42", ["done"])
    assert not any("session" in message for message in run.messages)
    assert any_peer.request("eval", code="x").error["type"] == "NameError"


def test_timeout(any_session: Session) -> None:
    run = any_session.eval("while True: pass", timeout=0.05)
    assert {"timeout", "interrupted", "done"} <= set(run.last["status"])
    assert any_session.ok("1", timeout=30).value == "1"


def test_timeout_of_an_await(any_session: Session) -> None:
    run = any_session.eval("import asyncio; await asyncio.sleep(1000)", timeout=0.05)
    assert {"timeout", "interrupted", "done"} <= set(run.last["status"])
