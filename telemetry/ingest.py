"""Writes a batch of messages into the database, in the transaction of the caller.

Every statement may be run again with the same batch and then changes nothing: that is what makes it safe that a batch
whose commit was lost comes once more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import psycopg
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from telemetry.counts import NO_SLOT, count_batch
from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import CODE, Birth, Heartbeat, Measured, Presence, Topic, Uplink, parse, parse_topic
from telemetry.models import Box, DeadLetter, HighWater
from telemetry.models import Presence as PresenceRow
from telemetry.times import from_ms

DEAD_HEAD_BYTES = 200  # enough to recognise a message, too little to fill a disk
DEAD_TOPIC_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message as the broker handed it over."""

    topic: str
    payload: bytes
    received_at: datetime
    retained: bool = False  # the broker kept it: it says nothing about whether the box lives now


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What may be told to a box once the transaction is committed."""

    topic: Topic
    boot: int
    seq: int


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that passed every check."""

    topic: Topic
    content: Uplink
    arrival: Arrival


_CREATE_INCOMING = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    place integer, box text, boot bigint, seq bigint, kind text, channel smallint, received_at timestamptz,
    device_at timestamptz, uptime_ms bigint, step_ms bigint, powers_w real[], energy_wh double precision,
    synced boolean, buffered boolean, started_at timestamptz, ended_at timestamptz
) ON COMMIT DELETE ROWS"""
_COPY_INCOMING = "COPY pg_temp.incoming FROM STDIN (FORMAT BINARY)"
_COPY_TYPES = (
    *("int4", "text", "int8", "int8", "text", "int2", "timestamptz"),
    *("timestamptz", "int8", "int8", "float4[]", "float8"),
    *("bool", "bool", "timestamptz", "timestamptz"),
)

# One statement, because all of it speaks of the same rows: those that were not there before.
_TAKE_INCOMING = text("""
WITH taken AS (
    INSERT INTO telemetry.message (box, boot, seq, kind, channel, received_at, device_at, uptime_ms, step_ms, powers_w,
                                   energy_wh, synced, buffered, started_at, ended_at)
    SELECT box, boot, seq, kind, channel, received_at, device_at, uptime_ms, step_ms, powers_w,
           energy_wh, synced, buffered, started_at, ended_at
    FROM pg_temp.incoming ORDER BY box, boot, seq, place
    ON CONFLICT (box, boot, seq) DO NOTHING
    RETURNING box, boot, kind, channel, received_at, device_at, uptime_ms, synced AND device_at IS NOT NULL AS timed, buffered,
              started_at, ended_at
), clocks AS (
    INSERT INTO telemetry.clock_offset AS c
        (box, boot, live_messages, booted_at, booted_at_buffered, offset_s, unsynced,
         epoch_min, epoch_max, uptime_ms_max)
    SELECT box, boot,
           count(*) FILTER (WHERE NOT buffered),
           min(received_at - (ended_at - started_at) - uptime_ms * interval '1 ms') FILTER (WHERE NOT buffered),
           min(received_at - (ended_at - started_at) - uptime_ms * interval '1 ms'),
           min(extract(epoch FROM received_at - ended_at)) FILTER (WHERE NOT buffered AND timed),
           bool_or(NOT timed),
           min(device_at - uptime_ms * interval '1 ms') FILTER (WHERE timed),
           max(device_at - uptime_ms * interval '1 ms') FILTER (WHERE timed),
           max(uptime_ms)
    FROM taken GROUP BY box, boot ORDER BY box, boot
    ON CONFLICT (box, boot) DO UPDATE SET
        live_messages = c.live_messages + excluded.live_messages,
        booted_at = least(c.booted_at, excluded.booted_at),
        booted_at_buffered = least(c.booted_at_buffered, excluded.booted_at_buffered),
        offset_s = least(c.offset_s, excluded.offset_s),
        unsynced = c.unsynced OR excluded.unsynced,
        epoch_min = least(c.epoch_min, excluded.epoch_min),
        epoch_max = greatest(c.epoch_max, excluded.epoch_max),
        uptime_ms_max = greatest(c.uptime_ms_max, excluded.uptime_ms_max)
), dirtied AS (
    INSERT INTO telemetry.dirty_range (box, channel, from_at, until_at)
    SELECT box, channel, min(started_at), max(ended_at) FROM taken WHERE kind = 'm' GROUP BY box, channel
)
SELECT count(*) FROM taken""")

_FIND_REUSED = text("""
SELECT i.place FROM pg_temp.incoming i JOIN telemetry.message m USING (box, boot, seq)
WHERE (i.kind, i.channel, i.uptime_ms, i.powers_w) IS DISTINCT FROM (m.kind, m.channel, m.uptime_ms, m.powers_w)
ORDER BY i.place""")

_KNOW_MESSAGES = text("""
INSERT INTO telemetry.high_water AS h (box, boot, complete_seq, known_seq)
SELECT box, boot, 0, max(seq) FROM pg_temp.incoming GROUP BY box, boot ORDER BY box, boot
ON CONFLICT (box, boot) DO UPDATE SET known_seq = greatest(h.known_seq, excluded.known_seq)""")

_KNOW_HEARTBEAT = text("""
INSERT INTO telemetry.high_water AS h (box, boot, complete_seq, known_seq) VALUES (:box, :boot, 0, :seq)
ON CONFLICT (box, boot) DO UPDATE SET known_seq = greatest(h.known_seq, excluded.known_seq)""")

# The island of consecutive numbers that begins right after what was complete.
_ADVANCE = text("""
UPDATE telemetry.high_water h SET complete_seq = coalesce((
    SELECT max(seq) FROM (
        SELECT seq, seq - row_number() OVER (ORDER BY seq) AS island FROM telemetry.message m
        WHERE m.box = h.box AND m.boot = h.boot AND m.seq > h.complete_seq
    ) numbered WHERE island = h.complete_seq
), h.complete_seq)
WHERE box = ANY(:boxes) AND complete_seq < known_seq""")

_KNOW_PENDING = text("""
INSERT INTO telemetry.high_water AS h (box, boot, complete_seq, known_seq, lost)
VALUES (:box, :boot, :first - 1, greatest(:first - 1, :last), :first - 1)
ON CONFLICT (box, boot) DO UPDATE SET
    lost = h.lost + greatest(excluded.complete_seq - h.complete_seq, 0),
    complete_seq = greatest(h.complete_seq, excluded.complete_seq),
    known_seq = greatest(h.known_seq, excluded.known_seq)""")

# What the box no longer holds of earlier boots, and we do not have, is lost: nobody need wait for it.
_GIVE_UP_OTHERS = text("""
UPDATE telemetry.high_water SET lost = lost + known_seq - complete_seq, complete_seq = known_seq
WHERE box = :box AND boot < :boot AND boot <> ALL(:pending) AND complete_seq < known_seq""")


def store(session: Session, arrivals: Sequence[Arrival], *, now: datetime | None = None) -> list[Acknowledgement]:
    """Write a batch: messages, clocks, dirty ranges, presence, high-water marks, dead letters, counts.

    Gives what to acknowledge after the commit: per box and boot of the batch the sequence number up to which
    everything is stored. `now` only serves to count how long the batch had to wait.
    """
    taken, dead = _sort(session, arrivals)
    measured = [entry for entry in taken if isinstance(entry.content, Measured)]
    stored, reused = _store_measured(session, measured) if measured else (0, [])
    dead += reused
    for entry in taken:
        if isinstance(entry.content, Birth):
            _store_birth(session, box=entry.topic.box, birth=entry.content)
    for entry in taken:
        if isinstance(entry.content, Heartbeat):
            known = {"box": entry.topic.box, "boot": entry.content.boot, "seq": entry.content.seq}
            session.execute(_KNOW_HEARTBEAT, known)
        if not isinstance(entry.content, Measured):
            _store_presence(session, entry)
    boxes = sorted({entry.topic.box for entry in taken if isinstance(entry.content, Measured | Birth)})
    if boxes:
        session.execute(_ADVANCE, {"boxes": boxes})
    if dead:
        session.execute(insert(DeadLetter), dead)
    if arrivals:
        count_batch(
            session,
            received_at=[arrival.received_at for arrival in arrivals],
            now=now,
            stored=stored,
            duplicates=len(measured) - stored - len(reused),
            dead=len(dead),
            shard=min((entry.topic.shard for entry in taken), default=NO_SLOT),
        )
    return _acknowledgements(session, taken)


def bury(session: Session, arrival: Arrival, *, reason: DeadReason) -> None:
    """Write one message among the dead letters."""
    session.execute(insert(DeadLetter), [_dead(arrival, reason)])
    count_batch(session, received_at=[arrival.received_at], now=None, dead=1)


def _sort(session: Session, arrivals: Sequence[Arrival]) -> tuple[list[_Taken], list[dict[str, Any]]]:
    """Part the batch into messages that pass every check and dead letters."""
    parsed: list[_Taken] = []
    dead: list[dict[str, Any]] = []
    for arrival in arrivals:
        try:
            topic = parse_topic(arrival.topic)
            parsed.append(_Taken(topic, parse(topic.kind, payload=arrival.payload), arrival))
        except MessageRefused as refused:
            dead.append(_dead(arrival, refused.reason))
    codes = {entry.topic.box for entry in parsed if CODE.fullmatch(entry.topic.box)}
    known = _locked_boxes(session, codes) if codes else {}
    taken: list[_Taken] = []
    for entry in parsed:
        reason = _objection(entry, known.get(entry.topic.box))
        if reason is None:
            taken.append(entry)
        else:
            dead.append(_dead(entry.arrival, reason))
    return taken, dead


def _locked_boxes(session: Session, codes: set[str]) -> dict[str, Box]:
    """Two workers that hand over a shard take turns by box; in one order, so that they never wait in a circle."""
    rows = session.scalars(select(Box).where(Box.code.in_(codes)).order_by(Box.code).with_for_update(key_share=True))
    return {box.code: box for box in rows}


def _objection(entry: _Taken, box: Box | None) -> DeadReason | None:
    if box is None:
        return DeadReason.BOX_UNKNOWN
    if box.revoked_at is not None:
        return DeadReason.BOX_REVOKED
    if box.shard != entry.topic.shard:
        return DeadReason.SHARD_WRONG
    if isinstance(entry.content, Measured) and entry.content.channel >= box.channels:
        return DeadReason.CHANNEL_UNKNOWN
    return None


def _store_measured(session: Session, measured: list[_Taken]) -> tuple[int, list[dict[str, Any]]]:
    """Write the messages with all that follows from them; gives how many, and dead letters for reused numbers."""
    raw = cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)
    with raw.cursor() as cursor:
        cursor.execute(_CREATE_INCOMING)
        cursor.execute("TRUNCATE pg_temp.incoming")
        with cursor.copy(_COPY_INCOMING) as copy:
            copy.set_types(_COPY_TYPES)
            for place, entry in enumerate(measured):
                copy.write_row(_row(place, entry))
    session.execute(_KNOW_MESSAGES)
    count = session.scalar(_TAKE_INCOMING) or 0
    if count == len(measured):
        return count, []
    return count, [
        _dead(measured[place].arrival, DeadReason.SEQUENCE_REUSED) for place in session.scalars(_FIND_REUSED).all()
    ]


def _row(place: int, entry: _Taken) -> tuple[object, ...]:
    content = cast("Measured", entry.content)
    span = timedelta(milliseconds=content.span_ms)
    received_at = entry.arrival.received_at
    device_at = None if content.device_ms is None else from_ms(content.device_ms)
    # A first guess where the box has no clock; `telemetry.clocks` lays it in time by the box's uptime.
    started_at = device_at if device_at is not None and content.synced else received_at - span
    return (
        *(place, entry.topic.box, content.boot, content.seq, content.kind, content.channel, received_at),
        *(device_at, content.uptime_ms, content.step_ms, list(content.powers_w), content.energy_wh),
        *(content.synced, content.buffered, started_at, started_at + span),
    )


def _store_birth(session: Session, *, box: str, birth: Birth) -> None:
    newest = session.execute(
        select(PresenceRow.boot, PresenceRow.connection).where(PresenceRow.box == box, PresenceRow.born)
    ).one_or_none()
    if newest is not None and (birth.boot, birth.connection) < tuple(newest):
        return
    for boot, first, last in birth.pending:
        session.execute(_KNOW_PENDING, {"box": box, "boot": boot, "first": first, "last": last})
    pending = [boot for boot, _, _ in birth.pending]
    session.execute(_GIVE_UP_OTHERS, {"box": box, "boot": birth.boot, "pending": pending})


def _store_presence(session: Session, entry: _Taken) -> None:
    """Keep the newest word of a box on itself; a will from before the newest birth is a dead man's word."""
    content = cast("Birth | Heartbeat | Presence", entry.content)
    said: dict[str, Any] = {"born": False, "online": content.online if isinstance(content, Presence) else True}
    if isinstance(content, Birth):
        said |= {"born": True, "firmware": content.firmware, "configuration_hash": content.configuration_hash}
    elif isinstance(content, Heartbeat):
        said |= {"buffered_messages": content.buffered_messages}
    said |= {"boot": content.boot, "connection": content.connection, "heard_at": entry.arrival.received_at}
    row = insert(PresenceRow).values(box=entry.topic.box, **said)
    ours, theirs = PresenceRow.__table__.c, row.excluded
    is_same = (theirs.boot == ours.boot) & (theirs.connection == ours.connection)
    is_later = (theirs.boot > ours.boot) | ((theirs.boot == ours.boot) & (theirs.connection > ours.connection))
    changes: dict[str, Any] = {name: theirs[name] for name in said}
    if entry.arrival.retained:
        changes["heard_at"] = ours.heard_at
    if not said["born"]:
        changes["born"] = ours.born & is_same
    session.execute(row.on_conflict_do_update(index_elements=["box"], set_=changes, where=is_same | is_later))


def _acknowledgements(session: Session, taken: Iterable[_Taken]) -> list[Acknowledgement]:
    touched = {
        (entry.topic.box, entry.content.boot): entry.topic
        for entry in taken
        if isinstance(entry.content, Measured | Birth)
    }
    if not touched:
        return []
    rows = session.execute(
        select(HighWater.box, HighWater.boot, HighWater.complete_seq)
        .where(HighWater.box.in_({box for box, _ in touched}))
        .order_by(HighWater.box, HighWater.boot)
    )
    return [
        Acknowledgement(topic=Topic(shard=touched[box, boot].shard, box=box, kind="ack"), boot=boot, seq=complete_seq)
        for box, boot, complete_seq in rows
        if (box, boot) in touched and complete_seq > 0
    ]


def _dead(arrival: Arrival, reason: DeadReason) -> dict[str, Any]:
    topic = arrival.topic[:DEAD_TOPIC_LENGTH_MAX].replace("\0", "").encode(errors="replace").decode()
    return {
        "received_at": arrival.received_at,
        "topic": topic,
        "reason": reason.value,
        "size_bytes": len(arrival.payload),
        "head": arrival.payload[:DEAD_HEAD_BYTES],
    }
