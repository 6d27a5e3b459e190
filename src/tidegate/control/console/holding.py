"""For how long something is held: the choices of every form that holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.control.console.visit import Visit, wrong

#: Hours and their words; 0 is until somebody releases it.
HOLD_HOURS = ((0, "until it is released"), (1, "1 h"), (8, "8 h"), (24, "1 d"), (168, "7 d"), (720, "30 d"))


def hold_until(visit: Visit) -> datetime | None:
    """When the hold in a form ends; None: when somebody releases it.

    Raises:
        Invalid: it is none of the choices.
    """
    hours = visit.text("hours", "0")
    if hours not in {str(known) for known, _ in HOLD_HOURS}:
        raise wrong("hours", "must be one of the choices")
    return visit.now + timedelta(hours=int(hours)) if int(hours) else None
