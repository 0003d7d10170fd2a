"""What the session has said of a document: results and failures, at lines that follow the user's typing.

Lines and columns count from 0, ends are exclusive, columns are in code points. A result whose line is edited is gone;
a failure stays until the code that made it, or the code at its place, runs clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

HINT_CHARACTERS: Final = 80
"""Of a result shown in its line: what fits beside code in a wide window."""

TOOLTIP_CHARACTERS: Final = 4000
"""Of a result shown when the pointer is over it: some screens."""


@dataclass(eq=False)
class Span:
    """Lines that move when others are written above them. `begun` is where `start` was when it was made."""

    start: int
    end: int
    is_edited: bool = False
    begun: int = -1

    def __post_init__(self) -> None:
        self.begun = self.start

    def now(self, line: int) -> int:
        """Where a line of then is, as far as that is known."""
        return line - self.begun + self.start

    def touches(self, start: int, end: int) -> bool:
        """Whether it has a line from `start` to before `end`."""
        return self.start < end and start < self.end


@dataclass(eq=False)
class Hint:
    """A result, shown after the last line of what made it."""

    span: Span
    label: str
    tooltip: str


@dataclass(eq=False)
class Failure:
    """An error: `origin` is the code that was run, `place` the lines it is shown at."""

    origin: Span
    place: Span
    column: int
    end_column: int
    type: str
    message: str
    frames: Sequence[dict[str, Any]] = ()
    """The traceback, as the protocol has it."""


class Results:
    """Those of one open document."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.failures: list[Failure] = []
        self._running: list[Span] = []

    def begin(self, start: int, end: int) -> Span:
        """These lines run: what they said before is gone. `end` it."""
        span = Span(start, end)
        self._running.append(span)
        self.hints = [hint for hint in self.hints if not hint.span.touches(start, end)]
        return span

    def end(self, span: Span, clean: bool) -> None:
        """They have run, to their end if `clean`."""
        self._running.remove(span)
        if clean:
            self._clear(span)

    def show(self, span: Span, start: int, end: int, text: str) -> None:
        """A result of the running lines: `start` to before `end` made it, as they were numbered when it began."""
        if span.is_edited:
            return
        place = Span(span.now(start), span.now(end))
        self.hints = [hint for hint in self.hints if not hint.span.touches(place.start, place.end)]
        self.hints.append(Hint(place, brief(text), shorten(text, TOOLTIP_CHARACTERS)))

    def fail(self, span: Span, error: dict[str, Any], file: str) -> None:
        """An error of the running lines, as the protocol has it; `file` is what the document was called."""
        frames = error.get("traceback") or []
        frame: dict[str, Any] = next((frame for frame in reversed(frames) if frame.get("file") == file), {})
        line = frame.get("line")
        place = Span(*(self._place(span, frame) if line else (span.start, span.start + 1)))
        column, end_column = frame.get("column") or 0, frame.get("end-column")
        if not line or end_column is None:
            end_column = column + 1 if line and column else 1 << 30
        self._clear(span)
        told = "\n".join([f"{error.get('type')}: {error.get('message')}".rstrip(": "), *(error.get("notes") or ())])
        self.failures.append(Failure(span, place, column, end_column, str(error.get("type")), told, frames))

    def edited(self, first: int, end: int, new_end: int) -> None:
        """The lines `first` to before `end` were replaced, and those now reach to before `new_end`."""
        hints = [hint.span for hint in self.hints]
        failures = [span for failure in self.failures for span in (failure.origin, failure.place)]
        for span in {*hints, *failures, *self._running}:
            _move(span, first, end, new_end)
        self.hints = [hint for hint in self.hints if not hint.span.is_edited]
        self.failures = [failure for failure in self.failures if failure.place.start < failure.place.end]

    def _clear(self, span: Span) -> None:
        self.failures = [
            failure
            for failure in self.failures
            if not (failure.origin.touches(span.start, span.end) or failure.place.touches(span.start, span.end))
        ]

    @staticmethod
    def _place(span: Span, frame: dict[str, Any]) -> tuple[int, int]:
        line = frame["line"] - 1
        within = span.begun <= line
        start = max(0, span.now(line) if within else line)
        return start, start + max(1, (frame.get("end-line") or line + 1) - line)


def changed(old: Sequence[str], new: Sequence[str]) -> tuple[int, int, int] | None:
    """What `Results.edited` is told of two versions; None where they are the same."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    if first == len(old) == len(new):
        return None
    same = 0
    while same < min(len(old), len(new)) - first and old[-1 - same] == new[-1 - same]:
        same += 1
    return first, len(old) - same, len(new) - same


def brief(text: str) -> str:
    """One short line of a text, which says when there is more."""
    lines = text.strip("\n").split("\n")
    return shorten(lines[0].rstrip() + (" …" if len(lines) > 1 else ""), HINT_CHARACTERS)


def shorten(text: str, most: int) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _move(span: Span, first: int, end: int, new_end: int) -> None:
    if end <= span.start:
        span.start += new_end - end
        span.end += new_end - end
    elif first < span.end:
        span.is_edited = True
        span.start = min(span.start, max(first, new_end - 1)) if first <= span.start else span.start
        span.end = max(span.end + new_end - end if end <= span.end else new_end, span.start)
