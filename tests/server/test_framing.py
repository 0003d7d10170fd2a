"""Frames read and written by hand are those of RFC 6455: websockets, which reads the rest, is the judge."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from nrepl_py.server import framing

FIRST = {Opcode.TEXT: framing.TEXT, Opcode.BINARY: framing.BINARY}


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 1 << 20])
@pytest.mark.parametrize("opcode", FIRST)
def test_a_header_is_what_websockets_writes(opcode: Opcode, length: int) -> None:
    payload = bytes(length)
    assert framing.header(FIRST[opcode], length) + payload == Frame(opcode, payload).serialize(mask=False)


def test_a_header_has_room_for_any_length() -> None:
    assert framing.header(framing.BINARY, 1 << 33) == b"\x82\x7f" + (1 << 33).to_bytes(8, "big")


@example(Opcode.TEXT, bytes(127))
@given(st.sampled_from(list(FIRST)), st.binary(max_size=300) | st.integers(120, 70_000).map(bytes))
def test_a_whole_frame_is_read_as_it_was_written(opcode: Opcode, payload: bytes) -> None:
    read = framing.whole(Frame(opcode, payload).serialize(mask=True), FIRST[opcode])
    assert read == (payload if len(payload) < 1 << 16 else None)


@given(st.binary(max_size=300), st.data())
def test_what_is_more_or_less_than_one_frame_is_left_to_websockets(payload: bytes, data: st.DataObject) -> None:
    frame = Frame(Opcode.TEXT, payload).serialize(mask=True)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert framing.whole(frame[:cut], framing.TEXT) is None
    assert framing.whole(frame + frame[: cut + 1], framing.TEXT) is None


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.BINARY, b"another kind").serialize(mask=True),
        Frame(Opcode.TEXT, b"a beginning", fin=False).serialize(mask=True),
        Frame(Opcode.CONT, b"an end").serialize(mask=True),
        b"\xc1" + Frame(Opcode.TEXT, b"compressed").serialize(mask=True)[1:],
        Frame(Opcode.TEXT, b"by a server").serialize(mask=False),
        Frame(Opcode.TEXT, bytes(200)).serialize(mask=False),
        Frame(Opcode.PING, b"").serialize(mask=True),
        Frame(Opcode.CLOSE, b"").serialize(mask=True),
        b"\x81\xff" + bytes(12),
        b"",
    ],
    ids=[
        "binary",
        "beginning",
        "continuation",
        "compressed",
        "unmasked",
        "long and unmasked",
        "ping",
        "close",
        "longest form",
        "nothing",
    ],
)
def test_all_others_are_left_to_websockets(frame: bytes) -> None:
    assert framing.whole(frame, framing.TEXT) is None


@given(st.lists(st.binary(max_size=300) | st.integers(120, 70_000).map(bytes), max_size=4), st.data())
def test_the_end_of_a_frame_is_known_wherever_reads_end(payloads: list[bytes], data: st.DataObject) -> None:
    sent = [Frame(Opcode.TEXT, payload).serialize(mask=True) for payload in payloads]
    ends = {sum(map(len, sent[:count])) for count in range(len(sent) + 1)}
    stream, at = b"".join(sent), 0
    boundary = framing.Boundary()
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        boundary.pass_over(stream[at : at + step])
        at += step
        assert boundary.here == (at in ends)
