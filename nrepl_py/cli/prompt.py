"""The interactive terminal: highlighting, history, live completions, blocks by `is-complete`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.patch_stdout import patch_stdout
from pygments.lexers.python import PythonLexer

from nrepl_py.client import aio
from nrepl_py.errors import NreplError

INDENT = "    "
"""What Tab inserts at the beginning of a line: PEP 8's four spaces."""


class Prompt:
    """A terminal with a user at it."""

    def __init__(self, session: aio.Session) -> None:
        self._session = session
        self._held: list[KeyPress] | None = None
        self._code: PromptSession[str] = PromptSession(
            ">>> ",
            multiline=True,
            prompt_continuation="... ",
            lexer=PygmentsLexer(PythonLexer),
            history=FileHistory(history_file()),
            completer=_Completions(session),
            complete_while_typing=True,
            key_bindings=self._keys(),
            include_default_pygments_style=True,
        )
        self._input: PromptSession[str] = PromptSession()

    def start(self) -> None:
        """Say what answers here. Ctrl-C between an eval's end and the next prompt does nothing."""
        # Not SIG_IGN, which workers started from here would inherit.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        print(f"Python {self._session.info.get('version', '') or 'session'} - Ctrl-D exits")

    async def code(self) -> str | None:
        """As `Terminal.code`."""
        try:
            with patch_stdout(raw=True):
                # Here and below, Ctrl-C is a key; the signal stays ours.
                return await self._code.prompt_async(handle_sigint=False)
        except EOFError:
            return None

    async def input(self, prompt: str, password: bool) -> str | None:
        """As `Terminal.input`."""
        try:
            return await self._input.prompt_async(prompt, is_password=password, handle_sigint=False)
        except EOFError:
            return None

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        waiting = Condition(lambda: self._held is not None)

        @keys.add(Keys.Any, filter=waiting, eager=True)
        def _(event: KeyPressEvent) -> None:
            if self._held is not None:
                self._held += event.key_sequence

        @keys.add("enter", filter=~waiting)
        def _(event: KeyPressEvent) -> None:
            # What is typed while the answer comes is for after it: from this key on, not from when the task runs.
            self._held = []
            event.app.create_background_task(self._entered(event))

        @keys.add("escape", "enter", filter=~waiting)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("tab", filter=~waiting & Condition(self._at_line_start))
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text(INDENT)

        return keys

    async def _entered(self, event: KeyPressEvent) -> None:
        try:
            await self._enter(event)
        finally:
            held, self._held = self._held or [], None
            event.app.key_processor.feed_multiple(held)
            if not event.app.is_done:
                event.app.key_processor.process_keys()

    def _at_line_start(self) -> bool:
        return not self._code.default_buffer.document.current_line_before_cursor.strip()

    async def _enter(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.text[buffer.cursor_position :].strip():
            state, indent = "incomplete", ""
            if buffer.document.on_last_line:
                state, indent = await self._state(buffer.text)
                buffer.cursor_position = len(buffer.text)
        else:
            state, indent = await self._state(buffer.text)
        if state == "incomplete":
            buffer.insert_text("\n" + indent)
        else:
            buffer.validate_and_handle()

    async def _state(self, code: str) -> tuple[str, str]:
        try:
            answer = await self._session.is_complete(code)
        except NreplError:
            return "complete", ""
        return answer["state"], answer["indent"]


class _Completions(Completer):
    """What the session proposes, beside whatever it runs."""

    def __init__(self, session: aio.Session) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        cursor = document.cursor_position
        if not document.current_line_before_cursor.strip():
            return
        try:
            found = await self._session.completions(document.text, cursor)
        except NreplError:
            return
        for one in found:
            yield Completion(one["candidate"], start_position=one["start"] - cursor, display_meta=one["type"])


def history_file() -> str:
    """`nrepl-py/history` in the user's state directory; readable by the user only, like what it may hold."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(Path.home(), ".local", "state")
    path = os.path.join(state, "nrepl-py", "history")
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError as error:
        print(f"nrepl-py: no history: {path}: {error.strerror}", file=sys.stderr)
        return os.devnull
    return path
