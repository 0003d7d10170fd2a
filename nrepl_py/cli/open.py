"""`nrepl-py open`: the server's page in a browser, with the token in the address's fragment.

Every user of a machine can see the arguments of its programs, so a browser is not told that address: it opens a
file that only this user can read, and which leads there.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
from typing import Final

from nrepl_py import connection_file
from nrepl_py.client import address
from nrepl_py.client.address import NoServer
from nrepl_py.connection_file import ServerFile
from nrepl_py.errors import NreplError, StartFailed

DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Variables without which there is no browser that shows a page, except where windows are part of the system."""

LAST_WORDS: Final = 2000
"""Characters of what a server that did not start said."""


def open_(args: argparse.Namespace) -> int:
    """Find or start a server, and show its page; returns the exit code."""
    server = _find_or_start(args.directory, args.connection_file)
    url = page_url(server, args.session)
    if args.no_browser or not _browse(server, url):
        print(url)
    return 0


def page_url(server: ServerFile, session: str | None = None) -> str:
    """The page's address: the token is in the fragment, which browsers send to nobody. Raises `NreplError`."""
    scheme, _, host = server.url.partition("://")
    if urllib.parse.urlsplit(server.url).port is None:
        raise NoServer(
            f"the server (process {server.pid}) listens on a Unix socket only, which browsers do not reach; "
            "start it with --port 0 too"
        )
    fragment = {"token": server.token} | ({"session": session} if session else {})
    return f"{'https' if scheme == 'wss' else 'http'}://{host.rstrip('/')}/#{urllib.parse.urlencode(fragment)}"


def _find_or_start(directory: str | None, file: str | None) -> ServerFile:
    try:
        return address.find(directory, file)
    except NoServer:
        if file is not None:
            raise
    return _start(os.getcwd() if directory is None else directory)


def _start(directory: str) -> ServerFile:
    """A server in the background, which outlives us and the terminal."""
    command = [sys.executable, "-m", "nrepl_py", "serve", "--log-level", "error"]
    with tempfile.TemporaryFile() as said:
        try:
            server = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            raise NoServer(f"no server can be started in {directory}: {error.strerror}") from None
        assert server.stdout is not None
        with server.stdout:
            banner = server.stdout.readline()  # or nothing, when it has ended
        if not banner:
            server.wait()
            said.seek(0)
            reason = said.read().decode(errors="replace").strip()[-LAST_WORDS:].removeprefix("nrepl-py: ")
            raise StartFailed(f"the server did not start: {reason or f'exit code {server.returncode}'}")
    server.returncode = 0  # it is nobody's child to wait for any more
    print(f"nrepl-py: started a server for {directory}; nrepl-py stop ends it", file=sys.stderr, flush=True)
    return address.find(directory)


def _browse(server: ServerFile, url: str) -> bool:
    """Whether a browser was started on the page."""
    if sys.platform not in ("darwin", "win32") and not any(os.environ.get(name) for name in DISPLAYS):
        return False
    import webbrowser

    path = connection_file.way_in(server)
    try:
        connection_file.write_private(path, _leading_to(url))
    except OSError as error:
        raise NreplError(f"{path} cannot be written: {error.strerror}; use --no-browser") from None
    return webbrowser.open(f"file://{urllib.parse.quote(path)}")


def _leading_to(url: str) -> str:
    script = json.dumps(url).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f"<title>nrepl-py</title><script>location.replace({script})</script>"
        f'<p><a href="{html.escape(url)}">Open the page of nrepl-py</a></p></html>\n'
    )
