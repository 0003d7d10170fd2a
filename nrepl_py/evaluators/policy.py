"""How far sessions are confined, and what of it a client may choose: never less than the server's own policy.

    none < process < landlock < sandbox < strict

`none` and `process` are no boundary: code there has the rights of the server's user.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import msgspec
from msgspec import Struct

from nrepl_py import connection_file
from nrepl_py.errors import Forbidden, StartFailed
from nrepl_py.evaluators import views
from nrepl_py.evaluators.base import Spec
from nrepl_py.limits import Limits
from nrepl_py.ops import TIERS, SessionLimits
from nrepl_py.sandbox.build import OWNER

DEFAULT_TIER: Final = "sandbox" if sys.platform.startswith("linux") else "process"

BOUNDARIES: Final = frozenset({"landlock", "sandbox", "strict"})
NAMESPACED: Final = frozenset({"sandbox", "strict"})
"""Tiers whose sessions have their own files, processes and network."""

EFFECTS: Final = {
    "none": "a session is a process with the rights of the server's user",
    "process": "a session is a process of its own, with limits and the rights of the server's user: no boundary",
    "landlock": "a session reads and writes only what it is given; it sees, but cannot reach, other processes",
    "sandbox": "a session has its own files, processes and network; it shares the kernel, and with sessions of the "
    "same interpreter the layout of memory",
    "strict": "a session has its own files, processes and network, and an interpreter started for it alone; it "
    "shares the kernel",
}


class Confinement(Struct, frozen=True):
    """What one session gets. `cwd`: None for a fresh directory of its own. `limits`: each bound, 0 for none."""

    tier: str
    network: bool
    cwd: str | None
    view: views.View
    limits: dict[str, int]

    @property
    def rlimits(self) -> dict[str, int]:
        """For each process of the session: name of a `resource.RLIMIT_*` → most."""
        wanted = {
            "DATA": self.limits["memory-bytes"],
            "CPU": self.limits["cpu-seconds"],
            "NOFILE": self.limits["open-files"],
            # Who works with the user's own files may have large ones.
            "FSIZE": self.limits["file-bytes"] if self.tier in BOUNDARIES else 0,
            # Elsewhere it would count all processes of the user.
            "NPROC": self.limits["processes"] if self.tier in NAMESPACED else 0,
        }
        return {"CORE": 0, **{name: most for name, most in wanted.items() if most}}

    def request(self, executable: str, home: str | None) -> dict[str, Any] | None:
        """What of it is the session's own, for its zygote: see `sandbox/session.py` and `restrict.py`. `home`: its
        private directory, where it is on disk."""
        if self.tier not in BOUNDARIES:
            return None
        if self.tier == "landlock":
            return {
                "read": self.view.reach(executable),
                "write": [*self.view.write, home],
                "network": self.network,
                "ptrace": True,
            }
        return {
            "id": 0 if os.geteuid() else OWNER,
            "network": self.network,
            "tmp": self.limits["tmp-bytes"],
            "families": ["unix", "inet", "inet6"],
            "ptrace": True,
        }

    @property
    def described(self) -> dict[str, Any]:
        """For `clone`'s `info`."""
        said: dict[str, Any] = {"tier": self.tier, "boundary": self.tier in BOUNDARIES, "effect": EFFECTS[self.tier]}
        if self.tier in BOUNDARIES:
            said |= {"network": "host" if self.network else "none", "workspace": "cwd" if self.cwd else "fresh"}
            said["limits"] = self.limits
            said |= {"read": list(self.view.read), "write": list(self.view.write)}
        return said


class Policy(Struct, frozen=True, kw_only=True):
    """The server's. `network`: whether sessions may have the machine's; `allow_degraded`: whether it may serve with
    less than `tier`, where the machine cannot do it."""

    tier: str = "process"
    network: bool = False
    allow_degraded: bool = False
    limits: Limits = Limits()

    def _limits(self, spec: Spec) -> dict[str, int]:
        bounds = msgspec.to_builtins(self.limits)
        bounds["session-memory-bytes"] = bounds["session-memory-bytes"] or _machine_memory() * 3 // 4
        asked = msgspec.to_builtins(spec.limits)
        fields = msgspec.structs.fields(SessionLimits)
        names = [field.encode_name for field in fields if field.name not in _THE_ROUTERS]
        return {name: _least(asked.get(name, 0), bounds["session-" + name]) for name in names}

    def confine(self, spec: Spec) -> Confinement:
        """What the session gets. Raises `Forbidden` for less than this policy, `StartFailed` for what cannot be."""
        asked = spec.sandbox
        tier = asked.tier or self.tier
        if TIERS.index(tier) < TIERS.index(self.tier):
            raise Forbidden(f"clone: this server confines sessions to {self.tier!r}, and {tier!r} is less")
        network = (asked.network or ("host" if self.network else "none")) == "host"
        if tier in BOUNDARIES and network and not self.network:
            raise Forbidden("clone: this server gives sessions no network; its owner can, with --network host")
        if tier not in BOUNDARIES:
            return self._open(spec, tier, self._limits(spec))
        state = [connection_file.runtime_directory()]
        read = tuple(_existing(path) for path in asked.read)
        write = [views.check(path, state) for path in asked.write]
        cwd = self._cwd(spec, state)
        if tier == "strict" and (cwd or write):
            raise Forbidden("clone: 'strict' gives a session no directory to write to but a fresh one of its own")
        view = views.View(read, tuple(dict.fromkeys([*write, *([cwd] if cwd else [])])))
        return Confinement(tier, network, cwd, view, self._limits(spec))

    @staticmethod
    def _open(spec: Spec, tier: str, limits: dict[str, int]) -> Confinement:
        cwd = spec.cwd or os.getcwd()
        if not os.path.isdir(cwd):
            raise StartFailed(f"cwd is not a directory: {cwd!r}")
        return Confinement(tier, True, cwd, views.View(), limits)

    def _cwd(self, spec: Spec, state: list[str]) -> str | None:
        if spec.sandbox.workspace == "fresh":
            return None
        if spec.cwd is not None:
            return views.check(spec.cwd, state)
        if spec.sandbox.tier == "strict" or self.tier == "strict":
            return None
        try:
            return views.check(os.getcwd(), state)
        except StartFailed:
            return None  # started from home, say: nobody asked for that directory


_THE_ROUTERS = ("eval_seconds", "output_bytes")  # bounds that it keeps itself


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _least(*bounds: int) -> int:
    """The lowest bound, where 0 is none."""
    return min((bound for bound in bounds if bound), default=0)


def _existing(path: str) -> str:
    if "\0" in path or not os.path.exists(real := os.path.realpath(path)):
        raise StartFailed(f"sandbox.read: there is no {path!r}")
    return real
