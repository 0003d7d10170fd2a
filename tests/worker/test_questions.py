"""Questions are answered in turn, and whoever asks them waits for none of them."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nrepl_py.worker import wire
from nrepl_py.worker.questions import Questions


class Desk:
    """Answers with the name that is asked for; `slow` when it may, `bad` not at all."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        self.channel, self.router = wire.Channel(here), wire.Channel(there)
        self.may = threading.Event()
        self.logged: list[str] = []
        self.questions = Questions(self.channel, self._look, self.logged.append)

    def ask(self, number: int, name: str, seconds: float = 1.0) -> None:
        self.questions.ask({"number": number, "what": "lookup", "seconds": seconds}, [b'{"sym": "%s"}' % name.encode()])

    def answer(self) -> tuple[int, bytes]:
        header, (body,) = self.router.receive()
        assert header["say"] == "answer"
        return header["number"], body

    def _look(self, what: str, fields: dict[str, Any], seconds: float) -> Any:
        assert what == "lookup"
        name = fields["sym"]
        if name == "slow":
            assert self.may.wait(60)
        if name == "late":
            raise TimeoutError
        if name == "bad":
            raise ZeroDivisionError("a hole")
        return {object()} if name == "odd" else [name, seconds]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.questions.end()
    desk.channel.sock.close()
    desk.router.sock.close()


def test_one_after_the_other_and_nobody_waits(desk: Desk) -> None:
    desk.ask(1, "slow")
    desk.ask(2, "quick")
    desk.may.set()
    assert desk.answer() == (1, b'["slow", 0.8]')
    assert desk.answer() == (2, b'["quick", 0.8]')


def test_what_goes_wrong_is_told_and_the_next_is_answered(desk: Desk) -> None:
    desk.ask(1, "bad")
    assert desk.answer() == (1, b"null")
    assert desk.logged == ["lookup: ZeroDivisionError: a hole"]
    desk.ask(2, "odd")  # no JSON
    assert desk.answer() == (2, b"null")
    desk.ask(3, "quick")
    assert desk.answer()[0] == 3


def test_not_even_when_it_cannot_be_told(desk: Desk) -> None:
    def closed(text: str) -> None:
        raise OSError(errno.EBADF, "no descriptor 2")

    questions = Questions(desk.channel, desk._look, closed)
    for number in (1, 2):
        questions.ask({"number": number, "what": "lookup", "seconds": 1.0}, [b'{"sym": "bad"}'])
        assert desk.answer() == (number, b"null")
    questions.end()


def test_what_comes_too_late_is_not_answered(desk: Desk) -> None:
    desk.ask(1, "late")
    desk.ask(2, "quick", seconds=10)
    assert desk.answer() == (2, b'["quick", 8.0]')


def test_it_can_be_kept_from_answering(desk: Desk) -> None:
    with desk.questions.answering:
        desk.ask(1, "quick")
        desk.router.sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            desk.router.sock.recv(1)
        desk.router.sock.settimeout(None)
    assert desk.answer()[0] == 1


def test_a_copy_of_the_process_answers_by_its_own_channel(desk: Desk) -> None:
    other = Desk()
    desk.questions.end()
    desk.questions.become(other.channel)
    desk.ask(1, "quick")
    assert other.answer()[0] == 1
    other.channel.sock.close()
    other.router.sock.close()
