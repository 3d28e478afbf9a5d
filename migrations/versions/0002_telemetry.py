"""The tables of telemetry."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Every batch changes the rows of its boxes: pages keep room for the new row beside the old one.
ROOM_FOR_UPDATES = {"fillfactor": 50}


def upgrade() -> None:
    op.execute("CREATE SEQUENCE telemetry.session_change")
    _create_boxes()
    _create_messages()
    _create_sessions()
    _create_words()
    _create_workers()


def _create_boxes() -> None:
    op.create_table(
        "box",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("channels", sa.SmallInteger(), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verifier", sa.Text(), nullable=True),
        sa.Column("password_set_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("code ~ '^[A-Za-z0-9_-]{1,40}$'", name="ck_box_code_form"),
        sa.CheckConstraint("channels BETWEEN 1 AND 16", name="ck_box_channels_range"),
        sa.CheckConstraint("shard BETWEEN 0 AND 63", name="ck_box_shard_range"),
        sa.PrimaryKeyConstraint("code", name="pk_box"),
        schema="telemetry",
    )
    op.create_table(
        "presence",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("connection", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("born", sa.Boolean(), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("firmware", sa.Text(), nullable=True),
        sa.Column("configuration_hash", sa.Text(), nullable=True),
        sa.Column("buffered_messages", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_presence_box"),
        sa.PrimaryKeyConstraint("box", name="pk_presence"),
        schema="telemetry",
    )
    op.create_table(
        "calibration",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("run_threshold_w", sa.Double(), nullable=True),
        sa.Column("standby_threshold_w", sa.Double(), nullable=True),
        sa.Column("hysteresis_decades", sa.Double(), nullable=False),
        sa.Column("bridge_s", sa.BigInteger(), nullable=False),
        sa.Column("run_s_min", sa.BigInteger(), nullable=False),
        sa.Column("gap_s", sa.BigInteger(), nullable=False),
        sa.Column("recomputed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("method IN ('otsu', 'hand', 'none')", name="ck_calibration_method_known"),
        sa.CheckConstraint(
            "(method = 'none') = (run_threshold_w IS NULL)", name="ck_calibration_none_has_no_threshold"
        ),
        sa.CheckConstraint("run_threshold_w > 0", name="ck_calibration_run_threshold_positive"),
        sa.CheckConstraint("standby_threshold_w < run_threshold_w", name="ck_calibration_standby_below_run"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_calibration_box"),
        sa.PrimaryKeyConstraint("box", "channel", "version", name="pk_calibration"),
        schema="telemetry",
    )


def _create_messages() -> None:
    op.create_table(
        "message",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("uptime_ms", sa.BigInteger(), nullable=False),
        sa.Column("step_ms", sa.BigInteger(), nullable=False),
        sa.Column("powers_w", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("energy_wh", sa.Double(), nullable=True),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("buffered", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('m', 'ev', 'dead')", name="ck_message_kind_known"),
        sa.CheckConstraint("ended_at >= started_at", name="ck_message_ends_after_start"),
        sa.PrimaryKeyConstraint("box", "boot", "seq", name="pk_message"),
        schema="telemetry",
    )
    op.create_index(
        "ix_message_box_channel_started_at",
        "message",
        ["box", "channel", "started_at"],
        unique=False,
        schema="telemetry",
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("box", sa.Text(), sa.Computed("split_part(topic, '/', 4)", persisted=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letter"),
        schema="telemetry",
    )
    op.create_index(
        "ix_dead_letter_box_received_at", "dead_letter", ["box", "received_at"], unique=False, schema="telemetry"
    )
    op.create_index(
        "ix_dead_letter_unseen",
        "dead_letter",
        ["reason"],
        unique=False,
        schema="telemetry",
        postgresql_where=sa.text("seen_at IS NULL"),
    )
    op.create_table(
        "ingest_count",
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("wait_s", sa.Double(), nullable=False),
        sa.Column("newest_wait_s", sa.Double(), nullable=False),
        sa.Column("newest_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_ingest_count"),
        schema="telemetry",
    )
    op.create_index("ix_dead_letter_received_at", "dead_letter", ["received_at"], unique=False, schema="telemetry")
    op.create_table(
        "high_water",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("complete_seq", sa.BigInteger(), nullable=False),
        sa.Column("known_seq", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("complete_seq <= known_seq", name="ck_high_water_complete_within_known"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_high_water_box"),
        sa.PrimaryKeyConstraint("box", "boot", name="pk_high_water"),
        schema="telemetry",
        postgresql_with=ROOM_FOR_UPDATES,
    )
    op.create_table(
        "clock_offset",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("live_messages", sa.BigInteger(), nullable=False),
        sa.Column("booted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("booted_at_buffered", sa.DateTime(timezone=True), nullable=False),
        sa.Column("offset_s", sa.Double(), nullable=True),
        sa.Column("unsynced", sa.Boolean(), nullable=False),
        sa.Column("epoch_min", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch_max", sa.DateTime(timezone=True), nullable=True),
        sa.Column("uptime_ms_max", sa.BigInteger(), nullable=False),
        sa.Column("shifted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_clock_offset_box"),
        sa.PrimaryKeyConstraint("box", "boot", name="pk_clock_offset"),
        schema="telemetry",
        postgresql_with=ROOM_FOR_UPDATES,
    )
    op.create_table(
        "dirty_range",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dirty_range"),
        schema="telemetry",
    )
    op.create_index("ix_dirty_range_box_channel", "dirty_range", ["box", "channel"], unique=False, schema="telemetry")


def _create_sessions() -> None:
    op.create_table(
        "collector_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("power_on_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("power_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("running_s", sa.BigInteger(), nullable=False),
        sa.Column("unknown_s", sa.BigInteger(), nullable=False),
        sa.Column("energy_wh", sa.Double(), nullable=False),
        sa.Column("power_w_max", sa.Double(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("calibration_version", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("supersedes_id", sa.BigInteger(), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "quality IN ('good', 'inferred', 'gaps', 'clock', 'cut')", name="ck_collector_session_quality_known"
        ),
        sa.CheckConstraint("first_run_at < last_run_at", name="ck_collector_session_runs_in_order"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_collector_session_box"),
        sa.PrimaryKeyConstraint("id", name="pk_collector_session"),
        schema="telemetry",
    )
    op.create_index("ix_collector_session_change", "collector_session", ["change"], unique=True, schema="telemetry")
    op.create_index(
        "ix_collector_session_provisional",
        "collector_session",
        ["box"],
        unique=False,
        schema="telemetry",
        postgresql_where=sa.text("NOT final AND superseded_at IS NULL"),
    )
    op.create_index(
        "uq_collector_session_current",
        "collector_session",
        ["box", "channel", "first_run_at"],
        unique=True,
        schema="telemetry",
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "power_span",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("power", sa.Text(), nullable=False),
        sa.CheckConstraint("started_at < ended_at", name="ck_power_span_in_order"),
        sa.CheckConstraint("power IN ('on', 'off', 'idle')", name="ck_power_span_power_known"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_power_span_box"),
        sa.PrimaryKeyConstraint("box", "channel", "started_at", name="pk_power_span"),
        schema="telemetry",
    )
    op.create_index(
        "ix_power_span_box_channel_ended_at",
        "power_span",
        ["box", "channel", "ended_at"],
        unique=False,
        schema="telemetry",
    )
    op.create_table(
        "derive_trouble",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_derive_trouble_box"),
        sa.PrimaryKeyConstraint("box", name="pk_derive_trouble"),
        schema="telemetry",
    )
    op.create_table(
        "channel_state",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("power_w", sa.Double(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_live_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('off', 'standby', 'running', 'unknown')", name="ck_channel_state_state_known"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_channel_state_box"),
        sa.PrimaryKeyConstraint("box", "channel", name="pk_channel_state"),
        schema="telemetry",
    )


def _create_words() -> None:
    op.create_table(
        "box_report",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("connection", sa.BigInteger(), nullable=False),
        sa.Column("uptime_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("device_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("synced", sa.Boolean(), nullable=True),
        sa.Column("lost", sa.BigInteger(), nullable=True),
        sa.Column("doubts", postgresql.JSONB(), nullable=True),
        sa.Column("epoch", sa.Text(), nullable=True),
        sa.Column("is_new_epoch", sa.Boolean(), nullable=True),
        sa.Column("command_id", sa.BigInteger(), nullable=True),
        sa.Column("command_refused", sa.Text(), nullable=True),
        sa.Column("indicative", sa.ARRAY(sa.BigInteger()), nullable=True),
        sa.CheckConstraint("kind IN ('birth', 'hb')", name="ck_box_report_kind_known"),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_box_report_box"),
        sa.PrimaryKeyConstraint("box", "kind", name="pk_box_report"),
        schema="telemetry",
    )
    op.create_index(
        "ix_box_report_unsynced",
        "box_report",
        ["box"],
        unique=False,
        schema="telemetry",
        postgresql_where=sa.text("NOT synced"),
    )
    op.create_table(
        "box_configuration",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("configuration_hash", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("command_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_box_configuration_box"),
        sa.PrimaryKeyConstraint("box", "version", name="pk_box_configuration"),
        schema="telemetry",
    )


def _create_workers() -> None:
    op.create_table(
        "newest_birth",
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("connection", sa.BigInteger(), nullable=False),
        sa.Column("uptime_ms", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("firmware", sa.Text(), nullable=False),
        sa.Column("configuration_hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["box"], ["telemetry.box.code"], name="fk_newest_birth_box"),
        sa.PrimaryKeyConstraint("box", name="pk_newest_birth"),
        schema="telemetry",
    )
    op.create_table(
        "ingest_worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_ingest_worker"),
        schema="telemetry",
    )
    op.create_table(
        "shard_lease",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("sets", sa.SmallInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("number BETWEEN 0 AND sets - 1", name="ck_shard_lease_number_range"),
        sa.PrimaryKeyConstraint("number", name="pk_shard_lease"),
        schema="telemetry",
    )
