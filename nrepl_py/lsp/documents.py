"""The open documents: their text, its parts, and what the session has said of them."""

from __future__ import annotations

from functools import cached_property

from pygls.uris import to_fs_path

from nrepl_py.lsp.cells import Outline
from nrepl_py.lsp.results import Results, changed
from nrepl_py.lsp.text import Text, Unit


class Document:
    """One that is open in the editor. Code that is in none is one without a URI, and a file."""

    def __init__(self, uri: str, source: str, unit: Unit) -> None:
        self.uri = uri
        self.file = file_of(uri)
        self.text = Text(source, unit)
        self.results = Results()

    @cached_property
    def outline(self) -> Outline:
        """Its parts, as it is now."""
        return Outline(self.text)

    def update(self, source: str) -> bool:
        """It was edited; whether anything is another than before."""
        before, self.text = self.text, Text(source, self.text.unit)
        self.__dict__.pop("outline", None)
        change = changed(before.lines, self.text.lines)
        if change is not None:
            self.results.edited(*change)
        return change is not None


def file_of(uri: str) -> str:
    """What a session knows a document by: its path; its URI where it has none, as one that was never saved."""
    return (to_fs_path(uri) if uri.startswith("file:") else None) or uri
