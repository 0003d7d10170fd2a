"""The warm parent: one process per interpreter that has everything imported and forks sessions.

The router asks over a SEQPACKET socket, one JSON datagram each:
  router → zygote   {"do": "fork", "number": N} with seven descriptors: control, side, stdin, out, err, word, and
                    one for its init, if it has one; `confine`, where it is to be confined (`sandbox/session.py`)
                    {"do": "adopt", "number": N} with the pidfd of a clone whose worker has no init
  zygote → router   {"say": "ready"} · {"say": "failed", "error": TEXT} once, after start
                    {"say": "forked", "number": N} with the worker's pidfd and, if confined, its init's
                    {"say": "adopted", "number": N} · {"say": "unknown", "number": N} it is no child of the one asked
                    {"say": "marked", "number": N} what that member has started will end with it
                    {"say": "left", "number": N, "status": RAW} how one of several members ended, from their init
                    {"say": "ended", "number": N, "status": RAW} and how the last one did, which ends the init
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

from .lineage import adopt_orphans, die_with_parent

_PREIMPORT = (
    "ast", "asyncio", "cmd", "concurrent.futures", "contextvars", "ctypes", "dataclasses", "functools", "inspect",
    "json", "linecache", "logging", "math", "random", "re", "resource", "subprocess", "tempfile", "threading",
    "traceback",
    "types", "typing", "uuid", "warnings",
)  # fmt: skip
# What most sessions import sooner or later: read once, shared by all.
_DESCRIPTORS = 7


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
        from . import (  # noqa: F401
            clone,
            display,
            evaluate,
            failure,
            hooks,
            lend,
            main,
            output,
            plain,
            process,
            questions,
            stdin,
            tags,
            wire,
        )

        process.find_fflush()
        if request["confined"]:
            from ..sandbox import restrict, session  # noqa: F401
    except BaseException:
        import traceback

        _send(sock, {"say": "failed", "error": traceback.format_exc()[-16384:]})
        return
    # From here on the end of the socket tells of the router's, and leaves time to kill whole groups.
    die_with_parent(0)
    adopt_orphans()  # so that clones come to us
    gc.collect()
    gc.freeze()
    clone.in_zygote()
    _Zygote(sock).loop()


class _Zygote:
    def __init__(self, sock: socket.socket) -> None:
        from ..sandbox import members

        self._sock = sock
        self._children = members.Members(self._ended)

    def loop(self) -> None:
        _send(self._sock, {"say": "ready"})
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._children.wake, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll():
                    if fd == self._children.wake:
                        self._children.reap()
                    else:
                        self._asked(*_receive(self._sock))
        except (EOFError, OSError):
            for pid in self._children.numbers:
                _kill_group(pid)

    def _asked(self, request: Dict[str, Any], descriptors: List[int]) -> None:
        if request["do"] == "fork":
            self._fork(request, descriptors)
        else:
            adopted = self._children.adopt(descriptors[0], request["number"])
            self._tell(request["number"], {"say": "adopted" if adopted else "unknown"})
            os.close(descriptors[0])

    def _ended(self, pid: int, number: int, status: int) -> None:
        _kill_group(pid)
        self._tell(number, {"say": "exited", "status": status})

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
                router = descriptors.pop()
                self._become_session(descriptors)
                if namespaced:
                    os.close(ours)
                    serve, keep = partial(self._serve, descriptors), [*descriptors[:2], descriptors[5]]
                    session.init(confine, serve, self._tell, keep, socket.socket(fileno=router), number)
                os.close(router)
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
        self._children.numbers[pid] = number
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
        """In the child: forget the zygote's children and take the session's descriptors as our own."""
        self._children.forget()
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
