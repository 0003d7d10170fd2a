"""`nrepl-py eval`: one eval, as if it were a program of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tokenize

from nrepl_py.cli.console import Input, exit_code, interrupting, opened, prepare_output, session_of, show, show_raw
from nrepl_py.client import aio
from nrepl_py.client.results import EvalResult


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    prepare_output()
    try:
        code, options = _code(args)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"nrepl-py: {args.file or 'standard input'} cannot be read: {reason}", file=sys.stderr)
        return 2
    return asyncio.run(_evaluate(args, code, options))


def _code(args: argparse.Namespace) -> tuple[str, aio.EvalOptions]:
    if args.file is not None:
        with tokenize.open(args.file) as file:
            return file.read(), {"file": os.path.abspath(args.file)}
    if args.code == "-":
        return sys.stdin.buffer.read().decode("utf-8-sig"), {"file": "<stdin>"}
    return args.code, {}


async def _evaluate(args: argparse.Namespace, code: str, options: aio.EvalOptions) -> int:
    async with opened(args, "json" if args.json else "msgpack") as client, session_of(client, args) as session:
        return exit_code(await _run(session, args, code, options))


async def _run(session: aio.Session, args: argparse.Namespace, code: str, options: aio.EvalOptions) -> EvalResult:
    if args.timeout is not None:
        options["timeout"] = args.timeout
    if args.kill_after is not None:
        options["kill_after"] = args.kill_after
    stream = session.stream(code, **options)
    with interrupting(stream):
        return await stream.result(on_message=show_raw if args.json else show, on_input=Input(all_lines=True).line)
