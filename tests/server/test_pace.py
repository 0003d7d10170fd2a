"""Turns: how many at once, how fast they come back, and for how many keys they are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.server.pace import Pace, Paces


def test_a_burst_then_a_steady_rate() -> None:
    pace = Pace(2, 3)
    assert [pace.take(100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert pace.take(100.25) == 0.25
    assert pace.take(100.5) == 0
    assert pace.take(100.5) == 0.5


def test_what_is_not_spent_is_kept_up_to_the_burst() -> None:
    pace = Pace(1000, 2)
    assert [bool(pace.take(100.0)) for _ in range(3)] == [False, False, True]
    assert [bool(pace.take(200.0)) for _ in range(3)] == [False, False, True]


@given(st.lists(st.floats(0, 5), max_size=50), st.integers(1, 10), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate(gaps: list[float], rate: int, burst: int) -> None:
    pace, now, taken = Pace(rate, burst), 0.0, 0
    for gap in gaps:
        now += gap
        taken += not pace.take(now)
        assert taken <= burst + now * rate + 1e-6


def test_waiting_spends_nothing_and_is_long_enough() -> None:
    pace = Pace(4, 1)
    pace.take(10.0)
    wait = pace.wait(10.0)
    assert wait == pace.wait(10.0) == 0.25
    assert pace.take(10.0 + wait) == 0


def test_keys_do_not_notice_one_another() -> None:
    paces = Paces(1, 1, most=10)
    assert paces.take("a", 1.0) == 0
    assert paces.wait("a", 1.0) == 1
    assert paces.wait("b", 1.0) == 0
    assert len(paces) == 1


def test_only_so_many_keys_are_remembered_and_those_used_last() -> None:
    paces = Paces(1, 1, most=3)
    for key in "abc":
        paces.take(key, 1.0)
    paces.take("a", 1.0)
    paces.take("d", 1.0)
    assert len(paces) == 3
    assert [key for key in "abcd" if paces.wait(key, 1.0)] == ["a", "c", "d"]
