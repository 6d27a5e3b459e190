"""Telling a workload to read its configuration anew: a systemd unit, or a program that the owner allowlisted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.perform import Stopped
from tidegate.agent.program import LOOK_SECONDS, Ended, Interrupted, Runner
from tidegate.agent.settings import Allow
from tidegate.errors import Refused
from tidegate.wire.config import ProgramReload, Reload, UnitReload

_log = logging.getLogger(__name__)

RELOAD_SECONDS = 120
ASK_SECONDS = 30
#: Nobody runs it, or somebody has stopped it: it stays so.
STOPPED = "inactive"
_OWN_UNITS = "tidegate-agent"
#: How long a service is watched after its reload; what ends later is found while the version is on trial.
STEADY_SECONDS = 1.0
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "Type", "RemainAfterExit", "TriggeredBy", "NRestarts")


@dataclass(frozen=True, slots=True)
class Unit:
    """In systemd's words (systemctl(1), systemd.service(5)). `once`: it runs, ends, and is inactive again."""

    active: str
    sub: str
    result: str
    once: bool
    triggered_by: tuple[str, ...]
    restarts: int

    @property
    def runs(self) -> bool:
        return self.active in ("active", "reloading")

    @property
    def may_end(self) -> bool:
        """A process of it runs; a unit that has exited and remains, a timer or a socket has none."""
        return self.sub in ("running", "reload", "start", "start-post")


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
        return self._unit(reload.unit).active if isinstance(reload, UnitReload) else ""

    def reload(self, reload: Reload, before: str) -> None:
        """Do it, and see that it was taken; a unit that was stopped `before` and still is stays so.

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
        if before == STOPPED and not self._unit(reload.unit).runs:
            _log.info("%s is not running: it reads its configuration when it is started", reload.unit)
            return
        self._reload_unit(reload.unit)

    def ended(self, reload: Reload, before: str) -> str:
        """Why what ran `before` and was reloaded runs no more; empty when it does, or need not.

        Raises:
            NotTaken: systemd cannot be asked.
        """
        if not isinstance(reload, UnitReload) or before in (STOPPED, ""):
            return ""
        found = self._unit(reload.unit)
        return f"{reload.unit} was {before} before and is {found.active} now" if self._has_ended(found) else ""

    def _reload_unit(self, unit: str) -> None:
        if not self._unit(unit).runs:
            # It may have failed so often, on what it was given before, that systemd would not start it again.
            self._systemctl("reset-failed", unit, seconds=ASK_SECONDS)
        ended = self._systemctl("reload-or-restart", unit, seconds=RELOAD_SECONDS)
        if ended.how:
            raise NotTaken(f"the reload of {unit} {ended.how}", self._standing(unit) or ended.output)
        self._see_it_run(unit)

    def _see_it_run(self, unit: str) -> None:
        """Many a service reads its file only after systemd calls it started, and ends then, with whatever status."""
        clock = self._runner.clock
        until, first = clock.monotonic() + STEADY_SECONDS, self._unit(unit)
        found = first
        while True:
            if self._has_ended(found):
                raise NotTaken(f"{unit} was reloaded and is {found.active} now", self._standing(unit))
            if found.restarts > first.restarts:
                raise NotTaken(f"{unit} was reloaded, ended, and systemd started it again", self._standing(unit))
            if clock.monotonic() >= until or not found.may_end:
                return
            try:
                self._runner.rest(LOOK_SECONDS)
            except Interrupted:
                raise Stopped from None
            found = self._unit(unit)

    def _has_ended(self, found: Unit) -> bool:
        """Whether it should run and does not: not one that has done its work, nor one that another unit will start."""
        if found.runs:
            return False
        if found.active != STOPPED or found.result != "success":
            return True
        return not found.once and not any(self._unit(other).runs for other in found.triggered_by)

    def _standing(self, unit: str) -> str:
        """Which of its processes ended how; none of its log, which only leaves the device on request."""
        return self._run(("systemctl", "--no-pager", "--lines=0", "status", "--", unit), ASK_SECONDS).output

    def _unit(self, unit: str) -> Unit:
        ended = self._run(
            ("systemctl", "--no-pager", "show", f"--property={','.join(_PROPERTIES)}", "--", unit), ASK_SECONDS
        )
        if ended.how:
            raise NotTaken(f"cannot ask systemd about {unit}: systemctl {ended.how}", ended.output)
        said = dict(line.split("=", 1) for line in ended.output.splitlines() if "=" in line)
        if said.get("LoadState") != "loaded":
            raise Refused(f"cannot reload {unit}: systemd says that it is {said.get('LoadState', 'unknown')}")
        restarts = said.get("NRestarts", "")
        return Unit(
            said.get("ActiveState", "unknown"),
            said.get("SubState", ""),
            said.get("Result", "success"),
            said.get("Type") == "oneshot" and said.get("RemainAfterExit") == "no",
            tuple(said.get("TriggeredBy", "").split()),
            int(restarts) if restarts.isascii() and restarts.isdigit() else 0,
        )

    def _systemctl(self, verb: str, unit: str, *, seconds: int) -> Ended:
        return self._run(("systemctl", "--no-pager", "--no-ask-password", verb, "--", unit), seconds)

    def _run(self, argv: Sequence[str], seconds: int) -> Ended:
        try:
            return self._runner.run(argv, seconds, may_leave=True)
        except Interrupted:
            raise Stopped from None
        except OSError as error:
            raise NotTaken(f"cannot run {argv[0]}: {error.strerror or error}") from error
