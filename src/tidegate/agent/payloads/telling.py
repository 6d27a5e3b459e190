"""Who is told by a switch of a config, and how each stood before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from tidegate.agent.payloads.held import Moving
from tidegate.agent.payloads.owner import Reloads
from tidegate.errors import TidegateError
from tidegate.wire.config import Reload, UnitReload


def asked(moving: Moving, needed: Collection[Reload], all_of: Iterable[Reload], reloader: Reloads) -> Moving:
    """`moving` with how each of `all_of` stands that this switch has not asked yet.

    Of those that are not `needed` now, one that cannot be asked counts as running: going back will tell it, and the
    file goes back first, whatever the owner or the machine says of the workload.

    Raises:
        Refused, NotTaken: one that is `needed` cannot be asked.
    """
    states = dict(moving.states)
    for reload in all_of:
        if key(reload) in states:
            continue
        try:
            states[key(reload)] = reloader.before(reload)
        except TidegateError:
            if reload in needed:
                raise
            states[key(reload)] = ""
    return msgspec.structs.replace(moving, states=states)


def tell(moving: Moving, told: Iterable[Reload], reloader: Reloads) -> None:
    """Every one of them, also where another does not take it; the first failure is raised then."""
    failed: TidegateError | None = None
    for reload in told:
        try:
            reloader.reload(reload, moving.states[key(reload)])
        except TidegateError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def key(reload: Reload) -> str:
    return reload.unit if isinstance(reload, UnitReload) else " ".join(reload.argv)
