from __future__ import annotations

import tracemalloc
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.codec import encode
from nrepl_py.limits import Limits
from nrepl_py.server.log import ID_BYTES, MAP_BYTES, OVERHEAD, PACKED, Log

LARGE = PACKED + 1
"""Bytes of a payload that is kept as it is."""


def filled(*sizes: int, bound: int = 4 * (LARGE + MAP_BYTES + ID_BYTES)) -> Log:
    log = Log(bound)
    for number, size in enumerate(sizes, 1):
        log.append({"id": f"e{number}"}, LARGE + size)
    return log


def test_an_empty_log_has_no_messages() -> None:
    log = Log(0)
    assert (log.first_seq, log.last_seq, log.since(0)) == (1, 0, [])


def test_messages_are_numbered_from_1() -> None:
    assert [message["seq"] for message in filled(0, 0, 0).since(0)] == [1, 2, 3]


def test_since_gives_what_came_later() -> None:
    log = filled(0, 0, 0)
    assert [message["seq"] for message in log.since(1)] == [2, 3]
    assert log.since(3) == []


def test_old_messages_go_and_numbers_go_on() -> None:
    log = filled(0, 0, 0, 0, 0)
    assert (log.first_seq, log.last_seq) == (2, 5)
    assert [message["seq"] for message in log.since(0)] == [2, 3, 4, 5]


def test_the_newest_message_stays_however_large() -> None:
    log = filled(0, 0, 1 << 30)
    assert (log.first_seq, log.last_seq) == (3, 3)
    log.append({"id": "e4"}, LARGE)
    assert log.first_seq == 4


def test_an_id_is_taken_while_a_message_of_it_is_kept() -> None:
    log = filled(0, 0, 0, 0)
    log.append({"id": "e2"}, LARGE)
    assert not log.holds("e1")
    for expected in (True, True, True, False):
        log.append({"event": "started"}, LARGE)
        assert log.holds("e2") is expected
    assert not log.holds("e3")


def weigh(kept: list[tuple[str | None, int]]) -> int:
    return sum(weight for _, weight in kept) + ID_BYTES * len({id for id, _ in kept} - {None})


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3000)), max_size=60), st.integers(0, 9000)
)
def test_it_is_the_longest_tail_within_the_bound(messages: list[tuple[str | None, int]], bound: int) -> None:
    log = Log(bound)
    kept: list[tuple[str | None, int]] = []
    for id, size in messages:
        message: dict[str, Any] = {} if id is None else {"id": id}
        log.append(message, size)
        kept.append((id, size + MAP_BYTES if size > PACKED else len(encode(message, "msgpack")) + OVERHEAD))
        while len(kept) > 1 and weigh(kept) > bound:
            kept.pop(0)
        assert [message.get("id") for message in log.since(0)] == [id for id, _ in kept]
        assert log.size == weigh(kept)
        assert all(log.holds(id) == any(id == other for other, _ in kept) for id in "abc")
    assert log.last_seq == len(messages)


def test_since_gives_a_portion() -> None:
    log = filled(0, 0, 500, 0, bound=1 << 20)
    one = LARGE + MAP_BYTES
    assert [message["seq"] for message in log.since(0, size=2 * one)] == [1, 2]
    assert [message["seq"] for message in log.since(1, size=2 * one)] == [2]
    assert [message["seq"] for message in log.since(2, size=1)] == [3]  # one at least
    assert [message["seq"] for message in log.since(0, count=3)] == [1, 2, 3]
    assert log.since(4, size=one, count=1) == []


def test_what_was_packed_comes_back_as_it_was() -> None:
    log = Log(1 << 20)
    said = [
        {"id": "e", "session": "s", "data": [b"\x00", None, 1.5, -(1 << 63), {"a": True}], "mime": {"text/plain": "ü"}},
        {"id": "e", "error": {"traceback": [], "cause": None}, "status": ["eval-error", "done"]},
        {"id": "e", "data": {1, 2}},  # no codec takes this; the outbox says so to each client
    ]
    for message in said:
        log.append(message, 0)
    assert log.since(0) == said


@pytest.mark.parametrize("lines", [1, 20, 60_000], ids=lambda lines: f"{lines} lines an eval")
def test_what_is_counted_is_about_what_is_taken(lines: int) -> None:
    """And 60,000 short lines fit, each a message of its own."""
    log, numbers = Log(Limits().log_bytes), count()
    tracemalloc.start()
    for number in range(60_000):
        if number % lines == 0:
            id = f"3fa85f64-5717-4562-b3fc-{next(numbers):012}"
        log.append({"id": id, "session": "0123456789abcdef", "out": f"this is line {number}\n"}, 21)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert log.first_seq == 1 or lines == 1
    assert 0.7 * log.size < taken < 1.3 * log.size
