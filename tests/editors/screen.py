"""A program in a terminal of 120 columns and 40 lines, that is typed into and looked at."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import need

SIGHT = 60  # seconds until something is seen on a screen


class Screen:
    """One, in tmux."""

    def __init__(self, environment: dict[str, str], directory: Path, *command: str) -> None:
        self._socket = Path(os.environ["TMPDIR"]) / "tmux"
        self._tmux = [need("tmux"), "-f", "/dev/null", "-S", str(self._socket)]
        self._environment = environment
        self._run("new-session", "-d", "-x", "120", "-y", "40", "-c", str(directory), *command)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=self._environment, capture_output=True, encoding="utf-8", check=False
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._run("send-keys", *keys)

    def write(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def shows(self, regexp: str) -> re.Match[str]:
        """Wait until the screen has something that matches."""
        return self._until(lambda screen: re.search(regexp, screen, re.M), regexp)

    def hides(self, regexp: str) -> None:
        """Wait until nothing on it matches."""
        self._until(lambda screen: re.search(regexp, screen, re.M) is None, f"no {regexp}")

    def _until(self, condition: Callable[[str], object], what: str) -> Any:
        deadline = time.monotonic() + SIGHT
        while not (found := condition(screen := self._run("capture-pane", "-p"))):
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{screen}"
            time.sleep(0.05)  # between two looks
        return found

    def leave(self, *keys: str) -> None:
        """Leave the program by these keys, and wait for tmux to be gone with it."""
        self.type(*keys)
        deadline = time.monotonic() + SIGHT
        while self._run("list-sessions"):
            assert time.monotonic() < deadline, f"it stays:\n{self._run('capture-pane', '-p')}"
            time.sleep(0.05)  # between two looks

    def kill(self) -> None:
        self._run("kill-server")
        self._socket.unlink(missing_ok=True)
