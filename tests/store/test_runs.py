"""What runs where: counted, walked and exported, the same on both databases; bounded however large the fleet."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tidegate.control.api import table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import Scope
from tidegate.control.services import groups, runs
from tidegate.control.services.node import Node
from tidegate.control.services.runs import COLUMNS, Wanted, unformulated
from tidegate.control.store import schema
from tidegate.control.store.runs import Show
from tidegate.errors import Forbidden, Invalid, NotFound
from tidegate.ids import FleetId
from tidegate.testing.asgi import Client
from tidegate.testing.fleet import catalog, enroll, withdraw
from tidegate.testing.node import admin_scope, api_key
from tidegate.wire.operator.runs import ShowRuns

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    """cam-0 to cam-2 run vad 1 (cam-2 drifted), cam-3 vad 2 which is withdrawn, cam-4 something nobody published,
    cam-5 has reported nothing; cam-0 runs asr as well."""
    scope = admin_scope(node)
    for version in ("1", "2"):
        catalog(node, scope, "vad", version)
    asr = catalog(node, scope, "asr", "7")
    devices = {one.ref.name: one.ref.id for one in enroll(node, scope, [f"cam-{i}" for i in range(6)], "field")}
    with node.db.write() as tx:
        gone = tx.scalar(sa.select(schema.artifacts.c.id).where(schema.artifacts.c.version == "2"))
        for name, artifact, version, drift, goal in (
            ("cam-0", "vad", "1", None, None), ("cam-0", "asr", "7", None, asr), ("cam-1", "vad", "1", None, None),
            ("cam-2", "vad", "1", AT, gone), ("cam-3", "vad", "2", None, gone),
            ("cam-4", "vad", "hand-made", None, None),
        ):  # fmt: skip
            values = {
                "device_id": devices[name], "artifact_name": artifact, "running_version": version, "drift_since": drift,
                "goal_artifact_id": goal, "reported_at": AT,
            }  # fmt: skip
            tx.execute(sa.insert(schema.device_artifacts).values(values))
    withdraw(node, gone)
    groups.create(scope, node, "front", ["cam-0", "cam-5"])
    return scope


def test_versions_are_counted(node: Node, scope: Scope) -> None:
    found = runs.versions(scope, node, Wanted()).items
    assert [(one.artifact, one.version, one.devices, one.drifted, one.published, one.withdrawn) for one in found] == [
        ("asr", "7", 1, 0, True, False),
        ("vad", "1", 3, 1, True, False),
        ("vad", "2", 1, 0, True, True),
        ("vad", "hand-made", 1, 0, False, False),
    ]
    assert [one.version for one in runs.versions(scope, node, Wanted(show="withdrawn")).items] == ["2"]
    assert [one.devices for one in runs.versions(scope, node, Wanted(artifact="vad", group="front")).items] == [1]


def test_totals_count_devices_and_not_rows(node: Node, scope: Scope) -> None:
    whole = runs.totals(scope, node, Wanted())
    assert (whole.devices, whole.reported, whole.unreported, whole.drifted, whole.withdrawn) == (6, 5, 1, 1, 1)
    of_asr = runs.totals(scope, node, Wanted(artifact="asr"))
    assert (of_asr.devices, of_asr.reported, of_asr.unreported, of_asr.drifted) == (6, 1, 5, 0)
    front = runs.totals(scope, node, Wanted(group="front"))
    assert (front.devices, front.reported) == (2, 1)


WALKS = [
    (Wanted(), ["cam-0 asr", "cam-0 vad", "cam-1 vad", "cam-2 vad", "cam-3 vad", "cam-4 vad", "cam-5 "]),
    (Wanted(artifact="vad", version="1"), ["cam-0 vad", "cam-1 vad", "cam-2 vad"]),
    (Wanted(show="drifted"), ["cam-2 vad"]),
    (Wanted(show="withdrawn"), ["cam-3 vad"]),
    (Wanted(show="unreported"), ["cam-5 "]),
    (Wanted(artifact="asr", show="unreported"), [f"cam-{i} " for i in range(1, 6)]),
    (Wanted(group="front"), ["cam-0 asr", "cam-0 vad", "cam-5 "]),
    (Wanted(selector='name in ("cam-1", "cam-5")'), ["cam-1 vad", "cam-5 "]),
]


def test_devices_are_walked_in_a_stable_order(node: Node, scope: Scope) -> None:
    for wanted, names in WALKS:
        found, cursor = [], ""
        while True:
            page = runs.listed(scope, node, wanted, limit=2, cursor=cursor)
            found += [f"{row.device} {row.artifact}" for row in page.items]
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
        assert (found, page.total) == (names, len(names)), wanted
        lines = b"".join(runs.export(scope, node, wanted, "jsonl")).decode().splitlines()
        assert [f"{row['device']} {row['artifact']}" for row in map(json.loads, lines)] == names, wanted


def test_decommissioned_devices_and_other_fleets_are_not_counted(node: Node, scope: Scope) -> None:
    with node.db.write() as tx:
        gone = schema.devices.c.name == "cam-3"
        tx.execute(sa.update(schema.devices).where(gone).values(state="decommissioned"))
    assert runs.totals(scope, node, Wanted()).devices == 5
    assert runs.listed(scope, node, Wanted(show="withdrawn")).items == []
    stranger = Scope(scope.actor, FleetId(999), "other", scope.permissions)
    assert runs.versions(stranger, node, Wanted()).items == []
    assert b"".join(runs.export(stranger, node, Wanted(), "jsonl")) == b""


def test_an_export_says_the_same_in_both_formats(node: Node, scope: Scope) -> None:
    text = b"".join(runs.export(scope, node, Wanted(), "csv")).decode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert read[4] == {
        "device": "cam-3", "artifact": "vad", "running_version": "2", "should_version": "2", "withdrawn": "yes",
        "drift_since": "", "restore": "", "reported_at": "2026-11-01T12:00:00Z", "last_seen_at": "",
    }  # fmt: skip
    lines = [json.loads(line) for line in b"".join(runs.export(scope, node, Wanted(), "jsonl")).splitlines()]
    assert [row["device"] for row in read] == [line["device"] for line in lines]
    assert lines[3]["drift_since"] == "2026-11-01T12:00:00Z"
    assert lines[4]["withdrawn"] is True


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert unformulated(cell) == f"'{cell}"
    assert unformulated("cam-1") == "cam-1"


def test_what_a_hostile_device_says_stays_text(node: Node, scope: Scope) -> None:
    with node.db.write() as tx:
        one = schema.device_artifacts
        tx.execute(sa.update(one).where(one.c.running_version == "hand-made").values(running_version='=cmd|"x",\n1'))
    read = list(csv.DictReader(io.StringIO(b"".join(runs.export(scope, node, Wanted(), "csv")).decode(), newline="")))
    assert read[5]["running_version"] == '\'=cmd|"x",\n1'
    assert len(read) == 7


def test_wrong_questions_are_refused_before_the_first_byte(node: Node, scope: Scope) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        runs.export(scope, node, Wanted(group="nowhere"), "csv")
    with pytest.raises(Invalid):
        runs.export(scope, node, Wanted(selector="arch =="), "csv")
    nobody = Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset())
    with pytest.raises(Forbidden, match=r"devices\.read"):
        runs.export(nobody, node, Wanted(), "csv")


@on_sqlite
def test_over_http(node: Node, scope: Scope) -> None:
    client = Client(Starlette(routes=routes(node, table.calls())), bearer=api_key(node, "viewer"))
    assert client.request("GET", "/v1/running/totals").json() == {
        "devices": 6, "reported": 5, "unreported": 1, "drifted": 1, "withdrawn": 1,
    }  # fmt: skip
    versions = client.request("GET", "/v1/running?limit=1").json()
    assert (versions["total"], versions["items"][0]["artifact"]) == (4, "asr")
    rest = client.request("GET", f"/v1/running?cursor={versions['next_cursor']}").json()
    assert [one["version"] for one in rest["items"]] == ["1", "2", "hand-made"]
    assert client.request("GET", "/v1/running/devices?show=unreported").json()["items"][0]["device"] == "cam-5"
    got = client.request("GET", "/v1/running/export?format=jsonl&artifact=asr")
    assert (got.status, got.headers["content-type"]) == (200, "application/jsonl")
    assert got.headers["content-disposition"] == 'attachment; filename="running-default.jsonl"'
    assert next(json.loads(line)["device"] for line in got.body.splitlines()) == "cam-0"
    assert client.request("GET", "/v1/running/export?format=xml").status == 422
    assert client.request("GET", "/v1/running/export?group=nowhere").status == 404


@pytest.fixture
def crowd(node: Node) -> Scope:
    """100,000 devices, written straight into the tables."""
    scope = admin_scope(node)
    catalog(node, scope, "vad", "1")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
    with node.db.write() as tx:
        tx.exec_driver_sql(
            "INSERT INTO devices (id, fleet_id, name, state, created_at, enrolled_at)"
            f" {numbers} SELECT i, {scope.fleet_id}, printf('dev-%06d', i), 'active', 0, 0 FROM n"
        )
        tx.exec_driver_sql(
            "INSERT INTO device_artifacts (device_id, artifact_name, running_version, reported_at)"
            f" {numbers} SELECT i, 'vad', '1', 0 FROM n"
        )
    return scope


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@on_sqlite
@pytest.mark.timeout(120)
def test_an_export_of_100_000_devices_is_never_held_as_a_whole(node: Node, crowd: Scope) -> None:
    lines, most, resident = 0, 0, []
    for piece in runs.export(crowd, node, Wanted(), "csv"):
        lines += piece.count(b"\r\n")
        most = max(most, len(piece))
        resident.append(_resident_bytes())
    assert lines == 100_001
    assert most < 100_000
    assert max(resident) - resident[5] < 4 << 20, "it grows while it goes on"


def test_every_way_to_show_is_known_to_the_wire() -> None:
    assert get_args(Show) == get_args(ShowRuns)
