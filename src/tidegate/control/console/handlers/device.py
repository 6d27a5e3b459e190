"""One device: what runs and why, its certificate and history; hold, recover, decommission."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from tidegate.control.console import words
from tidegate.control.console.holding import HOLD_HOURS, hold_until
from tidegate.control.console.views import device_state, device_why, hardware_facts
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.console.waves import state_words
from tidegate.control.domain.devices import DeviceEvent
from tidegate.control.domain.rollouts.model import OPEN
from tidegate.control.services import devices, explain, holds, rollouts
from tidegate.control.services.explain import Installed
from tidegate.control.services.holds import HeldDevice
from tidegate.errors import Refused, TidegateError

EVENTS = 20


def shown(visit: Visit) -> Outcome:
    return _show(visit, visit.params["name"])


def _show(visit: Visit, name: str, problem: TidegateError | None = None) -> Show:
    scope, node = visit.scope, visit.node
    detail = devices.get(scope, node, name)
    device = detail.view.device
    may_explain = scope.allows("rollouts.read")
    installed = explain.installed(scope, node, name) if may_explain else ()
    history = rollouts.device_rollouts(scope, node, name).items if may_explain else ()
    names = sorted({row.artifact for row in installed} | {row.artifact for row in history})
    asked = visit.ask("artifact") if visit.ask("artifact") in names else ""
    chosen = asked or (names[0] if names else "")
    current = next((one for one in detail.certificates if one.state == "current"), None)
    pending = next((one for one in detail.certificates if one.state == "pending"), None)
    return Show(
        "device.html",
        name,
        {
            "detail": detail,
            "device": device,
            "state": device_state(detail.view),
            "why": device_why(detail.view, visit.now),
            "presence": detail.view.presence,
            "installed": [(row, *installed_words(row)) for row in installed],
            "history": history,
            "names": names,
            "chosen": chosen,
            "explanation": explain.explain(scope, node, name, chosen) if chosen else None,
            "certificate": current,
            "pending": pending,
            "renews_at": current.not_before + (current.not_after - current.not_before) * 2 / 3 if current else None,
            "identity": f"spiffe://{node.settings.trust_domain}/fleet/{scope.fleet}/device/{name}",
            "facts": hardware_facts(device),
            "events": detail.events[:EVENTS],
            "event_tone": event_tone,
            "event_icon": event_icon,
            "state_words": state_words,
            "open_work": sum(1 for row in history if row.state in OPEN),
            "hold_hours": HOLD_HOURS,
        },
        problem=problem,
    )


def installed_words(row: Installed) -> tuple[str, str]:
    """State and reason of what one artifact name is on the device."""
    if row.drift_since is not None:
        if row.drift_reason:
            return "drifted", f"{row.drift_reason}; noticed at {row.drift_since:%H:%M}"
        wanted = row.goal_version or "nothing"
        return (
            "drifted",
            f"a rollout left {wanted} there; the device reports something else since {row.drift_since:%H:%M}",
        )
    if row.restore:
        said = f": {row.restore_reason}" if row.restore_reason else ""
        return "restore", f"restore {row.restore}{said}"
    if row.running_version is None:
        return "never", "not reported yet" if row.goal_version else "nothing of it is installed"
    if row.goal_version == row.running_version:
        return "healthy", f"what rollout {row.rollout} left there" if row.rollout else "as it should be"
    return "open", f"should be {row.goal_version or 'nothing'}"


def event_tone(event: DeviceEvent) -> str:
    """Tone of a line of the history, by the state it speaks of."""
    if event.kind in words.LOOKS:
        return words.tone(event.kind)
    for word, tone in (
        ("enroll", "good"),
        ("fail", "bad"),
        ("conflict", "bad"),
        ("roll", "back"),
        ("drift", "back"),
        ("healthy", "good"),
        ("hold", "wait"),
        ("decommission", "quiet"),
    ):
        if word in event.kind:
            return tone
    return "flow"


def event_icon(event: DeviceEvent) -> str:
    """The state's own, where the line is one; else the silhouette of what happened."""
    if event.kind in words.LOOKS:
        return words.icon(event.kind)
    known = (
        ("enroll", "completed"),
        ("conflict", "warn"),
        ("drift", "drifted"),
        ("hold", "held"),
        ("certif", "g-trust"),
    )
    return next((icon for word, icon in known if word in event.kind), "info")


def hold(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        holds.hold(visit.scope, visit.node, HeldDevice(name), visit.text("reason"), hold_until(visit))
    except Refused as error:
        return _show(visit, name, error)
    return Go(f"/devices/{quote(name)}", "held")


def release(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        holds.release(visit.scope, visit.node, HeldDevice(name))
    except Refused as error:
        return _show(visit, name, error)
    return Go(f"/devices/{quote(name)}", "released")


def decommission(visit: Visit) -> Outcome:
    """The name is typed once more, since nobody can take this back."""
    name = visit.params["name"]
    try:
        if visit.text("confirm") != name:
            raise wrong("confirm", f"must be the device's name, {name}")
        stop, seen = visit.ticked("stop_workloads"), _enrolled_at(visit.text("enrolled_at"))
        devices.decommission(visit.scope, visit.node, name, stop_workloads=stop, enrolled_at=seen)
    except Refused as error:
        return _show(visit, name, error)
    return Go(f"/devices/{quote(name)}", "decommissioned")


def _enrolled_at(text: str) -> datetime:
    """Which enrollment of the name the sheet spoke of."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise wrong("enrolled_at", "must be as the page gave it; load it again") from error


PAGES = (
    Page("GET", "/devices/{name}", "devices.read", shown, nav="devices", live=True, presence=True),
    Page("POST", "/devices/{name}/hold", "devices.write", hold, nav="devices"),
    Page("POST", "/devices/{name}/release", "devices.write", release, nav="devices"),
    Page("POST", "/devices/{name}/decommission", "devices.write", decommission, nav="devices"),
)
