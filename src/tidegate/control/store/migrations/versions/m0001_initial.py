"""The first schema.

Written by `make migration` from store/schema.py while nothing is released; afterwards it never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_keys_secret_sha256")),
    )
    op.create_index(
        "uq_api_keys_name_living",
        "api_keys",
        ["fleet_id", "name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "audit_heads",
        sa.Column("chain", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "audit_records",
        sa.Column("chain", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "sequence", name=op.f("pk_audit_records")),
    )
    op.create_index("ix_audit_records_chain_action", "audit_records", ["chain", "action"], unique=False)
    op.create_index("ix_audit_records_chain_subject", "audit_records", ["chain", "subject"], unique=False)
    op.create_table(
        "failed_attempts",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "key_sha256", name=op.f("pk_failed_attempts")),
    )
    op.create_index(op.f("ix_failed_attempts_expires_at"), "failed_attempts", ["expires_at"], unique=False)
    op.create_table(
        "fleets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("interval_seconds", sa.Integer(), server_default="30", nullable=False),
        sa.Column("frozen_reason", sa.Text(), nullable=True),
        sa.Column("frozen_until", sa.BigInteger(), nullable=True),
        sa.Column("four_eyes", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("default_strategy", sa.Text(), nullable=True),
        sa.Column("device_events_days", sa.Integer(), nullable=True),
        sa.Column("device_generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleets")),
        sa.UniqueConstraint("name", name=op.f("uq_fleets_name")),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "node_state",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_node_state")),
    )
    op.create_table(
        "operators",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("oidc_issuer", sa.Text(), nullable=True),
        sa.Column("oidc_subject", sa.Text(), nullable=True),
        sa.Column("grants_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operators")),
        sa.UniqueConstraint("name", name=op.f("uq_operators_name")),
        sa.UniqueConstraint("oidc_issuer", "oidc_subject", name=op.f("uq_operators_oidc_issuer_oidc_subject")),
    )
    op.create_table(
        "roles",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("descriptor", sa.Text(), nullable=False),
        sa.Column("descriptor_sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_artifacts_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint("fleet_id", "name", "version", name=op.f("uq_artifacts_fleet_id_name_version")),
    )
    op.create_table(
        "begun_sign_ins",
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("password_sha256", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("known", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_begun_sign_ins_operator_id")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_begun_sign_ins")),
    )
    op.create_index(op.f("ix_begun_sign_ins_operator_id"), "begun_sign_ins", ["operator_id"], unique=False)
    op.create_table(
        "channel_moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_name", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Text(), nullable=True),
        sa.Column("to_version", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_channel_moves_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_moves")),
    )
    op.create_index(
        "ix_channel_moves_fleet_id_artifact_name_channel",
        "channel_moves",
        ["fleet_id", "artifact_name", "channel", "id"],
        unique=False,
    )
    op.create_table(
        "device_imports",
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("sheet", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_device_imports_fleet_id")),
        sa.PrimaryKeyConstraint("fleet_id", "actor", name=op.f("pk_device_imports")),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("decommissioned_at", sa.BigInteger(), nullable=True),
        sa.Column("stop_workloads", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("agent_version", sa.Text(), server_default="", nullable=False),
        sa.Column("hardware", sa.Text(), server_default="{}", nullable=False),
        sa.Column("declared_tags", sa.Text(), server_default="{}", nullable=False),
        sa.Column("log_sources", sa.Text(), server_default="[]", nullable=False),
        sa.Column("installation", sa.Text(), nullable=True),
        sa.Column("report_sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("waiting_on", sa.Text(), server_default="", nullable=False),
        sa.Column("in_progress", sa.Text(), server_default="[]", nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("hold_until", sa.BigInteger(), nullable=True),
        sa.Column("identity_conflict_at", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('active', 'decommissioned')", name=op.f("ck_devices_state")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_devices_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
    )
    op.create_index("ix_devices_fleet_id_generation", "devices", ["fleet_id", "generation"], unique=False)
    op.create_index(
        "ix_devices_held",
        "devices",
        ["fleet_id"],
        unique=False,
        sqlite_where=sa.text("hold_reason IS NOT NULL"),
        postgresql_where=sa.text("hold_reason IS NOT NULL"),
    )
    op.create_index(
        "uq_devices_fleet_id_name_active",
        "devices",
        ["fleet_id", "name"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "enrollment_tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("device_name", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), server_default="{}", nullable=False),
        sa.Column("groups", sa.Text(), server_default="[]", nullable=False),
        sa.Column("may_replace", sa.Boolean(), nullable=False),
        sa.Column("uses_allowed", sa.Integer(), nullable=False),
        sa.Column("uses_spent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_enrollment_tokens_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrollment_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_enrollment_tokens_secret_sha256")),
    )
    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("hold_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_groups_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("fleet_id", "name", name=op.f("uq_groups_fleet_id_name")),
    )
    op.create_table(
        "known_browsers",
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_known_browsers_operator_id")),
        sa.PrimaryKeyConstraint("secret_sha256", "operator_id", name=op.f("pk_known_browsers")),
    )
    op.create_index(op.f("ix_known_browsers_operator_id"), "known_browsers", ["operator_id"], unique=False)
    op.create_table(
        "operator_roles",
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_operator_roles_operator_id")),
        sa.PrimaryKeyConstraint("operator_id", "role", "fleet_id", name=op.f("pk_operator_roles")),
    )
    op.create_table(
        "operator_totp",
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_operator_totp_operator_id")),
        sa.PrimaryKeyConstraint("operator_id", name=op.f("pk_operator_totp")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code_sha256", sa.Text(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_recovery_codes_operator_id")),
        sa.PrimaryKeyConstraint("operator_id", "code_sha256", name=op.f("pk_recovery_codes")),
    )
    op.create_table(
        "sessions",
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("operator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("csrf_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("user_agent", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name=op.f("fk_sessions_operator_id")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_operator_id"), "sessions", ["operator_id"], unique=False)
    op.create_table(
        "tuf_metadata",
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_tuf_metadata_fleet_id")),
        sa.PrimaryKeyConstraint("fleet_id", "role", "version", name=op.f("pk_tuf_metadata")),
    )
    op.create_index(
        "uq_tuf_metadata_current",
        "tuf_metadata",
        ["fleet_id", "role"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "tuf_repositories",
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("convenience", sa.Boolean(), nullable=False),
        sa.Column("publisher_on_node", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("bins", sa.Integer(), server_default="16", nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_tuf_repositories_fleet_id")),
        sa.PrimaryKeyConstraint("fleet_id", name=op.f("pk_tuf_repositories")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_uploads_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_table(
        "channels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.Column("moved_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifacts.id"], name=op.f("fk_channels_artifact_id")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_channels_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("fleet_id", "artifact_name", "name", name=op.f("uq_channels_fleet_id_artifact_name_name")),
    )
    op.create_index(op.f("ix_channels_artifact_id"), "channels", ["artifact_id"], unique=False)
    op.create_table(
        "device_certificates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("public_key_sha256", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("pem", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('intended', 'pending', 'current', 'retired')", name=op.f("ck_device_certificates_state")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_certificates_device_id")),
        sa.ForeignKeyConstraint(["token_id"], ["enrollment_tokens.id"], name=op.f("fk_device_certificates_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_certificates")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_device_certificates_fingerprint")),
    )
    op.create_index(op.f("ix_device_certificates_device_id"), "device_certificates", ["device_id"], unique=False)
    op.create_index(
        op.f("ix_device_certificates_public_key_sha256"), "device_certificates", ["public_key_sha256"], unique=False
    )
    op.create_index(op.f("ix_device_certificates_token_id"), "device_certificates", ["token_id"], unique=False)
    op.create_index(
        "uq_device_certificates_current",
        "device_certificates",
        ["device_id"],
        unique=True,
        sqlite_where=sa.text("state = 'current'"),
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "device_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rollout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_events_device_id")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_device_events_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_events")),
    )
    op.create_index("ix_device_events_device_id_id", "device_events", ["device_id", "id"], unique=False)
    op.create_index("ix_device_events_rollout_id_id", "device_events", ["rollout_id", "id"], unique=False)
    op.create_table(
        "device_fact_items",
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_fact_items_device_id")),
        sa.PrimaryKeyConstraint("device_id", "kind", "key", name=op.f("pk_device_fact_items")),
    )
    op.create_index("ix_device_fact_items_kind_key", "device_fact_items", ["kind", "key"], unique=False)
    op.create_table(
        "device_facts",
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("arch", sa.Text(), nullable=True),
        sa.Column("os", sa.Text(), nullable=True),
        sa.Column("os_version", sa.Text(), nullable=True),
        sa.Column("os_version_order", sa.LargeBinary(), nullable=True),
        sa.Column("kernel", sa.Text(), nullable=True),
        sa.Column("kernel_order", sa.LargeBinary(), nullable=True),
        sa.Column("board", sa.Text(), nullable=True),
        sa.Column("cpu_count", sa.BigInteger(), nullable=True),
        sa.Column("ram_bytes", sa.BigInteger(), nullable=True),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=True),
        sa.Column("agent_version", sa.Text(), nullable=True),
        sa.Column("agent_version_order", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_facts_device_id")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device_facts")),
    )
    op.create_table(
        "device_tags",
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_tags_device_id")),
        sa.PrimaryKeyConstraint("device_id", "key", name=op.f("pk_device_tags")),
    )
    op.create_index("ix_device_tags_key_value", "device_tags", ["key", "value"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_group_members_device_id")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id")),
        sa.PrimaryKeyConstraint("group_id", "device_id", name=op.f("pk_group_members")),
    )
    op.create_index(op.f("ix_group_members_device_id"), "group_members", ["device_id"], unique=False)
    op.create_table(
        "log_requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("max_bytes", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("bundle_bytes", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_log_requests_device_id")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_log_requests_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_requests")),
    )
    op.create_index("ix_log_requests_device_id_id", "log_requests", ["device_id", "id"], unique=False)
    op.create_index(
        "ix_log_requests_kept",
        "log_requests",
        ["fleet_id", "id", "bundle_bytes"],
        unique=False,
        sqlite_where=sa.text("bundle_bytes IS NOT NULL"),
        postgresql_where=sa.text("bundle_bytes IS NOT NULL"),
    )
    op.create_index(
        "ix_log_requests_waiting",
        "log_requests",
        ["device_id"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("probes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("target_size", sa.Integer(), nullable=False),
        sa.Column("baseline", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("four_eyes_person", sa.Text(), nullable=True),
        sa.Column("start_at", sa.BigInteger(), nullable=True),
        sa.Column("released_wave", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("resume_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("halted_seconds", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("soak_until", sa.BigInteger(), nullable=True),
        sa.Column("abort_policy", sa.Text(), nullable=True),
        sa.Column("first_served_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifacts.id"], name=op.f("fk_rollouts_artifact_id")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_rollouts_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index("ix_rollouts_fleet_id_artifact_name", "rollouts", ["fleet_id", "artifact_name"], unique=False)
    op.create_index("ix_rollouts_state", "rollouts", ["state"], unique=False)
    op.create_table(
        "sboms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("fleet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("received_by", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("checked_at", sa.BigInteger(), nullable=True),
        sa.Column("format", sa.Text(), server_default="", nullable=False),
        sa.Column("spec_version", sa.Text(), server_default="", nullable=False),
        sa.Column("component_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("licenses", sa.Text(), server_default="[]", nullable=False),
        sa.Column("reasons", sa.Text(), server_default="[]", nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('received', 'valid', 'invalid')", name=op.f("ck_sboms_state")),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifacts.id"], name=op.f("fk_sboms_artifact_id")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_sboms_fleet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sboms")),
    )
    op.create_index("ix_sboms_artifact_id_id", "sboms", ["artifact_id", "id"], unique=False)
    op.create_index(op.f("ix_sboms_sha256"), "sboms", ["sha256"], unique=False)
    op.create_index("ix_sboms_state", "sboms", ["state"], unique=False)
    op.create_index(
        "uq_sboms_artifact_id_current",
        "sboms",
        ["artifact_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "assignments",
        sa.Column("rollout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wave", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", sa.BigInteger(), nullable=False),
        sa.Column("served_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline_at", sa.BigInteger(), nullable=True),
        sa.Column("leave_at", sa.BigInteger(), nullable=True),
        sa.Column("previous_artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("previous_known", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("revert_artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("failed_resume_count", sa.Integer(), nullable=True),
        sa.Column("terminal_by_server", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("drifted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("output", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_assignments_device_id")),
        sa.ForeignKeyConstraint(
            ["previous_artifact_id"], ["artifacts.id"], name=op.f("fk_assignments_previous_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["revert_artifact_id"], ["artifacts.id"], name=op.f("fk_assignments_revert_artifact_id")
        ),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_assignments_rollout_id")),
        sa.PrimaryKeyConstraint("rollout_id", "device_id", name=op.f("pk_assignments")),
    )
    op.create_index("ix_assignments_device_id_state", "assignments", ["device_id", "state"], unique=False)
    op.create_index(
        "ix_assignments_rollout_id_state_wave", "assignments", ["rollout_id", "state", "wave"], unique=False
    )
    op.create_table(
        "device_artifacts",
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("artifact_name", sa.Text(), nullable=False),
        sa.Column("goal_artifact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("goal_rollout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("goal_generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("running_version", sa.Text(), nullable=True),
        sa.Column("running_descriptor_sha256", sa.Text(), nullable=True),
        sa.Column("previous_version", sa.Text(), nullable=True),
        sa.Column("reported_at", sa.BigInteger(), nullable=True),
        sa.Column("restore_state", sa.Text(), nullable=True),
        sa.Column("restore_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("drift_since", sa.BigInteger(), nullable=True),
        sa.Column("drift_reason", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_artifacts_device_id")),
        sa.ForeignKeyConstraint(
            ["goal_artifact_id"], ["artifacts.id"], name=op.f("fk_device_artifacts_goal_artifact_id")
        ),
        sa.ForeignKeyConstraint(["goal_rollout_id"], ["rollouts.id"], name=op.f("fk_device_artifacts_goal_rollout_id")),
        sa.PrimaryKeyConstraint("device_id", "artifact_name", name=op.f("pk_device_artifacts")),
    )
    op.create_index(
        "ix_device_artifacts_drifted",
        "device_artifacts",
        ["device_id"],
        unique=False,
        sqlite_where=sa.text("drift_since IS NOT NULL"),
        postgresql_where=sa.text("drift_since IS NOT NULL"),
    )
    op.create_index("ix_device_artifacts_goal_artifact_id", "device_artifacts", ["goal_artifact_id"], unique=False)
    op.create_index(
        "ix_device_artifacts_running",
        "device_artifacts",
        ["artifact_name", "running_version", "device_id"],
        unique=False,
    )
    op.create_table(
        "log_bundles",
        sa.Column("request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["log_requests.id"], name=op.f("fk_log_bundles_request_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_log_bundles")),
    )
    op.create_table(
        "rollout_waves",
        sa.Column("rollout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wave", sa.SmallInteger(), nullable=False),
        sa.Column("percent", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("cohort_size", sa.Integer(), nullable=False),
        sa.Column("size_at_release", sa.Integer(), nullable=True),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("pending", sa.Integer(), server_default="0", nullable=False),
        sa.Column("assigned", sa.Integer(), server_default="0", nullable=False),
        sa.Column("downloading", sa.Integer(), server_default="0", nullable=False),
        sa.Column("verifying", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ready", sa.Integer(), server_default="0", nullable=False),
        sa.Column("applying", sa.Integer(), server_default="0", nullable=False),
        sa.Column("probing", sa.Integer(), server_default="0", nullable=False),
        sa.Column("healthy", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rolled_back", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reverting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reverted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revert_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("superseded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unacknowledged", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_waves_rollout_id")),
        sa.PrimaryKeyConstraint("rollout_id", "wave", name=op.f("pk_rollout_waves")),
    )
    op.create_table(
        "sbom_components",
        sa.Column("sbom_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("purl", sa.Text(), server_default="", nullable=False),
        sa.Column("license", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["sbom_id"], ["sboms.id"], name=op.f("fk_sbom_components_sbom_id")),
        sa.PrimaryKeyConstraint("sbom_id", "position", name=op.f("pk_sbom_components")),
    )
    op.create_index("ix_sbom_components_name", "sbom_components", ["name"], unique=False)
