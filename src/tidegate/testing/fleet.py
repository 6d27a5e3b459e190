"""Simulated devices that speak to the services directly, and time that passes in the database."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tidegate.control.domain.access import Scope
from tidegate.control.domain.devices import ChannelUp, DeviceRef
from tidegate.control.services import work
from tidegate.control.services.node import Node
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine, groups
from tidegate.control.store.schema import Instant, artifacts, devices, metadata, node_state
from tidegate.ids import ArtifactId
from tidegate.wire import descriptor
from tidegate.wire.descriptor import Descriptor, PayloadFile
from tidegate.wire.device import DesiredState, Installed, LeaveRequest, Report, Reports, Requirement, Work

MICROSECONDS = 1_000_000


def catalog(
    node: Node, scope: Scope, name: str, version: str, *, hardware: str = "", requires: Sequence[Requirement] = ()
) -> ArtifactId:
    """A version in the catalog, as publishing leaves it there, without its bytes and signatures."""
    document = Descriptor(
        fleet=scope.fleet,
        name=name,
        version=version,
        kind="model",
        files=(PayloadFile("model.onnx", hashlib.sha256(version.encode()).hexdigest(), 10),),
        target_hardware=hardware,
        requires=tuple(requires),
    )
    text = descriptor.encode(document)
    with node.db.write() as tx:
        values = {
            "fleet_id": scope.fleet_id,
            "name": name,
            "version": version,
            "kind": "model",
            "descriptor": text.decode(),
            "descriptor_sha256": hashlib.sha256(text).hexdigest(),
            "size_bytes": 10,
            "published_at": engine.now(tx),
            "published_by": str(scope.actor),
        }
        return ArtifactId(int(tx.execute(artifacts.insert().values(values).returning(artifacts.c.id)).scalar_one()))


def withdraw(node: Node, artifact: ArtifactId, reason: str = "bad") -> None:
    with node.db.write() as tx:
        values = {"withdrawn_at": engine.now(tx), "withdrawn_reason": reason}
        tx.execute(artifacts.update().where(artifacts.c.id == artifact).values(**values))


def elapse(node: Node, seconds: float) -> None:
    """Let time pass: every time on record moves into the past by as much, which is the same as the clock going on.

    The device channel stays up meanwhile, so that absence counts.
    """
    with node.db.write() as tx:
        for table in metadata.sorted_tables:
            moved = {
                column.name: sa.type_coerce(
                    sa.type_coerce(column, sa.BigInteger) - int(seconds * MICROSECONDS), column.type
                )
                for column in table.columns
                if isinstance(column.type, Instant)
            }
            if moved:
                tx.execute(table.update().values(moved))
        tx.execute(node_state.delete().where(node_state.c.key == "device_channel"))
        now = engine.now(tx)
        device_store.record_channel_up(tx, ChannelUp(now - timedelta(days=400), now))


@dataclass
class SimDevice:
    """A device that takes up its desired state at once. `outcome` says how its work ends; `online` whether it calls."""

    node: Node
    ref: DeviceRef
    installed: dict[str, tuple[str, str]] = field(default_factory=dict)
    outcome: Callable[[Work], str] = lambda work: "healthy"
    online: bool = True
    installation: str = field(default_factory=lambda: uuid.uuid4().hex)
    sequence: int = 0
    done: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)

    @property
    def runs(self) -> dict[str, str]:
        return {name: version for name, (version, _) in self.installed.items()}

    def seen(self) -> None:
        """One heartbeat: presence, and what is installed."""
        with self.node.db.write() as tx:
            tx.execute(devices.update().where(devices.c.id == self.ref.id).values(last_seen_at=engine.now(tx)))
        listed = [Installed(name, version, sha256) for name, (version, sha256) in sorted(self.installed.items())]
        work.observe(self.node, self.ref, listed)

    def poll(self) -> DesiredState:
        self.seen()
        return work.desired(self.node, self.ref)

    def tick(self) -> None:
        """Take up and finish everything that is wanted and permitted."""
        if not self.online:
            return
        for item in self.poll().work:
            if item.id not in self.done:
                self.perform(item)

    def perform(self, item: Work) -> None:
        self.report(item, "ready")
        if self.leave(item):
            self.finish(item)

    def leave(self, item: Work) -> bool:
        running = self.runs.get(item.artifact)
        answer = work.leave(self.node, self.ref, LeaveRequest(item.id, running))
        if not answer.granted:
            self.refusals.append(answer.reason)
        return answer.granted

    def finish(self, item: Work) -> None:
        """What follows leave: apply, probe, end."""
        end = self.outcome(item)
        if item.kind in ("revert", "remove"):
            end = {"healthy": "reverted"}.get(end, "revert_failed" if end != "reverted" else end)
        if end in ("healthy", "reverted"):
            if item.version is None:
                self.installed.pop(item.artifact, None)
            else:
                self.installed[item.artifact] = (item.version, item.descriptor_sha256 or "")
        self.report(item, end, reason="" if end in ("healthy", "reverted") else "probe exec check failed 3 of 3")
        self.done.add(item.id)

    def report(self, item: Work | str, state: str, reason: str = "") -> str:
        """Report one fact; gives the status it was answered with."""
        self.sequence += 1
        work_id = item if isinstance(item, str) else item.id
        fact = Report(self.sequence, work_id, state, datetime.now(UTC), reason)  # type: ignore[arg-type]
        answer = work.report(self.node, [(self.ref, Reports(self.installation, (fact,)))])
        return answer[0].results[0].status

    def wipe(self) -> None:
        """Lose everything, as after a new disk."""
        self.installed.clear()
        self.done.clear()
        self.installation = uuid.uuid4().hex
        self.sequence = 0


def enroll(node: Node, scope: Scope, names: Iterable[str], group: str | None = None) -> list[SimDevice]:
    """Devices as enrollment leaves them; in the group, which is made when it is not there."""
    made = []
    with node.db.write() as tx:
        now = engine.now(tx)
        for name in names:
            device_id = device_store.insert(tx, scope.fleet_id, name, now)
            made.append(SimDevice(node, DeviceRef(device_id, name, scope.fleet_id, scope.fleet)))
        if group is not None:
            found = groups.by_names(tx, scope.fleet_id, [group])
            group_id = found.get(group) or groups.insert(tx, scope.fleet_id, group, now)
            groups.add(tx, group_id, [one.ref.id for one in made])
    return made


def settle(node: Node, fleet: Sequence[SimDevice], rounds: int = 30) -> None:
    """Planner and devices in turn, as often as given."""
    for _ in range(rounds):
        plan_all(node)
        for device in fleet:
            device.tick()
    plan_all(node)
