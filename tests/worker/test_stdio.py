"""Merging, tags and input, without a router."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nrepl_py.worker import stdio, wire


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
def relay(record: Record) -> stdio.Relay:
    return stdio.Relay(record)  # type: ignore[arg-type]


@pytest.fixture
def tagged(relay: stdio.Relay) -> Iterator[stdio.Relay]:
    token = stdio.TAG.set(stdio.Tag(relay, 7))
    yield relay
    stdio.TAG.reset(token)


def test_the_first_line_leaves_at_once(relay: stdio.Relay, record: Record) -> None:
    relay.begin(1)
    relay.write("out", 1, "first")
    assert record.sent == []
    relay.write("out", 1, "\n")
    assert record.sent == [("out", 1, "first\n")]


def test_what_follows_is_merged_and_flushed_soon(relay: stdio.Relay, record: Record) -> None:
    relay.begin(1)
    relay.write("out", 1, "a\n")
    record.news.clear()
    relay.write("out", 1, "b\n")
    relay.write("out", 1, "c\n")
    assert record.news.wait(60)
    assert "".join(text for _, _, text in record.sent) == "a\nb\nc\n"


def test_a_change_of_stream_or_eval_keeps_the_order(relay: stdio.Relay, record: Record) -> None:
    for stream, serial, text in [("out", 1, "a"), ("err", 1, "b"), ("err", 2, "c"), ("out", 1, "d")]:
        relay.write(stream, serial, text)
    relay.end()
    assert record.sent == [("out", 1, "a"), ("err", 1, "b"), ("err", 2, "c"), ("out", 1, "d")]


def test_much_text_is_sent_in_pieces(relay: stdio.Relay, record: Record) -> None:
    relay.write("out", 1, "x" * 2_500_000)
    assert len(record.sent) == 3
    assert sum(len(text) for _, _, text in record.sent) == 2_500_000


def test_untagged_output_goes_to_the_fallback(relay: stdio.Relay) -> None:
    fallback = io.StringIO()
    output = stdio.Output("out", None, fallback)
    output.write("nobody's")
    assert fallback.getvalue() == "nobody's"
    with pytest.raises(io.UnsupportedOperation):
        output.fileno()


def test_threads_inherit_the_tag(tagged: stdio.Relay, record: Record) -> None:
    undo = stdio.carry_tags()
    output = stdio.Output("out", None, io.StringIO())
    thread = threading.Thread(target=output.write, args=("from a thread",))
    thread.start()
    thread.join()
    undo()
    tagged.flush()
    assert record.sent == [("out", 7, "from a thread")]


class Asked:
    """A client that answers each question with the next of its texts."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[tuple[str, bool]] = []
        self.input = stdio.Input(self._ask)
        self.input.begin(1, True)

    def _ask(self, serial: int, prompt: str, password: bool) -> None:
        self.prompts.append((prompt, password))
        text = self.texts.pop(0)
        threading.Thread(target=self.input.feed, args=(serial, text)).start()


def test_lines_are_asked_for_as_they_are_needed() -> None:
    asked = Asked("a\nb\n", "c", "d\n", "")
    assert [asked.input.readline(prompt="? ") for _ in range(4)] == ["a\n", "b\n", "cd\n", ""]
    assert [prompt for prompt, _ in asked.prompts] == ["? ", "? ", "", "? "]


def test_end_of_file_ends_one_read() -> None:
    asked = Asked("half", "", "more\n")
    assert asked.input.readline() == "half"
    assert asked.input.read(0) == ""
    assert [asked.input.readline(3) for _ in range(2)] == ["", "mor"]


def test_read_takes_all_until_the_end() -> None:
    assert Asked("a\n", "b", "").input.read() == "a\nb"
    assert Asked("abc\n").input.read(2) == "ab"


def test_input_not_allowed_is_end_of_file() -> None:
    source = stdio.Input(lambda *question: pytest.fail("asked"))
    source.begin(1, False)
    assert source.readline() == ""
    with pytest.raises(EOFError):
        stdio.ask_line(source, "", False)


def test_the_end_of_the_eval_wakes_who_still_waits() -> None:
    asking = threading.Event()
    source = stdio.Input(lambda *question: asking.set())
    source.begin(1, True)
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.append(source.readline()))
    thread.start()
    assert asking.wait(60)
    source.feed(2, "for another eval\n")
    source.end()
    thread.join()
    assert lines == [""]
