"""The word, the armed eval and the shield, in one process."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from nrepl_py.worker import interrupt
from nrepl_py.worker.hosted import ThreadInterrupts
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


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is sent to whom, by a helper thread whose every sleep is over at once."""
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(interrupt, "start_new_thread", lambda run, args: run(*args))
    monkeypatch.setattr(interrupt, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(interrupt, "_group", lambda: [os.getpid(), 1 << 30])
    monkeypatch.setattr(os, "getpgrp", os.getpid)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(("child", number)))
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append(("group", number)))
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: sent.append(("thread", number)))
    return sent


def test_who_does_not_hear_is_told_again_and_its_children_once(word: int, sent: list[tuple[str, int]]) -> None:
    interrupts = Interrupts(word)
    interrupts._signal = 40
    interrupts.insist(5)  # it has not begun, or has ended
    interrupts.arm(5)
    interrupts.insist(4)
    assert sent == []
    interrupts.insist(5)
    assert sent == [("thread", 40), ("child", signal.SIGINT), *[("thread", 40)] * 3]
    sent.clear()
    aim(word, 5)
    for told in ([], [("group", signal.SIGINT)]):  # they have heard of this one, and not of the next
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        assert sent == told
    interrupts.insist(5)  # it has heard
    assert sent == told


def test_one_interrupt_strikes_once_however_often_it_is_sent(word: int) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    interrupts = Interrupts(word)
    interrupts.install(signal.SIGUSR1)
    try:
        interrupts.arm(5)
        aim(word, 5)
        interrupts._again = True
        with pytest.raises(KeyboardInterrupt):  # the first was lost
            signal.raise_signal(signal.SIGUSR1)
        interrupts._again = True
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):  # another one
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_thread_of_somebodys_program_is_not_signalled(word: int, sent: list[tuple[str, int]]) -> None:
    interrupts = ThreadInterrupts(word)
    interrupts._armed = 5
    interrupts.insist(5)
    assert sent == []


def test_the_group_is_ours() -> None:
    group = list(interrupt._group())
    assert os.getpid() in group
    assert all(os.getpgid(pid) == os.getpgrp() for pid in group if os.path.exists(f"/proc/{pid}"))
