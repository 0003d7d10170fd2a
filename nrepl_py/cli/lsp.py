"""`nrepl-py lsp`: a language server for an editor, over standard input and output or a port."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os


def lsp(args: argparse.Namespace) -> int:
    """Serve one editor until it ends; 0 then."""
    # What these have to say of a client's mistakes is answered to the client.
    for name in ("pygls", "asyncio", "nrepl_py"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    from nrepl_py.lsp.live import Where
    from nrepl_py.lsp.server import Server
    from nrepl_py.lsp.transport import over_stdio, over_tcp

    directory = None if args.directory is None else os.path.abspath(args.directory)
    where = Where(args.url, args.unix, directory, args.connection_file, args.cafile, args.session, args.python)
    server = Server(where)
    await (over_stdio(server) if args.port is None else over_tcp(server, args.port))
    return 0
