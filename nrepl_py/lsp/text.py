"""A document's text: its lines, and positions in the client's units turned into code points and back.

Lines end as LSP and Python both have it, with \\n, \\r\\n or \\r: `str.splitlines` would see more of them. Lines and
columns count from 0; columns are in code points, *characters* in the units the client has chosen.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Unit = Literal["utf-8", "utf-16", "utf-32"]
"""What one character of a position is: a byte, half of a pair, or a code point."""

_END: Final = re.compile(r"\r\n|\r|\n")


class Text:
    """One version of a document."""

    def __init__(self, source: str, unit: Unit = "utf-16") -> None:
        self.source = source
        self.unit = unit
        ends = list(_END.finditer(source))
        self._starts = [0, *(end.end() for end in ends)]
        self._stops = [*(end.start() for end in ends), len(source)]
        self.lines = [source[start:stop] for start, stop in zip(self._starts, self._stops, strict=True)]
        """Without their ends; the last may be empty."""

    def column(self, line: int, character: int) -> int:
        """The column of a client's character; the line's end where that is beyond it."""
        if not 0 <= line < len(self.lines):
            return 0
        text = self.lines[line]
        if self.unit == "utf-32" or text.isascii():
            return max(0, min(character, len(text)))
        units = 0
        for column, char in enumerate(text):
            if units >= character:
                return column
            units += _units(char, self.unit)
        return len(text)

    def character(self, line: int, column: int) -> int:
        """The client's character at a column; the line's end where that is beyond it."""
        if not 0 <= line < len(self.lines):
            return 0
        before = self.lines[line][: max(0, column)]
        if self.unit == "utf-32" or before.isascii():
            return len(before)
        return sum(_units(char, self.unit) for char in before)

    def offset(self, line: int, character: int) -> int:
        """Where in the source a client's position is, in code points; the end where it is beyond that."""
        if line >= len(self.lines):
            return len(self.source)
        return self._starts[max(0, line)] + self.column(line, character)

    def between(self, start: int, end: int) -> str:
        """The lines from `start` to before `end`, as they stand in the source."""
        start, end = max(0, start), min(end, len(self.lines))
        return self.source[self._starts[start] : self._stops[end - 1]] if start < end else ""


def _units(char: str, unit: Unit) -> int:
    return len(char.encode("utf-8", "surrogatepass")) if unit == "utf-8" else 1 + (char > "\uffff")
