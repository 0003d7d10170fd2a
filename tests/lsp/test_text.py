"""Positions in the client's units, and lines as LSP has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.lsp.text import Text, Unit

SOURCE = "a\r\nbä𝄞c\rend\n\x0cpage\u2028same"


def test_lines_end_where_lsp_and_python_say() -> None:
    assert Text(SOURCE).lines == ["a", "bä𝄞c", "end", "\x0cpage\u2028same"]
    assert Text("").lines == [""]
    assert Text("x\n").lines == ["x", ""]


@pytest.mark.parametrize(("unit", "characters"), [("utf-8", (0, 1, 3, 7, 8)), ("utf-16", (0, 1, 2, 4, 5)), ("utf-32", (0, 1, 2, 3, 4))])  # fmt: skip
def test_columns_are_code_points_and_characters_the_clients(unit: Unit, characters: tuple[int, ...]) -> None:
    text = Text(SOURCE, unit)
    assert tuple(text.character(1, column) for column in range(5)) == characters
    assert tuple(text.column(1, character) for character in characters) == (0, 1, 2, 3, 4)
    assert text.offset(1, characters[4]) == SOURCE.index("\rend")


def test_what_is_beyond_is_the_end() -> None:
    text = Text("ab\ncd")
    assert (text.column(0, 99), text.character(0, 99), text.offset(0, 99)) == (2, 2, 2)
    assert (text.column(9, 0), text.character(9, 1), text.offset(9, 0)) == (0, 0, 5)
    assert (text.between(1, 9), text.between(5, 9), text.between(1, 1)) == ("cd", "", "")


@given(st.text(alphabet="a𝄞é\n\r\x0c"), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_every_column_comes_back(source: str, unit: Unit) -> None:
    text = Text(source, unit)
    for line, content in enumerate(text.lines):
        assert [text.column(line, text.character(line, column)) for column in range(len(content) + 1)] == list(
            range(len(content) + 1)
        )
    assert text.between(0, len(text.lines)) == source
