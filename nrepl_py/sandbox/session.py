"""A session's own confinement inside its zygote's: processes, private directories, network, and no rights at all.

The zygote enters a new pid namespace for its next child and forks `init`, pid 1 there, which forks the worker: that
gives up the zygote's user namespace for one of a single id. The worker and its live clones are a *family*: init is
the parent of all of them, tells how each has ended, and ends with the last; its own end is the end of every process
of the session. It stays in the zygote's user namespace, where they have no rights: so they can neither trace nor read
it. Members of a family are not confined from each other.

A request's `confine` (an object; `evaluators/views.py` makes it):
    id         the user id of the session, in the zygote's namespace
    network    whether it shares the machine's
    tmp        bytes of each private directory; 0 for no bound
    families   socket families it may use, and
    ptrace     whether its processes may trace each other
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import select
import signal
import socket
import struct
from typing import Any, Callable, Dict, List, Tuple

from . import build, kernel, landlock, members, seccomp, system

ID = 1000
"""The session's user and group id as it sees itself: that of the only user in its `/etc/passwd`."""

WORKSPACE = "/home/session/workspace"

_BYTES_PER_INODE = 4096  # as many files in a private directory as blocks
_LEAST_INODES = 1024
_BELOW_PRIVATE = tuple(path + "/" for path in build.PRIVATE)
_OCTAL = re.compile(rb"\\([0-7]{3})")  # how mountinfo writes blanks in a path
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def new_processes() -> int:
    """The next child of this process will be pid 1 of a new pid namespace; give what this returns to
    `old_processes` once there is one."""
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    kernel.unshare(kernel.NEWPID)
    return ours


def old_processes(ours: int) -> None:
    """Later children are in our own pid namespace again."""
    kernel.setns(ours, kernel.NEWPID)
    os.close(ours)


def fork(confine: Dict[str, Any]) -> int:
    """As `os.fork`, for the child that becomes init: it is no thread's and no generator's, and what is done for those
    after a fork would be most of the memory it has for itself."""
    _filter(confine)  # made once, for all that are forked from here, as is the next
    _bound()
    return system.fork()


@functools.lru_cache(maxsize=None)
def _program(families: Tuple[str, ...], ptrace: bool) -> bytes:
    return seccomp.program(machine=system.machine(), families=families, ptrace=ptrace)


def _filter(confine: Dict[str, Any]) -> bytes:
    return _program(tuple(confine["families"]), bool(confine["ptrace"]))


def init(
    confine: Dict[str, Any],
    serve: Callable[[], None],
    tell: Callable[..., None],
    keep: List[int],
    router: socket.socket,
    number: int,
) -> None:
    """Become the session's init; `serve()` is the worker's life. `tell(number, message, *descriptors)` tells the
    router of the member of that number, which is `number` for the worker. `keep` are the descriptors that the worker
    needs, `router` is where the router asks. Never returns."""
    os.setsid()
    # Here rather than in the worker, so that our own /proc shows the processes of the session, and no others.
    _mount_private(int(confine["tmp"]))
    pid = os.fork()
    if pid == 0:
        router.close()
        _become_nobody(confine)
        _lose_all_rights(confine)
        serve()
        os._exit(0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    for fd in keep:
        os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    family = _Family(router, tell, {pid: number})
    worker, ours = os.pidfd_open(pid), os.pidfd_open(os.getpid())
    tell(number, {"say": "forked"}, worker, ours)
    os.close(worker)
    os.close(ours)
    family.loop()


class _Family:
    """What init does: it waits for the members, the worker and its clones, and ends with the last of them.

    The router asks over a SEQPACKET socket, one JSON datagram each:
        {"do": "adopt", "number": N} with a pidfd: that orphan is a member from now on, if it is one; `adopted` tells
        {"do": "mark", "number": N}  that member is about to end, and with it what it has started by now; `marked` tells
        {"do": "kill", "number": N}  and this one is to end now
    """

    def __init__(self, router: socket.socket, tell: Callable[..., None], numbers: Dict[int, int]) -> None:
        self._router = router
        self._tell = tell
        self._members = members.Members(self._ended)
        self._members.numbers.update(numbers)
        self._marked: Dict[int, List[members.Process]] = {}

    def loop(self) -> None:
        poll = select.poll()
        poll.register(self._router, select.POLLIN)
        poll.register(self._members.wake, select.POLLIN)
        while True:
            self._members.reap()
            for fd, _ in poll.poll():
                if fd == self._router.fileno():
                    self._asked()

    def _asked(self) -> None:
        data, ancillary, _, _ = self._router.recvmsg(4096, socket.CMSG_SPACE(4))
        if not data:
            os._exit(1)  # the router is gone
        request = json.loads(data)
        number = request["number"]
        if request["do"] == "adopt":
            (pidfd,) = struct.unpack("i", ancillary[0][2])
            self._tell(number, {"say": "adopted" if self._members.adopt(pidfd, number) else "unknown"})
            os.close(pidfd)
            return
        pid = self._members.of(number)
        if pid:
            self._marked[pid] = members.below(pid)
        if pid and request["do"] == "kill":
            members.kill(pid)
        elif request["do"] == "mark":
            self._tell(number, {"say": "marked"})

    def _ended(self, pid: int, number: int, status: int) -> None:
        if not self._members.numbers:
            self._tell(number, {"say": "ended", "status": status})
            os._exit(0)  # and with us all that is left of the session
        # A clone that was still below its original then may be a member by now.
        members.end_tree(pid, self._marked.pop(pid, []), self._members.numbers, self._members.wake)
        self._tell(number, {"say": "left", "status": status})


def _mount_private(size: int) -> None:
    kernel.unshare(kernel.NEWNS)
    # What is bound below a private directory is hidden by it, and bound again from its descriptor.
    bound = [(path, os.open(path, os.O_PATH)) for path in _bound()]
    bounds = (size, max(_LEAST_INODES, size // _BYTES_PER_INODE)) if size else (0, 0)
    options = "size=%d,nr_inodes=%d,mode=1777" % bounds
    for path in build.PRIVATE:
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    for path, fd in bound:
        if os.path.isdir("/proc/self/fd/%d" % fd):
            os.makedirs(path, exist_ok=True)
        elif not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
        kernel.mount("/proc/self/fd/%d" % fd, path, None, kernel.MS_BIND | kernel.MS_REC)
        os.close(fd)
    options = "newinstance,ptmxmode=0666,mode=620"
    kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, options)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


@functools.lru_cache(maxsize=None)
def _bound() -> List[str]:
    """What is mounted below private directories, as it is for all that are forked from here."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = (os.fsdecode(_OCTAL.sub(lambda m: bytes((int(m[1], 8),)), line.split()[4])) for line in file)
        return [path for path in points if path.startswith(_BELOW_PRIVATE)]


def _become_nobody(confine: Dict[str, Any]) -> None:
    """Of all ids only our own is left, and of the machine's network nothing, unless it is to be shared."""
    id = confine["id"]
    os.mkdir(WORKSPACE)
    for path in (os.path.dirname(WORKSPACE), WORKSPACE):
        os.chown(path, id, id)
        os.chmod(path, 0o700)
    os.setresgid(id, id, id)
    os.setresuid(id, id, id)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the maps would not be ours to write
    network = 0 if confine["network"] else kernel.NEWNET
    kernel.unshare(kernel.NEWUSER | kernel.NEWIPC | kernel.NEWUTS | network)
    for name, text in (("setgroups", "deny"), ("uid_map", "%d %d 1" % (ID, id)), ("gid_map", "%d %d 1" % (ID, id))):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    if network:
        _loopback_up()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _lose_all_rights(confine: Dict[str, Any]) -> None:
    """For the worker, in its own process: no capability, no dangerous system call."""
    os.setsid()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.drop_capabilities()
    families = confine["families"]
    if confine["network"] and not landlock.scope(landlock.abi()):
        # Abstract sockets of the machine's (a display's, a bus') lead out of here; where they cannot be kept apart,
        # there are none at all.
        families = [family for family in families if family != "unix"]
    seccomp.install(_filter(dict(confine, families=families)))
