"""`python -m tests.bench.vscode [NAME …]`: from a key pressed in VS Code until the value is seen behind its line.

The first value is another matter: from the opening of the window, with a clean profile; a server is started for it. In
the `oldest` and the `current` VS Code that tests drive (by default in both), with Chromium: times are of the page's own
clock, from the key's event to the frame that has the value. Beside it stands the eval's own round trip, without an editor.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from nrepl_py.client import connect
from tests.editors.page import chromium
from tests.editors.vs_code import INLINE, VSCode, Window, installed, make_project, packaged, serving

PRESSES = 60
WARM = 10  # that are not counted

TAKE = f"""(words) => {{
    const inline = {INLINE};
    window.taken = new Promise((resolve) => {{
        const pressed = (event) => {{
            if (event.key !== "Enter") return;
            removeEventListener("keydown", pressed, true);
            const look = (now) => (inline().includes(words) ? resolve(now - event.timeStamp) : requestAnimationFrame(look));
            requestAnimationFrame(look);
        }};
        addEventListener("keydown", pressed, true);
    }});
}}"""


def main() -> None:
    """Measure, and print a line for each VS Code."""
    with tempfile.TemporaryDirectory(prefix="nrepl-") as directory, chromium() as browser:
        os.environ["XDG_RUNTIME_DIR"] = directory
        vsix = packaged(Path(directory))
        for version in sys.argv[1:] or ["oldest", "current"]:
            home = Path(directory) / version
            code = VSCode(installed(version), home, {})
            code.add(vsix)
            text = "".join(f"{number}\n" for number in range(PRESSES))
            folder = make_project(home / "project", numbers__py=text)
            begun = perf_counter()
            with code.started() as running, Window(running, browser, folder) as user:
                user.open("numbers.py")
                first = press(user, 0) and perf_counter() - begun
                seen = [press(user, number) for number in range(1, PRESSES)][WARM:]
            server = serving(Path(directory), folder)
            with connect(server.url, token=server.token) as client:
                alone = [timed(lambda: client.eval("1")) for _ in range(PRESSES)]
            os.kill(server.pid, signal.SIGTERM)
            print(
                f"{version}: the first after {first:.1f} s, others {told(seen)}; the eval's round trip alone {told(alone)}",
                flush=True,
            )


def press(user: Window, number: int) -> float:
    """Run the line of that number: milliseconds until its value is seen."""
    user.page.evaluate(TAKE, f"=> {number}")
    user.press("Shift+Enter")
    return float(user.page.evaluate("window.taken"))


def timed(run: object) -> float:
    """Milliseconds that it takes."""
    assert callable(run)
    begun = perf_counter()
    run()
    return (perf_counter() - begun) * 1000


def told(times: list[float]) -> str:
    """Their median and 95th percentile."""
    return f"{statistics.median(times):.1f} ms (95 %: {statistics.quantiles(times, n=20)[-1]:.1f} ms)"


if __name__ == "__main__":
    main()
