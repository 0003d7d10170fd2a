"""Any interpreter from 3.9 on, with its own packages and without ours."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import Peer, Session

pytestmark = pytest.mark.once


def interpreters() -> list[str]:
    """Every CPython from 3.9 to 3.13, and PyPy, that this machine has; one a version."""
    names = [f"python3.{minor}" for minor in range(9, 14)] + ["pypy3"]
    candidates = [sys.executable, "/usr/bin/python3", *filter(None, map(shutil.which, names))]
    candidates += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python")))
    found: dict[str, str] = {}
    for candidate in candidates:
        if not os.path.exists(candidate):
            continue
        code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
        result = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        version = result.stdout.split()
        if result.returncode == 0 and tuple(map(int, version[1].split("."))) >= (3, 9):
            found.setdefault(" ".join(version), candidate)
    return list(found.values())


@pytest.fixture(scope="module", params=interpreters())
def python(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(peer: Peer, python: str) -> Iterator[Session]:
    session = Session(peer, python=python)
    yield session
    session.close()


def test_it_is_the_one_asked_for(target: Session, python: str) -> None:
    version = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True).stdout
    assert target.ok("import sys; print(sys.version)").out == version
    assert target.reply["info"]["python"] == python


def test_the_basics(target: Session) -> None:
    run = target.ok("import sys\nprint('out'); print('err', file=sys.stderr)\nx = 20\nx + 22", data=True)
    assert (run.out, run.err, run.value, run.last["data"]) == ("out\n", "err\n", "42", 42)
    error = target.eval("def f():\n    return 1/0\nf()", file="f.py", line=5).error
    assert [(frame["line"], frame["function"]) for frame in error["traceback"]] == [(7, "<module>"), (6, "f")]
    assert target.eval("x = = 1").error["type"] == "SyntaxError"
    assert target.eval("exit(4)").last["exit-code"] == 4


def test_await_and_input(target: Session) -> None:
    assert target.ok("import asyncio; await asyncio.sleep(0, 'slept')").value == "'slept'"
    id = target.start("input('? ')")
    target.peer.until(id, status="need-input")
    target.request("stdin", stdin="typed\n")
    assert target.peer.until(id).value == "'typed'"


@pytest.mark.parametrize(
    "code", ["while True: pass", "import time; time.sleep(1000)", "import asyncio; await asyncio.sleep(1000)"]
)
def test_interrupts(target: Session, code: str) -> None:
    id = target.start("print('running')\n" + code)
    target.peer.until(id, key="out")
    target.send("interrupt", interrupt_id=id)
    assert "interrupted" in target.peer.until(id).last["status"]
    assert target.ok("1").value == "1"


def test_output_of_every_origin(target: Session) -> None:
    run = target.ok("import os, subprocess\nprint('py')\nsubprocess.run(['echo', 'child'])\n_ = os.write(1, b'raw\\n')")
    assert sorted(run.out.split()) == ["child", "py", "raw"]


def test_introspection(target: Session) -> None:
    target.ok("import os\ndef function(argument): 'Its doc.'")
    names = [c["candidate"] for c in target.ask("completions", code="os.pa", cursor=5).last["completions"]]
    assert "path" in names
    assert target.ask("lookup", sym="function").last["info"]["doc"] == "Its doc."
    assert "argument" in target.ask("signature", code="function(", cursor=9).last["signatures"][0]["label"]
    jedi = [c["candidate"] for c in target.ask("completions", code="import collec", cursor=13).last["completions"]]
    assert "collections" in jedi
    assert target.request("is-complete", code="def f():").last["state"] == "incomplete"


def test_site_packages_are_its_own(target: Session, python: str) -> None:
    plain = subprocess.run(
        [python, "-c", "import sys; print([p for p in sys.path[1:] if p])"],
        capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    ).stdout  # fmt: skip
    assert target.ok("import sys; print([p for p in sys.path[1:] if p])").out == plain


def test_a_virtual_environment_without_our_packages(peer: Peer, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "only_here.py").write_text("x = 'from the venv'")
    (site / "hook.pth").write_text("import sys; sys.pth_ran = True\n")
    session = Session(peer, python=str(python))
    assert session.ok("import only_here, sys; only_here.x, sys.pth_ran").value == "('from the venv', True)"
    assert session.ok("sys.prefix").value == repr(str(tmp_path / "venv"))
    for name in ("msgpack", "websockets", "jedi", "cloudpickle"):
        assert session.eval(f"import {name}").error["type"] == "ModuleNotFoundError", name
    session.close()
