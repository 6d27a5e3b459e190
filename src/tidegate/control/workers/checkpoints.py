"""Signs the audit chains' ends outside the database."""

from __future__ import annotations

import structlog

from tidegate.control.services import checkpoints
from tidegate.control.services.node import Node
from tidegate.control.workers.runner import Reconciler
from tidegate.errors import Untrusted

log = structlog.get_logger()


def run(node: Node) -> None:
    """One pass over all chains; a broken one is told loudly every time and stays unsigned."""
    try:
        for made in checkpoints.write_due(node):
            log.info("audit checkpoint", chain=made.chain, sequence=made.sequence)
    except Untrusted as error:
        log.critical("audit chain broken", reason=error.detail)


RECONCILER = Reconciler("checkpoints", 15, run)
