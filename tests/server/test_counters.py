"""What is counted under which word, and what is sampled."""

from __future__ import annotations

import pytest

from nrepl_py.errors import ERRORS, NreplError, reply
from nrepl_py.server.context import Asker, Connection
from nrepl_py.server.counters import OUTCOMES, SECONDS, Counters, Histogram, outcome, sample

CLIENT = Connection(1, None, 0)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (["done"], "done"),
        (["truncated", "not-plain", "done"], "done"),
        (["truncated", "eval-error", "done"], "eval-error"),
        (["timeout", "interrupted", "done"], "timeout"),
        (["session-died", "oom", "done"], "session-died"),
        (["session-closed", "done"], "session-closed"),
        (["error", "busy", "done"], "busy"),
        (["error", "of another version", "done"], "internal"),
        (["of another version", "done"], "done"),
    ],
)
def test_an_outcome_is_one_word_of_the_protocol(status: list[str], word: str) -> None:
    assert outcome(status) == word
    assert word in {"done", *OUTCOMES, *ERRORS}


@pytest.mark.parametrize("error", ERRORS.values())
def test_a_refusal_is_its_code(error: type[NreplError]) -> None:
    assert outcome(reply(error(""))["status"]) == error.code


def test_a_histogram_counts_up_to_each_bound_and_beyond_the_last() -> None:
    histogram = Histogram()
    for seconds in (0.0, SECONDS[0], SECONDS[0] * 1.01, SECONDS[-1], SECONDS[-1] + 1):
        histogram.add(seconds)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-2:] == [1, 1]
    assert sum(histogram.counts) == 5
    assert histogram.sum == pytest.approx(2.01 * SECONDS[0] + 2 * SECONDS[-1] + 1)


def test_refused_evals_are_requests_and_no_evals() -> None:
    counters = Counters()
    asker = Asker(CLIENT, "1", "eval", accepted=counters.now())
    counters.answered(asker, {"status": ["error", "busy", "done"]})
    counters.running(asker)
    counters.answered(asker, {"status": ["eval-error", "done"]})
    counters.answered(Asker(CLIENT, "", None), {"status": ["error", "unknown-op", "done"]})
    assert +counters.requests == {("eval", "busy"): 1, ("eval", "eval-error"): 1, ("unknown", "unknown-op"): 1}
    assert {word: count for word, count in counters.evals_ended.items() if count} == {"eval-error": 1}
    assert sum(counters.eval_seconds.counts) == sum(counters.queue_seconds.counts) == 1


def test_an_interrupt_counts_under_its_last_stage() -> None:
    counters = Counters()
    for stages in (["cancel", "sigint"], ["sigint"], []):
        counters.answered(Asker(CLIENT, "1", "interrupt"), {"status": ["done"], "stages": stages})
    assert counters.interrupts == {"sigint": 2, "none": 1}


def test_nothing_is_sampled_as_nothing() -> None:
    empty = sample([], [], 0, {"log": 0})
    assert empty.sessions == {"starting": 0, "ready": 0, "busy": 0, "dead": 0}
    assert (empty.connections, empty.outbox_total, empty.outbox_max, empty.log) == (0, 0, 0, 0)
