"""Sessions that are threads of this program: when one has ended, so have all threads that it had."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from nrepl_py.evaluators.base import Exited, Ref, Run, Said, Spec
from nrepl_py.evaluators.frames import Finished
from nrepl_py.evaluators.inprocess import InProcessEvaluator
from nrepl_py.worker import hosted

ONE = Ref("one", 1)


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("nrepl-py ")}


async def test_a_session_leaves_no_thread_however_late_they_see_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any) -> None:
        time.sleep(0.2)  # what a busy machine does

    monkeypatch.setattr(hosted.Thread, "router_gone", late)
    evaluator, said = InProcessEvaluator(), asyncio.Queue()
    before, threads = ours(), []

    def hear(event: object) -> None:
        if isinstance(event, Exited):
            threads.append(ours() - before)
        said.put_nowait(event)

    evaluator.watch(hear)
    await evaluator.start(Spec(ONE))
    evaluator.send(ONE, Run(1, "print('a line')\nprint('and one that waits for a thread to send it')"))
    while not (isinstance(event := await said.get(), Said) and isinstance(event.report, Finished)):
        pass
    assert {"nrepl-py session", "nrepl-py side"} <= ours() - before
    await evaluator.stop(ONE, 60)
    assert threads == [set()]
    await evaluator.aclose()
