"""What confined sessions see: the interpreter wherever it is, and nothing that was not meant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nrepl_py.evaluators import views


def test_an_interpreter_is_followed_through_its_links(tmp_path: Path) -> None:
    real = tmp_path / "real" / "bin"
    real.mkdir(parents=True)
    (real / "python3.12").touch()
    landmark = tmp_path / "real" / "lib" / "python3.12" / "os.py"
    landmark.parent.mkdir(parents=True)
    landmark.touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "venv" / "bin" / "python").symlink_to("python3")
    (tmp_path / "venv" / "bin" / "python3").symlink_to(real / "python3.12")
    found = views.prefixes(str(tmp_path / "venv" / "bin" / "python"))
    assert found == [str(tmp_path / "venv"), str(tmp_path / "real")]


def test_links_without_end_are_followed_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("python")
    (tmp_path / "pyvenv.cfg").touch()
    assert views.prefixes(str(tmp_path / "bin" / "python")) == [str(tmp_path)]


@pytest.mark.parametrize("target", [".ssh/bin/python", "bin/python", ".ssh/id"])
def test_a_link_of_a_sessions_making_shows_no_secret(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh" / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").touch()  # even so
    monkeypatch.setenv("HOME", str(home))
    venv = home / "project" / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (venv / "bin" / "python").symlink_to(home / target)
    assert views.prefixes(str(venv / "bin" / "python")) == [str(venv)]


def test_parents_come_first_and_repeats_are_left_out(tmp_path: Path) -> None:
    venv = tmp_path / "project" / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").touch()
    (venv.parent / "pyvenv.cfg").touch()
    view = views.View(write=(str(tmp_path / "project"),), read=(str(tmp_path / "project"), "/usr/bin"))
    plan = view.plan(str(venv / "python"), ["true"])
    binds = [(path, mode) for path, mode, _ in plan["binds"] if path.startswith((str(tmp_path), "/usr"))]
    project = str(tmp_path / "project")
    # The environment inside of what may be written stays as it is.
    assert binds[-2:] == [(project, "rw"), (f"{project}/.venv", "ro")] or binds[:2] == [
        (project, "rw"), (f"{project}/.venv", "ro"),
    ]  # fmt: skip
    assert [path for path, _ in binds if path.startswith("/usr")] == ["/usr"]
    paths = [path for path, _, _ in plan["binds"]]
    assert paths == sorted(paths)
    assert not any(os.path.islink(path) for path in paths)
    assert os.path.expanduser("~") not in paths
    assert plan["argv"] == ["true"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confinement is Linux's")
def test_our_own_interpreter_can_be_seen() -> None:
    reach = views.View().reach(sys.executable)
    for needed in (sys.prefix, sys.base_prefix):
        assert any(os.path.realpath(needed).startswith(path.rstrip("/")) for path in reach), needed
