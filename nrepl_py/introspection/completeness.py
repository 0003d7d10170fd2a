"""Whether a REPL should run what was typed: `complete`, `incomplete` or `invalid`.

Code is parsed, never compiled to bytecode nor run. Where it does not parse, it is incomplete if
something is left open (a bracket, a string, a line ending in a backslash) or if some next line
would make it parse.
"""

from __future__ import annotations

import ast
import re
from typing import Dict, List

STEP = "    "
"""What one more level of indentation is; PEP 8's four spaces."""

MAX_TRIES = 8
"""Innermost `try` lines looked at; each costs one parse, and nobody types deeper ones into a REPL."""

# A string prefix does not matter here; a comment ends with its line; what is left are brackets.
_TOKEN = re.compile(r"""'{3}|\"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\#[^\n]*|['"()\[\]{}]""", re.S)
_ESCAPE = re.compile(r"\\[^\r\n]")
_QUOTES = ("'", '"')
_CLOSING = {")": "(", "]": "[", "}": "{"}
_FLAGS = ast.PyCF_ONLY_AST | getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)


def check(code: str) -> Dict[str, str]:
    """`{"state": …}`, with `indent`, the text to insert, where it is `incomplete`."""
    tree = _parse(code)
    lines = code.split("\n")
    if tree is None:
        open_string, brackets, ending = _scan(code)
        if open_string:
            return _incomplete("")
        if brackets == "mismatch":
            return {"state": "invalid"}
        if brackets:
            return _incomplete(_indent(lines))
        if re.search(r"\\\n?\Z", ending):
            return _incomplete(_indent(lines) if len(lines) > 1 else STEP)
        return _incomplete(_next_indent(lines, ending)) if _can_go_on(code, lines) else {"state": "invalid"}
    block = tree.body and (hasattr(tree.body[-1], "body") or hasattr(tree.body[-1], "cases"))
    if block and lines[-1].strip() and lines[-1][0] in " \t":
        # It could run, but a REPL's user ends an indented block with an empty line.
        return _incomplete(_indent(lines))
    return {"state": "complete"}


def _incomplete(indent: str) -> Dict[str, str]:
    return {"state": "incomplete", "indent": indent}


def _parse(code: str) -> "ast.Module | None":
    try:
        # Without backslash escapes, so that the parser has no invalid one to warn the user of.
        tree: ast.Module = compile(_ESCAPE.sub("xx", code) + "\n", "<input>", "exec", _FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return None
    return tree


def _scan(code: str) -> "tuple[bool, str, str]":
    """Whether a triple-quoted string is open, the open brackets (or "mismatch"), and the end of the
    code without its last comment."""
    brackets: List[str] = []
    position = 0
    ending = code
    while True:
        match = _TOKEN.search(code, position)
        if match is None:
            return False, "".join(brackets), ending
        token = match.group()
        position = match.end()
        if token in ("'''", '"""'):
            while code[position : position + 3] != token:
                if position >= len(code):
                    return True, "", code
                position += 2 if code[position] == "\\" else 1
            position += 3
        elif token[0] == "#":
            ending = code[: match.start()] if position == len(code.rstrip()) else code
        elif token in "([{":
            brackets.append(token)
        elif token in _QUOTES or (token in _CLOSING and (not brackets or brackets.pop() != _CLOSING[token])):
            # A quote that stands alone is of a string its line does not close.
            return False, "mismatch", code


def _can_go_on(code: str, lines: List[str]) -> bool:
    """Whether one more line would make it parse: a block's body, what a decorator decorates, or the
    end of a `try`. Never a line inside the last one: that is the user's to finish."""
    inner = _indent(lines)
    tries = [line[: len(line) - len(line.lstrip())] for line in lines if line.lstrip().startswith("try")]
    endings = [inner + STEP + "pass", inner + "def f(): pass", inner + STEP + "case _: pass"]
    endings += [indent + "finally: pass" for indent in tries[-MAX_TRIES:]]
    if lines[-1].strip():
        return any(_parse(code + "\n" + ending) is not None for ending in endings)
    return any(_parse(code.rstrip() + "\n" + ending) is not None for ending in endings)


def _indent(lines: List[str]) -> str:
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last[: len(last) - len(last.lstrip())]


def _next_indent(lines: List[str], ending: str) -> str:
    return _indent(lines) + (STEP if ending.rstrip().endswith(":") else "")
