"""How a worker's process ended, in the protocol's words."""

from __future__ import annotations

import os
import signal
from typing import Final

from nrepl_py.ops import Cause

LIMITS: Final = {signal.SIGXCPU: "cpu-seconds", signal.SIGXFSZ: "file-bytes"}
"""Signals by which the system says that a process went beyond a bound, and which one."""


def cause(status: int, killed_by: str | None, ran_out: bool, stderr: str, trace: str = "") -> Cause:
    """Of a raw wait status; `killed_by`: who asked for it, `ran_out`: whether it was for lack of memory, `trace`:
    what faulthandler wrote."""
    code = os.waitstatus_to_exitcode(status)
    words = stderr or None
    if killed_by is not None:
        return Cause(kind="killed", by=killed_by, last_stderr=words)
    if ran_out:
        return Cause(kind="oom", signal="SIGKILL", last_stderr=words)
    if -code in LIMITS:
        return Cause(kind="limit", signal=signal_name(-code), by=LIMITS[signal.Signals(-code)], last_stderr=words)
    if code < 0:
        return Cause(kind="signal", signal=signal_name(-code), last_stderr=words, trace=trace or None)
    return Cause(kind="exit", code=code, last_stderr=words)


def while_starting(status: int, stderr: str) -> str:
    """The sentence about a worker that never came up."""
    code = os.waitstatus_to_exitcode(status)
    how = f"ended with code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
    return f"the interpreter {how} while starting\n{stderr}".strip()


def signal_name(number: int) -> str:
    """As `signal` names it; the number where it does not."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
