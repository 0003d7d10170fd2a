"""`sessions`, `close`, `interrupt`, `describe`, `stop` against a running server."""

from __future__ import annotations

import json
import subprocess

from tests.cli.conftest import PATIENCE, Shell


def test_sessions_and_close(served: Shell) -> None:
    assert served.run("sessions").stdout == ""
    served.run("eval", "--session", "listed", "1")
    table = served.run("sessions").stdout.splitlines()
    assert table[0].split() == ["SESSION", "NAME", "STATE", "QUEUED", "PYTHON", "CWD"]
    assert table[1].split()[1:3] == ["listed", "ready"]
    (entry,) = json.loads(served.run("sessions", "--json").stdout)
    assert entry["name"] == "listed"
    assert served.run("close", "listed").returncode == 0
    assert json.loads(served.run("sessions", "--json").stdout) == []
    again = served.run("close", "listed")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


def test_interrupt(served: Shell) -> None:
    running = served.start("eval", "--session", "busy", "print('on', flush=True)\nwhile True: pass")
    assert running.stdout is not None
    assert running.stdout.readline() == "on\n"
    result = served.run("interrupt", "busy")
    assert (result.returncode, result.stderr) == (0, "")
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    idle = served.run("interrupt", "busy")
    assert (idle.returncode, idle.stderr) == (1, "nrepl-py: nothing runs in busy\n")
    served.run("close", "busy")


DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: pass"


def test_what_ignores_interrupts(served: Shell) -> None:
    running = served.start("eval", "--session", "deaf", DEAF)
    assert running.stdout is not None
    assert running.stdout.readline() == "deaf\n"
    result = served.run("interrupt", "deaf", "--kill-after", "0.1")
    assert (result.returncode, result.stderr) == (0, "")
    _, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, err) == (130, "nrepl-py: session restarted\n")
    served.run("close", "deaf")


def test_restart(served: Shell) -> None:
    served.run("eval", "--session", "fresh", "x = 1")
    assert served.run("restart", "fresh").returncode == 0
    assert served.run("eval", "--session", "fresh", "'x' in globals()").stdout == "False\n"
    (entry,) = json.loads(served.run("sessions", "--json").stdout)
    assert entry["epoch"] == 2
    served.run("close", "fresh")
    gone = served.run("restart", "fresh")
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)


def test_describe(served: Shell) -> None:
    described = json.loads(served.run("describe").stdout)
    assert "eval" in described["ops"]
    assert described["limits"]["max-frame"] == 4 << 20


def test_stop(shell: Shell) -> None:
    server = shell.start("serve", "--log-level", "error", stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    server.stdout.readline()
    stopping = shell.start("stop")
    server.communicate(timeout=PATIENCE)
    stopping.communicate(timeout=PATIENCE)
    assert (server.returncode, stopping.returncode) == (0, 0)
    assert shell.run("sessions").returncode == 1
