"""Interpreters by path and by name, and those that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.interpreters import Interpreters


def test_resolving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "python-x").symlink_to(sys.executable)
    interpreters = Interpreters(sys.executable)
    assert interpreters.resolve(None) == sys.executable
    assert interpreters.resolve("python-x") == str(tmp_path / "python-x")
    with pytest.raises(StartFailed, match="no interpreter 'python-y'"):
        interpreters.resolve("python-y")


async def test_what_one_is(tmp_path: Path) -> None:
    interpreters = Interpreters(sys.executable)
    assert await interpreters.implementation(sys.executable) == "cpython"
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho lisp\n")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    for script in (other, broken):
        script.chmod(0o755)
    assert await interpreters.implementation(str(other)) == "lisp"
    other.unlink()
    assert await interpreters.implementation(str(other)) == "lisp"  # asked once
    with pytest.raises(StartFailed, match="ended with code 3\nno"):
        await interpreters.implementation(str(broken))
    with pytest.raises(StartFailed, match="cannot run"):
        await interpreters.implementation(str(tmp_path / "none"))
