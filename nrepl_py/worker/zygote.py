"""The warm parent: one process per interpreter that has everything imported and forks sessions.

The router asks over a SEQPACKET socket, one JSON datagram each:
  router → zygote   {"do": "fork", "number": N} with six descriptors: control, side, stdin, out, err, word;
                    and `confine`, where the session is to be confined (`sandbox/session.py`)
  zygote → router   {"say": "ready"} · {"say": "failed", "error": TEXT} once, after start
                    {"say": "forked", "number": N} with the worker's pidfd and, if confined, its init's
                    {"say": "ended", "number": N, "status": RAW} how a confined worker ended, from its init
                    {"say": "exited", "number": N, "status": RAW}: it is gone, or its init is
A session's whole process group dies with its leader, or with its init; all sessions die with the zygote,
and the zygote with the router.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
from functools import partial
from typing import Any, Dict, List, Tuple

_PREIMPORT = (
    "ast", "asyncio", "cmd", "concurrent.futures", "contextvars", "ctypes", "dataclasses", "functools", "inspect",
    "json", "linecache", "logging", "math", "random", "re", "resource", "subprocess", "tempfile", "threading",
    "traceback",
    "types", "typing", "uuid", "warnings",
)  # fmt: skip
# What most sessions import sooner or later: read once, shared by all.
_DESCRIPTORS = 6
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel to kill this process when its parent ends; 0 takes that back (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it ended meanwhile
        os._exit(1)


def guard(control: int) -> None:
    """Leave a process behind that kills our group when the router, or this process, is gone.

    For a worker without a zygote: its own thread may wait for the GIL just then, and the kernel's
    death signal would reach the worker but not what it has started.
    """
    ours, _kept_open = os.pipe()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(ours)
        return
    if os.fork():
        os._exit(0)  # so that the session has no child that it did not start
    os.close(_kept_open)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    poll = select.poll()
    for fd in (control, ours):
        poll.register(fd, 0)  # nothing but the other end's close
    poll.poll()
    os.killpg(0, signal.SIGKILL)


def run_site() -> None:
    """What `-I -S` left out at start: `site`, as a plain interpreter would run it."""
    import site

    site.main()
    if sys.prefix == sys.base_prefix and not site.ENABLE_USER_SITE:
        site.ENABLE_USER_SITE = True
        site.addusersitepackages(set())


def serve(sock: socket.socket) -> None:
    """Import everything, say so, then fork on request until the router is gone."""
    die_with_parent()
    request, _ = _receive(sock)
    try:
        if not hasattr(os, "pidfd_open"):
            raise RuntimeError("%s cannot be confined, which takes CPython; choose a lesser tier" % sys.executable)
        run_site()
        for name in (*_PREIMPORT, *request["preload"]):
            __import__(name)
        from . import display, evaluate, failure, hooks, lend, main, plain, process, stdio, wire  # noqa: F401

        process.find_fflush()
        if request["confined"]:
            from ..sandbox import restrict, session  # noqa: F401
    except BaseException:
        import traceback

        _send(sock, {"say": "failed", "error": traceback.format_exc()[-16384:]})
        return
    # From here on the end of the socket tells of the router's, and leaves time to kill whole groups.
    die_with_parent(0)
    gc.collect()
    gc.freeze()
    _Zygote(sock).loop()


class _Zygote:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._children: Dict[int, int] = {}
        """The number of each child, by pid."""
        self._wake, self._woken = os.pipe()
        for fd in (self._wake, self._woken):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def loop(self) -> None:
        _send(self._sock, {"say": "ready"})
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll():
                    if fd == self._wake:
                        os.read(self._wake, 4096)
                        self._reap()
                    else:
                        self._fork(*_receive(self._sock))
        except (EOFError, OSError):
            for pid in self._children:
                _kill_group(pid)

    def _reap(self) -> None:
        while self._children:
            # Looked at before it is reaped: its number, and so its group's, is not given away yet.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            _kill_group(found.si_pid)
            _, status = os.waitpid(found.si_pid, 0)
            number = self._children.pop(found.si_pid, None)
            if number is not None:
                _send(self._sock, {"say": "exited", "number": number, "status": status})

    def _fork(self, request: Dict[str, Any], descriptors: List[int]) -> None:
        number, confine, parent = request["number"], request["confine"] or {}, os.getpid()
        namespaced = "id" in confine
        if confine:
            from ..sandbox import restrict, session
        if namespaced:
            ours = session.new_processes()
        pid = session.fork(confine) if namespaced else os.fork()
        if pid == 0:
            try:
                self._become_session(descriptors)
                if namespaced:
                    tell = partial(self._tell, number)
                    os.close(ours)
                    session.init(confine, partial(self._serve, descriptors), tell, [*descriptors[:2], descriptors[5]])
                os.setsid()
                die_with_parent()
                if os.getppid() != parent:
                    os._exit(1)
                if confine:
                    restrict.restrict(confine)
                self._serve(descriptors)
            except BaseException:
                import traceback

                os.write(2, traceback.format_exc().encode("utf-8", "replace"))
                os._exit(1)
            finally:
                os._exit(0)
        self._children[pid] = number
        for fd in descriptors:
            os.close(fd)
        if namespaced:
            session.old_processes(ours)
            return
        pidfd = os.pidfd_open(pid)
        self._tell(number, {"say": "forked"}, pidfd)
        os.close(pidfd)

    def _tell(self, number: int, message: Dict[str, Any], *descriptors: int) -> None:
        _send(self._sock, dict(message, number=number), *descriptors)

    def _become_session(self, descriptors: List[int]) -> None:
        """In the child: forget the zygote's signals and take the session's descriptors as our own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._wake, self._woken):
            os.close(fd)
        for target, fd in enumerate(descriptors[2:5]):
            os.dup2(fd, target)
            os.close(fd)

    def _serve(self, descriptors: List[int]) -> None:
        self._sock.close()
        control, side, _, _, _, word = descriptors
        _reseed()
        from . import process

        process.run(socket.socket(fileno=control), socket.socket(fileno=side), word)


def _reseed() -> None:
    """Forks share the state of random generators; `random` reseeds itself, numpy does not."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _send(sock: socket.socket, message: Dict[str, Any], *descriptors: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("%di" % len(descriptors), *descriptors))]
    sock.sendmsg([json.dumps(message).encode()], rights if descriptors else [])


def _receive(sock: socket.socket) -> Tuple[Dict[str, Any], List[int]]:
    data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(_DESCRIPTORS * 4))
    if not data:
        raise EOFError
    descriptors: List[int] = []
    for _, _, payload in ancillary:
        descriptors += struct.unpack("%di" % (len(payload) // 4), payload)
    return json.loads(data), descriptors
