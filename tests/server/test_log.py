from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.server.log import OVERHEAD, Log


def filled(*sizes: int, bound: int = 4 * OVERHEAD) -> Log:
    log = Log(bound)
    for number, size in enumerate(sizes, 1):
        log.append({"id": f"e{number}"}, size)
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
    log.append({"id": "e4"}, 0)
    assert log.first_seq == 4


def test_an_id_is_taken_while_a_message_of_it_is_kept() -> None:
    log = filled(0, 0, 0, 0)
    log.append({"id": "e2"}, 0)
    assert not log.holds("e1")
    for expected in (True, True, True, False):
        log.append({"event": "started"}, 0)
        assert log.holds("e2") is expected
    assert not log.holds("e3")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3000)), max_size=60), st.integers(0, 9000)
)
def test_it_is_the_longest_tail_within_the_bound(messages: list[tuple[str | None, int]], bound: int) -> None:
    log = Log(bound)
    kept: list[tuple[str | None, int]] = []
    for id, size in messages:
        log.append({} if id is None else {"id": id}, size)
        kept.append((id, size))
        while len(kept) > 1 and sum(size + OVERHEAD for _, size in kept) > bound:
            kept.pop(0)
        assert [message.get("id") for message in log.since(0)] == [id for id, _ in kept]
        assert all(log.holds(id) == any(id == other for other, _ in kept) for id in "abc")
    assert log.last_seq == len(messages)
