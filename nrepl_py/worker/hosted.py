"""A worker that is a thread of a running program, for `serve_in_thread`.

It evaluates beside the program, in a namespace of its own or in the program's modules. Output and
input of its evals, and of the threads and tasks they start, go to the client; the program's own
streams stay as they are for everyone else. Nothing here isolates anything.
"""

from __future__ import annotations

import builtins
import contextlib
import socket
import sys
import threading
import types
from typing import Any, Callable, Dict, Iterator, Optional

from . import output, stdin, tags, wire
from .interrupt import Interrupts
from .main import Host, Worker, about

_END_SECONDS = 1.0  # for threads of ours to see that it is over; none of them does anything that takes longer


class Streams:
    """The program's `sys.stdin`, `sys.stdout`, `sys.stderr` and `input`, shared with its sessions."""

    def __init__(self) -> None:
        self._inputs: Dict[output.Relay, stdin.Input] = {}
        self._program = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._program_input = builtins.input
        self._ours = {
            "stdin": _Input(self._source, sys.stdin),
            "stdout": output.Output("out", None, sys.stdout),
            "stderr": output.Output("err", None, sys.stderr),
        }
        for name, stream in self._ours.items():
            setattr(sys, name, stream)
        builtins.input = self._input
        self._undo: Callable[[], None] = tags.carry_tags()

    def restore(self) -> None:
        """Put back what the program had, unless it has put something else there meanwhile."""
        for name, stream in self._ours.items():
            if getattr(sys, name) is stream:
                setattr(sys, name, self._program[name])
        builtins.input = self._program_input
        self._undo()

    def add(self, worker: Worker) -> None:
        self._inputs[worker.relay] = worker.input

    def remove(self, worker: Worker) -> None:
        self._inputs.pop(worker.relay, None)

    def _source(self) -> Optional[stdin.Input]:
        """The input of the session that the calling code belongs to, if any."""
        tag = tags.TAG.get()
        return None if tag is None else self._inputs.get(tag.relay)

    def _input(self, prompt: object = "", /) -> str:
        source = self._source()
        if source is None:
            return self._program_input(prompt)
        return stdin.ask_line(source, str(prompt), False)


class _Input:
    """`sys.stdin`: the session's for a session's code, the program's for everyone else."""

    def __init__(self, source: Callable[[], Optional[stdin.Input]], program: Any) -> None:
        self._source = source
        self._program = program

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source() or self._program, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source() or self._program)


class Thread(Host):
    """A worker's thread. `on_end` is called in it, last of all."""

    def __init__(self, lender: Any, streams: Streams) -> None:
        self.lender = lender
        self.main = types.ModuleType("__main__")
        self.main.__dict__["__builtins__"] = builtins
        self._streams = streams
        self._interrupts: Optional[ThreadInterrupts] = None

    def start(self, control: Any, side: Any, word: int, on_end: Callable[[], None]) -> threading.Thread:
        """The thread, which runs."""
        thread = threading.Thread(
            target=self._run, args=(control, side, word, on_end), name="nrepl-py session", daemon=True
        )
        thread.start()
        return thread

    def _run(self, control: Any, side: Any, word: int, on_end: Callable[[], None]) -> None:
        interrupts = self._interrupts = ThreadInterrupts(word)
        interrupts.become_this_thread()
        worker = Worker(wire.Channel(control, interrupts), wire.Channel(side), interrupts, self)
        interrupts.wake = worker.input.wake
        self.main.__dict__["display"] = worker.display
        self._streams.add(worker)
        try:
            worker.serve(about("inprocess"))
        finally:
            self._streams.remove(worker)
            worker.relay.close()
            control.close()
            with contextlib.suppress(OSError):  # a thread that was cut off ends after its helper
                side.shutdown(socket.SHUT_RDWR)  # wakes the helper thread, which reads from it
            for thread in worker.threads:
                thread.join(_END_SECONDS)  # the program counts its threads when the session has ended
            on_end()

    def interrupt(self) -> None:
        if self._interrupts is not None:
            self._interrupts.check()


class ThreadInterrupts(Interrupts):
    """The interrupts of such a worker (CPython only).

    The exception is set from another thread and raised there at some later instruction, so it is
    taken back where it must not strike: inside the shield, and once the eval has ended.
    """

    def __init__(self, word: int) -> None:
        super().__init__(word)
        self._lock = threading.RLock()
        self._pending = False
        self.wake: Callable[[], None] = lambda: None
        """Ends a wait of ours that the thread may be in: the exception alone would not."""

    def become_this_thread(self) -> None:
        """The calling thread is the one that evaluates."""
        self._main = threading.get_ident()

    def arm(self, serial: int) -> None:
        with self._lock:
            super().arm(serial)

    def disarm(self) -> None:
        with self._lock:
            super().disarm()
            self._take_back()

    def check(self) -> None:
        with self._lock:
            super().check()

    def insist(self, serial: int) -> None:
        """Not here: an exception that is set is raised, and the program's children are its own."""

    def __enter__(self) -> None:
        with self._lock:
            super().__enter__()
            if threading.get_ident() == self._main and self._take_back():
                self._deferred = True

    def _take_back(self) -> bool:
        pending, self._pending = self._pending, False
        if pending:
            _set_exception(self._main, None)
        return pending

    def _raise(self) -> None:
        self._pending = True
        _set_exception(self._main, KeyboardInterrupt)
        self.wake()


def _set_exception(thread: int, kind: Optional[type]) -> None:
    import ctypes

    api = ctypes.pythonapi.PyThreadState_SetAsyncExc
    api(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))
