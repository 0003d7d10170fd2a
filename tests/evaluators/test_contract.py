"""The evaluator contract, against every implementation and both ways `local` starts its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nrepl_py.errors import Busy, NoCapacity, NotSupported, StartFailed
from nrepl_py.evaluators.base import Ask, Evaluator, Exited, Feed, Lost, Ref, Run, Said, Spec, WorkerEvent
from nrepl_py.evaluators.frames import Answer, Failure, Finished, NeedInput, Output, Value
from nrepl_py.evaluators.inprocess import InProcessEvaluator
from nrepl_py.evaluators.local import LocalEvaluator
from nrepl_py.evaluators.policy import Policy

KINDS: dict[str, Any] = {
    "local": lambda: LocalEvaluator(max_workers=3),
    "sandbox": lambda: LocalEvaluator(max_workers=3, policy=Policy(tier="sandbox")),
    "landlock": lambda: LocalEvaluator(max_workers=3, policy=Policy(tier="landlock")),
    "strict": lambda: LocalEvaluator(max_workers=3, policy=Policy(tier="strict", allow_degraded=True)),
    "portable": lambda: LocalEvaluator(max_workers=3, portable=True),
    "inprocess": lambda: InProcessEvaluator(max_workers=3),
}


class Watched:
    """An evaluator and all it said."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.events: list[WorkerEvent] = []
        self._news = asyncio.Event()
        self._serial = 0
        evaluator.watch(self._take)

    def _take(self, event: WorkerEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def session(self) -> Ref:
        """A started worker. Not a fixture: pytest takes sys.stdout away between a fixture and its test."""
        ref = Ref("session", 1)
        await self.evaluator.start(Spec(ref))
        return ref

    async def until(self, test: Any) -> Any:
        """The first event, past or to come, for which `test` holds."""
        while True:
            for event in self.events:
                if test(event):
                    return event
            self._news.clear()
            await self._news.wait()

    def run(self, ref: Ref, code: str, **options: Any) -> int:
        self._serial += 1
        self.evaluator.send(ref, Run(self._serial, code, **options))
        return self._serial

    async def ended(self, serial: int) -> list[Any]:
        """All reports of that eval, once it has ended."""
        await self.until(lambda event: _ends(event, serial))
        return [event.report for event in self.events if _about(event, serial)]

    def said(self, ref: Ref) -> list[WorkerEvent]:
        return [event for event in self.events if event.ref == ref]


def _about(event: WorkerEvent, serial: int) -> bool:
    return isinstance(event, Said) and getattr(event.report, "serial", None) == serial


def _ends(event: WorkerEvent, serial: int) -> bool:
    return _about(event, serial) and getattr(event.report, "end", None) is not None  # type: ignore[union-attr]


def _is_end(event: WorkerEvent) -> bool:
    return isinstance(event, (Exited, Lost))


@pytest.fixture(params=KINDS)
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    evaluator = KINDS[request.param]()
    yield Watched(evaluator)
    await evaluator.aclose()


async def test_start_says_what_came_up(watched: Watched) -> None:
    ready = await watched.evaluator.start(Spec(Ref("a", 1)))
    assert ready.python
    assert ready.pid
    assert ready.implementation == "cpython"


async def test_capabilities_are_known_words(watched: Watched) -> None:
    assert watched.evaluator.capabilities <= {"isolated", "kill", "interrupt", "clone", "multi-host"}
    assert watched.evaluator.describe()["tier"]


async def test_reports_come_in_order_and_the_end_is_last(watched: Watched) -> None:
    ref = await watched.session()
    reports = await watched.ended(watched.run(ref, "print('a')\nprint('b')\n'value'"))
    assert [type(report) for report in reports][-1] is Value
    assert "".join(report.text for report in reports if isinstance(report, Output)) == "a\nb\n"
    assert isinstance((await watched.ended(watched.run(ref, "x = 1")))[-1], Finished)
    assert isinstance((await watched.ended(watched.run(ref, "1/0")))[-1], Failure)


async def test_input_is_asked_and_fed(watched: Watched) -> None:
    ref = await watched.session()
    serial = watched.run(ref, "input('? ')")
    event = await watched.until(lambda event: isinstance(event, Said) and isinstance(event.report, NeedInput))
    assert (event.report.serial, event.report.prompt) == (serial, "? ")
    watched.evaluator.send(ref, Feed(serial + 7, "not yours\n"))
    watched.evaluator.send(ref, Feed(serial, "yours\n"))
    assert (await watched.ended(serial))[-1].text == "'yours'"


async def test_questions_are_answered_beside_an_eval(watched: Watched) -> None:
    ref = await watched.session()
    serial = watched.run(ref, "print('on')\nwhile True: pass")
    await watched.until(lambda event: _about(event, serial))
    watched.evaluator.send(ref, Ask(5, "is-complete", {"code": "def f():"}, 1))
    event = await watched.until(lambda event: isinstance(event, Said) and isinstance(event.report, Answer))
    assert (event.report.number, event.report.body["state"]) == (5, "incomplete")
    assert watched.evaluator.interrupt(ref, serial)
    await watched.ended(serial)


async def test_an_interrupt_reaches_only_its_eval(watched: Watched) -> None:
    ref = await watched.session()
    for _ in range(50):
        serial = watched.run(ref, "x = 1")
        watched.evaluator.interrupt(ref, serial - 1)
        assert isinstance((await watched.ended(serial))[-1], Finished)
    serial = watched.run(ref, "while True: pass")
    watched.evaluator.interrupt(ref, serial)
    report = (await watched.ended(serial))[-1]
    assert report.end.status == ("interrupted",)
    assert watched.evaluator.stages(ref, serial) == ("sigint",)
    assert watched.evaluator.stages(ref, serial - 1) == ()


async def test_holding_stalls_the_writer_and_loses_nothing(watched: Watched) -> None:
    ref = await watched.session()
    watched.evaluator.hold(ref, True)
    serial = watched.run(ref, "for i in range(100_000): print(i)")
    other = Ref("other", 1)
    await watched.evaluator.start(Spec(other))
    assert (await watched.ended(watched.run(other, "1")))[-1].text == "1"
    assert not [event for event in watched.events if _about(event, serial)]
    watched.evaluator.hold(ref, False)
    reports = await watched.ended(serial)
    text = "".join(report.text for report in reports if isinstance(report, Output))
    assert text == "".join(f"{i}\n" for i in range(100_000))


async def test_stop_is_idempotent_and_ends_once(watched: Watched) -> None:
    ref = await watched.session()
    evaluator = watched.evaluator
    assert await asyncio.gather(evaluator.stop(ref, 1), evaluator.stop(ref, 1)) in ([True, False], [False, True])
    assert not await evaluator.stop(ref, 1)
    assert [_is_end(event) for event in watched.said(ref)] == [True]
    evaluator.send(ref, Run(99, "1"))
    assert not evaluator.interrupt(ref, 99)
    assert evaluator.stages(ref, 99) == ()
    assert evaluator.memory(ref) is None


async def test_a_busy_worker_is_stopped(watched: Watched) -> None:
    ref = await watched.session()
    serial = watched.run(ref, "print('on')\nwhile True: pass")
    await watched.until(lambda event: _about(event, serial))
    await watched.evaluator.stop(ref, 0.05)
    (end,) = [event for event in watched.said(ref) if _is_end(event)]
    assert isinstance(end, Exited)
    assert watched.said(ref)[-1] is end


async def test_epochs_are_lives_of_their_own(watched: Watched) -> None:
    ref = await watched.session()
    await watched.ended(watched.run(ref, "x = 1"))
    await watched.evaluator.stop(ref, 1)
    again = Ref(ref.id, 2)
    await watched.evaluator.start(Spec(again))
    assert (await watched.ended(watched.run(again, "'x' in globals()")))[-1].text == "False"


async def test_no_capacity(watched: Watched) -> None:
    for number in range(3):
        await watched.evaluator.start(Spec(Ref(str(number), 1)))
    with pytest.raises(NoCapacity, match="close"):
        await watched.evaluator.start(Spec(Ref("one too many", 1)))
    await watched.evaluator.stop(Ref("0", 1), 1)
    await watched.evaluator.start(Spec(Ref("room again", 1)))


async def test_a_copy_is_a_worker_of_its_own(watched: Watched) -> None:
    ref = await watched.session()
    evaluator, copy = watched.evaluator, Ref("copy", 1)
    await watched.ended(watched.run(ref, "x = [1]"))
    if "clone" not in evaluator.capabilities:
        with pytest.raises(NotSupported):
            await evaluator.start(Spec(copy, origin=ref))
        assert (await watched.ended(watched.run(ref, "x")))[-1].text == "[1]"
        return
    ready = await evaluator.start(Spec(copy, origin=ref))
    assert ready.copied == {"threads": (), "children": 0, "sockets": 0, "files": 0}
    await watched.ended(watched.run(copy, "x.append(2)"))
    assert (await watched.ended(watched.run(ref, "x")))[-1].text == "[1]"
    assert await evaluator.stop(ref, 1)
    serial = watched.run(copy, "print('on')\nwhile True: pass")
    await watched.until(lambda event: _about(event, serial))
    assert evaluator.interrupt(copy, serial)
    await watched.ended(serial)
    assert (await watched.ended(watched.run(copy, "x")))[-1].text == "[1, 2]"
    assert await evaluator.stop(copy, 1)
    for one in (ref, copy):
        assert [_is_end(event) for event in watched.said(one)].count(True) == 1
        assert _is_end(watched.said(one)[-1])


async def test_a_copy_that_cannot_be_says_why_and_nothing_else(watched: Watched) -> None:
    ref = await watched.session()
    evaluator = watched.evaluator
    if "clone" not in evaluator.capabilities:
        return
    with pytest.raises(StartFailed, match="ended"):
        await evaluator.start(Spec(Ref("a", 1), origin=Ref("nobody", 1)))
    code = "import threading; threading.Thread(target=threading.Event().wait, daemon=True, name='mine').start()"
    await watched.ended(watched.run(ref, code))
    with pytest.raises(Busy, match="mine"):
        await evaluator.start(Spec(Ref("b", 1), origin=ref))
    copied = (await evaluator.start(Spec(Ref("c", 1), origin=ref, force=True))).copied
    assert copied["threads"] == ("mine",)
    serial = watched.run(ref, "print('on')\nwhile True: pass")
    await watched.until(lambda event: _about(event, serial))
    evaluator._start_seconds = 0.2  # type: ignore[attr-defined]
    with pytest.raises(StartFailed, match="not ready"):
        await evaluator.start(Spec(Ref("d", 1), origin=ref))
    evaluator.interrupt(ref, serial)
    await watched.ended(serial)
    assert {event.ref.id for event in watched.events} == {"session"}


async def test_a_failed_start_says_why_and_nothing_else(watched: Watched) -> None:
    for spec in (Spec(Ref("a", 1), python="/no/such/python"), Spec(Ref("b", 1), preload=("no_such_module_x",))):
        with pytest.raises(StartFailed, match="no_such_module_x|no/such/python|python"):
            await watched.evaluator.start(spec)
    assert watched.events == []


async def test_closing_ends_everything(watched: Watched) -> None:
    refs = [Ref(str(number), 1) for number in range(3)]
    await asyncio.gather(*(watched.evaluator.start(Spec(ref)) for ref in refs))
    watched.run(refs[0], "while True: pass")
    await watched.evaluator.aclose()
    assert sorted(event.ref for event in watched.events if _is_end(event)) == refs


async def test_what_interrupts_have_done_can_be_asked_while_the_end_is_told(watched: Watched) -> None:
    ref = await watched.session()
    # Deaf, but not for ever: a thread of this program cannot be killed, and would run on.
    deaf = "print('on')\ntry:\n    while True: pass\nexcept KeyboardInterrupt: pass\n"
    serial = watched.run(ref, deaf + "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass")
    await watched.until(lambda event: _about(event, serial))
    asked: list[tuple[str, ...]] = []
    evaluator = watched.evaluator
    evaluator.watch(lambda event: asked.append(evaluator.stages(ref, serial)) if _is_end(event) else None)
    evaluator.interrupt(ref, serial)
    while evaluator.stages(ref, serial) != ("sigint",):
        await asyncio.sleep(0)
    await evaluator.stop(ref, 0)
    assert asked == [("sigint",)]
