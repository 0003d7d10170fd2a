"""A worker that has its process to itself: it becomes the session's interpreter.

Its `__main__`, streams, `input` and hooks are the session's; forked children are told apart from
it; and it dies with its router.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import faulthandler
import functools
import json
import os
import signal
import sys
import threading
import traceback
import types
from typing import Any, Callable, Dict, List, Optional

from . import hooks, output, plain, stdin, tags, wire
from .interrupt import TRACE, Interrupts
from .lend import Lender
from .main import Host, Worker, about

_STARTS_CHILDREN = frozenset(
    ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec", "pty.spawn")
)


class Process(Host):
    """A worker that has its process to itself."""

    def __init__(self, lender: Any, word: int) -> None:
        self.lender = lender
        self._word = word
        self.main = types.ModuleType("__main__")
        self.main.__dict__["__builtins__"] = builtins
        self._fflush: Optional[Callable[[Optional[int]], Any]] = None
        self._worker: Optional[Worker] = None
        self._interrupts: Optional[Interrupts] = None

    def settle(self, worker: Worker, interrupts: Interrupts) -> None:
        """Make the process a session's: its `__main__`, its streams, its hooks."""
        self._worker, self._interrupts = worker, interrupts
        sys.modules["__main__"] = self.main
        sys.argv = [""]
        sys.stdin = worker.input
        sys.stdout = output.Output("out", 1, output.Untagged(worker.relay, "out"))
        sys.stderr = output.Output("err", 2, output.Untagged(worker.relay, "err"))
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc,assignment]
        self._plain_input, builtins.input = builtins.input, self._input
        builtins.display = worker.display  # type: ignore[attr-defined]
        tags.carry_tags(_leave_interrupts_to_main)
        hooks.install(
            self.lender,
            sources=worker.evaluator.sources,
            ask_password=self._ask_password,
            extra={"concurrent.futures.thread": tags.carry_through_pools},
        )
        self._explain_crashes()
        sys.addaudithook(self._audit)
        os.register_at_fork(after_in_child=self._in_child)
        self._fflush = find_fflush()

    def _explain_crashes(self) -> None:
        """In the cause of death, and not on a stream of the user's."""
        os.lseek(self._word, TRACE, os.SEEK_SET)
        faulthandler.enable(self._word)

    def _input(self, prompt: object = "", /) -> str:
        return stdin.ask_line(self._worker.input, str(prompt), False)  # type: ignore[union-attr]

    def _ask_password(self, prompt: str = "Password: ") -> str:
        return stdin.ask_line(self._worker.input, prompt, True)  # type: ignore[union-attr]

    def _audit(self, event: str, args: Any) -> None:
        if event in _STARTS_CHILDREN and self._worker is not None and not self.copying:
            self.children = True
            self._worker.say_before_children()

    def _in_child(self) -> None:
        if self._worker is not None and not self.copying:
            worker, self._worker = self._worker, None
            worker.forget()
            self._interrupts.disarm()  # type: ignore[union-attr]
            builtins.input = self._plain_input
            sys.stdin = open(os.devnull)  # noqa: SIM115 - stays open as long as the child lives
            with contextlib.suppress(OSError):  # no descriptor 2: the parent closed it
                os.dup2(2, self._word, inheritable=False)  # a child's crash is told where a plain interpreter would

    def replace_stdio(self, descriptors: List[int]) -> None:
        for target in (1, 2):
            source = descriptors.pop(0)
            os.dup2(source, target)
            os.close(source)

    def clone(self, worker: Worker, descriptors: List[int], force: bool) -> None:
        from . import clone  # there in a zygote's children, which alone are asked

        taken, descriptors[: clone.DESCRIPTORS] = descriptors[: clone.DESCRIPTORS], []
        clone.clone(worker, taken, force)

    def become(self, word: int) -> None:
        self._word = word
        self._explain_crashes()

    def flush_c(self) -> None:
        if self._fflush is not None:
            self._fflush(None)

    def interrupt(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT_SIGNAL)

    def router_gone(self) -> None:
        # The main thread may be deep in user code. Whatever it does, it does it for nobody now.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def log(self, text: str) -> None:
        os.write(2, plain.text("nrepl-py worker: %s\n" % text))


@functools.lru_cache(maxsize=None)
def find_fflush() -> Optional[Callable[[Optional[int]], Any]]:
    """C's; None where it cannot be called, and C code that buffers then flushes when it likes. Found once, for all that
    are forked from here."""
    try:
        import ctypes

        found: Callable[[Optional[int]], Any] = ctypes.CDLL(None).fflush
        return found
    except (ImportError, OSError, AttributeError, TypeError):
        return None


def _interrupt_signal() -> int:
    # A real-time signal nobody uses (glibc keeps the first two, some runtimes the third).
    return signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2


INTERRUPT_SIGNAL = _interrupt_signal()


def _leave_interrupts_to_main() -> None:
    """In a new thread: whichever thread runs may take a signal, but only the main one can act upon it, and it must be
    woken by it. (From Linux 6.9 on the router says which one it means.)"""
    signal.pthread_sigmask(signal.SIG_BLOCK, (INTERRUPT_SIGNAL,))


def run(control: Any, side: Any, word: int) -> None:
    """A worker's whole life in this process, over two sockets and the interrupt word."""
    interrupts = Interrupts(word)
    control, side = wire.Channel(control, interrupts), wire.Channel(side)
    setup, (env,) = control.receive()
    host = Process(Lender(setup["lent"]), word)
    worker = Worker(control, side, interrupts, host)
    _surroundings(setup, json.loads(env))
    host.settle(worker, interrupts)
    try:
        for name in setup["preload"]:
            __import__(name)
    except BaseException:
        os.write(2, plain.text(traceback.format_exc()))  # the router tells it with the failed start
        os._exit(1)
    interrupts.install(INTERRUPT_SIGNAL)
    worker.serve(about(setup["start"]))
    atexit._run_exitfuncs()


def _surroundings(setup: Dict[str, Any], env: Dict[str, str]) -> None:
    if setup["rlimits"]:
        _limit(setup["rlimits"])
    os.environ.clear()
    os.environ.update(env)
    try:
        os.chdir(setup["cwd"])
    except OSError as error:  # the router tells it with the failed start
        os.write(2, plain.text("a session cannot work in %s: %s" % (setup["cwd"], error.strerror)))
        os._exit(1)
    sys.path[:0] = ["", *setup["python-path"]]


def _limit(rlimits: Dict[str, int]) -> None:
    """Bound this process and what it starts; where the bound is lower already, it stays."""
    import resource

    for name, most in rlimits.items():
        limit = getattr(resource, "RLIMIT_" + name, None)
        if limit is not None:
            _, hard = resource.getrlimit(limit)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # At the soft one the kernel says why (SIGXCPU), at the hard one it just kills.
            last = most + 1 if name == "CPU" and (hard == resource.RLIM_INFINITY or most < hard) else most
            resource.setrlimit(limit, (most, last))
