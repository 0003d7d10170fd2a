"""A router killed without warning takes everything with it: zygote, workers and their children."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE, Peer, Session


@pytest.mark.parametrize("env", [{}, {"PYTHONPATH": "/nonexistent"}], ids=["forked", "spawned"])
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)"])
def test_nothing_survives(tmp_path: Path, env: dict[str, str], code: str) -> None:
    file = tmp_path / "connection.json"
    # Confined sessions are killed with their namespace: tests/hostile/test_sandbox.py has that.
    command = [sys.executable, "-m", "nrepl_py", "serve", "--connection-file", str(file), "--log-level", "error"]
    command += ["--sandbox", "process"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        address = json.loads(file.read_text())
        peer = Peer.open(url=address["url"], token=address["token"])
        session = Session(peer, env=env)
        assert session.reply["info"]["start"] == ("spawn" if env else "fork")
        run = session.ok(
            "import os, subprocess; child = subprocess.Popen(['sleep', '1000']); os.getpid(), child.pid", data=True
        )
        pidfds = [os.pidfd_open(pid) for pid in run.last["data"]]
        session.peer.until(session.start("print('on')\n" + code), key="out")
        server.send_signal(signal.SIGKILL)
        for pidfd in pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            assert poll.poll(PATIENCE * 1000), "it outlived its router"
            os.close(pidfd)
        peer.close()
