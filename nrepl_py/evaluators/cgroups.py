"""Control groups: the memory and the processes of a whole session, bounded, counted and ended together.

    version 2   where a group was delegated to the server (`systemd-run --user --scope -p Delegate=yes`), or as root
    version 1   as root, of the hierarchies `memory` and `pids`

Elsewhere only each process is bounded (RLIMIT_DATA), and `clone`'s `info` says which. Groups lie in one named
`nrepl-py`, each under the server's process id, so that those of a server that was killed can be told and removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

ALL: Final = "nrepl-py"
_SERVER: Final = "nrepl-py-server"
"""The leaf a server moves to in a group that is its own: in version 2 a group with processes bounds no groups."""

_CONTROLLERS: Final = frozenset({"memory", "pids"})


class Unavailable(Exception):
    """No groups can be made; the text is a sentence that says why."""


class Place(Struct, frozen=True):
    """Where groups are made: a directory for each hierarchy."""

    version: int
    memory: str
    pids: str | None

    @property
    def described(self) -> str:
        """For a person."""
        return f"version {self.version}, {'memory and processes' if self.pids else 'memory only'}"


def find() -> Place:
    """Where groups can be made, tried by making one. Raises `Unavailable`."""
    place = _version_1() if os.path.exists(_MEMORY_1) else _version_2()
    try:
        Group(place, "probe", 1 << 30, 100).close()
    except OSError as error:
        raise Unavailable(f"no group can be made in {place.memory}: {error.strerror}") from None
    return place


class Group:
    """The group of one session. Raises OSError where it cannot be made or used."""

    def __init__(self, place: Place, name: str, memory: int, processes: int) -> None:
        _remove_stale(place)
        self._version = place.version
        self._memory = os.path.join(place.memory, ALL, f"{os.getpid()}-{name}")
        self._paths = [self._memory]
        if place.pids is not None and place.pids != place.memory:
            self._paths.append(os.path.join(place.pids, ALL, f"{os.getpid()}-{name}"))
        self.event = -1
        """Readable when the group wants more memory than it may have, and the kernel is about to end one of its
        processes; -1 where the kernel ends them all."""
        self._ran_out = False
        try:
            self._make(memory, processes if place.pids is not None else 0)
        except OSError:
            self.close()
            raise

    def _make(self, memory: int, processes: int) -> None:
        for path in self._paths:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if self._version == 2:
                _enable(os.path.dirname(path))
            os.mkdir(path)
        limits = _LIMITS[self._version]
        if memory:
            self._write("memory.max" if self._version == 2 else "memory.limit_in_bytes", str(memory))
            for name, text in limits.items():
                with contextlib.suppress(OSError):  # without swap there is nothing to say of it
                    self._write(name, text.format(memory))
        if processes:
            self._write("pids.max", str(processes), self._paths[-1])
        if self._version == 1:
            self._listen()

    def _listen(self) -> None:
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # type: ignore[attr-defined,unused-ignore]
        control = os.open(os.path.join(self._memory, "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._write("cgroup.event_control", f"{self.event} {control}")
        finally:
            os.close(control)

    def add(self, pid: int) -> None:
        """That process, and all it starts from now on."""
        if pid <= 0:
            raise ProcessLookupError("it has ended")  # and the kernel would take 0 for us
        for path in self._paths:
            self._write("cgroup.procs", str(pid), path)

    @property
    def ran_out(self) -> bool:
        """Whether its processes wanted more memory than there is. Once true it stays so."""
        if self._ran_out or self._version == 2:
            return self._ran_out or _count(os.path.join(self._memory, "memory.events"), "oom_kill") > 0
        with contextlib.suppress(BlockingIOError):
            self._ran_out = os.eventfd_read(self.event) > 0  # type: ignore[attr-defined,unused-ignore]
        return self._ran_out

    def kill(self) -> None:
        """Have the kernel end every process in it, whatever that did to get away."""
        for path in reversed(self._paths):
            _kill(path)

    def close(self) -> bool:
        """Forget it; whether that was possible: not while what was in it is still about to end."""
        if self.event >= 0:
            os.close(self.event)
            self.event = -1
        for path in self._paths:
            for empty in (path, os.path.dirname(path)):  # the latter while it is the last one
                with contextlib.suppress(OSError):
                    os.rmdir(empty)
        return not any(map(os.path.exists, self._paths))

    def _write(self, name: str, text: str, path: str | None = None) -> None:
        _write(os.path.join(path or self._memory, name), text)


_LIMITS: Final = {
    # No more in swap instead; and half of a session is of no use to anybody.
    1: {"memory.memsw.limit_in_bytes": "{}"},
    2: {"memory.swap.max": "0", "memory.oom.group": "1"},
}

_MEMORY_1: Final = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
_PIDS_1: Final = "/sys/fs/cgroup/pids"


def _version_1() -> Place:
    memory = os.path.dirname(_MEMORY_1)
    if not os.access(memory, os.W_OK):
        raise Unavailable("control groups of version 1 are root's to make")
    return Place(1, memory, _PIDS_1 if os.access(_PIDS_1, os.W_OK) else None)


def _version_2() -> Place:
    mount, own = _mount_2(), _own_2()
    if mount is None or own is None:
        raise Unavailable("there is no file system of control groups")
    path = os.path.normpath(os.path.join(mount, own.lstrip("/")))
    for directory in _upwards(path, mount):
        if os.access(os.path.join(directory, "cgroup.procs"), os.W_OK) and "memory" in _words(
            directory, "subtree_control"
        ):
            return _place_2(directory)
    if not os.access(os.path.join(path, "cgroup.subtree_control"), os.W_OK):
        raise Unavailable(f"{path} is not delegated to this user")
    if "memory" not in _words(path, "controllers"):
        raise Unavailable(f"{path} does not have the controller 'memory'")
    _move_to_leaf(path)
    return _place_2(path)


def _place_2(directory: str) -> Place:
    return Place(2, directory, directory if "pids" in _words(directory, "subtree_control") else None)


def _move_to_leaf(path: str) -> None:
    """Make room for groups in our own. Raises `Unavailable` where others are in it."""
    others = [pid for pid in _processes(path) if pid != os.getpid() and _parent(pid) != os.getpid()]
    if others:
        raise Unavailable(f"others run in {path} too; start the server in a group of its own")
    try:
        os.makedirs(os.path.join(path, _SERVER), exist_ok=True)
        for pid in _processes(path):
            _write(os.path.join(path, _SERVER, "cgroup.procs"), str(pid))
        _enable(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be divided: {error.strerror}") from None


def _enable(directory: str) -> None:
    """What groups in this one can be bounded in."""
    for controller in sorted(_CONTROLLERS & _words(directory, "controllers") - _words(directory, "subtree_control")):
        _write(os.path.join(directory, "cgroup.subtree_control"), f"+{controller}")


def _mount_2() -> str | None:
    with open("/proc/self/mountinfo") as file:
        fields = (line.split(" - ") for line in file)
        return next((left.split()[4] for left, right in fields if right.startswith("cgroup2 ")), None)


def _own_2() -> str | None:
    with open("/proc/self/cgroup") as file:
        return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)


def _upwards(path: str, top: str) -> Iterator[str]:
    while path != top and path != "/":
        yield path
        path = os.path.dirname(path)
    yield top


def _words(directory: str, name: str) -> set[str]:
    try:
        with open(os.path.join(directory, f"cgroup.{name}")) as file:
            return set(file.read().split())
    except OSError:
        return set()


def _processes(group: str) -> list[int]:
    try:
        with open(os.path.join(group, "cgroup.procs")) as file:
            return [int(line) for line in file]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return os.getpid()  # it has ended


def _kill(group: str) -> None:
    for name, text in (("pids.max", "0"), ("cgroup.kill", "1")):  # that none gets away by forking; and from Linux 5.14
        if os.path.exists(os.path.join(group, name)):
            _write(os.path.join(group, name), text)
    for pid in _processes(group):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if pid in _processes(group):  # the number may have become another's just now
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def _count(path: str, key: str) -> int:
    try:
        with open(path) as file:
            return int(dict(line.split() for line in file).get(key, 0))
    except OSError:
        return 0


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _remove_stale(place: Place) -> None:
    """What servers left that were killed: their groups, and what got away from them in there."""
    for hierarchy in {place.memory, place.pids} - {None}:
        groups = os.path.join(str(hierarchy), ALL)
        for name in os.listdir(groups) if os.path.isdir(groups) else ():
            pid = name.partition("-")[0]
            if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                _kill(os.path.join(groups, name))
                with contextlib.suppress(OSError):  # another time, if they are not gone yet
                    os.rmdir(os.path.join(groups, name))
