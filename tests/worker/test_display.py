"""Bounded text and bundles, without a session."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.worker import display


@pytest.mark.parametrize(
    "value", [1, "text", b"bytes", [1, "a"], (1,), {1: 2}, {1}, frozenset({1}), list(range(5000)), tuple(range(5000))]
)
def test_within_the_quota_it_is_repr(value: Any) -> None:
    assert display.show(value, 1 << 20) == (repr(value).encode(), False)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, lambda items: dict.fromkeys(items, 1)])
def test_a_huge_container_stops_at_the_quota(kind: Any) -> None:
    shown: list[int] = []

    class Counted(int):
        def __repr__(self) -> str:
            shown.append(1)
            return "c"

    text, truncated = display.show(kind(map(Counted, range(100_000))), 1000)
    assert truncated
    assert len(text) == 1000
    assert len(shown) < 1000


def test_big_dicts_within_the_quota_are_whole() -> None:
    value = {str(n): n for n in range(6000)}
    assert display.show(value, 1 << 20) == (repr(value).encode(), False)
    items = set(range(5000))
    assert eval(display.show(items, 1 << 20)[0]) == items
    assert eval(display.show(frozenset(items), 1 << 20)[0]) == items


def test_cut_counts_bytes_and_keeps_characters() -> None:
    assert display.cut("☃☃☃", 9) == ("☃☃☃".encode(), False)
    assert display.cut("☃☃☃", 8) == ("☃☃".encode(), True)
    assert display.cut("x", 0) == (b"", True)


def test_blobs_fit_their_types() -> None:
    kinds, blobs = display.blobs(
        {"text/html": "<b>", "application/json": [1], "image/png": "iVBO", "a/b": bytearray(b"x")}
    )
    assert kinds == ["text/html", "application/json", "image/png", "a/b"]
    assert blobs == [b"<b>", b"[1]", b"\x89PN", b"x"]
    for bad in ({"text/html": 1}, {"image/png": 1}, {"application/json": object()}):
        with pytest.raises(TypeError):
            display.blobs(bad)
