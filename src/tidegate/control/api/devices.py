"""Devices, holds and the freeze of a fleet over HTTP."""

from __future__ import annotations

from typing import cast

import msgspec

from tidegate.control.api.enrollment import minted
from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.devices import Device, Hold
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import devices, holds, selection
from tidegate.control.services.devices import DeviceDetail, DeviceView, Search
from tidegate.control.services.holds import HeldDevice, HeldFleet
from tidegate.errors import FieldError, Invalid
from tidegate.ids import DeviceId
from tidegate.wire.device import HardwareProfile
from tidegate.wire.operator import devices as wire
from tidegate.wire.operator import tokens as token_wire
from tidegate.wire.operator.common import MAX_TOTAL, Page
from tidegate.wire.operator.groups import Freeze


def _list(call: Call) -> Page[wire.DeviceInfo]:
    query: wire.DeviceQuery = call.query
    position = decode_cursor(query.cursor, str, int)
    found = devices.listed(
        call.scope,
        call.node,
        Search(
            state=None if query.state == "all" else query.state,
            text=query.search,
            presence=query.presence or None,
            group=query.group or None,
            selector=query.selector,
            tags=_tags(query.tags),
            artifact=query.artifact or None,
            version=query.version or None,
            held=query.held,
            drifted=query.drifted,
        ),
        after=cast("tuple[str, DeviceId] | None", position),
        limit=query.limit,
        offset=query.offset,
    )
    cursor = encode_cursor(*found.next_after) if found.next_after else None
    return Page(tuple(_info(one) for one in found.items), min(found.total, MAX_TOTAL), cursor)


def _counts(call: Call) -> wire.DeviceCounts:
    found = devices.counts(call.scope, call.node)
    return wire.DeviceCounts(
        found.total, found.online, found.offline, found.never, found.held, found.decommissioned, found.drifted,
        found.conflict,
    )  # fmt: skip


def _select(call: Call) -> wire.SelectionInfo:
    query: wire.SelectorQuery = call.query
    found = selection.preview(call.scope, call.node, query.selector, pointer="/selector", device=query.device)
    return wire.SelectionInfo(
        selector=found.selector,
        count=found.count,
        first=found.first,
        declared=found.declared,
        device=found.device,
        matches=not found.why_not if found.device else None,
        why_not=found.why_not,
    )


def _get(call: Call) -> wire.DeviceDetailInfo:
    return _detail(devices.get(call.scope, call.node, call.path["device"]))


def _change_tags(call: Call) -> wire.DeviceDetailInfo:
    body: wire.ChangeTags = call.body
    return _detail(devices.change_tags(call.scope, call.node, call.path["device"], put=body.put, remove=body.remove))


def _decommission(call: Call) -> None:
    body: wire.Decommission = call.body
    name = call.path["device"]
    if body.confirm != name:
        rule = "must repeat the device's name"
        raise Invalid(f"cannot decommission {name}: confirm {rule}", (FieldError("/confirm", rule),))
    devices.decommission(call.scope, call.node, name, stop_workloads=body.stop_workloads)


def _recover(call: Call) -> token_wire.Minted:
    body: token_wire.Recover = call.body
    name = call.path["device"]
    seconds = body.expires_in_seconds
    return minted(call, name, lambda: devices.recover(call.scope, call.node, name, expires_in_seconds=seconds))


def _hold(call: Call) -> wire.HoldInfo:
    body: wire.NewHold = call.body
    name = call.path["device"]
    return hold_info(f"device {name}", holds.hold(call.scope, call.node, HeldDevice(name), body.reason, body.until))


def _release(call: Call) -> None:
    holds.release(call.scope, call.node, HeldDevice(call.path["device"]))


def _get_freeze(call: Call) -> Freeze:
    found = holds.freeze(call.scope, call.node)
    return Freeze(hold_info(f"fleet {call.scope.fleet}", found) if found else None)


def _freeze(call: Call) -> Freeze:
    body: wire.NewHold = call.body
    hold = holds.hold(call.scope, call.node, HeldFleet(), body.reason, body.until)
    return Freeze(hold_info(f"fleet {call.scope.fleet}", hold))


def _unfreeze(call: Call) -> None:
    holds.release(call.scope, call.node, HeldFleet())


def hold_info(subject: str, hold: Hold) -> wire.HoldInfo:
    return wire.HoldInfo(subject, hold.reason, hold.until)


def _tags(text: str) -> dict[str, str]:
    """``site=a,ring=2`` as a mapping. Raises `Invalid` where a part has no ``=``."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(key and separator and value for key, separator, value in pairs):
        rule = "must be key=value, several with commas between"
        raise Invalid(f"cannot accept the query: tags {rule}", (FieldError("/tags", rule),))
    return {key: value for key, _, value in pairs}


def _info(view: DeviceView) -> wire.DeviceInfo:
    device: Device = view.device
    return wire.DeviceInfo(
        id=device.id,
        name=device.name,
        state=device.state,
        presence=view.presence,
        last_seen_at=device.last_seen_at,
        enrolled_at=device.enrolled_at,
        agent_version=device.agent_version,
        arch=str(device.hardware.get("arch", "")),
        tags=dict(device.tags),
        groups=device.groups,
        hold=hold_info(f"device {device.name}", device.hold) if device.hold else None,
        waiting_on=device.waiting_on,
        identity_conflict=device.identity_conflict_at is not None,
        drifted=view.drifted,
    )


def _detail(found: DeviceDetail) -> wire.DeviceDetailInfo:
    device = found.view.device
    return wire.DeviceDetailInfo(
        device=_info(found.view),
        hardware=msgspec.convert(dict(device.hardware), HardwareProfile),
        declared_tags=dict(device.declared_tags),
        log_sources=device.log_sources,
        in_progress=tuple(wire.InProgressInfo(one.work, one.state, one.detail) for one in device.in_progress),
        holds=tuple(hold_info(subject, hold) for subject, hold in found.holds),
        certificates=tuple(
            wire.CertificateInfo(
                state=one.state,
                serial=one.serial,
                fingerprint=one.fingerprint,
                not_before=one.not_before,
                not_after=one.not_after,
                issued_at=one.issued_at,
            )
            for one in found.certificates
        ),
        events=tuple(wire.EventInfo(one.at, one.kind, one.detail, one.rollout_id) for one in found.events),
        decommissioned_at=device.decommissioned_at,
        stop_workloads=device.stop_workloads,
        identity_conflict_at=device.identity_conflict_at,
    )


OPERATIONS = (
    Operation(
        method="GET", path="/v1/devices", permission="devices.read", summary="List devices", handler=_list,
        query=wire.DeviceQuery, answer=Page[wire.DeviceInfo], tag="devices",
    ),
    Operation(
        name="devices.counts",
        method="GET", path="/v1/device-counts", permission="devices.read", tag="devices", handler=_counts,
        summary="How many devices are online, offline, held", answer=wire.DeviceCounts,
    ),
    Operation(
        method="GET", path="/v1/device-selection", name="devices.select", permission="devices.read", tag="devices",
        handler=_select,
        summary="How many devices a selector matches, and why one of them does not", query=wire.SelectorQuery,
        answer=wire.SelectionInfo,
    ),
    Operation(
        method="GET", path="/v1/devices/{device}", permission="devices.read", tag="devices", handler=_get,
        summary="One device", answer=wire.DeviceDetailInfo,
    ),
    Operation(
        method="PATCH", path="/v1/devices/{device}/tags", permission="devices.write", tag="devices",
        handler=_change_tags, summary="Set and remove tags", body=wire.ChangeTags, answer=wire.DeviceDetailInfo,
    ),
    Operation(
        method="POST", path="/v1/devices/{device}/decommission", permission="devices.write", tag="devices",
        summary="Decommission a device: refused from now on, told to wipe its key", handler=_decommission,
        body=wire.Decommission, status=204,
    ),
    Operation(
        method="POST", path="/v1/devices/{device}/recover", permission="tokens.write", tag="devices", handler=_recover,
        summary="Mint a token that gives the device a new key under the same record", body=token_wire.Recover,
        answer=token_wire.Minted, status=201, secret_answer=True,
    ),
    Operation(
        name="devices.hold",
        method="PUT", path="/v1/devices/{device}/hold", permission="devices.write", tag="devices", handler=_hold,
        summary="Hold a device", body=wire.NewHold, answer=wire.HoldInfo,
    ),
    Operation(
        name="devices.release",
        method="DELETE", path="/v1/devices/{device}/hold", permission="devices.write", tag="devices", handler=_release,
        summary="Release a device", status=204,
    ),
    Operation(
        method="GET", path="/v1/freeze", permission="devices.read", tag="devices", handler=_get_freeze,
        summary="Whether the fleet is frozen", answer=Freeze,
    ),
    Operation(
        name="freeze.begin",
        method="PUT", path="/v1/freeze", permission="rollouts.write", tag="devices", handler=_freeze,
        summary="Freeze the fleet: nothing is served, no leave is given", body=wire.NewHold, answer=Freeze,
    ),
    Operation(
        name="freeze.end",
        method="DELETE", path="/v1/freeze", permission="rollouts.write", tag="devices", handler=_unfreeze,
        summary="End the freeze", status=204,
    ),
)  # fmt: skip
