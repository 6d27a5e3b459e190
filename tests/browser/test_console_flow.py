"""What people do in the console, with and without JavaScript."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.serving import PASSWORD, Opens, Site, press, settled, unfold

from tidegate.control.services import enrollment, people
from tidegate.control.services.rollouts import Target, get_rollout
from tidegate.testing.channel import csr, new_key
from tidegate.wire.enrollment import Enroll

pytestmark = pytest.mark.browser

scripts = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])


def test_signing_in_and_out(site: Site, open_window: Opens) -> None:
    window = open_window(java_script_enabled=False)
    page = window.sign_in(password="not the password")
    expect(page.get_by_role("alert")).to_contain_text("cannot sign in")
    expect(page.get_by_label("User name")).to_have_value("admin")
    window.go("/devices?filter=offline")
    assert "/signin?next=/devices" in page.url
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    assert page.url.endswith("/devices?filter=offline")
    page.locator(".menu > summary").click()
    page.get_by_role("button", name="Sign out").click()
    window.go("/audit")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@scripts
def test_a_rollout_from_preview_to_abort(site: Site, open_window: Opens, scripts: bool) -> None:
    name = f"flow-{'js' if scripts else 'plain'}"
    for version in ("1.0", "2.0"):
        site.publish(name, version)
    fleet = site.devices(name, 10, name)
    site.roll_out(name, "1.0", Target(group=name), [{"percent": 100}])
    site.run(fleet, 2)
    window = open_window(java_script_enabled=scripts)
    window.enter()

    page = window.go(f"/rollouts/new?artifact={name}/2.0")
    page.get_by_label("Target", exact=True).select_option("group")
    page.get_by_label("Group", exact=True).select_option(name)
    page.get_by_label("Wave 1, to").fill("20 %")
    page.get_by_label("Wave 2, to").fill("50 %")
    page.get_by_label("Wave 2, approval").select_option("manual")
    page.get_by_label("Kind").select_option("exec")
    page.get_by_label("What is probed").fill("self-test")
    if scripts:
        page.get_by_label("attempts").focus()  # leaving a field brings a new preview by itself
    else:
        press(page, "Preview rollout")
    expect(page.locator("#preview")).to_contain_text("10 devices in 3 waves")
    expect(page.locator("#preview")).to_contain_text("2 pending, not released")
    press(page, "Create rollout")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} 2.0 to group {name}")
    rollout_id = int(page.url.partition("?")[0].rpartition("/")[2])
    expect(page.get_by_role("heading", name="Waiting on 2 of 2 devices in wave 1")).to_be_visible()
    expect(page.get_by_text("Approve: ")).to_contain_text("the rollout is running")

    unfold(page, "Halt rollout")
    page.get_by_label("Reason (goes to audit)").fill("line stop <b>now</b>")
    press(page, "Halt rollout", "details[open]")
    expect(page.locator("#halted")).to_contain_text("line stop <b>now</b>")
    unfold(page, "Resume rollout")
    page.get_by_label("Why is it safe now?").fill("looked at it")
    press(page, "Resume rollout", "details[open]")
    expect(page.locator("#standing")).to_contain_text("running")

    site.run(fleet, 2)
    if not scripts:
        page.reload()
    expect(page.locator("#standing")).to_contain_text("waiting_for_approval")
    expect(page.locator("#picture .d-leaf--wait").first).to_be_attached()
    unfold(page, "Approve wave 2")
    press(page, "Release wave 2 to 3 devices", "details[open]")
    expect(page.locator("#waves-table, #standing").first).to_be_visible()
    assert get_rollout(site.scope, site.node, rollout_id).released_wave == 2

    page.get_by_role("link", name="Abort rollout").click()
    expect(page.get_by_text("2 devices are told to go back")).to_be_visible()
    page.get_by_label("revert: devices go back").check()
    page.get_by_label("Reason (goes to audit)").fill("not good enough")
    page.get_by_label("To confirm, type the artifact name").fill("something else")
    press(page, f"Abort rollout {rollout_id}")
    expect(page.get_by_role("alert")).to_contain_text("must be the artifact's name")
    expect(page.get_by_label("revert: devices go back")).to_be_checked()
    page.get_by_label("To confirm, type the artifact name").fill(name)
    press(page, f"Abort rollout {rollout_id}")
    expect(page.locator("#standing")).to_contain_text("aborted")
    site.run(fleet, 2)
    assert {device.runs[name] for device in fleet} == {"1.0"}


def test_a_live_page_follows_and_never_moves_an_open_sheet(site: Site, open_window: Opens) -> None:
    site.publish("live-model", "1")
    fleet = site.devices("live", 4, "live")
    made = site.roll_out("live-model", "1", Target(group="live"), [{"percent": 50}, {"percent": 100}])
    window = open_window()
    window.enter()
    page = window.go(f"/rollouts/{made.id}")
    expect(page.locator("#live-word")).to_have_text("Live")
    unfold(page, "Halt rollout")
    site.run(fleet, 6)
    expect(page.locator("#standing")).to_contain_text("completed")
    expect(page.get_by_role("button", name="Halt rollout")).to_be_visible()
    expect(page.locator("details[open] .sheet__changed")).to_be_visible()
    press(page, "Halt rollout", "details[open]")
    expect(page.locator("main > .callout[role=alert]")).to_contain_text("look again")
    assert get_rollout(site.scope, site.node, made.id).state == "completed"


@scripts
def test_adding_and_decommissioning_a_device(site: Site, open_window: Opens, scripts: bool) -> None:
    name = f"added-{'js' if scripts else 'plain'}"
    window = open_window(java_script_enabled=scripts)
    window.enter()
    page = window.go("/add-device")
    page.get_by_label("Tags to give").fill("site")
    press(page, "Mint token")
    expect(page.get_by_text("site must be key=value").first).to_be_visible()
    page.get_by_label("Tags to give").fill("site=plant-8")
    page.get_by_label("Device name, optional").fill(name)
    press(page, "Mint token")
    token = page.locator("#token").inner_text()
    command = page.locator("#command").inner_text()
    assert token.startswith("tge_")
    assert token not in command
    assert name in command
    expect(page.locator("#arrival")).to_contain_text("Waiting on the first POST")
    enrollment.enroll(site.node, Enroll(token=token, csr_pem=csr(new_key()), agent_version="0.1.0", device=name))
    if not scripts:
        page.get_by_role("link", name="Look again").click()
    expect(page.locator("#arrival")).to_contain_text("has its certificate")

    page.get_by_role("link", name=name).first.click()
    expect(page.locator("#identity")).to_contain_text("EC P-256, made on the device")
    expect(page.locator("#standing")).to_contain_text("site=plant-8")
    unfold(page, "Decommission device")
    page.get_by_label("Type the device name").fill(name)
    press(page, "Decommission device", "details[open]")
    expect(page.locator("#standing")).to_contain_text("decommissioned")
    expect(page.get_by_role("button", name="Recover device")).to_have_attribute("aria-disabled", "true")


def test_a_device_is_held_and_released_without_scripts(site: Site, open_window: Opens) -> None:
    site.devices("holdable", 1)
    window = open_window(java_script_enabled=False)
    window.enter()
    page = window.go("/devices/holdable-00")
    unfold(page, "Hold device")
    page.get_by_label("Reason (goes to audit)").fill("in repair")
    press(page, "Hold device", "details[open]")
    expect(page.get_by_role("note")).to_contain_text("in repair")
    window.go("/devices?filter=held")
    expect(page.get_by_role("link", name="holdable-00")).to_be_visible()
    window.go("/devices/holdable-00")
    press(page, "Release hold")
    expect(page.locator(".toast")).to_contain_text("Hold released")


@scripts
def test_publishing_and_withdrawing(site: Site, open_window: Opens, tmp_path: Path, scripts: bool) -> None:
    name = f"published-{'js' if scripts else 'plain'}"
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights" * 100_000)
    window = open_window(java_script_enabled=scripts)
    window.enter()
    page = window.go("/publish")
    for version, told in (("1.0 beta", "must be 1 to 128"), ("1.0", "")):
        page.get_by_label("Artifact name").fill(name)
        page.get_by_label("Version", exact=True).fill(version)
        page.get_by_label("File", exact=True).set_input_files(file)
        press(page, "Publish version")
        if told:
            expect(page.get_by_role("alert")).to_contain_text(told)
            expect(page.get_by_label("Version", exact=True)).to_have_value(version)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} 1.0")
    expect(page.get_by_text("700,000 B")).to_be_visible()
    unfold(page, "Withdraw version")
    page.locator("details[open]").get_by_label("Reason (goes to audit)").fill("a mistake")
    page.get_by_label("Type the version").fill("1.0")
    press(page, "Withdraw version", "details[open]")
    expect(page.get_by_role("note")).to_contain_text("a mistake")
    expect(page.get_by_role("button", name="Create rollout")).to_have_attribute("aria-disabled", "true")


def test_the_audit_log_is_verified_and_exported(site: Site, open_window: Opens) -> None:
    window = open_window(java_script_enabled=False, accept_downloads=True)
    window.enter()
    page = window.go("/audit?action=artifact.*")
    press(page, "Verify the chain now")
    expect(page.get_by_text("chain whole")).to_be_visible()
    with page.expect_download() as started:
        press(page, "Export JSON lines")
    lines = started.value.path().read_text().splitlines()
    assert '"verified":true' in lines[-1].replace(" ", "")


def test_a_viewer_sees_why_nothing_can_be_done(site: Site, open_window: Opens) -> None:
    people.create_operator(
        site.scope, site.node, name="looker", roles=[people.NamedGrant("viewer", "default")], password=PASSWORD
    )
    site.publish("viewed", "1")
    fleet = site.devices("viewed", 2, "viewed")
    made = site.roll_out(
        "viewed", "1", Target(group="viewed"), [{"percent": 50}, {"percent": 100, "approval": "manual"}]
    )
    site.run(fleet, 2)
    window = open_window()
    page = window.sign_in("looker")
    window.go(f"/rollouts/{made.id}")
    approve = page.get_by_role("button", name="Approve wave 2")
    expect(approve).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#why-approve")).to_contain_text("rollouts.approve")
    window.go("/rollouts/new")
    expect(page.get_by_role("alert")).to_contain_text("rollouts.write")
    expect(page.get_by_role("alert")).to_contain_text("an admin of fleet default can grant it")


def test_a_form_of_another_session_or_site_is_refused(site: Site, open_window: Opens) -> None:
    window = open_window()
    window.enter()
    stale = window.context.request.post(f"{site.url}/add-device", form={"csrf": "guessed", "uses": "1"})
    assert stale.status == 403
    assert "not of your session" in stale.text()
    foreign = window.context.request.post(
        f"{site.url}/signout", form={}, headers={"Origin": "https://elsewhere.example"}
    )
    assert foreign.status == 403
    assert window.go("/").get_by_role("heading", name="Overview").is_visible()


def test_a_rollout_is_halted_by_keyboard_alone(site: Site, open_window: Opens) -> None:
    site.publish("keys-model", "1")
    site.devices("keys", 2, "keys")
    made = site.roll_out("keys-model", "1", Target(group="keys"), [{"percent": 50}, {"percent": 100}])
    window = open_window()
    page = window.enter()
    window.go(f"/rollouts/{made.id}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    halt = page.locator("summary", has_text="Halt rollout")
    for _ in range(6):  # crumbs and the verbs before it, in the order of reading
        page.keyboard.press("Tab")
        if halt.evaluate("element => element === document.activeElement"):
            break
    expect(halt).to_be_focused()
    assert halt.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    sheet = page.locator("details[open]")
    expect(sheet).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Reason (goes to audit)")).to_be_focused()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
    expect(halt).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(" by hand")
    settled(page)
    page.keyboard.press("Enter")
    expect(page.locator("#standing")).to_contain_text("halted")
    assert "by hand" in get_rollout(site.scope, site.node, made.id).reason


def test_live_updates_end_with_the_role(site: Site, open_window: Opens) -> None:
    grants = [people.NamedGrant("viewer", "default")]
    people.create_operator(site.scope, site.node, name="leaver", roles=grants, password=PASSWORD)
    window = open_window()
    page = window.sign_in("leaver")
    expect(page.locator("#live-word")).to_have_text("Live")
    people.disable_operator(site.scope, site.node, "leaver")
    expect(page.locator("#live-word")).to_have_text("Not live, signed out", timeout=15_000)
    window.go("/devices")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
