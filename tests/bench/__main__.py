"""`python -m tests.bench [--json FILE] [--quick] [NAME …]`: measure, compare, print the table.

Peers: ipykernel through jupyter_client, and a bare websockets echo. Each pair is measured in turn,
in the same run, and the ratio is of medians: on a shared machine ratios mean something, absolute
times little. Needs `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from tests.bench import measures
from tests.bench.report import Row, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(measures.ALL)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE as well")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    options = parser.parse_args()
    if unknown := set(options.names) - set(measures.ALL):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    with measures.Peers() as peers:
        for name in options.names or measures.ALL:
            print(f"measuring {name} …", file=sys.stderr)
            rows += measures.ALL[name](peers, 0.1 if options.quick else 1.0)
    print(table(rows))
    if options.json:
        about = {"python": platform.python_version(), "machine": platform.platform()}
        options.json.write_text(json.dumps({"about": about, "rows": [row.as_dict() for row in rows]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
