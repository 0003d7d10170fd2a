"""`nrepl-py token`: who else may use a server. Servers that run hear of it at once.

The token itself is printed once, and is nowhere afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from nrepl_py import connection_file, tokens
from nrepl_py.config import VARIABLE_PREFIX, ConfigError
from nrepl_py.limits import Quota


def create(args: argparse.Namespace) -> int:
    """Add a token and print it, and nothing else."""
    return _reported(lambda: _create(args))


def list_(args: argparse.Namespace) -> int:
    """List the tokens, one a line."""
    return _reported(lambda: _list(args))


def revoke(args: argparse.Namespace) -> int:
    """Remove a token; whoever has connected with it is disconnected."""
    return _reported(lambda: _revoke(args))


def _create(args: argparse.Namespace) -> None:
    if args.name == tokens.OWNER:
        raise ConfigError(f"{tokens.OWNER!r} is who started the server; choose another name, or use --principal")
    token, now = tokens.new_token(), time.time()
    with tokens.editing(_path(args)) as entries:
        if any(entry.name == args.name for entry in entries):
            raise ConfigError(f"there is a token {args.name!r} already; choose another name, or revoke it first")
        fields = {
            "name": args.name,
            "sha256": tokens.digest(token),
            "capabilities": list(dict.fromkeys(args.capability or ("eval",))),
            "principal": args.principal,
            "quota": msgspec.to_builtins(Quota(sessions=args.sessions, evals=args.evals, memory_bytes=args.memory)),
            "tiers": args.tier,
            "created": now,
            "expires": None if args.expires is None else now + args.expires,
        }
        try:
            entries.append(msgspec.convert(fields, tokens.Entry))
        except msgspec.ValidationError as error:
            raise ConfigError(f"this token cannot be made: {error}") from None
    _tell_servers(args)
    print(token)


def _list(args: argparse.Namespace) -> None:
    entries = tokens.read(_path(args))
    if args.json:
        shown: list[dict[str, Any]] = [msgspec.to_builtins(entry) for entry in entries]
        print(json.dumps([{name: value for name, value in one.items() if name != "sha256"} for one in shown]))
        return
    rows: list[tuple[str, ...]] = [
        ("NAME", "PRINCIPAL", "CAPABILITIES", "SESSIONS", "EVALS", "TIERS", "CREATED", "EXPIRES")
    ]
    rows += [_row(entry) for entry in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if entries else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _revoke(args: argparse.Namespace) -> None:
    with tokens.editing(_path(args)) as entries:
        kept = [entry for entry in entries if entry.name != args.name]
        if len(kept) == len(entries):
            raise ConfigError(f"there is no token {args.name!r}; nrepl-py token list shows those there are")
        entries[:] = kept
    _tell_servers(args)


def _row(entry: tokens.Entry) -> tuple[str, ...]:
    return (
        entry.name,
        entry.principal or entry.name,
        ",".join(entry.capabilities),
        "-" if entry.quota.sessions is None else str(entry.quota.sessions),
        "-" if entry.quota.evals is None else str(entry.quota.evals),
        "-" if entry.tiers is None else ",".join(entry.tiers),
        _day(entry.created),
        "-" if entry.expires is None else "expired" if entry.expires <= time.time() else _day(entry.expires),
    )


def _day(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().isoformat(" ", "minutes")


def _path(args: argparse.Namespace) -> str:
    path: str = args.tokens or os.environ.get(VARIABLE_PREFIX + "TOKENS") or tokens.default_path()
    return os.path.realpath(path)


def _tell_servers(args: argparse.Namespace) -> None:
    """Have this user's servers that read the file read it now; others do as a token is shown to them."""
    path = _path(args)
    servers = connection_file.servers()
    if args.connection_file is not None:
        named = connection_file.read(args.connection_file)
        servers += [named] if named is not None else []
    for server in servers:
        # One that names no tokens file may take the signal for its end.
        if server.tokens == path and connection_file.alive(server):
            try:
                os.kill(server.pid, signal.SIGUSR1)
            except (ProcessLookupError, PermissionError):
                pass


def _reported(work: Callable[[], None]) -> int:
    try:
        work()
    except (ConfigError, connection_file.UnsafeDirectory) as error:
        print(f"nrepl-py: {error}", file=sys.stderr)
        return 1
    return 0
