"""The worker's own MessagePack packer against the real library, and its bounds."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.worker import plain

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner), max_leaves=50)


@given(PLAIN)
def test_what_it_packs_the_library_reads(value: Any) -> None:
    assert msgpack.unpackb(plain.pack(value, 1 << 20, 64), strict_map_key=True) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_header_size(size: int) -> None:
    for value in ("x" * size, b"x" * size, [None] * size, {str(i): i for i in range(size)}):
        assert msgpack.unpackb(plain.pack(value, 1 << 24, 8)) == value


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, math.nan, math.inf, {1: 2}, {1}, object(), 1j, bytearray(b"x"), type("S", (str,), {})()],
)
def test_not_plain(value: Any) -> None:
    for wrapped in (value, [value], {"k": value}):
        with pytest.raises(plain.NotPlain):
            plain.pack(wrapped, 1 << 20, 64)


def test_depth_and_size_are_bounded() -> None:
    nested: Any = None
    for _ in range(10):
        nested = [nested]
    plain.pack(nested, 100, 10)
    with pytest.raises(plain.NotPlain):
        plain.pack(nested, 100, 9)
    with pytest.raises(plain.TooLarge):
        plain.pack("x" * 101, 100, 9)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(plain.NotPlain):
        plain.pack(endless, 1 << 20, 64)


def test_lone_surrogates_are_escaped() -> None:
    assert msgpack.unpackb(plain.pack("a\ud800", 100, 1)) == "a\\ud800"
