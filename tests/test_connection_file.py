"""Connection files: whose they are, who can read them, and when they are stale."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import connection_file
from nrepl_py.connection_file import ServerFile, UnsafeDirectory


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "nrepl-py"


def server(cwd: Path | str = "/", **fields: Any) -> ServerFile:
    pid = os.getpid()
    start = connection_file.process_start(pid)
    assert start is not None
    made = ServerFile("ws://127.0.0.1:1", "secret", pid, start, str(cwd), time.time(), {"nrepl-py": "1"})
    return made._replace(**fields)


def test_a_file_is_written_for_its_user_only_and_read_back(runtime: Path) -> None:
    written = connection_file.write(server(unix="/x"))
    path = Path(written.path)
    assert path.parent == runtime
    assert path.stat().st_mode & 0o777 == 0o600
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert connection_file.read(written.path) == written
    assert [entry.name for entry in runtime.iterdir()] == [path.name]
    connection_file.remove(written)
    assert not path.exists()
    connection_file.remove(written)


def test_an_explicit_path_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("old")
    path.chmod(0o644)
    written = connection_file.write(server(path=str(path)))
    assert connection_file.read(str(path)) == written
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_servers_file_is_not_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "shared.json")
    first = connection_file.write(server(path=path))
    connection_file.write(server(path=path, token="other"))
    connection_file.remove(first)
    assert os.path.exists(path)


def test_the_nearest_directory_above_wins_then_the_newest(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "src"
    inner.mkdir(parents=True)
    connection_file.write(server(tmp_path, token="outer"))
    for token, started in (("old", 1.0), ("new", 3.0), ("older", 0.5)):
        connection_file.write(server(tmp_path / "project", token=token, started=started))
    found = connection_file.find(str(inner))
    assert found is not None
    assert found.token == "new"
    found = connection_file.find(str(tmp_path))
    assert found is not None
    assert found.token == "outer"
    assert connection_file.find("/") is None
    # A name that begins alike is no directory above.
    assert connection_file.find(str(tmp_path / "project")) is not None
    (tmp_path / "project-2").mkdir()
    found = connection_file.find(str(tmp_path / "project-2"))
    assert found is not None
    assert found.token == "outer"


def test_links_are_followed_to_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    connection_file.write(server(tmp_path / "link"))
    assert connection_file.find(str(tmp_path / "real")) is not None


def test_files_of_ended_processes_are_stale_and_deleted(runtime: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    start = connection_file.process_start(ended.pid)
    ended.wait()
    connection_file.write(server(pid=ended.pid, pid_start=start or "0"))
    # The id was given to another process since.
    connection_file.write(server(pid_start="1"))
    alive = connection_file.write(server())
    assert connection_file.servers() == [alive]
    assert [str(path) for path in runtime.iterdir()] == [alive.path]


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    start = connection_file.process_start(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start is not None
    assert connection_file.process_start(child.pid) is None
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"url": 1}', "[" * 100_000, '{"url":"u","token":"t","pid":"1"}',
     '{"url":"u","token":"t","pid":-1,"pid-start":"1","cwd":"/","started":1}',
     '{"url":"u","token":"t","pid":true,"pid-start":"1","cwd":"/","started":1}'],
)  # fmt: skip
def test_nonsense_is_not_a_server(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.touch(0o600)
    path.write_text(text)
    assert connection_file.read(str(path)) is None


def test_what_others_can_write_or_what_is_no_file_is_not_believed(runtime: Path) -> None:
    written = connection_file.write(server())
    os.chmod(written.path, 0o644)
    assert connection_file.read(written.path) is None
    os.mkfifo(runtime / "fifo.json", 0o600)
    (runtime / "directory.json").mkdir()
    (runtime / "link.json").symlink_to(written.path)
    assert connection_file.servers() == []


def test_an_unsafe_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = Path(connection_file.runtime_directory())
    assert path == tmp_path / f"nrepl-py-{os.getuid()}"
    path.chmod(0o755)
    with pytest.raises(UnsafeDirectory, match="XDG_RUNTIME_DIR"):
        connection_file.write(server())
    path.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeDirectory):
        connection_file.servers()


def test_a_directory_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        connection_file.write(server(path=str(tmp_path / "missing" / "x.json")))
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError):
        connection_file.write(server(path=str(tmp_path / "d")))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d", "run"]


def test_it_imports_nothing_heavy() -> None:
    heavy = {"asyncio", "msgspec", "websockets", "tempfile", "subprocess", "dataclasses"}
    code = f"import sys; import nrepl_py.connection_file; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
