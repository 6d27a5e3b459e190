"""Several devices at once: all or none, one record each, whoever looks for one device finds what was done to it."""

from __future__ import annotations

import pytest

from tidegate.control.domain.access import Scope
from tidegate.control.services import audit_log, devices, groups, holds, selected
from tidegate.control.services.devices import Search
from tidegate.control.services.holds import HeldGroup
from tidegate.control.services.node import Node
from tidegate.control.services.situation import situation
from tidegate.control.store.audit import Filter
from tidegate.errors import Forbidden, Invalid, NotFound
from tidegate.testing.fleet import enroll
from tidegate.testing.node import admin_scope

NAMES = [f"press-{i}" for i in range(4)]


@pytest.fixture
def scope(node: Node) -> Scope:
    scope = admin_scope(node)
    enroll(node, scope, NAMES, "presses")
    enroll(node, scope, ["lamp"])
    return scope


def held(node: Node, scope: Scope) -> list[str]:
    return [view.device.name for view in devices.listed(scope, node, Search(held=True)).items]


def actions(node: Node, scope: Scope, name: str) -> list[str]:
    page = audit_log.list_records(scope, node, Filter("", "", f"device:{name}"), of_node=False, limit=50)
    return [record.action for record in page.items]


def test_held_and_released_together(node: Node, scope: Scope) -> None:
    assert selected.hold(scope, node, NAMES[:2], "spare part") == 2
    assert held(node, scope) == NAMES[:2]
    assert actions(node, scope, NAMES[1]) == ["device.hold"]
    assert devices.get(scope, node, NAMES[0]).events[0].detail == "held: spare part"
    assert selected.release(scope, node, NAMES) == 2
    assert held(node, scope) == []
    assert actions(node, scope, NAMES[3]) == []  # nothing was done to it


def test_a_group_holds_what_a_release_leaves(node: Node, scope: Scope) -> None:
    holds.hold(scope, node, HeldGroup("presses"), "line stop")
    selected.hold(scope, node, NAMES[:1], "spare part")
    found = selected.selected(scope, node, [*NAMES, "lamp"])
    assert (found.held, found.own_holds) == (4, 1)
    assert devices.counts(scope, node).held == 4
    around = situation(scope, node)
    assert (around.devices, around.held) == (5, 4)  # a device held twice is one
    assert selected.release(scope, node, NAMES) == 1
    assert held(node, scope) == NAMES


def test_one_unknown_name_changes_nothing(node: Node, scope: Scope) -> None:
    with pytest.raises(NotFound, match="press-9"):
        selected.hold(scope, node, [*NAMES, "press-9"], "spare part")
    with pytest.raises(NotFound):
        selected.tag(scope, node, [*NAMES, "press-9"], {"site": "a"}, ())
    assert held(node, scope) == []
    assert actions(node, scope, NAMES[0]) == []


def test_tags_are_set_and_removed_together(node: Node, scope: Scope) -> None:
    selected.tag(scope, node, NAMES, {"site": "plant-8", "ring": "1"}, ())
    selected.tag(scope, node, NAMES[:2], {"site": "plant-9"}, ["ring"])
    assert [dict(devices.get(scope, node, name).view.device.tags) for name in NAMES[1:3]] == [
        {"site": "plant-9"},
        {"ring": "1", "site": "plant-8"},
    ]
    full = {f"key-{i}": "x" for i in range(64)}
    with pytest.raises(Invalid, match="press-0"):
        selected.tag(scope, node, NAMES, full, ())
    with pytest.raises(Invalid):
        selected.tag(scope, node, NAMES, {}, ())


def test_as_many_as_a_page_shows_and_nobody_elses(node: Node, scope: Scope) -> None:
    with pytest.raises(Invalid):
        selected.selected(scope, node, [])
    with pytest.raises(Invalid):
        selected.hold(scope, node, [f"n{i}" for i in range(selected.MOST + 1)], "x")
    viewer = Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset({"devices.read"}))
    with pytest.raises(Forbidden):
        selected.hold(viewer, node, NAMES, "x")
    with pytest.raises(Forbidden):
        selected.tag(viewer, node, NAMES, {"a": "b"}, ())
    assert groups.get(scope, node, "presses").size == 4
