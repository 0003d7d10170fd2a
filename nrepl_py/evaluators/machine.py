"""What the machine can do for each tier, and what to change where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Final

import msgspec
from msgspec import Struct

from nrepl_py.errors import StartFailed
from nrepl_py.evaluators import bundle, cgroups
from nrepl_py.ops import TIERS

NEEDS: Final = {
    "none": (),
    "process": (),
    "landlock": ("landlock", "seccomp"),
    "sandbox": ("namespaces", "seccomp"),
    "strict": ("namespaces", "seccomp", "cgroups"),
}
"""The probes that a tier stands on: those of `sandbox/probe.py`, and whether control groups can be made."""

ADVICE: Final = {
    "namespaces": "user namespaces have to be allowed: kernel.unprivileged_userns_clone=1, user.max_user_namespaces "
    "above 0, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for this interpreter; "
    "in a container, --security-opt seccomp=unconfined or --privileged; in a chroot there are none",
    "landlock": "it takes Linux 5.13 or later, started with `landlock` among the modules of its `lsm=` parameter",
    "seccomp": "it takes Linux on x86-64 or aarch64, with CONFIG_SECCOMP_FILTER",
    "cgroups": "start the server in a group of its own that it may divide, as by `systemd-run --user --scope -p "
    "Delegate=yes nrepl-py serve`; where control groups are of version 1, only root can",
}
EFFECTS: Final = {
    "namespaces": "sessions cannot have files, processes and a network of their own",
    "landlock": "sessions without namespaces cannot be kept from the user's files",
    "seccomp": "sessions can make every system call of the kernel",
    "cgroups": "memory is bounded for each process of a session, and not for all of them together",
}


_PROBE_SECONDS: Final = 30.0
"""For all probes: a hundred times what they take, on a machine that has other things to do."""


class Missing(Struct, frozen=True):
    """Something a tier needs and this machine does not have. All are sentences for a person."""

    what: str
    why: str
    effect: str
    advice: str


async def probe(source: int) -> dict[str, str | None]:
    """Each probe's name, and None or why it fails. `source` is the bundle's descriptor."""
    if not sys.platform.startswith("linux"):
        return dict.fromkeys(ADVICE, f"this is {sys.platform}, not Linux")
    command = bundle.command(sys.executable, source, "probe")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, pass_fds=(source,), start_new_session=True
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _PROBE_SECONDS)
        found = msgspec.json.decode(out, type=dict[str, str | None])
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        found = dict.fromkeys(ADVICE, f"trying it out had not ended after {_PROBE_SECONDS:g} s")
    except msgspec.MsgspecError:
        why = err.decode("utf-8", "replace").strip().rpartition("\n")[2] or "the probe said nothing"
        found = dict.fromkeys(ADVICE, why)
    return found | {"cgroups": _cgroups()}


def _cgroups() -> str | None:
    try:
        cgroups.find()
    except cgroups.Unavailable as error:
        return str(error)
    return None


def missing(tier: str, probes: dict[str, str | None]) -> list[Missing]:
    """What that tier would need besides."""
    return [
        Missing(name, str(why), EFFECTS[name], ADVICE[name])
        for name in NEEDS[tier]
        if (why := probes.get(name)) is not None
    ]


def best(tier: str, probes: dict[str, str | None]) -> str:
    """The strictest tier up to that one which can be had."""
    below = TIERS[: TIERS.index(tier) + 1]
    return next(found for found in reversed(below) if not missing(found, probes))


class Machine:
    """This one, probed when first something is asked of it. `source` is the bundle's descriptor."""

    def __init__(self, source: int, allow_degraded: bool) -> None:
        self._source = source
        self._allow_degraded = allow_degraded
        self._probes: dict[str, str | None] | None = None

    async def best(self, tier: str, way_out: str) -> tuple[str, list[Missing]]:
        """The tier that can be had for that one, and what that would need besides. Raises `StartFailed`, unless less
        will do; `way_out` is what to do with the name of the best one."""
        if not NEEDS[tier]:
            return tier, []
        if self._probes is None:
            self._probes = await probe(self._source)
        lacks, found = missing(tier, self._probes), best(tier, self._probes)
        if lacks and not self._allow_degraded:
            why = "; ".join(f"{one.what}: {one.why} ({one.advice})" for one in lacks)
            raise StartFailed(
                f"this machine cannot confine sessions to {tier!r}: {why}. Or {way_out} {found}, or start the server "
                "with --allow-degraded to have what there is; `nrepl-py doctor` says more"
            )
        return found, lacks
