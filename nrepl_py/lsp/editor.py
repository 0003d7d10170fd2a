"""The editor, as runs see it: what it is told and asked, each in the way it said it can take.

What goes beyond LSP is offered by the client, in `initializationOptions` or `capabilities.experimental`, under
`nrepl`: `stream` (it takes `nrepl/stream`: all that a session says), `input` (true: it answers `nrepl/input` with a
line, or null for end of file; "command": it answers what the stream asks with the command `stdin`), `mime` (types
wanted of values), `beside` (another Python server completes in the same buffer).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.shapes import diagnostics

STREAM: Final = "nrepl/stream"
INPUT: Final = "nrepl/input"


class LspEditor:
    """The one at the other end; `runs.Editor`. `documents` gives those that are open."""

    def __init__(self, server: LanguageServer, documents: Callable[[], list[Document]]) -> None:
        self._server = server
        self._documents = documents
        self._capabilities: Any = types.ClientCapabilities()
        self._progress: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, str] = {}
        self._reported: set[str] = set()
        self._refreshing: dict[str, bool] = {}
        self._questions: dict[str, asyncio.Future[str | None]] = {}
        self.mime: list[str] = []
        self.takes_stream = False
        self.answers = False
        self.commands_answer = False
        self.beside = False

    def initialize(self, params: types.InitializeParams) -> None:
        """Note what it can do."""
        self._capabilities = params.capabilities
        offered = {**_offer(params.capabilities.experimental), **_offer(params.initialization_options)}
        self.takes_stream = offered.get("stream") is True
        self.answers = offered.get("input") is True
        self.commands_answer = offered.get("input") == "command"
        self.beside = offered.get("beside") is True
        self.mime = [kind for kind in _listed(offered.get("mime")) if isinstance(kind, str)]

    def can(self, *path: str) -> Any:
        """What its capabilities have at this path; None where they end before."""
        found = self._capabilities
        for name in path:
            found = getattr(found, name, None)
        return found

    # -- for runs -------------------------------------------------------------------------------------

    def tell(self, sentence: str, is_error: bool) -> None:
        kind = types.MessageType.Error if is_error else types.MessageType.Info
        self._server.window_show_message(types.ShowMessageParams(kind, f"nrepl-py: {sentence}"))

    def said(self, uri: str, run: str, message: dict[str, Any]) -> None:
        if self.takes_stream:
            self._server.protocol.notify(STREAM, {"uri": uri, "run": run, "message": message})
            return
        told = self._lines.pop(run, "") + message.get("out", "") + message.get("err", "")
        whole, _, rest = told.rpartition("\n")
        if whole:
            self._log(whole)
        if rest:
            self._lines[run] = rest

    def observed(self, message: dict[str, Any]) -> None:
        if self.takes_stream:
            self._server.protocol.notify(STREAM, {"uri": None, "run": None, "message": message})

    def begun(self, run: str, title: str) -> None:
        if self.can("window", "work_done_progress"):
            self._progress[run] = asyncio.create_task(self._begin(run, title))

    def ended(self, run: str) -> None:
        if rest := self._lines.pop(run, ""):
            self._log(rest)
        beginning = self._progress.pop(run, None)
        if beginning is not None:
            beginning.add_done_callback(lambda _: self._end(run, beginning))

    def changed(self, document: Document) -> None:
        for name, method in (
            ("inlay_hint", types.WORKSPACE_INLAY_HINT_REFRESH),
            ("code_lens", types.WORKSPACE_CODE_LENS_REFRESH),
        ):
            if self.can("workspace", name, "refresh_support"):
                self._refresh(method)
        self.publish(document)

    def publish(self, document: Document, gone: bool = False) -> None:
        """Say which errors the document has now, where it has or had any; none when it is `gone`, or never was open."""
        related = bool(self.can("text_document", "publish_diagnostics", "related_information"))
        open = self._documents()
        found = [] if gone or document not in open else diagnostics(document, open, related)
        if found or document.uri in self._reported:
            (self._reported.add if found else self._reported.discard)(document.uri)
            self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(document.uri, found))

    async def ask(self, uri: str, run: str, prompt: str, password: bool) -> str | None:
        if self.commands_answer:
            question: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            self._questions[run] = question
            try:
                return await question
            finally:
                del self._questions[run]
        if not self.answers:
            words = f" ({prompt.strip()})" if prompt.strip() else ""
            self.tell(
                f"the code asks for input{words}, which this editor has no way to give: it gets end of file", True
            )
            return None
        asked = {"uri": uri, "run": run, "prompt": prompt, "password": password}
        id = secrets.token_hex(8)
        try:
            answer = await self._server.protocol.send_request_async(INPUT, asked, id)
        except asyncio.CancelledError:  # nobody waits for it any more
            self._server.protocol.notify(types.CANCEL_REQUEST, types.CancelParams(id))
            raise
        except JsonRpcException as error:
            self.tell(f"the editor did not answer what the code asked: {error}; it gets end of file", True)
            return None
        return answer if isinstance(answer, str) else None

    def answer(self, line: str | None, run: str | None) -> bool:
        waiting = [one for id, one in self._questions.items() if run in (None, id) and not one.done()]
        if waiting:
            waiting[0].set_result(line)
        return bool(waiting)

    # -------------------------------------------------------------------------------------------------

    def _refresh(self, method: str) -> None:
        """Have the client ask again; while it has not answered that, once more at most."""
        if method in self._refreshing:
            self._refreshing[method] = True
            return
        self._refreshing[method] = False
        asking = self._server.protocol.send_request_async(method)
        asking.add_done_callback(lambda asked: self._refreshed(method, asked))

    def _refreshed(self, method: str, asked: asyncio.Future[Any]) -> None:
        refused = asked.cancelled() or asked.exception() is not None
        if self._refreshing.pop(method) and not refused:
            self._refresh(method)

    def _log(self, text: str) -> None:
        self._server.window_log_message(types.LogMessageParams(types.MessageType.Log, text))

    async def _begin(self, run: str, title: str) -> None:
        await self._server.work_done_progress.create_async(run)
        self._server.work_done_progress.begin(run, types.WorkDoneProgressBegin(title, cancellable=True))

    def _end(self, run: str, beginning: asyncio.Task[None]) -> None:
        # A client that refused to begin is told of no end.
        if not beginning.cancelled() and beginning.exception() is None:
            self._server.work_done_progress.end(run, types.WorkDoneProgressEnd())
            self._server.work_done_progress.tokens.pop(run, None)


def plain(value: Any) -> Any:
    """What came without a type of its own, as dicts and lists."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _offer(options: Any) -> dict[str, Any]:
    """What stands under `nrepl`."""
    given = plain(options)
    offered = given.get("nrepl") if isinstance(given, dict) else None
    return offered if isinstance(offered, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
