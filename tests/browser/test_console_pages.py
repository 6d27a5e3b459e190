"""Every page, in both themes, wide and narrow: accessible, within its width, light, and nothing but text in it."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response
from tests.browser.serving import HOSTILE, Opens, Site, Window

from tidegate.control.console.pages import PAGES
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import devices, holds, rollouts
from tidegate.control.services.holds import HeldDevice
from tidegate.control.services.rollouts import Target

pytestmark = pytest.mark.browser

WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}
MOST_BYTES = 100_000
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
    waiting = site.roll_out(
        "pages-model",
        "2.0",
        Target(group="pages"),
        [{"percent": 10}, {"percent": 50, "approval": "manual", "soak_seconds": 60}, {"percent": 100}],
    )
    site.run(fleet, 2)
    halted = site.roll_out("pages-gate", "1", Target(group="pages"), [{"percent": 50}, {"percent": 100}])
    rollouts.command_rollout(site.scope, site.node, halted.id, Verb.HALT, reason=HOSTILE)
    holds.hold(site.scope, site.node, HeldDevice("page-01"), HOSTILE)
    devices.decommission(site.scope, site.node, "page-09")
    named = {"name": "pages-model", "version": "2.0"}
    found = {
        page.path: page.path.replace("{id:int}", str(waiting.id))
        .replace("/devices/{name}", "/devices/page-01")
        .replace("{name}", named["name"])
        .replace("{version}", named["version"])
        for page in PAGES
        if page.method == "GET" and page.path != "/trust/root.json"
    }
    return found | {
        "sign in": "/signin",
        "completed": f"/rollouts/{first.id}",
        "halted": f"/rollouts/{halted.id}",
        "all devices of a rollout": f"/rollouts/{halted.id}?show=all",
        "decommissioned": "/devices/page-09",
        "nobody found": "/devices?q=nobody",
        "not found": "/rollouts/999999",
        "node's chain": "/audit?chain=node",
    }


@pytest.mark.timeout(300)  # a second of axe for each page where the machine is shared
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_every_page_fits_and_is_light(site: Site, paths: dict[str, str], open_window: Opens, width: str) -> None:
    """Themes differ in colours alone: everything is checked in one of them, contrast in the other as well."""
    first, second = ("light", "dark") if width == "wide" else ("dark", "light")
    window = open_window(viewport=WIDE if width == "wide" else NARROW, color_scheme=first, reduced_motion="reduce")
    weighed = _weigh(window.page)
    window.enter()
    window.go("/")
    trouble = []
    for name, path in paths.items():
        page = window.go("/signin?next=" + path if name == "sign in" else path)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            trouble.append(f"{name}: wider than the window")
        if page.locator("[style]").count() or page.locator("main").count() != 1 or page.locator("h1").count() != 1:
            trouble.append(f"{name}: a style attribute, or not one main and one h1")
        if page.url in weighed and _cold(weighed, page.url) > MOST_BYTES:
            trouble.append(f"{name}: {_cold(weighed, page.url)} bytes")
        trouble += [f"{name}, {first}: {one}" for one in _violations(page)]
        page.emulate_media(color_scheme=second)  # type: ignore[arg-type]
        page.evaluate(SETTLED)
        trouble += [f"{name}, {second}: {one}" for one in _violations(page, only=["color-contrast"])]
        page.emulate_media(color_scheme=first)  # type: ignore[arg-type]
    assert trouble == []


def _violations(page: Page, only: list[str] | None = None) -> list[str]:
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if only is not None:
        options["runOnly"] = only
    if only is None:
        found = Axe().run(page, options=options).response["violations"]
    else:  # the page has axe already
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
    for name in ("halted", "/devices/{name}", "/artifacts/{name}/{version}", "/audit"):
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
    assert {one.url.rpartition("/")[2] for one in loaded} >= {"tokens.css", "console.css", "console.js", "htmx.min.js"}
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
