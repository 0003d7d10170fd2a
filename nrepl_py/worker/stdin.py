"""What a session's Python code reads, as its `sys.stdin`: asked of the client when it is wanted."""

from __future__ import annotations

import io
import sys
import threading
from typing import Callable, Iterator, Optional


class Input(io.TextIOBase):
    """`sys.stdin` of a session: asks the client, one line at a time.

    What is fed belongs to the eval that asked; what it leaves unread dies with it.
    """

    encoding = "utf-8"
    errors = "strict"
    name = "<stdin>"
    mode = "r"

    def __init__(self, ask: Callable[[int, str, bool], None]) -> None:
        """`ask(serial, prompt, password)` tells the router that input is wanted."""
        self._ask = ask
        self._condition = threading.Condition()
        self._serial = 0
        self._allowed = False
        self._text = ""
        self._ends = 0
        self._waiting = 0
        self.buffer = _InputBytes(self)

    def begin(self, serial: int, allowed: bool) -> None:
        self._serial, self._allowed = serial, allowed
        if self._waiting or self._text or self._ends:
            with self._condition:
                self._text, self._ends = "", 0
                self._condition.notify_all()

    def become(self) -> None:
        """In a copy of this process, where nobody waits."""
        self._condition = threading.Condition()
        self._text, self._ends, self._waiting = "", 0, 0

    def end(self) -> None:
        """The eval ended: whoever still waits gets end of file."""
        self.begin(0, False)

    def wake(self) -> None:
        """Let who waits look around: an exception may have been set for it."""
        with self._condition:
            self._condition.notify_all()

    def feed(self, serial: int, text: str) -> None:
        """Input came; an empty text is one end of file."""
        with self._condition:
            if serial == self._serial:
                self._text += text
                self._ends += not text
                self._waiting = 0
                self._condition.notify_all()

    def readline(  # type: ignore[override]
        self, size: Optional[int] = -1, prompt: str = "", password: bool = False
    ) -> str:
        """One line with its newline; "" at end of file. `prompt` is shown where the user types."""
        with self._condition:
            while "\n" not in self._text and not self._ends:
                if not self._more(prompt, password):
                    break
                prompt = ""
            end = self._text.find("\n") + 1 or len(self._text)
            if size is not None and 0 <= size < end:
                end = size
            line, self._text = self._text[:end], self._text[end:]
            if not line and self._ends:
                self._ends -= 1
            return line

    def _more(self, prompt: str, password: bool) -> bool:
        """Wait until something comes; False where nothing can: that is end of file."""
        if not self._allowed:
            return False
        serial = self._serial
        if self._waiting != serial:
            self._waiting = serial
            self._ask(serial, prompt, password)
        try:
            while self._waiting == serial == self._serial:
                self._condition.wait()
        except BaseException:
            self._waiting = 0
            raise
        return serial == self._serial

    def read(self, size: Optional[int] = -1) -> str:
        parts = []
        wanted = -1 if size is None else size
        while wanted != 0:
            line = self.readline(wanted)
            parts.append(line)
            if not line:
                break
            if wanted > 0:
                wanted -= len(line)
        return "".join(parts)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.readline, "")

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise io.UnsupportedOperation("this session's input comes from the client, not from a descriptor")

    def close(self) -> None:
        """Without effect: `exit()` closes sys.stdin, and the session lives on."""


class _InputBytes(io.RawIOBase):
    """`sys.stdin.buffer`."""

    def __init__(self, source: Input) -> None:
        self._source = source

    def readline(self, size: Optional[int] = -1) -> bytes:
        return self._source.readline(size).encode("utf-8", "surrogateescape")

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size).encode("utf-8", "surrogateescape")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Without effect, as for the text stream."""


def ask_line(source: Input, prompt: str, password: bool) -> str:
    """One line without its newline. Raises EOFError at end of file."""
    sys.stdout.flush()
    line = source.readline(prompt=prompt, password=password)
    if not line:
        raise EOFError("EOF when reading a line")
    return line[:-1] if line.endswith("\n") else line
