"""A program with a server embedded in it, which evaluates inside the program: says where, serves until told."""

from __future__ import annotations

import json
import sys

from nrepl_py.embed import serve_in_thread

with serve_in_thread(kind="inprocess", port=0, unix=sys.argv[1]) as server:
    print(json.dumps({"url": server.url, "token": server.token, "unix": server.unix}), flush=True)
    sys.stdin.read()
