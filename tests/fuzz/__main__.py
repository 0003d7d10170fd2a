"""Search for bytes that break a promise: `python -m tests.fuzz [--seconds N] [TARGET ...]`.

Each target gets its share of the seconds (60 in all unless told otherwise), starting from its corpus in
`tests/fuzz/corpus`. It needs atheris (`pip install -e '.[fuzz]'`), which watches what the bytes reach.

Bytes that break a promise are written to a file, and the command that plays them again is printed:
`python -m tests.fuzz --replay FILE TARGET`. Once the bug is fixed, the file belongs in the corpus, where
the ordinary tests play it for ever. `--keep DIRECTORY` keeps what reached something new, to choose from.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
CRASHES = Path("fuzz-crashes")
SECONDS = 60
START_SECONDS = 60  # beside its share, for an interpreter to import everything, watched


def main() -> int:
    """The exit code: 1 where a promise was broken."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all without one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in all")
    parser.add_argument("--replay", metavar="FILE", help="play this file instead of searching")
    parser.add_argument("--keep", metavar="DIRECTORY", help="keep inputs that reached something new")
    args = parser.parse_args()
    names = args.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if args.replay:
        for name in names:
            TARGETS[name](Path(args.replay).read_bytes())
        return 0
    return max(_search(name, max(1, round(args.seconds / len(names))), args.keep) for name in names)


def _search(name: str, seconds: int, keep: str | None) -> int:
    """A process for each target: atheris never gives one back."""
    CRASHES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(keep or scratch) / name
        found.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds), scratch, str(CRASHES), str(found)]
        command.append(str(CORPUS / name))
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds + START_SECONDS,
        )
    crashes = sorted(CRASHES.glob(f"{name}-*"))
    if done.returncode or crashes:
        print(done.stdout, file=sys.stderr)
        for crash in crashes:
            print(f"{name}: replay with: python -m tests.fuzz --replay {crash} {name}", file=sys.stderr)
        return 1
    played = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    print(f"{name}: {played[1] if played else 'no'} inputs in {seconds} s, nothing found", flush=True)
    return 0 if played else 1


if __name__ == "__main__":
    code = main()
    if CRASHES.is_dir() and not any(CRASHES.iterdir()):
        CRASHES.rmdir()
    sys.exit(code)
