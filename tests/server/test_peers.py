"""Who is at the other end: users of Unix sockets, for certain, and addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect

from nrepl_py.server import peers
from nrepl_py.server.connection import Connection
from tests.server.fakes import ask, make_server

NOBODY = 65534

AS_NOBODY = f"""
import os, socket
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(30)
peer.connect("s")
try:
    peer.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(peer.recv(100).decode().partition("\\r")[0])
except OSError as error:
    print(type(error).__name__)
"""


def test_the_kernel_says_whose_a_socket_is() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peers.uid(ours) == os.geteuid()
        assert peers.name(ours) == f"uid {os.geteuid()}"


def test_ourselves_root_and_those_listed_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = peers.allowed((7,))
    assert allowed == {os.geteuid(), 0, 7}
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        for uid, stranger in ((os.geteuid(), False), (0, False), (7, False), (8, True), (NOBODY, True), (None, False)):
            monkeypatch.setattr(peers, "uid", lambda peer, uid=uid: uid)
            assert peers.is_stranger(ours, allowed) == stranger


def test_a_peer_that_cannot_be_asked_after_is_a_stranger() -> None:
    gone = socket.socket(socket.AF_UNIX)
    gone.close()
    assert peers.is_stranger(gone, peers.allowed())
    assert peers.name(gone) == "unknown"


@pytest.mark.parametrize(
    ("host", "network"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"),
     ("2001:db8::ffff:1", "2001:db8::/64"), ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64")],
)  # fmt: skip
def test_an_ipv6_peer_is_its_network(host: str, network: str) -> None:
    assert peers.network(host) == network


async def test_a_stranger_is_cut_before_a_byte_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(Connection, "data_received", lambda self, data: read.append(data))
    monkeypatch.setattr(peers, "uid", lambda peer: NOBODY)
    async with make_server(unix=str(tmp_path / "s")) as server:
        reader, writer = await asyncio.open_unix_connection(server.unix)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await reader.read() == b""
        except ConnectionError:
            pass  # What was written found nobody to read it.
        finally:
            writer.transport.abort()
        assert read == []
        assert server.door.wrong_tokens == 0
    assert not server._sockets


async def test_a_socket_for_others_can_be_reached_by_them(tmp_path: Path) -> None:
    async with make_server(unix=str(tmp_path / "s"), allow_uids=(NOBODY,)) as server:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o666
        headers = {"Authorization": f"Bearer {server.token}"}
        async with unix_connect(server.unix, "ws://localhost/", additional_headers=headers) as client:
            assert (await ask(client, {"op": "describe", "id": "1"}))["transports"] == ["unix"]


def run_as_nobody(directory: Path) -> str:
    directory.chmod(0o755)
    # From its own directory: those above are closed to others.
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=directory, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr


if hasattr(os, "geteuid") and os.geteuid() == 0:  # only root can become somebody else

    async def test_another_user_is_refused_unless_listed(tmp_path: Path) -> None:
        for uids, answer in (((NOBODY,), "HTTP/1.1 200 OK"), ((1,), None)):
            async with make_server(unix=str(tmp_path / "s"), allow_uids=uids):
                said: Any = await asyncio.to_thread(run_as_nobody, tmp_path)
                assert said == answer if answer else said in ("", "ConnectionResetError", "BrokenPipeError")

    async def test_without_a_list_the_socket_itself_is_closed_to_others(tmp_path: Path) -> None:
        async with make_server(unix=str(tmp_path / "s")):
            assert "PermissionError" in await asyncio.to_thread(run_as_nobody, tmp_path)
