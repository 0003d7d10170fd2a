"""`python -m nrepl_py` is `nrepl-py`."""

from __future__ import annotations

import sys

from nrepl_py.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
