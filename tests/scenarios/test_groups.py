"""Groups said by a selector: who is in them, what a hold on them does, what follows a name; both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.model import AssignmentState as S
from tidegate.control.services import devices, groups, holds, registration, rollouts, selection, tokens, work
from tidegate.control.services.devices import Search
from tidegate.control.services.holds import HeldGroup
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.tokens import TokenTerms
from tidegate.control.store.schema import audit_records
from tidegate.control.store.schema import rollouts as rollout_table
from tidegate.errors import Conflict, Invalid, NotFound
from tidegate.testing.channel import enroll as enroll_for_real
from tidegate.testing.channel import new_key
from tidegate.testing.fleet import SimDevice, catalog, enroll, settle
from tidegate.testing.node import admin_scope
from tidegate.wire.device import HardwareProfile, Register
from tidegate.wire.selector import BadSelector

ARM = 'arch == "arm64"'
PLANT = 'tags.site == "plant-7"'


@pytest.fixture
def scope(node: Node) -> Scope:
    found = admin_scope(node)
    catalog(node, found, "vad", "5")
    return found


def says(node: Node, device: SimDevice, arch: str, **declared: str) -> None:
    registration.register(node, device.ref, Register(HardwareProfile(arch=arch), "0.1.0", declared))


def tag(scope: Scope, node: Node, device: SimDevice, site: str) -> None:
    devices.change_tags(scope, node, device.ref.name, put={"site": site})


def in_group(scope: Scope, node: Node, name: str) -> list[str]:
    return [one.device.name for one in devices.listed(scope, node, Search(group=name)).items]


@contextmanager
def statements(node: Node) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(node.db.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(node.db.engine, "before_cursor_execute", note)


def test_members_follow_facts_and_tags_and_never_what_a_device_declares(node: Node, scope: Scope) -> None:
    a, b, c = enroll(node, scope, ["a", "b", "c"])
    says(node, a, "arm64")
    says(node, b, "arm64", site="plant-7")
    tag(scope, node, c, "plant-7")
    groups.create(scope, node, "arm", selector=ARM)
    made = groups.create(scope, node, "plant", selector=PLANT)
    assert (made.group.size, made.changed) == (1, 0)
    assert in_group(scope, node, "arm") == ["a", "b"]
    assert in_group(scope, node, "plant") == ["c"]
    says(node, a, "amd64")
    tag(scope, node, a, "plant-7")
    assert [(one.name, one.size) for one in groups.listed(scope, node).items] == [("arm", 1), ("plant", 2)]
    seen = {one.device.name: one.device.groups for one in devices.listed(scope, node, Search()).items}
    assert seen == {"a": ("plant",), "b": ("arm",), "c": ("plant",)}
    groups.create(scope, node, "said", selector='declared.site == "plant-7"')
    assert in_group(scope, node, "said") == ["b"]
    devices.decommission(scope, node, "c")
    assert in_group(scope, node, "plant") == ["a"]
    with statements(node) as made_of:
        groups.listed(scope, node)
    assert len([text for text in made_of if "device" in text]) == 2, "one statement for all sizes, whatever the fleet"


def test_who_is_matched_by_a_held_selector_is_not_served(node: Node, scope: Scope) -> None:
    arm, other, late = enroll(node, scope, ["arm", "other", "late"])
    says(node, arm, "arm64")
    groups.create(scope, node, "arms", selector=ARM)
    holds.hold(scope, node, HeldGroup("arms"), "recall")
    request = NewRollout("vad", "5", Target(everyone=True))
    assert rollouts.preview_rollout(scope, node, request).held == ("arm",)
    made = rollouts.create_rollout(scope, node, request)
    settle(node, [arm, other], 2)
    found = rollouts.get_rollout(scope, node, made.id)
    assert found.counts == {S.HEALTHY: 1, S.PENDING: 2}
    assert "(1 on hold)" in found.waiting_on
    assert [subject for subject, _ in devices.get(scope, node, "arm").holds] == ["group arms"]
    says(node, late, "arm64")  # comes under the hold by what it is
    item = arm.poll().work
    assert item == ()
    assert late.poll().work == ()
    groups.change(scope, node, "arms", selector=f'{ARM} and name == "late"')
    settle(node, [arm, late], 2)
    assert rollouts.get_rollout(scope, node, made.id).counts == {S.HEALTHY: 2, S.PENDING: 1}
    holds.release(scope, node, HeldGroup("arms"))
    settle(node, [late], 2)
    assert rollouts.get_rollout(scope, node, made.id).counts == {S.HEALTHY: 3}


def test_a_tag_brings_under_a_hold_before_leave_and_replicas_learn_of_it(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"])
    groups.create(scope, node, "plant", selector=PLANT)
    rollouts.create_rollout(scope, node, NewRollout("vad", "5", Target(everyone=True)))
    (item,) = device.poll().work
    device.report(item, "ready")
    before = work.generation(node)[scope.fleet_id]
    tag(scope, node, device, "plant-1")
    assert work.generation(node)[scope.fleet_id] == before, "no group with a selector is held: nothing to learn"
    holds.hold(scope, node, HeldGroup("plant"), "shift change")
    before = work.generation(node)[scope.fleet_id]
    tag(scope, node, device, "plant-7")
    assert work.generation(node)[scope.fleet_id] > before
    assert not device.leave(item)
    assert device.refusals == ["group plant on hold: shift change"]


def test_holds_ask_nothing_more_of_the_database_while_no_selector_is_held(node: Node, scope: Scope) -> None:
    (device,) = enroll(node, scope, ["a"], group="lab")
    with statements(node) as alone:
        work.desired(node, device.ref)
    for number in range(5):
        groups.create(scope, node, f"g{number}", selector=PLANT)
    with statements(node) as among_groups:
        work.desired(node, device.ref)
    assert len(among_groups) == len(alone)


def test_a_rollout_to_a_selector_takes_who_matches_now_and_its_baseline_who_comes(node: Node, scope: Scope) -> None:
    a, b = enroll(node, scope, ["a", "b"])
    tag(scope, node, a, "plant-7")
    target = Target(selector=PLANT)
    made = rollouts.create_rollout(scope, node, NewRollout("vad", "5", target, baseline=True))
    assert (made.target, made.target_size) == (f"selector {PLANT}", 1)
    settle(node, [a, b], 3)
    assert (a.runs, b.runs) == ({"vad": "5"}, {})
    tag(scope, node, b, "plant-7")
    settle(node, [b], 2)
    assert b.runs == {}, "a target is resolved once"
    for name, tags in (("new", {"site": "plant-7"}), ("elsewhere", {"site": "plant-8"})):
        secret = tokens.mint(scope, node, TokenTerms(device_name=name, tags=tags)).secret
        ref = enroll_for_real(node, secret, new_key(), name).device
        wanted = [item.kind for item in work.desired(node, ref).work]
        assert wanted == (["restore"] if name == "new" else []), name


def test_who_enrolled_while_a_baseline_was_open_gets_it_where_it_belongs_and_fits(node: Node, scope: Scope) -> None:
    catalog(node, scope, "arm-only", "1", hardware=ARM)
    (first,) = enroll(node, scope, ["first"])
    says(node, first, "arm64")
    tag(scope, node, first, "plant-7")
    rollouts.create_rollout(scope, node, NewRollout("arm-only", "1", Target(selector=PLANT), baseline=True))
    fits, misfit, elsewhere = enroll(node, scope, ["fits", "misfit", "elsewhere"])
    for device, arch, site in ((fits, "arm64", "plant-7"), (misfit, "amd64", "plant-7"), (elsewhere, "arm64", "x")):
        says(node, device, arch)
        tag(scope, node, device, site)
    settle(node, [first, fits, misfit, elsewhere], 4)
    assert [device.runs for device in (first, fits, misfit, elsewhere)] == [
        {"arm-only": "1"},
        {"arm-only": "1"},
        {},
        {},
    ]


def test_rules_change_and_what_names_the_group_follows_its_name(node: Node, scope: Scope) -> None:
    a, _b = enroll(node, scope, ["a", "b"], group="lab")
    tag(scope, node, a, "plant-7")
    groups.create(scope, node, "plant", selector=PLANT)
    made = rollouts.create_rollout(scope, node, NewRollout("vad", "5", Target(group="plant"), baseline=True))
    token = tokens.mint(scope, node, TokenTerms(groups=["lab"])).view
    assert groups.uses(scope, node, "plant").baselines == (made.id,)
    assert groups.uses(scope, node, "lab").tokens == (token.id,)
    groups.change(scope, node, "plant", new_name="plant-seven", selector='tags.site startswith "plant-"')
    groups.change(scope, node, "lab", new_name="lab-2")
    assert groups.uses(scope, node, "plant-seven").baselines == (made.id,)
    assert tokens.get(scope, node, token.id).groups == ("lab-2",)
    with node.db.read() as tx:
        targets = tx.scalars(sa.select(rollout_table.c.target)).all()
        data = tx.scalars(sa.select(audit_records.c.data).where(audit_records.c.action == "group.change")).all()
    assert targets == ['{"group": "plant-seven"}']
    assert json.loads(data[0])["from"] == {"name": "plant", "selector": PLANT, "devices": 1}
    for refused, why in (
        (lambda: groups.change(scope, node, "lab-2", new_name="plant-seven"), "one named plant-seven exists"),
        (lambda: groups.change(scope, node, "lab-2", selector=ARM), "it is static"),
        (lambda: groups.add(scope, node, "plant-seven", ["a"]), "its selector says who is in it"),
        (lambda: groups.remove(scope, node, "plant-seven", ["a"]), "its selector says who is in it"),
    ):
        with pytest.raises(Conflict, match=why):
            refused()
    with pytest.raises(NotFound):
        groups.get(scope, node, "plant")
    with pytest.raises(Invalid, match="give a name or a selector"):
        groups.change(scope, node, "lab-2")
    with pytest.raises(Invalid, match="either a selector or device names"):
        groups.create(scope, node, "x", ["a"], ARM)
    with pytest.raises(BadSelector):
        groups.create(scope, node, "x", selector="arch ==")
    with pytest.raises(Invalid, match="no static groups: plant-seven"):
        tokens.mint(scope, node, TokenTerms(groups=["plant-seven"]))
    holds.hold(scope, node, HeldGroup("plant-seven"), "x")
    with pytest.raises(Conflict, match="release it first"):
        groups.delete(scope, node, "plant-seven")
    holds.release(scope, node, HeldGroup("plant-seven"))
    groups.delete(scope, node, "plant-seven")
    assert devices.get(scope, node, "a").view.device.groups == ("lab-2",)


def test_a_preview_counts_names_and_says_why_not(node: Node, scope: Scope) -> None:
    fleet = enroll(node, scope, [f"d{number:02d}" for number in range(25)])
    for device in fleet[:22]:
        says(node, device, "arm64", room="b")
    found = selection.preview(scope, node, ARM, device="d24")
    assert (found.count, found.first) == (22, tuple(f"d{number:02d}" for number in range(20)))
    assert found.why_not == ('arch == "arm64": the device has arch unknown',)
    assert selection.preview(scope, node, ARM, device="d00").why_not == ()
    assert selection.preview(scope, node, 'declared.room == "b"').declared == ("declared.room",)
    with pytest.raises(NotFound):
        selection.preview(scope, node, ARM, device="nobody")


def test_the_gate_names_who_does_not_fit_bounded_and_goes_on_without_them_when_asked(node: Node, scope: Scope) -> None:
    catalog(node, scope, "arm-only", "1", hardware="ram_bytes >= 1GiB")
    fleet = enroll(node, scope, [f"d{number:03d}" for number in range(103)])
    big = Register(HardwareProfile(arch="arm64", ram_bytes=4 << 30), "0.1.0")
    small = Register(HardwareProfile(arch="arm64", ram_bytes=1 << 20), "0.1.0")
    registration.register(node, fleet[0].ref, big)
    registration.register(node, fleet[1].ref, small)
    request = NewRollout("arm-only", "1", Target(everyone=True))
    with pytest.raises(Invalid) as refused:
        rollouts.create_rollout(scope, node, request)
    told = [error.detail for error in refused.value.errors]
    assert told[0] == "d001: it needs ram_bytes >= 1GiB; the device has ram_bytes 1048576"
    assert told[1] == "d002: it needs ram_bytes >= 1GiB; the device has ram_bytes unknown"
    assert (len(told), told[-1]) == (101, "2 more devices do not fit; 102 in all")
    found = rollouts.preview_rollout(scope, node, request)
    assert (found.incompatible_count, len(found.incompatible)) == (102, 100)
    with statements(node) as made_of:
        made = rollouts.create_rollout(
            scope, node, NewRollout("arm-only", "1", Target(everyone=True), skip_incompatible=True)
        )
    assert (made.target_size, made.counts) == (1, {S.PENDING: 1})
    assert len([text for text in made_of if "hardware" in text or "device_facts" in text]) == 1
