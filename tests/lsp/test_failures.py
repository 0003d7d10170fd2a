"""What goes wrong becomes a sentence in the editor, which says what to do; nothing hangs."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pytest_lsp import make_test_lsp_client

from nrepl_py.client.address import find
from nrepl_py.lsp.transport import NotLsp, read
from tests.lsp.conftest import COMMAND, PATIENCE, Shell, editing, initialize


async def test_no_server_where_one_is_named(tmp_path: Path) -> None:
    async with editing(tmp_path, "--url", "ws://127.0.0.1:9") as editor:
        await editor.until(lambda: editor.told("no server answers at ws://127.0.0.1:9"))
        uri = editor.open("1\n")
        assert await editor.complete(uri, 0, 1) == {}
        assert (await editor.run("evalLine", uri))["status"] == ["error", "no-server", "done"]
        assert (await editor.execute("clone"))["error"] == "no-server"
        told = [shown.message for shown in editor.client.messages]
        assert len(told) == 3
        assert not any("Traceback" in sentence for sentence in told)


async def test_a_wrong_token(served: Shell, tmp_path: Path) -> None:
    url = find(str(served.directory)).url
    token = tmp_path / "token"
    token.write_text("wrong")
    env = {"NREPL_PY_TOKEN_FILE": str(token)}
    async with editing(tmp_path, "--url", url, env=env) as editor:
        await editor.until(lambda: editor.told("token"))
        uri = editor.open("1\n")
        assert (await editor.run("evalLine", uri))["status"] == ["error", "unauthorized", "done"]


async def test_a_missing_interpreter_and_what_comes_after(tmp_path: Path) -> None:
    async with editing(tmp_path, "--python", "/no/such/python") as editor:
        uri = editor.open("1\n")
        assert (await editor.run("evalLine", uri))["status"][0] == "error"
        assert editor.told("/no/such/python")
        assert await editor.hints(uri) == {}
        for given, said in (
            ({}, "needs the uri"),
            ({"uri": "file:///no.py"}, "not open"),
            ({"uri": uri}, "needs a position"),
            ({"uri": uri, "position": {"line": -1}}, "no position"),
            ({"uri": uri, "position": {"line": 5}}, "no code on line 6"),
        ):
            answer = await editor.execute("evalLine", **given)
            assert said in answer["message"]
            assert editor.told(said)
        assert "needs a range" in (await editor.execute("evalSelection", uri=uri))["message"]


async def test_a_session_that_dies_and_one_that_somebody_closes(served: Shell) -> None:
    async with editing(served.directory, "--session", "closed") as editor:
        uri = editor.open("import os; os.kill(os.getpid(), 9)\n42\n")
        assert "session-died" in (await editor.run("evalLine", uri, 0))["status"]
        await editor.until(lambda: editor.told("the session's Python has ended (signal SIGKILL"))
        assert (await editor.run("evalLine", uri, 1))["value"] == "42"
        assert (await asyncio.to_thread(served.run, "close", "closed")).returncode == 0
        await editor.until(lambda: editor.told("the session was closed"))
        assert (await editor.run("evalLine", uri, 1))["value"] == "42"


async def test_a_server_that_dies(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    server = shell.start("serve", "--log-level", "error")
    assert server.stdout is not None
    await asyncio.to_thread(server.stdout.readline)
    async with editing(tmp_path, stream=True) as editor:
        uri = editor.open("x = 1; print('runs', flush=True)\nwhile x: pass\n")
        waiting = asyncio.create_task(editor.run("evalFile", uri))
        await editor.until(lambda: "runs" in editor.output())
        server.kill()
        await asyncio.to_thread(server.communicate)
        assert (await waiting)["status"][0] == "error"
        assert editor.told("the next run begins anew")
        editor.change(uri, "x\n")
        assert (await editor.run("evalFile", uri))["error"]["type"] == "NameError"


async def test_a_session_that_lives_on_over_tcp(served: Shell, tmp_path: Path) -> None:
    """One editor over a port; the session is that of a terminal, and stays."""
    assert served.run("eval", "--session", "work", "shared = 'from the terminal'").returncode == 0
    command = [*COMMAND, "lsp", "--port", "0", "--session", "work"]
    process = subprocess.Popen(command, cwd=served.directory, env=served.env, stderr=subprocess.PIPE, text=True)
    client = make_test_lsp_client()
    try:
        assert process.stderr is not None
        line = await asyncio.to_thread(process.stderr.readline)
        await client.start_tcp("127.0.0.1", int(line.rpartition(" ")[2]))
        editor = await initialize(client, served.directory, "neovim@v0.11.0", {})
        uri = editor.open("sha")
        async with asyncio.timeout(PATIENCE):
            while "shared" not in await editor.complete(uri, 0, 3):  # nothing tells of the moment it is found
                pass
        hovered = await client.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(editor.open("shared", "b.py")), types.Position(0, 1))
        )
        assert "from the terminal" in hovered.contents.value  # type: ignore[union-attr]
        await client.shutdown_async(None)
        client.exit(None)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()
        if client.protocol.writer is not None:
            client.protocol.writer.close()
        await client.stop()
    assert served.run("eval", "--session", "work", "shared").stdout == "'from the terminal'\n"


@pytest.mark.parametrize("end", ["the pipe", "SIGTERM"])
def test_it_ends_with_its_editor(tmp_path: Path, end: str) -> None:
    process = Shell(tmp_path).start("lsp")
    assert "result" in _asked(process, "initialize", {"capabilities": {}})
    refused = _asked(process, "textDocument/codeLens", {"no": 1})["error"]
    assert refused["message"] == "textDocument/codeLens: the request is malformed"
    assert "data" not in refused or refused["data"] is None
    assert _asked(process, "textDocument/codeLens", {"textDocument": {"uri": "file:///no.py"}})["result"] == []
    assert "error" in _asked(process, "no/such", {})
    if end == "SIGTERM":
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")


def _asked(process: subprocess.Popen[str], method: str, params: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    body = json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params})
    process.stdin.write(f"Content-Length: {len(body)}\r\n\r\n{body}")
    process.stdin.flush()
    length = 0
    while header := process.stdout.readline().strip():
        if header.startswith("Content-Length: "):
            length = int(header.removeprefix("Content-Length: "))
    answer: dict[str, Any] = json.loads(process.stdout.read(length))
    assert answer["id"] == method
    return answer


async def test_what_is_not_lsp_is_not_read() -> None:
    for sent in (
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 999999999\r\n\r\n",
        b"Content-Length: 1\r\nHost: a\r\n\r\n{}",
        b"x" * 100_000,
    ):
        with pytest.raises(NotLsp):
            await read(_reader(sent))
    assert await read(_reader(b"content-length: 2\r\nContent-Type: x\r\n\r\n{}")) == b"{}"
    assert await read(_reader(b"Content-Length: 9\r\n\r\n{}")) is None
    assert await read(_reader(b"")) is None


def _reader(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader
