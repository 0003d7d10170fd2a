"""The example clients in other languages, each against a real server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.conftest import HERE, run, write_connection_file
from tests.conftest import need

if TYPE_CHECKING:
    from nrepl_py.embed import Embedded

STEPS = ["hello", "clone", "eval", "error", "interrupt", "stdin", "close"]
Command = list[str | Path]


def in_node(request: pytest.FixtureRequest) -> Command:
    return [request.getfixturevalue("node"), HERE / "node" / "client.mjs"]


def in_bash(request: pytest.FixtureRequest) -> Command:
    need("websocat")
    return [need("bash"), HERE / "bash" / "client.sh"]


def in_java(request: pytest.FixtureRequest) -> Command:
    # With the quick compiler only, a JVM starts and compiles the file with half the work.
    return [need("java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", HERE / "java" / "Client.java"]


@pytest.fixture(params=[in_node, in_bash, in_java], ids=["node", "bash", "java"])
def client(request: pytest.FixtureRequest) -> Command:
    """The command of a client, short of its connection file."""
    make: Callable[[pytest.FixtureRequest], Command] = request.param
    return make(request)


def test_every_step(client: Command, connection_file: Path) -> None:
    done = run(*client, connection_file)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [step for step, _ in lines] == STEPS
    said = dict(lines)
    assert said["eval"] == "printed Grüße, 世界 🐍, value 'CAFÉ'"
    assert said["error"].startswith("ZeroDivisionError")
    assert "sigint" in said["interrupt"]
    assert said["stdin"] == "asked name? and got 'Zoë'"


def test_a_wrong_token(client: Command, server: Embedded, tmp_path: Path) -> None:
    done = run(*client, write_connection_file(tmp_path / "server.json", server.url, "wrong"))
    assert done.returncode == 1
    assert done.stdout == ""
    # Said by the handshake where the token goes in its header, and by `hello` where it goes there.
    assert "401" in done.stderr or "token" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "one sentence"


def test_no_server(client: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # and nobody's again in a moment
    done = run(*client, write_connection_file(tmp_path / "server.json", f"ws://127.0.0.1:{port}", "any"))
    assert done.returncode == 1
    assert "connect" in done.stderr


def test_a_file_that_others_can_read(client: Command, connection_file: Path) -> None:
    connection_file.chmod(0o644)
    done = run(*client, connection_file)
    assert done.returncode == 1
    assert "can be read by others" in done.stderr
