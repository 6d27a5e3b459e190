"""Who is told by a switch of a config, and how each stood before it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tidegate.agent.payloads.held import Moving
from tidegate.agent.payloads.owner import Reloads
from tidegate.errors import TidegateError
from tidegate.wire.config import Reload, UnitReload


def asked(moving: Moving, told: Iterable[Reload], reloader: Reloads, *, back: bool) -> Moving:
    """`moving` with how each of `told` stands that this switch has not told yet.

    On the way back one that cannot be asked counts as running: the file goes back first, whatever the owner or the
    machine says of the workload.
    """
    states = dict(moving.states)
    for reload in told:
        if _key(reload) in states:
            continue
        try:
            states[_key(reload)] = reloader.before(reload)
        except TidegateError:
            if not back:
                raise
            states[_key(reload)] = ""
    return msgspec.structs.replace(moving, states=states)


def tell(moving: Moving, told: Iterable[Reload], reloader: Reloads) -> None:
    """Every one of them, also where another does not take it; the first failure is raised then."""
    failed: TidegateError | None = None
    for reload in told:
        try:
            reloader.reload(reload, moving.states[_key(reload)])
        except TidegateError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _key(reload: Reload) -> str:
    return reload.unit if isinstance(reload, UnitReload) else " ".join(reload.argv)
