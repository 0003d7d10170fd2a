"""What stands around a cursor in half-written code: names, calls, strings. Text only, in linear time."""

from __future__ import annotations

import keyword
import re
from typing import List, NamedTuple, Optional, Tuple

_TOKEN = re.compile(r"#[^\n]*|(?P<prefix>[rRbBuUfF]{0,2})(?P<quote>'''|\"\"\"|'|\")")
_BODY = {
    "'''": re.compile(r"(?:[^'\\]|\\.|'(?!''))*(?P<end>''')?", re.DOTALL),
    '"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*(?P<end>""")?', re.DOTALL),
    "'": re.compile(r"(?:[^'\\\n]|\\.)*(?P<end>'|\n)?", re.DOTALL),
    '"': re.compile(r'(?:[^"\\\n]|\\.)*(?P<end>"|\n)?', re.DOTALL),
}
_IMPORT = re.compile(r"(?:^|;)[ \t]*(?:from|import)\b[^;\n]*$")
_FROM = re.compile(r"[ \t]*from\b[^\n(]*\bimport[ \t]*$")
_BLOCK = re.compile(r"(?:async[ \t]+)?(?:def|class)\b|@")
_MAX_CALL = 20_000  # code points looked back for the call that encloses the cursor
_NOT_NEWLINE = re.compile(r"[^\n]")


class Before(NamedTuple):
    """The text up to the cursor, strings and comments blanked out, and what the cursor is in."""

    text: str
    inside: str  # "code", "string" or "comment"


def before(code: str, cursor: int) -> Before:
    text = code[:cursor]
    parts: List[str] = []
    position = 0
    inside = "code"
    while True:
        match = _TOKEN.search(text, position)
        if match is None:
            break
        parts.append(text[position : match.start()])
        end, inside, hidden = _token_end(text, match)
        if inside == "code" or hidden is None:
            parts.append(_blank(text[match.start() : end]))
        else:  # in the braces of an f-string: what follows the brace is code
            parts.append(_blank(text[match.start() : hidden]) + text[hidden:])
            return Before("".join(parts), "code")
        position = end
        if inside != "code":
            break
    parts.append(text[position:])
    return Before("".join(parts), inside)


def _blank(text: str) -> str:
    return _NOT_NEWLINE.sub(" ", text) if "\n" in text else " " * len(text)


def _token_end(text: str, match: re.Match[str]) -> Tuple[int, str, Optional[int]]:
    """Where the token ends, what the cursor is in after it, and where code in an open f-string begins."""
    quote = match.group("quote")
    if quote is None:
        return match.end(), "comment" if match.end() == len(text) else "code", None
    body = _BODY[quote].match(text, match.end())
    assert body is not None  # it matches the empty string
    if body.group("end") is not None:
        return body.end(), "code", None
    brace = _open_brace(text, match.end()) if "f" in match.group("prefix").lower() else None
    return len(text), "string", brace


def _open_brace(text: str, start: int) -> Optional[int]:
    opened: List[int] = []
    for match in re.compile(r"\{\{|\}\}|[{}]").finditer(text, start):
        if match.group() == "{":
            opened.append(match.end())
        elif match.group() == "}" and opened:
            opened.pop()
    return opened[-1] if opened else None


# -- names


class Chain(NamedTuple):
    """`a.b.pre`: the names before the last dot, and the name the cursor ends."""

    names: List[str]
    prefix: str
    start: int


def chain(text: str) -> Optional[Chain]:
    """The dotted name that `text` ends with. None: something else is before the dot, or a number is."""
    start = _name_start(text, len(text))
    prefix = text[start:]
    if prefix and not prefix.isidentifier():
        return None
    names: List[str] = []
    position = start
    while True:
        dot = _skip_blanks(text, position)
        if dot == 0 or text[dot - 1] != ".":
            return Chain(names[::-1], prefix, start)
        end = _skip_blanks(text, dot - 1)
        position = _name_start(text, end)
        if not text[position:end].isidentifier():
            return None
        names.append(text[position:end])


def _name_start(text: str, end: int) -> int:
    while end and (text[end - 1] == "_" or text[end - 1].isalnum()):
        end -= 1
    return end


def _skip_blanks(text: str, end: int) -> int:
    while end and text[end - 1] in " \t":
        end -= 1
    return end


def name_end(code: str, cursor: int) -> int:
    """The end of the name the cursor is in."""
    while cursor < len(code) and (code[cursor] == "_" or code[cursor].isalnum()):
        cursor += 1
    return cursor


def in_import(text: str) -> bool:
    """Whether an import statement is being written."""
    if _IMPORT.search(text, text.rfind("\n") + 1):
        return True
    opening = text.rfind("(")
    return opening > text.rfind(")") and _FROM.match(text[:opening], text.rfind("\n", 0, opening) + 1) is not None


def block(text: str) -> str:
    """The function or class at the top level that the cursor is in, up to it; "" where it is in none."""
    end = len(text)
    while True:
        start = text.rfind("\n", 0, end) + 1
        first = text[start : start + 1]
        if first and first not in " \t\n)]}" and start + 1 <= len(text):
            return text[start:] if end != len(text) and _BLOCK.match(text, start) else ""
        if start == 0:
            return ""
        end = start - 1


def binds(text: str, name: str) -> bool:
    """Whether the text may make `name` a name of its own: a guess that rather says yes."""
    word = re.escape(name)
    return (
        re.search(r"\b%s\b\s*(?:[:,)]|=(?!=)|in\b)|\b(?:as|for|import|def|class)\s+%s\b" % (word, word), text)
        is not None
    )


# -- calls


class Call(NamedTuple):
    """The call around the cursor: what is before the parenthesis, and the arguments so far."""

    callee: str
    arguments: List[str]


def call(text: str) -> Optional[Call]:
    """The innermost call whose parenthesis is open at the end of `text`."""
    start = max(0, len(text) - _MAX_CALL)
    depth = 0
    commas: List[int] = []
    for position in range(len(text) - 1, start - 1, -1):
        char = text[position]
        if char in ")]}":
            depth += 1
        elif char == "," and not depth:
            commas.append(position)
        elif char in "([{":
            if depth:
                depth -= 1
                continue
            callee = text[:position].rstrip(" \t") if char == "(" else ""
            if _calls(callee):
                edges = [position, *reversed(commas), len(text)]
                return Call(callee, [text[a + 1 : b] for a, b in zip(edges, edges[1:])])
            commas = []
    return None


def _calls(callee: str) -> bool:
    if not callee or not (callee[-1] in "_)]" or callee[-1].isalnum()):
        return False
    start = _name_start(callee, len(callee))
    name = callee[start:]
    if keyword.iskeyword(name) or name.isdigit():
        return False
    return not re.search(r"\b(?:def|class)\s+$", callee[max(0, start - 10) : start])
