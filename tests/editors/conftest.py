"""What the editors' clients need: npm, and what their packages name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.conftest import install
from tests.conftest import need

ROOT = Path(__file__).parent.parent.parent
QUIET = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")


@pytest.fixture(scope="session")
def client_js() -> Path:
    """The directory of the JavaScript client, built from its sources with the tools its package.json names."""
    package = _with_tools("client-js")
    install(need("npm"), "run", "build", cwd=package)
    return package


@pytest.fixture(scope="session")
def page_source() -> Path:
    """The directory of the browser's page, with the tools its package.json names."""
    return _with_tools("browser")


@pytest.fixture(scope="session")
def vscode_source() -> Path:
    """The directory of the VS Code extension, with the tools its package.json names."""
    return _with_tools("vscode")


def _with_tools(name: str) -> Path:
    need("node")
    npm, package = need("npm"), ROOT / "editors" / name
    if not _up_to_date(package):
        install(npm, "install", "--ignore-scripts", *QUIET, cwd=package)
    return package


def _up_to_date(package: Path) -> bool:
    """Whether each tool is there in the version asked for, so that npm need not ask the network."""
    wanted: dict[str, str] = json.loads((package / "package.json").read_text("utf-8"))["devDependencies"]
    manifests = {name: package / "node_modules" / name / "package.json" for name in wanted}
    return all(
        manifest.exists() and json.loads(manifest.read_text("utf-8"))["version"] == wanted[name]
        for name, manifest in manifests.items()
    )
