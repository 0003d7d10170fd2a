"""Top-level `await`, and asyncio as a plain interpreter has it."""

from __future__ import annotations

from tests.contract.driver import Session


def test_top_level_await(any_session: Session) -> None:
    assert any_session.ok("import asyncio\nx = await asyncio.sleep(0, 'slept')\nx").value == "'slept'"


def test_every_asynchronous_form(any_session: Session) -> None:
    any_session.ok(
        "import asyncio\n"
        "async def numbers():\n    for i in range(3): yield i\n"
        "class Manager:\n    async def __aenter__(self): return 'entered'\n    async def __aexit__(self, *e): pass\n"
    )
    assert any_session.ok("[i async for i in numbers()]").value == "[0, 1, 2]"
    assert any_session.ok("async with Manager() as m:\n    pass\nm").value == "'entered'"
    assert any_session.ok("total = 0\nasync for i in numbers():\n    total += i\ntotal").value == "3"


def test_no_loop_runs_otherwise(any_session: Session) -> None:
    any_session.ok("import asyncio\nawait asyncio.sleep(0)")
    assert any_session.ok("async def main(): return 'ran'\nasyncio.run(main())").value == "'ran'"
    assert any_session.ok("await asyncio.sleep(0, 'again')").value == "'again'"


def test_one_loop_a_session(any_session: Session) -> None:
    any_session.ok("import asyncio\nfirst = asyncio.get_running_loop() if await asyncio.sleep(0, True) else None")
    assert any_session.ok("(await asyncio.sleep(0, asyncio.get_running_loop())) is first").value == "True"


def test_a_background_task_advances_while_an_eval_awaits(any_session: Session) -> None:
    any_session.ok("import asyncio\nseen = []\nasync def tick():\n    for i in range(3):\n"
                   "        await asyncio.sleep(0); seen.append(i)\n"
                   "async def make(): return asyncio.create_task(tick())\ntask = await make()")  # fmt: skip
    any_session.ok("await task")
    assert any_session.ok("seen").value == "[0, 1, 2]"


def test_an_error_in_a_coroutine(any_session: Session) -> None:
    run = any_session.eval("async def f():\n    1/0\nawait f()", file="a.py")
    assert [(frame["line"], frame["function"]) for frame in run.error["traceback"]] == [(3, "<module>"), (2, "f")]


def test_an_interrupted_await_cancels_its_task(any_session: Session) -> None:
    id = any_session.start(
        "import asyncio\ntry:\n    print('in'); await asyncio.sleep(1000)\n"
        "except asyncio.CancelledError:\n    print('cancelled'); raise"
    )
    any_session.peer.until(id, key="out")
    reply = any_session.request("interrupt", interrupt_id=id).last
    assert reply["stages"] == ["cancel"]
    run = any_session.peer.until(id)
    assert run.out == "cancelled\n"
    assert "interrupted" in run.last["status"]
    assert any_session.ok("await asyncio.sleep(0, 'fine')").value == "'fine'"


def test_context_variables_set_at_top_level_stay(any_session: Session) -> None:
    any_session.ok("import contextvars; v = contextvars.ContextVar('v'); _ = v.set('kept')")
    assert any_session.ok("v.get()").value == "'kept'"
