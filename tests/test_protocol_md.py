"""The transcripts of `protocol.md`, replayed in both codecs, and every op has one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.limits import Limits
from nrepl_py.ops import OPS
from tests.transcripts import PAGE, Replay, Transcript, transcripts

TEXT = PAGE.read_text("utf-8")
TRANSCRIPTS = transcripts(TEXT)


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    """Patient: the first question to a session loads much, and a busy machine may take its time for that."""
    with serve_in_thread(kind="local", limits=Limits(answer_seconds=60)) as running:
        yield running


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: f"line{transcript.line}")
def test_the_server_answers_as_written(server: Embedded, transcript: Transcript, codec: str) -> None:
    if "json" in transcript.options:
        codec = "json"
    Replay(server.url, server.token, codec).run(transcript)


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_a_section_with_its_table_and_a_transcript(op: str) -> None:
    heading = f"\n### {op}\n"
    assert TEXT.count(heading) == 1
    section = TEXT.partition(heading)[2].partition("\n### ")[0]
    assert f"<!-- generated: op {op} -->" in section
    assert any(f'"op": "{op}"' in line for found in transcripts(section) for line in found.lines)


def test_every_internal_link_has_its_heading() -> None:
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in TEXT.splitlines() if line.startswith("#")}
    links = {part.partition(")")[0] for part in TEXT.split("](#")[1:]}
    assert links <= headings


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("…", {"any": "thing"}),
        ("a…c", "a\nc"),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}),
        (["$x", "$x"], [1, 1]),
    ],
)
def test_a_pattern_matches(pattern: Any, value: Any) -> None:
    assert Replay("", "", "json").mismatch(pattern, value) is None


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "…": "…"}, {"b": 2}),
        ({"a": "…b"}, {"a": "c"}),
        ([1], [1, 2]),
        (1, True),
        (["$x", "$x"], [1, 2]),
        (["done"], "done"),
    ],
)
def test_a_pattern_does_not_match(pattern: Any, value: Any) -> None:
    assert Replay("", "", "json").mismatch(pattern, value) is not None
