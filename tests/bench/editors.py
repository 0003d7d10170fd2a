"""`python -m tests.bench.editors [page] [lsp]`: what who types waits for, in the page for browsers and over LSP.

Beside each stands the same eval or question in a client without an editor, in the same run. The page's times are by its
own clock, from the key's event to the frame that shows the value. Reports, not tests. Chromium must be there.
"""

from __future__ import annotations

import asyncio
import gzip
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from lsprotocol import types
from playwright.sync_api import sync_playwright

from nrepl_py.client import connect
from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.server.assets import DIRECTORY
from tests.conftest import need
from tests.editors.test_browser import User
from tests.lsp.conftest import Editor, editing

PRESSES = 60
WARM = 10  # that are not counted
STARTS = 5

TAKE = """(words) => {
    window.taken = new Promise((resolve) => {
        const pressed = (event) => {
            if (event.key !== "Enter") return;
            removeEventListener("keydown", pressed, true);
            const shown = () => document.querySelector(".pane")?.innerText.includes(words);
            const look = (now) => (shown() ? resolve(now - event.timeStamp) : requestAnimationFrame(look));
            requestAnimationFrame(look);
        };
        addEventListener("keydown", pressed, true);
    });
}"""


def page() -> None:
    """Its weight, how soon somebody who opens it has a first value, and from a key to its value."""
    sent = [len(gzip.compress(path.read_bytes())) for path in DIRECTORY.iterdir() if path.suffix != ".txt"]
    print(f"page: {sum(sent) / 1000:.0f} kB compressed, in {len(sent)} files", flush=True)
    with serve_in_thread(kind="local") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=["--no-sandbox"])
        firsts = []
        for number in range(STARTS):
            user = User(browser, server.url, f"#token={server.token}&session=first{number}")
            begun = perf_counter()
            user.go().done("6 * 7")
            firsts.append((perf_counter() - begun) * 1000)
            if number < STARTS - 1:
                user.context.close()
        print(f"page: opened, loaded, a session made and its first value shown after {told(firsts)}", flush=True)
        seen = []
        for number in range(PRESSES):
            user.page.evaluate(TAKE, f"{number + 1000000}")
            user.write(f"{number} + 1000000")
            user.page.keyboard.press("Control+Enter")
            seen.append(float(user.page.evaluate("window.taken")))
        user.context.close()
        print(f"page: from the key to the value {told(seen[WARM:])}; {_alone(server)}", flush=True)
        browser.close()


def _alone(server: Embedded) -> str:
    with connect(server.url, token=server.token) as client:
        session = client.clone()
        return f"the eval's round trip alone {told([timed(lambda: session.eval('1')) for _ in range(PRESSES)])}"


def lsp() -> None:
    """How soon the language server is there, and answers while a session is live."""
    asyncio.run(_lsp())


async def _lsp() -> None:
    starts = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as directory:
            begun = perf_counter()
            async with editing(Path(directory), profile="neovim@v0.11.0"):
                starts.append((perf_counter() - begun) * 1000)
    print(f"lsp: started and initialized after {told(starts)}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        async with editing(Path(directory), profile="neovim@v0.11.0") as editor:
            await _questions(editor)


async def _questions(editor: Editor) -> None:
    uri = editor.open("import os\nos.pa\n")
    await editor.run("evalLine", uri, 0)
    position = types.Position(1, 5)
    document = types.TextDocumentIdentifier(uri)
    taken = []
    for _ in range(PRESSES):
        begun = perf_counter()
        found = await editor.client.text_document_completion_async(types.CompletionParams(document, position))
        taken.append((perf_counter() - begun) * 1000)
        assert isinstance(found, types.CompletionList)
        assert found.items
    print(f"lsp: warm completion of os.pa {told(taken[WARM:])}", flush=True)
    taken = []
    for _ in range(PRESSES):
        begun = perf_counter()
        await editor.run("evalLine", uri, 0)
        taken.append((perf_counter() - begun) * 1000)
    print(f"lsp: a line run, and its outcome {told(taken[WARM:])}", flush=True)


def timed(run: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    begun = perf_counter()
    run()
    return (perf_counter() - begun) * 1000


def told(times: list[float]) -> str:
    """Their median and largest."""
    return f"{statistics.median(times):.1f} ms (at most {max(times):.1f} ms)"


REPORTS = {"page": page, "lsp": lsp}


if __name__ == "__main__":
    for name in sys.argv[1:] or REPORTS:
        REPORTS[name]()
