"""Lays messages in time: by the box's clock where it can be trusted, else by its uptime.

The uptime never jumps; what it lacks is the moment of switching on, and that is never later than (receipt - uptime).
So the least of these over a boot is the best estimate, and it does not depend on the order of arrival. A clock that was
set by more than two minutes within a boot shows in the spread of (device time - uptime); it is not trusted either.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.times import EPOCH

OFFSET_S_MAX = 120
# The uptime runs by a quartz: so much of it may device time less uptime change in a boot without any setting.
DRIFT_MAX = 1e-4
# An uptime that runs fast makes the moment of switching on seem a little earlier with every message. Told in such steps
# it moves the messages of a boot, and their sessions, once in a day and not each time.
GRID = timedelta(seconds=5)
# One late message does not prove that a clock is behind, it may have waited at the broker; the least of several does.
LIVE_MESSAGES_MIN = 5

_JUDGE = text("""
SELECT box, boot, date_bin(:grid, coalesce(booted_at, booted_at_buffered), :grid_from) AS booted_at,
       trusted, trusted = shifted AS turned
FROM telemetry.clock_offset, LATERAL (SELECT coalesce(
    offset_s >= -:offset_s_max AND (offset_s <= :offset_s_max OR live_messages < :live_messages_min), true
) AND coalesce(
    extract(epoch FROM epoch_max - epoch_min) <= :offset_s_max + uptime_ms_max / 1000 * cast(:drift_max AS float8), true
) AS trusted) AS judged
WHERE box = ANY(:boxes) AND (unsynced OR shifted OR NOT trusted) ORDER BY box, boot""")

_RETIME = text("""
WITH placed AS (
    SELECT boot, seq, started_at AS was_at, ended_at - started_at AS span,
           CASE WHEN :trusted AND synced AND device_at IS NOT NULL THEN device_at
                ELSE :booted_at + uptime_ms * interval '1 ms' END AS at
    FROM telemetry.message WHERE box = :box AND boot = :boot AND kind <> 'dead'
), moved AS (
    UPDATE telemetry.message m SET started_at = p.at, ended_at = p.at + p.span
    FROM placed p WHERE m.box = :box AND m.boot = p.boot AND m.seq = p.seq AND p.was_at <> p.at
    RETURNING m.channel, least(p.was_at, p.at) AS from_at, greatest(p.was_at, p.at) + p.span AS until_at
)
INSERT INTO telemetry.dirty_range (box, channel, from_at, until_at)
SELECT :box, channel, min(from_at), max(until_at) FROM moved GROUP BY channel""")

_REMEMBER = text("UPDATE telemetry.clock_offset SET shifted = NOT shifted WHERE box = :box AND boot = :boot")


def retime(session: Session, *, boxes: Collection[str]) -> None:
    """Bring the messages of boots with a doubtful clock to where they belong, and mark what that changes as dirty."""
    limits = {"offset_s_max": OFFSET_S_MAX, "live_messages_min": LIVE_MESSAGES_MIN, "drift_max": DRIFT_MAX}
    grid = {"grid": GRID, "grid_from": EPOCH}
    for row in session.execute(_JUDGE, {"boxes": sorted(boxes), **limits, **grid}).all():
        boot = {"box": row.box, "boot": row.boot}
        session.execute(_RETIME, {**boot, "booted_at": row.booted_at, "trusted": row.trusted})
        if row.turned:
            session.execute(_REMEMBER, boot)
