"""Sessions that nobody uses: said before, ended then, and kept by the least sign of use."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.limits import Limits
from nrepl_py.server import instructions as do

from .bench import READY, Bench, status
from .world import ANN

DAY = 86_400


class Clocked(Bench):
    """A bench whose clock is set by hand, and whose idle timer fires when it is due."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.due = 0.0
        super().__init__(limits, monotonic=lambda: self.now)

    def note(self, instructions: list[do.Instruction]) -> list[dict[str, Any]]:
        messages = super().note(instructions)
        for timer in self.of(do.SetTimer):
            if timer.key[0] == "idle":
                self.due = self.now + timer.seconds
        return messages

    def fire(self) -> list[dict[str, Any]]:
        """The timer, at its time."""
        self.now = self.due
        return self.timer("idle", self.session)


@pytest.fixture
def bench() -> Clocked:
    bench = Clocked()
    bench.clone(idle=100)
    return bench


def test_it_is_said_and_done(bench: Clocked) -> None:
    assert bench.due == 1090
    (event,) = bench.fire()
    assert (event["event"], event["seconds"], event["epoch"]) == ("culling", 10, 1)
    assert bench.due == 1100
    (closed,) = bench.fire()
    assert (closed["event"], closed["cause"]) == ("closed", {"kind": "idle"})
    assert bench.of(do.Stop) == [do.Stop(bench.ref, 1)]
    assert status(bench.eval("a")) == [("a", ["error", "unknown-session", "done"])]
    assert bench.timer("idle", bench.session) == bench.did == []


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("eval", {"code": "1"}),
        ("stdin", {"stdin": "x"}),
        ("interrupt", {}),
        ("completions", {"code": "", "cursor": 0}),
        ("lookup", {}),  # refused, but used
        ("restart", {}),
    ],
)
def test_any_op_keeps_it(bench: Clocked, op: str, fields: dict[str, Any]) -> None:
    bench.fire()
    bench.now = bench.due - 1
    bench.ask(op, session=bench.session, **fields)
    if op == "eval":
        bench.ends(1)
    if op == "restart":
        bench.dies(kind="killed")
        bench.note(bench.router.started(bench.ref, READY))
    used = bench.now
    bench.now += 1
    assert bench.timer("idle", bench.session) == []
    assert bench.due == used + 90
    assert bench.fire()[0]["event"] == "culling"


@pytest.mark.parametrize("op", ["ls-sessions", "describe"])
def test_what_does_not_name_it_does_not(bench: Clocked, op: str) -> None:
    bench.now += 50
    bench.ask(op)
    assert bench.fire()[0]["event"] == "culling"


def test_who_works_is_not_idle_and_the_time_counts_from_its_end(bench: Clocked) -> None:
    bench.eval("a")
    for _ in range(3):
        assert bench.fire() == []
    bench.now += 7
    bench.ends(1)
    ended = bench.now
    assert bench.fire() == []
    assert bench.due == ended + 90
    assert bench.fire()[0]["event"] == "culling"


def test_a_timer_that_comes_late_does_not_skip_the_notice(bench: Clocked) -> None:
    bench.now += 500
    (event,) = bench.timer("idle", bench.session)
    assert (event["event"], event["seconds"]) == ("culling", 10)
    bench.ask("stdin", session=bench.session, stdin="x")
    bench.now += 500
    assert bench.timer("idle", bench.session)[0]["event"] == "culling"
    assert bench.fire()[0]["event"] == "closed"


def test_the_default_counts_only_while_nobody_is_attached() -> None:
    bench = Clocked()
    bench.clone()
    assert bench.due == 1000 + DAY - 60
    assert bench.fire() == bench.fire() == []
    bench.now += 5
    bench.router.connected(2, ANN)
    bench.note(bench.router.disconnected(1))
    left = bench.now
    assert bench.fire() == []
    assert bench.due == left + DAY - 60
    assert bench.fire() == []  # nobody hears it
    assert bench.due == left + DAY
    (entry,) = bench.ask("ls-sessions", connection=2)[0]["sessions"]
    assert entry["clients"] == 0
    bench.fire()
    assert bench.ask("ls-sessions", connection=2)[0]["sessions"] == []


def test_a_client_that_only_asked_does_not_start_the_time_anew() -> None:
    bench = Clocked()
    bench.clone(idle=100)
    bench.router.connected(2, ANN)
    bench.now += 50
    bench.note(bench.router.disconnected(2))
    assert bench.fire()[0]["event"] == "culling"


@pytest.mark.parametrize("limits", [Limits(), Limits(session_idle_seconds=0)])
def test_never(limits: Limits) -> None:
    bench = Clocked(limits)
    bench.clone(**({} if limits.session_idle_seconds == 0 else {"idle": 0}))
    assert bench.due == 0


def test_a_dead_session_ends_too(bench: Clocked) -> None:
    bench.dies()
    bench.fire()
    assert bench.fire()[0]["event"] == "closed"
    assert bench.of(do.Stop) == []


def test_closing_takes_the_timer_along(bench: Clocked) -> None:
    bench.ask("close", session=bench.session)
    assert do.CancelTimer(("idle", bench.session)) in bench.did


def test_a_lone_eval_has_no_such_time() -> None:
    bench = Clocked()
    bench.ask("eval", id="t", code="x")
    assert bench.due == 0
