"""Takes the picture in the README: `python editors/browser/screenshot.py [FILE [dark]]`, from a checkout with the
tests' requirements and Chromium. What is on it is what a real server and a real page say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from nrepl_py.embed import serve_in_thread

TABLE = """class Table(list):
    def _repr_html_(self):
        rows = "".join(f"<tr><td>{n}<td>{n ** 2}<td>{n ** 3}" for n in self)
        return f"<table><tr><th>n<th>n²<th>n³{rows}</table>"

Table([1, 2, 3])"""
CURVE = """import math
points = " ".join(f"{x * 4},{60 - 50 * math.sin(x / 8) * math.exp(-x / 60)}" for x in range(150))
display({"image/svg+xml": f'''<svg viewBox="0 0 600 120" height="110" xmlns="http://www.w3.org/2000/svg">
<polyline points="{points}" fill="none" stroke="#1667be" stroke-width="3"/></svg>'''}, raw=True)"""
ERROR = "print('\\x1b[1;32m✓\\x1b[0m three passed, \\x1b[1;31m✗\\x1b[0m one failed')\n1 / 0"


def main(path: str = str(Path(__file__).parent / "screenshot.png"), scheme: str = "light") -> None:
    with serve_in_thread(kind="local") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1200, "height": 780}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.goto(f"{server.url.replace('ws', 'http')}/#token={server.token}&session=work")
        pane = page.locator(".pane")
        for number, code in enumerate((TABLE, CURVE, ERROR)):
            pane.first.get_by_role("textbox", name="Code for").click()
            page.keyboard.insert_text(code)
            page.keyboard.press("Control+Enter")
            expect(pane.first.locator(".cell").nth(number)).to_have_attribute(
                "data-state", "failed" if code == ERROR else "done"
            )
            if code == CURVE:
                pane.first.get_by_role("button", name="Branch").click()
                expect(pane).to_have_count(2)
        pane.last.get_by_role("textbox", name="Code for").click()
        page.keyboard.insert_text("who = input('Who are you? ')")
        page.keyboard.press("Control+Enter")
        expect(pane.last.locator("form")).to_be_visible()
        pane.first.get_by_role("textbox", name="Code for").click()
        page.keyboard.type("Tab")
        expect(page.get_by_role("listbox")).to_be_visible()
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
