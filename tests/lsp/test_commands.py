"""The commands of the language server: what they take, what of a document they run, what they refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nrepl_py.lsp.commands import Commands
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.live import Where
from nrepl_py.lsp.runs import Runs
from tests.lsp.conftest import Recorder, living

URI = "file:///work/commands.py"
SOURCE = """\
# %% first
a = 1

# %% second
def f():
    b = 2
    return b

f()
"""


@asynccontextmanager
async def commanding(where: Where) -> AsyncIterator[tuple[Commands, Recorder]]:
    """Commands about one document."""
    async with living(where) as (live, recorder):
        yield Commands(live, Runs(live, recorder), recorder, {URI: Document(URI, SOURCE, "utf-16")}), recorder


def code(recorder: Recorder) -> list[tuple[str, int]]:
    """What was run, and at which line it began."""
    started = [message["started"] for _, _, message in recorder.messages if "started" in message]
    return [(one["code"], one["line"]) for one in started]


async def test_what_each_runs(where: Where) -> None:
    async with commanding(where) as (commands, recorder):
        for name, line, ran in (
            ("evalCell", 1, ("a = 1\n\n", 2)),
            ("evalDefinition", 6, ("def f():\n    b = 2\n    return b", 5)),
            ("evalLine", 5, ("b = 2", 6)),
            ("evalAbove", 3, ("a = 1\n", 2)),
            ("evalFile", 0, (SOURCE, 1)),
        ):
            recorder.messages.clear()
            given = {"textDocument": {"uri": URI}, "position": {"line": line}, "wait": True}
            assert "done" in (await commands.execute(f"nrepl-py.{name}", given))["status"]
            ((text, begun),) = code(recorder)
            assert (text.strip(), begun) == (ran[0].strip(), ran[1]), name
        recorder.messages.clear()
        chosen = {"start": {"line": 1, "character": 4}, "end": {"line": 1, "character": 5}}
        assert (await commands.execute("evalSelection", {"uri": URI, "range": chosen, "wait": True}))["value"] == "1"
        assert code(recorder) == [("1", 2)]
        assert (await commands.execute("eval", {"code": "f()", "wait": True}))["value"] == "2"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("evalNothing", {}, "there is no command evalNothing; there are nrepl-py.evalCell, "),
        ("evalCell", [URI, 1], "takes one map"),
        ("evalCell", {}, "needs the uri of a document"),
        ("evalCell", {"uri": "file:///other.py"}, "is not open in the editor"),
        ("evalLine", {"uri": URI, "position": {"line": "1"}}, "is no position in a document"),
        ("evalLine", {"uri": URI, "position": {"line": 2}}, "there is no code on line 3"),
        ("evalDefinition", {"uri": URI, "position": {"line": 2}}, "line 3 is in no definition"),
        ("eval", {"code": 1}, "needs code, a string"),
        ("eval", {"code": ""}, "code is empty"),
        ("isComplete", {}, "needs code, a string"),
        ("stdin", {"stdin": 1}, "needs stdin, a string"),
        ("stdin", {"stdin": None}, "no run asks for input"),
        ("attach", {}, "needs session, a string"),
        ("clone", {"name": 1}, "needs name, a string"),
    ],
)
async def test_what_is_refused(where: Where, name: str, given: Any, said: str) -> None:
    async with commanding(where) as (commands, recorder):
        answer = await commands.execute(name, given)
        assert answer.keys() == {"error", "message"}
        assert said in answer["message"]
        assert recorder.told == [(answer["message"], True)]


async def test_a_branch_does_not_overtake_a_run(where: Where) -> None:
    async with commanding(where) as (commands, recorder):
        await commands.execute("eval", {"code": "1", "wait": True})
        asked = ("eval", {"code": "print('runs', flush=True)\nwhile True: pass"}), ("clone", {}), ("restart", {})
        _, clone, restart = await asyncio.gather(*(commands.execute(*one) for one in asked))
        assert clone["error"] == "busy"
        assert restart.keys() == {"session"}
        await recorder.until(lambda: not recorder.open)


async def test_of_the_session(where: Where) -> None:
    async with commanding(where) as (commands, recorder):
        assert await commands.execute("isComplete", {"code": "1 + 1"}) == {"state": "complete", "indent": ""}
        assert (await commands.execute("clone", {"name": "kept"}))["name"] == "kept"
        assert await commands.execute("rollback", {}) == {"name": "kept"}
        (current,) = [one["id"] for one in (await commands.execute("sessions", {}))["sessions"] if one["current"]]
        assert await commands.execute("restart", {}) == {"session": current}
        assert await commands.execute("attach", {"session": current}) == {"session": current}
        assert (await commands.execute("interrupt", {}))["status"] == ["session-idle"]
        assert ("nothing runs", False) in recorder.told
