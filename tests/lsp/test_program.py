"""`nrepl-py lsp` as an editor has it: the real program, over pipes and TCP, with what several clients can do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.lsp.conftest import Editor, editing

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = """\
# %% first
radius = 2
radius * 21
"text 𝄞"

def area(width, height=1):
    "How large it is."
    return width * height / (height - height_of_live)

# %% second
height_of_live = 1
area(3, 2)
"""


def at(uri: str, line: int, character: int) -> dict[str, Any]:
    return {"text_document": types.TextDocumentIdentifier(uri), "position": types.Position(line, character)}


async def test_a_session_beside_the_text(tmp_path: Path) -> None:
    async with editing(tmp_path, profile="neovim@v0.11.0") as editor:
        uri = editor.open(SOURCE)
        assert await editor.complete(uri, 1, 3) == {}  # nothing was run: nothing is live

        outcome = await editor.run("evalCell", uri, 1)
        assert (outcome["value"], outcome["status"]) == ("'text 𝄞'", ["done"])
        assert await editor.hints(uri) == {2: "=> 42", 3: "=> 'text 𝄞'"}

        item = (await editor.complete(uri, 1, 3))["radius"]
        assert item.detail == "live · instance"
        assert item.sort_text > "zzz"
        assert item.text_edit.range == types.Range(types.Position(1, 0), types.Position(1, 3))

        hovered = await editor.client.text_document_hover_async(types.HoverParams(**at(uri, 1, 2)))
        assert "radius = 2" in hovered.contents.value
        assert "live" in hovered.contents.value

        # A call that fails: at the deepest line of the document, with the way there.
        outcome = await editor.run("evalCell", uri, 10)
        assert outcome["value"] == "6.0"
        editor.change(uri, SOURCE.replace("area(3, 2)", "area(3)"))
        outcome = await editor.run("evalLine", uri, 11)
        assert outcome["error"]["type"] == "ZeroDivisionError"
        (diagnostic,) = await editor.until(lambda: editor.diagnostics(uri))
        assert (diagnostic.range.start.line, diagnostic.source, diagnostic.code) == (7, "nrepl-py", "ZeroDivisionError")
        assert diagnostic.message.startswith("ZeroDivisionError: ")
        lines = [related.location.range.start.line for related in diagnostic.related_information]
        assert lines == [11, 7]

        # Where it runs clean again, the error is gone.
        editor.change(uri, SOURCE)
        await editor.run("evalLine", uri, 11)
        await editor.until(lambda: not editor.diagnostics(uri))
        assert (await editor.hints(uri))[11] == "=> 6.0"

        # Output goes to the log, and reads are at their end, where the client has not said that it takes them.
        uri = editor.open("print('to the log')\ninput('name? ')\n")
        assert (await editor.run("evalFile", uri))["error"]["type"] == "EOFError"
        assert editor.told("name?")
        assert "to the log" in [logged.message for logged in editor.client.log_messages]
        assert editor.stream == []


async def test_what_a_call_takes_and_where_a_name_is_from(editor: Editor) -> None:
    uri = editor.open(SOURCE)
    await editor.run("evalFile", uri)
    other = editor.open("import json\narea(1, \njson.dumps\nradius.bit_\nheight_of\nprin\nwhi", "other.py")
    help = await editor.client.text_document_signature_help_async(types.SignatureHelpParams(**at(other, 1, 8)))
    assert help.signatures[0].label == "area(width, height=1)"
    assert help.active_parameter == 1
    found = await editor.client.text_document_definition_async(types.DefinitionParams(**at(other, 1, 2)))
    assert (found.uri, found.range.start.line) == (uri, 5)
    assert set(await editor.complete(other, 3, 11)) == {"bit_count", "bit_length"}
    assert set(await editor.complete(other, 4, 9)) == {"height_of_live"}
    # What any editor knows is not ours to say.
    assert await editor.complete(other, 5, 4) == {}
    assert await editor.complete(other, 6, 3) == {}


async def test_lenses(editor: Editor) -> None:
    uri = editor.open(SOURCE)
    lenses = await editor.client.text_document_code_lens_async(types.CodeLensParams(types.TextDocumentIdentifier(uri)))
    shown = [(lens.range.start.line, lens.command.title) for lens in lenses]
    # This client cannot be told to ask again, so that an interrupt is always there.
    assert shown == [
        (0, "Run cell"), (0, "Interrupt"), (5, "Run area"), (5, "Run above"), (5, "Interrupt"),
        (9, "Run cell"), (9, "Run above"), (9, "Interrupt"),
    ]  # fmt: skip
    above = lenses[6].command
    outcome = await editor.execute(above.command.removeprefix("nrepl-py."), wait=True, **_given(above.arguments[0]))
    assert outcome["status"] == ["done"]
    assert await editor.hints(uri) == {2: "=> 42", 3: "=> 'text 𝄞'"}
    actions = await editor.client.text_document_code_action_async(
        types.CodeActionParams(
            types.TextDocumentIdentifier(uri),
            types.Range(types.Position(2, 0), types.Position(2, 0)),
            types.CodeActionContext([]),
        )
    )
    titles = [action.title for action in actions]
    assert titles == ["Run line", "Run definition", "Run cell", "Run file", "Interrupt"]


async def test_progress_and_interrupts_and_what_another_server_says(tmp_path: Path) -> None:
    async with editing(tmp_path, profile="visual-studio-code@v1.65.2", stream=True, beside=True) as editor:
        uri = editor.open("# %% a\nprint('runs', flush=True)\nwhile True: pass\n# %% b\n1\n")

        async def titles() -> list[str]:
            asked = types.CodeLensParams(types.TextDocumentIdentifier(uri))
            return [lens.command.title for lens in await editor.client.text_document_code_lens_async(asked)]

        assert "Interrupt" not in await titles()
        before = editor.refreshed
        run = await editor.execute("evalCell", uri=uri, position={"line": 1, "character": 0})
        await editor.until(lambda: "runs" in editor.output())
        assert editor.refreshed > before
        assert (await titles()).count("Interrupt") == 1
        # The editor's own way: the progress that can be cancelled.
        begun = await editor.until(lambda: editor.client.progress_reports.get(run["run"]))
        assert (begun[0].title, begun[0].cancellable) == ("Running cell a", True)
        editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(run["run"]))
        await editor.until(lambda: len(editor.client.progress_reports[run["run"]]) == 2)
        done = editor.stream[-1]["message"]["status"]
        assert {"interrupted", "done"} <= set(done)
        assert editor.diagnostics(uri) == []  # the user's wish is no error
        assert (await editor.run("evalCell", uri, 4))["value"] == "1"
        # However much is said, the editor is asked to look again when it has looked.
        before = editor.refreshed
        editor.looks.clear()
        await editor.run("evalFile", editor.open("1\n" * 300, "many.py"))
        assert editor.refreshed == before + 1  # for lenses; it has no hints
        editor.looks.set()
        await editor.until(lambda: editor.refreshed == before + 2)

        # It said that another server is there: only what that cannot know is ours to say.
        uri = editor.open("import json\nglobals()['made'] = 42\nnamed = 1\ndef f(): ...\n")
        await editor.run("evalFile", uri)
        other = editor.open("named = 1\nname\nmad\nf", "other.py")
        assert set(await editor.complete(other, 2, 3)) == {"made"}
        assert await editor.complete(other, 1, 4) == {}
        hover = editor.client.text_document_hover_async
        assert await hover(types.HoverParams(**at(uri, 3, 4))) is None
        assert "made = 42" in (await hover(types.HoverParams(**at(editor.open("made", "c.py"), 0, 2)))).contents.value
        definition = editor.client.text_document_definition_async
        assert await definition(types.DefinitionParams(**at(uri, 3, 4))) is None


def _given(argument: Any) -> dict[str, Any]:
    position = argument["position"] if isinstance(argument, dict) else argument.position._asdict()
    return {"uri": argument["uri"] if isinstance(argument, dict) else argument.uri, "position": dict(position)}


async def test_a_selection_a_definition_and_an_inner_line(editor: Editor) -> None:
    uri = editor.open("def f():\n    for n in range(2):\n        print('at', n)\n    n = 7\n    return n\nf()\n")
    chosen = {"start": {"line": 1, "character": 0}, "end": {"line": 3, "character": 0}}
    assert (await editor.execute("evalSelection", uri=uri, range=chosen, wait=True))["status"] == ["done"]
    assert editor.output() == "at 0\nat 1\n"
    assert await editor.hints(uri) == {2: "… at 1"}
    assert (await editor.run("evalLine", uri, 3))["status"] == ["done"]
    assert (await editor.run("evalDefinition", uri, 4))["status"] == ["done"]
    word = {"start": {"line": 5, "character": 0}, "end": {"line": 5, "character": 1}}
    assert "function f" in (await editor.execute("evalSelection", uri=uri, range=word, wait=True))["value"]
    assert (await editor.run("evalLine", uri, 5))["value"] == "7"


async def test_branches(editor: Editor) -> None:
    uri = editor.open("items = []\nitems.append(1); len(items)\n")
    await editor.run("evalLine", uri, 0)
    assert (await editor.execute("clone", name="empty"))["name"] == "empty"
    assert (await editor.run("evalLine", uri, 1))["value"] == "1"
    assert await editor.execute("rollback") == {"name": "empty"}
    assert (await editor.run("evalLine", uri, 1))["value"] == "1"
    assert editor.told("kept as branch empty")
    assert (await editor.execute("rollback", name="none"))["error"] == "not-found"
    await editor.execute("restart")
    assert (await editor.run("evalLine", uri, 1))["error"]["type"] == "NameError"


async def test_input_is_asked_for_where_the_editor_answers(editor: Editor) -> None:
    uri = editor.open("input('name? ').upper()\n")
    editor.line = "ada"
    assert (await editor.run("evalLine", uri))["value"] == "'ADA'"
    assert editor.asked == ["name? "]
    editor.line = None
    await editor.execute("evalLine", uri=uri, position={"line": 0, "character": 0})
    await editor.until(lambda: len(editor.asked) == 2)
    await editor.execute("interrupt")
    await editor.until(lambda: editor.asked[2:] == ["cancelled"])


async def test_the_stream_has_all_that_a_run_says(editor: Editor) -> None:
    uri = editor.open("import sys\nprint('o'); print('e', file=sys.stderr)\ndisplay('shown')\n1 / 0\n")
    outcome = await editor.run("evalFile", uri)
    assert {said["run"] for said in editor.stream} == {outcome["id"]}
    assert {said["uri"] for said in editor.stream} == {uri}
    names = set().union(*(said["message"] for said in editor.stream))
    assert {"out", "err", "display", "error", "status"} <= names


async def test_a_request_that_is_cancelled_interrupts(editor: Editor) -> None:
    uri = editor.open("print('runs', flush=True)\nwhile True: pass\n")
    waiting = asyncio.create_task(editor.run("evalFile", uri))
    await editor.until(lambda: "runs" in editor.output())
    request = next(iter(editor.client.protocol._request_futures))
    editor.client.cancel_request(types.CancelParams(request))
    with pytest.raises(Exception, match="canceled"):
        await waiting
    assert (await editor.execute("evalFile", uri=uri)).keys() == {"run"}
    statuses = (await editor.execute("interrupt"))["status"]
    assert "session-idle" not in statuses
