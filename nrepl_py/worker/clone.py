"""A live clone: the worker forks between two evals, and the copy becomes the worker of another session.

    worker ──fork──▶ between ──fork──▶ clone       `between` ends at once, so that the clone is adopted by the
                                                   family's init, or by the zygote: see `sandbox/members.py`

With the request come the clone's channels, output pipes and interrupt word, and `birth`, a SEQPACKET socket. There
either the worker says why it does not fork, {"say": "refused", "why": …}, or the clone that it lives, {"say": "born",
…}: the kernel tells the router which process says so. The clone waits for a word back before it does anything else.

Variables, imports, open definitions and the state of random generators are in the clone as they were. Threads are
not; sockets are in it, but cut, since two processes cannot share one; open files and pipes are shared.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import random
import selectors
import signal
import socket
import stat
import sys
import threading
import traceback
import warnings
import weakref
from typing import Any, Dict, Iterator, List, Set, Tuple

from . import plain
from .lineage import die_with_parent
from .main import Worker, about

DESCRIPTORS = 6
"""Of a request: control, side, out, err, word and birth."""

_PARK_SECONDS = 1.0  # until a question that is being answered is done, or the clone is refused
_MOST_NAMES = 20  # of threads, each of `_NAME` characters: what is said must fit a datagram
_NAME = 64
_inherited: Set[Tuple[int, int]] = set()
"""Device and inode of what the zygote has open: nothing of the user's."""
_FILES = (io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)


def in_zygote() -> None:
    """Before any session: what is open now is in all of them."""
    _inherited.update((status.st_dev, status.st_ino) for status in _open_files(set()))


def clone(worker: Worker, descriptors: List[int], force: bool) -> None:
    """Fork, and return in both: here nothing has changed, and in the clone `worker` serves the router through these
    `descriptors`. Without `force`, not while there are threads of the user's."""
    birth = socket.socket(fileno=descriptors.pop())
    try:
        with worker.parked(_PARK_SECONDS) as parked:
            left = _left_behind(worker, [*descriptors, birth.fileno()])
            if not parked:
                _say(birth, "refused", why="questions", **left)
            elif left["threads"] and not force:
                _say(birth, "refused", why="threads", **left)
            else:
                _fork(worker, descriptors, birth, left)
    except OSError as error:
        with contextlib.suppress(OSError):
            _say(birth, "refused", why="system", error=str(error))
    finally:
        birth.close()
        for fd in descriptors:
            os.close(fd)


def _fork(worker: Worker, descriptors: List[int], birth: socket.socket, left: Dict[str, Any]) -> None:
    worker.host.copying = True
    state = random.getstate()
    try:
        _flush(worker)
        adopted, tell = os.pipe()
        with warnings.catch_warnings():  # of threads: it was said in the reply
            warnings.simplefilter("ignore")
            between = os.fork()
            if between == 0:
                with _ending():
                    if os.fork():
                        os._exit(0)
        if between == 0:
            with _ending():
                os.close(tell)
                _wait_for_adoption(adopted, birth, left)
                _become(worker, descriptors, state)
            return
        status = 0
        with contextlib.suppress(ChildProcessError):  # where the user ignores SIGCHLD
            _, status = os.waitpid(between, 0)
        os.close(adopted)
        if status == 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(tell, b"a")
        os.close(tell)
        if status:
            raise OSError("the process could not be forked a second time")
    finally:
        worker.host.copying = False


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Whatever fails in a new process is its end."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, plain.text(traceback.format_exc()))
        os._exit(1)


def _wait_for_adoption(adopted: int, birth: socket.socket, left: Dict[str, Any]) -> None:
    os.setsid()
    if os.read(adopted, 1) != b"a":
        os._exit(1)
    os.close(adopted)
    _say(birth, "born", **left)
    if not birth.recv(1):
        os._exit(1)  # nobody wants it


def _become(worker: Worker, descriptors: List[int], state: Any) -> None:
    """In the clone: let go of what is the original's."""
    die_with_parent()
    control, side, out, err, word = descriptors
    descriptors.clear()
    worker.host.replace_stdio([out, err])
    listening = _cut_sockets({control, side, *worker.descriptors})
    worker.become(control, side, word)
    worker.host.become(word)
    _renew_loop(worker.evaluator.loop, listening)
    _disown()
    random.setstate(state)
    worker.begin(_about())


def _about() -> Dict[str, Any]:
    try:
        return about("clone")
    except FileNotFoundError:  # the directory is gone
        return {}


def _say(birth: socket.socket, what: str, **words: Any) -> None:
    birth.send(json.dumps(dict(words, say=what)).encode())


# -- what there is that does not come along


def _left_behind(worker: Worker, ours: List[int]) -> Dict[str, Any]:
    own = [threading.main_thread(), *worker.threads]
    names = [str(thread.name) for thread in threading.enumerate() if not any(thread is one for one in own)]
    known = {*ours, *worker.descriptors, *_of_loop(worker.evaluator.loop), 0, 1, 2}
    found = [status for status in _open_files(known) if (status.st_dev, status.st_ino) not in _inherited]
    kinds = [stat.S_IFMT(status.st_mode) for status in found]
    return {
        "threads": [plain.text(name[:_NAME]).decode() for name in names[:_MOST_NAMES]],
        "children": _count_children(),
        "sockets": kinds.count(stat.S_IFSOCK),
        "files": kinds.count(stat.S_IFREG) + kinds.count(stat.S_IFIFO),
    }


def _descriptors() -> List[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def _open_files(known: Set[int]) -> Iterator[os.stat_result]:
    for fd in _descriptors():
        if fd not in known:
            with contextlib.suppress(OSError):  # that of the listing itself
                yield os.fstat(fd)


def _count_children() -> int:
    try:
        found = ""
        for task in os.listdir("/proc/self/task"):
            with open("/proc/self/task/%s/children" % task) as file:
                found += " " + file.read()
        return len(found.split())
    except OSError:
        return 0  # a kernel that does not say


# -- before


def _flush(worker: Worker) -> None:
    """All that is buffered here, so that it is not written twice."""
    worker.relay.flush()
    worker.host.flush_c()
    for file in gc.get_objects():
        # Only what is exactly ours to know, and a file, which takes what it is given: no code of the user's runs.
        if type(file) in _FILES:
            with contextlib.suppress(Exception):
                if not file.closed and file.writable() and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    file.flush()


# -- after, in the clone


def _cut_sockets(kept: Set[int]) -> Set[int]:
    """Put an end without another in the place of every socket but those; gives the ones that listened."""
    listening = set()
    end, other = socket.socketpair()
    other.close()
    for fd in _descriptors():
        if fd in kept or fd == end.fileno():
            continue
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as found:
                    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        listening.add(fd)
                os.dup2(end.fileno(), fd, os.get_inheritable(fd))
    end.close()
    return listening


def _of_loop(loop: Any) -> List[int]:
    """The descriptors by which an event loop wakes itself."""
    found = [getattr(loop, name, None) for name in ("_ssock", "_csock", "_selector")]
    return [one.fileno() for one in found if one is not None and hasattr(one, "fileno")]


def _renew_loop(loop: Any, listening: Set[int]) -> None:
    """The session's event loop shares what it waits with, which the system has for both processes alike: make
    that anew. Tasks wait on where they were; of sockets they read the end."""
    if loop is None or loop.is_closed() or not hasattr(loop, "_make_self_pipe"):
        return
    old, loop._selector = loop._selector, selectors.DefaultSelector()
    own = loop._ssock.fileno()
    for key in list(old.get_map().values()):
        if key.fd != own and key.fd not in listening:
            with contextlib.suppress(OSError, ValueError):
                loop._selector.register(key.fileobj, key.events, key.data)
    old.close()
    loop._ssock.close()
    loop._csock.close()
    loop._internal_fds -= 1
    loop._make_self_pipe()
    loop._default_executor = None  # its threads are not here
    if getattr(loop, "_signal_handlers", None):
        signal.set_wakeup_fd(loop._csock.fileno())


def _disown() -> None:
    """What is to be done at the original's end is not for the clone to do: children, temporary directories."""
    atexit._clear()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None:
        processes._children = set()  # type: ignore[attr-defined]
