"""What a device is to the control plane."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.ids import DeviceId, FleetId


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """A device whose certificate was verified: the only identity the device channel knows."""

    id: DeviceId
    name: str
    fleet_id: FleetId
    fleet: str
