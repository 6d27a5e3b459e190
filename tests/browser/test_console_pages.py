"""Every page, in both themes, wide and narrow: accessible, within its width, light, and by its own strict policy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, Page, Response
from tests.browser.serving import HOSTILE, Opens, Site, Window

from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import devices, holds, rollouts
from tidegate.control.services.holds import HeldDevice
from tidegate.control.services.rollouts import Target
from tidegate.testing.addresses import addresses

pytestmark = pytest.mark.browser

WIDE = {"width": 1600, "height": 900}
NARROW = {"width": 360, "height": 800}
MOST_BYTES = 100_000
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
#: What the page's policy refused, noted from its first moment.
VIOLATED = """globalThis.violated = [];
document.addEventListener("securitypolicyviolation", (event) => {
  globalThis.violated.push(event.violatedDirective + " " + event.blockedURI + " " + event.sourceFile);
});"""
#: One word says what is done, and not to what; a search says it in its field.
BARE = "all => all.map((one) => one.textContent.trim()).filter((words) => !/\\s/.test(words) && words !== 'Search')"
ALL: dict[str, object] = {}
COLOURS: dict[str, object] = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
#: Colours on their way to another theme have arrived.
SETTLED = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  const moving = document.getAnimations().filter((one) => one instanceof CSSTransition);
  await Promise.allSettled(moving.map((one) => one.finished));
  await frame();
}"""


@pytest.fixture(scope="module")
def paths(site: Site) -> dict[str, str]:
    """A fleet in which every page has something to show, and an address for every page of the table."""
    for version in ("1.0", "2.0"):
        site.publish("pages-model", version)
    site.publish("pages-gate", "1")
    fleet = site.devices("page", 10, "pages")
    first = site.roll_out("pages-model", "1.0", Target(group="pages"), [{"percent": 100}])
    site.run(fleet, 2)
    waves = [{"percent": 10}, {"percent": 50, "approval": "manual", "soak_seconds": 60}, {"percent": 100}]
    waiting = site.roll_out("pages-model", "2.0", Target(group="pages"), waves)
    site.run(fleet, 2)
    halted = site.roll_out("pages-gate", "1", Target(group="pages"), [{"percent": 50}, {"percent": 100}])
    rollouts.command_rollout(site.scope, site.node, halted.id, Verb.HALT, reason=HOSTILE)
    holds.hold(site.scope, site.node, HeldDevice("page-01"), HOSTILE)
    devices.decommission(site.scope, site.node, "page-09")
    return addresses(site.node, site.scope) | {
        "sign in": "/signin",
        "waiting": f"/rollouts/{waiting.id}",
        "completed": f"/rollouts/{first.id}",
        "halted": f"/rollouts/{halted.id}",
        "abort": f"/rollouts/{waiting.id}/abort",
        "all devices of a rollout": f"/rollouts/{halted.id}?show=all",
        "held": "/devices/page-01",
        "decommissioned": "/devices/page-09",
        "published": "/artifacts/pages-model/2.0",
        "nobody found": "/devices?q=nobody",
        "selected": "/devices/bulk?device=page-01&device=page-02",
        "not found": "/rollouts/999999",
        "node's chain": "/audit?chain=node",
    }


@pytest.mark.timeout(900)  # a second of axe for each page and theme where the machine is shared
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_every_page_fits_is_light_and_accessible(
    site: Site, paths: dict[str, str], open_window: Opens, width: str
) -> None:
    """All of axe wide in the light theme and narrow in the dark one; wide in the dark one, what colours decide.

    A page joins by being in the table.
    """
    window = open_window(viewport=WIDE if width == "wide" else NARROW, color_scheme="light", reduced_motion="reduce")
    window.page.add_init_script(VIOLATED)
    weighed = _weigh(window.page)
    window.enter()
    window.go("/")
    trouble = []
    for name, path in paths.items():
        if name == "sign in":
            window.context.clear_cookies()
        try:
            page = window.go(path)
        except Error as error:
            if "Download is starting" in str(error):
                continue  # a file to save
            raise
        trouble += [f"{name}, {width}: {one}" for one in _measured(page, weighed)]
        for theme, rules in (("light", ALL), ("dark", COLOURS)) if width == "wide" else (("dark", ALL),):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.evaluate(SETTLED)
            trouble += [f"{name}, {width}, {theme}: {one}" for one in _violations(page, rules)]
        if name == "sign in":
            window.enter()
    assert trouble == []


def _measured(page: Page, weighed: dict[str, int]) -> Iterator[str]:
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield "wider than the window"
    bare = page.locator("main button, main summary.btn").evaluate_all(BARE)
    if bare:
        yield f"buttons that do not say what they act on: {bare}"
    if page.locator("[style]").count() or page.locator("main").count() != 1 or page.locator("h1").count() != 1:
        yield "a style attribute, or not one main and one h1"
    if page.url in weighed and _cold(weighed, page.url) > MOST_BYTES:
        yield f"{_cold(weighed, page.url)} bytes"
    violated = page.evaluate("violated")
    if violated:
        yield f"the policy is violated: {violated}"


def _violations(page: Page, rules: dict[str, object] = ALL) -> list[str]:
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE)
    options = {"resultTypes": ["violations"], **rules}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [f"{one['id']} at {[node['target'] for node in one['nodes'][:3]]}" for one in found]


def _weigh(page: Page) -> dict[str, int]:
    """Bytes of every answer as it travelled, by address; a stream of updates has no end and is not waited for."""
    sizes: dict[str, int] = {}

    def measure(response: Response) -> None:
        if "/live" not in response.url and response.status < 300:
            sizes.setdefault(response.url, int(response.headers.get("content-length", "0")))

    page.on("response", measure)
    return sizes


def _cold(sizes: dict[str, int], url: str) -> int:
    """What somebody who comes for the first time loads: the page itself, and everything that pages share."""
    return sizes[url] + sum(size for address, size in sizes.items() if "/static/" in address)


def test_what_people_wrote_stays_text(site: Site, paths: dict[str, str], open_window: Opens) -> None:
    window = open_window()
    window.enter()
    for name in ("halted", "held", "published", "/audit"):
        page = window.go(paths[name])
        assert page.locator("img").count() == 0
        assert HOSTILE in page.inner_text("main")


def test_the_sign_in_page_in_both_themes(site: Site, open_window: Opens) -> None:
    for theme in ("light", "dark"):
        window = open_window(color_scheme=theme, viewport=NARROW)
        page = window.go("/signin")
        assert Axe().run(page).response["violations"] == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_answers_carry_the_policy_and_assets_are_kept(site: Site, open_window: Opens) -> None:
    window = open_window()
    seen: list[Response] = []
    window.page.on("response", lambda response: seen.append(response))
    window.enter()
    window.go("/")
    documents = [one for one in seen if one.request.resource_type == "document" and one.status == 200]
    assert documents
    for one in documents:
        assert one.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert one.headers["cache-control"] == "no-store"
    loaded = [one for one in seen if "/static/" in one.url]
    assert {one.url.rpartition("/")[2] for one in loaded} >= {
        "tokens.css",
        "console.css",
        "console.js",
        "live.js",
        "htmx.min.js",
    }
    assert all("immutable" in one.headers["cache-control"] for one in loaded)


def test_a_theme_is_kept_by_a_form_post(site: Site, open_window: Opens) -> None:
    window = open_window(java_script_enabled=False, color_scheme="light")
    window.enter()
    page = window.go("/")
    page.locator(".menu > summary").click()
    page.get_by_label("Dark").check()
    page.get_by_role("button", name="Keep this theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    window.go("/devices")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_trust_warning_is_on_every_page(site: Site, paths: dict[str, str], open_window: Opens) -> None:
    window: Window = open_window()
    window.enter()
    for name in ("/", "/devices", "halted", "/audit", "not found"):
        assert window.go(paths[name]).get_by_role("region", name="Trust warning").is_visible()
