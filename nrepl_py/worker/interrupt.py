"""Interrupts that hit one eval and no other.

The router writes the serial of the eval it means into a shared word and raises a signal (or, where
signals cannot be aimed, says so on the side channel). The handler strikes only if that eval is the
one armed at this moment, and `arm` looks at the word again, so an interrupt that arrives before its
eval starts is not lost and one that arrives after its end hits nobody.

A strike first cancels the task of an eval that awaits (once), else raises SIGINT, for the children
of our process group too. SIGINT keeps Python's default handler, so `asyncio.run` and everything
else that expects it behaves as in a plain interpreter.

The word is 16 bytes, little-endian: the router's half is the serial meant; ours is the serial
struck, shifted left by 8, with a bit for each stage taken. Behind it, from `TRACE` on, the same file
has room for what faulthandler writes when the process crashes: see `process.py`.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from typing import Callable, Optional

from . import wire

WORD = struct.Struct("<Q")
TRACE = 2 * WORD.size
CANCEL, SIGINT = 1, 2


class Interrupts(wire.Shield):
    """The interrupts of one worker, whose main thread evaluates."""

    def __init__(self, word: int) -> None:
        self.word = word
        self._main = threading.get_ident()
        self._armed = 0
        self._stages = 0
        self._shielded = 0
        self._deferred = False
        self.cancel: Optional[Callable[[], None]] = None
        """Cancels the awaiting task, while there is one."""

    @property
    def struck(self) -> bool:
        """Whether the eval armed last was interrupted."""
        return self._stages != 0

    def install(self, number: int) -> None:
        signal.signal(number, lambda *_: self.check())

    def become(self, word: int) -> None:
        """In a copy of this process, which has a word of its own."""
        os.close(self.word)
        self.word = word

    def arm(self, serial: int) -> None:
        """From here on that eval may be interrupted. Raises KeyboardInterrupt where it was already."""
        self._stages = 0
        self._deferred = False
        self._armed = serial
        self.check()

    def disarm(self) -> None:
        self._armed = 0
        self.cancel = None

    def check(self) -> None:
        """Strike if the word names the eval that runs now."""
        if self._armed and self._target() == self._armed:
            if self._shielded:
                self._deferred = True
            else:
                self._strike()

    def _target(self) -> int:
        return int.from_bytes(os.pread(self.word, WORD.size, 0), "little")

    def _strike(self) -> None:
        if self.cancel is not None and not self._stages:
            self._took(CANCEL)
            self.cancel()
        else:
            self._took(SIGINT)
            self._raise()

    def _took(self, stage: int) -> None:
        self._stages |= stage
        os.pwrite(self.word, WORD.pack(self._armed << 8 | self._stages), WORD.size)

    def _raise(self) -> None:
        self._interrupt_children()
        signal.raise_signal(signal.SIGINT)

    @staticmethod
    def _interrupt_children() -> None:
        # What Ctrl-C in a terminal does to the foreground group, without hitting ourselves:
        # a signal sent to a process that ignores it is dropped as it is sent.
        if os.getpgrp() != os.getpid():
            return
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            os.killpg(0, signal.SIGINT)
        finally:
            # None: a handler that was not installed from Python, which cannot be put back.
            signal.signal(signal.SIGINT, signal.default_int_handler if handler is None else handler)

    # -- the shield: only the main thread is ever struck

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._shielded += 1

    def __exit__(self, *exc: object) -> None:
        if threading.get_ident() == self._main:
            self._shielded -= 1
            self._catch_up()

    def wait(self, block: Callable[[], object]) -> None:
        if threading.get_ident() != self._main:
            block()
            return
        depth, self._shielded = self._shielded, 0
        try:
            self._catch_up()
            block()
        finally:
            self._shielded = depth

    def _catch_up(self) -> None:
        if self._deferred and not self._shielded:
            self._deferred = False
            self.check()


class ThreadInterrupts(Interrupts):
    """The interrupts of a worker that is a thread of somebody's program (CPython only).

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
