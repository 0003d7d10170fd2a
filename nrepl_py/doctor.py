"""What this machine can do to confine sessions, for a person: each probe, each tier, and what to change."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys

from nrepl_py.evaluators import bundle, cgroups, machine, policy
from nrepl_py.ops import TIERS
from nrepl_py.version import __version__


def main(as_json: bool = False) -> int:
    """Print it. 0 where the default tier can be had, else 1."""
    source = bundle.open_bundle()
    try:
        probes = asyncio.run(machine.probe(source))
    finally:
        os.close(source)
    missing = {tier: machine.missing(tier, probes) for tier in TIERS}
    if as_json:
        tiers = {tier: [one.what for one in lacking] for tier, lacking in missing.items()}
        print(json.dumps({"probes": probes, "missing": tiers, "default": policy.DEFAULT_TIER}, indent=2))
    else:
        print("\n".join(_report(probes, missing)))
    return 1 if missing[policy.DEFAULT_TIER] else 0


def _report(probes: dict[str, str | None], missing: dict[str, list[machine.Missing]]) -> list[str]:
    who = "root" if hasattr(os, "geteuid") and os.geteuid() == 0 else "an ordinary user"
    lines = [
        f"nrepl-py {__version__}, Python {platform.python_version()} ({sys.executable})",
        f"{platform.system()} {platform.release()} on {platform.machine()}, as {who}",
        "",
    ]
    for name, why in probes.items():
        works = f"works: {cgroups.find().described}" if name == "cgroups" and why is None else "works"
        lines.append(f"{name:<11} {works if why is None else f'fails: {why}'}")
        if why is not None:
            lines += [f"{'':<11} effect: {machine.EFFECTS[name]}", f"{'':<11} to change it: {machine.ADVICE[name]}"]
    lines.append("")
    for tier, lacking in missing.items():
        default = " (the default)" if tier == policy.DEFAULT_TIER else ""
        lacks = f"needs {', '.join(one.what for one in lacking)}" if lacking else policy.EFFECTS[tier]
        lines.append(f"{tier:<11} {'no: ' if lacking else 'yes: '}{lacks}{default}")
    return lines
