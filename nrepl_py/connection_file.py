"""How a client on this machine finds a server: a file with its address and token, readable by its user only.

Files lie in a per-user runtime directory, never in a project. A server that was killed leaves its
file behind; it is recognised by the process id together with that process's start time, and deleted.
Standard library only and light: every start of the command line imports this.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any, NamedTuple

MAX_FILE = 64 << 10
"""Bytes; a connection file is far smaller, and nothing larger is read."""


class ServerFile(NamedTuple):
    """One server, as its file tells it. `started` is seconds since 1970, `pid_start` opaque."""

    url: str
    token: str
    pid: int
    pid_start: str
    cwd: str
    started: float
    versions: dict[str, str]
    unix: str | None = None
    path: str = ""
    """Where the file is; not part of its contents."""
    tokens: str | None = None
    """The tokens file it reads: on SIGUSR1, and when one is shown."""
    certfile: str | None = None
    """The certificate it shows, where it speaks TLS."""


class UnsafeDirectory(Exception):
    """The runtime directory could be read or changed by someone else; the text says what to do."""


def runtime_directory() -> str:
    """This user's directory for connection files, made (0700) when missing. Raises `UnsafeDirectory`."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isabs(base) and os.path.isdir(base):
        path = os.path.join(base, "nrepl-py")
    else:
        path = os.path.join(_temporary(), f"nrepl-py-{_user()}")
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    _check(path)
    return path


def write(server: ServerFile) -> ServerFile:
    """Write the file at `server.path`, or in the runtime directory; atomically, mode 0600 from the
    first byte. Returns it with its path."""
    path = server.path or os.path.join(runtime_directory(), f"{server.pid}-{os.urandom(4).hex()}.json")
    server = server._replace(path=os.path.abspath(path))
    write_private(server.path, {k.replace("_", "-"): value for k, value in server._asdict().items() if k != "path"})
    return server


def way_in(server: ServerFile) -> str:
    """Where the file is that leads a browser into the server's page (`nrepl-py open`): beside the connection file,
    with the same token in it, and no longer there than that."""
    return f"{server.path}.html"


def write_private(path: str, contents: dict[str, Any] | str) -> None:
    """Write a file of JSON, or a text, for this user only: mode 0600 from the first byte, all or nothing."""
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(contents if isinstance(contents, str) else json.dumps(contents, indent=1) + "\n")
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def remove(server: ServerFile) -> None:
    """Delete the file, if it is still this server's, and with it the way into its page."""
    there = read(server.path)
    if there is not None and (there.pid, there.token) == (server.pid, server.token):
        for path in (way_in(server), server.path):
            with suppress(OSError):
                os.unlink(path)


def read(path: str) -> ServerFile | None:
    """The server in the file; None where there is none that can be read and believed."""
    try:
        # A FIFO put in its place must not block us, nor a link lead elsewhere.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not _ours(status):
                return None
            contents = json.loads(os.read(descriptor, MAX_FILE))
        finally:
            os.close(descriptor)
        return _server(contents, os.path.abspath(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def alive(server: ServerFile) -> bool:
    """Whether the process that wrote the file still runs."""
    return process_start(server.pid) == server.pid_start


def servers() -> list[ServerFile]:
    """Every live server of this user, newest first. Stale files are deleted."""
    directory = runtime_directory()
    found = []
    for name in os.listdir(directory):
        server = read(os.path.join(directory, name)) if name.endswith(".json") else None
        if server is None:
            continue
        if alive(server):
            found.append(server)
        else:
            remove(server)
    return sorted(found, key=lambda server: server.started, reverse=True)


def find(directory: str) -> ServerFile | None:
    """The newest live server that was started in the directory, or in the nearest one above it."""
    by_directory: dict[str, ServerFile] = {}
    for server in servers():
        by_directory.setdefault(os.path.realpath(server.cwd), server)
    here = os.path.realpath(directory)
    while here not in by_directory:
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above
    return by_directory[here]


def process_start(pid: int) -> str | None:
    """When the process started, in the system's own words; None when there is none such."""
    if os.path.exists("/proc/self/stat"):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The second field is the command in parentheses and may contain anything.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        # Fields count from 1; those after the command from 3. A zombie has ended. Start is 22.
        return None if fields[0] in (b"Z", b"X") else fields[22 - 3].decode()
    import subprocess

    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None


def _server(contents: Any, path: str) -> ServerFile:
    server = ServerFile(
        url=contents["url"],
        token=contents["token"],
        pid=contents["pid"],
        pid_start=contents["pid-start"],
        cwd=contents["cwd"],
        started=contents["started"],
        versions=contents.get("versions", {}),
        unix=contents.get("unix"),
        path=path,
        tokens=contents.get("tokens"),
        certfile=contents.get("certfile"),
    )
    optional = (server.unix, server.tokens, server.certfile)
    texts = (server.url, server.token, server.pid_start, server.cwd, *(text or "" for text in optional))
    if not all(isinstance(text, str) for text in texts) or type(server.pid) is not int or server.pid <= 0:
        raise ValueError("a field has the wrong type")
    return server._replace(started=float(server.started))


def _check(path: str) -> None:
    """Others must not be able to read or replace files in the directory."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or not _ours(status):
        raise UnsafeDirectory(
            f"{path} is not a directory of yours that others cannot enter; "
            "remove it, or set XDG_RUNTIME_DIR to a directory of your own"
        )


def _ours(status: os.stat_result) -> bool:
    # Windows has no such bits, and keeps other users out of one's temporary directory by itself.
    return os.name == "nt" or (status.st_uid == os.getuid() and not status.st_mode & 0o077)


def _user() -> str:
    return os.environ.get("USERNAME", "user") if os.name == "nt" else str(os.getuid())


def _temporary() -> str:
    # As `tempfile.gettempdir`, which takes 6 ms to import.
    for variable in ("TMPDIR", "TEMP", "TMP"):
        if path := os.environ.get(variable):
            return path
    return "/tmp"
