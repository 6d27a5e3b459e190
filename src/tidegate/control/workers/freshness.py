"""Keeps the signed metadata of every fleet from expiring."""

from __future__ import annotations

import structlog

from tidegate.control.domain.access import system_scope
from tidegate.control.services import trust
from tidegate.control.services.node import Node
from tidegate.control.store import fleets
from tidegate.control.workers.runner import Reconciler
from tidegate.errors import TidegateError

log = structlog.get_logger()


def run(node: Node) -> None:
    """One pass over all fleets: the timestamp at half its life, the rest well before it expires."""
    with node.db.read() as tx:
        known = fleets.every(tx)
    for fleet in known:
        try:
            if trust.keep_fresh(system_scope("freshness", fleet.id, fleet.name), node):
                log.info("signed again", fleet=fleet.name)
        except TidegateError as error:
            # A fleet without trust domain, without its keys here or with damaged ones must not keep the others from
            # staying fresh.
            log.warning("cannot keep metadata fresh", fleet=fleet.name, reason=error.detail)


RECONCILER = Reconciler(name="freshness", interval_seconds=60, run=run)
