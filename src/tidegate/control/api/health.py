"""Alive and ready, for whoever supervises the node."""

from __future__ import annotations

from msgspec import Struct

from tidegate.control.api.operations import Call, Operation
from tidegate.errors import Unavailable


class Alive(Struct, frozen=True):
    alive: bool


class Ready(Struct, frozen=True):
    """`checks` are those that were made, all of them passed."""

    ready: bool
    checks: tuple[str, ...]


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
