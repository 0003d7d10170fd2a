"""`%snapshot [NAME]` and `%rollback [NAME]`: keep the session as it is now, and go back to that, as often as wanted.

They end with the REPL.
"""

from __future__ import annotations

import re
import sys

from nrepl_py.client.snapshots import Snapshots, left_behind
from nrepl_py.errors import NotFound

_COMMAND = re.compile(r"\s*%(snapshot|rollback)(?:[ \t]+(\S+))?\s*")


async def command(snapshots: Snapshots, code: str) -> bool:
    """Whether the line was one of these, which is done then. Raises `NreplError`."""
    found = _COMMAND.fullmatch(code)
    if found is None:
        return False
    if found[1] == "snapshot":
        name, copy = await snapshots.take(found[2])
        shared = left_behind(copy)
        _tell(f"snapshot {name}" + (f"; not in it, or shared: {shared}" if shared else ""))
    elif not snapshots.names:
        raise NotFound("there is no snapshot; %snapshot takes one")
    else:
        _tell(f"back at snapshot {await snapshots.go_back(found[2])}")
    return True


def _tell(text: str) -> None:
    print(f"[{text}]", file=sys.stderr, flush=True)
