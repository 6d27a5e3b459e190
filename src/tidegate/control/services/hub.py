"""In-process wake-ups. A nudge is a hint and may be lost: whoever listens also looks by itself, every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from tidegate.ids import DeviceId, FleetId

ChangeKind = Literal["rollouts", "devices", "identity", "trust", "audit", "people", "sboms"]


@dataclass(frozen=True, slots=True)
class Change:
    """`devices`: the desired state of these (None: all of the fleet) may differ; `identity`: certificates changed;
    `people`: a session ended or what somebody may do changed, in whichever fleet."""

    kind: ChangeKind
    fleet_id: FleetId
    devices: frozenset[DeviceId] | None = None


Listener = Callable[[Change], None]


class Hub:
    """Thread-safe; a listener is called in the thread that nudges, must not block, and must not raise."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._lock = threading.Lock()
        self._next = 0

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on every change; call what is returned to stop."""
        with self._lock:
            self._next += 1
            token = self._next
            self._listeners[token] = listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(token, None)

        return stop

    def nudge(self, kind: ChangeKind, fleet_id: FleetId, devices: Collection[DeviceId] | None = None) -> None:
        """Call after the commit, never inside the transaction."""
        change = Change(kind, fleet_id, None if devices is None else frozenset(devices))
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener(change)
