"""How far a session is confined: the server's policy, what a clone may ask, and what it may never have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nrepl_py.config import Settings
from nrepl_py.errors import Forbidden, StartFailed
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.grants import Grants
from nrepl_py.evaluators.policy import Confinement, Policy
from nrepl_py.limits import Limits
from nrepl_py.ops import TIERS, Sandbox, SessionLimits


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home" / "project")


def confine(
    policy: Policy, cwd: str | None = None, limits: SessionLimits | None = None, owner: bool = True, **sandbox: Any
) -> Confinement:
    spec = Spec(Ref("s", 1), cwd=cwd, sandbox=Sandbox(**sandbox), limits=limits or SessionLimits(), owner=owner)
    return policy.confine(spec)


@pytest.mark.parametrize("floor", TIERS)
@pytest.mark.parametrize("asked", TIERS)
def test_more_may_be_asked_and_never_less(floor: Any, asked: Any) -> None:
    policy = Policy(tier=floor)
    if TIERS.index(asked) < TIERS.index(floor):
        with pytest.raises(Forbidden, match="is less"):
            confine(policy, tier=asked, workspace="fresh")
    else:
        assert confine(policy, tier=asked, workspace="fresh").tier == asked


def test_the_network_is_the_servers_to_give() -> None:
    assert confine(Policy(tier="sandbox")).network is False
    assert confine(Policy(tier="sandbox", network=True)).network is True
    assert confine(Policy(tier="sandbox", network=True), network="none").network is False
    with pytest.raises(Forbidden, match="--network host"):
        confine(Policy(tier="sandbox"), network="host")


def test_a_session_writes_where_it_works(tmp_path: Path) -> None:
    project = str(tmp_path / "home" / "project")
    assert confine(Policy(tier="sandbox")).view.write == (project,)
    assert confine(Policy(tier="sandbox"), workspace="fresh").view.write == ()
    other = tmp_path / "other"
    other.mkdir()
    found = confine(Policy(tier="sandbox"), cwd=str(other), write=[str(other), project], read=["/usr"])
    assert (found.cwd, found.view.write, found.view.read) == (str(other), (str(other), project), ("/usr",))


@pytest.mark.parametrize("path", ["~", "~/..", "/", "/etc", "/usr/lib", "/proc", "/dev", "missing", "a\0b", "~/link"])
def test_what_no_session_may_write_to(path: str, tmp_path: Path) -> None:
    (tmp_path / "home" / "link").symlink_to(tmp_path)
    path = os.path.expanduser(path)
    for fields in ({"cwd": path}, {"write": [path]}):
        with pytest.raises(StartFailed, match="holds|belongs|there is no"):
            confine(Policy(tier="sandbox"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["~", "/", "/proc", "/proc/self", "/sys", "/dev", "/run", "missing", "a\0b"])
def test_what_no_session_may_read(path: str) -> None:
    """Who owns the server can show what is his; all of it at once, or other processes, is never meant."""
    with pytest.raises(StartFailed, match="holds|belongs|there is no"):
        confine(Policy(tier="sandbox"), read=[os.path.expanduser(path)])


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for fields in ({"cwd": str(tmp_path / "file")}, {"write": [str(tmp_path / "file")]}):
        with pytest.raises(StartFailed, match="not a directory"):
            confine(Policy(tier="sandbox"), **fields)  # type: ignore[arg-type]
    assert confine(Policy(tier="sandbox"), read=[str(tmp_path / "file")]).view.read == (str(tmp_path / "file"),)


@pytest.mark.parametrize("name", ["tokens", "keyfile", "connection_file", "log_file", "audit_file", "unix", "config"])
def test_the_servers_own_files_are_nobodys(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    state.mkdir()
    settings = Settings(**{name: str(state / "own")})
    (state / "own").touch()
    (state / "beside").mkdir()
    policy = Policy(tier="sandbox", grants=Grants(state=settings.files, read=("/",), write=("/",)))
    for fields in (
        {"cwd": str(state)},
        {"write": [str(state)]},
        {"read": [str(state)]},
        {"read": [str(state / "own")]},
    ):
        with pytest.raises(StartFailed, match="the server's own files"):
            confine(policy, **fields)  # type: ignore[arg-type]
    assert confine(policy, cwd=str(state / "beside")).cwd == str(state / "beside")
    monkeypatch.chdir(state)
    assert confine(policy).cwd is None
    assert "the server's own files" in (policy.why_fresh() or "")


def test_the_runtime_directory_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    for fields in ({"cwd": str(state)}, {"read": [str(state / "nrepl-py")]}):
        with pytest.raises(StartFailed, match="the server's own files"):
            confine(Policy(tier="sandbox"), **fields)  # type: ignore[arg-type]


def test_a_server_started_from_home_gives_fresh_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.path.expanduser("~"))
    found = confine(Policy(tier="sandbox"))
    assert (found.cwd, found.described["workspace"]) == (None, "fresh")


def test_strict_has_a_fresh_directory_only(tmp_path: Path) -> None:
    assert confine(Policy(tier="strict")).cwd is None
    assert confine(Policy(tier="sandbox"), tier="strict").cwd is None
    with pytest.raises(Forbidden, match="no directory of the machine's"):
        confine(Policy(tier="strict"), cwd=str(tmp_path / "home" / "project"))


def test_limits_are_the_lower_of_both() -> None:
    policy = Policy(tier="sandbox", limits=Limits(session_processes=10, session_cpu_seconds=0, session_open_files=100))
    found = confine(policy, limits=SessionLimits(processes=20, cpu_seconds=5, memory_bytes=1 << 25))
    assert (found.limits["processes"], found.limits["cpu-seconds"]) == (10, 5)
    assert found.rlimits | {"FSIZE": 0} == {
        "CORE": 0,
        "DATA": 1 << 25,
        "CPU": 5,
        "NOFILE": 100,
        "NPROC": 10,
        "FSIZE": 0,
    }
    assert "NPROC" not in confine(Policy(tier="process", limits=policy.limits)).rlimits
    assert 0 < confine(Policy(tier="sandbox")).limits["memory-bytes"] < 1 << 60  # of the machine's
