"""Alive and ready, for whoever supervises the node."""

from __future__ import annotations

from tidegate.control.api.operations import Call, Operation
from tidegate.control.services import warnings
from tidegate.errors import Unavailable
from tidegate.wire.operator.node import Alive, Ready, Warnings
from tidegate.wire.operator.trust import WarningInfo


def _alive(_call: Call) -> Alive:
    return Alive(True)


def _ready(call: Call) -> Ready:
    failing = call.node.health.failing()
    if failing:
        raise Unavailable(f"cannot serve for now: {', '.join(failing)}", type="not-ready")
    return Ready(True, call.node.health.names, tuple(call.node.health.warnings()))


def _warnings(call: Call) -> Warnings:
    found = warnings.warnings(call.scope, call.node)
    return Warnings(tuple(WarningInfo(one.kind, one.text) for one in found))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="node.alive", method="GET", path="/healthz", permission="", public=True, tag="node", handler=_alive,
        summary="Whether the process answers", answer=Alive,
    ),
    Operation(
        name="node.ready", method="GET", path="/readyz", permission="", public=True, tag="node", handler=_ready,
        summary="Whether database, blobs, keys and workers are there", answer=Ready,
    ),
    Operation(
        name="node.warnings", method="GET", path="/v1/warnings", permission="", tag="node", handler=_warnings,
        summary="What people should look after: the disk, keys and certificates", answer=Warnings,
    ),
)  # fmt: skip
