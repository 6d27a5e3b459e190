"""Checks SBOMs that were received, one at a time, each in a child process of its own."""

from __future__ import annotations

from tidegate.control.services import sboms
from tidegate.control.services.node import Node
from tidegate.control.workers.runner import Reconciler

#: A round begins no further check after this long, so that it never looks stalled.
ROUND_SECONDS = 45.0


def run(node: Node) -> None:
    began = node.clock.monotonic()
    while sboms.check_next(node) and node.clock.monotonic() - began < ROUND_SECONDS:
        continue


RECONCILER = Reconciler("sboms", 30, run, frozenset({"sboms"}))
