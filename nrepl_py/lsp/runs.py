"""Running pieces of documents in the session, and passing on what they say.

A run is open from the user's wish to its `done`. It never fails: what went wrong is told, and stands in its outcome.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from nrepl_py.client.connection import ConnectionLost
from nrepl_py.client.results import EvalResult
from nrepl_py.client.stream import Stream
from nrepl_py.errors import NreplError, UnknownSession
from nrepl_py.lsp.cells import Piece
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.live import Live
from nrepl_py.lsp.results import Span, shorten

VALUE_BYTES: Final = 64 << 10
"""Of one value's text: no editor shows more."""

TAIL_CHARACTERS: Final = 4000
"""Of what a run has printed, kept for its hint."""


class Editor(Protocol):
    """What a run wants of the editor."""

    mime: list[str]
    """MIME types it wants of values, beside the text."""

    def tell(self, sentence: str, is_error: bool) -> None:
        """Show the user a sentence."""

    def said(self, uri: str, run: str, message: dict[str, Any]) -> None:
        """Pass on a message of a run."""

    def observed(self, message: dict[str, Any]) -> None:
        """Pass on what the session says beside: an event, output that outlived its run, another client's eval."""

    def begun(self, run: str, title: str) -> None:
        """A run waits or goes on from now on; its `run` is what `ended` is told."""

    def ended(self, run: str) -> None:
        """It is over."""

    def changed(self, document: Document) -> None:
        """Other results, or others running, than before."""

    async def ask(self, uri: str, run: str, prompt: str, password: bool) -> str | None:
        """A line the code asks for; None for end of file."""

    def answer(self, line: str | None, run: str | None) -> bool:
        """Give the run that asks, or the one that has asked first, its answer; whether one asks."""


@dataclass(eq=False)
class Run:
    """One. `outcome` is there when its task has ended."""

    id: str
    document: Document
    piece: Piece
    span: Span
    stream: Stream | None = None
    task: asyncio.Task[None] | None = None
    printed: str = ""
    has_values: bool = False
    is_cancelled: bool = False
    outcome: dict[str, Any] = field(default_factory=dict)


class Runs:
    """Those of one editor, in the order they were asked for."""

    def __init__(self, live: Live, editor: Editor) -> None:
        self._live = live
        self._editor = editor
        self._open: dict[str, Run] = {}

    def start(self, document: Document, piece: Piece, title: str, whole: bool = False) -> Run:
        """Run a piece of a document; `whole`: as the file that it is. Does not wait."""
        run = Run(secrets.token_hex(4), document, piece, document.results.begin(piece.start, piece.end))
        self._open[run.id] = run
        run.task = asyncio.create_task(self._run(run, whole))
        self._editor.begun(run.id, title)
        self._editor.changed(document)
        return run

    def is_running(self, document: Document, start: int, end: int) -> bool:
        """Whether something of these lines runs, or waits to."""
        return any(run.document is document and run.span.touches(start, end) for run in self._open.values())

    async def interrupt(self, id: str | None = None) -> list[str]:
        """Interrupt that run, or all of this editor's; one that waits never runs. Returns the statuses of it,
        `session-idle` where there is none."""
        chosen = [run for run in reversed(self._open.values()) if id in (None, run.id)]
        statuses: set[str] = set()
        for run in chosen:
            run.is_cancelled = True
            if run.stream is None or run.stream.id is None:
                assert run.task is not None
                run.task.cancel()
            else:
                reply = await run.stream.interrupt()
                statuses.update(reply.get("status", ()))
        if not chosen and id is None and self._live.current is not None:
            # What runs was begun by somebody else.
            statuses.update((await self._live.current.interrupt()).get("status", ()))
        elif not chosen:
            statuses.add("session-idle")
        return sorted(statuses - {"done"})

    async def aclose(self) -> None:
        """Interrupt all, and wait for their end."""
        tasks = [run.task for run in self._open.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, run: Run, whole: bool) -> None:
        clean = False
        try:
            session = await self._live.session()
            assert session is not None
            piece, file = run.piece, run.document.file
            options: Any = {"module": "auto", "values": "all", "print_quota": VALUE_BYTES}
            if self._editor.mime:
                options["mime"] = self._editor.mime
            if whole:
                run.stream = session.stream_file(file, piece.code, **options)
            elif file:
                run.stream = session.stream(piece.code, file=file, line=piece.line + 1, column=piece.column, **options)
            else:
                run.stream = session.stream(piece.code, **options)
            result = await run.stream.result(on_message=partial(self._said, run), on_input=partial(self._input, run))
            clean = result.ok
            self._finish(run, result)
        except ConnectionLost as error:
            self._refused(run, error, f"{error}; what the session held is gone with it, the next run begins anew")
        except UnknownSession as error:
            self._live.forget()
            self._refused(run, error, f"{error}; the next run gets a new session")
        except NreplError as error:
            self._refused(run, error, str(error))
        except asyncio.CancelledError:
            run.outcome = {"id": run.id, "status": ["cancelled", "done"]}
            if not run.is_cancelled:
                raise
        finally:
            self._open.pop(run.id, None)
            run.document.results.end(run.span, clean)
            self._editor.ended(run.id)
            self._editor.changed(run.document)

    def _said(self, run: Run, message: dict[str, Any]) -> None:
        if "out" in message:
            run.printed = (run.printed + message["out"])[-TAIL_CHARACTERS:]
        if "value" in message:
            run.has_values = True
            line = message.get("line", run.piece.line + 1) - 1
            end = message.get("end-line", line + 1)
            run.document.results.show(run.span, line, max(end, line + 1), f"=> {message['value']}")
            self._editor.changed(run.document)
        self._editor.said(run.document.uri, run.id, message)

    def _finish(self, run: Run, result: EvalResult) -> None:
        results, piece = run.document.results, run.piece
        if run.printed.strip() and not run.has_values:
            last = piece.line + piece.code.rstrip().count("\n")
            line = run.printed.strip("\n").rpartition("\n")[2]
            results.show(run.span, last, last + 1, line if line == run.printed.strip("\n") else f"… {line}")
            results.hints[-1].tooltip = run.printed if not run.span.is_edited else results.hints[-1].tooltip
        if result.error is not None and "interrupted" not in result.status:
            results.fail(run.span, result.error, run.document.file)
        if "output-limit" in result.status:
            self._editor.tell("the code was interrupted: it wrote more than a run may", True)
        error = result.error and {name: result.error.get(name) for name in ("type", "message")}
        run.outcome = {
            "id": run.id,
            "session": result.session,
            "status": sorted(result.status),
            "value": None if result.value is None else shorten(result.value, VALUE_BYTES),
            "error": error,
        }

    def _refused(self, run: Run, error: NreplError, sentence: str) -> None:
        run.outcome = {"id": run.id, "status": ["error", error.code, "done"], "message": sentence}
        self._editor.tell(sentence, True)

    async def _input(self, run: Run, prompt: str, password: bool) -> str | None:
        return await self._editor.ask(run.document.uri, run.id, prompt, password)
