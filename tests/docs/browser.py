"""The words of a Console sentence, done in a real Chromium as a person does them: by names that are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, expect, sync_playwright

from tidegate.testing.runbook import Action
from tidegate.testing.screenshots import CHROMIUM, FLAGS, PRESSABLE

SECONDS = 45


class Console:
    def __init__(self, page: Page, folder: Path) -> None:
        self.page, self.folder = page, folder
        page.set_default_timeout(SECONDS * 1000)

    def text(self) -> str:
        return self.page.locator("body").inner_text()

    def do(self, action: Action) -> None:
        """Raises AssertionError with the step and what the page shows when the step is not possible."""
        try:
            getattr(self, f"_{action.word}")(*action.arguments)
        except (AssertionError, Error) as error:
            why = str(error).splitlines()[0]
            raise AssertionError(
                f"in the console: {action}: {why}\nThe page {self.page.url} says:\n{self.text()}"
            ) from error

    def _open(self, name: str) -> None:
        """A link; the number behind an entry of the navigation is no part of its name."""
        named = re.compile(rf"^\s*{re.escape(name)}(\s*[\d,]+)?\s*$")
        self._visible(self.page.get_by_role("link", name=named)).click()
        self.page.wait_for_load_state()

    def _press(self, name: str) -> None:
        """A button; inside the sheet that is open, if one is."""
        exact = re.compile(rf"^\s*{re.escape(name)}\s*$")
        sheet = self.page.locator("details.act[open]")
        everywhere = (
            self.page.locator("summary")
            .filter(has_text=exact)
            .or_(self.page.get_by_role("button", name=name, exact=True, disabled=False))
        )
        inside = sheet.get_by_role("button", name=name, exact=True)
        found = inside if inside.count() else everywhere
        self._visible(found.and_(self.page.locator(PRESSABLE))).click()
        self.page.wait_for_load_state()

    def _fill(self, label: str, value: str) -> None:
        self._field(label).fill(value)

    def _fill_from(self, label: str, file: str) -> None:
        self._field(label).fill((self.folder / file).read_text().strip())

    def _choose(self, value: str, label: str) -> None:
        self._field(label).select_option(label=value)

    def _tick(self, label: str) -> None:
        self._visible(self.page.get_by_label(label)).check()

    def _see(self, text: str) -> None:
        expect(self.page.locator("main")).to_contain_text(text, use_inner_text=True, timeout=SECONDS * 1000)

    def _see_no(self, text: str) -> None:
        expect(self.page.locator("main")).not_to_contain_text(text, use_inner_text=True, timeout=SECONDS * 1000)

    def _field(self, label: str) -> Locator:
        return self._visible(self.page.get_by_label(label, exact=True))

    def _visible(self, found: Locator) -> Locator:
        """The first that can be seen; waits until one can."""
        first = found.locator("visible=true").first
        first.wait_for(state="visible")
        return first


@contextmanager
def console(url: str, folder: Path) -> Iterator[Console]:
    """A browser at the console's door, which stops with it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            page = chromium.new_context(ignore_https_errors=True).new_page()
            page.goto(url)
            yield Console(page, folder)
        finally:
            chromium.close()
