"""What a worker says is checked before anyone sees it: whatever the bytes, a report or `BadFrame`."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from nrepl_py.evaluators import frames
from nrepl_py.worker import plain, wire


def parse(header: dict[str, object], *blobs: bytes) -> frames.Report:
    data = b"".join(wire.pack(header, *blobs))
    head, body = wire.PREFIX.unpack_from(data)
    start = wire.PREFIX.size + head
    assert len(data) == start + body
    return frames.parse(data[wire.PREFIX.size : start], data[start:])


def test_every_report() -> None:
    assert parse({"say": "output", "stream": "err", "serial": 3}, b"text") == frames.Output(
        blobs=(4,), stream="err", serial=3, text="text"
    )
    value = parse({"say": "value", "serial": 1, "has-data": True, "types": ["text/html", "image/png"]},
                  b"v", plain.pack([1], 100, 9), b"<b>", b"\x89")  # fmt: skip
    assert isinstance(value, frames.Value)
    assert (value.text, value.data.value, value.mime) == ("v", [1], {"text/html": "<b>", "image/png": b"\x89"})
    failure = parse({"say": "failure", "serial": 1, "end": {"status": ["eval-error"]}},
                    b'{"type": "E", "module": null, "message": "m"}', b"Traceback")  # fmt: skip
    assert isinstance(failure, frames.Failure)
    assert failure.error is not None
    assert failure.error.type == "E"
    answer = parse({"say": "answer", "number": 4}, b"null")
    assert answer == frames.Answer(blobs=(4,), number=4, body=None)


@pytest.mark.parametrize(
    ("header", "blobs"),
    [
        ({}, ()),
        ({"say": "done"}, ()),
        ({"say": "output", "serial": 1}, (b"\xff",)),
        ({"say": "output", "serial": "1"}, (b"x",)),
        ({"say": "output", "stream": "both"}, (b"x",)),
        ({"say": "output"}, ()),
        ({"say": "value", "serial": 1, "has-data": True}, (b"v",)),
        ({"say": "value", "serial": 1, "has-data": True}, (b"v", b"\xc1")),
        ({"say": "value", "serial": 1, "has-data": True}, (b"v", b"\xdd\xff\xff\xff\xff")),
        ({"say": "value", "serial": 1, "has-data": True}, (b"v", b"\x91" * 100 + b"\xc0")),
        ({"say": "value", "serial": 1, "types": ["application/json"]}, (b"v", b"NaN")),
        ({"say": "failure", "serial": 1}, (b'{"type": 1}', b"")),
        ({"say": "failure", "serial": 1}, (b"[" * 10_000, b"")),
        ({"say": "finished", "end": {"status": ["session-closed"]}}, ()),
        ({"say": "display", "types": []}, (b"[]",)),
        ({"say": "output", "serial": -1}, (b"x",)),
        ({"say": "value", "serial": 1, "line": 1 << 63}, (b"v",)),
        ({"say": "finished", "end": {"status": ["exit"], "exit-code": 1 << 63}}, ()),
        (
            {"say": "failure", "serial": 1},
            (b'{"type":"E","module":null,"message":"","traceback":[{"file":"","line":%d}]}' % (1 << 64), b""),
        ),
    ],
)
def test_what_is_refused(header: dict[str, object], blobs: tuple[bytes, ...]) -> None:
    with pytest.raises(frames.BadFrame):
        parse(header, *blobs)


@pytest.mark.parametrize("field", [{"data": [1]}, {"mime": {"text/html": 1}}, {"text": "lie"}])
def test_a_header_fills_in_nothing_that_comes_in_blobs(field: dict[str, object]) -> None:
    value = parse({"say": "value", "serial": 1} | field, b"v")
    assert isinstance(value, frames.Value)
    assert (value.text, value.data, value.mime) == ("v", UNSET, {})


def test_blobs_must_add_up() -> None:
    for lengths in ([5], [1], [-1, 3], [2, 0, 1]):
        with pytest.raises(frames.BadFrame):
            frames.parse(json.dumps({"say": "output", "blobs": lengths}).encode(), b"xx")


def test_a_worker_cannot_speak_for_the_router() -> None:
    report = parse({"say": "output", "id": "forged", "session": "other", "status": ["done"], "seq": 7}, b"x")
    assert not any(hasattr(report, name) for name in ("id", "session", "status", "seq"))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes(header: bytes, body: bytes) -> None:
    try:
        frames.parse(header, body)
    except frames.BadFrame:
        pass


_SAYS = ("ready", "output", "value", "display", "need-input", "failure", "finished", "answer")
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_FIELDS = st.dictionaries(
    st.sampled_from(["serial", "stream", "types", "end", "has-data", "has-text", "number", "status", "password"]), _JSON
)


@given(st.sampled_from(_SAYS), _FIELDS, st.lists(st.binary(max_size=20), max_size=4))
def test_any_header(say: str, fields: dict[str, object], blobs: list[bytes]) -> None:
    try:
        parse({**fields, "say": say}, *blobs)
    except frames.BadFrame:
        pass


def test_mutations_of_a_good_frame() -> None:
    randomness = random.Random(7)
    good = b"".join(wire.pack({"say": "value", "serial": 1, "has-data": True}, b"v", plain.pack({"a": [1]}, 99, 9)))
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(randomness.randint(1, 4)):
            data[randomness.randrange(wire.PREFIX.size, len(data))] = randomness.randrange(256)
        head, _ = wire.PREFIX.unpack_from(data)
        start = wire.PREFIX.size + head
        try:
            frames.parse(bytes(data[wire.PREFIX.size : start]), bytes(data[start:]))
        except frames.BadFrame:
            pass
