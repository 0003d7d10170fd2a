"""Pickling, multiprocessing and process pools with what the session defined, as in a plain interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.driver import Session

DEFINITIONS = """
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and other.x == self.x
def double(p): return Point(p.x * 2)
offset = 10
def shift(n): return n + offset
"""


@pytest.fixture
def defined(session: Session) -> Iterator[Session]:
    session.ok(DEFINITIONS)
    return session


def test_pickle(defined: Session) -> None:
    assert defined.ok("import pickle; pickle.loads(pickle.dumps(Point(3))) == Point(3)").value == "True"
    assert defined.ok("pickle.loads(pickle.dumps(double))(Point(2)) == Point(4)").value == "True"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_pool(defined: Session, method: str) -> None:
    code = (
        f"import multiprocessing\nwith multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "    points = pool.map(double, [Point(1), Point(2)])\n    shifted = pool.map(shift, [1])\n"
        "points == [Point(2), Point(4)], shifted"
    )
    assert defined.ok(code).value == "(True, [11])"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pool_executor(defined: Session, method: str) -> None:
    code = (
        "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
        f"with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({method!r})) as pool:\n"
        "    results = list(pool.map(double, [Point(3)]))\nresults == [Point(6)]"
    )
    assert defined.ok(code).value == "True"


def test_output_of_pool_workers_is_the_evals(defined: Session) -> None:
    code = (
        "import multiprocessing\nwith multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    pool.apply(print, ('from a worker',), {'flush': True})"
    )
    assert "from a worker\n" in defined.ok(code).out


def test_a_managers_process(defined: Session) -> None:
    code = "import multiprocessing\nwith multiprocessing.Manager() as m:\n    d = m.dict(); d['k'] = 1; r = dict(d)\nr"
    assert defined.ok(code).value == "{'k': 1}"


def test_an_error_in_a_pool_comes_back(defined: Session) -> None:
    code = "import multiprocessing\nwith multiprocessing.get_context('spawn').Pool(1) as p: p.apply(shift, ('x',))"
    assert defined.eval(code).error["type"] == "TypeError"


def test_a_child_interpreter_is_a_plain_one(session: Session) -> None:
    code = (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', "
        "'import sys; print(sys.flags.isolated, sys.stdin.read())'], capture_output=True, text=True).stdout)"
    )
    assert session.ok(code).out.split() == ["0"]
