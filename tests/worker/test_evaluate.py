"""Running code, without a worker around it."""

from __future__ import annotations

import linecache
import os
import traceback
import types
import warnings
from typing import Any, NamedTuple

import pytest

from nrepl_py.worker import evaluate
from nrepl_py.worker.evaluate import Evaluator
from nrepl_py.worker.interrupt import Interrupts


class Shown(NamedTuple):
    """What `show` was given."""

    value: Any
    line: int
    end_line: int
    last: bool


class Bench:
    def __init__(self) -> None:
        self._word = os.memfd_create("word")
        os.ftruncate(self._word, 16)
        self.evaluator = Evaluator(types.ModuleType("__main__"), Interrupts(self._word))
        self._serial = 0

    def run(self, code: str, **options: Any) -> list[Shown]:
        self._serial += 1
        request = {"serial": self._serial, "line": 1, "column": 0, "values": "last", "store-history": True} | options
        shown: list[Shown] = []
        self.evaluator.run(code, request, lambda *given: shown.append(Shown(*given)))
        return shown

    def close(self) -> None:
        if self.evaluator.loop is not None:
            self.evaluator.loop.close()
        os.close(self._word)


@pytest.fixture
def bench() -> Any:
    bench = Bench()
    yield bench
    bench.close()


def test_shown_says_where_and_whether_last(bench: Bench) -> None:
    assert bench.run("(1,\n2)\nx = 1\n3", values="all", line=5) == [Shown((1, 2), 5, 6, False), Shown(3, 8, 8, True)]


def test_inner_expressions_show_when_all_are_wanted(bench: Bench) -> None:
    assert [shown.value for shown in bench.run("for i in 1, None, 2: i", values="all")] == [1, 2]


def test_linecache_overlays_the_file(bench: Bench, tmp_path: Any) -> None:
    file = tmp_path / "f.py"
    file.write_text("one\ntwo\nthree\nfour\n")
    bench.run("x = 2", file=str(file), line=2, column=4)
    assert [linecache.getline(str(file), n) for n in range(1, 5)] == ["one\n", "two x = 2\n", "three\n", "four\n"]
    linecache.checkcache()
    assert linecache.getline(str(file), 2) == "two x = 2\n"


def test_a_line_far_down_costs_nothing(bench: Bench) -> None:
    bench.run("x = 1", file="far.py", line=9_000_000)
    assert "far.py" not in linecache.cache


def test_sources_are_newest_first(bench: Bench) -> None:
    for file in ("a.py", "b.py", "a.py"):
        bench.run("1", file=file)
    assert bench.evaluator.sources()[:2] == ["a.py", "b.py"]


def test_namespaces(bench: Bench) -> None:
    assert bench.evaluator.namespace("os", None) is vars(os)
    assert bench.evaluator.namespace("auto", os.__file__) is vars(os)
    assert bench.evaluator.namespace("auto", "file://" + os.__file__) is vars(os)
    assert bench.evaluator.namespace("auto", "nowhere.py") is vars(bench.evaluator.main)
    with pytest.raises(ModuleNotFoundError):
        bench.evaluator.namespace("no.such", None)


def test_where_modules_are_is_asked_once(bench: Bench) -> None:
    bench.evaluator.namespace("auto", "nowhere.py")
    asked = evaluate._real.cache_info().misses
    bench.evaluator.namespace("auto", "nowhere.py")
    assert evaluate._real.cache_info().misses == asked


_LINES = [
    "1+1", "  1", "1 ", "1 # why", "", "#", "None", "x := 1", "(y := 2)", "*[1], 2", "lambda: 0", "yield 1", "f'{1!r}'",
    "1 is 1", "1if 1 else 2", "'\\d'", "x = '\\d'", "x = 1", "1; 2", "1;", "def", "f(", "'", "return 1", "1/0", "nobody",
    "(" * 300 + ")" * 300, "\0", "await anything", "[i async for i in gen()]", "pass", "if 1: 2", "@", "é", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("values", ["last", "all", "none"])
@pytest.mark.parametrize("code", _LINES)
def test_the_short_way_of_an_expression_is_the_long_one(
    code: str, values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One expression on one line is compiled without a tree: nothing may tell."""

    def outcome() -> Any:
        bench = Bench()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    shown: Any = [(repr(s.value)[:20], *s[1:]) for s in bench.run(code, values=values, line=7)]
                except Exception as error:
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    shown = type(error), str(error), getattr(error, "offset", None), last.lineno, last.colno
                    if isinstance(error, SyntaxError):
                        shown = shown[:3], error.lineno, error.text, error.end_offset
            return shown, [(str(w.message), w.category, w.filename, w.lineno) for w in warned]
        finally:
            bench.close()

    short = outcome()
    monkeypatch.setattr(Evaluator, "_expression", lambda *_: None)
    assert short == outcome()
