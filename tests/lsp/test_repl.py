"""What a REPL in an editor needs: code that is in no document, input by command, other sessions, and what others do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.conftest import Editor, Shell, editing


def messages(editor: Editor, run: str | None) -> list[dict[str, Any]]:
    """What the stream had of a run; of nobody's here, with None."""
    return [said["message"] for said in editor.stream if said["run"] == run]


async def test_code_that_is_in_no_document(tmp_path: Path) -> None:
    async with editing(tmp_path, stream=True) as editor:
        outcome = await editor.execute("eval", code="def half(n): return 1 / n\nhalf(2)\n", wait=True)
        assert (outcome["value"], outcome["status"]) == ("0.5", ["done"])
        assert {said["uri"] for said in editor.stream} == {""}
        outcome = await editor.execute("eval", code="half(0)", wait=True)
        assert outcome["error"]["type"] == "ZeroDivisionError"
        told = "".join(message.get("err", "") for message in messages(editor, outcome["id"]))
        assert "def half(n): return 1 / n" in told  # each input's own text, however many there are
        assert editor.client.diagnostics == {}  # there is no document to show it in
        assert await editor.execute("isComplete", code="for n in 1, 2:") == {"state": "incomplete", "indent": "    "}
        assert (await editor.execute("isComplete", code="half(2)"))["state"] == "complete"
        assert "needs code, a string" in (await editor.execute("eval"))["message"]
        assert "is empty" in (await editor.execute("eval", code=" \n"))["message"]


async def test_input_by_command(tmp_path: Path) -> None:
    async with editing(tmp_path, stream=True, input="command") as editor:
        waiting = asyncio.create_task(editor.execute("eval", code="[input('who? '), input()]", wait=True))

        def asked() -> list[str]:
            said = [one["message"] for one in editor.stream]
            return [one["prompt"] for one in said if "need-input" in one.get("status", ())]

        await editor.until(lambda: asked() == ["who? "])
        run = editor.stream[-1]["run"]
        assert (await editor.execute("stdin", run="another", stdin="no"))["error"] == "not-found"
        assert await editor.execute("stdin", run=run, stdin="Ada") == {}
        await editor.until(lambda: asked() == ["who? ", ""])
        assert await editor.execute("stdin", stdin=None) == {}
        assert (await waiting)["error"]["type"] == "EOFError"
        assert (await editor.execute("stdin", stdin="late"))["error"] == "not-found"
        # An interrupt ends what asks, and with it the question.
        waiting = asyncio.create_task(editor.execute("eval", code="input('again? ')", wait=True))
        await editor.until(lambda: "again? " in asked())
        await editor.execute("interrupt")
        assert "interrupted" in (await waiting)["status"]
        assert (await editor.execute("stdin", stdin="late"))["error"] == "not-found"


async def test_going_from_session_to_session(served: Shell) -> None:
    assert served.run("eval", "--session", "there", "place = 'there'").returncode == 0
    async with editing(served.directory, stream=True) as editor:
        await editor.execute("eval", code="place = 'here'", wait=True)
        await editor.execute("clone", name="kept")
        sessions = (await editor.execute("sessions"))["sessions"]
        (here,) = [one["id"] for one in sessions if one["current"]]
        assert "there" in [one["name"] for one in sessions if not one["current"]]

        there = (await editor.execute("attach", session="there"))["session"]
        assert there != here
        assert (await editor.execute("eval", code="place", wait=True))["value"] == "'there'"
        assert (await editor.execute("rollback"))["error"] == "not-found"  # the branch is of the other
        # What another client does there is told, too.
        assert (await asyncio.to_thread(served.run, "eval", "--session", "there", "print('theirs')")).returncode == 0
        await editor.until(lambda: "theirs\n" in [one.get("out") for one in messages(editor, None)])

        assert (await editor.execute("attach", session="nowhere"))["error"] == "unknown-session"
        await editor.execute("attach", session=here)
        await editor.execute("eval", code="place = 'changed'", wait=True)
        assert await editor.execute("rollback") == {"name": "kept"}
        assert (await editor.execute("eval", code="place", wait=True))["value"] == "'here'"
        editor.stream.clear()
        assert (await asyncio.to_thread(served.run, "eval", "--session", "there", "print('unheard')")).returncode == 0
        await editor.execute("eval", code="print('own')", wait=True)
        assert editor.output() == "own\n"
    left = (await asyncio.to_thread(served.run, "sessions")).stdout
    assert "there" in left
    assert here not in left  # this editor's own ends with it, wherever it was at its end


async def test_events_of_a_session_that_was_there_before(served: Shell) -> None:
    assert served.run("eval", "--session", "before", "1").returncode == 0
    async with editing(served.directory, "--session", "before", stream=True) as editor:
        assert (await editor.execute("isComplete", code="1"))["state"] == "complete"
        assert (await asyncio.to_thread(served.run, "restart", "before")).returncode == 0
        await editor.until(lambda: "restarted" in [one.get("event") for one in messages(editor, None)])
        await asyncio.to_thread(served.run, "eval", "--session", "before", "import os; os._exit(3)")
        await editor.until(lambda: editor.told("the session's Python has ended (exit 3)"))


async def test_output_that_outlives_its_run(tmp_path: Path) -> None:
    code = "import threading, time\nready = threading.Event()\n" + (
        "threading.Thread(target=lambda: (ready.wait(), print('late', flush=True))).start()"
    )
    async with editing(tmp_path, stream=True) as editor:
        await editor.execute("eval", code=code, wait=True)
        await editor.execute("eval", code="ready.set()", wait=True)
        await editor.until(
            lambda: ("late\n", True) in [(one.get("out"), one.get("late")) for one in messages(editor, None)]
        )


@pytest.mark.parametrize("given", [{}, {"session": 1}])
async def test_attach_needs_a_name(tmp_path: Path, given: dict[str, Any]) -> None:
    async with editing(tmp_path) as editor:
        assert "needs session, a string" in (await editor.execute("attach", **given))["message"]
