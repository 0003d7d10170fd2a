"""What this machine can do, found out by doing it, in child processes that end at once.

Each probe gives None where it works, else a sentence: what failed.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Optional

from . import build, kernel, landlock, seccomp, system

_TRUE = [path for path in ("/usr/bin/true", "/bin/true") if os.path.exists(path)]
_FIRST_ID = 1_900_000_000  # any that are nobody's will do


def main() -> None:
    """Print the result of every probe as one JSON object."""
    _die_with_parent()
    print(json.dumps({name: probe() for name, probe in PROBES.items()}))


def _namespaces() -> Optional[str]:
    """The whole way of `build.py`, to a program that does nothing."""
    if not _TRUE:
        return "there is no `true` to start in a namespace"

    def confine() -> None:
        root = os.geteuid() == 0
        real = [os.path.realpath(path) for path in ("/usr", "/lib", "/lib64") if os.path.exists(path)]
        binds = [(path, "ro", (0, 0) if root and path == "/usr" else None) for path in sorted(set(real))]
        links = [(path, os.readlink(path)) for path in ("/bin", "/lib", "/lib64") if os.path.islink(path)]
        plan = {
            "root": root,
            "base": _FIRST_ID,
            "binds": binds,
            "links": links,
            "files": {},
            "argv": _TRUE[:1],
            "env": {},
            "memory": 1 << 30,
        }
        read, write = os.pipe()
        os.write(write, json.dumps(plan).encode())
        os.close(write)
        build.main(read)

    return _in_child(confine)


def _landlock() -> Optional[str]:
    if landlock.abi() == 0:
        return "this kernel has no Landlock, or it is not enabled (lsm=landlock,…)"

    def restrict() -> None:
        system.no_new_privs()
        landlock.restrict(["/"], [], execute=["/"], abi=landlock.abi(), network=False, scoped=True)

    return _in_child(restrict)


def _seccomp() -> Optional[str]:
    def install() -> None:
        system.no_new_privs()
        seccomp.install(seccomp.program(machine=system.machine(), families=["unix"]))

    return _in_child(install)


def _in_child(work: Callable[[], Any]) -> Optional[str]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 2)
        try:
            _die_with_parent()
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, ("%s" % error).encode("utf-8", "replace")[:4000])
            os._exit(1)
    os.close(write)
    with os.fdopen(read, encoding="utf-8", errors="replace") as file:
        said = file.read().strip().splitlines()
    _, status = os.waitpid(pid, 0)
    return None if status == 0 else (said[-1] if said else "it ended with wait status %d" % status)


def _die_with_parent() -> None:
    """Whoever asks may be ended meanwhile."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)


PROBES: Dict[str, Callable[[], Optional[str]]] = {
    "namespaces": _namespaces, "landlock": _landlock, "seccomp": _seccomp,
}  # fmt: skip
