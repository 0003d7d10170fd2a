"""`nrepl-py open`: which address, who is told it, and a server where there is none."""

from __future__ import annotations

import os
import re
import stat
import sys
import urllib.request
from pathlib import Path

import pytest

from nrepl_py import connection_file
from nrepl_py.cli.open import page_url
from nrepl_py.client.address import NoServer
from nrepl_py.connection_file import ServerFile
from tests.cli.conftest import Shell

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/#token=([\w-]+)\n")


def file(url: str) -> ServerFile:
    return ServerFile(url, "to+ken", 1, "0", "/", 0.0, {})


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_the_address() -> None:
    assert page_url(file("ws://127.0.0.1:4000")) == "http://127.0.0.1:4000/#token=to%2Bken"
    assert page_url(file("wss://[::1]:4000"), "a b") == "https://[::1]:4000/#token=to%2Bken&session=a+b"
    with pytest.raises(NoServer, match="--port"):
        page_url(file("ws://localhost"))


@pytest.mark.skipif(sys.platform == "win32", reason="others may not listen to signals there")
def test_a_server_is_started_once_and_outlives_the_command(no_browser: None, shell: Shell) -> None:
    first = shell.run("open", "--no-browser")
    try:
        assert (first.returncode, "started a server" in first.stderr) == (0, True), first.stderr
        found = ADDRESS.fullmatch(first.stdout)
        assert found is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/") as answer:
            assert b"/page.js" in answer.read()
        second = shell.run("open")  # there is no browser
        assert (second.stdout, second.stderr) == (first.stdout, "")
        assert shell.run("eval", "--session", "work", "6 * 7").stdout == "42\n"
    finally:
        stopped = shell.run("stop")
    assert stopped.returncode == 0, stopped.stderr


def test_a_browser_is_shown_the_way_and_not_the_token(no_browser: None, shell: Shell, tmp_path: Path) -> None:
    browser, got = tmp_path / "browser", tmp_path / "got"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {got}.part && mv {got}.part {got}\n')
    browser.chmod(0o755)
    assert shell.run("open", "--no-browser").returncode == 0
    try:
        server = connection_file.find(str(tmp_path))
        assert server is not None
        shell.env["BROWSER"] = f"{browser} %s"
        opened = shell.run("open", "--session", "work")
        assert (opened.returncode, opened.stdout, opened.stderr) == (0, "", "")
        way = Path(got.read_text().removeprefix("file://"))
        assert server.token not in str(way)
        assert stat.S_IMODE(way.stat().st_mode) == 0o600
        assert page_url(server, "work") in way.read_text()
    finally:
        assert shell.run("stop").returncode == 0
    assert not way.exists()


def test_a_server_that_does_not_start_says_why(shell: Shell) -> None:
    shell.env["NREPL_PY_PORT"] = "many"
    failed = shell.run("open", "--no-browser")
    assert failed.returncode == 1
    assert failed.stderr.startswith("nrepl-py: the server did not start: ")
    assert "NREPL_PY_PORT" in failed.stderr
    nowhere = shell.run("open", "--no-browser", "--directory", os.fspath(shell.directory / "none"))
    assert (nowhere.returncode, "none" in nowhere.stderr) == (1, True)
    gone = shell.run("open", "--no-browser", "--connection-file", "none.json")
    assert (gone.returncode, "none.json" in gone.stderr) == (1, True)
