"""Importing and exporting devices as a sheet: all or nothing on both databases, over HTTP and on the command line."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import Scope
from tidegate.control.services import device_sheet, devices, groups, holds, work
from tidegate.control.services.device_sheet import read
from tidegate.control.services.devices import Search
from tidegate.control.services.holds import HeldGroup
from tidegate.control.services.node import Node
from tidegate.control.store import engine, sheets
from tidegate.control.store.schema import audit_records, device_imports, enrollment_tokens
from tidegate.errors import Conflict, Forbidden, Invalid
from tidegate.testing.asgi import Client
from tidegate.testing.channel import enroll as enroll_for_real
from tidegate.testing.channel import new_key
from tidegate.testing.fleet import enroll
from tidegate.testing.node import admin_scope, api_key

SHEET = b"name,groups,tag:site,tag:line\na,lab,plant-7,\nb,floor lab,,2\n"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    found = admin_scope(node)
    enroll(node, found, ["a", "b", "c"], group="floor")
    groups.create(found, node, "lab")
    devices.change_tags(found, node, "a", put={"site": "plant-1", "line": "1", "kept": "yes"})
    return found


def standing(scope: Scope, node: Node) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
    found = devices.listed(scope, node, Search()).items
    return {one.device.name: (dict(one.device.tags), one.device.groups) for one in found}


def test_a_sheet_sets_what_it_says_in_one_act_and_leaves_the_rest(node: Node, scope: Scope) -> None:
    document = read(SHEET)
    before = standing(scope, node)
    seen = device_sheet.preview(scope, node, document)
    assert standing(scope, node) == before, "a preview changes nothing"
    assert dict(seen.shown) == {"a": "site=plant-7, not line, into lab, out of floor", "b": "line=2, into lab"}
    done = device_sheet.carry_out(scope, node, document)
    assert standing(scope, node) == {
        "a": ({"site": "plant-7", "kept": "yes"}, ("lab",)),
        "b": ({"line": "2"}, ("floor", "lab")),
        "c": ({}, ("floor",)),
    }
    assert (done.rows, done.changed, done.tags_put, done.tags_removed) == (2, 2, 2, 1)
    assert (done.groups_joined, done.groups_left) == (2, 1)
    with node.db.read() as tx:
        query = sa.select(audit_records.c.data).where(audit_records.c.action == "device.import")
        (data,) = [json.loads(text) for text in tx.scalars(query)]
    assert (data["rows"], data["changed"], data["sha256"]) == (2, 2, document.sha256)
    again = device_sheet.carry_out(scope, node, document)
    assert (again.changed, again.unchanged) == (0, 2)


def test_one_mistake_and_nothing_is_changed(node: Node, scope: Scope) -> None:
    before = standing(scope, node)
    document = read(SHEET + b"nobody,,,\nc,nowhere,,\n")
    with pytest.raises(Invalid, match="nothing was changed") as refused:
        device_sheet.carry_out(scope, node, document)
    assert [error.detail for error in refused.value.errors] == [
        "line 4: no active device is called nobody",
        "line 5: no static group is called nowhere; create it first",
    ]
    assert standing(scope, node) == before
    groups.create(scope, node, "computed", selector='arch == "arm64"')
    with pytest.raises(Invalid, match="nothing was changed"):
        device_sheet.carry_out(scope, node, read(b"name,groups\na,computed\n"))


def test_names_not_enrolled_yet_get_tokens_bound_to_them(node: Node, scope: Scope) -> None:
    document = read(SHEET + b"new-1,lab,plant-9,\nnew-2,,,\n")
    assert device_sheet.carry_out(scope, node, document, "skip").unknown_count == 2
    done = device_sheet.carry_out(scope, node, document, "enroll", 3600)
    assert [one.name for one in done.tokens] == ["new-1", "new-2"]
    ref = enroll_for_real(node, done.tokens[0].secret, new_key(), "new-1").device
    assert ref.name == "new-1"
    assert standing(scope, node)["new-1"] == ({"site": "plant-9"}, ("lab",))
    with node.db.read() as tx:
        rows = tx.execute(sa.select(enrollment_tokens.c.may_replace, enrollment_tokens.c.secret_sha256)).all()
        actions = tx.scalars(sa.select(audit_records.c.action)).all()
        data = tx.scalars(sa.select(audit_records.c.data).order_by(audit_records.c.sequence)).all()
    assert [row.may_replace for row in rows] == [False, False]
    assert "token.mint" not in actions, "one act, one record"
    assert done.tokens[0].secret not in "".join(data)


def test_groups_and_tokens_need_their_own_permissions(node: Node, scope: Scope) -> None:
    poor = Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset({"devices.write", "devices.read"}))
    with pytest.raises(Forbidden, match=r"groups\.write"):
        device_sheet.carry_out(poor, node, read(SHEET))
    with pytest.raises(Forbidden, match=r"tokens\.write"):
        device_sheet.carry_out(poor, node, read(b"name\nnew\n"), "enroll")
    assert device_sheet.carry_out(poor, node, read(b"name,tag:site\na,x\n")).changed == 1


def test_devices_come_under_a_hold_by_an_import(node: Node, scope: Scope) -> None:
    holds.hold(scope, node, HeldGroup("lab"), "recall")
    before = work.generation(node)[scope.fleet_id]
    device_sheet.carry_out(scope, node, read(b"name,groups\nc,floor lab\n"))
    assert work.generation(node)[scope.fleet_id] > before, "other replicas learn of it"
    assert [subject for subject, _ in devices.get(scope, node, "c").holds] == ["group lab"]


def test_what_is_exported_imports_to_the_same(node: Node, scope: Scope) -> None:
    groups.create(scope, node, "computed", selector='tags.site == "plant-1"')
    enroll(node, scope, [f"d{number:04d}" for number in range(1_200)])
    text = b"".join(device_sheet.export(scope, node, Search()))
    lines = text.decode().splitlines()
    assert lines[:2] == ["name,groups,tag:kept,tag:line,tag:site", "a,floor,yes,1,plant-1"]
    assert len(lines) == 1 + 1_203
    seen = device_sheet.preview(scope, node, read(text))
    assert (seen.rows, seen.changed, seen.wrong) == (1_203, 0, 0)
    few = b"".join(device_sheet.export(scope, node, Search(selector='tags.site == "plant-1"')))
    assert few.decode().splitlines()[1:] == ["a,floor,yes,1,plant-1"]


def test_what_was_previewed_is_kept_for_its_person_alone(node: Node, scope: Scope) -> None:
    document = read(SHEET)
    device_sheet.keep(scope, node, document, SHEET)
    assert device_sheet.kept(scope, node, document.sha256) == document
    with pytest.raises(Conflict, match="choose the file again"):
        device_sheet.kept(admin_scope(node, name="other"), node, document.sha256)
    device_sheet.carry_out(scope, node, document)
    with pytest.raises(Conflict):
        device_sheet.kept(scope, node, document.sha256)
    device_sheet.keep(scope, node, document, SHEET)
    with node.db.write() as tx:
        sheets.prune(tx, engine.now(tx))
        assert tx.scalar(sa.select(sa.func.count()).select_from(device_imports)) == 0


@on_sqlite
def test_over_http(node: Node, scope: Scope) -> None:
    secret = api_key(node, "admin")
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=secret)
    csv = {"content-type": "text/csv"}
    dry = client.request("POST", "/v1/device-import?dry_run=true", raw=SHEET, headers=csv)
    assert (dry.status, dry.json()["done"], dry.json()["changed"]) == (200, False, 2)
    assert client.request("POST", "/v1/device-import", raw=SHEET, headers=csv).json()["done"] is True
    wrong = client.request("POST", "/v1/device-import", raw=b"name\nnobody\n", headers=csv)
    assert (wrong.status, wrong.json()["errors"][0]["pointer"]) == (422, "/lines/2")
    refused = client.request("POST", "/v1/device-import", raw=b"{}", headers={"content-type": "application/json"})
    assert refused.status == 400
    assert client.request("POST", "/v1/device-import", raw=b"name\n" + b"x\n" * (5 << 20), headers=csv).status == 413
    out = client.request("GET", "/v1/device-export?group=lab")
    assert out.headers["content-type"].startswith("text/csv")
    assert "attachment" in out.headers["content-disposition"]
    assert out.body.decode().splitlines()[1:] == ["a,lab,yes,,plant-7", "b,floor lab,,2,"]
    assert client.request("GET", "/v1/device-export?selector=arch").status == 422
    made = client.request("POST", "/v1/groups", body={"name": "p", "selector": 'tags.site == "plant-7"'})
    assert (made.status, made.json()["group"]["size"]) == (201, 1)
    changed = client.request("PATCH", "/v1/groups/p", body={"name": "q", "selector": 'tags.site != ""'})
    assert (changed.status, changed.json()["name"]) == (200, "q")
    bad = client.request("PATCH", "/v1/groups/q", body={"selector": "tags.site ="})
    assert (bad.status, bad.json()["errors"][0]["pointer"]) == (422, "/selector")
    look = client.request("GET", "/v1/device-selection?selector=name+startswith+%22a%22&device=b")
    assert (look.json()["count"], look.json()["matches"]) == (1, False)
    listed = client.request("GET", "/v1/devices?selector=name+in+(%22a%22,%22c%22)")
    assert [one["name"] for one in listed.json()["items"]] == ["a", "c"]
