"""The confinement a zygote lives in, built before any foreign code runs: its own files, processes and user ids.

The server's own interpreter runs this under `-I -S` and then becomes the target interpreter:

    P   as a user, enters a user namespace; then forks into a pid namespace
    A   pid 1 there: builds the root, leaves the old one behind, and enters a second user, mount and pid namespace
    B   pid 1 of that: execs the target

The second user namespace locks what A has mounted: B has all capabilities, over what is its own only. As root
the second one has other user ids than the machine, so that nothing in it is the machine's root. When P, A or B
ends, the kernel ends all below it.

A plan is a JSON object (`evaluators/views.py` makes it; without `root` it is one of `restrict.py`):
    root      whether P is the machine's root; then `base` is the first of the 65,536 user ids given away
    binds     [source, "ro" | "rw", owner] each, at the same path as outside, parents before what is in them; `owner`
              [uid, gid] of the source's files, which sessions are to own (only as root)
    links     [path, target]: symbolic links
    files     path → text
    argv      what to become
    memory    bytes that each of its processes may have, and
    env       its environment: what it is told may be a client's words, and we are outside still
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any, Dict, NoReturn, Optional, Sequence

from . import kernel, restrict

IDS = 65536
"""User ids of a namespace, as everywhere: a 16-bit uid must mean something."""

OWNER = 1000
"""The id, inside B's namespace, that owns what is bound with an owner; sessions that may write there run as it."""

PRIVATE = ("/tmp", "/home/session", "/dev/shm")
"""Where each session mounts a file system of its own (`session.py`)."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (
    ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"), ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"), ("/dev/ptmx", "pts/ptmx"),
)  # fmt: skip
_SKELETON = ("/proc", "/dev/pts", "/sys", "/run", "/var/tmp", "/etc", *PRIVATE)
_ROOT_OPTIONS = "mode=755,size=16m,nr_inodes=65536"  # directories and a few small files; nobody can write there later


def main(plan_fd: int) -> None:
    """Confine this process and become `argv` of the plan; returns only in P, when that has ended, by exiting."""
    with os.fdopen(plan_fd, "rb") as file:
        plan = json.load(file)
    if "root" not in plan:
        restrict.become(plan)
    if not plan["root"]:
        uid, gid = os.getuid(), os.getgid()
        kernel.unshare(kernel.NEWUSER)
        _write_maps("self", "0 %d 1" % uid, "0 %d 1" % gid)
    kernel.unshare(kernel.NEWPID)
    asks, answers = os.pipe()
    mapped, tell_mapped = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(asks)
        os.close(tell_mapped)
        _die_with_parent()
        try:
            _second(plan, answers, mapped)
        except OSError as error:
            os.write(2, ("a session cannot be confined here: %s\n" % error).encode("utf-8", "replace"))
        os._exit(1)
    os.close(answers)
    os.close(mapped)
    if os.read(asks, 1):
        ids = "0 %d %d" % (plan["base"], IDS) if plan["root"] else "0 0 1"
        _write_maps(str(child), ids, ids)
        os.write(tell_mapped, b"m")
    _end_like(child)


def _second(plan: Dict[str, Any], ask: int, mapped: int) -> None:
    """A: pid 1 of the first pid namespace."""
    kernel.unshare(kernel.NEWNS)
    build_root(plan)
    kernel.unshare(kernel.NEWUSER | kernel.NEWNS | kernel.NEWPID)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the maps would belong to root, where nobody is that
    _die_with_parent()
    os.write(ask, b"m")
    if not os.read(mapped, 1):
        os._exit(1)
    for fd in (ask, mapped):
        os.close(fd)
    child = os.fork()
    if child == 0:
        os.setgroups([]) if plan["root"] else None
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        _die_with_parent()
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        os.chdir("/")
        restrict.execute(plan)
    _end_like(child)


def build_root(plan: Dict[str, Any]) -> None:
    """Make the plan's root file system and go there. Needs a mount namespace of our own."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # Two roots first: one to stand on, whose /old is all there was, and the new one beside it.
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _ROOT_OPTIONS)
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    kernel.mount("tmpfs", "/tmp/new", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _ROOT_OPTIONS)
    kernel.pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    for path in _SKELETON:
        os.makedirs("/new" + path, exist_ok=True)
    kernel.mount("proc", "/new/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for name in _DEVICES:
        _bind("/dev/" + name, None)
    for path, target in (*_LINKS, *plan["links"]):
        os.makedirs(os.path.dirname("/new" + path), exist_ok=True)
        os.symlink(target, "/new" + path)
    for path, text in plan["files"].items():
        os.makedirs(os.path.dirname("/new" + path), exist_ok=True)
        with open("/new" + path, "w") as file:
            file.write(text)
    for source, mode, owner in plan["binds"]:
        _bind(source, mode, owner, plan["base"])
    kernel.mount_setattr("/new", kernel.ATTR_RDONLY, recursive=False)
    os.chdir("/new")
    kernel.pivot_root(".", ".")
    kernel.umount(".", kernel.MNT_DETACH)
    os.chdir("/")


def _bind(source: str, mode: Optional[str], owner: Optional[Sequence[int]] = None, base: int = 0) -> None:
    """What is at that path outside, at the same path in the new root. Mode None: a device."""
    fd = _open("/old" + source)
    try:
        target = "/new" + source
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.makedirs(target, exist_ok=True)
        elif not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "w").close()
        if owner is None or not _bind_owned(fd, target, owner, base, needed=mode == "rw"):
            kernel.mount("/new/proc/self/fd/%d" % fd, target, None, kernel.MS_BIND | kernel.MS_REC)
    finally:
        os.close(fd)
    attributes = kernel.ATTR_NOSUID | (kernel.ATTR_NODEV if mode else 0) | (kernel.ATTR_RDONLY if mode == "ro" else 0)
    kernel.mount_setattr(target, attributes, recursive=True)


def _bind_owned(fd: int, target: str, owner: Sequence[int], base: int, needed: bool) -> bool:
    """Bound so that the files of `owner`, a user and a group id outside and on disk, are `OWNER`'s in here; whether
    that could be. Where it is needed and cannot be, that is an OSError."""
    release, held = os.pipe()
    entered, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        os.close(entered)
        _hold_namespace(tell, release)
    os.close(release)
    os.close(tell)
    try:
        with os.fdopen(entered, "rb") as file:
            if failed := file.read():
                raise OSError(failed.decode())
        users, groups = ("%d %d 1" % (one, base + OWNER) for one in owner)
        _write_maps(str(child), users, groups, "/new/proc")
        namespace = os.open("/new/proc/%d/ns/user" % child, os.O_RDONLY)
        tree = kernel.clone_tree(fd)
        try:
            mapped = _map_ids(tree, namespace)
            if mapped:
                kernel.attach(tree, target)
            elif needed:
                why = "cannot have its files written as another user's; choose a directory elsewhere"
                raise OSError("the file system of %s %s" % (target[len("/new") :], why))
            return mapped
        finally:
            os.close(tree)
            os.close(namespace)
    finally:
        os.close(held)
        os.waitpid(child, 0)


def _map_ids(tree: int, namespace: int) -> bool:
    """Whether the file system can."""
    try:
        kernel.mount_setattr("", kernel.ATTR_IDMAP, recursive=False, fd=tree, namespace=namespace)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _hold_namespace(tell: int, release: int) -> NoReturn:
    """Have a user namespace until `release` ends. `tell` ends once that is so, with the reason first where it cannot be
    (in a chroot, say)."""
    try:
        kernel.unshare(kernel.NEWUSER)
        os.close(tell)
        os.read(release, 1)
    except OSError as error:
        os.write(tell, str(error).encode())
    finally:
        os._exit(0)


def _open(path: str) -> int:
    """Without following any link: a path given may lie where a session can write, and change."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        parent = fd
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("a symbolic link where a file or a directory was: %s" % path)
    return fd


def _write_maps(process: str, users: str, groups: str, proc: str = "/proc") -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", users), ("gid_map", groups)):
        if name == "setgroups" and (users.split()[2] != "1" or process != "self"):
            continue  # only a user who maps himself has to give it up
        with open("%s/%s/%s" % (proc, process, name), "w") as file:
            file.write(text)


def _die_with_parent() -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)


def _end_like(child: int) -> None:
    """Wait for the child, reap what is left to us, and end as it did."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
