"""Counts for metrics, over all fleets at once."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.rollouts.model import ENDED, AssignmentState
from tidegate.control.store.schema import rollout_waves, rollouts
from tidegate.ids import FleetId

_OPEN = rollouts.c.state.not_in(sorted(ENDED))


def open_rollouts(tx: Connection) -> dict[tuple[FleetId, str], int]:
    """How many rollouts that are not over each fleet has in each state."""
    query = sa.select(rollouts.c.fleet_id, rollouts.c.state, sa.func.count()).where(_OPEN)
    rows = tx.execute(query.group_by(rollouts.c.fleet_id, rollouts.c.state))
    return {(FleetId(row[0]), row[1]): row[2] for row in rows}


def open_assignments(tx: Connection) -> dict[tuple[FleetId, str], int]:
    """The assignments of those rollouts, from the waves' counters: as many rows as there are waves."""
    sums = [sa.func.coalesce(sa.func.sum(rollout_waves.c[state]), 0) for state in AssignmentState]
    query = sa.select(rollouts.c.fleet_id, *sums).join(rollouts, rollouts.c.id == rollout_waves.c.rollout_id)
    rows = tx.execute(query.where(_OPEN).group_by(rollouts.c.fleet_id)).all()
    by_fleet = {FleetId(row[0]): zip(AssignmentState, row[1:], strict=True) for row in rows}
    return {(fleet, state.value): int(count) for fleet, counts in by_fleet.items() for state, count in counts}
