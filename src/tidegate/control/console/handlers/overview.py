"""Overview: what needs a person now, the fleet's health, what is in flight, what runs where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.control.console import chrome, waves, words
from tidegate.control.console.gauges import bar
from tidegate.control.console.visit import Outcome, Page, Show, Visit
from tidegate.control.domain.rollouts.model import RolloutState
from tidegate.control.services import devices, explain, holds, rollouts, trust
from tidegate.control.services.explain import InTheField
from tidegate.control.services.rollouts import RolloutDetail, RolloutFilter
from tidegate.control.store.device_list import Counts

IN_FLIGHT = 25
DRIFTED = 10
ARTIFACTS = 6
VERSIONS = 4
#: What waits for a person comes first.
_URGENCY = (
    RolloutState.HALTED, RolloutState.WAITING_FOR_APPROVAL, RolloutState.RUNNING, RolloutState.SOAKING,
    RolloutState.SCHEDULED,
)  # fmt: skip
_SHADES = ("v-0", "v-1", "v-2", "v-3")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that goes on only when a person does something."""

    tone: str
    icon: str
    what: str
    why: str
    href: str
    act: str


def _rollout_needs(open_rollouts: Iterable[RolloutDetail]) -> list[Need]:
    needs = []
    for rollout in open_rollouts:
        href = f"/rollouts/{rollout.id}"
        name = f"{rollout.artifact} {rollout.version} to {rollout.target}"
        heading, rest = waves.sentence(rollout.waiting_on)
        if rollout.state is RolloutState.HALTED:
            needs.append(Need("bad", "halted", f"{name} is halted", rest or heading, href, "Resume or abort"))
        elif rollout.state is RolloutState.WAITING_FOR_APPROVAL:
            what = f"{name} needs approval"
            needs.append(Need("wait", "waiting_for_approval", what, rest or heading, href, "Review and approve"))
    return sorted(needs, key=lambda need: need.tone != "bad")


def _needs(visit: Visit, open_rollouts: Iterable[RolloutDetail], drifted: int) -> list[Need]:
    scope, node = visit.scope, visit.node
    needs = _rollout_needs(open_rollouts)
    if drifted:
        what = words.plural(drifted, "device runs", "devices run") + " something else than a rollout left there"
        needs.append(
            Need(
                "back", "drifted", what, "It is not repaired by itself.", "/devices?filter=drifted", "See what drifted"
            )
        )
    if scope.allows("devices.read"):
        frozen = holds.freeze(scope, node)
        if frozen is not None:
            until = f" Until {words.stamp(frozen.until)}." if frozen.until else ""
            why = f"{words.ended(frozen.reason)}{until} Nothing is served, no leave is given."
            needs.append(Need("wait", "freeze", f"Fleet {scope.fleet} is frozen", why, "/freeze", "See the freeze"))
    for warning in trust.warnings(scope, node):
        if warning.kind == chrome.CONVENIENCE:
            needs.append(Need("wait", "warn", "Convenience trust domain", warning.text, "/trust#move", "Move the keys"))
        elif warning.kind in ("expired", "expiring"):
            tone = "bad" if warning.kind == "expired" else "wait"
            needs.append(Need(tone, "warn", "Trust expires", warning.text, "/trust", "See the Trust Center"))
    return needs


@dataclass(frozen=True, slots=True)
class Field:
    """One artifact name: its versions, most devices first, as a bar and a legend."""

    name: str
    devices: int
    shares: tuple[tuple[str, str, int], ...]  # version, class, devices


def _field(found: Iterable[InTheField]) -> list[Field]:
    by_name: dict[str, list[InTheField]] = {}
    for one in found:
        by_name.setdefault(one.artifact, []).append(one)
    fields = []
    for name, versions in list(by_name.items())[:ARTIFACTS]:
        ordered = sorted(versions, key=lambda one: -one.devices)
        shares = [(one.version, shade, one.devices) for one, shade in zip(ordered, _SHADES, strict=False)]
        rest = sum(one.devices for one in ordered[VERSIONS:])
        if rest:
            shares.append(("other versions", "v-x", rest))
        fields.append(Field(name, sum(one.devices for one in versions), tuple(shares)))
    return fields


def _health(counts: Counts) -> str:
    parts = [(counts.online, "d-healthy"), (counts.offline, "d-quiet"), (counts.never, "d-dry")]
    label = f"{counts.online:,} online, {counts.offline:,} offline, {counts.never:,} not seen yet"
    return bar(parts, label)


def shown(visit: Visit) -> Outcome:
    scope, node = visit.scope, visit.node
    may_rollouts, may_devices = scope.allows("rollouts.read"), scope.allows("devices.read")
    in_flight = (
        rollouts.list_rollouts(scope, node, RolloutFilter(open_only=True, limit=IN_FLIGHT)).items
        if may_rollouts
        else ()
    )
    in_flight = tuple(sorted(in_flight, key=lambda one: _URGENCY.index(one.state)))
    drifted = explain.drifted(scope, node, DRIFTED) if may_devices else ()
    by_person = sum(1 for one in in_flight if one.state in (RolloutState.HALTED, RolloutState.WAITING_FOR_APPROVAL))
    counts = devices.counts(scope, node) if may_devices else None
    needs = _needs(visit, in_flight, counts.drifted if counts else 0)
    fields = _field(explain.versions_in_the_field(scope, node)) if may_devices else []
    return Show(
        "overview.html",
        "Overview",
        {
            "needs": needs,
            "by_person": by_person,
            "by_itself": len(in_flight) - by_person,
            "counts": counts,
            "health": _health(counts) if counts else "",
            "open_assignments": sum(
                waves.open_of(wave.counts) for one in in_flight for wave in one.waves if wave.released
            ),
            "rows": [(one, waves.picture(one, visit.now), waves.failures(one)) for one in in_flight],
            "fields": [(one, bar([(n, shade) for _, shade, n in one.shares], _label(one))) for one in fields],
            "drifted": drifted,
            "drifted_count": counts.drifted if counts else 0,
            "trust": trust.status(scope, node) if scope.allows("trust.read") else None,
        },
    )


def _label(field: Field) -> str:
    return f"{field.name}: " + ", ".join(f"{version} on {count:,}" for version, _, count in field.shares)


PAGES = (Page("GET", "/", "", shown, nav="overview", live=True),)
