"""What of the machine a client may name for its sessions: files, interpreters and variables of the server's.

The owner of the server may name all that is his; others what the settings list. Nobody may name what would undo the
sandbox: the home directory or one above it, the server's own files, the system's to write to, or what other processes
are reached through. Links are followed here, once, and never out of where a session may write: they may be of its
making.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from nrepl_py.errors import Forbidden, StartFailed
from nrepl_py.evaluators import views

Granted = tuple[str, ...] | None
"""Paths or names; None: all for the owner of the server, nothing for others."""

_OTHERS: Final = ("/dev", "/proc", "/sys", "/run")
"""Other processes, their memory and sockets, and the kernel's own settings."""

_MAX_LINKS: Final = 40  # as many as Linux follows


class Grants(Struct, frozen=True, kw_only=True):
    """`read`, `write`, `pythons`: paths, and what is below them; `env`: names of variables. `state`: the server's own
    files and directories."""

    read: Granted = None
    write: Granted = None
    pythons: Granted = None
    env: Granted = None
    state: tuple[str, ...] = ()

    def may_read(self, real: str, owner: bool) -> bool:
        """Whether it may be named to be read."""
        return _granted(self.read, real, owner) or self.may_write(real, owner)

    def may_write(self, real: str, owner: bool) -> bool:
        """Whether it may be named to be written to."""
        return _granted(self.write, real, owner)

    def check_python(self, executable: str, owner: bool) -> None:
        """Raises `Forbidden` for an interpreter that is not of the system, nor granted."""
        known = views.within(executable, views.SYSTEM) or self.may_read(executable, owner and self.pythons is None)
        if not known and not _granted(self.pythons, executable, owner):
            raise Forbidden(f"clone: you may not choose {executable}; the server's owner can allow it (allow-pythons)")

    def check_env(self, names: Iterable[str], owner: bool) -> None:
        """Raises `Forbidden` for a variable of the server's that is not granted."""
        for name in names:
            if not (owner if self.env is None else name in self.env):
                raise Forbidden(f"clone: you may not inherit {name!r}; the server's owner can allow it (allow-env)")

    def check(self, path: str, what: str, given: Iterable[str], *, write: bool = False) -> str:
        """The real path. Raises `StartFailed` where naming it would undo the sandbox, whoever does; `given` are the
        directories that sessions write to."""
        real = follow(path, what, given)
        home = os.path.realpath(os.path.expanduser("~"))
        state = [os.path.realpath(place) for place in self.state]
        if views.within(home, (real,)):
            raise StartFailed(f"{what}: {path} holds the home directory; choose a directory below it")
        if any(views.within(place, (real,)) for place in state) or views.within(real, state):
            raise StartFailed(f"{what}: {path} holds the server's own files, which are not for sessions")
        if views.within(real, (*views.SYSTEM, "/etc", "/boot", *_OTHERS) if write else _OTHERS):
            raise StartFailed(f"{what}: {path} belongs to the system, and is not for sessions")
        return real


def real_path(path: str, what: str) -> str:
    """Where it leads, if anywhere. Raises `StartFailed` for what is no path."""
    if "\0" in path:
        raise StartFailed(f"{what}: there is no {path!r}")
    return os.path.realpath(path)


def follow(path: str, what: str, given: Iterable[str]) -> str:
    """The real path. Raises `StartFailed` where there is nothing, or a link leads out of one of the directories."""
    if "\0" in path or not os.path.exists(path):
        raise StartFailed(f"{what}: there is no {path!r}")
    real, names, links = "/", os.path.abspath(path).split("/")[1:], 0
    while names:
        found = os.path.join(real, names.pop(0))
        if not os.path.islink(found):
            real = found
            continue
        target = os.path.normpath(os.path.join(real, os.readlink(found)))
        links += 1
        if links > _MAX_LINKS or any(views.within(real, (one,)) and not views.within(target, (one,)) for one in given):
            raise StartFailed(f"{what}: {path} leads elsewhere by a link, {found}; name the place itself")
        real, names = "/", [*target.split("/")[1:], *names]
    return real


def _granted(granted: Granted, real: str, owner: bool) -> bool:
    if granted is None:
        return owner
    return views.within(real, map(os.path.realpath, granted))
