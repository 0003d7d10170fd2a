"""Who looks at the page for browsers, and the browser that it is looked at with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, expect, sync_playwright

from tests.conftest import need

PATIENCE = 60  # seconds for what takes one where nothing else runs

expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def chromium(**environment: str) -> Iterator[Browser]:
    """A browser, headless."""
    own: dict[str, str | float | bool] = {**os.environ, **environment}
    with sync_playwright() as playwright:
        # An ordinary user's browser has a sandbox; root's must do without. Nor is there a GPU, and to play one takes long.
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=arguments, env=own)
        yield browser
        browser.close()


class User:
    """Who looks at a page."""

    def __init__(self, browser: Browser, url: str, fragment: str) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 800})
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("dialog", lambda dialog: dialog.accept())
        self._where = url.replace("ws://", "http://") + "/" + fragment

    def go(self) -> User:
        self.page.goto(self._where)
        return self

    @property
    def pane(self) -> Locator:
        return self.page.locator(".pane").first

    @property
    def line(self) -> Locator:
        return self.pane.get_by_role("textbox", name="Code for")

    @property
    def cell(self) -> Locator:
        return self.pane.locator(".cell").last

    def press(self, name: str) -> None:
        self.pane.get_by_role("button", name=name, exact=True).click()

    def write(self, code: str) -> None:
        self.line.click()
        self.page.keyboard.insert_text(code)

    def run(self, code: str) -> Locator:
        """Run it; its cell."""
        before = self.pane.locator(".cell").count()
        self.write(code)
        self.page.keyboard.press("Control+Enter")
        return self.pane.locator(".cell").nth(before)

    def done(self, code: str) -> Locator:
        cell = self.run(code)
        expect(cell).to_have_attribute("data-state", re.compile("done|failed"))
        return cell

    def state(self, state: str) -> None:
        expect(self.pane.locator(".state")).to_have_text(state)
