"""What people should look after on this node, whatever page or command they are at."""

from __future__ import annotations

from tidegate.control.domain.access import Scope
from tidegate.control.services import disk, trust
from tidegate.control.services.node import Node
from tidegate.control.services.trust import Warning


def warnings(scope: Scope, node: Node) -> tuple[Warning, ...]:
    """The disk's first, then those of the trust domain; for whoever is signed in."""
    fullest = disk.look(node)
    found = (Warning("disk-high", fullest.warning),) if fullest.warning else ()
    return (*found, *trust.warnings(scope, node))
