from __future__ import annotations

import warnings

import pytest

from nrepl_py.introspection.completeness import check


@pytest.mark.parametrize(
    "code",
    [
        "", "\n", "1+1", "x = 1\ny = 2", "if x:\n    pass\n", "if x:\n    pass\n    ", "x = '''a\n  b'''", "await x",
        "for i in x: print(i)", "x = 5 # [", "x = (1,\n     2)", "f'{x}'", "async with a: pass", "x = 1 # '''",
        "@dec\ndef f(): pass", "s = 'it\\'s'", "# only a comment",
    ],
)  # fmt: skip
def test_complete(code: str) -> None:
    assert check(code) == {"state": "complete"}


@pytest.mark.parametrize(
    ("code", "indent"),
    [
        ("if x:", "    "),
        ("if x:  # why", "    "),
        ("if x:\n  pass", "  "),
        ("if x:\n  if y:", "      "),
        ("foo(1,", ""),
        ("foo(  # it's", ""),
        ("foo(\n    1,", "    "),
        ("'''abc", ""),
        ("x = '''\n    abc", ""),
        ("x = \\", "    "),
        ("@dec", ""),
        ("class A:\n    @property", "    "),
        ("try:\n    x", "    "),
        ("try:\n    x\n", "    "),
        ("try:\n    x\nexcept E:", "    "),
        ("def f():\n    try:\n        x", "        "),
        ("async def f():", "    "),
        ("if x:\n  a\nelse:", "    "),
    ],
)
def test_incomplete(code: str, indent: str) -> None:
    assert check(code) == {"state": "incomplete", "indent": indent}


@pytest.mark.parametrize(
    "code", ["1 +", "f(a))", "[1, 2}", "'abc", "f'{x", "if x:\nfoo", "  x", "\x00", "\ud800", "import", "a b"]
)
def test_invalid(code: str) -> None:
    assert check(code) == {"state": "invalid"}


@pytest.mark.parametrize("code", ["'\\d'", "b'\\d'", "x is 1", "assert (1, '')", "f'\\d{x}'", "'''\n\\d'''"])
def test_nobody_is_warned(code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(code) == {"state": "complete"}


@pytest.mark.parametrize(
    "code",
    [
        "(" * 60_000, "{" * 60_000, "-" * 60_000 + "1", "1" + "+1" * 30_000, "lambda:" * 9000 + "1", "try:\n" * 12_000,
        "f'{" * 10_000, "a." * 30_000 + "b", '"""' + "\\" * 60_000, "\n".join(" " * n + "try:" for n in range(1, 350)),
    ],
)  # fmt: skip
def test_code_made_to_hurt_is_answered(code: str) -> None:
    assert check(code)["state"] in ("complete", "incomplete", "invalid")
