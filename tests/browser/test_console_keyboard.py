"""Whole flows by keyboard alone, wide with scripts and narrow without: nothing is clicked, nothing filled in that the
Tab key did not reach, and the focus is always to be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.browser.keyboard import Step, drive
from tests.browser.serving import PASSWORD, Opens, Site

from tidegate.control.services import devices, registration
from tidegate.control.services.rollouts import get_rollout
from tidegate.wire.device import HardwareProfile, Register

pytestmark = pytest.mark.browser

VIEWS: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1600, "height": 900}},
    "narrow": {"viewport": {"width": 360, "height": 740}, "java_script_enabled": False},
}
REASON = "Reason (goes to audit)"
view = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(scope="module")
def files(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the flows act on, for each view its own; the folder of the files that are published."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "app.conf").write_text("level = 1")
    for version in ("1", "2"):
        site.publish("keys-stable", version)
    for name in VIEWS:
        device = site.devices(f"keys-{name}", 2)[0].ref
        registration.register(site.node, device, Register(HardwareProfile(), "1", log_sources=("app",)))
        devices.change_tags(site.scope, site.node, device.name, put={"keys": name})
    return folder


#: Where a flow begins, and its steps; {view} and {files} are put in.
FLOWS: dict[str, tuple[str, tuple[Step, ...]]] = {
    "add a device": ("/devices", (
        ("link", "Add device", "\n"), ("page", "Add device", ""),
        ("textbox", "Device name, optional", "new-{view}"), ("textbox", "Tags to give", "line=4"),
        ("button", "Mint token", "\n"), ("see", "#token", "tge_"),
    )),
    "publish a model": ("/artifacts", (
        ("link", "Publish version", "\n"), ("page", "Publish version", ""),
        ("textbox", "Artifact name", "keys-model-{view}"), ("textbox", "Version", "1"),
        ("file", "File", "{files}/model.onnx"), ("combobox", "Framework", "onnx"),
        ("button", "Publish version", "\n"), ("page", "keys-model-{view} 1", ""),
    )),
    "publish a config": ("/artifacts", (
        ("link", "Publish version", "\n"), ("page", "Publish version", ""),
        ("link", "config", "\n"), ("see", "#main", "Destination, optional"), ("page", "Publish version", ""),
        ("textbox", "Artifact name", "keys-config-{view}"), ("textbox", "Version", "1"),
        ("file", "File", "{files}/app.conf"), ("textbox", "Destination, optional", "/etc/app/app.conf"),
        ("button", "Publish version", "\n"), ("page", "keys-config-{view} 1", ""),
    )),
    "make a group by a selector, with its preview": ("/groups", (
        ("link", "New group", "\n"), ("page", "New group", ""),
        ("textbox", "Name", "keys-group-{view}"), ("textbox", "Selector", 'tags.keys == "{view}"'),
        ("button", "Preview members", "\n"), ("see", "#preview", "keys-{view}-00"), ("page", "New group", ""),
        ("button", "Create group", "\n"), ("page", "keys-group-{view}", ""),
    )),
    "hold a device from the list": ("/devices?q=keys-{view}-01", (
        ("checkbox", "Select keys-{view}-01", " "), ("button", "Act on the selected devices", "\n"),
        ("page", "Act on 1 device", ""), ("textbox", REASON, "spare part\n"), ("see", "tbody", "spare part"),
    )),
    "freeze the fleet, and release it": ("/freeze", (
        ("textbox", REASON, "stocktaking {view}\n"), ("see", "#frozen", "stocktaking {view}"),
        ("page", "Fleet freeze", ""), ("button", "Release the freeze", "\n"), ("see", ".toast", "Freeze released"),
    )),
    "make a role": ("/roles", (
        ("link", "New role", "\n"), ("page", "New role", ""), ("textbox", "Name", "keys-{view}"),
        ("checkbox", "rollouts.read …", " "), ("button", "Create role", "\n"), ("page", "keys-{view}", ""),
    )),
    "make a user": ("/users", (
        ("link", "New user", "\n"), ("page", "New user", ""), ("textbox", "Name", "keys-{view}"),
        ("combobox", "Role", "viewer"), ("button", "Create user", "\n"), ("page", "keys-{view}", ""),
    )),
    "make an API key, and revoke it": ("/api-keys", (
        ("textbox", "Name", "keys-{view}"), ("combobox", "Role", "viewer"), ("button", "Create API key", "\n"),
        ("see", "#secret", "tg_"), ("page", "API keys", ""),
        ("sheet", "Revoke API key", "\n"), ("button", "Revoke the API key", "\n"), ("see", ".toast", "API key revoked"),
    )),
    "change the settings": ("/settings", (
        ("textbox", "Days that the history of devices is kept", "365"),
        ("button", "Change settings of fleet default", "\n"), ("see", ".toast", "Settings changed"),
    )),
    "make a channel, and move it": ("/channels", (
        ("sheet", "New channel", "\n"), ("textbox", "Channel", "keys-{view}"),
        ("combobox", "Artifact and version", "keys-stable/1"), ("textbox", REASON, "first\n"),
        ("page", "keys-{view}", ""), ("sheet", "Move channel", "\n"), ("combobox", "Version", "2"),
        ("textbox", REASON, "once more"), ("button", "Move channel", "\n"), ("see", "#main", "once more"),
    )),
    "ask for a log, and cancel that": ("/devices/keys-{view}-00", (
        ("link", "Logs", "\n"), ("page", "Logs", ""), ("combobox", "Log source", "app"),
        ("button", "Ask for the log", "\n"), ("see", "#requests", "waiting"), ("page", "Logs", ""),
        ("button", "Cancel request …", "\n"), ("see", "#requests", "cancelled"),
    )),
    "decommission a device": ("/devices/keys-{view}-01", (
        ("sheet", "Decommission device", "\n"), ("checkbox", "Also stop its managed workloads", " "),
        ("textbox", "Type the device name", "keys-{view}-01"),
        ("button", "Decommission device", "\n"), ("see", "#standing", "decommissioned"),
    )),
}  # fmt: skip


@view
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow(site: Site, open_window: Opens, files: Path, flow: str, view: str) -> None:
    begins, steps = FLOWS[flow]
    put_in = {"view": view, "files": str(files)}
    window = open_window(**VIEWS[view])
    window.enter()
    page = window.go(begins.format(**put_in))
    drive(page, ("skip", "", ""), *((role, name.format(**put_in), keys.format(**put_in)) for role, name, keys in steps))


@view
@pytest.mark.timeout(180)
def test_a_rollout_from_sign_in_to_abort(site: Site, open_window: Opens, view: str) -> None:
    name = f"aaa-keys-{view}"
    site.publish(name, "1")
    fleet = site.devices(name, 4, name)
    window = open_window(**VIEWS[view])
    page = window.go("/signin?next=/rollouts")
    drive(
        page,
        ("textbox", "User name", "admin"), ("textbox", "Password", f"{PASSWORD}\n"), ("page", "Rollouts", ""),
        ("link", "Create rollout", "\n"), ("page", "Create rollout", ""),
        ("combobox", "Artifact", f"{name} 1"), ("combobox", "Target", "a group"), ("combobox", "Group", name),
        ("textbox", "Wave 1, to", "25 %"), ("combobox", "Wave 2, approval", "manual"),
        ("button", "Create rollout", "\n"), ("page", f"{name} 1 to group {name}", ""),
    )  # fmt: skip
    rollout = int(page.url.partition("?")[0].rpartition("/")[2])
    site.run(fleet, 2)
    standing(page, "waiting_for_approval")
    drive(page, ("sheet", "Approve wave 2", "\n"), ("button", "Release wave 2 to 1 device", "\n"))
    standing(page, "running")
    drive(page, ("skip", "", ""), ("sheet", "Halt rollout", "\n"), ("textbox", REASON, "line 4\n"))
    standing(page, "halted")
    drive(
        page, ("skip", "", ""), ("sheet", "Resume rollout", "\n"), ("textbox", "Why is it safe now?", "looked at it\n")
    )
    standing(page, "running")
    drive(
        page,
        ("skip", "", ""), ("link", "Abort rollout", "\n"),
        ("page", f"Abort rollout {rollout}: {name} 1 to group {name}", ""),
        ("textbox", REASON, "enough"), ("textbox", "To confirm, type the artifact name", f"{name}\n"),
    )  # fmt: skip
    standing(page, "aborted")
    assert get_rollout(site.scope, site.node, rollout).reason == "enough"


def standing(page: Page, state: str) -> None:
    """The page comes to say this state: by itself where it has scripts, else when it is loaded again."""
    if page.locator("#live-word").inner_text() != "Live" and page.locator("#standing").inner_text().find(state) < 0:
        page.reload()
    expect(page.locator("#standing")).to_contain_text(state)
