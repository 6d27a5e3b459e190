"""What a selector matches, before anything is made of it (SPEC section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import facts, selectors
from tidegate.errors import NotFound
from tidegate.wire.selector import columns_of, parse, why_not, written

#: Names that a preview gives; its count is whole.
NAMED = 20


@dataclass(frozen=True, slots=True)
class Selection:
    """`first` are the first names; `declared`: the selector asks what devices say of themselves.

    `device` is the one asked about: it matches when `why_not` is empty.
    """

    selector: str
    count: int
    first: tuple[str, ...]
    declared: tuple[str, ...]
    device: str = ""
    why_not: tuple[str, ...] = ()


def preview(scope: Scope, node: Node, selector: str, *, pointer: str = "/selector", device: str = "") -> Selection:
    """How many living devices `selector` matches now, the first of them, and why `device` is not among them.

    Raises:
        BadSelector: it cannot be read; the error names `pointer` and the place.
        NotFound: no living device is called `device`.
    """
    scope.require("devices.read")
    tree = parse(selector, pointer)
    with node.db.read() as tx:
        count, first = selectors.named(tx, scope.fleet_id, tree, NAMED)
        reasons: tuple[str, ...] = ()
        if device:
            found = device_store.ids_by_names(tx, scope.fleet_id, [device])
            if device not in found:
                raise NotFound(f"cannot find an active device {device[:64]} in fleet {scope.fleet}")
            reasons = why_not(tree, facts.subjects(tx, [found[device]])[found[device]])
    declared = tuple(name for name in columns_of(tree) if name.startswith("declared."))
    return Selection(written(tree), count, first, declared, device, reasons)
