"""The language server: requests and notifications of LSP, and who answers them.

What asks the session asks it beside whatever runs, for a moment only, and is answered with nothing where the session
knows nothing, is not there yet, or is gone: only what the user runs starts one, and says what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from lsprotocol import types
from pygls.exceptions import FeatureRequestError
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.language_server import lsp_method
from pygls.uris import to_fs_path

from nrepl_py.client import aio
from nrepl_py.errors import NreplError
from nrepl_py.lsp import shapes
from nrepl_py.lsp.commands import Commands
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.editor import LspEditor, plain
from nrepl_py.lsp.live import Live, Where
from nrepl_py.lsp.runs import Runs
from nrepl_py.lsp.text import Unit
from nrepl_py.version import __version__

ANSWER_SECONDS: Final = 3
"""Until a question is answered with nothing; the server itself gives a session one second."""

UNITS: Final[dict[types.PositionEncodingKind, Unit]] = {
    types.PositionEncodingKind.Utf8: "utf-8",
    types.PositionEncodingKind.Utf16: "utf-16",
    types.PositionEncodingKind.Utf32: "utf-32",
}

_Answer = TypeVar("_Answer")


class Protocol(LanguageServerProtocol):
    """LSP, but for what would show our insides or lose a request's cancellation."""

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(self, params: types.ExecuteCommandParams) -> Any:  # type: ignore[override]
        arguments = plain(list(params.arguments or [{}]))
        server = self._server
        assert isinstance(server, Server)
        return await server.commands.execute(params.command, arguments[0] if len(arguments) == 1 else arguments)

    def _send_response(self, msg_id: Any, result: Any = None, error: types.ResponseError | None = None) -> None:
        if error is not None:
            error.data = None  # a traceback of ours
        super()._send_response(msg_id, result, error)

    def _handle_response(self, msg_id: Any, result: Any = None, error: types.ResponseError | None = None) -> None:
        future = self._request_futures.get(msg_id)
        if future is not None and future.done():  # we wait for it no more, and it was too late to say so
            self._request_futures.pop(msg_id)
        else:
            super()._handle_response(msg_id, result, error)

    def refuse(self, raw: Any, error: Exception) -> None:
        """Answer a message that could not be read, where it is a request."""
        if isinstance(raw, dict) and "method" in raw and isinstance(raw.get("id"), int | str):
            told = types.ResponseError(types.ErrorCodes.InvalidParams, f"{raw['method']}: the request is malformed")
            self._send_response(raw["id"], error=told)


class Server(LanguageServer):
    """One editor's: its documents, its session, and what runs there."""

    def __init__(self, where: Where) -> None:
        super().__init__("nrepl-py", __version__, types.TextDocumentSyncKind.Full, protocol_cls=Protocol)
        self.documents: dict[str, Document] = {}
        self.editor = LspEditor(self, lambda: list(self.documents.values()))
        self.live = Live(where, self.editor.tell, self.editor.observed)
        self.runs = Runs(self.live, self.editor)
        self.commands = Commands(self.live, self.runs, self.editor, self.documents)
        self._finding: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        for name, handler, *options in self._features():
            self.feature(name, *options)(partial(handler))  # it writes attributes, which methods have not
        for name in self.commands.names:  # for the capabilities; `Protocol` carries them out
            self.command(name)(partial(self.commands.execute, name))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """A message that could not be handled: the user is told in a sentence, or the request is answered."""
        if source is not FeatureRequestError:
            self.editor.tell(f"this went wrong in the language server itself: {str(error).splitlines()[0][:200]}", True)

    async def aclose(self) -> None:
        """End what runs, and the session unless it lives on. Idempotent."""
        self._shutdown()
        assert self._ending is not None
        await self._ending

    async def _end(self) -> None:
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.wait({self._finding})
        await self.runs.aclose()
        await self.live.aclose()

    def _features(self) -> list[tuple[Any, ...]]:
        completion = types.CompletionOptions(trigger_characters=[".", "[", '"', "'"])
        return [
            (types.INITIALIZE, self._initialize),
            (types.INITIALIZED, self._initialized),
            (types.SHUTDOWN, self._shutdown),
            (types.TEXT_DOCUMENT_DID_OPEN, self._opened),
            (types.TEXT_DOCUMENT_DID_CHANGE, self._changed),
            (types.TEXT_DOCUMENT_DID_CLOSE, self._closed),
            (types.WINDOW_WORK_DONE_PROGRESS_CANCEL, self._cancelled),
            (types.TEXT_DOCUMENT_COMPLETION, self._completion, completion),
            (types.TEXT_DOCUMENT_HOVER, self._hover),
            (types.TEXT_DOCUMENT_SIGNATURE_HELP, self._signature, types.SignatureHelpOptions(["(", ","])),
            (types.TEXT_DOCUMENT_DEFINITION, self._definition),
            (types.TEXT_DOCUMENT_CODE_LENS, self._lenses),
            (types.TEXT_DOCUMENT_INLAY_HINT, self._hints),
            (types.TEXT_DOCUMENT_CODE_ACTION, self._actions, types.CodeActionOptions([ACTION])),
        ]

    # -- the life of it -------------------------------------------------------------------------------

    def _initialize(self, params: types.InitializeParams) -> None:
        self.editor.initialize(params)
        folders = params.workspace_folders or []
        root = folders[0].uri if folders else params.root_uri
        directory = to_fs_path(root) if root and root.startswith("file:") else params.root_path
        if directory:
            self.live.root = directory

    def _initialized(self, params: types.InitializedParams) -> None:
        self._finding = asyncio.create_task(self._find())

    async def _find(self) -> None:
        """Take up the session of a server that runs already, so that it completes before anything is run here."""
        try:
            await self.live.session(start=False)
        except NreplError as error:
            self.editor.tell(str(error), True)

    def _shutdown(self, params: None = None) -> None:
        """Begin to end: some editors kill who has not ended a moment after they said so."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())

    def _opened(self, params: types.DidOpenTextDocumentParams) -> None:
        opened = params.text_document
        encoding = types.PositionEncodingKind(self.workspace.position_encoding or "utf-16")
        self.documents[opened.uri] = Document(opened.uri, opened.text, UNITS[encoding])

    def _changed(self, params: types.DidChangeTextDocumentParams) -> None:
        document = self.documents.get(params.text_document.uri)
        if document is not None and params.content_changes and document.update(params.content_changes[-1].text):
            self.editor.publish(document)

    def _closed(self, params: types.DidCloseTextDocumentParams) -> None:
        document = self.documents.pop(params.text_document.uri, None)
        if document is not None:
            self.editor.publish(document, gone=True)

    async def _cancelled(self, params: types.WorkDoneProgressCancelParams) -> None:
        await self.commands.execute("interrupt", {"run": params.token})

    # -- questions ------------------------------------------------------------------------------------

    async def _completion(self, params: types.CompletionParams) -> types.CompletionList | None:
        def question(document: Document, session: aio.Session, cursor: int) -> Awaitable[list[dict[str, Any]]]:
            return session.completions(document.text.source, cursor, file=document.file)

        document = self.documents.get(params.text_document.uri)
        found = await self._ask(params, question)
        if document is None or found is None:
            return None
        details = self.editor.can("text_document", "completion", "completion_item", "label_details_support")
        cursor = document.text.offset(params.position.line, params.position.character)
        items = shapes.completions(document, params.position, cursor, found, self.editor.beside, bool(details))
        return types.CompletionList(is_incomplete=False, items=items)

    async def _hover(self, params: types.HoverParams) -> types.Hover | None:
        info = await self._ask(params, _lookup)
        if info is None or (self.editor.beside and "value" not in info):
            return None  # without a value it is what a static server says better
        formats = self.editor.can("text_document", "hover", "content_format") or ()
        return shapes.hover(info, types.MarkupKind.Markdown in formats)

    async def _signature(self, params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        def question(document: Document, session: aio.Session, cursor: int) -> Awaitable[list[dict[str, Any]]]:
            return session.signature(document.text.source, cursor)

        return shapes.signatures(await self._ask(params, question) or [])

    async def _definition(self, params: types.DefinitionParams) -> types.Location | None:
        info = await self._ask(params, _lookup)
        if info is None or (self.editor.beside and info.get("file") == self._file(params)):
            return None
        return shapes.location(info, self.documents.values())

    def _file(self, params: Any) -> str | None:
        document = self.documents.get(params.text_document.uri)
        return None if document is None else document.file

    async def _ask(
        self, params: Any, question: Callable[[Document, aio.Session, int], Awaitable[_Answer]]
    ) -> _Answer | None:
        document, session = self.documents.get(params.text_document.uri), self.live.current
        if document is None or session is None:
            return None
        cursor = document.text.offset(params.position.line, params.position.character)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question(document, session, cursor)
        except (NreplError, TimeoutError):
            return None

    # -- of the text ----------------------------------------------------------------------------------

    def _lenses(self, params: types.CodeLensParams) -> list[types.CodeLens]:
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return []
        outline = document.outline
        always = not self.editor.can("workspace", "code_lens", "refresh_support")
        cells = [cell for cell in outline.cells if not cell.name.startswith("[markdown]")]
        return [
            lens
            for block in sorted([*cells, *outline.definitions], key=lambda block: block.start)
            for lens in shapes.lenses(
                block, document.uri, always or self.runs.is_running(document, block.start, block.end)
            )
        ]

    def _hints(self, params: types.InlayHintParams) -> list[types.InlayHint]:
        document = self.documents.get(params.text_document.uri)
        return [] if document is None else shapes.hints(document, params.range.start.line, params.range.end.line)

    def _actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        only = params.context.only
        if params.text_document.uri not in self.documents or (
            only is not None and not any(kind == ACTION or ACTION.startswith(f"{kind}.") for kind in only)
        ):
            return []
        chosen = shapes.actions(params.text_document.uri, params.range)
        return [types.CodeAction(command.title, kind=ACTION, command=command) for command in chosen]


ACTION: Final = "source.nrepl-py"
"""The kind of our code actions: under `source`, they are offered when asked for and light no lamp."""


def _lookup(document: Document, session: aio.Session, cursor: int) -> Awaitable[dict[str, Any] | None]:
    return session.lookup(code=document.text.source, cursor=cursor)
