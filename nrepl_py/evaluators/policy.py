"""How far sessions are confined, and what of it a client may choose: never less than the server's own policy.

    none < process < landlock < sandbox < strict

`none` and `process` are no boundary: code there has the rights of the server's user.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from nrepl_py import connection_file
from nrepl_py.errors import Forbidden, StartFailed
from nrepl_py.evaluators import views
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.grants import Grants, real_path
from nrepl_py.limits import Limits
from nrepl_py.ops import TIERS, SessionLimits

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
    """What one session gets. `cwd`: None for a fresh directory of its own. `limits`: each bound, 0 for none.
    `lacks`: what was asked for and is missing, where this is less."""

    tier: str
    network: bool
    cwd: str | None
    view: views.View
    limits: dict[str, int]
    lacks: dict[str, Any] = {}

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

    def request(self, executable: str, home: str | None, user: int) -> dict[str, Any] | None:
        """What of it is the session's own, for its zygote: see `sandbox/session.py` and `restrict.py`. `home`: its
        private directory, where it is on disk; `user`: its id there, where the server is root."""
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
            "id": 0 if os.geteuid() else user,
            "network": self.network,
            "tmp": self.limits["tmp-bytes"],
            "families": ["unix", "inet", "inet6"],
            "ptrace": True,
        }

    @property
    def described(self) -> dict[str, Any]:
        """For `clone`'s `info`."""
        said: dict[str, Any] = {"tier": self.tier, "boundary": self.tier in BOUNDARIES, "effect": EFFECTS[self.tier]}
        said |= self.lacks
        if self.tier in BOUNDARIES:
            said |= {"network": "host" if self.network else "none", "workspace": "cwd" if self.cwd else "fresh"}
            said["limits"] = self.limits
            said |= {"read": list(self.view.read), "write": list(self.view.write)}
        return said


class Policy(Struct, frozen=True, kw_only=True):
    """The server's. `network`: whether sessions may have the machine's; `allow_degraded`: whether it may serve with
    less than `tier`, where the machine cannot do it; `grants`: what of the machine clients may name."""

    tier: str = "process"
    network: bool = False
    allow_degraded: bool = False
    limits: Limits = Limits()
    grants: Grants = Grants()
    given: dict[str, None] = field(default_factory=dict)
    """Directories that sessions write to, or did: nothing there is what it seems."""

    @property
    def memory(self) -> int:
        """Bytes that no session may have more of."""
        return self.limits.session_memory_bytes or _machine_memory() * 3 // 4

    def _limits(self, spec: Spec) -> dict[str, int]:
        bounds = msgspec.to_builtins(self.limits) | {"session-memory-bytes": self.memory}
        asked = msgspec.to_builtins(spec.limits)
        fields = msgspec.structs.fields(SessionLimits)
        names = [one.encode_name for one in fields if one.name not in _THE_ROUTERS]
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
        if tier == "strict" and asked.network == "host":
            raise Forbidden("clone: 'strict' gives a session no network but its own")
        grants = self._in_force()
        grants.check_env(spec.inherit_env, spec.owner)
        read = [self._named(path, "sandbox.read", grants, spec.owner) for path in asked.read]
        write = [self._named(path, "sandbox.write", grants, spec.owner, write=True) for path in asked.write]
        cwd, writable = self._cwd(spec, tier, grants)
        if tier == "strict" and (cwd or write):
            raise Forbidden("clone: 'strict' gives a session no directory of the machine's to write to")
        if cwd is not None:
            (write if writable else read).append(cwd)
        view = views.View(tuple(dict.fromkeys(read)), tuple(dict.fromkeys(write)))
        self._remember(view.write)
        return Confinement(tier, network and tier != "strict", cwd, view, self._limits(spec))

    @staticmethod
    def _open(spec: Spec, tier: str, limits: dict[str, int]) -> Confinement:
        cwd = spec.cwd or os.getcwd()
        if not os.path.isdir(cwd):
            raise StartFailed(f"cwd is not a directory: {cwd!r}")
        return Confinement(tier, True, cwd, views.View(), limits)

    def _cwd(self, spec: Spec, tier: str, grants: Grants) -> tuple[str | None, bool]:
        """Where it works, None for a fresh directory, and whether it may write there."""
        if spec.sandbox.workspace == "fresh" or (tier == "strict" and spec.cwd is None):
            return None, False
        if spec.cwd is not None:
            writable = grants.may_write(real_path(spec.cwd, "cwd"), spec.owner)
            return self._named(spec.cwd, "cwd", grants, spec.owner, write=writable, directory=True), writable
        try:
            writable = grants.may_write(os.getcwd(), spec.owner)
            return self._named(os.getcwd(), "cwd", grants, spec.owner, write=writable), writable
        except (Forbidden, StartFailed):
            return None, False  # started from home, say: nobody asked for that directory

    def why_fresh(self) -> str | None:
        """Why sessions that name no directory cannot work in the server's own; None where they do, or never would."""
        if self.tier not in BOUNDARIES or self.tier == "strict":
            return None
        try:
            self._cwd(Spec(Ref("", 0), cwd=os.getcwd()), self.tier, self._in_force())
        except (Forbidden, StartFailed) as error:
            return error.message
        return None

    def _in_force(self) -> Grants:
        return replace(self.grants, state=(connection_file.runtime_directory(), *self.grants.state))

    def _named(
        self, path: str, what: str, grants: Grants, owner: bool, *, write: bool = False, directory: bool = False
    ) -> str:
        """The real path of what a client named. Raises `Forbidden` where it may not, `StartFailed` where nobody may."""
        # This first: whether there is something at a path is not for everybody to know.
        if not (grants.may_write if write else grants.may_read)(real_path(path, what), owner):
            raise Forbidden(
                f"clone: you may not name {path!r} as {what}; the server's owner can allow it "
                f"(--allow-{'write' if write else 'read'})"
            )
        real = grants.check(path, what, self._given(), write=write)
        if (write or directory) and not os.path.isdir(real):
            raise StartFailed(f"{what} is not a directory: {path!r}")
        return real

    def _given(self) -> list[str]:
        return [os.getcwd(), *self.given]

    def _remember(self, given: Iterable[str]) -> None:
        for path in given:
            self.given.pop(path, None)
            self.given[path] = None
        while len(self.given) > _MOST_GIVEN:
            del self.given[next(iter(self.given))]


_MOST_GIVEN: Final = 4096  # paths of some 100 bytes; four times as many as there are sessions
_THE_ROUTERS = ("eval_seconds", "output_bytes")  # bounds that it keeps itself


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _least(*bounds: int) -> int:
    """The lowest bound, where 0 is none."""
    return min((bound for bound in bounds if bound), default=0)
