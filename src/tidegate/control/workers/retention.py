"""Forgets what is kept for a time only; the audit log is never pruned."""

from __future__ import annotations

from tidegate.control.services.forgetting import forget
from tidegate.control.workers.runner import Reconciler

RECONCILER = Reconciler("retention", 3600, forget)
