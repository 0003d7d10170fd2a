"""What the system says of a process that is held by a pidfd, or is a child of ours."""

from __future__ import annotations

import os
import select


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


def memory(pid: int) -> int | None:
    """Resident bytes, where they can be had."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
