"""Interrupts that hit one eval and no other.

The router writes the serial of the eval it means into a shared word and raises a signal (or, where
signals cannot be aimed, says so on the side channel). The handler strikes only if that eval is the
one armed at this moment, and `arm` looks at the word again, so an interrupt that arrives before its
eval starts is not lost and one that arrives after its end hits nobody.

A strike first cancels the task of an eval that awaits (once), else raises SIGINT, for the children
of our process group too. SIGINT keeps Python's default handler, so `asyncio.run` and everything
else that expects it behaves as in a plain interpreter.

A handler runs between two instructions of Python's. A signal that comes as the thread is about to
sleep in C does not wake it, so the helper thread sends it again (`insist`); and where the thread
hears of none, in a `system()` say, that waits for a child, the children are told.

The word is 16 bytes, little-endian: the router's half is the serial meant; ours is the serial
struck, shifted left by 8, with a bit for each stage taken. Behind it, from `TRACE` on, the same file
has room for what faulthandler writes when the process crashes: see `process.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
import time
from _thread import start_new_thread
from typing import Callable, Iterator, Optional

from . import wire

WORD = struct.Struct("<Q")
TRACE = 2 * WORD.size
CANCEL, SIGINT = 1, 2
_DEAF_SECONDS = 0.05  # without a strike: a thread that runs Python code strikes in a hundredth of that
_SIGNALS = 4  # sent again; of those that come amid a contest for the interpreter's lock, one in thirty is lost


class Interrupts(wire.Shield):
    """The interrupts of one worker, whose main thread evaluates."""

    def __init__(self, word: int) -> None:
        self.word = word
        self._main = threading.get_ident()
        self._armed = 0
        self._stages = 0
        self._shielded = 0
        self._deferred = False
        self._signal = 0
        self._again = False
        """The signal that comes next is one more of the same interrupt."""
        self._told = 0
        """The eval whose children have heard of the interrupt before it has."""
        self.cancel: Optional[Callable[[], None]] = None
        """Cancels the awaiting task, while there is one."""

    @property
    def struck(self) -> bool:
        """Whether the eval armed last was interrupted."""
        return self._stages != 0

    def install(self, number: int) -> None:
        self._signal = number
        signal.signal(number, lambda *_: self._heard())

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

    def _heard(self) -> None:
        again, self._again = self._again, False
        if not (again and self._stages):  # it had not been deaf, but late
            self.check()

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

    def insist(self, serial: int) -> None:
        """That eval was to be interrupted just now: see to it that it is. From any thread."""
        if self._is_deaf(serial):
            start_new_thread(self._insist, (serial,))

    def _insist(self, serial: int) -> None:
        for attempt in range(_SIGNALS):
            time.sleep(_DEAF_SECONDS)
            if not self._is_deaf(serial):
                return
            if attempt == 1 and os.getpgrp() == os.getpid():
                self._tell_children(serial)
            self._again = True
            signal.pthread_kill(self._main, self._signal)

    def _is_deaf(self, serial: int) -> bool:
        return self._armed == serial and not self._stages

    def _tell_children(self, serial: int) -> None:
        self._told = serial
        # One by one: sent to the group, it would strike our own process too, and whatever runs by then.
        for pid in _group():
            if pid != os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGINT)

    def _raise(self) -> None:
        if self._told != self._armed:
            self._interrupt_children()
        self._told = 0
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


def _group() -> Iterator[int]:
    """The processes of our group, where the system lists processes as Linux does."""
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open("/proc/%s/stat" % name, "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[2]) == os.getpgrp():
                    yield int(name)
