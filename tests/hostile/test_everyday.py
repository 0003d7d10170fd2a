"""What users install and do goes on working in a session without network: wheels in a virtual environment of theirs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import Session
from tests.hostile.harness import Victim
from tests.hostile.places import places

pytestmark = pytest.mark.once

PLACES = places("sandbox", "landlock")

WHEELS = ("numpy", "matplotlib", "debugpy", "attrs")

DEBUGGED = """
import debugpy, json, socket
address = debugpy.listen(("127.0.0.1", 0))
with socket.create_connection(address, 10) as client:
    body = json.dumps({"seq": 1, "type": "request", "command": "initialize", "arguments": {"adapterID": "x"}}).encode()
    client.sendall(b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    said = b""
    while b"supportsConfigurationDoneRequest" not in said:
        said += client.recv(65536) or 1/0
"""
DOES = {
    "wheels": "import attr\nassert attr.make_class('A', ['x'])(1).x == 1",
    "numpy": "import numpy\nassert numpy.linalg.inv(numpy.eye(200)).sum() == 200",
    "numpy in threads": "import numpy, threading\n"
    "ts = [threading.Thread(target=lambda: numpy.ones((500, 500)) @ numpy.ones((500, 500))) for _ in range(8)]\n"
    "[t.start() for t in ts], [t.join() for t in ts]",
    "numpy in processes": "import multiprocessing, numpy\n"
    "with multiprocessing.get_context('fork').Pool(2) as p: assert p.map(numpy.sum, [numpy.ones(9)] * 4) == [9.0] * 4",
    "matplotlib": "import matplotlib, os\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.savefig(os.path.expanduser('~/plot.png'))\n"
    "assert os.listdir(matplotlib.get_cachedir())",
    "debugpy": DEBUGGED,
    "pip": "import subprocess, sys\n"
    "assert subprocess.run([sys.executable, '-m', 'pip', '--version'], capture_output=True).returncode == 0",
}
NOT_IN_LANDLOCK = {"debugpy"}  # it has no localhost of its own


@pytest.fixture(scope="module")
def environment() -> Iterator[str]:
    """The interpreter of a virtual environment with those wheels, which pip has installed; the same in each place."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", name], check=True)
        python = f"{name}/bin/python"
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *WHEELS]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"pip cannot install what this is about: {done.stderr[-300:]}")
        yield python


@pytest.mark.parametrize("what", DOES)
def test_it_works(victim: Victim, environment: str, what: str) -> None:
    peer = victim.peer()
    session = Session(peer, python=environment)
    run = session.eval(DOES[what])
    assert ("eval-error" in run.status) is (victim.tier == "landlock" and what in NOT_IN_LANDLOCK), run.messages
    session.close()
    peer.close()
