"""`token` beside a server that runs, and commands over TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from nrepl_py import connection_file, tokens
from tests.cli.conftest import PATIENCE, Shell


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A user of their own: nobody else's servers and tokens."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Shell(tmp_path)


@contextmanager
def serving(shell: Shell, *options: str) -> Iterator[connection_file.ServerFile]:
    process = shell.start("serve", "--log-level", "error", "--sandbox", "process", *options, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("nREPL server started on port ")
        found = connection_file.find(str(shell.directory))
        assert found is not None
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


@contextmanager
def connected(server: connection_file.ServerFile, token: str) -> Iterator[ClientConnection]:
    with connect(server.url, additional_headers={"Authorization": f"Bearer {token}"}, compression=None) as client:
        yield client


def close_code(client: ClientConnection) -> int | None:
    """The code of the close that comes by itself."""
    with pytest.raises(ConnectionClosed):
        while True:
            client.recv(PATIENCE)
    return client.protocol.close_code


def test_a_token_is_made_used_and_revoked_while_the_server_runs(alone: Shell) -> None:
    with serving(alone) as server:
        made = alone.run("token", "create", "ann", "--evals", "5")
        assert (made.returncode, made.stderr) == (0, "")
        token = made.stdout.removesuffix("\n")
        assert len(token) == 43
        token_file = alone.directory / "token"
        token_file.write_text(token)
        alone.env["NREPL_PY_TOKEN_FILE"] = str(token_file)
        made = alone.run("eval", "--url", server.url, "6 * 7")
        assert (made.stdout, made.stderr) == ("42\n", "")
        with connected(server, token) as client, connected(server, server.token) as owner:
            revoked = alone.run("token", "revoke", "ann")
            assert (revoked.returncode, revoked.stdout, revoked.stderr) == (0, "", "")
            assert close_code(client) == 4401
            owner.send('{"op":"describe","id":"1"}')
            assert json.loads(owner.recv(PATIENCE))["status"] == ["done"]
        refused = alone.run("eval", "--url", server.url, "6 * 7")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_a_file_of_ones_own_and_a_server_whose_connection_file_is_elsewhere(alone: Shell, tmp_path: Path) -> None:
    elsewhere, path = str(tmp_path / "server.json"), str(tmp_path / "own.json")
    process = alone.start("serve", "--connection-file", elsewhere, "--tokens", path, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        server = connection_file.read(elsewhere)
        assert server is not None
        assert server.tokens == path
        alone.env["NREPL_PY_TOKENS"] = path
        token = alone.run("token", "create", "bob").stdout.strip()
        assert [entry.name for entry in tokens.read(path)] == ["bob"]
        assert not os.path.exists(tokens.default_path())
        with connected(server, token) as client:
            alone.run("token", "revoke", "bob", "--connection-file", elsewhere)
            assert close_code(client) == 4401
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_servers_that_read_another_file_hear_nothing(alone: Shell, tmp_path: Path) -> None:
    with serving(alone, "--tokens", str(tmp_path / "other.json")) as server, connected(server, server.token) as client:
        assert alone.run("token", "create", "ann").returncode == 0
        client.send('{"op":"describe","id":"1"}')
        assert json.loads(client.recv(PATIENCE))["status"] == ["done"]


def test_create_says_all_it_was_told(alone: Shell) -> None:
    before = time.time()
    made = alone.run(
        "token", "create", "ann@example.org", "--capability", "observe", "--capability", "admin", "--sessions", "2",
        "--evals", "3", "--memory", "1000", "--tier", "sandbox", "--tier", "strict", "--expires", "60",
        "--principal", "owner",
    )  # fmt: skip
    (entry,) = tokens.read(tokens.default_path())
    assert entry.sha256 == tokens.digest(made.stdout.strip())
    assert (entry.name, entry.principal, entry.capabilities) == ("ann@example.org", "owner", ("observe", "admin"))
    assert (entry.quota.sessions, entry.quota.evals, entry.quota.memory_bytes) == (2, 3, 1000)
    assert entry.tiers == ("sandbox", "strict")
    assert entry.expires == entry.created + 60
    assert before <= entry.created <= time.time()
    table = alone.run("token", "list").stdout
    assert table.splitlines()[1].split()[:6] == [
        "ann@example.org",
        "owner",
        "observe,admin",
        "2",
        "3",
        "sandbox,strict",
    ]
    (listed,) = json.loads(alone.run("token", "list", "--json").stdout)
    assert listed["name"] == "ann@example.org"
    assert entry.sha256 not in table + json.dumps(listed)


def test_mistakes_are_one_line_and_change_nothing(alone: Shell) -> None:
    assert alone.run("token", "create", "ann").returncode == 0
    path = Path(tokens.default_path())
    before = path.read_text()
    for arguments in (["create", "ann"], ["create", "owner"], ["create", "a b"], ["create", "x", "--evals", "-1"],
                      ["revoke", "bob"]):  # fmt: skip
        done = alone.run("token", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert path.read_text() == before
    path.chmod(0o644)
    for arguments in (["create", "bob"], ["revoke", "ann"], ["list"]):
        done = alone.run("token", *arguments)
        assert (done.returncode, done.stderr.count("chmod 600")) == (1, 1)
    refused = alone.run("serve")
    assert (refused.returncode, refused.stderr.count("chmod 600")) == (2, 1)


@pytest.mark.parametrize("arguments", [[], ["create"], ["create", "x", "--capability", "all"], ["revoke"]])
def test_usage_errors(alone: Shell, arguments: list[str]) -> None:
    done = alone.run("token", *arguments)
    assert (done.returncode, "usage: nrepl-py token" in done.stderr) == (2, True)


def test_an_empty_list_is_empty(alone: Shell) -> None:
    assert alone.run("token", "list").stdout == ""
    assert json.loads(alone.run("token", "list", "--json").stdout) == []


def test_commands_over_tls(alone: Shell, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    alone.env["NREPL_PY_CAFILE"] = str(tmp_path / "unused by servers")
    with serving(alone, "--certfile", "cert.pem", "--keyfile", "key.pem") as server:
        del alone.env["NREPL_PY_CAFILE"]
        assert server.url.startswith("wss://127.0.0.1:")
        # Found by its connection file, it is known by its certificate.
        assert alone.run("eval", "6 * 7").stdout == "42\n"
        token_file = tmp_path / "token"
        token_file.write_text(server.token)
        alone.env |= {"NREPL_PY_TOKEN_FILE": str(token_file)}
        url = server.url.replace("127.0.0.1", "localhost")
        assert alone.run("eval", "--url", url, "--cafile", "ca.pem", "6 * 7").stdout == "42\n"
        assert alone.run("sessions", "--url", url, "--cafile", "ca.pem").returncode == 0
        untrusted = alone.run("eval", "--url", url, "6 * 7")
        assert (untrusted.returncode, untrusted.stderr.count("--cafile")) == (1, 1)
