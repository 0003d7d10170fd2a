"""Finding a server and its token, and the sentences where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nrepl_py import connection_file
from nrepl_py.client import NoServer
from nrepl_py.client.address import TOKEN_FILE, Address, find, resolve
from nrepl_py.connection_file import ServerFile

Writer = Callable[..., ServerFile]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes connection files of this process into a runtime directory of the test's own."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv(TOKEN_FILE, raising=False)

    def write(cwd: Path = tmp_path, **fields: object) -> ServerFile:
        server = ServerFile(
            url="ws://127.0.0.1:7", token="secret", pid=os.getpid(), cwd=str(cwd), started=1.0, versions={},
            pid_start=connection_file.process_start(os.getpid()) or "",
        )  # fmt: skip
        return connection_file.write(server._replace(**fields))

    return write


def test_the_server_of_the_directory_or_nearest_above(write: Writer, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    outer = write(tmp_path)
    assert find(str(inner)) == outer
    nearer = write(tmp_path / "a", url="ws://127.0.0.1:8")
    assert find(str(inner)) == nearer
    assert find(str(tmp_path)) == outer


def test_the_current_directory_unless_told(write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(unix="/run/s")
    monkeypatch.chdir(tmp_path)
    assert resolve()[:3] == ("ws://127.0.0.1:7", "secret", "/run/s")
    assert resolve(token="mine").token == "mine"


def test_no_server_says_how_to_start_one(write: Writer, tmp_path: Path) -> None:
    with pytest.raises(NoServer) as caught:
        resolve(directory=str(tmp_path))
    assert str(caught.value) == f"no server runs for {tmp_path}; start one there with: nrepl-py serve"


def test_a_named_connection_file(write: Writer, tmp_path: Path) -> None:
    server = write(path=str(tmp_path / "server.json"))
    assert resolve(file=server.path)[:3] == ("ws://127.0.0.1:7", "secret", None)


def test_a_named_file_that_is_none(write: Writer, tmp_path: Path) -> None:
    with pytest.raises(NoServer, match=r"none\.json is no connection file"):
        find(file=str(tmp_path / "none.json"))


def test_a_named_file_of_a_server_that_is_gone(write: Writer, tmp_path: Path) -> None:
    server = write(path=str(tmp_path / "server.json"), pid_start="long ago")
    with pytest.raises(NoServer, match=rf"\(process {os.getpid()}\) is gone"):
        find(file=server.path)


def test_a_server_that_is_gone_is_not_found(write: Writer, tmp_path: Path) -> None:
    stale = write(pid_start="long ago")
    with pytest.raises(NoServer):
        find(str(tmp_path))
    assert not os.path.exists(stale.path)


def test_a_runtime_directory_open_to_others_is_not_believed(write: Writer, tmp_path: Path) -> None:
    os.chmod(os.path.dirname(write().path), 0o777)
    with pytest.raises(NoServer, match="remove it, or set XDG_RUNTIME_DIR"):
        find(str(tmp_path))
    assert resolve("ws://127.0.0.1:7").token is None


def test_the_token_of_a_url_or_a_socket_that_is_this_users(write: Writer, tmp_path: Path) -> None:
    write(unix=str(tmp_path / "socket"))
    assert resolve("ws://127.0.0.1:7/").token == "secret"
    assert resolve(unix=str(tmp_path / "socket"))[:3] == ("ws://localhost/", "secret", str(tmp_path / "socket"))
    assert resolve("ws://127.0.0.1:8").token is None


def test_a_token_is_taken_as_given_then_from_its_file_then_from_the_connection_file(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    (tmp_path / "token").write_text("from file\n")
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    assert resolve("ws://127.0.0.1:7", "given").token == "given"
    assert resolve("ws://127.0.0.1:7").token == "from file"
    monkeypatch.setenv(TOKEN_FILE, "")
    assert resolve("ws://127.0.0.1:7").token == "secret"


def test_a_token_file_that_cannot_be_read_is_named(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "nothing"))
    with pytest.raises(NoServer, match=f"{TOKEN_FILE}=.*nothing: the token cannot be read"):
        resolve("ws://127.0.0.1:7")


def test_an_address_shows_where_and_never_the_token() -> None:
    assert str(Address("ws://127.0.0.1:7", "secret")) == "ws://127.0.0.1:7"
    assert str(Address("ws://localhost/", "secret", "/run/s")) == "/run/s"
