"""Logs of a device in the console: asked for, followed live, read as text, saved."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.serving import HOSTILE, Opens, Site

from tidegate.control.services import logs, registration
from tidegate.wire.device import HardwareProfile, Register

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_log_is_asked_for_read_and_saved(site: Site, open_window: Opens, tmp_path: Path, scripts: bool) -> None:
    name = f"logs-{'with' if scripts else 'without'}"
    device = site.devices(name, 1)[0].ref
    window = open_window(java_script_enabled=scripts)
    page = window.enter()
    window.go(f"/devices/{device.name}")
    page.get_by_role("link", name="Logs", exact=True).click()
    expect(page.get_by_text("This device offers no log")).to_be_visible()

    registration.register(site.node, device, Register(HardwareProfile(), "1", log_sources=("app", "kernel")))
    page.reload()
    page.get_by_label("Log source").select_option("kernel")
    page.get_by_label("At most").select_option("64 KiB")
    page.get_by_role("button", name="Ask for the log").click()
    row = page.locator("#requests tbody tr").first
    expect(row).to_contain_text("waiting")
    asked = logs.listed(site.scope, site.node, device.name).items[0]
    assert (asked.source, asked.max_bytes) == ("kernel", 65_536)

    text = f"{HOSTILE}\nthe last line\n"
    logs.received(site.node, device, asked.id, gzip.compress(text.encode()))
    if not scripts:
        page.reload()
    expect(row).to_contain_text("received", timeout=20_000)
    row.get_by_role("link", name="kernel").click()
    expect(page.get_by_role("region", name="Log")).to_have_text(text.strip())
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as .gz").click()
    assert saved.value.suggested_filename == f"{device.name}-kernel-{asked.id}.log.gz"
    saved.value.save_as(tmp_path / "log.gz")
    assert gzip.decompress((tmp_path / "log.gz").read_bytes()).decode() == text


def test_a_request_is_cancelled_and_a_refusal_is_shown(site: Site, open_window: Opens) -> None:
    device = site.devices("logs-refused", 1)[0].ref
    first, second = (logs.ask(site.scope, site.node, device.name, "app", 4096) for _ in range(2))
    logs.refused(site.node, device, second.id, f"cannot read the log app: {HOSTILE}")
    window = open_window()
    page = window.enter()
    window.go(f"/devices/{device.name}/logs")
    expect(page.locator("#requests")).to_contain_text(HOSTILE)
    page.get_by_role("button", name=f"Cancel request {first.id}").click()
    expect(page.get_by_text("The device is not asked any more.")).to_be_visible()
    expect(page.locator("#requests")).to_contain_text("cancelled")
