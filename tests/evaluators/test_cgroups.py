"""The memory and the processes of a whole session, bounded for real where control groups can be made."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nrepl_py.evaluators import cgroups
from nrepl_py.evaluators.cgroups import Group, Place, Unavailable
from tests.conftest import PATIENCE

MEMORY, PROCESSES = 64 << 20, 20


def test_where_none_can_be_made_that_is_an_error() -> None:
    with pytest.raises(OSError):
        Group(Place(1, "/proc", None), "test-1", MEMORY, PROCESSES)


def _place() -> Place | None:
    try:
        return cgroups.find()
    except Unavailable:
        return None


PLACE = _place()

if PLACE is not None:

    def empty(group: Group) -> None:
        """Wait until nothing is in it: what was killed takes a moment to be gone."""
        deadline = time.monotonic() + PATIENCE
        while cgroups._processes(group._memory):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @pytest.fixture
    def group() -> Iterator[Group]:
        group = Group(PLACE, "test-1", MEMORY, PROCESSES)
        yield group
        group.kill()
        empty(group)
        group.close()
        assert not any(os.path.exists(path) for path in group._paths)

    def python(group: Group, code: str) -> subprocess.Popen[bytes]:
        """A process that runs this in the group."""
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdin.readline()\n{code}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        group.add(process.pid)
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        return process

    def test_a_group_that_wants_too_much_says_so(group: Group) -> None:
        assert group.ran_out is False
        with python(group, "kept = b'x' * (200 << 20)") as process:
            process.communicate()
        assert process.returncode == -9
        assert group.ran_out is True
        assert group.ran_out is True

    def test_memory_that_nobody_owns_counts_too(group: Group) -> None:
        code = "import os\nos.pwrite(os.memfd_create('x'), b'x' * (200 << 20), 0)"
        with python(group, f"kept = b'x' * (20 << 20)\n{code}") as process:
            process.communicate()
        assert group.ran_out is True

    @pytest.mark.skipif(PLACE.pids is None, reason="processes cannot be counted here")
    def test_processes_are_bounded(group: Group) -> None:
        code = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(1000)
        count += 1
except BlockingIOError:
    print(count, flush=True)
sys.stdin.readline()
"""
        with python(group, code) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == PROCESSES - 1
            group.kill()
            assert process.wait() == -9

    def test_what_left_its_session_is_killed_too(group: Group) -> None:
        code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1000)\n    os._exit(0)\nprint(flush=True)"
        with python(group, code) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert process.wait() == 0
            group.kill()
            assert process.stdout.read() == b""  # ends when the last one has
        empty(group)

    def test_a_process_that_has_ended_is_not_us(group: Group) -> None:
        for pid in (0, -1):
            with pytest.raises(ProcessLookupError):
                group.add(pid)
        assert os.getpid() not in cgroups._processes(group._memory)

    def test_what_a_killed_server_left_is_removed(group: Group) -> None:
        left = Path(group._memory).parent / "999999999-gone"
        left.mkdir()
        Group(PLACE, "test-2", MEMORY, PROCESSES).close()
        assert not left.exists()
        assert os.path.exists(group._memory)


# Version 2, as a file system that only looks like one: what is read and written where.


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a server is in `user/own`, of a version 2 that delegates nothing yet."""
    own = tmp_path / "user" / "own"
    own.mkdir(parents=True)
    for directory in (tmp_path, own.parent, own):
        (directory / "cgroup.controllers").write_text("cpu memory pids\n")
        (directory / "cgroup.subtree_control").write_text("\n")
        (directory / "cgroup.procs").write_text("")
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(cgroups, "_MEMORY_1", "/nowhere")
    monkeypatch.setattr(cgroups, "_mount_2", lambda: str(tmp_path))
    monkeypatch.setattr(cgroups, "_own_2", lambda: "/user/own")
    return own


def test_version_2_uses_the_nearest_group_that_is_divided(two: Path) -> None:
    (two.parent / "cgroup.subtree_control").write_text("memory\n")
    place = cgroups._version_2()
    assert place == Place(2, str(two.parent), None)
    (two.parent / "cgroup.subtree_control").write_text("memory pids\n")
    assert cgroups._version_2() == Place(2, str(two.parent), str(two.parent))


def test_version_2_divides_a_group_that_is_the_servers_own(two: Path) -> None:
    cgroups._version_2()
    assert (two / cgroups._SERVER / "cgroup.procs").read_text() == str(os.getpid())
    assert (two / "cgroup.subtree_control").read_text() == "+pids"  # the last of two that were written


def test_version_2_leaves_groups_of_others_alone(two: Path) -> None:
    (two / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    with pytest.raises(Unavailable, match="others run in"):
        cgroups._version_2()
    (two / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(Unavailable, match="does not have the controller"):
        cgroups._version_2()
