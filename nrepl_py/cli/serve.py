"""`nrepl-py serve`: flags become settings; the server does the rest."""

from __future__ import annotations

import argparse
import os
import sys

from nrepl_py.client.address import TOKEN_FILE
from nrepl_py.client.trust import CAFILE


def serve(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    from nrepl_py import config
    from nrepl_py.server.main import main

    flags = {
        "host": args.host,
        "port": args.port,
        "unix": args.unix,
        "connection_file": args.connection_file,
        "python": args.python,
        "preload": None if args.preload is None else [name.strip() for name in args.preload.split(",") if name.strip()],
        "log_level": args.log_level,
        "log_format": args.log_format,
        "log_file": args.log_file,
        "audit_file": args.audit_file,
        "audit_code": args.audit_code,
        "allow_origins": args.allow_origin,
        "allow_hosts": args.allow_host,
        "insecure": args.insecure,
        "sandbox": args.sandbox,
        "network": args.network,
        "allow_degraded": args.allow_degraded,
        "allow_read": args.allow_read,
        "allow_write": args.allow_write,
        "allow_pythons": args.allow_python,
        "allow_env": args.allow_env,
        "tokens": args.tokens,
        "certfile": args.certfile,
        "keyfile": args.keyfile,
        "allow_uids": args.allow_uid,
        "unused_seconds": args.unused,
    }
    # Clients' variables, which may well be set where a server is started.
    environ = {name: value for name, value in os.environ.items() if name not in (TOKEN_FILE, CAFILE)}
    try:
        settings = config.load(flags, config=args.config, environ=environ)
    except config.ConfigError as error:
        print(f"nrepl-py: {error}", file=sys.stderr, flush=True)
        return 2
    return main(settings)
