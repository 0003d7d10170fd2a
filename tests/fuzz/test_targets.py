"""The targets of the fuzzer on what it knows already: its corpus, mutations of it, and bytes without any plan."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.targets import TARGETS

INPUTS = sorted(path for path in CORPUS.glob("*/*"))
MUTATIONS = 15  # of each input; the search itself is `python -m tests.fuzz`
MAX_FILES, MAX_BYTES = 200, 200_000  # in all: a corpus to read with every change


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_keeps_the_promises(name: str) -> None:
    paths = [path for path in INPUTS if path.parent.name == name]
    assert paths
    for path in paths:
        play(name, path.read_bytes(), path)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_corpus_keep_them(name: str) -> None:
    randomness = random.Random(name)
    others = [path.read_bytes() for path in INPUTS]
    for path in INPUTS:
        if path.parent.name == name:
            for _ in range(MUTATIONS):
                play(name, mutated(path.read_bytes(), others, randomness), path)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100)
@given(data=st.binary(max_size=400))
def test_any_bytes_keep_them(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_the_corpus_is_small() -> None:
    assert len(INPUTS) <= MAX_FILES
    assert sum(path.stat().st_size for path in INPUTS) <= MAX_BYTES
    assert {path.parent.name for path in INPUTS} == TARGETS.keys()


def play(name: str, data: bytes, path: Path) -> None:
    try:
        TARGETS[name](data)
    except Exception as error:
        error.add_note(f"played {data!r}, which is or comes from {path}")
        raise


def mutated(data: bytes, others: list[bytes], randomness: random.Random) -> bytes:
    """Some bytes changed, a stretch cut out, or one of another's put in."""
    result = bytearray(data)
    for _ in range(randomness.randint(1, 4)):
        at = randomness.randrange(len(result) + 1)
        until = min(len(result), at + randomness.randrange(9))
        other = randomness.choice(others)
        start = randomness.randrange(len(other) + 1)
        replacement = (
            b"", randomness.randbytes(until - at), bytes([randomness.choice((0, 1, 127, 128, 255))]) * (until - at),
            other[start : start + randomness.randrange(30)],
        )  # fmt: skip
        result[at:until] = randomness.choice(replacement)
    return bytes(result)
