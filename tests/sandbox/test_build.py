"""Where a session's world cannot be built, that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds before a server that waits for ever fails a test


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a chroot")
def test_in_a_chroot_there_are_no_namespaces(tmp_path: Path) -> None:
    """The kernel makes none there (user_namespaces(7)), which is found out half-way."""
    enter = 'mount --rbind / "$1" && cd "$2" && root=$1 && shift 2 && exec chroot "$root" "$@"'
    command = [need("unshare"), "--mount", "sh", "-c", enter, "sh", str(tmp_path), str(ROOT)]
    doctor = [sys.executable, "-m", "nrepl_py", "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *doctor], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    assert "namespaces  fails: a session cannot be confined here: " in done.stdout
    assert "in a chroot there are none" in done.stdout
    assert "landlock    works" in done.stdout
