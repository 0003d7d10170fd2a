"""The commands that look after a server: `sessions`, `close`, `interrupt`, `restart`, `describe`, `stop`; `doctor`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nrepl_py import connection_file
from nrepl_py.client import address

STOP_SECONDS: Final = 10
"""Until a server that was told to stop is said to hang; it promises to end within 5."""

POLL_SECONDS: Final = 0.02
"""Between two looks at whether it is gone: nothing tells one process of another's end everywhere."""


def sessions(args: argparse.Namespace) -> int:
    """List the sessions, one a line."""
    found: list[dict[str, Any]] = _ask(args, lambda client: client.sessions())
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    rows = [("SESSION", "NAME", "STATE", "QUEUED", "PYTHON", "CWD")]
    for one in found:
        rows.append((one["id"], one["name"] or "-", one["state"], str(one["queued"]), one["python"], one["cwd"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if found else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def close(args: argparse.Namespace) -> int:
    """End a session."""
    _ask(args, lambda client: client.session(args.session).close())
    return 0


def interrupt(args: argparse.Namespace) -> int:
    """Interrupt a session's eval; 0 when it has ended, else 1 with the reason."""
    reply = _ask(
        args, lambda client: client.session(args.session).interrupt(args.id, all=args.all, kill_after=args.kill_after)
    )
    status = reply.get("status", ())
    if "session-idle" in status:
        return _failed(f"nothing runs in {args.session}")
    if "interrupt-id-mismatch" in status:
        return _failed(f"no eval {args.id} is open in {args.session}")
    if "still-running" in status:
        return _failed("it goes on running: the code does not react to an interrupt; --kill-after ends its worker")
    return 0


def restart(args: argparse.Namespace) -> int:
    """Give a session a fresh worker; 0 when that is up."""
    _ask(args, lambda client: client.session(args.session).restart())
    return 0


def describe(args: argparse.Namespace) -> int:
    """Print what the server is and can do."""
    print(json.dumps(_ask(args, lambda client: client.describe()), indent=2, ensure_ascii=False))
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Probe this machine; 1 where it cannot confine sessions as far as a server does by default."""
    from nrepl_py import doctor

    return doctor.main(args.json)


def stop(args: argparse.Namespace) -> int:
    """Send the server SIGTERM and wait until its process is gone."""
    server = address.find(args.directory, args.connection_file)
    try:
        os.kill(server.pid, signal.SIGTERM)
    except ProcessLookupError:
        return 0
    except PermissionError:
        return _failed(f"the server is process {server.pid} of another user")
    deadline = time.monotonic() + STOP_SECONDS
    while connection_file.alive(server):
        if time.monotonic() > deadline:
            return _failed(f"the server (process {server.pid}) did not end within {STOP_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return 0


def _ask(args: argparse.Namespace, question: Callable[[Any], Awaitable[Any]]) -> Any:
    from nrepl_py.client import aio

    async def ask() -> Any:
        connection = aio.connect(
            args.url, unix=args.unix, directory=args.directory, file=args.connection_file, cafile=args.cafile
        )
        async with connection as client:
            return await question(client)

    return asyncio.run(ask())


def _failed(sentence: str) -> int:
    print(f"nrepl-py: {sentence}", file=sys.stderr)
    return 1
