"""The JavaScript client: its own tests, and its package as others get it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from nrepl_py.embed import Embedded
from tests.clients.conftest import install
from tests.conftest import need
from tests.editors.conftest import QUIET

PATIENCE = 280  # seconds for a suite that takes 30 where nothing else runs


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def tarball(client_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` makes."""
    directory = tmp_path_factory.mktemp("packed")
    install(need("npm"), "pack", "--ignore-scripts", "--pack-destination", str(directory), cwd=client_js)
    (made,) = directory.iterdir()
    return made


@pytest.mark.timeout(300)
def test_its_own_tests(client_js: Path, tmp_path: Path) -> None:
    chromium = need("chromium")
    env = {
        "NREPL_PYTHON": sys.executable,
        "CHROMIUM": chromium,
        "XDG_RUNTIME_DIR": str(tmp_path),
    }  # it leaves a file there
    done = run(need("npm"), "test", cwd=client_js, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(count) for count in re.findall(r"^# pass (\d+)$", done.stdout, re.MULTILINE)]
    assert len(counts) == 2, "with the package ws, and with Node's own WebSocket"
    assert min(counts) > 30
    assert re.findall(r"^# (?:fail|cancelled|skipped|todo) [1-9]", done.stdout, re.MULTILINE) == []


def test_the_package_has_what_it_needs_and_no_more(client_js: Path, tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    package = json.loads((client_js / "package.json").read_text("utf-8"))
    exported = {path for target in package["exports"].values() for path in target.values()}
    assert exported | {"./README.md", "./LICENSE"} <= {f"./{name}" for name in names}
    assert {name for name in names if not name.startswith("dist/")} == {"README.md", "LICENSE", "package.json"}
    sources = {f"dist/client-js/src/{path.stem}" for path in (client_js / "src").glob("*.ts")} | {"dist/protocol"}
    assert {name for name in names if name.startswith("dist/")} == {
        s + end for s in sources for end in (".js", ".d.ts")
    }
    assert not package.get("dependencies")
    assert (package["license"], package["engines"]) == ("MIT", {"node": ">=20"})


def test_the_readme_example_runs_as_pasted(client_js: Path, tarball: Path, server: Embedded, tmp_path: Path) -> None:
    readme = (client_js / "README.md").read_text("utf-8")
    (source,) = re.findall(r"^```js\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (printed,) = re.findall(r"^```text\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    (tmp_path / "example.js").write_text(source, "utf-8")
    version = json.loads((client_js / "package.json").read_text("utf-8"))["devDependencies"]["ws"]
    install(need("npm"), "install", "--prefer-offline", *QUIET, str(tarball), f"ws@{version}", cwd=tmp_path)
    found = {"NREPL_URL": server.url, "NREPL_TOKEN": server.token}
    done = run(need("node"), "example.js", cwd=tmp_path, **found)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == printed
