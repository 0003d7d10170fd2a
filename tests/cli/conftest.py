"""The commands as a user runs them: real processes, a real server in a directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60  # seconds before a silent process fails a test

COMMAND = [sys.executable, "-m", "nrepl_py"]
ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Runs commands in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen([*COMMAND, *arguments], cwd=self.directory, env=self.env, text=True, **pipes)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.directory, env=self.env, text=True, input=stdin, capture_output=True,
            timeout=PATIENCE,
        )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """No server runs here."""
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A server runs here."""
    shell = Shell(tmp_path_factory.mktemp("served"))
    server = shell.start("serve", "--log-level", "error", stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    assert server.stdout.readline().startswith("nREPL server started on port ")
    yield shell
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
