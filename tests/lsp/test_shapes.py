"""What a session says, in the shapes of LSP."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from nrepl_py.lsp import shapes
from nrepl_py.lsp.documents import Document, file_of


def document(source: str, uri: str = "file:///w/a.py") -> Document:
    return Document(uri, source, "utf-16")


def complete(source: str, *found: tuple[str, str, int], beside: bool = False) -> list[types.CompletionItem]:
    candidates = [{"candidate": name, "type": kind, "start": start} for name, kind, start in found]
    at = types.Position(0, len(source.encode("utf-16-le")) // 2)
    return shapes.completions(document(source), at, len(source), candidates, beside, details=True)


def test_completions_are_what_only_the_session_knows_each_once() -> None:
    found = ("wide", "instance", 0), ("while", "keyword", 0), ("word", "statement", 0), ("wide", "instance", 0)
    (item,) = complete("w", *found)
    assert (item.label, item.detail, item.sort_text) == ("wide", "live · instance", "~wide")
    assert item.label_details is not None
    assert item.label_details.description == "live"
    assert complete("pri", ("print", "function", 0)) == []
    assert [item.label for item in complete("x.pri", ("print", "function", 2))] == ["print"]  # its own, and no builtin


def test_a_completion_replaces_what_was_typed_in_the_clients_units() -> None:
    (item,) = complete("'𝄞', wi", ("wide", "instance", 5))
    assert isinstance(item.text_edit, types.TextEdit)
    assert item.text_edit.range == types.Range(types.Position(0, 6), types.Position(0, 8))


def test_beside_another_server_words_of_the_text_are_left_to_it() -> None:
    assert complete("wide; wi", ("wide", "instance", 6), beside=True) == []
    assert len(complete("wide; wi", ("wide", "instance", 6))) == 1
    assert len(complete("wider; wi", ("wide", "instance", 7), beside=True)) == 1


def test_a_hover_says_what_is_live_and_cannot_be_broken_out_of() -> None:
    info = {"name": "x", "type": "instance", "value": "'```'", "doc": "a\n````\nb"}
    told = shapes.hover(info, markdown=True).contents
    assert isinstance(told, types.MarkupContent)
    assert told.value == "````python\nx = '```'\n````\n\n*live · instance*\n\n`````text\na\n````\nb\n`````"
    plain = shapes.hover(info, markdown=False).contents
    assert isinstance(plain, types.MarkupContent)
    assert plain.value.startswith("x = '```'\nlive · instance\n\n")


def test_an_error_has_its_frames_where_the_client_takes_them_and_else_in_its_text() -> None:
    frames: list[dict[str, Any]] = [
        {"file": "/w/a.py", "line": 1, "column": 5, "end-line": 1, "end-column": 6, "function": "f"},
        {"file": "/lib/b.py", "line": 9, "column": 2, "function": "g"},
        {"file": "<string>", "line": 1},
    ]
    failed = document("'𝄞'; f()\n")
    error = {"type": "KeyError", "message": "'k'", "traceback": frames}
    failed.results.fail(failed.results.begin(0, 1), error, failed.file)
    (one,) = shapes.diagnostics(failed, [failed], related=True)
    assert one.range == types.Range(types.Position(0, 6), types.Position(0, 7))
    assert (one.message, one.source, one.code) == ("KeyError: 'k'", "nrepl-py", "KeyError")
    assert one.related_information is not None
    places = [(related.location.uri, related.location.range.start.line) for related in one.related_information]
    assert places == [("file:///w/a.py", 0), ("file:///lib/b.py", 8)]
    (one,) = shapes.diagnostics(failed, [failed], related=False)
    assert one.message == "KeyError: 'k'\n  /w/a.py:1\n  /lib/b.py:9\n  <string>:1"
    assert one.related_information is None


def test_an_error_whose_code_was_shortened_since_stays_in_its_line() -> None:
    failed = document("call(wide)\n")
    error = {"type": "E", "message": "", "traceback": [{"file": "/w/a.py", "line": 1, "column": 5, "end-column": 9}]}
    failed.results.fail(failed.results.begin(0, 1), error, failed.file)
    assert failed.update("call\n")
    (one,) = shapes.diagnostics(failed, [], related=False)
    assert one.range == types.Range(types.Position(0, 4), types.Position(0, 4))
    assert one.message.startswith("E\n")


def test_a_document_is_known_by_its_path_or_its_uri() -> None:
    assert file_of("file:///w/a%20b.py") == "/w/a b.py"
    assert file_of("untitled:Untitled-1") == "untitled:Untitled-1"
    untitled = document("x", "untitled:Untitled-1")
    assert shapes.uri_of("untitled:Untitled-1", [untitled]) == "untitled:Untitled-1"
    assert shapes.uri_of("<stdin>", [untitled]) is None
    assert shapes.location({"file": "/w/a.py"}, []) is None
