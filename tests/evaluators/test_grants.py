"""What clients may name of the machine: the owner what is his, others what the settings list, nobody by a link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nrepl_py.errors import Forbidden, StartFailed
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.grants import Grants, follow
from nrepl_py.evaluators.policy import Confinement, Policy
from nrepl_py.ops import Sandbox


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "server", "mine", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "server")


def confine(
    grants: Grants, owner: bool, *, inherit: tuple[str, ...] = (), cwd: Any = None, **sandbox: Any
) -> Confinement:
    cwd = cwd and str(cwd)
    sandbox = {name: [str(path) for path in paths] for name, paths in sandbox.items()}
    spec = Spec(Ref("s", 1), cwd=cwd, inherit_env=inherit, sandbox=Sandbox(**sandbox), owner=owner)
    return Policy(tier="sandbox", grants=grants).confine(spec)


def test_the_owner_names_what_is_his(tmp_path: Path) -> None:
    found = confine(Grants(), True, cwd=tmp_path / "mine", read=[tmp_path / "other"], inherit=("SECRET",))
    assert found.view.write == (str(tmp_path / "mine"),)
    assert found.view.read == (str(tmp_path / "other"),)
    assert confine(Grants(), True).cwd == str(tmp_path / "server")


def test_others_name_nothing(tmp_path: Path) -> None:
    named: tuple[dict[str, Any], ...] = (
        {"cwd": tmp_path / "mine"}, {"read": [tmp_path / "mine"]}, {"write": [tmp_path / "mine"]},
        {"cwd": tmp_path / "server"}, {"inherit": ("SECRET",)}, {"read": ["/etc/shadow"]},
    )  # fmt: skip
    for fields in named:
        with pytest.raises(Forbidden, match="may not"):
            confine(Grants(), False, **fields)
    found = confine(Grants(), False)
    assert (found.cwd, found.view.read, found.view.write) == (None, (), ())


@pytest.mark.parametrize("owner", [True, False])
def test_what_is_granted_bounds_everybody(owner: bool, tmp_path: Path) -> None:
    grants = Grants(read=(str(tmp_path / "other"),), write=(str(tmp_path / "mine"),), env=("LANG",))
    (tmp_path / "mine" / "below").mkdir()
    found = confine(grants, owner, cwd=tmp_path / "mine" / "below", read=[tmp_path / "mine"], inherit=("LANG",))
    assert found.view.write == (str(tmp_path / "mine" / "below"),)
    # What may be read only is a working directory that cannot be written to.
    found = confine(grants, owner, cwd=tmp_path / "other")
    assert (found.cwd, found.view.read, found.view.write) == (str(tmp_path / "other"), (str(tmp_path / "other"),), ())
    assert found.described["workspace"] == "cwd"
    for fields in ({"cwd": tmp_path / "server"}, {"write": [tmp_path / "other"]}, {"inherit": ("SECRET",)}):
        with pytest.raises(Forbidden, match="may not"):
            confine(grants, owner, **fields)
    assert confine(grants, owner).cwd is None


def test_the_servers_directory_may_be_granted_to_all(tmp_path: Path) -> None:
    found = confine(Grants(write=(str(tmp_path),)), False)
    assert (found.cwd, found.view.write) == (str(tmp_path / "server"), (str(tmp_path / "server"),))
    found = confine(Grants(read=(str(tmp_path),)), False)
    assert (found.cwd, found.view.read, found.view.write) == (str(tmp_path / "server"), (str(tmp_path / "server"),), ())


def test_interpreters(tmp_path: Path) -> None:
    venv = str(tmp_path / "mine" / "bin" / "python")
    Grants().check_python(venv, True)
    Grants().check_python("/usr/bin/python3", False)
    Grants(pythons=(venv,)).check_python(venv, False)
    Grants(read=(str(tmp_path / "mine"),)).check_python(venv, False)
    for grants, owner in ((Grants(), False), (Grants(pythons=("/opt/python",)), True), (Grants(pythons=()), False)):
        with pytest.raises(Forbidden, match="may not choose"):
            grants.check_python(venv, owner)


def test_links_of_the_users_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / "chain").symlink_to(tmp_path / "link")
    given = [str(tmp_path / "server")]
    assert follow(str(tmp_path / "chain"), "cwd", given) == str(tmp_path / "mine")
    (tmp_path / "server" / "sub").mkdir()
    (tmp_path / "server" / "inside").symlink_to("sub")
    assert follow(str(tmp_path / "server" / "inside"), "cwd", given) == str(tmp_path / "server" / "sub")


def test_links_out_of_where_sessions_write_are_not(tmp_path: Path) -> None:
    work = tmp_path / "server"
    (work / "out").symlink_to("../mine")
    (work / "far").symlink_to(tmp_path)
    (work / "loop").symlink_to("loop")
    (tmp_path / "to").symlink_to(work / "out")
    for path in (work / "out", work / "far" / "mine", tmp_path / "to", tmp_path / "other" / ".." / "server" / "out"):
        for fields in ({"cwd": path}, {"read": [path]}, {"write": [path]}):
            with pytest.raises(StartFailed, match="by a link"):
                confine(Grants(), True, **fields)  # type: ignore[arg-type]
    with pytest.raises(StartFailed, match="there is no"):
        follow(str(work / "loop"), "cwd", [])


def test_where_a_session_once_wrote_is_remembered(tmp_path: Path) -> None:
    policy = Policy(tier="sandbox")
    policy.confine(Spec(Ref("s", 1), cwd=str(tmp_path / "mine")))
    os.symlink(tmp_path / "other", tmp_path / "mine" / "out")
    with pytest.raises(StartFailed, match="by a link"):
        policy.confine(Spec(Ref("t", 1), cwd=str(tmp_path / "mine" / "out")))


def test_strict_has_no_network_but_its_own() -> None:
    policy = Policy(tier="sandbox", network=True)
    with pytest.raises(Forbidden, match="no network but its own"):
        policy.confine(Spec(Ref("s", 1), sandbox=Sandbox(tier="strict", network="host")))
    assert policy.confine(Spec(Ref("s", 1), sandbox=Sandbox(tier="strict"))).network is False
    assert policy.confine(Spec(Ref("s", 1))).network is True
