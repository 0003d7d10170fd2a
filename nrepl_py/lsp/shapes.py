"""What a session says, in the shapes of LSP. Everything live says that it is."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterable
from typing import Any, Final

from lsprotocol import types
from pygls.uris import from_fs_path

from nrepl_py.lsp.cells import Block
from nrepl_py.lsp.documents import Document
from nrepl_py.lsp.results import Failure

LIVE: Final = "live"
"""How an item of ours is labelled, beside those of other servers."""

SOURCE: Final = "nrepl-py"
"""Whose diagnostics they are."""

LAST: Final = "~"
"""Sorts behind what any name begins with: a static server's own item comes first, and ours where it has none."""

_KINDS: Final = {
    "module": types.CompletionItemKind.Module,
    "class": types.CompletionItemKind.Class,
    "function": types.CompletionItemKind.Function,
    "property": types.CompletionItemKind.Property,
    "param": types.CompletionItemKind.Variable,
    "path": types.CompletionItemKind.File,
}
_STATIC: Final = ("keyword", "statement")
"""Completions that come from the text alone."""


def completions(
    document: Document, at: types.Position, cursor: int, found: Iterable[dict[str, Any]], beside: bool, details: bool
) -> list[types.CompletionItem]:
    """The candidates that the session alone knows, each once. Keywords, builtins and words of the text are any
    editor's; with `beside` so are names that the document itself has."""
    source = document.text.source
    column = document.text.column(at.line, at.character)
    items: dict[str, types.CompletionItem] = {}
    for one in found:
        name, start = one["candidate"], one["start"]
        bare = source[:start].rstrip()[-1:] != "."
        if one["type"] in _STATIC or (bare and hasattr(builtins, name)):
            continue
        if beside and bare and re.search(rf"\b{re.escape(name)}\b", source[:start] + source[cursor:]):
            continue
        first = max(0, column - (cursor - start))
        place = types.Range(types.Position(at.line, document.text.character(at.line, first)), at)
        items[name] = types.CompletionItem(
            label=name,
            kind=_KINDS.get(one["type"], types.CompletionItemKind.Variable),
            detail=f"{LIVE} · {one.get('signature') or one['type']}",
            label_details=types.CompletionItemLabelDetails(description=LIVE) if details else None,
            documentation=one.get("doc"),
            sort_text=LAST + name,
            filter_text=name,
            text_edit=types.TextEdit(place, name),
        )
    return list(items.values())


def hover(info: dict[str, Any], markdown: bool) -> types.Hover:
    """What a name is now."""
    named = info.get("signature") or info["name"]
    value = info.get("value")
    code = f"{named} = {value}" if value is not None else named
    doc = info.get("doc") or ""
    if not markdown:
        text = "\n\n".join(filter(None, [f"{code}\n{LIVE} · {info['type']}", doc]))
        return types.Hover(types.MarkupContent(types.MarkupKind.PlainText, text))
    parts = [_fenced(code, "python"), f"*{LIVE} · {info['type']}*", _fenced(doc, "text") if doc else ""]
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(filter(None, parts))))


def signatures(found: Iterable[dict[str, Any]]) -> types.SignatureHelp | None:
    """Those of a call."""
    given = [
        types.SignatureInformation(
            label=one["label"],
            documentation=f"{LIVE}",
            parameters=[types.ParameterInformation(part["label"], part.get("doc")) for part in one["parameters"]],
            active_parameter=one.get("active"),
        )
        for one in found
    ]
    return types.SignatureHelp(given, 0, given[0].active_parameter) if given else None


def uri_of(file: str, documents: Iterable[Document]) -> str | None:
    """The URI of what a session calls a file; None where it is nothing that can be opened."""
    for document in documents:
        if document.file == file:
            return document.uri
    return from_fs_path(file) if os.path.isabs(file) else None


def location(info: dict[str, Any], documents: Iterable[Document]) -> types.Location | None:
    """Where a name is defined, as `lookup` or a frame says it: lines from 1."""
    documents = list(documents)
    uri = uri_of(info.get("file") or "", documents)
    if uri is None or not info.get("line"):
        return None
    line, column = info["line"] - 1, info.get("column") or 0
    document = next((one for one in documents if one.uri == uri), None)
    character = column if document is None else document.text.character(line, column)
    return types.Location(uri, types.Range(types.Position(line, character), types.Position(line, character)))


def hints(document: Document, start: int, end: int) -> list[types.InlayHint]:
    """The results shown on the lines from `start` to `end`."""
    found = []
    for hint in document.results.hints:
        line = hint.span.end - 1
        if start <= line <= end and line < len(document.text.lines):
            at = types.Position(line, document.text.character(line, len(document.text.lines[line])))
            found.append(types.InlayHint(at, hint.label, tooltip=hint.tooltip, padding_left=True))
    return found


def diagnostics(document: Document, documents: Iterable[Document], related: bool) -> list[types.Diagnostic]:
    """The errors of what was run. Where the client takes no related information, the frames stand in the message."""
    documents = list(documents)
    return [_diagnostic(document, failure, documents, related) for failure in document.results.failures]


def lenses(block: Block, uri: str, running: bool) -> list[types.CodeLens]:
    """What can be done with a cell or a definition."""
    at = types.Position(block.start, 0)
    argument = {"uri": uri, "position": {"line": block.start, "character": 0}}
    run = ("Run cell", "evalCell") if block.kind == "cell" else (f"Run {block.name}", "evalDefinition")
    chosen = [run, *([("Run above", "evalAbove")] if block.start else []), *([("Interrupt", "interrupt")] * running)]
    return [
        types.CodeLens(
            types.Range(at, at),
            types.Command(title=title, command=f"nrepl-py.{name}", arguments=[{} if name == "interrupt" else argument]),
        )
        for title, name in chosen
    ]


def _diagnostic(document: Document, failure: Failure, documents: list[Document], related: bool) -> types.Diagnostic:
    text, place = document.text, failure.place
    last = min(place.end, len(text.lines)) - 1
    start = types.Position(place.start, text.character(place.start, failure.column))
    end = types.Position(last, text.character(last, failure.end_column))
    if (end.line, end.character) <= (start.line, start.character):  # the code there is another by now
        end = types.Position(start.line, text.character(start.line, 1 << 30))
    frames = [
        types.DiagnosticRelatedInformation(where, f"in {frame.get('function') or 'this code'}")
        for frame in failure.frames
        if (where := location(frame, documents)) is not None
    ]
    told = "".join(f"\n  {frame.get('file')}:{frame.get('line')}" for frame in failure.frames) if not related else ""
    return types.Diagnostic(
        range=types.Range(start, end),
        message=failure.message + told,
        severity=types.DiagnosticSeverity.Error,
        code=failure.type,
        source=SOURCE,
        related_information=frames if related else None,
    )


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def actions(uri: str, chosen: types.Range) -> list[types.Command]:
    """What can be run at a cursor or a selection: for editors without lenses."""
    start = {"line": chosen.start.line, "character": chosen.start.character}
    end = {"line": chosen.end.line, "character": chosen.end.character}
    given = {"uri": uri, "position": start, "range": {"start": start, "end": end}}
    here = ("line", "evalLine") if start == end else ("selection", "evalSelection")
    parts = [here, ("definition", "evalDefinition"), ("cell", "evalCell"), ("file", "evalFile")]
    runs = [types.Command(title=f"Run {what}", command=f"nrepl-py.{name}", arguments=[given]) for what, name in parts]
    return [*runs, types.Command(title="Interrupt", command="nrepl-py.interrupt", arguments=[{}])]
