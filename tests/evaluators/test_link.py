"""Frames cut out of a stream of bytes, however it arrives; and when a worker's end is read."""

from __future__ import annotations

import asyncio
from itertools import chain, repeat

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.evaluators import frames
from nrepl_py.evaluators.base import Run
from nrepl_py.evaluators.link import Inbox, Link
from nrepl_py.worker import wire

_SIZES = st.sampled_from([0, 1, 100, 70_000, 200_000])


@given(st.lists(st.tuples(_SIZES, _SIZES), max_size=5), st.lists(st.integers(1, 300_000), max_size=8))
def test_frames_are_found_wherever_reads_end(sizes: list[tuple[int, int]], reads: list[int]) -> None:
    sent = [(b"h" * min(head, frames.MAX_HEADER), b"b" * body) for head, body in sizes]
    stream = b"".join(wire.PREFIX.pack(len(head), len(body)) + head + body for head, body in sent)
    inbox = Inbox()
    found = []
    for size in [*reads, len(stream) + 1]:
        piece, stream = stream[:size], stream[size:]
        found += [(head, bytes(body)) for head, body in inbox.feed(piece)]
    assert found == sent


@given(st.lists(st.tuples(_SIZES, _SIZES), max_size=5), st.lists(st.integers(1, 100_000), max_size=30))
def test_the_rest_of_a_large_body_may_be_put_where_it_belongs(sizes: list[tuple[int, int]], reads: list[int]) -> None:
    sent = [(b"h" * min(head, frames.MAX_HEADER), b"b" * body) for head, body in sizes]
    stream = b"".join(wire.PREFIX.pack(len(head), len(body)) + head + body for head, body in sent)
    inbox = Inbox()
    found = []
    for read in chain(reads, repeat(len(stream))):
        piece = stream[:read]
        if inbox.room is not None:
            piece = piece[: len(inbox.room)]
            inbox.room[: len(piece)] = piece
        put = inbox.feed(piece) if inbox.room is None else inbox.filled(len(piece))
        found += [(head, bytes(body)) for head, body in put]
        stream = stream[len(piece) :]
        if not stream:
            break
    assert found == sent


def test_a_large_body_is_not_copied() -> None:
    inbox = Inbox()
    assert inbox.feed(wire.PREFIX.pack(1, 1 << 20) + b"h" + bytes(1000)) == []
    assert inbox.room is not None
    ((_, body),) = inbox.filled(len(inbox.room))
    assert isinstance(body, memoryview)
    report = frames.parse(b'{"say": "output", "blobs": [%d]}' % (1 << 20), body)
    assert isinstance(report, frames.Output)
    assert report.text == "\0" * (1 << 20)


@pytest.mark.parametrize(
    "prefix", [wire.PREFIX.pack(frames.MAX_HEADER + 1, 0), wire.PREFIX.pack(0, frames.MAX_BODY + 1)]
)
def test_a_frame_that_claims_too_much_is_refused_before_it_comes(prefix: bytes) -> None:
    with pytest.raises(frames.BadFrame):
        Inbox().feed(prefix)


def test_a_run_without_further_words_means_the_same_on_both_sides() -> None:
    fields = {field.encode_name: field.default for field in msgspec.structs.fields(Run)}
    assert {
        name: list(value) if name == "mime" else value for name, value in fields.items() if name in wire.RUN
    } == wire.RUN
    assert fields.keys() - wire.RUN.keys() == {"serial", "code"}


async def test_what_is_looked_for_is_read_at_once_but_not_from_who_has_to_wait() -> None:
    reports: asyncio.Queue[frames.Report] = asyncio.Queue()
    link = Link(reports.put_nowait, pytest.fail, pipes=False)
    ends = link.give_ends()
    worker = wire.Channel(ends[0])
    worker.send({"say": "finished", "serial": 1})
    link.look(60)
    assert reports.get_nowait() == frames.Finished(serial=1)
    link.hold(True)
    worker.send({"say": "finished", "serial": 2})
    link.look(60)
    assert reports.empty()
    link.hold(False)
    assert await reports.get() == frames.Finished(serial=2)
    link.close()
    for end in ends:
        end.close()
