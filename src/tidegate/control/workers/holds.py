"""Holds end by themselves when their time is over."""

from __future__ import annotations

from tidegate.control.services import holds
from tidegate.control.services.node import Node
from tidegate.control.workers.runner import Reconciler


def _run(node: Node) -> None:
    holds.expire(node)


RECONCILER = Reconciler("holds", 5, _run)
