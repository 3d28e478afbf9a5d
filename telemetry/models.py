"""The tables of boxes, readings and collector sessions."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from telemetry.messages import SHARDS

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

CHANNELS_MAX = 16


class Base(DeclarativeBase):
    """Every table of telemetry, in the schema `telemetry`."""

    metadata = MetaData(schema="telemetry", naming_convention=NAMING)
    type_annotation_map: ClassVar = {
        str: Text,
        datetime: DateTime(timezone=True),
        int: BigInteger,
        float: Double,
        bytes: LargeBinary,
        list[float]: ARRAY(REAL),
        dict[str, Any]: JSONB,
    }


# Numbers the changes of collector sessions; drawn under a lock, so that its order is the order of commits.
session_change = Sequence("session_change", metadata=Base.metadata)


class Box(Base):
    """A collector box; `shard` never changes, for it is a part of the topics the box knows."""

    __tablename__ = "box"
    __table_args__ = (
        CheckConstraint(f"shard BETWEEN 0 AND {SHARDS - 1}", name="shard_range"),
        CheckConstraint(f"channels BETWEEN 1 AND {CHANNELS_MAX}", name="channels_range"),
        CheckConstraint("code ~ '^[A-Za-z0-9_-]{1,40}$'", name="code_form"),
    )

    code: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger)
    channels: Mapped[int] = mapped_column(SmallInteger)
    enrolled_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    verifier: Mapped[str | None]  # of its password at the broker, in Mosquitto's form; None: it has none and stays out
    password_set_at: Mapped[datetime | None]


class Message(Base):
    """One message as the box sent it, with when it came and where it lies in time by the best knowledge of its clock.

    One of the kind `dead` is a number that a refused message used up (`telemetry.refused`), and says nothing else.

    It names its box without a foreign key: enrolment was checked in the same transaction, and boxes are never deleted.
    """

    __tablename__ = "message"
    __table_args__ = (
        CheckConstraint("kind IN ('m', 'ev', 'dead')", name="kind_known"),
        CheckConstraint("ended_at >= started_at", name="ends_after_start"),
        Index("ix_message_box_channel_started_at", "box", "channel", "started_at"),
    )

    box: Mapped[str] = mapped_column(primary_key=True)
    boot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    channel: Mapped[int] = mapped_column(SmallInteger)
    received_at: Mapped[datetime]
    device_at: Mapped[datetime | None]  # the box's own clock at the first sample; None: it had no idea of the time
    uptime_ms: Mapped[int]  # since its boot, at the first sample: the one clock of a box that never jumps
    step_ms: Mapped[int]
    powers_w: Mapped[list[float]]
    energy_wh: Mapped[float | None]  # the meter's lifetime counter after the last sample
    synced: Mapped[bool]  # the box held its clock to be set
    buffered: Mapped[bool]  # sent later, from the buffer
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]


class DeadLetter(Base):
    """A message that could not be taken, with the reason, kept for a person to look at."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(None, "received_at"),
        Index("ix_dead_letter_box_received_at", "box", "received_at"),
        Index("ix_dead_letter_unseen", "reason", postgresql_where=text("seen_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    received_at: Mapped[datetime]
    topic: Mapped[str]
    reason: Mapped[str]
    size_bytes: Mapped[int]
    head: Mapped[bytes]  # the first bytes of the payload
    box: Mapped[str] = mapped_column(Computed("split_part(topic, '/', 4)", persisted=True))  # as the topic says
    seen_at: Mapped[datetime | None]  # a person looked at it
    seen_by: Mapped[str | None]
    note: Mapped[str | None]


class IngestCount(Base):
    """What ingest has done since the beginning, counted in the transaction that did it.

    A row for each lowest shard of a batch: workers have disjoint shards, so none waits for another's row.
    """

    __tablename__ = "ingest_count"

    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)  # -1: no topic of ours
    batches: Mapped[int]
    received: Mapped[int]
    stored: Mapped[int]  # messages and events that were not there before
    duplicates: Mapped[int]
    dead: Mapped[int]
    wait_s: Mapped[float]  # summed over batches: from the oldest message's receipt to its storing
    newest_wait_s: Mapped[float]  # of the newest batch
    newest_at: Mapped[datetime]  # when the newest batch was received


class HighWater(Base):
    """Per boot of a box: how far its messages are complete, and how far they are known to go."""

    __tablename__ = "high_water"
    __table_args__ = (CheckConstraint("complete_seq <= known_seq", name="complete_within_known"),)

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    boot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    complete_seq: Mapped[int]  # every message up to here is stored, or known to be lost for ever: what we acknowledge
    known_seq: Mapped[int]  # the box has written up to here
    lost: Mapped[int] = mapped_column(server_default=text("0"))  # messages the box itself no longer has


class ClockOffset(Base):
    """Per boot of a box: what its messages tell of its clock.

    Every column is a count or a least value, so the order of arrival does not matter.
    """

    __tablename__ = "clock_offset"

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    boot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    live_messages: Mapped[int]
    # Least of (receipt - uptime) over live messages: when the box was switched on, at the latest.
    booted_at: Mapped[datetime | None]
    booted_at_buffered: Mapped[datetime]  # the same over all messages: the only bound while none came live
    # Least of (receipt - device time) over live synced messages: how far the clock is behind ours; below 0, ahead.
    offset_s: Mapped[float | None]
    unsynced: Mapped[bool]  # at least one message came before the box knew the time
    # Least and greatest of (device time - uptime) over synced messages: apart, the clock was set within the boot.
    epoch_min: Mapped[datetime | None]
    epoch_max: Mapped[datetime | None]
    uptime_ms_max: Mapped[int]
    shifted: Mapped[bool] = mapped_column(server_default=text("false"))  # laid in time by uptime, against its clock


class DirtyRange(Base):
    """A stretch of a channel whose sessions are to be computed anew; rows are added by ingest and eaten by derive."""

    __tablename__ = "dirty_range"
    __table_args__ = (Index(None, "box", "channel"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    box: Mapped[str]
    channel: Mapped[int] = mapped_column(SmallInteger)
    from_at: Mapped[datetime]
    until_at: Mapped[datetime]


class DeriveTrouble(Base):
    """A box whose readings could not be made into sessions: why, and when it is tried again; gone once it worked."""

    __tablename__ = "derive_trouble"

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    attempts: Mapped[int]
    since: Mapped[datetime]
    retry_at: Mapped[datetime]
    error: Mapped[str]  # of the newest attempt, for the log and for administrators


class NewestBirth(Base):
    """The newest birth of a box by (boot, connection, uptime): what it still holds decides what is lost for ever."""

    __tablename__ = "newest_birth"

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    boot: Mapped[int]
    connection: Mapped[int]
    uptime_ms: Mapped[int]
    pending: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # boot, first, boot, first, ...
    firmware: Mapped[str]
    configuration_hash: Mapped[str]


class Presence(Base):
    """What the box last said of itself, by (boot, connection): birth, will, heartbeat; no order of arrival matters."""

    __tablename__ = "presence"

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    boot: Mapped[int]
    connection: Mapped[int]
    online: Mapped[bool]  # the will is the last word of a connection: nothing it said brings it back
    born: Mapped[bool]  # this connection has sent its birth
    heard_at: Mapped[datetime | None]  # its own voice, live; neither the will nor what the broker kept
    firmware: Mapped[str | None]
    configuration_hash: Mapped[str | None]
    buffered_messages: Mapped[int | None]
    heartbeat_at: Mapped[datetime | None]  # when `buffered_messages` was said


class BoxReport(Base):
    """How a box says that it is: its newest birth and its newest heartbeat, by (boot, connection, uptime).

    What it did not say is null; a birth has no doubts, a heartbeat has no epoch, command or indicative channels.
    """

    __tablename__ = "box_report"
    __table_args__ = (
        CheckConstraint("kind IN ('birth', 'hb')", name="kind_known"),
        Index("ix_box_report_unsynced", "box", postgresql_where=text("NOT synced")),
    )

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    boot: Mapped[int]
    connection: Mapped[int]
    uptime_ms: Mapped[int]
    received_at: Mapped[datetime | None]  # None: the broker had kept it, and nobody knows for how long
    device_at: Mapped[datetime | None]
    synced: Mapped[bool | None]
    lost: Mapped[int | None]  # messages that it had to give up before they were acknowledged, ever
    doubts: Mapped[dict[str, Any] | None]  # by channel, why it does not believe its meter
    epoch: Mapped[str | None]  # of the file that counts its boots
    is_new_epoch: Mapped[bool | None]
    command_id: Mapped[int | None]  # that it obeyed last
    command_refused: Mapped[str | None]
    indicative: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))  # channels whose meter may tell old values


class BoxConfiguration(Base):
    """How a box is to measure from a moment on: what a person wants; never edited but for when it was told."""

    __tablename__ = "box_configuration"

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]]  # in the words of the wire
    configuration_hash: Mapped[str]
    set_at: Mapped[datetime]
    set_by: Mapped[str]
    told_at: Mapped[datetime | None]  # the newest time that it was sent to the box
    command_id: Mapped[int | None]


class IngestWorker(Base):
    """An ingest worker that lives: it says so again before `until`, by the database's clock."""

    __tablename__ = "ingest_worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime]


class ShardLease(Base):
    """The right of one worker to take the messages of one set of shards, until a moment of the database's clock."""

    __tablename__ = "shard_lease"
    __table_args__ = (CheckConstraint("number BETWEEN 0 AND sets - 1", name="number_range"),)

    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    sets: Mapped[int] = mapped_column(SmallInteger)  # into how many sets all shards are parted
    worker: Mapped[str | None]
    until: Mapped[datetime | None]


class CalibrationVersion(Base):
    """The thresholds that part off, standby and running of one channel, from a moment on; never edited.

    One of the method `none` ends what held before: the meter was moved, and nobody knows what its power means now.
    """

    __tablename__ = "calibration"
    __table_args__ = (
        CheckConstraint("method IN ('otsu', 'hand', 'none')", name="method_known"),
        CheckConstraint("(method = 'none') = (run_threshold_w IS NULL)", name="none_has_no_threshold"),
        CheckConstraint("run_threshold_w > 0", name="run_threshold_positive"),
        CheckConstraint("standby_threshold_w < run_threshold_w", name="standby_below_run"),
    )

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    channel: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime]
    method: Mapped[str]
    run_threshold_w: Mapped[float | None]
    standby_threshold_w: Mapped[float | None]  # None: off and standby cannot be told apart
    hysteresis_decades: Mapped[float]
    bridge_s: Mapped[int]
    run_s_min: Mapped[int]
    gap_s: Mapped[int]
    recomputed_by: Mapped[str | None]  # who had final sessions computed anew by it; None: it touched none


class CollectorSession(Base):
    """One use of an instrument as its box saw it, from the first to the last run.

    While provisional a row is brought up to date in place and its version counts up; once final it is never touched
    again but for `superseded_at`, and late data write a new row that names the old one.
    """

    __tablename__ = "collector_session"
    __table_args__ = (
        CheckConstraint("first_run_at < last_run_at", name="runs_in_order"),
        CheckConstraint("quality IN ('good', 'inferred', 'gaps', 'clock', 'cut')", name="quality_known"),
        Index(
            "uq_collector_session_current",
            "box",
            "channel",
            "first_run_at",
            unique=True,
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(None, "change", unique=True),
        Index("ix_collector_session_provisional", "box", postgresql_where=text("NOT final AND superseded_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"))
    channel: Mapped[int] = mapped_column(SmallInteger)
    power_on_at: Mapped[datetime]  # when it left `off` before the first run, at most 15 minutes before it
    first_run_at: Mapped[datetime]
    last_run_at: Mapped[datetime]
    power_off_at: Mapped[datetime | None]  # None: not switched off within 15 minutes after the last run
    running_s: Mapped[int]  # with short dips and gaps
    unknown_s: Mapped[int]  # of it, what nobody saw
    energy_wh: Mapped[float]
    power_w_max: Mapped[float]
    quality: Mapped[str]
    calibration_version: Mapped[int]
    final: Mapped[bool]  # the box has told everything that could change it
    version: Mapped[int]
    supersedes_id: Mapped[int | None]
    superseded_at: Mapped[datetime | None]
    changed_at: Mapped[datetime]
    change: Mapped[int]

    @property
    def started_at(self) -> datetime:
        """The session begins with its first run."""
        return self.first_run_at

    @property
    def ended_at(self) -> datetime:
        """The session ends with its last run."""
        return self.last_run_at


class PowerSpan(Base):
    """A time in which a channel was on, off or idle all through; touching spans differ, and between spans is unknown.

    It follows from the messages as sessions do, and is replaced in place: hours are summed from it.
    """

    __tablename__ = "power_span"
    __table_args__ = (
        CheckConstraint("started_at < ended_at", name="in_order"),
        CheckConstraint("power IN ('on', 'off', 'idle')", name="power_known"),
        Index("ix_power_span_box_channel_ended_at", "box", "channel", "ended_at"),
    )

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    channel: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]
    power: Mapped[str]  # idle: it did not run, and its calibration cannot tell off from standby


class ChannelState(Base):
    """The newest known state of a channel; whether it still holds depends on how long the box has been silent."""

    __tablename__ = "channel_state"
    __table_args__ = (CheckConstraint("state IN ('off', 'standby', 'running', 'unknown')", name="state_known"),)

    box: Mapped[str] = mapped_column(ForeignKey("telemetry.box.code"), primary_key=True)
    channel: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    state: Mapped[str]
    power_w: Mapped[float]
    since: Mapped[datetime]
    last_live_at: Mapped[datetime]  # the end of the newest sample
