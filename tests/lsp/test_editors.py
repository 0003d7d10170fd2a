"""Two editors as they are, each with its own LSP client: a completion and a hover from a live session."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tests.lsp.conftest import COMMAND, PATIENCE, ROOT

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}


def test_vim(tmp_path: Path) -> None:
    vim = need("vim.nox")
    (tmp_path / "work.py").write_text("answer = 42; answer\n")
    settings = f"let g:command = {json.dumps([*COMMAND, 'lsp'])} | let g:root = {json.dumps(str(tmp_path))}"
    done = subprocess.run(
        [vim, "-Nu", "NONE", "-i", "NONE", "-es", "-n", "--not-a-term", "-c", settings, "-S", HERE / "client.vim", "work.py"],
        cwd=tmp_path, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (tmp_path / "result.txt").exists(), done.stdout + done.stderr
    assert (tmp_path / "result.txt").read_text().splitlines() == [
        "answer = 42; answer",
        "'42'",
        "answer.bit_count",
        "answer = 42",
    ]


def test_emacs_eglot(tmp_path: Path) -> None:
    emacs = need("emacs")
    (tmp_path / "work.py").write_text("answer = 42\n")
    done = subprocess.run(
        [emacs, "--batch", "-l", HERE / "client.el"],
        cwd=tmp_path, env={**ENV, "NREPL_PY_LSP": "\t".join([*COMMAND, "lsp"]), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "completed: answer.bit_count\n" in done.stdout, done.stderr
    assert "answer = 42" in done.stdout.partition("hover: ")[2]
    assert done.returncode == 0, done.stderr
