"""The memory of a whole session, bounded for real where control groups can be made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nrepl_py.evaluators import cgroups
from nrepl_py.evaluators.cgroups import MemoryGroup


def test_where_none_can_be_made_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_MOUNT", "/nowhere")
    monkeypatch.setattr(cgroups, "_GROUP", "/proc/nrepl-py")
    assert cgroups.available() is False
    with pytest.raises(OSError):
        MemoryGroup("test-1", 64 << 20)


if cgroups.available():  # version 1, and root

    @pytest.fixture
    def group() -> Iterator[MemoryGroup]:
        group = MemoryGroup("test-1", 64 << 20)
        yield group
        group.close()
        assert not os.path.exists(group._path)

    def test_a_group_that_wants_too_much_says_so(group: MemoryGroup) -> None:
        assert group.ran_out is False
        code = "import sys; sys.stdin.read(1); kept = b'x' * (200 << 20)"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
            group.add(process.pid)
            process.communicate(b"go")
        assert process.returncode == -9
        assert group.ran_out is True
        assert group.ran_out is True

    def test_what_a_killed_server_left_is_removed(group: MemoryGroup) -> None:
        left = os.path.join(os.path.dirname(group._path), "999999999-gone")
        os.mkdir(left)
        MemoryGroup("test-2", 64 << 20).close()
        assert not os.path.exists(left)
        assert os.path.exists(group._path)
