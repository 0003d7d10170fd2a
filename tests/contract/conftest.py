"""One suite over every codec, transport and evaluator: the `session` of a test stands for all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from nrepl_py.embed import serve_in_thread
from tests.contract.driver import Peer, Session

ROUTES = (
    "json-tcp",
    "msgpack-unix",
    # Each codec and each transport is in those; another Python makes no difference to a pair of them.
    pytest.param("msgpack-tcp", marks=pytest.mark.once),
    pytest.param("json-unix", marks=pytest.mark.once),
)


@dataclass(frozen=True)
class Address:
    """Where a server listens, over both transports, and what opens it."""

    url: str
    token: str
    unix: str


@contextmanager
def _local(unix: str) -> Iterator[Address]:
    with serve_in_thread(kind="local", port=0, unix=unix) as server:
        yield Address(server.url, server.token, unix)


@contextmanager
def _sandbox(unix: str) -> Iterator[Address]:
    with serve_in_thread(kind="local", port=0, unix=unix, sandbox="sandbox") as server:
        yield Address(server.url, server.token, unix)


@contextmanager
def _inprocess(unix: str) -> Iterator[Address]:
    # A program of its own: pytest's capturing and a program's embedded sessions want the same sys.stdout.
    command = [sys.executable, "-m", "tests.contract.host", unix]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        yield Address(**json.loads(program.stdout.readline()))
        program.communicate()


SERVERS = {"local": _local, "sandbox": _sandbox, "inprocess": _inprocess}


@pytest.fixture(scope="module", params=SERVERS)
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with SERVERS[request.param](str(tmp_path_factory.mktemp("unix") / "s")) as address:
        yield address


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with _local(str(tmp_path_factory.mktemp("unix") / "s")) as address:
        yield address


@pytest.fixture(scope="module", params=["local", "sandbox"])
def killable_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with SERVERS[request.param](str(tmp_path_factory.mktemp("unix") / "s")) as address:
        yield address


@pytest.fixture(scope="module")
def inprocess_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with _inprocess(str(tmp_path_factory.mktemp("unix") / "s")) as address:
        yield address


def _open(server: Address, route: str) -> Peer:
    codec, transport = route.split("-")
    unix = server.unix if transport == "unix" else None
    return Peer.open(url=server.url, unix=unix, token=server.token, codec=codec)


@pytest.fixture(params=ROUTES)
def any_peer(any_server: Address, request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A connection over every codec and transport, to a server of every evaluator."""
    peer = _open(any_server, request.param)
    yield peer
    peer.close()


@pytest.fixture
def any_session(any_peer: Peer) -> Iterator[Session]:
    session = Session(any_peer)
    yield session
    session.close()


@pytest.fixture
def killable(killable_server: Address) -> Iterator[Session]:
    """A session whose worker can be killed."""
    peer = _open(killable_server, "msgpack-unix")
    session = Session(peer)
    yield session
    session.close()
    peer.close()


@pytest.fixture
def hosted(inprocess_server: Address) -> Iterator[Session]:
    """A session that is a thread of the program that serves it."""
    peer = _open(inprocess_server, "json-tcp")
    session = Session(peer)
    yield session
    session.close()
    peer.close()


@pytest.fixture(params=["json-tcp", "msgpack-unix"])
def peer(local_server: Address, request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A connection to a server with isolated workers, over either codec."""
    peer = _open(local_server, request.param)
    yield peer
    peer.close()


@pytest.fixture
def session(peer: Peer) -> Iterator[Session]:
    """A session in a process of its own."""
    session = Session(peer)
    yield session
    session.close()
