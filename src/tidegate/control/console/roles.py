"""The diagram of the Trust Center: which role vouches for which. The table below it has the same facts."""

from __future__ import annotations

from datetime import datetime

from markupsafe import Markup, escape

from tidegate.control.console import words
from tidegate.control.services.trust import RoleStatus, TrustStatus


def _keys(role: RoleStatus) -> str:
    count = len(role.key_ids)
    where = {"node": "online, on this node", "node-offline-folder": "on this node"}.get(role.location, "elsewhere")
    return f"{role.threshold} of {count} {'key' if count == 1 else 'keys'}, {where}"


def _box(role: RoleStatus, x: int, y: int, width: int, height: int, lines: list[str]) -> str:
    warn = role.location == "node-offline-folder"
    look = "d-box d-box--warn" if warn else "d-box"
    text = [f'<text class="tt" x="{x + 14}" y="{y + 24}">{escape(f"{role.role}, version {role.version:,}")}</text>']
    text += [f'<text x="{x + 14}" y="{y + 44 + 18 * i}">{escape(line)}</text>' for i, line in enumerate(lines)]
    mark = f'<use href="#i-warn" x="{x + width - 28}" y="{y + 11}" width="16" height="16" class="tw"/>' if warn else ""
    return f'<rect class="{look}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>{"".join(text)}{mark}'


def roles_diagram(status: TrustStatus, devices: int | None, now: datetime) -> Markup:
    """Root over timestamp, targets and snapshot; the publisher and its bins below targets."""
    by_name = {role.role: role for role in status.roles}
    root, targets, publisher = by_name["root"], by_name["targets"], by_name["publisher"]
    snapshot, timestamp, bins = by_name["snapshot"], by_name["timestamp"], by_name["bins"]

    def expires(role: RoleStatus) -> str:
        return f"expires {words.until(role.expires_at, now)}"

    said = (
        f"Root vouches for targets, snapshot and timestamp. Targets delegates to the publisher of fleet "
        f"{status.fleet}, which signs the artifacts in {bins.count:,} bins. The table below has the same facts."
    )
    watched = f"{words.plural(devices, 'device')} verify" if devices is not None else "devices verify"
    return Markup(  # noqa: S704 - numbers, our own constants, escaped names
        f'<svg viewBox="0 0 1120 330" role="img" aria-label="{escape(said)}">'
        '<path class="d-line" d="M560 106v34M174 140h754M174 140v28M560 140v28M928 140v28M560 252v36"/>'
        + _box(root, 400, 6, 320, 100, [_keys(root), expires(root), "signed by a ceremony"])
        + _box(timestamp, 24, 168, 300, 84, [_keys(timestamp), f"{expires(timestamp)}, re-signed at half life"])
        + _box(targets, 400, 168, 320, 84, [_keys(targets), f"{expires(targets)}; holds only delegations"])
        + _box(snapshot, 760, 168, 336, 84, [_keys(snapshot), f"{expires(snapshot)}, re-signed by the node"])
        + '<rect class="d-box" x="370" y="288" width="380" height="40" rx="5"/>'
        f'<text class="tt" x="384" y="313">publisher {escape(status.fleet)}</text>'
        f'<text x="736" y="313" text-anchor="end">paths {escape(status.fleet)}/*/*/*, {bins.count:,} bins</text>'
        f'<path class="d-line" d="M750 308h46"/><text x="804" y="304">{escape(_keys(publisher))}</text>'
        f'<text x="804" y="322">{escape(expires(publisher))}, terminating</text>'
        f'<path class="d-line" d="M370 308h-46"/><text x="318" y="304" text-anchor="end">{escape(watched)}</text>'
        f'<text x="318" y="322" text-anchor="end">along the chain to root version {status.root_version:,}</text></svg>'
    )
