"""A rollout as recorded: what decides about it, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tidegate.control.domain.rollouts.model import Rollout, RolloutState
from tidegate.control.domain.rollouts.report import Context
from tidegate.ids import ArtifactId, FleetId, RolloutId


@dataclass(frozen=True, slots=True)
class ArtifactVersion:
    """The version a rollout, a goal or a revert names."""

    id: ArtifactId
    name: str
    version: str
    kind: str
    descriptor_sha256: str
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """`probes` and `target` are the JSON texts as created. `generation` grows with every change of the row."""

    id: RolloutId
    fleet_id: FleetId
    artifact: ArtifactVersion
    rollout: Rollout
    state_since: datetime
    probes: str
    target: str
    baseline: bool
    created_at: datetime
    created_by: str
    halted_seconds: int
    first_served_at: datetime | None
    generation: int
    four_eyes_person: str | None = None
    #: The channel it was created from; where that points by now is nothing to this rollout.
    channel: str | None = None

    def context(self) -> Context:
        strategy = self.rollout.strategy
        return Context(
            self.rollout.resume_count,
            self.halted_seconds,
            strategy.deadline_seconds,
            strategy.apply_deadline_seconds,
            self.rollout.state is RolloutState.SOAKING,
        )
