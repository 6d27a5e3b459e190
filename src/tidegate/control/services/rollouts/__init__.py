"""Rollouts for people: preview, create, watch, halt, resume, approve, abort (SPEC section 7)."""

from tidegate.control.services.rollouts.commands import command_rollout, preview_abort
from tidegate.control.services.rollouts.create import create_rollout, preview_rollout
from tidegate.control.services.rollouts.read import (
    count_states,
    device_rollouts,
    get_rollout,
    list_assignments,
    list_rollouts,
    rollout_timeline,
)
from tidegate.control.services.rollouts.resolve import default_strategy
from tidegate.control.services.rollouts.views import (
    AbortPreview,
    AssignmentFilter,
    AssignmentPage,
    AssignmentView,
    NewRollout,
    Preview,
    RolloutDetail,
    RolloutFilter,
    RolloutPage,
    Target,
    TimelineEntry,
    VerbView,
    WavePreview,
    WaveView,
)

__all__ = [
    "AbortPreview",
    "AssignmentFilter",
    "AssignmentPage",
    "AssignmentView",
    "NewRollout",
    "Preview",
    "RolloutDetail",
    "RolloutFilter",
    "RolloutPage",
    "Target",
    "TimelineEntry",
    "VerbView",
    "WavePreview",
    "WaveView",
    "command_rollout",
    "count_states",
    "create_rollout",
    "default_strategy",
    "device_rollouts",
    "get_rollout",
    "list_assignments",
    "list_rollouts",
    "preview_abort",
    "preview_rollout",
    "rollout_timeline",
]
