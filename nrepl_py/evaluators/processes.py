"""What the system says of a process that is held by a pidfd, or is a child of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from typing import Final

_MAIN_THREAD: Final = 1  # PIDFD_SIGNAL_THREAD, from Linux 6.9 on


def pid_of(pidfd: int) -> int:
    """The process's number in our own pid namespace; 0 where it has ended."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        found = dict(line.split(":", 1) for line in file)
    return max(0, int(found["Pid"]))


def has_ended(pidfd: int) -> bool:
    """Whether it has, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def send(pidfd: int, number: int) -> None:
    """Send a signal: to the main thread, where that can be had, and to no other that happens to run. Raises
    ProcessLookupError where the process has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number, None, _MAIN_THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        signal.pidfd_send_signal(pidfd, number)


def memory(pid: int) -> int | None:
    """Resident bytes, where they can be had."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def memory_of_tree(pid: int) -> int:
    """Of it and all it has started, as far as their parents live; pages that they share count for each."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += memory(one) or 0
        with contextlib.suppress(OSError):  # it has ended
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    waiting += map(int, file.read().split())
    return total
