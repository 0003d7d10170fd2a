"""What of a document can be run, whole or broken."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.lsp.cells import Outline, Piece, piece
from nrepl_py.lsp.text import Text

SOURCE = '''import os
# %% first
x = 1

@decorated
@twice
def area(width):
    """
# %% no cell
"""
    if width:
        y = (width,
             2)
        return y
# %%
async def later(): ...

class Thing:
    size = 3
x; y
'''


def outline(source: str) -> Outline:
    return Outline(Text(source))


def test_cells() -> None:
    cells = outline(SOURCE).cells
    assert [(cell.start, cell.end, cell.name) for cell in cells] == [(0, 1, ""), (1, 14, "first"), (14, 21, "")]
    assert outline(SOURCE).cell_at(3) == cells[1]
    assert outline("x = 1\n").cells == []
    assert outline("x = 1\n").cell_at(0)[1:3] == (0, 2)
    assert [cell.start for cell in outline("# %% a\n#%% b").cells] == [0, 1]


def test_definitions() -> None:
    found = outline(SOURCE).definitions
    assert [(block.name, block.start, block.end) for block in found] == [
        ("area", 4, 14), ("later", 15, 16), ("Thing", 17, 19),
    ]  # fmt: skip


def test_a_broken_part_takes_no_other_with_it() -> None:
    source = "def a():\n    return 1\n\n@x\ndef b(:\n    pass\n\ndef c():\n    pass\n\nclass D:\n    x = 1\n\ntable = [\n    1,\n]\n"
    found = outline(source)
    assert [(block.name, block.start, block.end) for block in found.definitions] == [
        ("a", 0, 2),
        ("c", 7, 9),
        ("D", 10, 12),
    ]
    assert [(block.start, block.end) for block in found.statements if not block.name] == [(13, 16)]
    assert found.statement_at(4) is None
    assert [cell.start for cell in outline("# %%\ndef (\n# %%\nx").cells] == [0, 2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (0, Piece("import os", 0, 0, 0, 1)),
        (1, None),
        (3, None),
        (11, Piece("y = (width,\n             2)", 11, 8, 11, 13)),
        (12, Piece("y = (width,\n             2)", 11, 8, 11, 13)),
        (18, Piece("size = 3", 18, 4, 18, 19)),
        (19, Piece("x; y", 19, 0, 19, 20)),
        (99, None),
    ],
)
def test_a_line_is_the_statement_around_it(line: int, expected: Piece | None) -> None:
    assert outline(SOURCE).line(line) == expected


def test_a_line_that_does_not_parse_is_run_as_it_is() -> None:
    assert outline("x = 1\nprint(\n").line(1) == Piece("print(", 1, 0, 1, 2)


def test_an_indented_block_keeps_its_lines() -> None:
    code = "    for n in range(2):\n        print(n)\n    n"
    assert piece(code, 5, 0, 8) == Piece("if True:\n" + code, 4, 0, 5, 8)
    assert piece("for n in range(2):\n        print(n)", 5, 4, 7) == Piece(
        "for n in range(2):\n        print(n)", 5, 4, 5, 7
    )
    assert piece(code, 0, 0, 2).code == code  # nothing can stand above it
    assert piece("\n  # said\n    x", 3, 2, 6) == Piece("x", 5, 4, 3, 6)


@given(
    st.lists(st.sampled_from(["x = 1", "# %%", "def f():", "    return 1", "'''", "@d", "(", ")", "else:", "", "\x0c"]))
)
def test_all_text_has_an_outline_and_no_line_twice(lines: list[str]) -> None:
    source = "\n".join(lines)
    found = outline(source)
    for block in found.definitions:
        ast.parse(found.lines(block.start, block.end).code)
    taken = [line for cell in found.cells for line in range(cell.start, cell.end)]
    assert len(taken) == len(set(taken))
    for line in range(len(lines)):
        found.line(line)
