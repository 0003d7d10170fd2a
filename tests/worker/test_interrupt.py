"""The word, the armed eval and the shield, in one process."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator

import pytest

from nrepl_py.worker.interrupt import Interrupts


@pytest.fixture
def word() -> Iterator[int]:
    fd = os.memfd_create("word")
    os.ftruncate(fd, 16)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    saved = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, saved)


def aim(word: int, serial: int) -> None:
    os.pwrite(word, struct.pack("<Q", serial), 0)


def struck(word: int) -> int:
    return int(struct.unpack("<Q", os.pread(word, 8, 8))[0])


def test_only_the_eval_meant_is_struck(word: int) -> None:
    interrupts = Interrupts(word)
    aim(word, 4)
    interrupts.check()
    interrupts.arm(5)
    interrupts.check()
    interrupts.disarm()
    assert not interrupts.struck
    aim(word, 5)
    interrupts.check()
    assert struck(word) == 0


def test_an_early_interrupt_strikes_as_its_eval_starts(word: int) -> None:
    interrupts = Interrupts(word)
    aim(word, 5)
    with pytest.raises(KeyboardInterrupt):
        interrupts.arm(5)
    assert interrupts.struck
    assert struck(word) == 5 << 8 | 2


def test_the_shield_defers(word: int) -> None:
    interrupts = Interrupts(word)
    interrupts.arm(5)
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts:
        aim(word, 5)
        interrupts.check()
        with interrupts:
            reached.append("inner")
        reached.append("outer")
    assert reached == ["inner", "outer"]


def test_a_wait_inside_the_shield_lets_it_through(word: int) -> None:
    interrupts = Interrupts(word)
    interrupts.arm(5)
    with interrupts:
        aim(word, 5)
        with pytest.raises(KeyboardInterrupt), interrupts:
            interrupts.wait(interrupts.check)
        interrupts.disarm()


def test_an_awaiting_eval_is_cancelled_first(word: int) -> None:
    interrupts = Interrupts(word)
    cancelled = []
    interrupts.arm(5)
    interrupts.cancel = lambda: cancelled.append(True)
    aim(word, 5)
    interrupts.check()
    assert (cancelled, struck(word)) == ([True], 5 << 8 | 1)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    assert struck(word) == 5 << 8 | 3
    interrupts.disarm()
