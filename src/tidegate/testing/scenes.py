"""What of the console has no address of its own: filled forms, refusals, what is shown once, and who may not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlencode

from playwright.sync_api import Page

from tidegate.control.domain.access import Scope
from tidegate.control.services import artifacts, audit_log, channels, devices, roles
from tidegate.control.services.devices import Search
from tidegate.control.services.node import Node
from tidegate.control.store.audit import Filter
from tidegate.testing.furnished import CONFIG, SELECTOR, SIGNED_ON, VIEWER
from tidegate.wire.operator.artifacts import ListArtifacts

#: Who is not signed in; no operator's name is empty.
NOBODY = ""
BROKEN = 'arch == "arm64" and ram_bytes >= 8GX and tags.site in ("plant-7", "plant-8")'


@dataclass(frozen=True, slots=True)
class Scene:
    """A page as the operator `who` left it: opened at `path`, then `act`ed on."""

    path: str
    act: Callable[[Page], None] | None = None
    who: str = "admin"


def scenes(node: Node, scope: Scope, rollouts: dict[str, int]) -> dict[str, Scene]:
    """By name; what the node has nothing for is left out."""
    found = {
        "sign in": Scene("/signin", who=NOBODY),
        "sign in refused": Scene("/signin", _wrong_password, who=NOBODY),
        "not found": Scene("/devices/nobody-bears-this-name"),
        "token shown once": Scene("/add-device", _mint),
        "token with mistakes": Scene("/add-device", _mint_badly),
        "key shown once": Scene("/api-keys", _key),
        "user shown once": Scene("/new-user", _user),
        "new group with preview": Scene("/new-group?" + urlencode({"selector": SELECTOR})),
        "new group with an error": Scene("/new-group?" + urlencode({"selector": BROKEN})),
        "publish config with mistakes": Scene("/publish?kind=config", _publish_badly),
        "devices by a broken selector": Scene("/devices?" + urlencode({"selector": BROKEN})),
        "devices, none found": Scene("/devices?q=nobody"),
        "audit of the node": Scene("/audit?chain=node"),
        "audit record": Scene(f"/audit?record={_last_record(node, scope)}#record"),
        "create rollout with mistakes": Scene("/rollouts/new", _rollout_badly),
        "import checked": Scene("/import-devices", _import),
        "database busy": Scene("/api-keys", partial(_while_locked, node)),
    }
    return found | dict(_of_a_fleet(node, scope, rollouts))


def _of_a_fleet(node: Node, scope: Scope, rollouts: dict[str, int]) -> Iterator[tuple[str, Scene]]:
    for shown, number in rollouts.items():
        yield f"rollout {shown}", Scene(f"/rollouts/{number}")
    if not rollouts:
        return
    yield "rollout, all its devices", Scene(f"/rollouts/{rollouts['running']}?show=all")
    yield "refused by a permission", Scene("/users", who=VIEWER)
    yield "rollout for a viewer", Scene(f"/rollouts/{rollouts['waiting']}", who=VIEWER)
    yield "rollout, a verb opened", Scene(f"/rollouts/{rollouts['running']}", _open)
    yield "abort of the whole fleet", Scene(f"/rollouts/{rollouts['completed']}/abort")
    yield "abort of what runs", Scene(f"/rollouts/{rollouts['running']}/abort")
    names = [view.device.name for view in devices.listed(scope, node, Search(state="active"), limit=6).items]
    yield "devices selected", Scene("/selected-devices?" + urlencode([("device", name) for name in names]))
    yield "device explained", Scene(f"/devices/{names[0]}?" + urlencode({"artifact": _an_artifact(node, scope)}))
    held = devices.listed(scope, node, Search(held=True), limit=1).items
    if held:
        yield "device held", Scene(f"/devices/{held[0].device.name}")
    gone = devices.listed(scope, node, Search(state="decommissioned"), limit=1).items
    if gone:
        yield "device decommissioned", Scene(f"/devices/{gone[0].device.name}")
    yield "channel moved", Scene(_channel(node, scope))
    yield "config version", Scene(f"/artifacts/{CONFIG}/2026.11.2")
    yield "user of a provider", Scene(f"/users/{SIGNED_ON}")
    yield "user who may look", Scene(f"/users/{VIEWER}")
    yield "own role", Scene("/roles/" + _own_role(node, scope))
    for place, version in enumerate(_compared(node, scope)):
        yield f"compared {place}", Scene(version)


def _an_artifact(node: Node, scope: Scope) -> str:
    return artifacts.listed(scope, node, ListArtifacts(search="weld-seam", limit=1)).items[0].name


def _last_record(node: Node, scope: Scope) -> int:
    found = audit_log.list_records(scope, node, Filter(), limit=1).items
    return found[0].sequence if found else 0


def _channel(node: Node, scope: Scope) -> str:
    """The one that was moved most."""
    found = next(one for one in channels.listed(scope, node, limit=200).items if one.name == "canary")
    return f"/channels/{quote(found.artifact)}/canary"


def _own_role(node: Node, scope: Scope) -> str:
    return next(name for name in roles.names(scope, node) if name.startswith("release-crew"))


def _compared(node: Node, scope: Scope) -> Iterator[str]:
    for text in ("surface-inspector", "weld-seam"):
        items = artifacts.listed(scope, node, ListArtifacts(search=text, limit=2)).items
        yield f"/compare/{quote(items[0].name)}?" + urlencode({"a": items[-1].version, "b": items[0].version})


def _press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).first.click()
    page.wait_for_load_state()


def _open(page: Page) -> None:
    """The first verb that is possible: to halt, or to resume where all fails."""
    page.locator("main details.act > summary").first.click()


def _wrong_password(page: Page) -> None:
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password", exact=True).fill("not the right one")
    _press(page, "Sign in")


def _mint(page: Page) -> None:
    page.locator("[name=tags]").fill("site=plant-8 line=press")
    _press(page, "Mint token")


def _mint_badly(page: Page) -> None:
    page.locator("[name=uses]").fill("0")
    page.locator("[name=device_name]").fill("Press 7")
    _press(page, "Mint token")


def _key(page: Page) -> None:
    page.locator("[name=name]").first.fill(f"report-{page.viewport_size['width'] if page.viewport_size else 0}")
    _press(page, "Create")


def _user(page: Page) -> None:
    page.locator("[name=name]").first.fill(f"desk-{id(page)}")
    _press(page, "Create")


def _publish_badly(page: Page) -> None:
    page.locator("[name=name]").fill("opc-endpoints")
    page.locator("[name=version]").fill("2026.11.3")
    page.locator("[name=destination]").fill("/etc/../etc/passwd")
    page.locator("[name=file]").set_input_files({"name": "endpoints.yaml", "mimeType": "text/yaml", "buffer": b"a: 1"})
    _press(page, "Publish")


def _rollout_badly(page: Page) -> None:
    if page.locator("[name=to]").count() == 0:
        return
    page.locator("[name=to]").first.fill("60 %")
    page.locator("[name=max_failure_rate]").fill("a few")
    _press(page, "Create rollout")


def _import(page: Page) -> None:
    text = b"name,tags.site,groups\np9-press-001,plant-9,gateways\np9-press-002,plant-9,nobody-made-this\nPress 3,,\n"
    page.locator("[name=file]").set_input_files({"name": "devices.csv", "mimeType": "text/csv", "buffer": text})
    page.locator("main form button").first.click()
    page.wait_for_load_state()


def _while_locked(node: Node, page: Page) -> None:
    """Somebody else holds the database for longer than the node waits."""
    with closing(sqlite3.connect(node.settings.data_dir / "tidegate.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        _key(page)
        other.rollback()
