"""The parent of a family's members, which may be a session's init or a zygote: adopts them, and learns how each ends.

A clone comes here as an orphan: its worker forked a child that forked again and ended. Only the router can say
which orphan is a member, by a pidfd, and only a child of this process is taken for one: so whatever a worker says
of its clone, it can name no process of somebody else's.
"""

from __future__ import annotations

import os
import select
import signal
from typing import Callable, Container, Dict, Iterator, List, NamedTuple

_LOOKS = 100  # after the members of a process tree, each of `_PAUSE` at most: what cannot be killed is left
_PAUSE = 10  # milliseconds


class Members:
    """The members among this process' children, whose numbers are the router's."""

    def __init__(self, ended: Callable[[int, int, int], None]) -> None:
        """`ended(pid, number, status)` is called for a member that has ended; its pid, and so its group's, is not
        given away yet. All other children are reaped without a word."""
        self.numbers: Dict[int, int] = {}
        """Of each member, by pid."""
        self.wake, write = os.pipe()
        """Readable when a child may have ended."""
        for fd in (self.wake, write):
            os.set_blocking(fd, False)
        self._write = write
        self._ended = ended
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def forget(self) -> None:
        """In a child that is to become something else: leave nothing of this behind."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.wake)
        os.close(self._write)

    def adopt(self, pidfd: int, number: int) -> bool:
        """Take that process for a member; False where it is no child of ours, or one already."""
        try:
            with open("/proc/self/fdinfo/%d" % pidfd) as file:
                pid = next(int(line[4:]) for line in file if line.startswith("Pid:"))
            if pid <= 0 or pid in self.numbers:
                return False
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (OSError, StopIteration):
            return False
        self.numbers[pid] = number
        return True

    def reap(self) -> None:
        """Reap all that have ended."""
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            number = self.numbers.pop(found.si_pid, None)
            if number is not None:
                self._ended(found.si_pid, number, _status(found))
            os.waitpid(found.si_pid, 0)

    def of(self, number: int) -> int:
        """The pid of that member; 0 where there is none."""
        return next((pid for pid, known in self.numbers.items() if known == number), 0)


class Process(NamedTuple):
    """What /proc says of one. `began` tells it from a later one of the same pid."""

    pid: int
    alive: bool
    parent: int
    session: int
    began: int


def processes() -> Iterator[Process]:
    """All that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it ended just now
            yield Process(int(name), fields[0] not in b"ZX", int(fields[1]), int(fields[3]), int(fields[19]))


def below(pid: int) -> List[Process]:
    """What that process has started, and what that has, and so on, as long as each one's parent lives."""
    everyone = list(processes())
    found: List[Process] = []
    parents = [pid]
    while parents:
        children = [process for process in everyone if process.parent in parents]
        found += children
        parents = [process.pid for process in children]
    return found


def end_tree(pid: int, known: List[Process], spared: Container[int], wake: int) -> None:
    """Kill the session that this process leads and those processes `known` to be its own, but for those `spared`, and
    see them dead. `wake` is readable when a child may have ended."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    for _ in range(_LOOKS):
        others = [p for p in processes() if p.alive and p.pid != pid and p.pid not in spared]
        left = [p for p in others if p.session == pid or _among(p, known)]
        if not left:
            return
        for process in left:
            kill(process.pid)
        poll.poll(_PAUSE)


def kill(pid: int) -> None:
    """SIGKILL, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _among(process: Process, known: List[Process]) -> bool:
    return any(process.pid == one.pid and process.began == one.began for one in known)


def _status(found: "os.waitid_result") -> int:
    """The raw wait status of what waitid(2) found."""
    if found.si_code == os.CLD_EXITED:
        return found.si_status << 8
    return found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)
