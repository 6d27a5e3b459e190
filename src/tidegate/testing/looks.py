"""Every page of the console as a picture: each situation, both themes, wide and narrow; and what each page costs.

`python -m tidegate.testing.looks FOLDER [SITUATION …]` fills a node for each situation, walks every page in a real
Chromium and prints how long the server took for it. The pictures are for looking at; they are not kept.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tidegate.control.console import cookies
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.testing import fleets
from tidegate.testing.addresses import addresses
from tidegate.testing.node import admin_scope
from tidegate.testing.screenshots import CHROMIUM, FLAGS
from tidegate.testing.serving import serving

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a node that lives as long as the walk
WIDTHS = {"wide": 1600, "narrow": 360}
ROUNDS = 3


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    for name in arguments[1:] or list(fleets.SITUATIONS):
        with tempfile.TemporaryDirectory() as place, serving(Path(place) / "node", PASSWORD) as service:
            _walk(service.node, name, folder / name)
    return 0


def _walk(node: Node, name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scope = admin_scope(node)
    wanted = fleets.SITUATIONS[name]
    rollouts = fleets.fill(node, scope, wanted) if wanted is not None else {}
    pages = addresses(node, scope)
    pages |= {f"rollout {shown}": f"/rollouts/{number}" for shown, number in rollouts.items()}
    pages["sign in"] = "/signin"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for theme in ("light", "dark"):
            for width, pixels in WIDTHS.items():
                _take(browser, node, pages, folder, theme, width, pixels)
        _cost(_open(browser, node, "light", 1600), node, pages, name)
        browser.close()


def _open(browser: Browser, node: Node, theme: str, pixels: int) -> Page:
    context = browser.new_context(
        ignore_https_errors=True,
        viewport={"width": pixels, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    begun = sessions.sign_in(node, "admin", PASSWORD, user_agent="looks", address="127.0.0.1")
    url = node.settings.effective_console_url
    context.add_cookies(
        [
            {"name": name, "value": value, "url": url, "secure": True, "httpOnly": True, "sameSite": "Lax"}
            for name, value in (
                (cookies.SESSION_COOKIE, begun.session_secret),
                (cookies.CSRF_COOKIE, begun.csrf_secret),
            )
        ]
    )
    return context.new_page()


def _take(
    browser: Browser, node: Node, pages: dict[str, str], folder: Path, theme: str, width: str, pixels: int
) -> None:
    page = _open(browser, node, theme, pixels)
    for name, path in pages.items():
        url = node.settings.effective_console_url + path
        if name == "sign in":
            page.context.clear_cookies()
        elif "text/html" not in page.request.get(url).headers["content-type"]:
            continue
        page.goto(url)
        page.evaluate("document.fonts.ready")
        file = name.strip("/").replace("/", "_").replace("{", "").replace("}", "").replace(" ", "-") or "overview"
        page.screenshot(path=folder / f"{file}.{width}.{theme}.png", full_page=True)
    page.context.close()


def _cost(page: Page, node: Node, pages: dict[str, str], name: str) -> None:
    """The median of a few looks at each page, over HTTPS from beside the node."""
    sys.stdout.write(f"\n{name}\n")
    for known, path in pages.items():
        spent, size = [], 0
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = page.request.get(node.settings.effective_console_url + path)
            spent.append(time.perf_counter() - began)
            size = len(answer.body())
        sys.stdout.write(f"{1000 * statistics.median(spent):7.0f} ms {size:9,} B  {answer.status}  {known}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
