"""Output is merged and keeps its order, without a router."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from nrepl_py.worker import output, wire


class Record:
    """Takes the place of the control channel."""

    def __init__(self) -> None:
        self.shield = wire.Shield()
        self.sent: list[tuple[str, int | None, str]] = []
        self.news = threading.Event()

    def send(self, header: dict[str, Any], *blobs: bytes) -> None:
        self.sent.append((header["stream"], header["serial"], blobs[0].decode()))
        self.news.set()


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def relay(record: Record) -> output.Relay:
    return output.Relay(record)  # type: ignore[arg-type]


def test_the_first_line_leaves_at_once(relay: output.Relay, record: Record) -> None:
    relay.begin(1)
    relay.write("out", 1, "first")
    assert record.sent == []
    relay.write("out", 1, "\n")
    assert record.sent == [("out", 1, "first\n")]


def test_what_follows_is_merged_and_flushed_soon(relay: output.Relay, record: Record) -> None:
    relay.begin(1)
    relay.write("out", 1, "a\n")
    record.news.clear()
    relay.write("out", 1, "b\n")
    relay.write("out", 1, "c\n")
    assert record.news.wait(60)
    assert "".join(text for _, _, text in record.sent) == "a\nb\nc\n"


def test_a_change_of_stream_or_eval_keeps_the_order(relay: output.Relay, record: Record) -> None:
    for stream, serial, text in [("out", 1, "a"), ("err", 1, "b"), ("err", 2, "c"), ("out", 1, "d")]:
        relay.write(stream, serial, text)
    relay.end()
    assert record.sent == [("out", 1, "a"), ("err", 1, "b"), ("err", 2, "c"), ("out", 1, "d")]


def test_much_text_is_sent_in_pieces(relay: output.Relay, record: Record) -> None:
    relay.write("out", 1, "x" * 2_500_000)
    assert len(record.sent) == 3
    assert sum(len(text) for _, _, text in record.sent) == 2_500_000


def test_untagged_output_goes_to_the_fallback(relay: output.Relay) -> None:
    fallback = io.StringIO()
    written = output.Output("out", None, fallback)
    written.write("nobody's")
    assert fallback.getvalue() == "nobody's"
    with pytest.raises(io.UnsupportedOperation):
        written.fileno()
