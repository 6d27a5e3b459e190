"""What service functions work with, next to the `Scope` that says for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidegate.control.health import Health
from tidegate.control.metrics import Metrics
from tidegate.control.services.limits import Limits

if TYPE_CHECKING:
    from tidegate.clock import Clock
    from tidegate.control.blobs import Blobs
    from tidegate.control.openid import Provider
    from tidegate.control.services.hub import Hub
    from tidegate.control.services.keyring import Keyring
    from tidegate.control.settings import Settings
    from tidegate.control.store.engine import Database


@dataclass(frozen=True, slots=True)
class Node:
    """One process's parts, made once in app.py (or testing/node.py)."""

    db: Database
    blobs: Blobs
    keyring: Keyring
    hub: Hub
    settings: Settings
    clock: Clock
    #: Who else may say who somebody is; None: nobody but this node.
    provider: Provider | None = None
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        self.db.observer = self.metrics.transaction
