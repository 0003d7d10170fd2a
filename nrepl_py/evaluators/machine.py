"""What the machine can do for each tier, and what to change where it cannot."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import msgspec
from msgspec import Struct

from nrepl_py.evaluators import bundle
from nrepl_py.ops import TIERS

NEEDS: Final = {
    "none": (),
    "process": (),
    "landlock": ("landlock", "seccomp"),
    "sandbox": ("namespaces", "seccomp"),
    "strict": ("namespaces", "seccomp"),
}
"""The probes of `sandbox/probe.py` that a tier stands on."""

ADVICE: Final = {
    "namespaces": "user namespaces have to be allowed: kernel.unprivileged_userns_clone=1, user.max_user_namespaces "
    "above 0, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for this interpreter; "
    "in a container, --security-opt seccomp=unconfined or --privileged",
    "landlock": "it takes Linux 5.13 or later, started with `landlock` among the modules of its `lsm=` parameter",
    "seccomp": "it takes Linux on x86-64 or aarch64, with CONFIG_SECCOMP_FILTER",
}
EFFECTS: Final = {
    "namespaces": "sessions cannot have files, processes and a network of their own",
    "landlock": "sessions without namespaces cannot be kept from the user's files",
    "seccomp": "sessions can make every system call of the kernel",
}


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
    out, err = await process.communicate()
    try:
        found: dict[str, str | None] = msgspec.json.decode(out, type=dict[str, str | None])
    except msgspec.MsgspecError:
        why = err.decode("utf-8", "replace").strip().rpartition("\n")[2] or "the probe said nothing"
        return dict.fromkeys(ADVICE, why)
    return found


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
