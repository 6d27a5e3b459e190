"""The life of a device's certificates under any order of enrolling, renewing, losing answers, recovering and ending."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from datetime import timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tidegate.control.channel.identity import Identities
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.services import devices, renewal
from tidegate.control.services.node import Node
from tidegate.control.store.schema import device_certificates
from tidegate.errors import Conflict, Refused, TooMany
from tidegate.testing.channel import Connection, csr, enroll, mint, new_key
from tidegate.testing.node import admin_scope

_NUMBERS = itertools.count()


class Lifecycle(RuleBasedStateMachine):
    """`held`: the newest certificate that the device received; `retired`: those that must never serve again."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node
        self.scope = admin_scope(node)
        self.loop = asyncio.new_event_loop()
        self.name = f"cam-{next(_NUMBERS)}"
        self.device: DeviceRef | None = None
        self.asked: tuple[str, ec.EllipticCurvePrivateKey, str] | None = None  # token, key, what the node gave
        self.held: str | None = None
        self.before: list[str] = []  # given in this lineage and older than `held`
        self.pending: tuple[ec.EllipticCurvePrivateKey, str] | None = None
        self.retired: set[str] = set()
        self.ended = False

    def teardown(self) -> None:
        self.loop.close()

    def admitted(self, pem: str, *, renewing: bool = False) -> str:
        """Empty when it is served, else the kind of the refusal; a memory made anew, as after a restart."""
        identities = Identities(self.node)

        async def ask() -> str:
            await identities.refresh()
            connection = Connection(pem)
            try:
                await identities.admit({"extensions": {"tls": connection.tls}}, renewing=renewing)
            except Refused as refusal:
                return refusal.type
            return ""

        return self.loop.run_until_complete(ask())

    def lineage_ends(self) -> None:
        self.retired |= {pem for pem in (*self.before, self.held) if pem}
        self.retired |= {self.pending[1]} if self.pending else set()
        self.retired |= {self.asked[2]} if self.asked else set()
        self.before, self.held, self.pending = [], None, None

    @precondition(lambda self: not self.ended and self.asked is None)
    @rule(lost=st.booleans())
    def enroll(self, lost: bool) -> None:
        token, key = mint(self.scope, self.node), new_key()
        given = enroll(self.node, token, key, self.name)
        self.device, self.asked = given.device, (token, key, given.certificate_pem)
        self.held = None if lost else given.certificate_pem

    @precondition(lambda self: not self.ended and self.asked is not None)
    @rule()
    def enroll_again_with_the_same_key(self) -> None:
        assert self.asked is not None
        token, key, gave = self.asked
        if gave in self.retired:
            with pytest.raises(Refused) as caught:
                enroll(self.node, token, key, self.name)
            assert caught.value.type == "token-spent"
            return
        again = enroll(self.node, token, key, self.name)
        assert again.certificate_pem == gave
        if self.held is None:
            self.held = gave

    @precondition(lambda self: not self.ended and self.held is not None)
    @rule(lost=st.booleans())
    def renew(self, lost: bool) -> None:
        self.use()
        key = new_key()
        try:
            pem = self.renewed(key)
        except TooMany:
            assert self.pending is not None
            return
        if self.pending is not None:
            self.retired.add(self.pending[1])
        self.pending = (key, pem)
        if not lost:
            self.take_pending()

    @precondition(lambda self: not self.ended and self.held is not None and self.pending is not None)
    @rule(lost=st.booleans())
    def renew_again_with_the_same_key(self, lost: bool) -> None:
        assert self.pending is not None
        assert self.renewed(self.pending[0]) == self.pending[1]
        if not lost:
            self.take_pending()

    def renewed(self, key: ec.EllipticCurvePrivateKey) -> str:
        assert self.device is not None
        assert self.held is not None
        connection = Connection(self.held)
        assert self.admitted(self.held, renewing=True) == ""
        fingerprint = hashlib.sha256(connection.tls["client_certificate_der"]).hexdigest()
        return renewal.renew(self.node, self.device, fingerprint, csr(key))

    def take_pending(self) -> None:
        assert self.pending is not None
        assert self.held is not None
        self.before.append(self.held)
        self.held, self.pending = self.pending[1], None

    @precondition(lambda self: not self.ended and self.held is not None)
    @rule()
    def use(self) -> None:
        """Whatever was lost before, what the device holds serves; from then on what is older does not."""
        assert self.held is not None
        assert self.admitted(self.held) == ""
        self.retired.update(self.before)
        self.before.clear()

    @precondition(lambda self: not self.ended and bool(self.retired))
    @rule(data=st.data())
    def use_a_retired_one(self, data: st.DataObject) -> None:
        pem = data.draw(st.sampled_from(sorted(self.retired)))
        assert self.admitted(pem) == "certificate-replaced"
        assert self.admitted(pem, renewing=True) == "certificate-replaced"

    @precondition(lambda self: not self.ended and self.asked is not None)
    @rule(lost=st.booleans())
    def recover(self, lost: bool) -> None:
        token, key = devices.recover(self.scope, self.node, self.name).secret, new_key()
        given = enroll(self.node, token, key)
        assert given.device == self.device
        self.lineage_ends()
        self.asked = (token, key, given.certificate_pem)
        self.held = None if lost else given.certificate_pem

    @precondition(lambda self: not self.ended and self.asked is not None)
    @rule()
    def a_stranger_takes_no_name(self) -> None:
        with pytest.raises(Conflict):
            enroll(self.node, mint(self.scope, self.node), new_key(), self.name)

    @rule()
    def two_minutes_pass(self) -> None:
        with self.node.db.write() as tx:
            for row in tx.execute(sa.select(device_certificates.c.id, device_certificates.c.issued_at)).all():
                earlier = row.issued_at - timedelta(minutes=2)
                tx.execute(
                    sa.update(device_certificates).where(device_certificates.c.id == row.id).values(issued_at=earlier)
                )

    @precondition(lambda self: not self.ended and self.asked is not None)
    @rule()
    def decommission(self) -> None:
        devices.decommission(self.scope, self.node, self.name)
        given = {pem for pem in (*self.retired, *self.before, self.held) if pem}
        for pem in given:
            assert self.admitted(pem) == "device-decommissioned"
        self.ended = True

    @invariant()
    def at_most_one_current(self) -> None:
        if self.device is None:
            return
        table = device_certificates
        with self.node.db.read() as tx:
            states = list(tx.scalars(sa.select(table.c.state).where(table.c.device_id == self.device.id)))
        assert states.count("current") == 1
        assert states.count("pending") <= 1
        assert states.count("intended") == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_certificates_live_as_promised(node: Node) -> None:
    run_state_machine_as_test(
        lambda: Lifecycle(node),
        settings=settings(max_examples=25, stateful_step_count=15, suppress_health_check=list(HealthCheck)),
    )
