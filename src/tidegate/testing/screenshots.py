"""Pictures of the console for the documentation, taken from a running node in a real Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tidegate.testing.live import LiveNode

#: As Debian, Ubuntu and its makers call it; deploy/test-system.sh looks for the same names.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name)) is not None), "/usr/bin/chromium")
#: What Chromium needs to run headless, as root too, and without asking anybody anything.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip
#: A button that takes a press: neither refused with its reason, nor changed so lately that nobody can have read it.
PRESSABLE = ":not([aria-disabled=true], [data-settling])"
WIDE: ViewportSize = {"width": 1440, "height": 900}


def sign_in(page: Page, node: LiveNode) -> None:
    page.goto(f"{node.console_url}/signin")
    page.get_by_label("User name").fill(node.admin)
    page.get_by_label("Password", exact=True).fill(node.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/signin" not in url)


def take(node: LiveNode, pages: dict[str, str], folder: Path, *, both_themes: bool = False) -> list[Path]:
    """Write `<name>.png` (and `<name>-dark.png`) for each path of `pages`; the first screen at 1440 x 900."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for scheme in ("light", "dark") if both_themes else ("light",):
            context = browser.new_context(ignore_https_errors=True, viewport=WIDE, color_scheme=scheme)
            page = context.new_page()
            sign_in(page, node)
            for name, path in pages.items():
                page.goto(f"{node.console_url}{path}")
                page.evaluate("document.fonts.ready")
                file = folder / (f"{name}.png" if scheme == "light" else f"{name}-{scheme}.png")
                page.screenshot(path=file)
                written.append(file)
            context.close()
        browser.close()
    return written
