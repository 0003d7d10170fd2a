"""Runs of pieces of documents: their order, their outcome, what they leave in the document."""

from __future__ import annotations

import asyncio

from nrepl_py.lsp.cells import Piece
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.live import Where
from nrepl_py.lsp.runs import Run, Runs
from tests.lsp.conftest import living

URI = "file:///work/runs.py"


def whole(source: str) -> tuple[Document, Piece]:
    document = Document(URI, source, "utf-32")
    return document, Piece(source, 0, 0, 0, len(document.text.lines))


async def ended(run: Run) -> Run:
    assert run.task is not None
    await run.task
    return run


async def test_an_outcome_and_what_it_leaves(where: Where) -> None:
    async with living(where) as (live, recorder):
        runs = Runs(live, recorder)
        document, piece = whole("1 + 1\nprint('x')\n1 / 0\n")
        run = runs.start(document, piece, "all")
        assert recorder.open == [run.id]
        assert runs.is_running(document, 0, 1)
        await ended(run)
        assert recorder.open == []
        assert not runs.is_running(document, 0, 1)
        assert run.outcome["error"] == {"type": "ZeroDivisionError", "message": "division by zero"}
        assert [(hint.span.start, hint.label) for hint in document.results.hints] == [(0, "=> 2")]
        assert [failure.place.start for failure in document.results.failures] == [2]
        assert {(uri, id) for uri, id, _ in recorder.messages} == {(URI, run.id)}


async def test_code_of_no_document_has_no_file(where: Where) -> None:
    async with living(where) as (live, recorder):
        code = "__import__('sys')._getframe().f_code.co_filename"
        run = Runs(live, recorder).start(Document("", code, "utf-32"), Piece(code, 0, 0, 0, 1), "code")
        await ended(run)
        assert run.outcome["value"].startswith("'<eval ")


async def test_they_run_in_order_and_what_waits_can_be_taken_back(where: Where) -> None:
    async with living(where) as (live, recorder):
        runs = Runs(live, recorder)
        first = runs.start(*whole("order = []\nprint('runs', flush=True)\nwhile True: pass\n"), "first")
        second = runs.start(*whole("order.append(2)\n"), "second")
        await recorder.until(lambda: "runs" in recorder.output())
        assert await runs.interrupt("no such run") == ["session-idle"]
        assert "cancelled" not in await runs.interrupt(first.id)
        assert "interrupted" in (await ended(first)).outcome["status"]
        assert (await ended(second)).outcome["status"] == ["done"]
        third = runs.start(*whole("print('again', flush=True)\nwhile True: pass\n"), "third")
        fourth = runs.start(*whole("order.append(4)\n"), "fourth")
        await recorder.until(lambda: "again" in recorder.output())
        await runs.interrupt()
        assert "interrupted" in (await ended(third)).outcome["status"]
        assert "cancelled" in (await ended(fourth)).outcome["status"]
        last = runs.start(*whole("order\n"), "last")
        assert (await ended(last)).outcome["value"] == "[2]"
        assert await runs.interrupt() == ["session-idle"]


async def test_input_and_the_end_of_it(where: Where) -> None:
    async with living(where) as (live, recorder):
        runs = Runs(live, recorder)
        recorder.line = "Ada"
        assert (await ended(runs.start(*whole("input()\n"), "ask"))).outcome["value"] == "'Ada'"
        recorder.line = None
        assert (await ended(runs.start(*whole("input()\n"), "ask"))).outcome["error"]["type"] == "EOFError"


async def test_what_is_refused_is_told_and_the_end_interrupts_all() -> None:
    async with living(Where(url="ws://127.0.0.1:9")) as (live, recorder):
        runs = Runs(live, recorder)
        run = await ended(runs.start(*whole("1\n"), "refused"))
        assert run.outcome["status"] == ["error", "no-server", "done"]
        assert recorder.told == [(run.outcome["message"], True)]
        waiting = runs.start(*whole("1\n"), "waits")
        await runs.aclose()
        assert waiting.task is not None
        assert waiting.task.done()
        await asyncio.wait({waiting.task})
