"""Every table. Integers for ids, text enums for states, JSON text for small immutable documents.

Times are whole microseconds since the epoch, UTC (`Instant`): the same on both databases, exact to compare, small to
index. The column types are the only place that converts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives a rowid alias only to INTEGER; PostgreSQL wants 64 bits.
Id = BigInteger().with_variant(Integer(), "sqlite")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        delta = value - _EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        seconds, micros = divmod(int(value), 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def _pk() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _fleet() -> Column[int]:
    return Column("fleet_id", Id, ForeignKey("fleets.id"), nullable=False)


fleets = Table(
    "fleets", metadata,
    _pk(),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("interval_seconds", Integer, nullable=False, server_default="30"),
    Column("frozen_reason", Text),  # the whole fleet is held while this is set
    Column("frozen_until", Instant),
    Column("four_eyes", Boolean, nullable=False, server_default=sa.false()),  # true of all where the node asks for it
    Column("default_strategy", Text),  # JSON; null: one wave to all
    Column("device_events_days", Integer),  # null: as the node's settings say
    # Grows with every change of holds, restores and identity.
    Column("device_generation", BigInteger, nullable=False, server_default="0"),
)  # fmt: skip

# -- devices, identity, enrollment ------------------------------------------------------------------------------------

devices = Table(
    "devices", metadata,
    _pk(),
    _fleet(),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # active | decommissioned
    Column("created_at", Instant, nullable=False),
    Column("enrolled_at", Instant, nullable=False),
    Column("decommissioned_at", Instant),
    Column("stop_workloads", Boolean, nullable=False, server_default=sa.false()),
    Column("last_seen_at", Instant),
    Column("agent_version", Text, nullable=False, server_default=""),
    Column("hardware", Text, nullable=False, server_default="{}"),
    Column("declared_tags", Text, nullable=False, server_default="{}"),
    Column("log_sources", Text, nullable=False, server_default="[]"),  # names that the device's owner allows
    Column("installation", Text),  # of the last report; a new one starts its own sequence
    Column("report_sequence", BigInteger, nullable=False, server_default="0"),
    Column("waiting_on", Text, nullable=False, server_default=""),  # the device's own words
    Column("in_progress", Text, nullable=False, server_default="[]"),
    Column("hold_reason", Text),
    Column("hold_until", Instant),
    Column("identity_conflict_at", Instant),
    Column("generation", BigInteger, nullable=False, server_default="0"),  # the fleet's, at the last change
    # One living device per name; the name of a decommissioned one can be enrolled again as a new device.
    Index("uq_devices_fleet_id_name_active", "fleet_id", "name", unique=True,
          sqlite_where=sa.text("state = 'active'"), postgresql_where=sa.text("state = 'active'")),
    Index("ix_devices_fleet_id_generation", "fleet_id", "generation"),
    Index("ix_devices_held", "fleet_id",
          sqlite_where=sa.text("hold_reason IS NOT NULL"), postgresql_where=sa.text("hold_reason IS NOT NULL")),
    CheckConstraint("state IN ('active', 'decommissioned')", name="state"),
)  # fmt: skip

#: `devices.state` of the living. Written out, not bound: only so does SQLite count and walk them in the partial index
#: above without a look at each row.
ACTIVE: sa.ColumnElement[str] = sa.literal_column("'active'")

device_tags = Table(
    "device_tags", metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("ix_device_tags_key_value", "key", "value"),
)  # fmt: skip

# What selectors ask of a device, written with its profile: typed, unknown facts null. `_order` columns hold
# tidegate.versions.sort_key, which both databases compare byte by byte.
device_facts = Table(
    "device_facts", metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    Column("arch", Text),
    Column("os", Text),
    Column("os_version", Text),
    Column("os_version_order", LargeBinary),
    Column("kernel", Text),
    Column("kernel_order", LargeBinary),
    Column("board", Text),
    Column("cpu_count", BigInteger),
    Column("ram_bytes", BigInteger),
    Column("disk_bytes", BigInteger),
    Column("agent_version", Text),
    Column("agent_version_order", LargeBinary),
)  # fmt: skip

# Facts that are many: accelerators, runtimes (no value), and declared tags, which are never an operator's.
device_fact_items = Table(
    "device_fact_items", metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    Column("kind", Text, primary_key=True),  # accelerators | runtimes | declared
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False, server_default=""),
    Index("ix_device_fact_items_kind_key", "kind", "key"),
)  # fmt: skip

# A sheet that somebody has previewed and may yet import; one each, the last.
device_imports = Table(
    "device_imports", metadata,
    Column("fleet_id", Id, ForeignKey("fleets.id"), primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("sheet", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)  # fmt: skip

device_certificates = Table(
    "device_certificates", metadata,
    _pk(),
    Column("fingerprint", Text, unique=True),  # SHA-256 of the DER, hex; null until signed
    Column("device_id", Id, ForeignKey("devices.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),  # intended (recorded, not yet signed) | pending | current | retired
    Column("public_key_sha256", Text, nullable=False, index=True),
    Column("serial", Text, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("token_id", Id, ForeignKey("enrollment_tokens.id"), index=True),
    Column("pem", Text, nullable=False, server_default=""),
    Index("uq_device_certificates_current", "device_id", unique=True,
          sqlite_where=sa.text("state = 'current'"), postgresql_where=sa.text("state = 'current'")),
    CheckConstraint("state IN ('intended', 'pending', 'current', 'retired')", name="state"),
)  # fmt: skip

enrollment_tokens = Table(
    "enrollment_tokens", metadata,
    _pk(),
    _fleet(),
    Column("secret_sha256", Text, nullable=False, unique=True),
    Column("device_name", Text),
    Column("tags", Text, nullable=False, server_default="{}"),
    Column("groups", Text, nullable=False, server_default="[]"),
    Column("may_replace", Boolean, nullable=False),
    Column("uses_allowed", Integer, nullable=False),
    Column("uses_spent", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)  # fmt: skip

groups = Table(
    "groups", metadata,
    _pk(),
    _fleet(),
    Column("name", Text, nullable=False),
    Column("selector", Text),  # null: static
    Column("created_at", Instant, nullable=False),
    Column("hold_reason", Text),
    Column("hold_until", Instant),
    UniqueConstraint("fleet_id", "name"),
)  # fmt: skip

group_members = Table(
    "group_members", metadata,
    Column("group_id", Id, ForeignKey("groups.id"), primary_key=True),
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True, index=True),
)  # fmt: skip

# -- artifacts and trust ----------------------------------------------------------------------------------------------

artifacts = Table(
    "artifacts", metadata,
    _pk(),
    _fleet(),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("descriptor", Text, nullable=False),  # the canonical bytes, as text
    Column("descriptor_sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("published_at", Instant, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("withdrawn_at", Instant),
    Column("withdrawn_reason", Text),
    UniqueConstraint("fleet_id", "name", "version"),
)  # fmt: skip

# A movable label of one artifact name; the label itself is never signed: devices see the version a rollout resolved.
channels = Table(
    "channels", metadata,
    _pk(),
    _fleet(),
    Column("artifact_name", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("artifact_id", Id, ForeignKey("artifacts.id"), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("moved_at", Instant, nullable=False),
    Column("moved_by", Text, nullable=False),
    UniqueConstraint("fleet_id", "artifact_name", "name"),
)  # fmt: skip

# By names, not by the channel's row: what a deleted channel pointed at stays told.
channel_moves = Table(
    "channel_moves", metadata,
    _pk(),
    _fleet(),
    Column("artifact_name", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("from_version", Text),  # null: created here
    Column("to_version", Text),  # null: deleted here
    Column("at", Instant, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Index("ix_channel_moves_fleet_id_artifact_name_channel", "fleet_id", "artifact_name", "channel", "id"),
)  # fmt: skip

sboms = Table(
    "sboms", metadata,
    _pk(),
    _fleet(),
    Column("artifact_id", Id, ForeignKey("artifacts.id"), nullable=False),
    Column("state", Text, nullable=False),  # received | valid | invalid
    Column("sha256", Text, nullable=False, index=True),  # of the bytes as they were sent, a blob
    Column("size_bytes", BigInteger, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("received_by", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("claimed_until", Instant),  # a worker is at it; when it has passed, another may
    Column("checked_at", Instant),
    Column("format", Text, nullable=False, server_default=""),
    Column("spec_version", Text, nullable=False, server_default=""),
    Column("component_count", Integer, nullable=False, server_default="0"),
    Column("licenses", Text, nullable=False, server_default="[]"),  # [[licence, components], …], the most frequent
    Column("reasons", Text, nullable=False, server_default="[]"),  # [[pointer, rule], …] of an invalid one
    Column("ended_at", Instant),
    Column("ended_by", Text),
    Column("ended_reason", Text),
    # One is the version's; those before it stay as history.
    Index("uq_sboms_artifact_id_current", "artifact_id", unique=True,
          sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL")),
    Index("ix_sboms_artifact_id_id", "artifact_id", "id"),
    Index("ix_sboms_state", "state"),
    CheckConstraint("state IN ('received', 'valid', 'invalid')", name="state"),
)  # fmt: skip

sbom_components = Table(
    "sbom_components", metadata,
    Column("sbom_id", Id, ForeignKey("sboms.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # from 0, as the document lists them
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False, server_default=""),
    Column("purl", Text, nullable=False, server_default=""),
    Column("license", Text, nullable=False, server_default=""),
    Index("ix_sbom_components_name", "name"),
)  # fmt: skip

uploads = Table(
    "uploads", metadata,
    Column("id", Text, primary_key=True),
    _fleet(),
    Column("length", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False, server_default="0"),
    Column("sha256", Text),  # set when whole and hashed
    Column("file_name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("touched_at", Instant, nullable=False),
)  # fmt: skip

tuf_repositories = Table(
    "tuf_repositories", metadata,
    Column("fleet_id", Id, ForeignKey("fleets.id"), primary_key=True),
    Column("convenience", Boolean, nullable=False),
    Column("publisher_on_node", Boolean, nullable=False, server_default=sa.true()),
    Column("bins", Integer, nullable=False, server_default="16"),
    Column("generation", BigInteger, nullable=False, server_default="0"),
)  # fmt: skip

tuf_metadata = Table(
    "tuf_metadata", metadata,
    Column("fleet_id", Id, ForeignKey("fleets.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("current", Boolean, nullable=False),
    Index("uq_tuf_metadata_current", "fleet_id", "role", unique=True,
          sqlite_where=sa.text("current"), postgresql_where=sa.text("current")),
)  # fmt: skip

# -- rollouts ---------------------------------------------------------------------------------------------------------

rollouts = Table(
    "rollouts", metadata,
    _pk(),
    _fleet(),
    Column("artifact_id", Id, ForeignKey("artifacts.id"), nullable=False),
    Column("artifact_name", Text, nullable=False),  # as in artifacts; superseding and serving look by it
    Column("state", Text, nullable=False),
    Column("state_since", Instant, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),  # why halted, aborted or waiting
    Column("strategy", Text, nullable=False),
    Column("probes", Text, nullable=False, server_default="[]"),
    Column("channel", Text),  # the channel it was created from; the version was resolved then, once
    Column("target", Text, nullable=False),  # as asked: group, device names
    Column("target_size", Integer, nullable=False),
    Column("baseline", Boolean, nullable=False, server_default=sa.false()),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("four_eyes_person", Text),  # the creator, who then neither approves nor resumes
    Column("start_at", Instant),
    Column("released_wave", SmallInteger, nullable=False, server_default="0"),  # 0: none; a release raises it
    Column("resume_count", Integer, nullable=False, server_default="0"),
    Column("halted_seconds", BigInteger, nullable=False, server_default="0"),  # deadlines stand still while halted
    Column("soak_until", Instant),
    Column("abort_policy", Text),  # keep | revert
    Column("first_served_at", Instant),
    Column("completed_at", Instant),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Index("ix_rollouts_fleet_id_artifact_name", "fleet_id", "artifact_name"),
    Index("ix_rollouts_state", "state"),
)  # fmt: skip

rollout_waves = Table(
    "rollout_waves", metadata,
    Column("rollout_id", Id, ForeignKey("rollouts.id"), primary_key=True),
    Column("wave", SmallInteger, primary_key=True),  # from 1
    Column("percent", Text),  # exact decimal as asked, cumulative; null where the wave is a count or a group
    Column("label", Text, nullable=False, server_default=""),
    Column("cohort_size", Integer, nullable=False),
    Column("size_at_release", Integer),
    Column("released_at", Instant),
    Column("completed_at", Instant),
    # Counters, kept in the transaction that changes an assignment's state; one column a state.
    *[Column(state, Integer, nullable=False, server_default="0") for state in (
        "pending", "assigned", "downloading", "verifying", "ready", "applying", "probing",
        "healthy", "rolled_back", "failed", "reverting", "reverted", "revert_failed", "superseded", "skipped",
    )],
    Column("unacknowledged", Integer, nullable=False, server_default="0"),  # failures and drift since the last resume
)  # fmt: skip

assignments = Table(
    "assignments", metadata,
    Column("rollout_id", Id, ForeignKey("rollouts.id"), primary_key=True),
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    Column("wave", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("state_since", Instant, nullable=False),
    Column("served_at", Instant),
    Column("deadline_at", Instant),  # of the download while served, of applying after leave; null: none runs
    Column("leave_at", Instant),
    Column("previous_artifact_id", Id, ForeignKey("artifacts.id")),  # what ran at leave: the way back
    Column("previous_known", Boolean, nullable=False, server_default=sa.false()),
    Column("revert_artifact_id", Id, ForeignKey("artifacts.id")),  # the goal of a revert; null: remove
    Column("failed_resume_count", Integer),  # the rollout's resume count when this failed or drifted
    Column("terminal_by_server", Boolean, nullable=False, server_default=sa.false()),
    Column("drifted", Boolean, nullable=False, server_default=sa.false()),
    Column("reason", Text, nullable=False, server_default=""),
    Column("output", Text, nullable=False, server_default=""),
    Index("ix_assignments_device_id_state", "device_id", "state"),
    Index("ix_assignments_rollout_id_state_wave", "rollout_id", "state", "wave"),
)  # fmt: skip

# What a device should run and does run, per artifact name.
device_artifacts = Table(
    "device_artifacts", metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    Column("artifact_name", Text, primary_key=True),
    # What the last successful assignment or revert left; null: nothing.
    Column("goal_artifact_id", Id, ForeignKey("artifacts.id")),
    Column("goal_rollout_id", Id, ForeignKey("rollouts.id")),  # by whom
    Column("goal_generation", BigInteger, nullable=False, server_default="0"),
    Column("running_version", Text),  # last reported
    Column("running_descriptor_sha256", Text),
    Column("previous_version", Text),
    Column("reported_at", Instant),
    Column("restore_state", Text),  # null | pending | assigned | ready | applying | probing | failed
    Column("restore_reason", Text, nullable=False, server_default=""),
    Column("drift_since", Instant),
    Column("drift_reason", Text, nullable=False, server_default=""),  # the device's word for it
    Index("ix_device_artifacts_goal_artifact_id", "goal_artifact_id"),
    # How many devices run each version, without reading their rows.
    Index("ix_device_artifacts_running", "artifact_name", "running_version", "device_id"),
    Index("ix_device_artifacts_drifted", "device_id",
          sqlite_where=sa.text("drift_since IS NOT NULL"), postgresql_where=sa.text("drift_since IS NOT NULL")),
)  # fmt: skip

# History, not audit: what devices said and what became of it, for pages and explain; pruned by retention.
device_events = Table(
    "device_events", metadata,
    _pk(),
    _fleet(),
    Column("device_id", Id, ForeignKey("devices.id"), nullable=False),
    Column("rollout_id", Id),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Index("ix_device_events_device_id_id", "device_id", "id"),
    Index("ix_device_events_rollout_id_id", "rollout_id", "id"),
)  # fmt: skip

# What operators asked of devices' logs, and what came; the bytes apart, so that lists do not read them.
log_requests = Table(
    "log_requests", metadata,
    _pk(),
    _fleet(),
    Column("device_id", Id, ForeignKey("devices.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("max_bytes", Integer, nullable=False),
    Column("state", Text, nullable=False),  # waiting | received | refused | expired | cancelled
    Column("reason", Text, nullable=False, server_default=""),  # the device's words, where it refused
    Column("requested_at", Instant, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("size_bytes", Integer),  # unpacked
    Column("bundle_bytes", Integer),  # of the bundle that is kept, packed; null: none is
    Index("ix_log_requests_device_id_id", "device_id", "id"),
    Index("ix_log_requests_kept", "fleet_id", "id", "bundle_bytes",
          sqlite_where=sa.text("bundle_bytes IS NOT NULL"), postgresql_where=sa.text("bundle_bytes IS NOT NULL")),
    Index("ix_log_requests_waiting", "device_id",
          sqlite_where=sa.text("state = 'waiting'"), postgresql_where=sa.text("state = 'waiting'")),
)  # fmt: skip

log_bundles = Table(
    "log_bundles", metadata,
    Column("request_id", Id, ForeignKey("log_requests.id"), primary_key=True),
    Column("data", LargeBinary, nullable=False),  # gzip, as the device sent it
)  # fmt: skip

# -- people, audit, node ----------------------------------------------------------------------------------------------

operators = Table(
    "operators", metadata,
    _pk(),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    # Whom an OpenID provider calls so; null: signs in with a password.
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("grants_until", Instant),  # after it roles from sign-on hold nothing until the next one; null: for good
    UniqueConstraint("oidc_issuer", "oidc_subject"),
)  # fmt: skip

operator_roles = Table(
    "operator_roles", metadata,
    Column("operator_id", Id, ForeignKey("operators.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("fleet_id", Id, primary_key=True),  # 0: every fleet
)  # fmt: skip

operator_totp = Table(
    "operator_totp", metadata,
    Column("operator_id", Id, ForeignKey("operators.id"), primary_key=True),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("confirmed_at", Instant),  # null: it counts for nothing yet
    Column("last_step", BigInteger, nullable=False, server_default="0"),  # of the last code taken: none is taken twice
)  # fmt: skip

recovery_codes = Table(
    "recovery_codes", metadata,
    Column("operator_id", Id, ForeignKey("operators.id"), primary_key=True),
    Column("code_sha256", Text, primary_key=True),
    Column("used_at", Instant),
)  # fmt: skip

# Somebody gave the right password and has yet to show the second factor, or to set it up.
begun_sign_ins = Table(
    "begun_sign_ins", metadata,
    Column("secret_sha256", Text, primary_key=True),
    Column("operator_id", Id, ForeignKey("operators.id"), nullable=False, index=True),
    Column("password_sha256", Text, nullable=False),  # of the password's hash: a changed password ends it
    Column("expires_at", Instant, nullable=False),
    Column("known", Boolean, nullable=False, server_default=sa.false()),  # begun by a browser the operator is known by
)  # fmt: skip

sessions = Table(
    "sessions", metadata,
    Column("secret_sha256", Text, primary_key=True),
    Column("operator_id", Id, ForeignKey("operators.id"), nullable=False, index=True),
    Column("csrf_sha256", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("last_used_at", Instant, nullable=False),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False, server_default=""),  # where it began
)  # fmt: skip

# Browsers that an operator has signed in with: what fails elsewhere under the same name does not slow them down.
known_browsers = Table(
    "known_browsers", metadata,
    Column("secret_sha256", Text, primary_key=True),
    Column("operator_id", Id, ForeignKey("operators.id"), primary_key=True, index=True),
    Column("last_used_at", Instant, nullable=False),
)  # fmt: skip

# What failed to sign in of late, for all replicas; written by failures only, forgotten when it counts no more.
failed_attempts = Table(
    "failed_attempts", metadata,
    Column("rule", Text, primary_key=True),  # which limit counts it
    Column("key_sha256", Text, primary_key=True),  # of what is counted: an address, a name, a source and a name
    Column("failures", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)  # fmt: skip

# Own roles; the fixed ones are code. Grants and keys refer to a role by its name, which never changes.
roles = Table(
    "roles", metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("permissions", Text, nullable=False),  # JSON array
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
)  # fmt: skip

api_keys = Table(
    "api_keys", metadata,
    _pk(),
    Column("name", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("fleet_id", Id, nullable=False),  # 0: every fleet
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    # The audit log of each fleet tells living keys apart by their names.
    Index("uq_api_keys_name_living", "fleet_id", "name", unique=True,
          sqlite_where=sa.text("revoked_at IS NULL"), postgresql_where=sa.text("revoked_at IS NULL")),
)  # fmt: skip

audit_heads = Table(
    "audit_heads", metadata,
    Column("chain", Id, primary_key=True),  # the fleet's id; 0: the node
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)  # fmt: skip

audit_records = Table(
    "audit_records", metadata,
    Column("chain", Id, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("data", Text, nullable=False),  # canonical JSON
    Column("hash", Text, nullable=False),
    Index("ix_audit_records_chain_action", "chain", "action"),
    Index("ix_audit_records_chain_subject", "chain", "subject"),
)  # fmt: skip

idempotency = Table(
    "idempotency", metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary),  # null: the answer bore a secret and is not kept
    Column("subject", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
)  # fmt: skip

node_state = Table(
    "node_state", metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)  # fmt: skip
