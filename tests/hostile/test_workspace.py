"""Where a session works: what it may write to, in whose name, and what stays as it is within."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nrepl_py.sandbox import kernel
from tests.contract.driver import Session
from tests.hostile.harness import Victim, Witness, another
from tests.hostile.places import places

PLACES = places("sandbox", "landlock")
LIMITS: dict[str, int] = {}
TRIED = """
import errno
def outcome(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""
REFUSED = {"EROFS", "EACCES", "ENOENT"}


def written(session: Session, path: Path | str) -> str:
    """What comes of writing there."""
    session.ok(TRIED)
    return str(session.eval(f"outcome({str(path)!r})", data=True).last["data"])


@pytest.fixture
def workspace(victim: Victim) -> Iterator[Path]:
    """A directory of the server's user."""
    with tempfile.TemporaryDirectory() as name:
        if victim.user is not None:
            os.chown(name, victim.user.uid, victim.user.gid)
        yield Path(name)


def test_a_workspace_is_written_to_as_its_owner(victim: Victim, workspace: Path) -> None:
    with another(victim, LIMITS) as (other, witness):
        peer = other.peer()
        session = Session(peer, cwd=str(workspace))
        assert session.reply["info"]["sandbox"]["write"] == [str(workspace)]
        assert written(session, "mine") == "done"
        status, directory = (workspace / "mine").stat(), workspace.stat()
        assert (status.st_uid, status.st_gid) == (directory.st_uid, directory.st_gid)
        witness.answers()
        peer.close()


def test_a_workspace_of_another_user(victim: Victim, workspace: Path) -> None:
    """As root: the owner on disk stays who it is, whoever the session is."""
    if victim.user is not None or os.geteuid() != 0:
        return  # an ordinary user has none of another's
    os.chown(workspace, 12345, 12346)
    with another(victim, LIMITS) as (other, witness):
        peer = other.peer()
        if victim.tier == "landlock":
            # There it is root without its powers, and that is not the owner.
            reply = peer.request("clone", cwd=str(workspace)).last
            assert reply["status"] == ["error", "start-failed", "done"]
            assert f"a session cannot work in {workspace}: Permission denied" in reply["message"]
            assert "Traceback" not in reply["message"]
        else:
            session = Session(peer, cwd=str(workspace))
            assert written(session, "theirs") == "done"
            status = (workspace / "theirs").stat()
            assert (status.st_uid, status.st_gid) == (12345, 12346)
            assert session.ok("import os\nos.stat('theirs').st_uid == os.getuid()").value == "True"
            (workspace / "roots").touch()
            assert written(session, "roots") == "EACCES"
        witness.answers()
        peer.close()


def test_a_file_system_that_cannot_do_that(victim: Victim, workspace: Path) -> None:
    """As root: it is refused, with a sentence that says what to do, and nothing of ours."""
    if victim.user is not None or os.geteuid() != 0 or victim.tier == "landlock":
        return
    with another(victim, LIMITS) as (other, witness):
        peer = other.peer()
        kernel.mount("ramfs", str(workspace), "ramfs")
        try:
            reply = peer.request("clone", cwd=str(workspace)).last
            assert reply["status"] == ["error", "start-failed", "done"], reply
            assert f"the file system of {workspace} cannot have its files written" in reply["message"]
            assert "Traceback" not in reply["message"]
            witness.answers()
        finally:
            kernel.umount(str(workspace), kernel.MNT_DETACH)
        assert Session(peer, cwd=str(workspace)).ok("1").value == "1"
        peer.close()


def test_a_workspace_that_may_be_read_only(victim: Victim, workspace: Path) -> None:
    (workspace / "data").write_text("42")
    options = ("--allow-read", str(workspace), "--allow-write", str(workspace / "results"))
    (workspace / "results").mkdir()
    if victim.user is not None:
        os.chown(workspace / "results", victim.user.uid, victim.user.gid)
    with another(victim, LIMITS, *options) as (other, witness):
        peer = other.peer()
        session = Session(peer, cwd=str(workspace))
        assert session.ok("open('data').read()").value == "'42'"
        for path in ("data", "new", "results/new"):
            assert written(session, path) in REFUSED, path
        session = Session(peer, cwd=str(workspace), sandbox={"write": [str(workspace / "results")]})
        assert written(session, "results/new") == "done"
        assert written(session, "new") in REFUSED
        assert peer.request("clone", cwd=str(other.directory / "work")).last["status"][:2] == ["error", "forbidden"]
        witness.answers()
        peer.close()


def test_an_environment_in_the_workspace_stays_as_it_is(victim: Victim, witness: Witness, workspace: Path) -> None:
    """It lies below /tmp too, as all of this: what a private /tmp would hide is shown there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", workspace / ".venv"], check=True)
    if victim.user is not None:
        for path in (workspace / ".venv", *(workspace / ".venv").rglob("*")):
            os.chown(path, victim.user.uid, victim.user.gid, follow_symlinks=False)
    with another(victim, LIMITS) as (other, own):
        peer = other.peer()
        python = str(workspace / ".venv" / "bin" / "python")
        session = Session(peer, python=python, cwd=str(workspace))
        assert session.ok("import sys\nsys.prefix").value == repr(str(workspace / ".venv"))
        assert written(session, workspace / "mine") == "done"
        found = {written(session, workspace / ".venv" / name) for name in ("x", "bin/x", "pyvenv.cfg")}
        if victim.tier == "landlock":
            assert found == {"done"}  # its rules only ever add up: see SECURITY.md
        else:
            assert found == {"EROFS"}
            moved = session.eval("import os\nos.rename('.venv', 'moved')")
            assert moved.error["type"] == "OSError"
        own.answers()
        peer.close()
