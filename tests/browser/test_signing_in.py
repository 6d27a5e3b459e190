"""Signing in with more than a password: codes in a browser without scripts, and a real OpenID provider's own page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.browser.serving import PASSWORD, Opens, Site, Window, note

from tidegate.control import openid as protocol
from tidegate.control.domain.second_factor import STEP_SECONDS
from tidegate.control.services import people, second_factor, sign_on
from tidegate.control.services.people import NamedGrant
from tidegate.testing import openid
from tidegate.testing.node import admin_scope
from tidegate.testing.ports import free_ports
from tidegate.testing.serving import serving

pytestmark = pytest.mark.browser
NARROW, WIDE = {"width": 360, "height": 760}, {"width": 1440, "height": 900}


def _code(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(time.time() + steps * STEP_SECONDS)


def _person(site: Site, name: str, role: str = "viewer") -> str:
    people.create_operator(site.scope, site.node, name=name, roles=[NamedGrant(role, "*")], password=PASSWORD)
    return name


def _checked(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


# -- second factor ----------------------------------------------------------------------------------------------------


def test_a_second_factor_from_set_up_to_removal_without_scripts(site: Site, open_window: Opens) -> None:
    name = _person(site, "without-scripts")
    window = open_window(java_script_enabled=False, viewport=NARROW)
    page = window.sign_in(name)
    window.go("/account")
    section = page.locator("#second-factor")
    section.get_by_label("Password").fill(PASSWORD)
    section.get_by_role("button", name="Set up a second factor").click()
    assert section.locator("svg.qr").is_visible()
    secret = page.locator("#totp-secret").inner_text()
    section.get_by_label("Code", exact=True).fill("000000")
    section.get_by_role("button", name="Confirm second factor").click()
    expect(page.get_by_role("alert").first).to_contain_text("cannot accept this code")
    assert page.locator("#totp-secret").inner_text() == secret
    section.get_by_label("Code", exact=True).fill(_code(secret, -1))
    section.get_by_role("button", name="Confirm second factor").click()
    codes = page.locator("#recovery-codes li").all_inner_texts()
    assert len(set(codes)) == 10
    window.go("/account")
    assert page.locator("#recovery-codes").count() == 0
    assert secret not in page.content()

    window.context.clear_cookies()
    window.sign_in(name)
    assert page.url.endswith("/signin/code")
    page.get_by_label("Code", exact=True).fill("111111")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot sign in with this code")
    window.go("/devices")  # a password alone is no session
    assert "/signin" in page.url
    window.sign_in(name)
    page.get_by_label("Code", exact=True).fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    assert page.url == f"{site.url}/"

    window.go("/account")
    section.locator("summary").click()
    section.get_by_label("Password").fill(PASSWORD)
    section.get_by_label("Code, or a recovery code").fill(codes[1])
    section.get_by_role("button", name="Remove second factor").click()
    expect(page.locator(".toast")).to_contain_text("Second factor removed")
    window.context.clear_cookies()
    assert window.sign_in(name).url == f"{site.url}/"


def test_the_pages_of_the_second_factor_are_accessible_in_both_themes(site: Site, open_window: Opens) -> None:
    name = _person(site, "looks")
    for theme in ("light", "dark"):
        window = open_window(
            color_scheme=theme, viewport=NARROW if theme == "light" else {"width": 1440, "height": 900}
        )
        page = window.sign_in(name)
        window.go("/account")
        if theme == "light":
            section = page.locator("#second-factor")
            section.get_by_label("Password").fill(PASSWORD)
            section.get_by_role("button", name="Set up a second factor").press("Enter")
            expect(page.locator("#totp-secret")).to_be_visible()
        _checked(page)
    secret = page.locator("#totp-secret").inner_text()
    page.get_by_label("Code", exact=True).fill(_code(secret, -1))
    page.get_by_role("button", name="Confirm second factor").click()
    expect(page.locator("#recovery-codes")).to_be_visible()
    _checked(page)
    window.context.clear_cookies()
    window.sign_in(name)
    expect(page.get_by_label("Code", exact=True)).to_be_visible()
    _checked(page)
    admin = open_window()
    admin.enter()
    admin.go(f"/users/{name}")
    _checked(admin.page)
    admin.page.get_by_text("Authenticator lost").click()
    admin.page.get_by_role("button", name="Remove second factor").click()
    expect(admin.page.locator(".toast")).to_contain_text("Second factor removed")
    assert second_factor.standing_of(site.scope, site.node, name).since is None


# -- sign-on ----------------------------------------------------------------------------------------------------------


@dataclass
class Company:
    """A node whose people sign on through a real provider that runs beside it; each may be exchanged."""

    site: Site
    folder: Path
    port: int
    keys: list[openid.Key]

    @property
    def redirect_uri(self) -> str:
        return self.site.url + sign_on.CALLBACK


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder, port = tmp_path_factory.mktemp("company"), free_ports(1)[0]

    oidc = openid.settings(f"http://127.0.0.1:{port}", folder)
    with serving(folder / "node", PASSWORD, totp_required=("*",), oidc=oidc) as service:
        node = service.node
        site = Site(node, node.settings.effective_console_url, admin_scope(node))
        yield Company(site, folder, port, [openid.new_key("first")])


@pytest.fixture
def visit(company: Company, chromium: Browser) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_(**options: object) -> Window:
        context = chromium.new_context(ignore_https_errors=True, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        window = Window(context, context.new_page(), company.site.url)
        window.page.on("console", lambda message: note(window, message.type, message.text))
        opened.append(window)
        return window

    yield open_
    for window in opened:
        window.context.close()
    assert [one for window in opened for one in window.complaints if company.site.url in one] == []


def _through(window: Window, person: str, path: str = "/devices") -> Page:
    """From a page of ours through the provider's own login and consent pages."""
    page = window.go(path)
    page.get_by_role("link", name="Sign in with the company").click()
    page.get_by_placeholder("Enter any login").fill(person)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    return page


@pytest.mark.timeout(300)  # the first run installs the provider
def test_people_sign_on_through_a_real_provider(
    company: Company, visit: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "KEYS_SECONDS", 0)
    site = company.site
    with openid.real_provider(company.folder, company.port, company.redirect_uri, company.keys):
        window = visit(java_script_enabled=False)
        page = _through(window, "olga")
        assert page.url == f"{site.url}/devices"  # where they wanted to go, and without a code of ours
        assert page.locator(".menu").inner_text().startswith("olga")
        window.go("/settings")
        expect(page.locator("main")).to_contain_text("settings.manage")
        admin = _through(visit(), "anna", "/account")  # the provider calls her "admin": not ours
        expect(admin.locator("#second-factor")).to_contain_text("You sign on through")
        names = {one.operator.name for one in people.list_operators(site.scope, site.node).items}
        assert "olga" in names
        assert [one for one in names if one.startswith("admin-")]
        refused = _through(visit(), "nils")
        expect(refused.get_by_role("alert")).to_contain_text("cannot sign on: nothing in your groups gives a role")
        _checked(refused)

    monkeypatch.setattr(protocol, "METADATA_SECONDS", 0)
    window = visit()  # down
    page = window.go("/signin")
    page.get_by_role("link", name="Sign in with the company").click()
    expect(page.get_by_role("alert")).to_contain_text("the provider does not answer")

    company.keys.insert(0, openid.new_key("second"))  # back, with another key
    with openid.real_provider(
        company.folder, company.port, company.redirect_uri, company.keys[:1], groups_in_token=True
    ):
        page = _through(visit(), "olga")
        assert page.url == f"{site.url}/devices"


def test_a_password_still_opens_the_node_with_its_own_second_factor(
    company: Company, visit: Callable[..., Window]
) -> None:
    window = visit(color_scheme="dark", viewport=NARROW)
    page = window.sign_in()
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    _checked(page)
    secret = page.locator("#totp-secret").inner_text()
    page.get_by_label("Code", exact=True).fill(_code(secret, -1))
    page.get_by_role("button", name="Confirm and sign in").click()
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    _checked(page)
    page.get_by_role("link", name="Go on to the console").click()
    assert page.url == f"{company.site.url}/"
