"""The leak check catches what it is there for, and the tools check says what is missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests import conftest
from tests.conftest import leakable, need

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux can list what is open")


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_process_is_seen() -> None:
    before = leakable()
    with running("sleep", "60") as process:
        assert any(f"process {process.pid}: " in found for found in leakable() - before)
    assert leakable() <= before


def test_an_orphan_is_seen() -> None:
    before = leakable()
    script = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert any(f"process {orphan}: " in found for found in leakable() - before)
    finally:
        os.kill(orphan, 9)


@pytest.mark.parametrize("opened", [lambda: socket.create_server(("127.0.0.1", 0)), tempfile.TemporaryDirectory])
def test_what_is_open_is_seen(opened: Callable[[], socket.socket | tempfile.TemporaryDirectory[str]]) -> None:
    before = leakable()
    with opened():
        assert leakable() - before
    assert leakable() <= before


def test_what_is_missing_is_skipped_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "CI", False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool"):
        need("no-such-tool")
    monkeypatch.setattr(conftest, "CI", True)
    with pytest.raises(pytest.fail.Exception, match="no-such-tool"):
        need("no-such-tool")
    assert need("sh").endswith("/sh")
