"""What every list promises (SPEC section 13), walked over the table.

Each is walked by its cursor while rows come, go and change between two slices: what was there all along is met once,
and the walk ends. A list that is added later has to be filled here.
"""

from __future__ import annotations

import base64
import json
import random
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import sqlalchemy as sa
from tests.api.site import BY_NAME, Site, session

from tidegate.control.api.operations import Operation
from tidegate.control.services import secrets
from tidegate.control.store.schema import assignments, device_artifacts, devices
from tidegate.control.workers import sboms
from tidegate.wire.operator.common import ListQuery, Page

#: Every call that answers a slice of a list.
LISTS = [
    name for name, call in BY_NAME.items() if isinstance(call, Operation) and typing.get_origin(call.answer) is Page
]  # fmt: skip


def test_every_list_takes_limit_offset_and_cursor() -> None:
    for name in LISTS:
        query = BY_NAME[name].query
        assert isinstance(query, type), f"{name} takes no query"
        assert issubclass(query, ListQuery), f"{name} cannot be walked"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_list_keeps_its_bounds_and_refuses_cursors_that_are_not_its_own(site: Site) -> None:
    _attach(site)
    site.ok("POST", "/v1/devices/cam-1/logs", {"source": "syslog"})
    for name in LISTS:
        path = site.path(BY_NAME[name].path)
        for wrong, pointer in (
            ("limit=0", "/limit"), ("limit=201", "/limit"), ("limit=x", "/limit"), ("offset=-1", "/offset"),
            ("offset=10001", "/offset"), ("cursor=%21", "/cursor"), ("cursor=bm90IG91cnM", "/cursor"),
            (f"cursor={'A' * 513}", "/cursor"), (f"cursor={_cursor([[]])}", "/cursor"),
            (f"cursor={_cursor([2**64])}", "/cursor"), (f"cursor={_cursor([None, None, None, None])}", "/cursor"),
            (f"offset=1&cursor={_cursor([1])}", "/offset"),
        ):  # fmt: skip
            answer = site.call("GET", f"{path}?{wrong}")
            assert answer.status == 422, f"{name}?{wrong}: {answer.status} {answer.body!r}"
            assert answer.json()["errors"][0]["pointer"] == pointer, f"{name}?{wrong}: {answer.body!r}"


def _cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


# -- filling ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filled:
    """How to fill a list: `add` makes one and gives what `of` reads from an item; `end` takes one away.

    `change` alters what the list shows of one; with `once` it can be altered no more. `fixed`: all of it is there from
    the beginning, so that `add` gives them one by one and none comes later.
    """

    add: Callable[[Site], str]
    of: Callable[[Any], str]
    end: Callable[[Site, str], object] | None = None
    change: Callable[[Site, str], object] | None = None
    query: str = ""
    most: int = 5
    once: bool = False
    fixed: bool = False


def _named(item: Any) -> str:
    return str(item["name"])


def _id(item: Any) -> str:
    return str(item["id"])


def _add_session(site: Site) -> str:
    return secrets.digest(session(site.node, site.new()))[:16]


def _add_operator(site: Site) -> str:
    return str(site.ok("POST", "/v1/operators", {"name": site.new(), "password": "correct horse battery"})["name"])


def _add_audited(site: Site) -> str:
    site.ok("PATCH", "/v1/devices/cam-3/tags", {"put": {"seen": site.new()}})
    return str(site.ok("GET", "/v1/audit?limit=1")["items"][0]["sequence"])


def _add_channel(site: Site) -> str:
    name = site.new()
    site.ok("PUT", f"/v1/channels/vad/{name}", {"version": "1", "reason": "new"})
    return name


def _add_move(site: Site) -> str:
    version = {"1": "2", "2": "1"}[site.ok("GET", "/v1/channels/vad/stable")["version"]]
    site.ok("PUT", "/v1/channels/vad/stable", {"version": version, "reason": "back and forth"})
    return str(site.ok("GET", "/v1/channels/vad/stable/history?limit=1")["items"][0]["id"])


def _add_log(site: Site) -> str:
    """One that waits; the one before no longer does, as only a few may wait."""
    before = site.ok("GET", "/v1/devices/cam-1/logs?limit=1")["items"]
    if before and before[0]["state"] == "waiting":
        site.ok("DELETE", f"/v1/devices/cam-1/logs/{before[0]['id']}")
    return str(site.ok("POST", "/v1/devices/cam-1/logs", {"source": "syslog"})["id"])


def _add_rollout(site: Site, device: str) -> str:
    target = {"devices": [device]}
    return _id(site.ok("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": target}))


def _runs(site: Site, device: str, version: str, artifact: str = "vad") -> None:
    """What a report leaves."""
    with site.node.db.write() as tx:
        known = tx.scalar(sa.select(devices.c.id).where(devices.c.name == device))
        mine = sa.and_(device_artifacts.c.device_id == known, device_artifacts.c.artifact_name == artifact)
        if not tx.execute(sa.update(device_artifacts).where(mine).values(running_version=version)).rowcount:
            row = {"device_id": known, "artifact_name": artifact, "running_version": version}
            tx.execute(sa.insert(device_artifacts).values(row))


def _add_running(site: Site) -> str:
    name = site.enroll(site.new())
    _runs(site, name, "1")
    return name


def _add_version(site: Site) -> str:
    """A version of its own, run by a device of its own name."""
    name = site.enroll(site.new())
    _runs(site, name, name)
    return name


def _attach(site: Site, components: int = 9) -> list[str]:
    """Make the site's version have an SBOM; gives the names of its components."""
    names = [site.new() for _ in range(components)]
    listed = [{"type": "library", "name": name, "version": "1"} for name in names]
    document = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": listed}).encode()
    upload = site.upload(document)
    site.ok("POST", "/v1/artifacts/vad/1/sbom", {"upload": upload})
    sboms.RECONCILER.run(site.node)
    assert site.ok("GET", "/v1/artifacts/vad/1/sbom")["current"]["state"] == "valid"
    return names


def _add_component(site: Site) -> str:
    waiting = site.remaining.setdefault("components", [])
    if not waiting:
        waiting.extend(_attach(site, FILLED["sboms.components"].most))
    return waiting.pop()


def _add_assigned(site: Site) -> str:
    """A device of one rollout in two waves, made with the first."""
    waiting = site.remaining.setdefault("assigned", [])
    if not waiting:
        waiting.extend(site.enroll(site.new()) for _ in range(FILLED["rollouts.assignments"].most))
        strategy = {"waves": [{"percent": 50}, {"percent": 100}]}
        body = {"artifact": "vad", "version": "2", "target": {"devices": waiting}, "strategy": strategy}
        site.there["rollout"] = _id(site.ok("POST", "/v1/rollouts", body))
    return waiting.pop()


def _answered(site: Site, **chosen: Any) -> None:
    """What a report leaves: what decides where an assignment stands among those that need attention."""
    state = random.Random(site.new()).choice(["failed", "healthy", "applying"])
    with site.node.db.write() as tx:
        device = sa.select(devices.c.id).where(devices.c.name == chosen["device"]).scalar_subquery()
        asked = [assignments.c.device_id == device]
        if "rollout" in chosen:
            asked.append(assignments.c.rollout_id == int(chosen["rollout"]))
        tx.execute(sa.update(assignments).where(*asked).values(state=state))


#: Audit records come first: whatever is done to fill the others is one more.
FILLED = {
    "audit.list": Filled(_add_audited, lambda item: str(item["sequence"])),
    "operator_sessions.list": Filled(
        _add_session, _id, lambda site, one: site.ok("DELETE", f"/v1/operator-sessions/{one}"),
    ),
    "operators.list": Filled(
        _add_operator, _named, None, lambda site, name: site.ok("POST", f"/v1/operators/{name}/disable"), once=True,
    ),
    "api_keys.list": Filled(
        lambda site: str(site.ok("POST", "/v1/api-keys", {"name": site.new(), "role": "viewer"})["id"]), _id, None,
        lambda site, key: site.ok("DELETE", f"/v1/api-keys/{key}"), once=True,
    ),
    "artifacts.list": Filled(
        lambda site: f"{site.artifact(site.new())['name']}/1", lambda item: f"{item['name']}/{item['version']}", None,
        lambda site, one: site.ok("POST", f"/v1/artifacts/{one}/withdraw", {"reason": "bad"}), once=True,
    ),
    "channels.list": Filled(
        _add_channel, lambda item: str(item["channel"]),
        lambda site, name: site.ok("DELETE", f"/v1/channels/vad/{name}?reason=old"),
        lambda site, name: site.ok("PUT", f"/v1/channels/vad/{name}", {"version": "2", "reason": "on"}), once=True,
    ),
    "channels.history": Filled(_add_move, _id),
    "sboms.components": Filled(_add_component, _named, fixed=True),
    "devices.list": Filled(
        lambda site: site.enroll(site.new()), _named,
        lambda site, name: site.ok("POST", f"/v1/devices/{name}/decommission", {"confirm": name}),
        lambda site, name: site.ok("PATCH", f"/v1/devices/{name}/tags", {"put": {"seen": site.new()}}),
    ),
    "devices.logs": Filled(_add_log, _id),
    "devices.rollouts": Filled(
        lambda site: _add_rollout(site, "cam-1"), lambda item: str(item["rollout"]), None,
        lambda site, one: _answered(site, device="cam-1", rollout=one),
    ),
    "tokens.list": Filled(
        lambda site: str(site.ok("POST", "/v1/tokens", {})["id"]), _id,
        lambda site, token: site.ok("DELETE", f"/v1/tokens/{token}"), query="live=true",
    ),
    "groups.list": Filled(
        lambda site: str(site.ok("POST", "/v1/groups", {"name": site.new()})["group"]["name"]), _named,
        lambda site, name: site.ok("DELETE", f"/v1/groups/{name}"),
        lambda site, name: site.ok("POST", f"/v1/groups/{name}/add", {"devices": ["cam-2"]}),
    ),
    "rollouts.list": Filled(
        lambda site: _add_rollout(site, "cam-2"), _id, None,
        lambda site, one: site.call("POST", f"/v1/rollouts/{one}/abort", {}),
    ),
    "rollouts.assignments": Filled(
        _add_assigned, lambda item: str(item["device"]), None,
        lambda site, device: _answered(site, device=device), fixed=True, most=8,
    ),
    "running.versions": Filled(
        _add_version, lambda item: str(item["version"]), lambda site, name: _runs(site, name, "1"),
        lambda site, name: _runs(site, "cam-3", name, "other"), query="artifact=vad",
    ),
    "running.devices": Filled(
        _add_running, lambda item: str(item["device"]),
        lambda site, name: site.ok("POST", f"/v1/devices/{name}/decommission", {"confirm": name}),
        lambda site, name: _runs(site, name, site.new()), query="artifact=vad",
    ),
}  # fmt: skip


# -- walking ----------------------------------------------------------------------------------------------------------


def _walk(site: Site, path: str, query: str, meanwhile: Callable[[], None]) -> list[Any]:
    seen: list[Any] = []
    cursor = ""
    while True:
        asked = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = site.ok("GET", f"{path}?{'&'.join(filter(None, [urlencode(asked), query]))}")
        assert len(page["items"]) <= 2
        seen += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return seen
        assert len(seen) < 500, "the walk does not end"
        meanwhile()


def _walked(site: Site, name: str) -> str:
    """Walk one list while others write; gives what was wrong."""
    filled = FILLED[name]
    chance = random.Random(name)
    alive = {filled.add(site) for _ in range(filled.most)}
    all_along, unchanged = set(alive), set(alive)

    def meanwhile() -> None:
        if chance.random() < 0.6 and len(alive) < 3 * filled.most and not filled.fixed:
            made = filled.add(site)
            alive.add(made)
            unchanged.add(made)
        if filled.end is not None and alive and chance.random() < 0.5:
            gone = chance.choice(sorted(alive))
            filled.end(site, gone)
            for left in (alive, all_along, unchanged):
                left.discard(gone)
        among = sorted(unchanged if filled.once else alive)
        if filled.change is not None and among and (filled.fixed or chance.random() < 0.5):
            changed = chance.choice(among)
            filled.change(site, changed)
            unchanged.discard(changed)

    found = _walk(site, site.path(BY_NAME[name].path), filled.query, meanwhile)
    seen = [filled.of(item) for item in found]
    doubled = sorted(one for one in set(seen) if seen.count(one) > 1)
    missed = sorted(all_along - set(seen))
    return f"{name}: met twice: {doubled}, missed: {missed}" if doubled or missed else ""


def test_a_walk_misses_and_doubles_nothing_that_was_there_all_along(site: Site) -> None:
    assert set(LISTS) == set(FILLED), "a list is walked here, or it is not known to be stable"
    assert [wrong for name in FILLED if (wrong := _walked(site, name))] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_cursor_of_one_order_of_a_rollouts_devices_is_none_of_the_other(site: Site) -> None:
    path = site.path("/v1/rollouts/{rollout}/assignments")
    for order, other in (("wave", "attention"), ("attention", "wave")):
        cursor = site.ok("GET", f"{path}?sort={order}&limit=2")["next_cursor"]
        assert len(site.ok("GET", f"{path}?sort={order}&limit=2&cursor={cursor}")["items"]) == 1
        refused = site.call("GET", f"{path}?sort={other}&limit=2&cursor={cursor}")
        assert (refused.status, refused.json()["errors"][0]["pointer"]) == (422, "/cursor")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_device_of_a_rollout_that_fails_before_a_walk_comes_to_it_is_met(site: Site) -> None:
    path = site.path("/v1/rollouts/{rollout}/assignments")
    first = site.ok("GET", f"{path}?limit=2")
    last = ({"cam-1", "cam-2", "cam-3"} - {item["device"] for item in first["items"]}).pop()
    with site.node.db.write() as tx:
        device = sa.select(devices.c.id).where(devices.c.name == last).scalar_subquery()
        tx.execute(sa.update(assignments).where(assignments.c.device_id == device).values(state="failed"))
    rest = site.ok("GET", f"{path}?limit=2&cursor={first['next_cursor']}")
    assert [item["device"] for item in rest["items"]] == [last]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_walk_through_an_sbom_that_is_replaced_meanwhile_says_so(site: Site) -> None:
    _attach(site)
    path = "/v1/artifacts/vad/1/sbom/components"
    begun = site.ok("GET", f"{path}?limit=2")
    _attach(site)
    gone_on = site.call("GET", f"{path}?limit=2&cursor={begun['next_cursor']}")
    assert (gone_on.status, gone_on.json()["errors"][0]["pointer"]) == (422, "/cursor")
    assert "begin again" in gone_on.json()["detail"]
