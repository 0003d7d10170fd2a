"""What of a document can be run: cells after `# %%`, definitions and statements, also while it is being typed.

Lines count from 0, ends are exclusive. Where the whole does not parse, that which stands between two beginnings at
the left margin does, as far as it is in order: one broken function takes no other with it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final, Literal, NamedTuple

from nrepl_py.lsp.text import Text

_MARKER: Final = re.compile(r"#\s*%%(?P<title>.*)")
_GOES_ON: Final = re.compile(r"(?:$|[\s#)\]}]|(?:else|elif|except|finally)\b|'''|\"\"\")")
"""How a line begins that belongs to what stands above it."""

_COMPOUND: Final = ("body", "orelse", "finalbody", "handlers", "cases")


class Block(NamedTuple):
    """Some whole lines."""

    kind: Literal["cell", "definition", "statement"]
    start: int
    end: int
    name: str = ""

    def has(self, line: int) -> bool:
        """Whether the line is one of them."""
        return self.start <= line < self.end


class Piece(NamedTuple):
    """What is sent to be evaluated: `line` and `column` are where `code` begins, the lines `start` to before `end`
    those that it stands on."""

    code: str
    line: int
    column: int
    start: int
    end: int


class Outline:
    """The parts of one version of a document."""

    def __init__(self, text: Text) -> None:
        self._text = text

    @cached_property
    def cells(self) -> list[Block]:
        """What `# %%` begins, and what stands before the first one; empty where there is none."""
        inside = {line for node in self._nodes for line in _strings(node)}
        marks = []
        for number, line in enumerate(self._text.lines):
            found = _MARKER.match(line)
            if found and number not in inside:
                marks.append((number, found["title"].strip()))
        if marks and self._text.between(0, marks[0][0]).strip():
            marks.insert(0, (0, ""))
        ends = [*(number for number, _ in marks[1:]), len(self._text.lines)]
        return [Block("cell", start, end, title) for (start, title), end in zip(marks, ends, strict=False)]

    @cached_property
    def definitions(self) -> list[Block]:
        """Functions and classes at the left margin, with their decorators."""
        return [block for block in self.statements if block.kind == "definition"]

    @cached_property
    def statements(self) -> list[Block]:
        """All that stands at the left margin."""
        return [_block(node) for node in self._nodes]

    def cell_at(self, line: int) -> Block:
        """The cell around the line; the whole document where there are none."""
        whole = Block("cell", 0, len(self._text.lines))
        return next((cell for cell in self.cells if cell.has(line)), whole)

    def statement_at(self, line: int) -> Block | None:
        """The statement at the left margin around the line."""
        return next((block for block in self.statements if block.has(line)), None)

    def line(self, line: int) -> Piece | None:
        """The innermost statement around the line, or those that begin on it; what it is, whole, where it has
        several lines. The line itself where that does not parse; None where it is empty."""
        nodes = [node for node in self._nodes if _block(node).has(line)]
        while inner := [node for outer in nodes for node in _inner(outer) if _block(node).has(line)]:
            nodes = inner
        if not nodes:
            text = self._text.lines[line] if line < len(self._text.lines) else ""
            return self.lines(line, line + 1) if text.strip() and not text.lstrip().startswith("#") else None
        blocks = [_block(node) for node in nodes]
        return self.lines(min(block.start for block in blocks), max(block.end for block in blocks))

    def lines(self, start: int, end: int) -> Piece:
        """The lines from `start` to before `end`."""
        return piece(self._text.between(start, end), start, 0, end)

    @cached_property
    def _nodes(self) -> list[ast.stmt]:
        whole = _parse(self._text.source)
        return whole if whole is not None else list(self._in_order())

    def _in_order(self) -> Iterator[ast.stmt]:
        """The statements of each stretch between two beginnings that parses."""
        lines = self._text.lines
        starts = [number for number, line in enumerate(lines) if number == 0 or not _GOES_ON.match(line)]
        starts = [start for index, start in enumerate(starts) if not index or lines[starts[index - 1]][:1] != "@"]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            nodes = _parse(self._text.between(start, end))
            for node in nodes or ():
                yield ast.increment_lineno(node, start)


def piece(code: str, line: int, column: int, end: int) -> Piece:
    """Code that may be indented, made to run as it stands, with every line and column where it is."""
    start = line
    for text in code.split("\n"):  # what is empty or a comment says nothing of how deep the code is
        if text.strip() and not text.lstrip().startswith("#"):
            break
        if line + 1 >= end:
            break
        code, line, column = code[len(text) + 1 :], line + 1, 0
    shallow = code.lstrip(" \t")
    indent = len(code) - len(shallow)
    if not indent:
        return Piece(code, line, column, start, end)
    if _parse(shallow) is not None:
        return Piece(shallow, line, column + indent, start, end)
    if not line:
        return Piece(code, line, column, start, end)  # Nothing can stand above it: Python says what is wrong.
    return Piece(f"if True:\n{' ' * column}{code}", line - 1, 0, start, end)


def _parse(source: str) -> list[ast.stmt] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a string is ruff's to tell of
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _block(node: ast.stmt) -> Block:
    decorators: Iterable[ast.expr] = getattr(node, "decorator_list", ())
    start = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    end = node.end_lineno or node.lineno
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return Block("definition", start, end, node.name)
    return Block("statement", start, end)


def _inner(node: ast.stmt) -> Iterator[ast.stmt]:
    for field in _COMPOUND:
        for child in getattr(node, field, ()):
            if isinstance(child, ast.stmt):
                yield child
            else:  # a handler or a case
                yield from child.body


def _strings(node: ast.AST) -> Iterator[int]:
    """The lines that begin inside a string."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant | ast.JoinedStr) and (child.end_lineno or 0) > child.lineno:
            yield from range(child.lineno, child.end_lineno or 0)
