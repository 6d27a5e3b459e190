"""Every page of the console as data: the permission walk test reads this table."""

from __future__ import annotations

from tidegate.control.console.handlers import (
    account,
    artifacts,
    audit,
    device,
    device_logs,
    devices,
    enrollment,
    freeze,
    group,
    groups,
    new_rollout,
    overview,
    publish,
    rollout,
    rollouts,
    second_factor,
    trust,
    users,
)
from tidegate.control.console.visit import Page

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *freeze.PAGES,
    *rollouts.PAGES,
    *new_rollout.PAGES,
    *rollout.PAGES,
    *devices.PAGES,
    *device.PAGES,
    *device_logs.PAGES,
    *groups.PAGES,
    *group.PAGES,
    *enrollment.PAGES,
    *artifacts.PAGES,
    *publish.PAGES,
    *trust.PAGES,
    *audit.PAGES,
    *account.PAGES,
    *second_factor.PAGES,
    *users.PAGES,
)
