"""The system calls of namespaces and mounts, by name. Errors are as in `system.call`."""

from __future__ import annotations

import os
import struct
from typing import Optional

from . import system

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
"""unshare(2)"""

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
"""mount(2), umount2(2)"""

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_IDMAP = 1, 2, 4, 0x100000
"""mount_setattr(2), from Linux 5.12"""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 1, 4, 24, 47
"""prctl(2)"""

_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # newer calls have the same number everywhere
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION = 0x20080522  # capset(2): _LINUX_CAPABILITY_VERSION_3
_CAPABILITIES = 64  # as many as the kernel's sets have room for
_CLEAR_ALL = 4  # PR_CAP_AMBIENT_CLEAR_ALL


def unshare(flags: int) -> None:
    """Leave those namespaces for new ones."""
    system.call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace."""
    system.call("setns", fd, kind)


def mount(source: Optional[str], target: str, kind: Optional[str], flags: int = 0, options: str = "") -> None:
    """mount(2)"""
    try:
        system.call("mount", source, target, kind, flags, options or None)
    except OSError as error:
        raise OSError(error.errno, "mount %s: %s" % (target, os.strerror(error.errno or 0))) from None


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)"""
    system.call("umount2", target, flags)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace, and `old` the place of what it was."""
    system.syscall(_PIVOT_ROOT, new, old, what="pivot_root")


def mount_setattr(path: str, attributes: int, *, recursive: bool, fd: int = _AT_FDCWD, namespace: int = 0) -> None:
    """Add attributes to a mount; with `ATTR_IDMAP`, `namespace` is a descriptor of the user namespace."""
    flags = (_AT_RECURSIVE if recursive else 0) | (0 if path else _AT_EMPTY_PATH)
    given = struct.pack("<4Q", attributes, 0, 0, namespace)
    system.syscall(_MOUNT_SETATTR, fd, path, flags, given, len(given), what="mount_setattr")


def clone_tree(fd: int) -> int:
    """A detached copy of the mount at this descriptor, as a descriptor."""
    return system.syscall(_OPEN_TREE, fd, b"", _OPEN_TREE_CLONE | _AT_EMPTY_PATH | os.O_CLOEXEC, what="open_tree")


def attach(tree: int, target: str) -> None:
    """Mount what `clone_tree` gave."""
    system.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH, what="move_mount")


def prctl(option: int, value: int) -> None:
    """prctl(2)"""
    system.prctl(option, value)


def drop_capabilities() -> None:
    """All of them, and for good: nothing this process executes can have one again."""
    for number in range(_CAPABILITIES):
        try:
            system.prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # past the last one this kernel has
    system.prctl(PR_CAP_AMBIENT, _CLEAR_ALL)
    system.call("capset", struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24))
    system.no_new_privs()
