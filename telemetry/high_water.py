"""How far the messages of a boot are complete, what is known to be missing, and what is lost for ever.

All of it is a function of three things that never depend on the order of arrival: which messages are stored, the
greatest number anybody spoke of, and what the newest birth says that the box still holds.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.messages import Birth


class Mark(NamedTuple):
    """Of one boot of a box: what is complete, what of it the box may forget, and the first hole (from, to).

    `born` is False if the box has not said in this boot what it is.
    """

    box: str
    boot: int
    complete_seq: int
    acknowledged_seq: int
    hole: tuple[int, int] | None
    born: bool


_KEEP_BIRTHS = text("""
INSERT INTO telemetry.newest_birth AS b
    (box, boot, connection, uptime_ms, pending, firmware, configuration_hash)
SELECT box, boot, connection, uptime_ms, pending, firmware, configuration_hash
FROM jsonb_to_recordset(cast(:births AS jsonb)) AS said (
    box text, boot bigint, connection bigint, uptime_ms bigint, pending bigint[], firmware text,
    configuration_hash text)
ORDER BY box
ON CONFLICT (box) DO UPDATE SET
    boot = excluded.boot, connection = excluded.connection, uptime_ms = excluded.uptime_ms,
    pending = excluded.pending, firmware = excluded.firmware, configuration_hash = excluded.configuration_hash
WHERE (excluded.boot, excluded.connection, excluded.uptime_ms) > (b.boot, b.connection, b.uptime_ms)""")

# `spoken` is what the batch says of numbers; a birth also touches every other boot of its box. `start_seq` is what is
# complete or no longer with the box: all of a boot that its newest birth does not list. At a jump numbers are missing.
# A box that holds nothing of a boot needs no acknowledgement; one that speaks of it all the same, because an old disk
# was put back or its birth had no room for every boot, must not forget for it what never came.
_ADVANCE = text("""
WITH spoken AS (
    SELECT box, boot, max(seq) AS seq
    FROM unnest(string_to_array(:boxes, ','), cast(:boots AS bigint[]), cast(:seqs AS bigint[]))
         AS said (box, boot, seq)
    GROUP BY box, boot
), touched AS (
    SELECT box, boot, seq FROM spoken
    UNION ALL
    SELECT h.box, h.boot, h.known_seq FROM telemetry.high_water h
    WHERE h.box = ANY(:reborn) AND NOT EXISTS (SELECT FROM spoken s WHERE s.box = h.box AND s.boot = h.boot)
), known AS (
    SELECT t.box, t.boot, greatest(t.seq, coalesce(h.known_seq, 0)) AS known_seq, coalesce(h.lost, 0) AS lost,
           coalesce(h.complete_seq, 0) AS complete_seq, b.boot AS born_boot, b.pending
    FROM touched t
    LEFT JOIN telemetry.high_water h ON h.box = t.box AND h.boot = t.boot
    LEFT JOIN telemetry.newest_birth b ON b.box = t.box
), begun AS (
    SELECT *, greatest(complete_seq, least(known_seq, CASE
        WHEN born_boot IS NULL OR boot > born_boot THEN 0
        WHEN firsts.first IS NOT NULL THEN firsts.first - 1
        WHEN boot < born_boot THEN known_seq
        ELSE 0 END)) AS start_seq
    FROM known LEFT JOIN LATERAL (
        SELECT pending[i + 1] AS first FROM generate_series(1, coalesce(cardinality(pending), 0), 2) AS i
        WHERE pending[i] = known.boot LIMIT 1
    ) AS firsts ON true
), judged AS (
    SELECT begun.*, jump.seq AS next_seq, coalesce(
        jump.before, (SELECT max(seq) FROM telemetry.message m
                      WHERE m.box = begun.box AND m.boot = begun.boot AND m.seq > start_seq), start_seq) AS now_complete
    FROM begun LEFT JOIN LATERAL (
        SELECT before, seq FROM (
            SELECT seq, coalesce(lag(seq) OVER (ORDER BY seq), start_seq) AS before FROM telemetry.message m
            WHERE m.box = begun.box AND m.boot = begun.boot AND m.seq > start_seq
        ) AS numbered WHERE seq <> before + 1 ORDER BY seq LIMIT 1
    ) AS jump ON true
), counted AS (
    SELECT *, CASE WHEN lost > 0 OR start_seq > complete_seq THEN now_complete - (
        SELECT count(*) FROM telemetry.message m
        WHERE m.box = judged.box AND m.boot = judged.boot AND m.seq <= now_complete) ELSE 0 END AS now_lost
    FROM judged
), written AS (
    INSERT INTO telemetry.high_water AS h (box, boot, complete_seq, known_seq, lost)
    SELECT box, boot, now_complete, known_seq, now_lost FROM counted ORDER BY box, boot
    ON CONFLICT (box, boot) DO UPDATE SET
        complete_seq = excluded.complete_seq, known_seq = excluded.known_seq, lost = excluded.lost
    WHERE (h.complete_seq, h.known_seq, h.lost)
        IS DISTINCT FROM (excluded.complete_seq, excluded.known_seq, excluded.lost)
)
SELECT box, boot, now_complete AS complete_seq,
       CASE WHEN boot < born_boot AND first IS NULL AND now_lost > 0 THEN 0 ELSE now_complete END AS acknowledged_seq,
       coalesce(next_seq - 1, known_seq) AS hole_until,
       known_seq > now_complete AS has_hole, born_boot IS NOT NULL AND born_boot >= boot AS born
FROM counted ORDER BY box, boot""")

# Nearly every batch only goes on where the last one ended. Whose numbers leave no hole after what is complete, with
# nothing lost and no greater number known, is complete up to them, whatever its births say: `_ADVANCE` finds the same.
_CONTINUE = text("""
UPDATE telemetry.high_water h SET complete_seq = run.last, known_seq = run.last
FROM unnest(string_to_array(:boxes, ','), cast(:boots AS bigint[]),
            cast(:firsts AS bigint[]), cast(:lasts AS bigint[])) AS run (box, boot, first, last)
WHERE h.box = run.box AND h.boot = run.boot
  AND h.complete_seq >= run.first - 1 AND h.known_seq <= run.last AND h.lost = 0
RETURNING run.box, run.boot, run.last,
          (SELECT b.boot >= run.boot FROM telemetry.newest_birth b WHERE b.box = run.box) AS born""")


def keep_births(session: Session, births: Iterable[tuple[str, Birth]]) -> None:
    """Keep of each box the newest of these births and the one that is stored."""
    newest: dict[str, Birth] = {}
    for box, birth in births:
        if box not in newest or _age(birth) > _age(newest[box]):
            newest[box] = birth
    rows = [
        {
            "box": box,
            "boot": birth.boot,
            "connection": birth.connection,
            "uptime_ms": birth.uptime_ms,
            "pending": [number for boot, first, _ in birth.pending for number in (boot, first)],
            "firmware": birth.firmware,
            "configuration_hash": birth.configuration_hash,
        }
        for box, birth in newest.items()
    ]
    session.execute(_KEEP_BIRTHS, {"births": json.dumps(rows)})


def advance(
    session: Session,
    *,
    spoken: Mapping[tuple[str, int], int],
    stored: Mapping[tuple[str, int], tuple[int, int]],
    reborn: Collection[str],
) -> list[Mark]:
    """Bring the marks up to date with what is stored.

    By box and boot: `spoken` is the greatest number that was spoken of, `stored` the first and last of numbers without
    a hole that are stored. Boxes in `reborn` have just been born: all their boots are looked at. Gives the marks of all
    that were.
    """
    runs = {key: run for key, run in stored.items() if run[1] == spoken[key] and key[0] not in reborn}
    marks = _continue(session, runs) if runs else []
    continued = {(mark.box, mark.boot) for mark in marks}
    said = {key: seq for key, seq in spoken.items() if key not in continued}
    return marks + _judge(session, said, reborn) if said or reborn else marks


def _continue(session: Session, runs: Mapping[tuple[str, int], tuple[int, int]]) -> list[Mark]:
    rows = session.execute(
        _CONTINUE,
        {
            "boxes": ",".join([box for box, _ in runs]),
            "boots": _numbers(boot for _, boot in runs),
            "firsts": _numbers(first for first, _ in runs.values()),
            "lasts": _numbers(last for _, last in runs.values()),
        },
    )
    return [Mark(box, boot, last, last, None, bool(born)) for box, boot, last, born in rows]


def _judge(session: Session, said: Mapping[tuple[str, int], int], reborn: Collection[str]) -> list[Mark]:
    rows = session.execute(
        _ADVANCE,
        {
            "boxes": ",".join([box for box, _ in said]),
            "boots": _numbers(boot for _, boot in said),
            "seqs": _numbers(said.values()),
            "reborn": sorted(reborn),
        },
    )
    return [
        Mark(box, boot, complete_seq, acknowledged_seq, (complete_seq + 1, hole_until) if has_hole else None, born)
        for box, boot, complete_seq, acknowledged_seq, hole_until, has_hole, born in rows
    ]


def _numbers(values: Iterable[int]) -> str:
    """Write an array as text: the driver would write each number by itself."""
    return f"{{{','.join(map(str, values))}}}"


def _age(birth: Birth) -> tuple[int, int, int]:
    return birth.boot, birth.connection, birth.uptime_ms
