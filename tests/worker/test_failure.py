"""Errors as data, without a session."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from nrepl_py.ops import ErrorInfo
from nrepl_py.worker import failure


def describe(code: str) -> tuple[dict[str, Any], str]:
    try:
        exec(compile(code, "user.py", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        info, text = failure.describe(error)
        msgspec.json.decode(info, type=ErrorInfo)  # the router's own check
        return json.loads(info), text.decode()
    raise AssertionError("the code must raise")


def test_it_has_the_shape_the_router_checks() -> None:
    info, text = describe("def f():\n    1/0\ntry:\n    f()\nexcept Exception as e:\n    raise KeyError('x') from e")
    assert (info["type"], info["cause"]["type"], info["message"]) == ("KeyError", "ZeroDivisionError", "'x'")
    assert "The above exception was the direct cause" in text


def test_deep_nesting_is_bounded() -> None:
    info, _ = describe("e = None\nfor i in range(200):\n    n = ValueError(str(i)); n.__cause__ = e; e = n\nraise e")
    depth = 0
    while info is not None:
        info, depth = info["cause"], depth + 1
    assert 10 < depth < 30


def test_a_deep_recursion_shows_both_its_ends() -> None:
    info, _ = describe("def f(n):\n    return f(n + 1)\nf(0)")
    assert len(info["traceback"]) == 100
    assert info["traceback"][-1]["function"] == "f"


def test_lone_surrogates_in_a_message() -> None:
    info, text = describe(r"raise ValueError('\ud800')")
    assert info["message"] == "\\ud800"
    assert "\\ud800" in text


def test_bare_runs_nothing() -> None:
    class Evil(Exception):
        def __str__(self) -> str:
            raise AssertionError

    info, text = failure.bare(Evil(), "why")
    assert json.loads(info)["message"] == "<why>"
    assert text == b"Evil: <why>\n"
