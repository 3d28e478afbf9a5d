"""Writes a batch of messages into the database, in the transaction of the caller.

Every statement may be run again with the same batch and then changes nothing: that is what makes it safe that a batch
whose commit was lost comes once more. And what is left does not depend on the order in which messages came.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec
import psycopg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from telemetry import refused, rows
from telemetry.counts import NO_SLOT, count_batch
from telemetry.errors import DeadReason, MessageRefused
from telemetry.high_water import advance, keep_births
from telemetry.messages import CODE, PAYLOAD_BYTES_MAX, Birth, Heartbeat, Measured, Presence, Topic, Uplink
from telemetry.models import DeadLetter
from telemetry.presence import Word, keep_words
from telemetry.quick import read, topic_of
from telemetry.refused import Refused

DEAD_HEAD_BYTES = 200  # enough to recognise a message, too little to fill a disk
# These are well-formed and may be evidence: a person can put them right, so they are kept whole (16 KiB at most).
KEPT_WHOLE = frozenset({DeadReason.SEQUENCE_REUSED, DeadReason.STORAGE_REFUSED, DeadReason.PROGRAM_FAILED})
DEAD_TOPIC_LENGTH_MAX = 200


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the broker handed it over; of one that is too long only the beginning may be here."""

    topic: str
    payload: bytes
    received_at: datetime
    retained: bool = False  # the broker kept it: it says nothing about whether the box lives now
    size_bytes: int | None = None  # of the whole payload, where it is not all here


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told to a box once the transaction is committed.

    `seq` 0 is no acknowledgement. `hole` are the first numbers (from, to) that the box has written and we do not have;
    `born` is False if the box has not said in this boot what it is.
    """

    topic: Topic
    boot: int
    seq: int
    hole: tuple[int, int] | None = None
    born: bool = True


class _Taken(NamedTuple):
    """A message that passed every check."""

    topic: Topic
    content: Uplink
    arrival: Arrival


# Two workers that hand over a shard take turns, in one order, so that they never wait in a circle.
_LOCK_SHARDS = text("""
SELECT pg_advisory_xact_lock(hashtextextended('telemetry.ingest', shard))
FROM unnest(cast(:shards AS integer[])) AS shard""")

# A list of a thousand strings as one: the driver would write each by itself.
_FIND_BOXES = text("""
SELECT code, shard, channels, revoked_at IS NOT NULL FROM telemetry.box
WHERE code = ANY(string_to_array(:codes, ','))""")

_CREATE_INCOMING = f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming ({rows.COLUMNS}) ON COMMIT DELETE ROWS"
_COPY_INCOMING = "COPY pg_temp.incoming FROM STDIN (FORMAT BINARY)"

# One statement, because all of it speaks of the same rows: those that were not there before.
_TAKE_INCOMING = text("""
WITH taken AS (
    INSERT INTO telemetry.message (box, boot, seq, kind, channel, received_at, device_at, uptime_ms, step_ms, powers_w,
                                   energy_wh, synced, buffered, started_at, ended_at)
    SELECT box, boot, seq, kind, channel, received_at, device_at, uptime_ms, step_ms, powers_w,
           energy_wh, synced, buffered, started_at, ended_at
    FROM pg_temp.incoming ORDER BY box, boot, seq, place
    ON CONFLICT (box, boot, seq) DO NOTHING
    RETURNING box, boot, kind, channel, received_at, device_at, uptime_ms, synced AND device_at IS NOT NULL AS timed,
              buffered, started_at, ended_at
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

_GIVE_WAY = text("""
DELETE FROM telemetry.message m USING pg_temp.incoming i
WHERE m.box = i.box AND m.boot = i.boot AND m.seq = i.seq AND m.kind = 'dead' RETURNING m.seq""")

_FIND_REUSED = text("""
SELECT i.place FROM pg_temp.incoming i JOIN telemetry.message m USING (box, boot, seq)
WHERE (i.kind, i.channel, i.uptime_ms, i.powers_w) IS DISTINCT FROM (m.kind, m.channel, m.uptime_ms, m.powers_w)
ORDER BY i.place""")


def store(session: Session, arrivals: Sequence[Arrival], *, now: datetime | None = None) -> list[Acknowledgement]:
    """Write a batch: messages, clocks, dirty ranges, presence, high-water marks, dead letters, counts.

    Gives what to acknowledge after the commit: per box and boot of the batch the sequence number up to which
    everything is stored. `now` only serves to count how long the batch had to wait.
    """
    taken, dead, numbered = _sort(session, arrivals)
    measured = [entry for entry in taken if isinstance(entry.content, Measured)]
    words = [entry for entry in taken if not isinstance(entry.content, Measured)]
    stored, reused = _store_measured(session, measured) if measured else (0, [])
    dead += reused
    if words:
        _store_words(session, words)
    if numbered:
        refused.note(session, numbered)
    acknowledgements = _advance(session, taken, numbered)
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
    return acknowledgements


def bury(session: Session, arrival: Arrival, *, reason: DeadReason) -> None:
    """Write one message among the dead letters."""
    session.execute(insert(DeadLetter), [_dead(arrival, reason)])
    count_batch(session, received_at=[arrival.received_at], now=None, dead=1)


def _sort(session: Session, arrivals: Sequence[Arrival]) -> tuple[list[_Taken], list[dict[str, Any]], list[Refused]]:
    """Part the batch into messages that pass every check and dead letters, with the numbers that these use up.

    Whose shards it takes, it locks.
    """
    parsed: list[_Taken] = []
    dead: list[dict[str, Any]] = []
    wrong: list[tuple[Topic, Arrival, DeadReason]] = []
    for arrival in arrivals:
        topic = topic_of(arrival.topic)
        if isinstance(topic, DeadReason):
            dead.append(_dead(arrival, topic))
            continue
        try:
            parsed.append(_Taken(topic, _read(topic.kind, arrival), arrival))
        except MessageRefused as found:
            wrong.append((topic, arrival, found.reason))
    topics = [*(entry.topic for entry in parsed), *(topic for topic, _, _ in wrong)]
    if not topics:
        return [], dead, []
    session.execute(_LOCK_SHARDS, {"shards": sorted({topic.shard for topic in topics})})
    known = _enrolled(session, {topic.box for topic in topics})
    taken: list[_Taken] = []
    for entry in parsed:
        reason = _objection(entry, known.get(entry.topic.box))
        if reason is None:
            taken.append(entry)
        else:
            wrong.append((entry.topic, entry.arrival, reason))
    numbered: list[Refused] = []
    for topic, arrival, reason in wrong:
        box = known.get(topic.box)
        is_own = box is not None and not box.is_revoked and box.shard == topic.shard
        number = refused.number_of(topic, payload=arrival.payload, reason=reason) if is_own else None
        if number is not None:
            numbered.append(Refused(topic, *number, arrival.received_at))
        dead.append(_dead(arrival, reason, is_whole=number is not None))
    return taken, dead, numbered


def _read(kind: str, arrival: Arrival) -> Uplink:
    if arrival.size_bytes is not None and arrival.size_bytes > PAYLOAD_BYTES_MAX:
        raise MessageRefused(DeadReason.TOO_LARGE)
    return read(kind, payload=arrival.payload)


class _Enrolled(NamedTuple):
    shard: int
    channels: int
    is_revoked: bool


def _enrolled(session: Session, codes: set[str]) -> dict[str, _Enrolled]:
    """Ask anew for every batch: who was revoked a moment ago is out, whatever the broker still lets through."""
    asked = ",".join(code for code in codes if CODE.fullmatch(code))
    found = session.execute(_FIND_BOXES, {"codes": asked})
    return {code: _Enrolled(shard, channels, is_revoked) for code, shard, channels, is_revoked in found}


def _objection(entry: _Taken, box: _Enrolled | None) -> DeadReason | None:
    if box is None:
        return DeadReason.BOX_UNKNOWN
    if box.is_revoked:
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
        cursor.execute("DELETE FROM pg_temp.incoming")  # of an earlier batch in the same transaction
        with cursor.copy(_COPY_INCOMING) as copy:
            copy.write(
                rows.copy_of(
                    (topic.box, cast("Measured", content), arrival.received_at) for topic, content, arrival in measured
                )
            )
    count = session.scalar(_TAKE_INCOMING) or 0
    if count == len(measured):
        return count, []
    # What was refused under a number before gives way to what can be taken, so that their order does not matter.
    if session.scalars(_GIVE_WAY).all():
        count += session.scalar(_TAKE_INCOMING) or 0
    return count, [
        _dead(measured[place].arrival, DeadReason.SEQUENCE_REUSED) for place in session.scalars(_FIND_REUSED).all()
    ]


def _store_words(session: Session, words: list[_Taken]) -> None:
    """Keep what boxes say of themselves; births first, for the other words are laid beside them."""
    births = [(topic.box, content) for topic, content, _ in words if isinstance(content, Birth)]
    if births:
        keep_births(session, births)
    keep_words(
        session,
        (
            Word(
                box=topic.box,
                content=cast("Birth | Heartbeat | Presence", content),
                received_at=arrival.received_at,
                retained=arrival.retained,
            )
            for topic, content, arrival in words
        ),
    )


def _advance(session: Session, taken: Iterable[_Taken], numbered: Iterable[Refused]) -> list[Acknowledgement]:
    """Bring the high-water marks up to date, and give them for all boots that the batch spoke of."""
    shards: dict[str, int] = {}
    spoken: dict[tuple[str, int], int] = {}
    stored: dict[tuple[str, int], set[int]] = defaultdict(set)
    reborn: set[str] = set()
    for topic, content, _ in taken:
        box = topic.box
        if isinstance(content, Measured):
            stored[box, content.boot].add(content.seq)
            said = [(content.boot, content.seq)]
        elif isinstance(content, Heartbeat):
            said = [(content.boot, content.seq)]
        elif isinstance(content, Birth):
            reborn.add(box)
            said = [(boot, last) for boot, _first, last in content.pending]
        else:
            continue
        shards[box] = topic.shard
        for boot, seq in said:
            spoken[box, boot] = max(spoken.get((box, boot), -1), seq)
    for each in numbered:
        box, boot = each.topic.box, each.boot
        shards[box] = each.topic.shard
        spoken[box, boot] = max(spoken.get((box, boot), -1), each.seq)
    if not shards:
        return []
    runs = {key: (min(seqs), max(seqs)) for key, seqs in stored.items() if max(seqs) - min(seqs) + 1 == len(seqs)}
    return [
        Acknowledgement(
            topic=_ack_topic(mark.box, shards[mark.box]),
            boot=mark.boot,
            seq=mark.acknowledged_seq,
            hole=mark.hole,
            born=mark.born,
        )
        for mark in advance(session, spoken=spoken, stored=runs, reborn=reborn)
    ]


@lru_cache(maxsize=2**17)
def _ack_topic(box: str, shard: int) -> Topic:
    return Topic(shard=shard, box=box, kind="ack")


def _dead(arrival: Arrival, reason: DeadReason, *, is_whole: bool = False) -> dict[str, Any]:
    topic = arrival.topic[:DEAD_TOPIC_LENGTH_MAX].replace("\0", "").encode(errors="replace").decode()
    kept_bytes = PAYLOAD_BYTES_MAX if is_whole or reason in KEPT_WHOLE else DEAD_HEAD_BYTES
    return {
        "received_at": arrival.received_at,
        "topic": topic,
        "reason": reason.value,
        "size_bytes": len(arrival.payload) if arrival.size_bytes is None else arrival.size_bytes,
        "head": arrival.payload[:kept_bytes],
    }
