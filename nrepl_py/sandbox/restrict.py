"""Confinement without namespaces, for machines that deny them: Landlock for files, seccomp for the rest.

A session sees other processes and shares /dev/shm with them, but reads and writes only what it is given, sends
signals to nobody outside, and opens no socket unless it may use the network; Unix sockets, never.

A zygote is restricted first to what all its sessions may read and write together, then execs the interpreter;
each session restricts itself further, to its own private directory. A plan, and a request's `confine`, have:
    read, write   paths; what may be written may be read and executed too
    network       whether TCP and UDP may be used (of `confine` only)
    ptrace        whether its processes may trace each other (of `confine` only)
    argv, env     what to become, and its environment; and
    memory        bytes that each of its processes may have (of a plan only)
"""

from __future__ import annotations

import os
import resource  # now: where it lies may be out of sight by the time it is needed
from typing import Any, Dict

from . import kernel, landlock, seccomp, system

_READ = ("/proc",)
# Of /dev these and no more: what is root's or the seat's to read are disks, microphones and virtual machines.
_WRITE = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts",
    "/dev/shm",
)  # fmt: skip


def become(plan: Dict[str, Any]) -> None:
    """Restrict this process and become the plan's `argv`."""
    kernel.drop_capabilities()
    _files(plan, network=True, scoped=False)
    execute(plan)


def execute(plan: Dict[str, Any]) -> None:
    """Become the plan's `argv`, in its `env`, with no more than its `memory`."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = plan["memory"] if hard == resource.RLIM_INFINITY else min(plan["memory"], hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    os.execve(plan["argv"][0], plan["argv"], plan["env"])


def restrict(confine: Dict[str, Any]) -> None:
    """Restrict this process for good, as a session."""
    kernel.drop_capabilities()
    _files(confine, network=confine["network"], scoped=True)
    families = ["inet", "inet6"] if confine["network"] else []
    seccomp.install(seccomp.program(machine=system.machine(), families=families, ptrace=confine["ptrace"]))


def _files(paths: Dict[str, Any], *, network: bool, scoped: bool) -> None:
    write = [*_WRITE, *paths["write"]]
    read = [*_READ, *paths["read"]]
    landlock.restrict(
        read, write, execute=[*paths["read"], *paths["write"]], abi=landlock.abi(), network=network, scoped=scoped
    )
