"""A raw wait status, in the protocol's words."""

from __future__ import annotations

import signal

import pytest

from nrepl_py.evaluators import deaths
from nrepl_py.ops import Cause


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (0, Cause(kind="exit", code=0)),
        (7 << 8, Cause(kind="exit", code=7)),
        (signal.SIGKILL, Cause(kind="signal", signal="SIGKILL")),
        (signal.SIGSEGV | 0x80, Cause(kind="signal", signal="SIGSEGV")),
        (60, Cause(kind="signal", signal="60")),
        (signal.SIGXCPU, Cause(kind="limit", signal="SIGXCPU", by="cpu-seconds")),
        (signal.SIGXFSZ, Cause(kind="limit", signal="SIGXFSZ", by="file-bytes")),
    ],
)
def test_how_it_ended(status: int, cause: Cause) -> None:
    assert deaths.cause(status, None, False, "") == cause


def test_who_ended_it_and_for_what() -> None:
    assert deaths.cause(signal.SIGKILL, "router", False, "") == Cause(kind="killed", by="router")
    assert deaths.cause(signal.SIGXCPU, "zygote", True, "x") == Cause(kind="killed", by="zygote", last_stderr="x")
    assert deaths.cause(signal.SIGKILL, None, True, "") == Cause(kind="oom", signal="SIGKILL")


def test_its_last_words() -> None:
    crash = deaths.cause(signal.SIGABRT, None, False, "words", "Fatal Python error: Aborted")
    assert (crash.last_stderr, crash.trace) == ("words", "Fatal Python error: Aborted")
    assert deaths.cause(1 << 8, None, False, "words", "").trace is None


def test_while_starting() -> None:
    assert deaths.while_starting(3 << 8, "no module") == "the interpreter ended with code 3 while starting\nno module"
    assert "SIGSEGV" in deaths.while_starting(signal.SIGSEGV, "")
