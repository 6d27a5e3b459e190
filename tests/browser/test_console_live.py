"""Live updates in the real Chromium: what is pointed at, focused, typed or opened stays where and as it is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.serving import Opens, Site, unfold

from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import holds, rollouts
from tidegate.control.services.holds import HeldDevice
from tidegate.control.services.rollouts import RolloutDetail, Target
from tidegate.testing.fleet import SimDevice

pytestmark = pytest.mark.browser

#: The page has taken this many messages: counted where they arrive, before live.js sees them.
COUNTED = """() => {
  const Real = EventSource;
  let taken = 0;
  globalThis.EventSource = class extends Real {
    constructor(address) {
      super(address);
      this.addEventListener("fragments", () => { document.documentElement.dataset.taken = ++taken; });
    }
  };
}"""
ROOM = {"width": 1280, "height": 700}


def watched(opens: Opens, path: str) -> Page:
    window = opens(viewport=ROOM)
    window.enter()
    window.page.add_init_script(f"({COUNTED})()")
    page = window.go(path)
    expect(page.locator("#live-word")).to_have_text("Live")
    return page


def next_message(page: Page, act: object) -> None:
    """Do something on the server, and wait until the page has been told."""
    before = page.locator("html").get_attribute("data-taken") or "0"
    act()  # type: ignore[operator]
    expect(page.locator("html")).to_have_attribute("data-taken", re.compile(rf"^(?!{before}$)"))
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def box(what: Locator) -> dict[str, float]:
    found = what.bounding_box()
    assert found is not None
    return {"x": found["x"], "y": found["y"]}


def still(what: Locator, before: dict[str, float]) -> bool:
    now = box(what)
    return abs(now["x"] - before["x"]) <= 1 and abs(now["y"] - before["y"]) <= 1


def rolling(site: Site, name: str, count: int) -> tuple[list[SimDevice], RolloutDetail]:
    site.publish(name, "1")
    fleet = site.devices(name, count, name)
    made = site.roll_out(name, "1", Target(group=name), [{"percent": 50}, {"percent": 100, "approval": "manual"}])
    return fleet, made


def test_nothing_moves_under_the_pointer(site: Site, open_window: Opens) -> None:
    fleet, made = rolling(site, "still", 8)
    page = watched(open_window, f"/rollouts/{made.id}?show=all")
    row = page.locator("#device-rows tbody tr").nth(3)
    row.scroll_into_view_if_needed()
    row.hover()
    before, text = box(row), row.inner_text()
    next_message(page, lambda: site.run(fleet, 2))
    assert page.locator("#standing").inner_text() != ""
    assert still(row, before)
    assert row.inner_text() == text  # it is being read
    offered = page.locator("#changes")
    expect(offered).to_be_visible()
    page.locator("h1").hover()
    expect(row).not_to_have_text(text)
    expect(offered).to_be_hidden()


def test_what_grows_above_keeps_what_is_read_in_place(site: Site, open_window: Opens) -> None:
    """A halt puts a callout above everything: what is pointed at below it stays on the same pixel."""
    fleet, made = rolling(site, "anchor", 8)
    site.run(fleet, 1)
    page = watched(open_window, f"/rollouts/{made.id}?show=all")
    pointed = page.get_by_role("heading", name="Timeline")
    pointed.scroll_into_view_if_needed()
    pointed.hover()
    before = box(pointed)
    next_message(
        page, lambda: rollouts.command_rollout(site.scope, site.node, made.id, Verb.HALT, reason="a look at line 4")
    )
    expect(page.locator("#halted .callout, #changes:not([hidden])").first).to_be_attached()
    assert still(pointed, before)


def test_typed_words_and_open_sheets_are_kept(site: Site, open_window: Opens) -> None:
    fleet, made = rolling(site, "typed", 4)
    page = watched(open_window, f"/rollouts/{made.id}")
    unfold(page, "Halt rollout")
    reason = page.get_by_label("Reason (goes to audit)")
    reason.fill("line 4 stands still")
    before = box(reason)
    next_message(page, lambda: site.run(fleet, 2))
    expect(page.locator("details[open] .sheet__changed")).to_be_visible()
    assert reason.input_value() == "line 4 stands still"
    assert reason.evaluate("one => one === document.activeElement")
    assert box(reason)["x"] == before["x"]
    page.keyboard.press("Escape")
    expect(page.locator("#standing")).to_contain_text("waiting_for_approval")


def test_an_open_sheet_of_a_device_says_that_its_facts_changed(site: Site, open_window: Opens) -> None:
    site.devices("sheet", 1)
    page = watched(open_window, "/devices/sheet-00")
    unfold(page, "Decommission device")
    note = page.locator("details[open] .sheet__changed")
    expect(note).to_be_hidden()
    next_message(page, lambda: holds.hold(site.scope, site.node, HeldDevice("sheet-00"), "in repair"))
    expect(note).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Release hold")).to_be_visible()


def test_focus_and_opened_details_outlive_an_update(site: Site, open_window: Opens) -> None:
    fleet, made = rolling(site, "focus", 4)
    page = watched(open_window, f"/rollouts/{made.id}")
    page.locator("#waves-table > summary").click()
    filter_link = page.locator("#filter a", has_text="open")
    filter_link.focus()
    before = box(filter_link)
    next_message(page, lambda: site.run(fleet, 2))
    focused = page.locator("#filter a:focus")
    expect(focused).to_contain_text("open")
    assert still(focused, before)
    expect(page.locator("#waves-table")).to_have_attribute("open", "")


def test_rows_that_come_are_offered_not_pushed_in(site: Site, open_window: Opens) -> None:
    site.devices("rows", 3, "rows")
    page = watched(open_window, "/devices?group=rows")
    before = [box(one) for one in page.locator("tbody tr").all()]
    next_message(
        page,
        lambda: site.devices("rows-more", 2, "rows") and holds.hold(site.scope, site.node, HeldDevice("rows-00"), "x"),
    )
    expect(page.locator("#changes")).to_contain_text("The list has changed")
    assert page.locator("tbody tr").count() == 3
    assert all(still(one, was) for one, was in zip(page.locator("tbody tr").all(), before, strict=True))
    page.locator("#changes").click()
    expect(page.locator("tbody tr")).to_have_count(5)


def test_a_search_is_followed_from_then_on(site: Site, open_window: Opens) -> None:
    site.devices("sought", 3, "sought")
    page = watched(open_window, "/devices")
    page.get_by_label("Search devices").fill("sought-0")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)
    next_message(page, lambda: holds.hold(site.scope, site.node, HeldDevice("sought-01"), "spare part"))
    expect(page.locator("tbody tr", has_text="sought-01")).to_contain_text("spare part")
    expect(page.locator("#changes")).to_be_hidden()


#: Presses the button of the id's fragment in the moment in which it is marked, which no person's hand could time.
HASTY = """(id) => new MutationObserver((_, watching) => {
  const button = document.querySelector(`#${id} [data-settling]`);
  if (button === null) return;
  watching.disconnect();
  button.click();
}).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-settling"] })"""


def test_a_press_on_what_has_just_changed_is_refused_with_the_reason(site: Site, open_window: Opens) -> None:
    fleet, made = rolling(site, "hasty", 4)
    page = watched(open_window, f"/rollouts/{made.id}")
    approve, refusal = page.locator("#verbs > :first-child"), page.locator("#unread")
    expect(approve).to_have_attribute("aria-disabled", "true")
    expect(refusal).to_be_hidden()
    page.evaluate(HASTY, "verbs")
    next_message(page, lambda: site.run(fleet, 2))
    expect(refusal).to_be_visible()
    expect(refusal).to_contain_text("had changed less than half a second before")
    assert page.locator("details.act[open]").count() == 0
    unfold(page, "Approve wave 2")
    expect(page.locator("details.act[open]")).to_contain_text("Release wave 2 to 2 devices")
    expect(refusal).to_be_hidden()


def test_a_page_says_as_of_when_it_is_then_live_and_lost_only_afterwards(site: Site, open_window: Opens) -> None:
    plain = open_window(java_script_enabled=False)
    plain.enter()
    word = plain.go("/devices").locator("#live")
    expect(word).to_have_text(re.compile(r"Updates: As of \d\d:\d\d"))
    expect(word).not_to_have_class(re.compile("lost"))

    window = open_window()
    window.enter()
    window.page.route("**/live?*", lambda route: route.fulfill(status=403))
    with window.page.expect_response("**/live?*"):
        page = window.go("/devices")
    word = page.locator("#live-word")
    expect(word).to_have_text(re.compile(r"As of \d\d:\d\d"))  # nothing was lost that was never there
    expect(page.locator("#live")).to_have_class("live live--still")
    page.unroute("**/live?*")
    page.reload()
    expect(word).to_have_text("Live")
    expect(page.locator("#live")).to_have_class("live")
    told = 'event: fragments\ndata: {"as_of":"14:31","fragments":{}}\n\n'
    page.route("**/live?*", lambda route: route.fulfill(content_type="text/event-stream", body=told))
    page.reload()  # a stream that ends after its first message
    expect(word).to_have_text("Not live, as of 14:31")
    expect(page.locator("#live")).to_have_class("live live--lost")
