"""What confined sessions see of this machine: decided here, by the server, and carried out by `nrepl_py/sandbox`.

A *view* is everything sessions of one zygote share: the interpreter, what is bound, and with what rights. What
differs from session to session (limits, network) goes with each fork.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from nrepl_py import lent

FIRST_ID: Final = 1_900_000_000
"""The first of the user ids a server that runs as root gives to sessions: above what systems and containers use."""

SYSTEM: Final = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
    "/etc/alternatives", "/etc/fonts", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/pki", "/etc/resolv.conf", "/etc/ssl",
    "/etc/ca-certificates", "/etc/timezone", "/etc/protocols", "/etc/services", "/etc/crypto-policies",
)  # fmt: skip
"""What programs need of a system and what holds no secret: read-only in every session."""

_FILES: Final = {
    "/etc/passwd": "root:x:0:0::/:/usr/sbin/nologin\nsession:x:1000:1000::/home/session:/bin/sh\n",
    "/etc/group": "root:x:0:\nsession:x:1000:\n",
}
_MAX_LINKS = 40  # followed from an interpreter's name to its file, as many as Linux does


class View(Struct, frozen=True):
    """`read` and `write`: absolute real paths, bound at the same path."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def reach(self, executable: str) -> list[str]:
        """All that can be read beside what can be written, as real paths."""
        read = [*SYSTEM, *prefixes(executable), *_packages(), *self.read]
        return list(dict.fromkeys(os.path.realpath(path) for path in read if os.path.exists(path)))

    def plan(self, executable: str, argv: list[str]) -> dict[str, Any]:
        """The plan of `sandbox/build.py` for an interpreter that is to become `argv`."""
        links: list[tuple[str, str]] = []
        read = [path for path in SYSTEM if os.path.lexists(path)]
        read += [*prefixes(executable), *_packages(), *self.read]
        binds: dict[str, str] = {}
        for path in read:
            real = os.path.realpath(path)
            if real != path:
                links.append((path, real))
            if os.path.exists(real):
                binds[real] = "ro"
        for path in self.write:
            binds[path] = "rw"
        kept = _without_repeats(binds)
        outside = [(path, target) for path, target in links if not within(path, (bind for bind, _ in kept))]
        root = os.geteuid() == 0
        named = {*self.read, *self.write} if root else ()  # what may be readable for its owner only
        return {
            "root": root,
            "base": FIRST_ID,
            "binds": [(path, mode, _owner(path) if path in named else None) for path, mode in kept],
            "links": outside,
            "files": _FILES,
            "argv": argv,
        }


def prefixes(executable: str) -> list[str]:
    """The directories an interpreter lives in: its virtual environment, and through its links where it came from.
    Found by looking only: nothing of it is run. Its links may be of a session's making, so what they lead to is
    shown only where Python is installed there: nobody's keys lie in such a place."""
    found: list[str] = []
    path = executable
    for _ in range(_MAX_LINKS):
        prefix = os.path.dirname(os.path.dirname(path))
        if prefix not in found and _is_prefix(prefix):
            found.append(prefix)
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    real = os.path.dirname(os.path.dirname(os.path.realpath(executable)))
    return found if real in found or not _is_prefix(real) else [*found, real]


def _is_prefix(path: str) -> bool:
    """Whether Python is installed there, or a virtual environment made."""
    if within(os.path.realpath(os.path.expanduser("~")), (os.path.realpath(path),)):
        return False
    landmarks = (os.path.join(glob.escape(path), "lib*", name, "os.py") for name in ("python3*", "pypy3*"))
    return os.path.isfile(os.path.join(path, "pyvenv.cfg")) or any(map(glob.glob, landmarks))


def _packages() -> list[str]:
    """What is lent, each package by itself: the rest of the server's environment is nobody's business."""
    paths = (os.path.join(directory, name) for name, directory in lent.directories().items())
    return [os.path.realpath(path) for path in paths if os.path.isdir(path)]


def _without_repeats(binds: dict[str, str]) -> list[tuple[str, str]]:
    """Sorted so that parents come first, without what its parent shows as well. What is read-only stays so within
    what may be written."""
    kept: list[tuple[str, str]] = []
    for path in sorted(binds):
        above = [mode for parent, mode in kept if within(path, (parent,))]
        if not above or above[-1] != binds[path]:
            kept.append((path, binds[path]))
    return kept


def within(path: str, parents: Iterable[str]) -> bool:
    """Whether it is one of these, or below one."""
    return any(path == parent or path.startswith(parent.rstrip("/") + "/") for parent in parents)


def _owner(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_uid, status.st_gid
