"""Memory of a whole session, where the system lets us bound it: control groups, version 1, as root.

Elsewhere only each process is bounded (RLIMIT_DATA), and `clone`'s `info` says which. Version 2 is not used
yet: it would have to be delegated to the server.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

_MOUNT: Final = "/sys/fs/cgroup/memory"
_GROUP: Final = os.path.join(_MOUNT, "nrepl-py")


def available() -> bool:
    """Whether groups can be made here."""
    return os.access(_MOUNT, os.W_OK) and os.path.exists(os.path.join(_MOUNT, "memory.limit_in_bytes"))


class MemoryGroup:
    """The group of one session. Raises OSError where it cannot be made or used."""

    def __init__(self, name: str, most_bytes: int) -> None:
        _remove_stale()
        self._path = os.path.join(_GROUP, f"{os.getpid()}-{name}")
        os.makedirs(self._path)
        self._write("memory.limit_in_bytes", str(most_bytes))
        self._ran_out = False
        # Readable when the group wants more than it may have, and the kernel is about to end one of its processes.
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # type: ignore[attr-defined,unused-ignore]
        control = os.open(os.path.join(self._path, "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._write("cgroup.event_control", f"{self.event} {control}")
        finally:
            os.close(control)

    def add(self, pid: int) -> None:
        """That process, and all it starts from now on."""
        if pid <= 0:
            raise ProcessLookupError("it has ended")  # and the kernel would take 0 for us
        self._write("cgroup.procs", str(pid))

    @property
    def ran_out(self) -> bool:
        """Whether its processes wanted more than there is. Once true it stays so."""
        with contextlib.suppress(BlockingIOError):
            self._ran_out = os.eventfd_read(self.event) > 0 or self._ran_out  # type: ignore[attr-defined,unused-ignore]
        return self._ran_out

    def close(self) -> None:
        """Forget it; its processes must have ended."""
        os.close(self.event)
        for path in (self._path, _GROUP):  # the latter while it is the last one
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self._path, name), "w") as file:
            file.write(text)


def _remove_stale() -> None:
    """Groups of servers that were killed; a group with processes cannot be removed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(_GROUP):
            if name.partition("-")[0].isdigit() and not os.path.exists(f"/proc/{name.partition('-')[0]}"):
                os.rmdir(os.path.join(_GROUP, name))
