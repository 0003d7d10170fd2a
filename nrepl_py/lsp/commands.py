"""The commands of `workspace/executeCommand`: what they take, and what they do.

Each takes one map. Where it is about a document that has `uri` (or `textDocument`) and `position` or `range`, so that
an editor can pass what it passes everywhere. Runs are answered at once, with their `run`; with `wait: true` when they
have ended, with their outcome. What the session answers to the others comes when it does. An error is shown to the user
and answered as a map with `error` and `message`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nrepl_py.client import aio
from nrepl_py.client.snapshots import left_behind
from nrepl_py.errors import InvalidMessage, NotFound, NreplError
from nrepl_py.lsp.cells import Piece, piece
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.live import Live
from nrepl_py.lsp.runs import Editor, Runs

PREFIX: Final = "nrepl-py."

Arguments = dict[str, Any]


class Commands:
    """Those of one editor."""

    def __init__(self, live: Live, runs: Runs, editor: Editor, documents: dict[str, Document]) -> None:
        self._live = live
        self._runs = runs
        self._editor = editor
        self._documents = documents
        self._all: dict[str, Callable[[Arguments], Awaitable[Any]]] = {
            "evalCell": self._cell,
            "evalAbove": self._above,
            "evalSelection": self._selection,
            "evalDefinition": self._definition,
            "evalLine": self._line,
            "evalFile": self._file,
            "eval": self._code,
            "isComplete": self._is_complete,
            "stdin": self._stdin,
            "interrupt": self._interrupt,
            "restart": self._restart,
            "clone": self._clone,
            "rollback": self._rollback,
            "sessions": self._sessions,
            "attach": self._attach,
        }

    @property
    def names(self) -> list[str]:
        """All, with their prefix."""
        return [PREFIX + name for name in self._all]

    async def execute(self, name: str, arguments: Any) -> Any:
        """Carry one out; never raises for what the user or the server did."""
        command = self._all.get(name.removeprefix(PREFIX))
        try:
            if command is None:
                raise InvalidMessage(f"there is no command {name}; there are {', '.join(self.names)}")
            if not isinstance(arguments, dict):
                raise InvalidMessage(f"{name} takes one map, as {{uri, position}}")
            return await command(arguments)
        except NreplError as error:
            self._editor.tell(str(error), True)
            return {"error": error.code, "message": str(error)}

    async def _cell(self, given: Arguments) -> Any:
        document = self._document(given)
        cell = document.outline.cell_at(_line(given))
        named = f"cell {cell.name}".rstrip()
        return await self._start(given, document, document.outline.lines(cell.start, cell.end), named)

    async def _above(self, given: Arguments) -> Any:
        document = self._document(given)
        return await self._start(given, document, document.outline.lines(0, _line(given)), "all above")

    async def _selection(self, given: Arguments) -> Any:
        document, text = self._document(given), self._document(given).text
        try:
            (line, character), (last, last_character) = (_place(given["range"][end]) for end in ("start", "end"))
        except (KeyError, TypeError):
            raise InvalidMessage("evalSelection needs a range: {start: {line, character}, end: …}") from None
        code = text.source[text.offset(line, character) : text.offset(last, last_character)]
        chosen = piece(code, line, text.column(line, character), last + (last_character > 0 or last == line))
        return await self._start(given, document, chosen, "selection")

    async def _definition(self, given: Arguments) -> Any:
        document, line = self._document(given), _line(given)
        block = document.outline.statement_at(line)
        if block is None:
            raise InvalidMessage(f"line {line + 1} is in no definition that is in order")
        named = block.name or "statement"
        return await self._start(given, document, document.outline.lines(block.start, block.end), named)

    async def _line(self, given: Arguments) -> Any:
        document, line = self._document(given), _line(given)
        found = document.outline.line(line)
        if found is None:
            raise InvalidMessage(f"there is no code on line {line + 1}")
        return await self._start(given, document, found, f"line {line + 1}")

    async def _file(self, given: Arguments) -> Any:
        document = self._document(given)
        whole = Piece(document.text.source, 0, 0, 0, len(document.text.lines))
        return await self._start(given, document, whole, "file", whole=True)

    async def _code(self, given: Arguments) -> Any:
        code = _string(given, "code")
        document = Document("", code, "utf-32")
        return await self._start(given, document, Piece(code, 0, 0, 0, len(document.text.lines)), "code")

    async def _is_complete(self, given: Arguments) -> Any:
        return await (await self._session()).is_complete(_string(given, "code"))

    async def _stdin(self, given: Arguments) -> Any:
        line = None if given.get("stdin") is None else _string(given, "stdin")
        if not self._editor.answer(line, given.get("run")):
            raise NotFound("stdin: no run asks for input")
        return {}

    async def _start(
        self, given: Arguments, document: Document, chosen: Piece, title: str, whole: bool = False
    ) -> dict[str, Any]:
        if not chosen.code.strip():
            raise InvalidMessage(f"there is no code to run: {title} is empty")
        run = self._runs.start(document, chosen, f"Running {title}", whole)
        if given.get("wait") is not True or run.task is None:
            return {"run": run.id}
        try:
            await asyncio.wait({run.task})
        except asyncio.CancelledError:  # the request was cancelled, and with it what it waits for
            run.task.cancel()
            raise
        return run.outcome

    async def _interrupt(self, given: Arguments) -> Any:
        status = await self._runs.interrupt(given.get("run"))
        if "still-running" in status:
            self._editor.tell("it goes on running: the code does not react to an interrupt; restart ends it", True)
        if "session-idle" in status:
            self._editor.tell("nothing runs", False)
        return {"status": status}

    async def _restart(self, given: Arguments) -> Any:
        session = await self._session()
        await session.restart()
        self._editor.tell("a fresh session: everything defined before is gone", False)
        return {"session": session.id}

    async def _clone(self, given: Arguments) -> Any:
        await self._session()
        name, copy = await (await self._live.snapshots()).take(_name(given))
        shared = left_behind(copy)
        told = f"; not in it, or shared: {shared}" if shared else ""
        self._editor.tell(
            f"the session is kept as branch {name}, until the editor ends; rollback goes back{told}", False
        )
        return {"name": name, "session": copy.id}

    async def _rollback(self, given: Arguments) -> Any:
        await self._session()
        name = await (await self._live.snapshots()).go_back(_name(given))
        self._editor.tell(f"back at branch {name}", False)
        return {"name": name}

    async def _sessions(self, given: Arguments) -> Any:
        return {"sessions": await self._live.sessions()}

    async def _attach(self, given: Arguments) -> Any:
        return {"session": (await self._live.attach(_string(given, "session"))).id}

    async def _session(self) -> aio.Session:
        """The session, asked after those runs that were asked for before."""
        await asyncio.sleep(0)  # in which their tasks begin, and send: a branch without them would be another one
        session = await self._live.session()
        assert session is not None
        return session

    def _document(self, given: Arguments) -> Document:
        uri = given.get("uri") or (given.get("textDocument") or {}).get("uri")
        if not isinstance(uri, str):
            raise InvalidMessage("the command needs the uri of a document")
        if uri not in self._documents:
            raise InvalidMessage(f"{uri} is not open in the editor")
        return self._documents[uri]


def _line(given: Arguments) -> int:
    """The line meant: that of `position`, or where `range` begins."""
    try:
        return _place(given["position"] if "position" in given else given["range"]["start"])[0]
    except (KeyError, TypeError):
        raise InvalidMessage("the command needs a position: {line, character}") from None


def _place(position: Any) -> tuple[int, int]:
    line, character = position["line"], position.get("character", 0)
    if type(line) is not int or type(character) is not int or line < 0 or character < 0:
        raise InvalidMessage(f"line {line!r}, character {character!r} is no position in a document")
    return line, character


def _name(given: Arguments) -> str | None:
    return None if given.get("name") is None else _string(given, "name")


def _string(given: Arguments, name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise InvalidMessage(f"the command needs {name}, a string")
    return value
