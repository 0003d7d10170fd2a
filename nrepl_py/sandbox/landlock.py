"""Landlock: which files, ports and processes a session may reach, in the kernel's own words.

What the rules do not name is refused with EACCES (EPERM for signals). Nothing needs privileges, and
nothing can be taken back: descendants inherit it. What was opened before stays usable.

Each ABI of the kernel knows more rights (landlock(7)); `restrict` handles all those of the ABI it is given.
7 brings nothing to handle, and what later ones bring is not asked for.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Mapping, Sequence, Union

from . import system

Path = Union[str, int]
"""A path, or a descriptor of what lies there."""

# linux/landlock.h, and the numbers of the calls, which all machines share
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_O_PATH = 0o10000000  # open(2); PyPy's `os` does not have it
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

# Rights by the ABI that first knew them.
_FILES = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}  # at first the four above, to remove and to make
_PORTS = {4: 1 << 0 | 1 << 1}  # BIND_TCP, CONNECT_TCP
_SCOPES = {6: 1 << 0 | 1 << 1}  # ABSTRACT_UNIX_SOCKET, SIGNAL

_READ = _READ_FILE | _READ_DIR
_RUN = _READ | _EXECUTE
_WRITE = ~_EXECUTE
"""All else, IOCTL_DEV too: who may write to a terminal may also set it up."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""The rights that make sense for what is no directory; the kernel refuses the others there."""


def abi() -> int:
    """The ABI of this kernel's Landlock; 0 where there is none, it is turned off, or the machine is not known."""
    try:
        system.machine()
        return system.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except (OSError, system.Unsupported):
        return 0


def restrict(
    read: Sequence[Path], write: Sequence[Path], *, execute: Sequence[Path], abi: int, network: bool, scoped: bool
) -> None:
    """Leave this thread, and all it starts, the files at and below the given paths and no others.

    What stands in `write` or `execute` may be read too; what stands in several lists may be used in all those ways.
    Symlinks are followed, and paths that lead nowhere are passed over; descriptors stay open. `abi` is what `abi()`
    said, or less. Earlier ones hold less: before 3 any file can be truncated, before 5 devices take any ioctl, and
    with 1 nothing moves from one directory to another, be both writable.

    Without `network` TCP sockets neither bind nor connect (from ABI 4). By itself that is no wall: UDP, MPTCP, TCP
    fast open and listening on a port of the kernel's choice pass, so the filter has to leave out the families too.
    With `scoped` neither signals nor abstract Unix sockets reach out (from ABI 6); Unix sockets that have a path do.

    `system.no_new_privs` comes before. Raises OSError, and system.Unsupported for ABI 0.
    """
    if abi < 1:
        raise system.Unsupported("this kernel has no Landlock, or it is turned off")
    files = _known(_FILES, abi)
    ports = 0 if network else _known(_PORTS, abi)
    scopes = _known(_SCOPES, abi) if scoped else 0
    attributes = struct.pack("=QQQ", files, ports, scopes)[: 8 * (1 + (abi >= 4) + (abi >= 6))]
    ruleset = system.syscall(_CREATE_RULESET, attributes, len(attributes), 0, what="landlock_create_ruleset")
    try:
        for paths, rights in ((read, _READ), (write, _WRITE), (execute, _RUN)):
            for path in paths:
                _allow(ruleset, path, rights & files)
        system.syscall(_RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
    finally:
        os.close(ruleset)


def scope(abi: int) -> bool:
    """Keep this thread, and all it starts, from abstract Unix sockets and processes outside, and from nothing else;
    whether this kernel can (from ABI 6). `system.no_new_privs` comes before. Raises OSError."""
    scopes = _known(_SCOPES, abi)
    if scopes:
        attributes = struct.pack("=QQQ", 0, 0, scopes)
        ruleset = system.syscall(_CREATE_RULESET, attributes, len(attributes), 0, what="landlock_create_ruleset")
        try:
            system.syscall(_RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
        finally:
            os.close(ruleset)
    return bool(scopes)


def _known(since: Mapping[int, int], abi: int) -> int:
    return sum(rights for first, rights in since.items() if first <= abi)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    if isinstance(path, int):
        _add(ruleset, path, rights)
        return
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _add(ruleset, descriptor, rights)
    finally:
        os.close(descriptor)


def _add(ruleset: int, descriptor: int, rights: int) -> None:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _OF_FILES
    path_beneath = struct.pack("=Qi", rights, descriptor)
    system.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, path_beneath, 0, what="landlock_add_rule")
