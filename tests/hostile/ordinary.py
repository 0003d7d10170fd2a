"""`python -m tests.hostile.ordinary UID GID COMMAND…`: become a command of that user's, who can reach this interpreter.

What root installs may lie in root's home, where nobody else gets through. For the command alone, an empty directory
is mounted there, with the interpreter in its place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nrepl_py.sandbox import kernel

NEEDED = (sys.base_prefix, sys.prefix, str(Path(__file__).resolve().parents[2]))


def main(uid: int, gid: int, command: list[str]) -> None:
    """Never returns."""
    kernel.unshare(kernel.NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kept = {path: os.open(path, os.O_PATH) for path in NEEDED}
    for path, descriptor in kept.items():
        for closed in filter(_is_closed, reversed(Path(path).parents)):
            kernel.mount("tmpfs", str(closed), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
        if not os.path.exists(path):
            os.makedirs(path)
            kernel.mount(f"/proc/self/fd/{descriptor}", path, None, kernel.MS_BIND | kernel.MS_REC)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.execv(command[0], command)


def _is_closed(directory: Path) -> bool:
    """Whether only its owner gets through."""
    return directory.exists() and not directory.stat().st_mode & 0o001


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
