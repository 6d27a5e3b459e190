"""Groups, selectors and sheets as people use them in a real Chromium: with scripts, by keyboard, without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.serving import Opens, Site, press, unfold
from tests.browser.test_console_pages import NARROW, SETTLED, WIDE, _violations

from tidegate.control.services import devices, registration
from tidegate.wire.device import HardwareProfile, Register

pytestmark = pytest.mark.browser

WRONG = 'arch == "arm64" and tag.site == "x"'
RIGHT = 'arch == "arm64" and tags.site == "plant-7"'


@pytest.fixture(scope="module")
def fleet(site: Site) -> None:
    """Three devices that differ in what selectors ask."""
    for number, device in enumerate(site.devices("sel", 3)):
        hardware = HardwareProfile(arch="arm64" if number else "amd64")
        registration.register(site.node, device.ref, Register(hardware, "0.1.0"))
    devices.change_tags(site.scope, site.node, "sel-01", put={"site": "plant-7"})


def make(page: Page, name: str, selector: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Selector").fill(selector)


@pytest.mark.usefixtures("fleet")
def test_a_group_is_previewed_as_it_is_typed_made_renamed_held_and_deleted(open_window: Opens) -> None:
    window = open_window(reduced_motion="reduce")
    page = window.enter()
    window.go("/groups")
    page.get_by_role("link", name="New group").first.click()
    make(page, "sel-live", WRONG)
    page.get_by_label("Name", exact=True).focus()
    mistake = page.locator("#selector-h .error")
    expect(mistake).to_contain_text("at character 21, there is no column tag.site; did you mean tags.site?")
    expect(page.locator("#selector-h .caret b")).to_have_text("^".rjust(21))
    page.get_by_label("Selector").fill(RIGHT)
    page.get_by_label("Why not this device?").fill("sel-02")
    page.get_by_label("Name", exact=True).focus()
    preview = page.locator("#preview")
    expect(preview.get_by_role("status")).to_have_text("1 device")
    expect(preview).to_contain_text("sel-01")
    expect(preview).to_contain_text('tags.site == "plant-7": the device has tags.site not set')
    expect(mistake).to_have_count(0)
    page.get_by_role("button", name="Create group").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sel-live")
    expect(page.get_by_role("status").filter(has_text="Group created")).to_be_visible()
    expect(page.get_by_role("region", name="Members")).to_contain_text("sel-01")
    page.get_by_role("link", name="Change group").click()
    page.get_by_label("Name", exact=True).fill("renamed")
    page.get_by_label("Selector").fill('arch == "arm64"')
    page.get_by_role("button", name="Change group").click()
    expect(page.locator("#size")).to_have_text("2 devices now")
    unfold(page, "Hold group")
    page.get_by_label("Reason (goes to audit)").fill("recall")
    press(page, "Hold group")
    expect(page.locator("#hold")).to_contain_text("The group is held. recall.")
    window.go("/devices/sel-02")
    expect(page.get_by_text("Held by group renamed.")).to_be_visible()
    window.go("/groups/renamed")
    expect(page.get_by_role("button", name="Delete group")).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Release hold").click()
    unfold(page, "Delete group")
    press(page, "Delete group")
    expect(page.get_by_role("status").filter(has_text="Its devices stay")).to_be_visible()


@pytest.mark.usefixtures("fleet")
def test_without_scripts_everything_is_there_and_by_keyboard_alone(open_window: Opens) -> None:
    window = open_window(java_script_enabled=False)
    page = window.enter()
    window.go("/new-group")
    make(page, "plain", WRONG)
    page.get_by_role("button", name="Preview members").press("Enter")
    expect(page.locator("#selector-h")).to_contain_text("did you mean tags.site?")
    page.get_by_label("Selector").fill(RIGHT)
    page.get_by_role("button", name="Preview members").press("Enter")
    expect(page.locator("#preview")).to_contain_text("1 device")
    page.get_by_label("Name", exact=True).press("Enter")  # the form's own button is the first: nothing is made yet
    expect(page.locator("#preview")).to_contain_text("1 device")
    page.get_by_role("button", name="Create group").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("plain")
    window.go("/new-group?kind=static")
    page.get_by_label("Name", exact=True).fill("by-hand")
    page.get_by_label("Device names").fill("sel-00 nobody\nsel-02")
    page.get_by_role("button", name="Create group").press("Enter")
    expect(
        page.get_by_text("2 devices added; the group has 2 devices now. No active device is called:")
    ).to_be_visible()
    page.get_by_role("link", name="Go to the group").press("Enter")
    page.get_by_label("Device names").fill("sel-00")
    page.get_by_role("button", name="Take devices out").press("Enter")
    expect(page.locator("#size")).to_have_text("1 device now")


@pytest.mark.usefixtures("fleet")
def test_the_devices_page_filters_by_selector_and_makes_a_group_of_it(open_window: Opens) -> None:
    window = open_window(reduced_motion="reduce")
    page = window.enter()
    window.go("/devices")
    page.get_by_text("By selector").click()
    page.get_by_label("Selector").fill(f'{RIGHT} or name == "sel-00"')
    page.get_by_role("button", name="Apply selector").click()
    table = page.get_by_role("region", name="Devices", exact=True)
    expect(table.get_by_role("link")).to_have_text(["sel-00", "sel-01"])
    page.reload()
    page.get_by_role("link", name="Save as group").click()
    expect(page.locator("#preview").get_by_role("status")).to_have_text("2 devices")


@pytest.mark.usefixtures("fleet")
def test_a_rollout_goes_to_a_selector_with_its_cohorts_shown_first(site: Site, open_window: Opens) -> None:
    site.publish("sel-model", "1")
    window = open_window(reduced_motion="reduce")
    page = window.enter()
    window.go("/rollouts/new?artifact=sel-model/1")
    page.get_by_label("Target", exact=True).select_option("selector")
    page.get_by_label("Selector").fill(WRONG)
    page.get_by_label("Target", exact=True).focus()
    expect(page.locator("#selector-h")).to_contain_text("did you mean tags.site?")
    page.get_by_label("Selector").fill(RIGHT)
    page.get_by_label("Target", exact=True).focus()
    expect(page.locator("#preview")).to_contain_text("1 device in 3 waves")
    page.get_by_role("button", name="Create rollout").click()
    expect(page.get_by_text(f"selector {RIGHT}").first).to_be_visible()


@pytest.mark.usefixtures("fleet")
def test_a_sheet_is_previewed_then_imported_and_exported(site: Site, open_window: Opens) -> None:
    window = open_window(java_script_enabled=False, accept_downloads=True)
    page = window.enter()
    window.go("/import-devices")

    def choose(text: bytes) -> None:
        page.get_by_label("CSV file").set_input_files({"name": "d.csv", "mimeType": "text/csv", "buffer": text})
        page.get_by_role("button", name="Preview import").click()

    choose(b"name,tag:line\nsel-00,7\nnobody,8\n")
    expect(page.get_by_role("heading", name="1 mistake, nothing was changed")).to_be_visible()
    expect(page.locator("#outcome")).to_contain_text("line 3: no active device is called nobody")
    page.get_by_label("Names that no active device bears").select_option("enroll")
    choose(b"name,tag:line\nsel-00,7\nnobody,8\n")
    expect(page.get_by_role("region", name="First changes")).to_contain_text("line=7")
    assert "line" not in devices.get(site.scope, site.node, "sel-00").view.device.tags
    page.get_by_role("button", name="Import 2 rows").click()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    expect(page.locator("#tokens")).to_contain_text("nobody,tge_")
    assert devices.get(site.scope, site.node, "sel-00").view.device.tags["line"] == "7"
    with page.expect_download() as download:
        page.get_by_role("link", name="Export all as CSV").click()
    assert "sel-00," in download.value.path().read_text()


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_mistakes_and_answers_are_accessible_too(open_window: Opens, size: dict[str, int], scheme: str) -> None:
    """What the walk over all addresses does not see: it is shown only after something was typed or sent."""
    window = open_window(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = window.enter()
    trouble = []

    def look(name: str) -> None:
        page.evaluate(SETTLED)
        trouble.extend(f"{name}: {one}" for one in _violations(page))
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            trouble.append(f"{name}: wider than the window")

    window.go(f"/devices?selector={WRONG.replace(' ', '+').replace('=', '%3D')}")
    look("a broken selector")
    window.go("/new-group")
    make(page, "never", 'arch == "arm64" and declared.x != ""')
    page.get_by_label("Why not this device?").fill("sel-00")
    page.get_by_role("button", name="Preview members").click()
    expect(page.locator("#preview")).to_contain_text("Devices say this of themselves.")
    look("a preview")
    window.go("/import-devices")
    page.get_by_label("Names that no active device bears").select_option("enroll")
    sheet = {"name": "d.csv", "mimeType": "text/csv", "buffer": f"name\nacc-{scheme}\n".encode()}
    page.get_by_label("CSV file").set_input_files(sheet)
    page.get_by_role("button", name="Preview import").click()
    look("a sheet that was previewed")
    page.get_by_role("button", name="Import 1 row").click()
    expect(page.locator("#tokens")).to_contain_text(f"acc-{scheme},tge_")
    look("tokens")
    page.get_by_label("CSV file").set_input_files({**sheet, "buffer": b"name\nBAD\n"})
    page.get_by_role("button", name="Preview import").click()
    expect(page.locator("#outcome")).to_contain_text("line 2")
    look("a sheet with a mistake")
    assert trouble == []


@pytest.mark.usefixtures("fleet")
def test_a_preview_is_of_what_was_typed_last_however_long_an_earlier_one_takes(open_window: Opens) -> None:
    window = open_window(reduced_motion="reduce")
    page = window.enter()
    window.go("/new-group")
    unanswered: list[Route] = []
    page.route("**/new-group/preview", lambda route: route.continue_() if unanswered else unanswered.append(route))
    with page.expect_request("**/new-group/preview"):
        make(page, "latest", WRONG)
        page.get_by_label("Name", exact=True).focus()
    page.get_by_label("Selector").fill(RIGHT)
    page.get_by_label("Name", exact=True).focus()
    expect(page.locator("#preview").get_by_role("status")).to_have_text("1 device", timeout=8_000)
