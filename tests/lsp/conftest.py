"""The real program, spoken to by real clients: pytest-lsp's over pipes and TCP, and editors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client

from nrepl_py.embed import Embedded
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.live import Live, Where
from tests.cli.conftest import COMMAND, ROOT, Shell, served, shell

__all__ = ["Shell", "served", "shell"]

PATIENCE = 60  # seconds before something that does not come fails a test


class Editor:
    """A client of `nrepl-py lsp`, and what it was told."""

    def __init__(self, client: LanguageClient, directory: Path) -> None:
        self.client = client
        self.directory = directory
        self.stream: list[dict[str, Any]] = []
        self.line: str | None = None
        self.asked: list[str] = []
        self.refreshed = 0
        self.looks = asyncio.Event()
        """Set while it looks again as soon as it is asked to."""
        self.looks.set()
        self._news = asyncio.Event()
        self._versions: dict[str, int] = {}
        self._open: set[str] = set()

        @client.feature("nrepl/stream")
        def stream(params: Any) -> None:
            self.stream.append({"uri": params.uri, "run": params.run, "message": _plain(params.message)})
            self._news.set()

        @client.feature("nrepl/input")
        async def answer(params: Any) -> str | None:
            self.asked.append(params.prompt)
            self._news.set()  # it runs after its message was handled
            if self.line is not None:
                return self.line
            try:
                return await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.asked.append("cancelled")
                self._news.set()
                raise

        @client.feature(types.WORKSPACE_INLAY_HINT_REFRESH)
        async def hints(params: Any) -> None:
            self.refreshed += 1
            await self.looks.wait()

        @client.feature(types.WORKSPACE_CODE_LENS_REFRESH)
        async def lenses(params: Any) -> None:
            self.refreshed += 1
            await self.looks.wait()

        handle = client.protocol.handle_message

        def handled(message: Any) -> None:
            handle(message)
            self._news.set()

        client.protocol.handle_message = handled  # type: ignore[method-assign]

    def open(self, source: str, name: str = "work.py") -> str:
        """Open a document, again where it is open."""
        uri = (self.directory / name).as_uri()
        if uri in self._open:
            self.close(uri)
        self._open.add(uri)
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "python", 1, source))
        )
        return uri

    def close(self, uri: str) -> None:
        self._open.remove(uri)
        self._versions.pop(uri, None)
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def change(self, uri: str, source: str) -> None:
        version = self._versions[uri] = self._versions.get(uri, 1) + 1
        whole = types.TextDocumentContentChangeWholeDocument(source)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(version, uri), [whole])
        )

    async def execute(self, command: str, **arguments: Any) -> Any:
        params = types.ExecuteCommandParams(command=f"nrepl-py.{command}", arguments=[arguments])
        answer = await asyncio.wait_for(self.client.workspace_execute_command_async(params), PATIENCE)
        return _plain(answer)

    async def run(self, name: str, uri: str, line: int = 0, **arguments: Any) -> Any:
        """A run's outcome."""
        at = {"line": line, "character": 0}
        return await self.execute(name, uri=uri, position=at, wait=True, **arguments)

    async def complete(self, uri: str, line: int, character: int) -> dict[str, types.CompletionItem]:
        found: Any = await self.client.text_document_completion_async(
            types.CompletionParams(types.TextDocumentIdentifier(uri), types.Position(line, character))
        )
        return {item.label: item for item in found.items} if found else {}

    async def hints(self, uri: str) -> dict[int, str]:
        everywhere = types.Range(types.Position(0, 0), types.Position(1000, 0))
        found = await self.client.text_document_inlay_hint_async(
            types.InlayHintParams(types.TextDocumentIdentifier(uri), everywhere)
        )
        return {hint.position.line: str(hint.label) for hint in found or ()}

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for messages until the condition holds; what it returned."""
        async with asyncio.timeout(PATIENCE):
            while not (found := condition()):
                self._news.clear()
                await self._news.wait()
            return found

    def told(self, text: str) -> str | None:
        """A message shown to the user that has this text."""
        return next((shown.message for shown in self.client.messages if text in shown.message), None)

    def diagnostics(self, uri: str) -> list[types.Diagnostic]:
        return list(self.client.diagnostics.get(uri, ()))

    def output(self) -> str:
        """What the stream said on standard output and error."""
        messages = [said["message"] for said in self.stream]
        return "".join(message.get("out", "") + message.get("err", "") for message in messages)


class Recorder:
    """`runs.Editor` without an editor: what it was told, and the line it gives to who asks."""

    def __init__(self) -> None:
        self.mime: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.messages: list[tuple[str, str, dict[str, Any]]] = []
        self.beside: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.changes = 0
        self.line: str | None = None
        self.news = asyncio.Event()

    def tell(self, sentence: str, is_error: bool) -> None:
        self.told.append((sentence, is_error))
        self.news.set()

    def said(self, uri: str, run: str, message: dict[str, Any]) -> None:
        self.messages.append((uri, run, message))
        self.news.set()

    def observed(self, message: dict[str, Any]) -> None:
        self.beside.append(message)
        self.news.set()

    def begun(self, run: str, title: str) -> None:
        self.open.append(run)

    def ended(self, run: str) -> None:
        self.open.remove(run)
        self.news.set()

    def changed(self, document: Document) -> None:
        self.changes += 1

    async def ask(self, uri: str, run: str, prompt: str, password: bool) -> str | None:
        return self.line

    def answer(self, line: str | None, run: str | None) -> bool:
        return False

    def output(self) -> str:
        return "".join(message.get("out", "") for _, _, message in self.messages)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def where(server: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    """A server that runs, and the way to it."""
    token = tmp_path / "token"
    token.write_text(server.token)
    monkeypatch.setenv("NREPL_PY_TOKEN_FILE", str(token))
    return Where(url=server.url)


@asynccontextmanager
async def living(where: Where) -> AsyncIterator[tuple[Live, Recorder]]:
    """A session's side of the language server, without the rest of it."""
    recorder = Recorder()
    live = Live(where, recorder.tell, recorder.observed)
    try:
        yield live, recorder
    finally:
        await live.aclose()


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


async def initialize(client: LanguageClient, directory: Path, profile: str, offered: dict[str, Any]) -> Editor:
    capabilities = client_capabilities(profile)
    editor = Editor(client, directory)
    await client.initialize_session(
        types.InitializeParams(
            capabilities=capabilities,
            root_uri=directory.as_uri(),
            initialization_options={"nrepl": offered},
        )
    )
    return editor


@asynccontextmanager
async def editing(
    directory: Path, *options: str, profile: str = "emacs@v29.1", env: dict[str, str] | None = None, **offered: Any
) -> AsyncIterator[Editor]:
    """An editor in the directory, and the program of its own."""
    client = make_test_lsp_client()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    await client.start_io(*COMMAND, "lsp", *options, cwd=str(directory), env=environment)
    try:
        yield await initialize(client, directory, profile, offered)
        await asyncio.wait_for(client.shutdown_session(), PATIENCE)
        assert client._server is not None
        assert client._server.returncode == 0
    finally:
        if client._server is not None and client._server.returncode is None:
            client._server.kill()
        await client.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Editor]:
    """One for a whole file, that takes all we have; no server is in its directory."""
    async with editing(tmp_path_factory.mktemp("work"), stream=True, input=True) as editor:
        yield editor


@pytest_asyncio.fixture(loop_scope="module")
async def editor(shared: Editor) -> Editor:
    """That one, with a fresh session, to which nothing was said yet."""
    await shared.execute("restart")
    for kept in shared.stream, shared.asked, shared.client.messages, shared.client.log_messages:
        kept.clear()  # type: ignore[attr-defined]
    shared.line = None
    return shared
