"""A server as a program of its own: banner, connection file, signals, exit code, log."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from nrepl_py import connection_file
from tests.server.fakes import add_token, drop_token

PROGRAM = """
import sys
from nrepl_py.config import Settings
from nrepl_py.server.main import main
from tests.server.fakes import FakeEvaluator
make = {make}
sys.exit(main(Settings(**{settings!r}), make))
"""
FAKE = "lambda settings: FakeEvaluator()"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds for a subprocess to do anything at all; the server's own promise is 5


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "run" / "nrepl-py"


@contextmanager
def running(cwd: Path, make: str = FAKE, **settings: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and its banner."""
    program = PROGRAM.format(make=make, settings=settings)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def session(server: connection_file.ServerFile) -> Any:
    return connect(server.url, additional_headers={"Authorization": f"Bearer {server.token}"}, compression=None)


def ask(client: Any, **message: Any) -> dict[str, Any]:
    client.send(json.dumps(message))
    while True:
        reply: dict[str, Any] = json.loads(client.recv(PATIENCE))
        if reply.get("id") == message["id"] and "done" in reply.get("status", ()):
            return reply


def test_banner_and_connection_file(tmp_path: Path, runtime: Path) -> None:
    with running(tmp_path) as (process, banner):
        found = re.fullmatch(
            r"nREPL server started on port (\d+) on host 127\.0\.0\.1 - ws://127\.0\.0\.1:\1\n", banner
        )
        assert found
        server = connection_file.find(str(tmp_path))
        assert server is not None
        assert server.url == f"ws://127.0.0.1:{found[1]}"
        assert (server.pid, server.cwd) == (process.pid, str(tmp_path))
        assert Path(server.path).parent == runtime
        assert os.stat(server.path).st_mode & 0o777 == 0o600
        with session(server) as client:
            assert ask(client, op="describe", id="1")["status"] == ["done"]
        # A secret is in no argument and no environment another could read.
        for name in ("cmdline", "environ"):
            place = Path(f"/proc/{process.pid}/{name}")
            assert not place.exists() or server.token.encode() not in place.read_bytes()


def test_an_explicit_connection_file(tmp_path: Path, runtime: Path) -> None:
    path = tmp_path / "mine.json"
    with running(tmp_path, connection_file=str(path)) as (process, _):
        server = connection_file.read(str(path))
        assert server is not None
        assert server.pid == process.pid
        assert not runtime.exists() or not list(runtime.iterdir())
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_and_exits_0(tmp_path: Path, runtime: Path, number: int) -> None:
    with running(tmp_path) as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        with session(server) as client:
            new = ask(client, op="clone", id="c")["new-session"]
            client.send(json.dumps({"op": "eval", "id": "1", "session": new, "code": "hang"}))
            while "started" not in json.loads(client.recv(PATIENCE)):
                pass
            process.send_signal(number)
            messages = [json.loads(message) for message in client]
            assert [message["status"] for message in messages if message.get("id") == "1"] == [
                ["session-closed", "done"]
            ]
            assert client.close_code == 1001
        assert process.wait(PATIENCE) == 0
        assert list(runtime.iterdir()) == []


def test_a_server_that_nobody_uses_ends(tmp_path: Path, runtime: Path) -> None:
    with running(tmp_path, unused_seconds=2) as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        with session(server) as client:
            assert ask(client, op="clone", id="c", name="s")["status"] == ["done"]
            with pytest.raises(subprocess.TimeoutExpired):  # it is connected to
                process.wait(3)
            client.send(json.dumps({"op": "eval", "id": "1", "session": "s", "code": "hang"}))
            while "started" not in json.loads(client.recv(PATIENCE)):
                pass
        with pytest.raises(subprocess.TimeoutExpired):  # it is at work
            process.wait(3)
        with session(server) as client:
            assert ask(client, op="close", id="x", session="s")["status"] == ["session-closed", "done"]
        assert process.wait(PATIENCE) == 0
        assert list(runtime.iterdir()) == []


def test_a_second_sigint_forces(tmp_path: Path, runtime: Path) -> None:
    stuck = "type('Stuck', (FakeEvaluator,), {'aclose': lambda self: __import__('asyncio').Event().wait()})"
    unix = tmp_path / "s"
    with running(tmp_path, f"lambda settings: {stuck}()", log_level="info", unix=str(unix), port=0) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "server stops" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert list(runtime.iterdir()) == []
        assert not unix.exists()


def test_nohup_is_respected(tmp_path: Path) -> None:
    ignore = "(__import__('signal').signal(1, __import__('signal').SIG_IGN), lambda settings: FakeEvaluator())[1]"
    with running(tmp_path, ignore) as (process, _):
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_the_log_reopens_and_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(tmp_path, log_file=str(path), log_format="json", log_level="debug") as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        while "server started" not in path.read_text():
            pass
        path.rename(tmp_path / "old")
        process.send_signal(signal.SIGHUP)
        with session(server) as client:
            ask(client, op="hello", id="1", token=server.token)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        old, new = (tmp_path / "old").read_text(), path.read_text()
        assert server.token not in old + new
        assert all(json.loads(line)["time"] for line in (old + new).splitlines())
        assert "server started" in old
        assert "server stops" in new


def test_a_hangup_reopens_the_audit_file_and_does_not_stop(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    with running(tmp_path, audit_file=str(path)) as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        path.rename(tmp_path / "old")
        process.send_signal(signal.SIGHUP)
        with session(server) as client:
            ask(client, op="clone", id="after")
        process.terminate()
        assert process.wait(PATIENCE) == 0
        said = [json.loads(line) for line in path.read_text().splitlines()]
        assert {line["event"] for line in said} >= {"connected", "request", "session-closed"}
        assert (tmp_path / "old").read_text() == ""
        assert server.token not in path.read_text()


def issue(directory: Path) -> str:
    """A new certificate with its key, in one file."""
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(directory / "tls.pem")
    return str(directory / "tls.pem")


def shown(port: int) -> str:
    """The certificate a server shows."""
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_sighup_renews_the_certificate(tmp_path: Path) -> None:
    with running(tmp_path, certfile=issue(tmp_path)) as (process, banner):
        found = re.fullmatch(
            r"nREPL server started on port (\d+) on host 127\.0\.0\.1 - wss://127\.0\.0\.1:\1\n", banner
        )
        assert found
        server = connection_file.find(str(tmp_path))
        assert server is not None
        assert (server.url, server.certfile) == (f"wss://127.0.0.1:{found[1]}", str(tmp_path / "tls.pem"))
        first = shown(int(found[1]))
        issue(tmp_path)
        assert shown(int(found[1])) == first
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while shown(int(found[1])) == first:
            assert time.monotonic() < deadline
        (tmp_path / "tls.pem").write_text("broken")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while "not renewed" not in process.stderr.readline():
            pass
        assert shown(int(found[1])) != first
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_has_the_tokens_read_again(tmp_path: Path, number: int) -> None:
    path = tmp_path / "tokens.json"
    token = add_token(path, "ann")
    with running(tmp_path, tokens=str(path)) as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        assert server.tokens == str(path)
        with session(server._replace(token=token)) as client, session(server) as owner:
            drop_token(path, "ann")
            process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE)
            assert client.protocol.close_code == 4401
            assert ask(owner, op="describe", id="1")["status"] == ["done"]
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_the_users_own_tokens_file_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with running(tmp_path) as (process, _):
        token = add_token(tmp_path / "config" / "nrepl-py" / "tokens.json", "ann")
        server = connection_file.find(str(tmp_path))
        assert server is not None
        with session(server._replace(token=token)) as client:
            assert ask(client, op="hello", id="1")["principal"] == "ann"
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_insecure_stands_in_the_banner_and_the_log(tmp_path: Path) -> None:
    with running(tmp_path, host="0.0.0.0", insecure=True) as (process, banner):
        assert banner.endswith(" (insecure: no TLS)\n")
        assert process.stderr is not None
        assert "insecure" in process.stderr.readline()
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_signal_that_another_thread_gets_ends_it_too(tmp_path: Path) -> None:
    """As a signal in the moment before the loop falls asleep, it interrupts no sleep of the main thread."""
    late = """
import signal, threading
sys.modules["uvloop"] = None  # which never had this trouble
def late(settings):
    def send():
        sys.stdin.readline()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Thread(target=send, daemon=True).start()
    return FakeEvaluator()
make = late
"""
    with running(tmp_path, f"None{late}") as (process, banner):
        assert banner.startswith("nREPL server started")
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0


def test_a_unix_socket_alone_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(tmp_path, unix=str(path)) as (process, banner):
        assert banner == f"nREPL server started on socket {path} - ws+unix://{path}\n"
        server = connection_file.find(str(tmp_path))
        assert server is not None
        assert server.unix == str(path)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not path.exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"host": "0.0.0.0"}, "--insecure"), ({"log_file": "/missing/log"}, "--log-file"),
     ({"audit_file": "/missing/audit"}, "--audit-file"), ({"connection_file": "/missing/x.json"}, "/missing/x.json"),
     ({"host": "localhost", "unix": "/x" * 99}, "/x/x"), ({"unix": "/missing/s"}, "/missing/s"),
     ({"certfile": "/missing.pem"}, "--certfile /missing.pem"), ({"tokens": "/dev/null"}, "/dev/null is not a file")],
)  # fmt: skip
def test_a_server_that_cannot_start_says_why_and_exits_2(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with running(tmp_path, **settings) as (process, banner):
        assert banner == ""
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert sentence in said.splitlines()[-1]
        assert "Traceback" not in said


def test_with_real_workers(tmp_path: Path) -> None:
    with running(tmp_path, "None") as (process, _):
        server = connection_file.find(str(tmp_path))
        assert server is not None
        with session(server) as client:
            new = ask(client, op="clone", id="c")["new-session"]
            assert ask(client, op="eval", id="1", session=new, code="6 * 7")["value"] == "42"
            client.send(json.dumps({"op": "eval", "id": "2", "session": new, "code": "while True: pass"}))
            process.terminate()
            assert process.wait(PATIENCE) == 0
