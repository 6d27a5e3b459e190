"""Removes blobs that nothing names, once a day: what a discarded upload or a publication that failed left behind."""

from __future__ import annotations

from tidegate.control.services import uploads
from tidegate.control.services.node import Node
from tidegate.control.workers.runner import Reconciler


def run(node: Node) -> None:
    uploads.sweep(node)


RECONCILER = Reconciler("blobs", 86_400, run)
