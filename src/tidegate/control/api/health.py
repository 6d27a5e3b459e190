"""Alive and ready, for whoever supervises the node."""

from __future__ import annotations

from tidegate.control.api.operations import Call, Operation
from tidegate.errors import Unavailable
from tidegate.wire.operator.node import Alive, Ready


def _alive(_call: Call) -> Alive:
    return Alive(True)


def _ready(call: Call) -> Ready:
    failing = call.node.health.failing()
    if failing:
        raise Unavailable(f"cannot serve for now: {', '.join(failing)}", type="not-ready")
    return Ready(True, call.node.health.names)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="node.alive", method="GET", path="/healthz", permission="", public=True, tag="node", handler=_alive,
        summary="Whether the process answers", answer=Alive,
    ),
    Operation(
        name="node.ready", method="GET", path="/readyz", permission="", public=True, tag="node", handler=_ready,
        summary="Whether database, blobs, keys and workers are there", answer=Ready,
    ),
)  # fmt: skip
