"""What every test file may use: a real server, other languages' tools, and a check that nothing leaks.

After the last test of each file, everything this run has started or opened since its first one must
be gone: processes (orphans too), descriptors (listening sockets are among them), temporary
directories and connection files. Being gone may take a moment, so the check polls up to a deadline.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from nrepl_py.limits import Limits

if TYPE_CHECKING:
    from nrepl_py.embed import Embedded

TESTS = Path(__file__).parent
CI = os.environ.get("CI") == "true"
ONCE = ("clients", "editors")
"""Directories whose tests are about other programs more than about the server's Python: they are marked `once`."""

PATIENCE = 60  # seconds for what ends to be gone; it takes one where nothing else runs

# Everything of this run lies in one directory, so that runs beside it do not count. Sessions get TMPDIR too:
# it marks their processes. Its name is short, since a Unix socket's path may have 107 bytes at most.
# Where files run in processes of their own (pytest-xdist), each is such a run, beside that of their parent.
_BASE = os.environ.setdefault("TESTS_TMPDIR", tempfile.gettempdir())
_HOME = Path(tempfile.mkdtemp(prefix="nrepl-", dir=_BASE))
os.environ.update({"XDG_RUNTIME_DIR": str(_HOME / "run"), "TMPDIR": str(_HOME / "tmp")})
os.environ["XDG_CONFIG_HOME"] = str(_HOME / "config")  # where nobody has tokens
tempfile.tempdir = str(_HOME / "tmp")
for _name in ("run", "tmp"):
    (_HOME / _name).mkdir(mode=0o700)
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

PATIENT = Limits(answer_seconds=60)  # of a server, on a machine that has other things to do
PATIENT_VARIABLE = "NREPL_PY_ANSWER_SECONDS"
os.environ[PATIENT_VARIABLE] = str(int(PATIENT.answer_seconds))  # and of those that are programs

# A shell starts what runs in its background deaf to Ctrl-C, and so would be the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is a matter of the machine, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(tryfirst=True)  # before those are chosen that are to run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in those directories."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in ONCE:
            item.add_marker(pytest.mark.once)


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    """A server on TCP with `local` workers, shared by the tests of one file: `url` and `token`."""
    from nrepl_py.embed import serve_in_thread  # the core's tests need no server

    with serve_in_thread(kind="local", limits=PATIENT) as running:
        yield running


def need(tool: str) -> str:
    """The path of a program that a test drives. Without it the test is skipped; in CI it fails."""
    path = shutil.which(tool)
    if path is None:
        (pytest.fail if CI else pytest.skip)(f"this test needs {tool} on PATH")
    return path


@pytest.fixture(scope="module", autouse=True)
def no_leaks() -> Iterator[None]:
    """Fails the file's last test if something that was not there before its first is still there after it."""
    if not Path("/proc/self/fd").exists():
        yield
        return
    before = leakable()
    yield
    deadline = time.monotonic() + PATIENCE
    while left := leakable() - before:
        if time.monotonic() > deadline:
            pytest.fail("left behind:\n  " + "\n  ".join(sorted(left)))
        time.sleep(0.02)  # between two looks; nothing tells of an orphan's end


def leakable() -> set[str]:
    """Everything that must not stay: one line for each process, descriptor, temporary file and connection file."""
    files = [
        path for place in ("tmp", "run") for path in (_HOME / place).glob("*") if not path.name.startswith("pytest-")
    ]
    files += (_HOME / "run" / "nrepl-py").glob("*")
    return _processes() | _descriptors() | {f"file {path}" for path in files if path.name != "nrepl-py"}


def _descriptors() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the descriptor of the listing itself
            continue
        # What the interpreter, pytest and hypothesis open when first used and rightly keep.
        if not target.startswith(("/dev/", str(Path.cwd() / ".hypothesis"))) and not target.endswith((".so", ".py")):
            found.add(f"descriptor {fd} -> {target}")
    return found


def _processes() -> set[str]:
    """This process' descendants, and orphans that carry this run's directory in their environment."""
    parents: dict[int, int] = {}
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if os.fsencode(_HOME) in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:  # ended just now, or another user's
                continue
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid():
            ancestor = parents[ancestor]
        if ancestor == os.getpid():
            found.add(pid)
    return {f"process {pid}: {_command(pid)}" for pid in found - {os.getpid()}}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "ended"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: there, everything is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if CI and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
