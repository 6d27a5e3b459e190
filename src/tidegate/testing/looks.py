"""Every page of the console as a picture: each situation, both themes, wide and narrow; and what each page costs.

`python -m tidegate.testing.looks FOLDER [SITUATION …] [only=WORD,WORD]` fills a node for each situation, walks every
page (or those with one of the words in their names) in a real Chromium and prints how long the server took for it. The
pictures are for looking at; they are not kept.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, sync_playwright

from tidegate.control.console import cookies
from tidegate.control.services import sessions
from tidegate.control.services.node import Node
from tidegate.testing import fleets
from tidegate.testing.addresses import addresses
from tidegate.testing.furnished import PASSWORD
from tidegate.testing.node import admin_scope
from tidegate.testing.scenes import NOBODY, Scene, scenes
from tidegate.testing.screenshots import CHROMIUM, FLAGS
from tidegate.testing.serving import serving

WIDTHS = {"wide": 1440, "narrow": 360}
ROUNDS = 3


def main(arguments: list[str]) -> int:
    folder, names, parts = _asked(arguments)
    for name in names:
        with tempfile.TemporaryDirectory() as place, serving(Path(place) / "node", PASSWORD) as service:
            _walk(service.node, name, folder / name, parts)
    return 0


def _asked(arguments: list[str]) -> tuple[Path, list[str], tuple[str, ...]]:
    """The folder, the situations (none named: all), and with `only=WORD,WORD` the parts of names that are wanted."""
    only = next((one.removeprefix("only=") for one in arguments if one.startswith("only=")), "")
    names = [one for one in arguments[1:] if not one.startswith("only=")]
    return Path(arguments[0]), names or list(fleets.SITUATIONS), tuple(only.split(",")) if only else ("",)


def _walk(node: Node, name: str, folder: Path, parts: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scope = admin_scope(node)
    wanted = fleets.SITUATIONS[name]
    rollouts = fleets.fill(node, scope, wanted) if wanted is not None else {}
    known = {path: Scene(address) for path, address in addresses(node, scope).items()} | scenes(node, scope, rollouts)
    shown = {one: scene for one, scene in known.items() if any(part in one for part in parts)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for theme in ("light", "dark"):
            for width, pixels in WIDTHS.items():
                visitors = {
                    who: _open(browser, node, who, theme, pixels) for who in {one.who for one in shown.values()}
                }
                for one, scene in shown.items():
                    _take(visitors[scene.who], node, scene, folder / f"{_file(one)}.{width}.{theme}.png")
                for page in visitors.values():
                    page.context.close()
        _cost(_open(browser, node, "admin", "light", 1440), node, shown, name)
        browser.close()


def _file(name: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "_", name.lower()).strip("_") or "overview"


def _open(browser: Browser, node: Node, who: str, theme: str, pixels: int) -> Page:
    context = browser.new_context(
        ignore_https_errors=True,
        viewport={"width": pixels, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    if who == NOBODY:
        return context.new_page()
    begun = sessions.sign_in(node, who, PASSWORD, user_agent="looks", address="127.0.0.1")
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


def _take(page: Page, node: Node, scene: Scene, file: Path) -> None:
    """One picture; what is a file to save has none."""
    try:
        page.goto(node.settings.effective_console_url + scene.path)
    except Error as error:
        if "Download is starting" in str(error):
            return
        raise
    if scene.act is not None:
        scene.act(page)
    page.evaluate("document.fonts.ready")
    page.screenshot(path=file, full_page=True)


def _cost(page: Page, node: Node, shown: dict[str, Scene], name: str) -> None:
    """The median of a few looks at each page, over HTTPS from beside the node."""
    sys.stdout.write(f"\n{name}\n")
    for known, scene in shown.items():
        spent, size = [], 0
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = page.request.get(node.settings.effective_console_url + scene.path)
            spent.append(time.perf_counter() - began)
            size = len(answer.body())
        sys.stdout.write(f"{1000 * statistics.median(spent):7.0f} ms {size:9,} B  {answer.status}  {known}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
