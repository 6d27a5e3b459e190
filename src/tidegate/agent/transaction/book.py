"""All that is journaled, as one value: what each artifact name has, what is open, how what is over has ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tidegate.agent.transaction.model import Outcome, Phase, Record, Release

#: Terminal outcomes remembered beyond those of work that the node still names.
OUTCOMES_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Slot:
    """What the journal knows of one artifact name: `previous` is kept until the next commit."""

    current: Release | None = None
    previous: Release | None = None
    payload: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A terminal outcome, remembered so that the same work id is never done twice."""

    outcome: Outcome
    reason: str = ""
    output: str = ""
    running_version: str | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """All that the journal holds: a slot per artifact name, a record per open work id, an outcome per finished one.

    `spare` maps a name to the version whose work the node took back last: its verified bytes stay in the content store
    until another version of that name is committed or room is short, for the work may come again.
    """

    slots: dict[str, Slot] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    ended: dict[str, Ended] = field(default_factory=dict)
    spare: dict[str, Release] = field(default_factory=dict)

    def record(self, work: str) -> Record | None:
        return next((record for record in self.records if record.order.work == work), None)

    def names(self) -> frozenset[str]:
        """Artifact names that the journal knows of."""
        return frozenset({*self.slots, *(record.order.artifact for record in self.records)})

    def kept(self, name: str) -> frozenset[Release]:
        """Versions of `name` that must stay on the device: current, previous, and both ends of what is under way."""
        slot = self.slots.get(name, Slot())
        ends = [slot.current, slot.previous]
        for record in self.records:
            if record.order.artifact == name and record.phase is not Phase.DONE:
                ends += [record.order.goal, record.way_back]
        return frozenset(release for release in ends if release is not None)

    def spared(self) -> frozenset[Release]:
        """Versions of work that the node took back: not kept, but not worth a second download either."""
        dropped = (record.order.goal for record in self.records if record.outcome is Outcome.DROPPED)
        return frozenset({*self.spare.values(), *(goal for goal in dropped if goal is not None)})

    def entered(self, record: Record) -> Book:
        """With `record` in place of the one of the same work; a finished one settles its slot in the same write."""
        known = self.record(record.order.work) is not None
        records = (
            tuple(record if old.order.work == record.order.work else old for old in self.records)
            if known
            else (*self.records, record)
        )
        over = record.outcome in (Outcome.HEALTHY, Outcome.REVERTED)
        spare = {name: release for name, release in self.spare.items() if not over or name != record.order.artifact}
        return replace(self, records=records, slots=self._settled(record), spare=spare)

    def _settled(self, record: Record) -> dict[str, Slot]:
        name, slot = record.order.artifact, self.slots.get(record.order.artifact, Slot())
        if record.outcome in (Outcome.HEALTHY, Outcome.REVERTED):
            goal = record.order.goal
            previous = record.way_back if record.way_back != goal else slot.previous
            settled = Slot(goal, previous, record.payload or slot.payload)
        else:
            # Rolled back, dropped or never begun: what was there before is still what the journal stands for.
            return self.slots
        kept = {other: value for other, value in self.slots.items() if other != name}
        return kept if settled.current is None else kept | {name: settled}

    def closed(self, record: Record, running_version: str | None, named: frozenset[str]) -> Book:
        """Without the record of this work; `named` are the work ids whose outcome must not be forgotten yet."""
        records = tuple(old for old in self.records if old.order.work != record.order.work)
        goal = record.order.goal
        if record.outcome is Outcome.DROPPED and goal is not None:
            return replace(self, records=records, spare=self.spare | {record.order.artifact: goal})
        if record.outcome is None or record.outcome is Outcome.DROPPED:
            return replace(self, records=records)
        ended = self.ended | {
            record.order.work: Ended(record.outcome, record.reason, record.output, running_version),
        }
        forgettable = [work for work in ended if work not in named and work != record.order.work]
        for work in forgettable[: max(0, len(ended) - OUTCOMES_KEPT)]:
            del ended[work]
        return replace(self, records=records, ended=ended)
