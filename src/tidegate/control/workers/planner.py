"""The planner: every open rollout, one pass each (SPEC section 7)."""

from __future__ import annotations

from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.workers.runner import Reconciler

RECONCILER = Reconciler("planner", 2, plan_all, frozenset({"rollouts"}))
