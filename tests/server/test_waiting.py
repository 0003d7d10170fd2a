"""Who waits for a worker, and for which one."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.errors import Busy, StartFailed
from nrepl_py.server.context import Asker, Connection
from nrepl_py.server.waiting import MAX_WAITING, Waiting

CLIENT = Connection(1, None, 65536)


class Replies:
    """A context that remembers who was answered."""

    def __init__(self) -> None:
        self.said: list[tuple[str, list[str]]] = []

    def reply(self, asker: Asker, message: dict[str, Any]) -> None:
        assert message["id"] == asker.id
        self.said.append((asker.id, message["status"]))


def asker(id: str) -> Asker:
    return Asker(CLIENT, id, "restart")


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def waiting(replies: Replies) -> Waiting:
    return Waiting(replies, "s")  # type: ignore[arg-type]


def test_each_is_answered_by_its_own_worker(waiting: Waiting, replies: Replies) -> None:
    waiting.join(asker("now"), later=False)
    waiting.join(asker("later"), later=True)
    assert waiting.up(2, {})
    assert replies.said == [("now", ["done"])]
    assert not waiting.up(3, {})
    assert replies.said[1:] == [("later", ["done"])]
    assert not waiting.up(4, {})
    assert len(replies.said) == 2


def test_a_clone_is_answered_once(waiting: Waiting, replies: Replies) -> None:
    waiting.clone = asker("clone")
    waiting.made({})
    waiting.made({})
    waiting.failed(StartFailed("no"))
    assert replies.said == [("clone", ["done"])]


def test_a_failed_start_and_a_close_are_told_to_all(waiting: Waiting, replies: Replies) -> None:
    for last in (lambda: waiting.failed(StartFailed("no")), lambda: waiting.closed({"status": ["session-closed"]})):
        waiting.clone = asker("clone")
        waiting.join(asker("now"), later=False)
        waiting.join(asker("later"), later=True)
        last()
        last()
    refused = ["error", "start-failed", "done"]
    assert replies.said[:3] == [("clone", refused), ("now", refused), ("later", refused)]
    assert replies.said[3:] == [("clone", refused), ("now", ["session-closed"]), ("later", ["session-closed"])]


def test_not_too_many_wait(waiting: Waiting) -> None:
    for number in range(MAX_WAITING):
        waiting.join(asker(str(number)), later=number % 2 == 0)
    with pytest.raises(Busy):
        waiting.join(asker("one more"), later=False)
