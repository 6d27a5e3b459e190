"""What a node demands of metadata that were signed elsewhere.

Whoever holds only the node's keys, or only sends documents, can neither alter nor drop what is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from tuf.api.metadata import TargetFile, Targets

from tidegate.errors import Untrusted
from tidegate.trust.tuf import roles
from tidegate.trust.tuf.repository import Change, changed, delegated
from tidegate.trust.tuf.roles import PUBLISHER, Row, Rows, need

MAX_PREPARED_BYTES = 5_000_000
#: How far ahead of the node's clock a version prepared elsewhere may be: clocks differ, but a version from the far
#: future would leave no room for the next one.
MAX_CLOCK_LEAD = timedelta(hours=1)


def accept(fleet: str, rows: Rows, documents: Mapping[str, bytes], change: Change, now: datetime) -> dict[str, Row]:
    """The rows of `documents` when they carry exactly `change` and nothing else; needs the rows that they replace.

    Raises:
        Untrusted: wrong signature, version, expiry or bin; a path of another fleet; or any target added, altered or
            removed that `change` does not name.
    """
    current = roles.read_targets(need(rows, PUBLISHER))
    publisher = _accepted_publisher(rows, documents.get(PUBLISHER), current)
    cut = roles.succinct(publisher)
    known = {PUBLISHER, *cut.get_roles()}
    if not documents or not documents.keys() <= known:
        raise Untrusted(
            "cannot accept the signed metadata: they must be of the publisher and its bins, and nothing else"
        )
    regrown = cut.bit_length != roles.succinct(current).bit_length
    replaced = set(roles.succinct(current).get_roles()) if regrown else set(documents) - {PUBLISHER}
    made: dict[str, Row] = {}
    after: dict[str, TargetFile] = {}
    for name, data in documents.items():
        if len(data) > MAX_PREPARED_BYTES:
            raise Untrusted(f"cannot accept the role {name:.128}: it must be at most {MAX_PREPARED_BYTES} bytes")
        signed = publisher if name == PUBLISHER else _accepted_bin(fleet, publisher, name, data)
        _check_dates(name, signed, rows.get(name), now)
        made[name] = Row(name, signed.version, data, signed.expires)
        after.update(signed.targets)
    if regrown and made.keys() != known:
        raise Untrusted("cannot accept a new cut into bins: every bin of it must be given")
    before: dict[str, TargetFile] = {}
    for name in replaced:
        before.update(roles.read_targets(need(rows, name)).targets)
    _compare(changed(before, change), after)
    return made


def _accepted_publisher(rows: Rows, data: bytes | None, current: Targets) -> Targets:
    if data is None:
        return current
    publisher = delegated(roles.read_targets(need(rows, "targets")), PUBLISHER, data)
    old, new = roles.succinct(current), roles.succinct(publisher)
    if publisher.targets or (new.keyids, new.threshold) != (old.keyids, old.threshold):
        raise Untrusted("cannot accept the publisher's metadata: they hold targets or delegate to other keys")
    if not old.bit_length <= new.bit_length <= roles.MAX_BIN_BITS or new.name_prefix != roles.bin_prefix(
        new.bit_length
    ):
        raise Untrusted("cannot accept the publisher's metadata: the bins may only grow, and keep their names")
    return publisher


def _accepted_bin(fleet: str, publisher: Targets, name: str, data: bytes) -> Targets:
    signed = delegated(publisher, name, data)
    cut = roles.succinct(publisher)
    if signed.delegations is not None:
        raise Untrusted(f"cannot accept the role {name}: a bin must not delegate")
    for path in signed.targets:
        if cut.get_role_for_target(path) != name or not path.startswith(f"{fleet}/"):
            raise Untrusted(f"cannot accept the role {name}: {path:.256} does not belong into it")
    return signed


def _check_dates(name: str, signed: Targets, last: Row | None, now: datetime) -> None:
    floor = last.version if last else 0
    if not floor < signed.version <= roles.next_version(floor, now + MAX_CLOCK_LEAD):
        raise Untrusted(f"cannot accept the role {name}: its version must follow {floor} and not lead the clock")
    if not now < signed.expires <= now + roles.lifetime(name) + MAX_CLOCK_LEAD:
        raise Untrusted(f"cannot accept the role {name}: it must expire within {roles.lifetime(name).days} days")


def _compare(expected: Mapping[str, TargetFile], after: Mapping[str, TargetFile]) -> None:
    for path in sorted(expected.keys() | after.keys()):
        if path not in after:
            raise Untrusted(f"cannot accept the signed metadata: they drop {path:.256}")
        if path not in expected:
            raise Untrusted(f"cannot accept the signed metadata: they add {path:.256}, which was not asked for")
        if expected[path] != after[path]:
            raise Untrusted(f"cannot accept the signed metadata: they alter {path:.256}")
