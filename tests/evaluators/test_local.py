"""What only processes can do to their owner."""

from __future__ import annotations

import os
import signal

import pytest

from nrepl_py.evaluators import local
from nrepl_py.evaluators.base import Lost, Ref, Spec, WorkerEvent
from nrepl_py.evaluators.local import LocalEvaluator


@pytest.mark.parametrize("portable", [False, True])
async def test_a_process_that_cannot_be_killed_keeps_nobody_waiting(
    portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_DYING_SECONDS", 0.05)
    evaluator = LocalEvaluator(portable=portable)
    events: list[WorkerEvent] = []
    evaluator.watch(events.append)
    ready = await evaluator.start(Spec(Ref("stuck", 1)))
    os.kill(ready.pid, signal.SIGSTOP)
    with monkeypatch.context() as stuck:
        stuck.setattr(evaluator, "_kill", lambda worker: None)
        assert await evaluator.stop(Ref("stuck", 1), 0)
    (event,) = events
    assert isinstance(event, Lost)
    assert "killed" in (event.cause.trace or "")
    os.kill(ready.pid, signal.SIGKILL)
    assert (await evaluator.start(Spec(Ref("next", 1)))).pid
    await evaluator.aclose()
    assert [event.ref for event in events] == [Ref("stuck", 1), Ref("next", 1)]
