"""A session and its live clones, as the router owns them: one init, one bound of memory, one private directory.

It lives as long as one of its members. They are not confined from each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

from nrepl_py import codec
from nrepl_py.errors import QuotaExceeded
from nrepl_py.evaluators import processes
from nrepl_py.evaluators.bounds import Bounds
from nrepl_py.evaluators.cgroups import Group
from nrepl_py.evaluators.zygote import Zygote


class Member(Protocol):
    """What a family knows of a worker."""

    number: int
    """By which its zygote and its init know it; 0 before they do."""
    pid: int
    pidfd: int
    killed_by: str | None
    """Whom it has to end for."""
    starved: bool
    """Whether it ended for lack of memory."""


class Family:
    """One of them. `on_end` is called when the last member has left."""

    def __init__(self, first: Member, on_end: Callable[[Family], object], user: int) -> None:
        self._members: list[Member] = [first]
        self._on_end = on_end
        self.user = user
        """Its user id in the zygote's namespace, where the server is root: one of its own, unless it is shown what is
        the machine's: that is its owner's, in there, and so are all who see it."""
        self.zygote: Zygote | None = None
        self.home: str | None = None
        """Its private directory on disk, where it has no namespace to keep one in."""
        self._number = 0
        self._init = -1
        self._to_init: socket.socket | None = None
        self._bounds: Bounds | None = None
        self._group: Group | None = None
        self._most_memory = 0
        self._shared = False
        """Whether there was ever more than one member."""

    @property
    def memory_bound(self) -> str:
        """What the bound of memory is one of: for `clone`'s `info`."""
        return "process" if self._group is None else "session" if len(self._members) == 1 else "family"

    def channel(self) -> int:
        """A descriptor for the init that the zygote is about to fork."""
        self._to_init, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._to_init.setblocking(False)
        return theirs.detach()

    def born(self, number: int, init: int) -> None:
        """Its first member is there, and if it is confined so is its init, of which this is a pidfd."""
        self._number, self._init = number, init

    def bound(self, bounds: Bounds, name: str, limits: Mapping[str, int], count: bool) -> None:
        """All members together; nothing of the user's runs yet. `count`: also how many processes there are."""
        self._most_memory = limits["memory-bytes"]
        pids = [self._members[0].pid] if self._init < 0 else [processes.pid_of(self._init), self._members[0].pid]
        self._bounds, self._group = bounds, bounds.bound(name, pids, limits, count, self._out_of_memory)

    def join(self, member: Member, most: int) -> None:
        """One more, on its way. Raises `QuotaExceeded`."""
        alive = sum(member.killed_by is None for member in self._members)
        if alive >= most:
            raise QuotaExceeded(f"clone: this session and its clones are {alive}, as many as there may be; close one")
        self._members.append(member)
        self._shared = True

    async def adopt(self, member: Member, on_exit: Callable[[int], None]) -> None:
        """Have that process known for a member. Raises `StartFailed` where it is no orphan of this family's."""
        assert self.zygote is not None
        member.number = await self.zygote.adopt(self._number, self._to_init, member.pidfd, on_exit)

    async def mark(self, member: Member, seconds: float) -> None:
        """It is about to end, and what it has started with it; that takes no longer than so many seconds."""
        if self._to_init is not None and self.zygote is not None and len(self._members) > 1:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.zygote.mark(member.number, self._to_init), seconds)

    def kill(self, member: Member) -> None:
        """End it and all it has started, and nothing of the others'."""
        if self._init >= 0 and len(self._members) == 1:
            _kill(self._init)
        elif self._to_init is None or not self._ask_to_kill(member.number):
            _kill(member.pidfd)

    def ran_out(self, member: Member) -> bool:
        """Whether there was not enough memory for it."""
        if member.starved or self._group is None:
            return member.starved
        # Where others have been, what ran out once may have been for them.
        together = self._group.event < 0
        return (together or not self._shared) and self._group.ran_out

    def leave(self, member: Member) -> None:
        """It has ended."""
        if member in self._members:
            self._members.remove(member)
            if not self._members:
                self._close()

    def _ask_to_kill(self, number: int) -> bool:
        try:
            self._to_init.send(codec.to_json({"do": "kill", "number": number}))  # type: ignore[union-attr]
        except OSError:
            return False
        return True

    def _out_of_memory(self) -> None:
        """The kernel ends one of its processes: end that member, rather than leave half of it."""
        if self._group is None or not self._group.ran_out:
            return
        worst = self._members[0]
        if self._shared:
            ended = [member for member in self._members if member.pid and processes.has_ended(member.pidfd)]
            used = {member.number: processes.memory_of_tree(member.pid) for member in self._members}
            worst = ended[0] if ended else max(self._members, key=lambda member: used[member.number])
            if not ended and used[worst.number] < self._most_memory // 2:
                return  # it was for one that is gone, and what that had started is about to go
            worst.starved = True
        self.kill(worst)

    def _close(self) -> None:
        if self._to_init is not None:
            self._to_init.close()
        if self._init >= 0:
            os.close(self._init)
        if self._bounds is not None and self._group is not None:
            self._bounds.release(self._group)
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
        self._on_end(self)


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
