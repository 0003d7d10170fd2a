"""The targets: each takes any bytes at all, and raises only where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from nrepl_py import codec
from nrepl_py.errors import InvalidMessage, NreplError, Unparseable
from nrepl_py.evaluators import frames
from nrepl_py.evaluators.link import Inbox
from nrepl_py.ops import Request
from nrepl_py.server import framing
from nrepl_py.server.requests import to_request

from . import mischief

Frames = list[tuple[bytes, bytes]]


def json(data: bytes) -> None:
    """A text frame is a message or `Unparseable`, and what was read can be written and read again."""
    _round_trip(data, "json")


def msgpack(data: bytes) -> None:
    """The same for a binary frame; its message can be written as JSON too."""
    _round_trip(data, "msgpack")


def requests(data: bytes) -> None:
    """Any map is a request or an error of the protocol's, with a sentence."""
    for name in ("json", "msgpack"):
        message = _decoded(data, name)
        if message is None:
            continue
        try:
            assert isinstance(to_request(message), Request)
        except NreplError as error:
            assert error.code in ("invalid-message", "unknown-op")
            assert error.message
            assert len(error.message) < 1000
            error.message.encode()


def worker_frames(data: bytes) -> None:
    """A worker's bytes are reports or `BadFrame`, wherever reads end."""
    found = _cut([data])
    half = len(data) // 2
    assert _cut([data[:half], data[half:]]) == found
    for header, body in found or []:
        try:
            report = frames.parse(header, body)
        except frames.BadFrame:
            continue
        assert isinstance(report, frames.Report)


def framing_alone(data: bytes) -> None:
    """A frame read by hand is the one websockets reads, whole and alone; and both know where a frame ends."""
    boundary = framing.Boundary()
    boundary.pass_over(data)
    halves = framing.Boundary()
    for half in (data[: len(data) // 2], data[len(data) // 2 :]):
        halves.pass_over(half)
    assert halves.here == boundary.here
    protocol = Protocol(SERVER, state=OPEN, max_size=None)
    protocol.receive_data(data)
    events = protocol.events_received()
    alone = events[0] if len(events) == 1 and boundary.here and protocol.parser_exc is None else None
    for first, opcode in ((framing.TEXT, Opcode.TEXT), (framing.BINARY, Opcode.BINARY)):
        payload = framing.whole(data, first)
        if alone is not None and alone.opcode is opcode and alone.fin:
            # Those with the longest form of a length are left to websockets.
            assert payload == bytes(alone.data) or (payload is None and data[1] == 0xFF)
        else:
            assert payload is None
    if boundary.here and protocol.parser_exc is None and protocol.close_rcvd is None:
        protocol.receive_data(Frame(Opcode.PING, b"next").serialize(mask=True))
        (ping,) = protocol.events_received()
        assert (ping.opcode, bytes(ping.data)) == (Opcode.PING, b"next")


def worker(data: bytes) -> None:
    """See `mischief.py`."""
    mischief.play(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "json": json,
    "msgpack": msgpack,
    "requests": requests,
    "worker-frames": worker_frames,
    "framing": framing_alone,
    "worker": worker,
}
"""By the name of the command line and of the corpus' directory."""


def _round_trip(data: bytes, name: str) -> None:
    message = _decoded(data, name)
    if message is None:
        return
    again = codec.encode(message, name)
    read = codec.decode(again, name)
    assert codec.encode(read, name) == again
    if _is_text(message):
        assert read == message
    codec.encode(message, "json" if name == "msgpack" else "msgpack")


def _decoded(data: bytes, name: str) -> dict[str, Any] | None:
    """The message; None where the bytes are none. The bound on lists and maps refuses, and changes nothing."""
    try:
        message = codec.decode(data, name)
    except (Unparseable, InvalidMessage) as error:
        assert error.message
        bounded = None
    else:
        bounded = message
    for items in (8, codec.REQUEST_ITEMS):
        try:
            assert codec.decode(data, name, items) == bounded
        except (Unparseable, InvalidMessage):
            assert bounded is None or items == 8
    return bounded


def _is_text(value: Any) -> bool:
    """Whether it has no lone surrogates, which are escaped when they are sent."""
    try:
        codec.pack_data(value)
    except UnicodeEncodeError:
        return False
    return True


def _cut(reads: list[bytes]) -> Frames | None:
    """The frames in what was read; None where one claims too much."""
    inbox = Inbox()
    found: Frames = []
    try:
        for read in reads:
            found += [(header, bytes(body)) for header, body in inbox.feed(read)]
    except frames.BadFrame:
        return None
    return found
