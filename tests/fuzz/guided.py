"""One target searched by atheris, in a process of its own: `python -m tests.fuzz.guided TARGET SECONDS SCRATCH CRASHES FOUND CORPUS`.

For `__main__.py`. The words of the protocol are its dictionary: guided bytes would never guess them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nrepl_py"]):
    from nrepl_py import ops
    from nrepl_py.evaluators import frames
    from tests.fuzz.targets import TARGETS

import msgspec

MAX_BYTES = 4096  # of one input: enough for any shape, and quick


def words() -> set[str]:
    """Every op, field, status and kind of report there is."""
    records = [*ops.OPS.values(), *frames.Report.__args__]  # type: ignore[attr-defined]
    found = {
        *ops.OPS,
        "say",
        "op",
        "status",
        "eval-error",
        "interrupted",
        "exit",
        "exit-code",
        "children",
        "type",
        "message",
    }
    for record in records:
        found.add(str(record.__struct_config__.tag))
        found.update(field.encode_name for field in msgspec.structs.fields(record))
    return found


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    name, seconds, scratch, crashes, found, corpus = sys.argv[1:]
    dictionary = Path(scratch) / "words"
    dictionary.write_text("".join(f'"\\"{word}\\":"\n"{word}"\n' for word in sorted(words())))
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES}",
            f"-dict={dictionary}",
            f"-artifact_prefix={crashes}/{name}-",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-verbosity=0",
            found,
            corpus,
        ],
        TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
