"""When the router and a worker stay awake for each other: in a streak of quick evals of one session, and only then."""

from __future__ import annotations

import asyncio

import pytest

from nrepl_py.evaluators import local, streak
from nrepl_py.evaluators.base import Ref, Run, Said, Spec
from nrepl_py.evaluators.frames import Finished, Output, Value
from nrepl_py.evaluators.link import Link
from nrepl_py.evaluators.local import LocalEvaluator
from nrepl_py.evaluators.policy import Policy
from nrepl_py.ops import SessionLimits

ONE, OTHER = Ref("one", 1), Ref("other", 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(streak, "perf_counter", lambda: now[0])
    monkeypatch.setattr(streak, "_processors", lambda: 2)
    return now


def send(to: streak.Streak, *refs: Ref) -> list[bool]:
    return [to.goes_on(ref) for ref in refs]


def test_it_takes_some_evals_in_a_row(clock: list[float]) -> None:
    assert send(streak.Streak(), *[ONE] * 6) == [False, False, True, True, True, True]


def test_a_breath_ends_it(clock: list[float]) -> None:
    quick = streak.Streak()
    send(quick, *[ONE] * 6)
    clock[0] += streak.WORKER_SECONDS
    assert send(quick, *[ONE] * 4) == [False, False, True, True]


def test_so_does_another_session(clock: list[float]) -> None:
    quick = streak.Streak()
    assert not any(send(quick, *[ONE, OTHER] * 10))
    send(quick, *[ONE] * 6)
    assert send(quick, OTHER, *[ONE] * 4) == [False, False, False, True, True]


def test_a_new_worker_of_the_session_is_another(clock: list[float]) -> None:
    quick = streak.Streak()
    send(quick, *[ONE] * 6)
    assert send(quick, Ref("one", 2)) == [False]


def test_one_processor_is_for_whoever_has_something_to_do(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streak, "_processors", lambda: 1)
    assert not any(send(streak.Streak(), *[ONE] * 10))


def test_processors_are_those_we_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {5}, raising=False)
    assert streak._processors() == 1
    monkeypatch.delattr("os.sched_getaffinity")
    for count, found in ((4, 4), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        assert streak._processors() == found


LOOKING = """
import os, sys
wire = next(module for name, module in sys.modules.items() if name.endswith(".worker.wire"))
let_others_run = wire._let_others_run
def once():
    wire._let_others_run = let_others_run
    os.write(1, b"I look")
wire._let_others_run = once
"""


async def test_the_worker_and_the_router_look_before_they_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streak, "WORKER_SECONDS", 60.0)  # however busy this machine is
    monkeypatch.setattr(streak, "_processors", lambda: 2)
    looked = []
    monkeypatch.setattr(Link, "look", lambda self, seconds: looked.append(seconds))
    evaluator, said = LocalEvaluator(), asyncio.Queue()
    evaluator.watch(said.put_nowait)
    await evaluator.start(Spec(ONE))
    for serial, code in enumerate(("1", "2"), 1):
        evaluator.send(ONE, Run(serial, code))
        assert isinstance((await said.get()).report, Value)
    evaluator.send(ONE, Run(3, LOOKING))
    assert looked == [streak.ROUTER_SECONDS]
    # A worker that has nothing to do says so; that it has finished may be read after it.
    reports = [(await said.get()).report for _ in range(2)]
    assert [report.text for report in reports if isinstance(report, Output)] == ["I look"]
    assert any(isinstance(report, Finished) for report in reports)
    await evaluator.aclose()


async def test_nobody_pays_for_it_with_time_that_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streak, "WORKER_SECONDS", 60.0)
    monkeypatch.setattr(streak, "_processors", lambda: 2)
    monkeypatch.setattr(Link, "look", lambda self, seconds: pytest.fail("looked"))
    policy = Policy(tier="process")
    evaluator, said = LocalEvaluator(policy=policy), asyncio.Queue()
    evaluator.watch(said.put_nowait)
    await evaluator.start(Spec(ONE, limits=SessionLimits(cpu_seconds=5)))
    for serial in range(1, 6):
        evaluator.send(ONE, Run(serial, "1"))
        await said.get()
    await evaluator.aclose()


async def test_workers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streak, "WORKER_SECONDS", 60.0)  # however busy this machine is
    monkeypatch.setattr(streak, "_processors", lambda: 2)
    told = []

    def tell(link, message):
        told.append(message.spin)
        link.run(message.serial, local.codec.to_json(message))

    monkeypatch.setattr(local, "tell", tell)
    evaluator, said = LocalEvaluator(), asyncio.Queue()
    evaluator.watch(said.put_nowait)
    await evaluator.start(Spec(ONE))
    for serial in range(1, 7):
        evaluator.send(ONE, Run(serial, f"{serial} + 1"))
        event = await said.get()
        assert isinstance(event, Said)
        assert isinstance(event.report, Value)
        assert event.report.text == str(serial + 1)
    assert told == [0.0] * 2 + [60.0] * 4
    await evaluator.aclose()  # a worker that looks for more hears of its end at once
