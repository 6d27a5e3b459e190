"""Whether this node can do its work: named checks, registered by the composition root."""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger()

Check = Callable[[], None]


class Health:
    """Checks raise what is wrong; the details go to the log, the names to whoever asks."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._warnings: dict[str, Callable[[], bool]] = {}

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def add_warning(self, name: str, applies: Callable[[], bool]) -> None:
        """What people should look after soon, while the node goes on."""
        self._warnings[name] = applies

    def warnings(self) -> list[str]:
        """The names of the warnings that apply now; what cannot be looked at is one."""
        found = []
        for name, applies in self._warnings.items():
            try:
                if applies():
                    found.append(name)
            except Exception as error:  # noqa: BLE001 - as below
                log.warning("cannot look", warning=name, error=str(error))
                found.append(name)
        return found

    def failing(self) -> list[str]:
        """The names of the checks that fail now."""
        found = []
        for name, check in self._checks.items():
            try:
                check()
            except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
                log.warning("not ready", check=name, error=str(error))
                found.append(name)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._checks)
