"""Real input: the standard library's own doctests, replayed through a session.

Each test that passes under `doctest` itself must pass here, example by example, checked by
`doctest.OutputChecker`.
"""

from __future__ import annotations

import doctest
import importlib
import io
from contextlib import redirect_stderr

import pytest

from tests.contract.driver import Peer, Run, Session

MODULES = (
    "ast", "bisect", "calendar", "collections", "colorsys", "contextlib", "copy", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fractions", "functools", "heapq", "html", "inspect", "ipaddress", "json", "json.encoder",
    "math", "operator", "pickle", "pickletools", "pprint", "random", "re", "reprlib", "shlex", "statistics", "string",
    "textwrap", "threading", "timeit", "turtle", "types", "typing", "unicodedata", "urllib.parse", "uuid", "zipfile",
    "_collections_abc", "_pydecimal", "_threading_local", "numbers", "doctest", "http.cookies", "smtplib", "bdb",
)  # fmt: skip


def found() -> dict[str, list[doctest.DocTest]]:
    """The doctests of each module that pass under `doctest`."""
    tests: dict[str, list[doctest.DocTest]] = {}
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:  # not built into this interpreter (turtle needs Tk), or gone in this version
            continue
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if test.examples and _passes(test):
                tests.setdefault(name, []).append(test)
    return tests


def _passes(test: doctest.DocTest) -> bool:
    runner = doctest.DocTestRunner(verbose=False)
    with redirect_stderr(io.StringIO()):
        result = runner.run(test, out=lambda text: None, clear_globs=False)
    return result.failed == 0


FOUND = found()


def test_enough_was_found() -> None:
    assert sum(len(test.examples) for tests in FOUND.values() for test in tests) > 500
    assert {"collections", "statistics", "fractions", "decimal", "difflib", "heapq", "enum"} <= set(FOUND)
    assert len(FOUND) > 15


@pytest.mark.parametrize("name", FOUND)
def test_module(peer: Peer, name: str) -> None:
    failures = []
    for test in FOUND[name]:
        session = Session(peer)
        session.ok(f"import {name} as _m; globals().update(vars(_m))", store_history=False)
        failures += [failure for example in test.examples if (failure := _check(session, test, example))]
        session.close()
    assert not failures, "\n".join(failures)


def _check(session: Session, test: doctest.DocTest, example: doctest.Example) -> str | None:
    flags = 0
    for flag, on in example.options.items():
        flags = flags | flag if on else flags & ~flag
    if flags & doctest.SKIP:
        return None
    run = session.eval(example.source, values="all", timeout=60)
    if "error" in run.last.get("status", ()):
        return f"{test.name}:{example.lineno}: {run.last}"
    checker = doctest.OutputChecker()
    shown = _shown(run)
    if "eval-error" in run.status:
        raised = _raised(run)
        if example.exc_msg is not None and checker.check_output(example.exc_msg, raised, flags):
            return None
        lenient = example.exc_msg is not None and flags & doctest.IGNORE_EXCEPTION_DETAIL
        if lenient and _kind(example.exc_msg or "") == _kind(raised):
            return None
        shown += raised
    elif example.exc_msg is None and checker.check_output(example.want, shown, flags):
        return None
    return f"{test.name}:{example.lineno}\n  {example.source}  wanted {example.want!r}\n  got {shown!r}"


def _shown(run: Run) -> str:
    """What an interactive interpreter would have printed to stdout."""
    shown = ""
    for message in run.messages:
        shown += message.get("out", "")
        if "value" in message:
            shown += message["value"] + "\n"
    return shown


def _raised(run: Run) -> str:
    error = run.error
    name = error["type"] if error["module"] in ("builtins", "__main__") else f"{error['module']}.{error['type']}"
    return f"{name}: {error['message']}\n" if error["message"] else f"{name}\n"


def _kind(message: str) -> str:
    return message.split(":", 1)[0].rpartition(".")[2].strip()
