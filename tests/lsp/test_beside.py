"""Beside other language servers, as users have them: pyright's (as basedpyright) and ruff's, on the same document."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pytest_lsp import make_test_lsp_client

from tests.lsp.conftest import PATIENCE, Editor, editing, initialize

pytestmark = pytest.mark.once

VSCODE = "visual-studio-code@v1.65.2"

SOURCE = """\
import json
import os

radius = 2
label = json.dumps(radius)
globals()["made_at_" + "runtime"] = 42


class Sphere:
    def volume(self):
        return radius


sphere = Sphere()
sphere.weight = 3
"""


@asynccontextmanager
async def another(directory: Path, profile: str, program: str, *arguments: str) -> AsyncIterator[Editor]:
    """The same editor's client of another language server."""
    client = make_test_lsp_client()

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        """It may."""

    structure = client.protocol.structure_message

    def without_notebooks(data: dict[str, Any]) -> Any:
        data.pop("notebookDocumentSync", None)  # of which lsprotocol takes ruff's for malformed
        return structure(data)

    client.protocol.structure_message = without_notebooks  # type: ignore[method-assign]
    await client.start_io(
        str(Path(sys.executable).parent / program), *arguments, cwd=str(directory), start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory)},  # where pyright leaves something
    )  # fmt: skip
    assert client._server is not None
    try:
        yield await initialize(client, directory, profile, {})
        await client.shutdown_session()
    finally:
        if client._server.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(client._server.pid, signal.SIGKILL)  # a launcher, and what it has launched
        await client.stop()


def places(items: dict[str, types.CompletionItem]) -> list[str]:
    return sorted(item.sort_text or item.label for item in items.values())


async def test_completions_of_pyright_and_ours(tmp_path: Path) -> None:
    async with (
        editing(tmp_path, profile=VSCODE, beside=True) as ours,
        another(tmp_path, VSCODE, "basedpyright-langserver", "--stdio") as pyright,
    ):
        uri = ours.open(SOURCE)
        assert (await ours.run("evalFile", uri))["status"] == ["done"]

        async def both(text: str) -> tuple[dict[str, types.CompletionItem], dict[str, types.CompletionItem]]:
            for editor in (ours, pyright):
                editor.open(f"{SOURCE}{text}")
            line = SOURCE.count("\n")
            static, live = [await editor.complete(uri, line, len(text)) for editor in (pyright, ours)]
            assert all((item.detail or "").startswith("live · ") for item in live.values())
            assert not static or not live or places(static)[-1] < places(live)[0]
            return static, live

        async with asyncio.timeout(PATIENCE):
            while not (await both("mad"))[1]:  # the first answer may come too late to be one
                pass
        static, live = await both("mad")
        assert set(live) == {"made_at_runtime"}  # which no text tells of
        assert "made_at_runtime" not in static
        for known in ("radi", "spher", "lab", "jso"):
            static, live = await both(known)
            assert static
            assert live == {}  # none stands there twice
        static, live = await both("sphere.")
        assert "weight" not in static
        assert "weight" in live


async def test_errors_of_ruff_and_ours(tmp_path: Path) -> None:
    source = "import os\n\n1 / 0\n"
    async with editing(tmp_path) as ours, another(tmp_path, "emacs@v29.1", "ruff", "server") as ruff:
        for editor in (ours, ruff):
            uri = editor.open(source)
        await ours.run("evalFile", uri)
        shown = [*await ours.until(lambda: ours.diagnostics(uri)), *await ruff.until(lambda: ruff.diagnostics(uri))]
        told = {(one.source, one.code, one.range.start.line) for one in shown}
        assert told >= {("nrepl-py", "ZeroDivisionError", 2), ("Ruff", "F401", 0)}
