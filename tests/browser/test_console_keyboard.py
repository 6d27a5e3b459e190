"""Whole flows by keyboard alone: nothing is clicked, and the focus is always to be seen."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from tests.browser.serving import PASSWORD, Opens, Site, settled

from tidegate.control.services import groups, holds, sessions
from tidegate.control.services.rollouts import get_rollout

pytestmark = pytest.mark.browser

MOST_TABS = 90
#: What has the focus: its words, and whether a ring is drawn around it (or around the control it belongs to).
FOCUSED = """() => {
  const one = document.activeElement;
  const named = one.getAttribute("aria-label") ?? (one.labels?.[0]?.innerText || one.innerText) ?? "";
  const style = getComputedStyle(one);
  return [named.trim().split("\\n")[0], style.outlineStyle !== "none" || one.matches("main, body")];
}"""


def to(page: Page, name: str) -> None:
    """Tab on until the control of that name has the focus."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        words, ringed = page.evaluate(FOCUSED)
        assert ringed, f"the focus cannot be seen on {words!r}"
        if words == name:
            return
    raise AssertionError(f"cannot reach {name!r} with the Tab key")


def skip(page: Page) -> None:
    """Past what stands around every page."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")


def press(page: Page, name: str) -> None:
    to(page, name)
    page.keyboard.press("Enter")


def typed(page: Page, name: str, text: str) -> None:
    to(page, name)
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


@pytest.mark.timeout(180)
def test_a_rollout_from_sign_in_to_abort(site: Site, open_window: Opens) -> None:
    name = "aaa-keyboard"  # the first to choose
    site.publish(name, "1")
    fleet = site.devices(name, 4, name)
    window = open_window()
    page = window.go("/signin?next=/rollouts")
    typed(page, "User name", "admin")
    typed(page, "Password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Rollouts", exact=True)).to_be_visible()
    skip(page)
    press(page, "Create rollout")

    expect(page.get_by_role("heading", name="Create rollout")).to_be_visible()
    skip(page)
    to(page, "Artifact")
    page.keyboard.type(f"{name} 1")
    to(page, "Target")
    page.keyboard.type("a group")
    to(page, "Group")
    page.keyboard.type(name)
    typed(page, "Wave 1, to", "25 %")
    to(page, "Wave 2, approval")
    page.keyboard.type("manual")
    press(page, "Create rollout")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} 1 to group {name}")
    rollout = int(page.url.partition("?")[0].rpartition("/")[2])
    site.run(fleet, 2)
    expect(page.locator("#standing")).to_contain_text("waiting_for_approval")

    skip(page)
    press(page, "Approve wave 2")
    settled(page)
    press(page, "Release wave 2 to 1 device")
    expect(page.locator("#standing")).to_contain_text("running")
    skip(page)
    press(page, "Halt rollout")
    typed(page, "Reason (goes to audit)", "line 4")
    settled(page)
    page.keyboard.press("Enter")
    expect(page.locator("#standing")).to_contain_text("halted")
    skip(page)
    press(page, "Resume rollout")
    typed(page, "Why is it safe now?", "looked at it")
    settled(page)
    page.keyboard.press("Enter")
    expect(page.locator("#standing")).to_contain_text("running")
    skip(page)
    press(page, "Abort rollout")
    expect(page.get_by_role("heading", name="Abort rollout")).to_be_visible()
    skip(page)
    typed(page, "Reason (goes to audit)", "enough")
    typed(page, "To confirm, type the artifact name", name)
    page.keyboard.press("Enter")
    expect(page.locator("#standing")).to_contain_text("aborted")
    assert get_rollout(site.scope, site.node, rollout).state == "aborted"


def test_a_device_is_added_selected_and_held_and_the_fleet_frozen(site: Site, open_window: Opens) -> None:
    site.devices("keyed", 2)
    window = open_window()
    page = window.enter()
    window.go("/add-device")
    skip(page)
    typed(page, "Device name, optional", "keyed-new")
    press(page, "Mint token")
    expect(page.locator("#token")).to_contain_text("tge_")

    window.go("/devices?q=keyed")
    skip(page)
    to(page, "Select keyed-00")
    page.keyboard.press("Space")
    expect(page.locator("[data-ticked]")).to_have_text("1 selected device")
    press(page, "Act on the selected devices")
    expect(page.get_by_role("heading", name="Act on 1 device")).to_be_visible()
    skip(page)
    typed(page, "Reason (goes to audit)", "spare part")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="keyed-00")).to_contain_text("spare part")

    window.go("/freeze")
    skip(page)
    typed(page, "Reason (goes to audit)", "stocktaking")
    page.keyboard.press("Enter")
    expect(page.get_by_role("note")).to_contain_text("stocktaking")
    expect(page.locator("#situation")).to_contain_text("fleet frozen")
    frozen = holds.freeze(site.scope, site.node)
    assert frozen is not None
    assert frozen.reason == "stocktaking"
    for path in ("/", "/devices/keyed-01"):
        expect(window.go(path).locator("main")).to_contain_text("stocktaking")
    window.go("/freeze")
    skip(page)
    press(page, "Release the freeze")
    expect(page.get_by_role("button", name="Freeze fleet default")).to_be_visible()
    assert holds.freeze(site.scope, site.node) is None


def test_a_group_is_made_and_a_user_given_a_role(site: Site, open_window: Opens) -> None:
    site.devices("keys-of", 1)
    window = open_window()
    page = window.enter()
    window.go("/groups")
    skip(page)
    press(page, "New group")
    expect(page.get_by_role("heading", name="New group", level=1)).to_be_visible()
    skip(page)
    typed(page, "Name", "by-keys")
    to(page, "Members")
    page.keyboard.type("static")
    typed(page, "Device names", "keys-of-00")
    press(page, "Create group")
    expect(page.get_by_role("heading", level=1)).to_have_text("by-keys")
    assert groups.get(site.scope, site.node, "by-keys").size == 1

    window.go("/users")
    skip(page)
    press(page, "New user")
    expect(page.get_by_role("heading", name="New user", level=1)).to_be_visible()
    skip(page)
    typed(page, "Name", "by-keys")
    to(page, "Role")
    page.keyboard.type("viewer")
    press(page, "Create user")
    secret = page.locator("#secret").inner_text()
    begun = sessions.sign_in(site.node, "by-keys", secret, user_agent="t", address="192.0.2.9")
    assert begun.operator.name == "by-keys"
