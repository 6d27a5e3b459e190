"""One serving node and one browser for all tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.serving import PASSWORD, Cookies, Opens, Site, Window, note

from tidegate.control.console import cookies as cookie_names
from tidegate.control.services import sessions
from tidegate.testing.node import admin_scope
from tidegate.testing.screenshots import CHROMIUM, FLAGS
from tidegate.testing.serving import serving

#: As long as a page may take where the machine is shared.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("site") / "node", PASSWORD) as service:
        node = service.node
        yield Site(node, node.settings.effective_console_url, admin_scope(node))


@pytest.fixture(scope="session")
def cookies(site: Site) -> Cookies:
    """One administrator's session for every test that is not about signing in."""
    begun = sessions.sign_in(site.node, "admin", PASSWORD, user_agent="tests", address="127.0.0.1")
    secrets = {cookie_names.SESSION_COOKIE: begun.session_secret, cookie_names.CSRF_COOKIE: begun.csrf_secret}
    return [
        {"name": name, "value": value, "url": site.url, "secure": True, "httpOnly": True, "sameSite": "Lax"}
        for name, value in secrets.items()
    ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Closed with the module: while it is open an event loop runs in this thread, which other tests must not meet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_window(site: Site, chromium: Browser, cookies: Cookies) -> Iterator[Opens]:
    """Opens windows; options are those of a browser context."""
    opened: list[Window] = []

    def open_(**options: object) -> Window:
        context = chromium.new_context(ignore_https_errors=True, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        window = Window(context, context.new_page(), site.url, cookies=cookies)
        window.page.on("console", lambda message: note(window, message.type, message.text))
        window.page.on("pageerror", lambda error: window.complaints.append(f"script: {error}"))
        window.page.on("dialog", lambda dialog: window.complaints.append(f"dialog: {dialog.message}"))
        opened.append(window)
        return window

    yield open_
    complaints = [complaint for window in opened for complaint in window.complaints]
    for window in opened:
        window.context.close()
    assert complaints == []
