"""What ties a process to its parent, where the system has it (Linux)."""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel to kill this process when its parent ends; 0 takes that back."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # it ended meanwhile
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of those below us whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
