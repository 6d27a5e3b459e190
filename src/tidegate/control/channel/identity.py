"""Who calls: from the verified client certificate's fingerprint to a device, in memory (SPEC section 3, P5).

Times, revocation and decommission are judged on every request, also on an open connection. The memory is re-read by
generation, on a nudge and every `POLL_SECONDS`; when it could be older than `MAX_AGE_SECONDS`, nobody is served.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import structlog
from anyio.to_thread import run_sync

from tidegate.control.channel.http import Disconnected
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.enrollment import Certificate, Refusal, decide_use
from tidegate.control.services import certificates, renewal
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import enrollment as store
from tidegate.control.store.enrollment import Identity
from tidegate.errors import TooMany, Unauthenticated, Unavailable
from tidegate.ids import DeviceId, FleetId

log = structlog.get_logger()

POLL_SECONDS = 1.5
MAX_AGE_SECONDS = 5.0
MAX_CONNECTIONS = 4
#: Certificates that do not count (retired, of decommissioned devices, unknown) and were asked about lately.
_MAX_PAST = 10_000
_UNKNOWN_SECONDS = 2.0
_CONFLICT_SECONDS = 3600.0

Tls = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """A device whose certificate counts for this request, and is to be renewed from `renew_at` on.

    `tls` lives as long as its connection.
    """

    device: DeviceRef
    identity: Identity
    tls: Tls
    renew_at: datetime


@dataclass(frozen=True, slots=True)
class _Read:
    """What one look into the database brought: all live identities of fleets seen first, else what changed."""

    generations: dict[FleetId, int]
    first: list[Identity]
    changed: list[Identity]


class Identities:
    """Owned by one event loop."""

    def __init__(self, node: Node, changed: Callable[[DeviceId], None] = lambda _: None) -> None:
        """`changed` is called for each device whose identity is not what it was."""
        self._node = node
        self._changed = changed
        self._grace = renewal.grace(node)
        self._live: dict[str, Identity] = {}
        self._refs: dict[DeviceId, DeviceRef] = {}
        self._of_device: dict[DeviceId, tuple[str, ...]] = {}
        self._past: OrderedDict[str, tuple[Identity | None, float]] = OrderedDict()
        self._conflicts: OrderedDict[str, float] = OrderedDict()
        self._generations: dict[FleetId, int] = {}
        self.max_age_seconds = MAX_AGE_SECONDS
        self._connections: dict[DeviceId, int] = {}
        self._fresh_at = float("-inf")
        self._epoch = 0
        self._reading = anyio.Lock()
        self._limiter = anyio.CapacityLimiter(2)

    def __len__(self) -> int:
        return len(self._of_device)

    # -- what a request asks ------------------------------------------------------------------------------------------

    async def admit(self, scope: Any, *, renewing: bool = False) -> Caller:
        """The device that calls.

        Raises:
            Unauthenticated: no certificate, or one that is not on record.
            Forbidden: ``device-decommissioned``, ``certificate-replaced``, ``certificate-expired`` and so on.
            TooMany: more than `MAX_CONNECTIONS` connections of one device.
            Disconnected: it is not there any more.
            Unavailable: the memory is too old to be trusted.
        """
        tls: Tls = scope.get("extensions", {}).get("tls", {})
        known = None if renewing else self.admit_known(tls)
        if known is not None:
            return known
        fingerprint = tls.get("fingerprint") or _fingerprint(tls)
        identity = await self._find(fingerprint)
        for _ in range(2):
            decided = decide_use(
                identity.certificate if identity else None,
                identity.device_state if identity else "active",
                self._node.clock.now(),
                renewing=renewing,
                grace=self._grace,
            )
            if isinstance(decided, Refusal) or identity is None:
                await self._note(identity, decided)
                raise certificates.refused(
                    decided if isinstance(decided, Refusal) else _NOBODY,
                    stop_workloads=bool(identity and identity.stop_workloads),
                )
            if not decided.promote:
                break
            await run_sync(renewal.first_use, self._node, identity, limiter=self._limiter)
            await self.refresh()
            identity = await self._find(fingerprint)
        assert identity is not None
        self._count_connection(identity.certificate.device_id, tls)
        caller = tls["caller"] = Caller(self._ref(identity), identity, tls, renewal_due(identity.certificate))
        return caller

    def admit_known(self, tls: Tls) -> Caller | None:
        """Who called before on this connection, when memory alone can tell that the certificate still counts.

        None says nothing: `admit` finds out.
        """
        caller: Caller | None = tls.get("caller")
        if caller is None or self._live.get(tls["fingerprint"]) is not caller.identity or self._too_old():
            return None
        identity = caller.identity
        decided = decide_use(
            identity.certificate, identity.device_state, self._node.clock.now(), renewing=False, grace=self._grace
        )
        return None if isinstance(decided, Refusal) or decided.promote else caller

    def _too_old(self) -> bool:
        return self._clock() - self._fresh_at > self.max_age_seconds

    async def _find(self, fingerprint: str) -> Identity | None:
        if self._too_old():
            raise Unavailable("cannot check certificates for now", retry_after_seconds=5)
        found = self._live.get(fingerprint)
        if found is not None:
            return found
        past = self._past.get(fingerprint)
        if past is not None and (past[0] is not None or self._clock() - past[1] < _UNKNOWN_SECONDS):
            return past[0]
        return await self._look_up(fingerprint)

    async def _look_up(self, fingerprint: str) -> Identity | None:
        """A certificate that memory does not have: just issued on another replica, past, or nobody's."""
        while True:
            epoch = self._epoch
            identity = await run_sync(self._read_one, fingerprint, limiter=self._limiter)
            if epoch == self._epoch:  # else memory has moved on, and what was read may be older than it
                self._remember(fingerprint, identity)
                return identity

    def _read_one(self, fingerprint: str) -> Identity | None:
        with self._node.db.read() as tx:
            return store.identity(tx, fingerprint)

    async def _note(self, identity: Identity | None, decided: object) -> None:
        """The use of a retired certificate is written down, once in a while for each."""
        if identity is None or not isinstance(decided, Refusal) or decided.kind != "certificate-replaced":
            return
        now = self._clock()
        if now - self._conflicts.get(identity.fingerprint, float("-inf")) < _CONFLICT_SECONDS:
            return
        self._conflicts[identity.fingerprint] = now
        while len(self._conflicts) > _MAX_PAST:
            self._conflicts.popitem(last=False)
        await run_sync(renewal.conflict, self._node, identity, limiter=self._limiter)

    def _count_connection(self, device_id: DeviceId, tls: Tls) -> None:
        if tls.get("device") == device_id:
            return
        if tls.get("closed"):
            # Gone while its certificate was looked up: nobody would ever count it out again.
            raise Disconnected
        count = self._connections.get(device_id, 0)
        if count >= MAX_CONNECTIONS:
            raise TooMany(f"cannot serve more than {MAX_CONNECTIONS} connections of one device", retry_after_seconds=10)
        self._connections[device_id] = count + 1
        tls["device"] = device_id
        tls["on_close"].append(lambda: self._closed(device_id, tls))

    def _closed(self, device_id: DeviceId, tls: Tls) -> None:
        held: asyncio.Future[None] | None = tls.get("held")
        if held is not None and not held.done():
            held.set_result(None)
        left = self._connections.get(device_id, 1) - 1
        if left:
            self._connections[device_id] = left
        else:
            self._connections.pop(device_id, None)

    def _ref(self, identity: Identity) -> DeviceRef:
        device_id = identity.certificate.device_id
        ref = self._refs.get(device_id)
        if ref is None:
            ref = DeviceRef(device_id, identity.device_name, identity.fleet_id, identity.fleet)
            self._refs[device_id] = ref
        return ref

    # -- keeping up with the database ---------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read what changed since the last time. Raises what the database raises."""
        async with self._reading:
            started = self._clock()
            self._apply(await run_sync(self._read, dict(self._generations), limiter=self._limiter))
            self._fresh_at = started

    async def keep_fresh(self, nudged: asyncio.Event) -> None:
        """Refresh on every nudge and every few seconds, for ever."""
        while True:
            with anyio.move_on_after(POLL_SECONDS):
                await nudged.wait()
            nudged.clear()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - whatever the driver raises: told, and tried again until it works
                log.warning("cannot read identities", error=str(error))

    def _read(self, known: dict[FleetId, int]) -> _Read:
        first: list[Identity] = []
        changed: list[Identity] = []
        with self._node.db.read() as tx:
            generations = device_store.generations(tx)
            for fleet_id, generation in generations.items():
                if fleet_id not in known:
                    first += store.live_identities(tx, fleet_id)
                elif generation != known[fleet_id]:
                    changed += store.identities_since(tx, fleet_id, known[fleet_id])
        return _Read(generations, first, changed)

    def _apply(self, read: _Read) -> None:
        if read.first or read.changed:
            self._epoch += 1
        before = {one.certificate.device_id: self._take_out(one.certificate.device_id) for one in read.changed}
        for identity in (*read.first, *read.changed):  # all of a changed device's certificates come together
            self._remember(identity.fingerprint, identity)
        for device_id, states in before.items():
            if states != self._states(device_id):
                self._refs.pop(device_id, None)
                self._changed(device_id)
        self._generations = read.generations

    def _states(self, device_id: DeviceId) -> dict[str, str]:
        return {one: self._live[one].certificate.state for one in self._of_device.get(device_id, ())}

    def _take_out(self, device_id: DeviceId) -> dict[str, str]:
        """Forget the device's certificates; gives what they were."""
        states = self._states(device_id)
        for fingerprint in self._of_device.pop(device_id, ()):
            self._live.pop(fingerprint, None)
        return states

    def _remember(self, fingerprint: str, identity: Identity | None) -> None:
        counts = identity is not None and identity.device_state == "active" and identity.certificate.state != "retired"
        if identity is not None and counts:
            self._past.pop(fingerprint, None)
            self._live[fingerprint] = identity
            device_id = identity.certificate.device_id
            known = self._of_device.get(device_id, ())
            if fingerprint not in known:
                self._of_device[device_id] = (*known, fingerprint)
            return
        self._past[fingerprint] = (identity, self._clock())
        self._past.move_to_end(fingerprint)
        while len(self._past) > _MAX_PAST:
            self._past.popitem(last=False)

    def _clock(self) -> float:
        return self._node.clock.monotonic()


_NOBODY = Refusal("certificate-unknown", "cannot serve a certificate that is not on record")


def _fingerprint(tls: Tls) -> str:
    der = tls.get("client_certificate_der")
    if not der:
        raise Unauthenticated("cannot serve without a client certificate", type="certificate-unknown")
    tls["fingerprint"] = hashlib.sha256(der).hexdigest()
    return str(tls["fingerprint"])


def renewal_due(certificate: Certificate) -> datetime:
    """When two thirds of its life are over."""
    return certificate.not_before + (certificate.not_after - certificate.not_before) * 2 / 3
