"""The catalog in a browser: channels and SBOMs by keyboard and without scripts, and the pages in every situation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.browser.serving import Opens, Site

from tidegate.control.services import artifacts, channels, sboms, uploads
from tidegate.control.services.rollouts import Target

pytestmark = pytest.mark.browser

LONG = "a-name-that-a-build-server-gave-" + "x" * 90
SPDX: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "vad",
    "documentNamespace": "https://example.com/spdx/catalog", "creationInfo": {"created": "2026-11-01T12:00:00Z",
    "creators": ["Tool: hand"]},
    "packages": [{"SPDXID": "SPDXRef-z", "name": "<b>zlib</b>", "versionInfo": "1.3", "downloadLocation": "NONE"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog(site: Site) -> Site:
    """Two versions that run, one of them withdrawn with a channel at it; a long name; a valid and an invalid SBOM."""
    for version in ("1.0", "2.0"):
        site.publish("catalog-model", version)
    site.publish(LONG, "1+" + "y" * 120)
    fleet = site.devices("catalog", 4, "catalog")
    for version in ("1.0", "2.0"):
        target = Target(group="catalog") if version == "1.0" else Target(devices=("catalog-00",))
        site.roll_out("catalog-model", version, target, [{"percent": 100}])
        site.run(fleet, 3)
    channels.move(site.scope, site.node, "catalog-model", "edge", "2.0", "first")
    artifacts.withdraw(site.scope, site.node, "catalog-model", "2.0", "leaks memory")
    for version, document in (("1.0", SPDX), ("2.0", {"bomFormat": "CycloneDX", "specVersion": "1.6", "x": 1})):
        data = json.dumps(document).encode()
        upload = uploads.upload_stream(site.scope, site.node, "sbom.json", len(data), [data])
        sboms.attach(site.scope, site.node, "catalog-model", version, upload.id)
    while sboms.check_next(site.node):
        continue
    uploads.create(site.scope, site.node, "half-way.onnx", 1 << 20)
    return site


def _checked(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    trouble = [f"{one['id']} at {[node['target'] for node in one['nodes'][:3]]}" for one in found]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        trouble.append("wider than the window")
    return [f"{page.url}: {one}" for one in trouble]


@pytest.mark.timeout(120)
def test_pages_fit_and_are_accessible_in_every_situation(catalog: Site, open_window: Opens) -> None:
    window = open_window(viewport={"width": 360, "height": 800}, color_scheme="dark", reduced_motion="reduce")
    window.enter()
    trouble = []
    for path in (
        "/channels/catalog-model/edge", "/artifacts/catalog-model/2.0", "/artifacts/catalog-model/1.0/sbom",
        "/compare/catalog-model?a=1.0&b=2.0", "/running?show=withdrawn",
        f"/artifacts/{LONG}", f"/artifacts/{LONG}/1+{'y' * 120}",
    ):  # fmt: skip
        trouble += _checked(window.go(path))
    assert trouble == []


def test_a_channel_is_moved_by_keyboard_alone(catalog: Site, open_window: Opens) -> None:
    window = open_window()
    window.enter()
    page = window.go("/channels/catalog-model/edge")
    expect(page.get_by_text("catalog-model 2.0 was withdrawn")).to_be_visible()
    expect(page.get_by_role("button", name="Create rollout")).to_have_attribute("aria-disabled", "true")
    page.locator("summary", has_text="Move channel").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("1.0")
    page.keyboard.press("Tab")
    page.keyboard.type("back to the proven one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Channel moved")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="back to the proven one")).to_be_visible()
    page.get_by_role("link", name="Create rollout").click()
    expect(page.locator("#artifact")).to_have_value("channel:catalog-model/edge")
    found = channels.get(catalog.scope, catalog.node, "catalog-model", "edge")
    assert (found.version, found.moved_by) == ("1.0", "user:admin")


def test_an_sbom_is_attached_without_scripts_and_its_verdict_comes(
    catalog: Site, open_window: Opens, tmp_path: Path
) -> None:
    window = open_window(java_script_enabled=False)
    window.enter()
    file = tmp_path / "mended.json"
    file.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}))
    page = window.go("/artifacts/catalog-model/2.0")
    expect(page.locator("#sbom")).to_contain_text("invalid")
    page.locator("summary", has_text="Replace SBOM").click()
    page.get_by_label("SBOM file").set_input_files(file)
    page.get_by_role("button", name="Attach SBOM").click()
    expect(page.get_by_role("status").filter(has_text="SBOM received")).to_be_visible()
    live = open_window()
    live.enter()
    expect(live.go("/artifacts/catalog-model/2.0").locator("#sbom")).to_contain_text("CycloneDX 1.6", timeout=20_000)
    expect(live.page.locator("#sbom")).to_contain_text("1 earlier SBOM")


def test_what_a_document_says_stays_text(catalog: Site, open_window: Opens) -> None:
    window = open_window()
    window.enter()
    page = window.go("/artifacts/catalog-model/1.0/sbom")
    expect(page.get_by_role("rowheader", name="<b>zlib</b>")).to_be_visible()


def test_from_a_withdrawn_version_that_still_runs_to_its_device_and_its_export(
    catalog: Site, open_window: Opens
) -> None:
    window = open_window()
    window.enter()
    page = window.go("/running?artifact=catalog-model")
    row = page.get_by_role("row").filter(has_text="still running: roll out another version")
    row.get_by_role("link", name="1", exact=True).click()
    devices = page.locator("#devices")
    expect(devices.get_by_role("rowheader")).to_have_text(["catalog-00"])
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export CSV").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[1].startswith("catalog-00,catalog-model,2.0,2.0,yes,")
    assert len(lines) == 2
