"""A zygote has run foreign code: whatever it says, the server goes on, and only its own sessions suffer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Exited, Ref, Run, Said, Spec
from nrepl_py.evaluators.local import LocalEvaluator
from nrepl_py.evaluators.zygotes import MAX_IDLE
from nrepl_py.ops import Cause

# Passes for an interpreter until it is to be a zygote; then it says what it likes.
IMPOSTOR = """#!{python}
import socket, sys, time
if "zygote" not in sys.argv:
    print("cpython")
    sys.exit()
router = socket.socket(fileno=int(sys.argv[-1]))
router.recv(65536)
for word in {words!r}:
    router.send(word)
time.sleep(1000)
"""
READY = b'{"say": "ready"}'


@pytest.fixture
async def evaluator() -> AsyncIterator[LocalEvaluator]:
    evaluator = LocalEvaluator(start_seconds=20)
    evaluator.watch(lambda event: None)
    yield evaluator
    await evaluator.aclose()


@pytest.mark.parametrize(
    "words",
    [
        [b"garbage"], [b"[]"], [b'{"say": "done"}'], [b'{"say": "forked", "number": 7}'], [READY, READY],
        [READY, b'{"say": "exited", "number": 1}'], [READY, b'{"say": "forked", "number": 1}'],
        [READY, b'{"say": "ended", "number": "x"}'], [b'{"say": "exited", "number": 9, "status": 0}'],
        [READY, b"\xff" * 60_000],
    ],
)  # fmt: skip
async def test_an_impostor_is_no_interpreter(evaluator: LocalEvaluator, words: list[bytes], tmp_path: Path) -> None:
    impostor = tmp_path / "python"
    impostor.write_text(IMPOSTOR.format(python=sys.executable, words=words))
    impostor.chmod(0o755)
    with pytest.raises(StartFailed):
        await evaluator.start(Spec(Ref("bad", 1), python=str(impostor)))
    assert (await evaluator.start(Spec(Ref("good", 1)))).pid
    assert await evaluator.stop(Ref("good", 1), 1)


async def test_zygotes_without_sessions_are_kept_within_bounds(evaluator: LocalEvaluator) -> None:
    modules = ["json", "re", "ast", "csv", "math", "time", "uuid"]
    for name in modules:
        ref = Ref(name, 1)
        await evaluator.start(Spec(ref, preload=(name,)))
        await evaluator.stop(ref, 1)
    pool: Any = evaluator._zygotes
    kept = [kind.preload for kind in pool._tasks]
    assert kept == [(name,) for name in modules[-MAX_IDLE:]]


async def test_a_zygote_in_use_is_kept(evaluator: LocalEvaluator) -> None:
    events: list[Any] = []
    evaluator.watch(events.append)
    used = Ref("used", 1)
    await evaluator.start(Spec(used))
    for name in ("json", "re", "ast", "csv", "math", "time"):
        await evaluator.start(Spec(Ref(name, 1), preload=(name,)))
        await evaluator.stop(Ref(name, 1), 1)
    evaluator.send(used, Run(1, "6 * 7"))
    while not any(isinstance(event, Said) and event.ref == used for event in events):
        await _turn()
    assert not any(isinstance(event, Exited) and event.ref == used for event in events)
    await evaluator.stop(used, 1)


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0.001)


async def test_a_zygote_that_ends_is_started_again_by_itself(evaluator: LocalEvaluator) -> None:
    events: list[Any] = []
    told = asyncio.Event()
    evaluator.watch(lambda event: (events.append(event), told.set()) if isinstance(event, Exited) else None)
    ready = await evaluator.start(Spec(Ref("a", 1)))
    for again in (True, False):
        ((kind, task),) = evaluator._zygotes._tasks.items()
        zygote = await task
        assert zygote._process is not None
        if not again:
            await evaluator.start(Spec(Ref("b", 1)))
            told.clear()
        zygote._process.kill()
        await told.wait()
        assert events[-1].cause == Cause(kind="killed", by="zygote")
        assert (evaluator._zygotes._tasks[kind] is not task) == again, "not again and again"
    assert (await evaluator.start(Spec(Ref("c", 1)))).pid != ready.pid
