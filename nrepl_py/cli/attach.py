"""`nrepl-py attach`: what a session says, for somebody who only looks on."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from nrepl_py.cli.console import dim, prepare_output, show, show_raw
from nrepl_py.cli.repl import note
from nrepl_py.client import aio


def attach(args: argparse.Namespace) -> int:
    """Print until the session is closed; 0 then."""
    prepare_output()
    return asyncio.run(_attach(args))


async def _attach(args: argparse.Namespace) -> int:
    connection = aio.connect(
        args.url,
        unix=args.unix,
        directory=args.directory,
        file=args.connection_file,
        cafile=args.cafile,
        codec="json" if args.json else "msgpack",
    )
    async with connection as client, client.session(args.session).attach(args.since) as observer:
        async for message in observer:
            (show_raw if args.json else _show)(message)
    return 0


def _show(message: dict[str, Any]) -> None:
    started = message.get("started")
    if started is not None:
        dim("".join(f">>> {line}\n" for line in started["code"].splitlines()).rstrip("\n"))
    if message.get("event") == "clients":
        names = ", ".join(client["name"] or "somebody" for client in message["clients"])
        dim(f"[{message['count']} attached: {names}]" if names else "[nobody is attached]")
        return
    if "need-input" in (message.get("status") or ()):
        dim(f"[it waits for input: {message.get('prompt', '')}]")
        return
    (note if "event" in message else show)(message)
