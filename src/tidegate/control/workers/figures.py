"""Keeps the metrics that are counted over fleets."""

from __future__ import annotations

from tidegate.control.services.figures import measure
from tidegate.control.workers.runner import Reconciler

RECONCILER = Reconciler("figures", 15, measure)
