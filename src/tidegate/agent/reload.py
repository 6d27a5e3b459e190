"""Telling a workload to read its configuration anew: a systemd unit, or a program that the owner allowlisted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.perform import Stopped
from tidegate.agent.program import Ended, Interrupted, Runner
from tidegate.agent.settings import Allow
from tidegate.errors import Refused
from tidegate.wire.config import ProgramReload, Reload, UnitReload

_log = logging.getLogger(__name__)

RELOAD_SECONDS = 120
ASK_SECONDS = 30
#: Nobody runs it, or somebody has stopped it: it stays so.
STOPPED = "inactive"
_RUNS = ("active", "reloading")
_OWN_UNITS = "tidegate-agent"


class Reloader:
    """`allow` gives the allowlists in force now; one that the owner has emptied holds for the way back too."""

    def __init__(self, allow: Callable[[], Allow], runner: Runner) -> None:
        self._allow = allow
        self._runner = runner

    def refusal(self, reload: Reload) -> str:
        """Why this device will not do it; empty when it will."""
        allow = self._allow()
        match reload:
            case UnitReload(unit=unit):
                if unit.startswith(_OWN_UNITS):
                    return f"cannot reload {unit}: it is the agent's own"
                return (
                    ""
                    if unit in allow.units
                    else f"cannot reload {unit}: it is not in this device's allowlist of units"
                )
            case ProgramReload(argv=argv):
                found = argv in allow.reload_argvs
                return "" if found else f"cannot run {argv[0]}: this device's allowlist has no such reload_argvs entry"

    def before(self, reload: Reload) -> str:
        """How what is to be reloaded stands now: of a unit systemd's word for it, of a program nothing.

        Raises:
            Refused: it is not allowed, or there is no such unit.
            NotTaken: systemd cannot be asked.
        """
        if refused := self.refusal(reload):
            raise Refused(refused)
        return self._state(reload.unit) if isinstance(reload, UnitReload) else ""

    def reload(self, reload: Reload, before: str) -> None:
        """Do it, and see that it was taken; a unit that was stopped `before` stays so.

        Raises:
            Refused: it is not allowed.
            NotTaken: it failed, with the last that was said.
        """
        if refused := self.refusal(reload):
            raise Refused(refused)
        if isinstance(reload, ProgramReload):
            ended = self._run(reload.argv, RELOAD_SECONDS)
            if ended.how:
                raise NotTaken(f"{reload.argv[0]} {ended.how}", ended.output)
            return
        if before == STOPPED:
            _log.info("%s is not running: it reads its configuration when it is started", reload.unit)
            return
        self._reload_unit(reload.unit)

    def _reload_unit(self, unit: str) -> None:
        if self._state(unit) not in _RUNS:
            # It may have failed so often, on what it was given before, that systemd would not start it again.
            self._systemctl("reset-failed", unit, seconds=ASK_SECONDS)
        ended = self._systemctl("reload-or-restart", unit, seconds=RELOAD_SECONDS)
        if ended.how:
            raise NotTaken(f"the reload of {unit} {ended.how}", self._standing(unit) or ended.output)
        state = self._state(unit)
        if state not in _RUNS:
            raise NotTaken(f"{unit} was reloaded and is {state} now", self._standing(unit))

    def _standing(self, unit: str) -> str:
        """Which of its processes ended how; none of its log, which only leaves the device on request."""
        return self._run(("systemctl", "--no-pager", "--lines=0", "status", "--", unit), ASK_SECONDS).output

    def _state(self, unit: str) -> str:
        ended = self._run(
            ("systemctl", "--no-pager", "show", "--property=LoadState,ActiveState", "--", unit), ASK_SECONDS
        )
        if ended.how:
            raise NotTaken(f"cannot ask systemd about {unit}: systemctl {ended.how}", ended.output)
        said = dict(line.split("=", 1) for line in ended.output.splitlines() if "=" in line)
        if said.get("LoadState") != "loaded":
            raise Refused(f"cannot reload {unit}: systemd says that it is {said.get('LoadState', 'unknown')}")
        return said.get("ActiveState", "unknown")

    def _systemctl(self, verb: str, unit: str, *, seconds: int) -> Ended:
        return self._run(("systemctl", "--no-pager", "--no-ask-password", verb, "--", unit), seconds)

    def _run(self, argv: Sequence[str], seconds: int) -> Ended:
        try:
            return self._runner.run(argv, seconds)
        except Interrupted:
            raise Stopped from None
        except OSError as error:
            raise NotTaken(f"cannot run {argv[0]}: {error.strerror or error}") from error
