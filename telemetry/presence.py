"""What boxes say of themselves, kept so that no order of arrival matters.

The newest connection by (boot, connection) counts; within it the will is the last word, a birth is remembered, and the
newest heartbeat says what the buffer holds. A word that the broker had kept proves nothing about now, and a will is
not the box's own voice.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from telemetry.messages import Birth, Heartbeat, Presence
from telemetry.reports import keep_reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a box, or its will, said; `retained`: the broker had kept it."""

    box: str
    content: Birth | Heartbeat | Presence
    received_at: datetime
    retained: bool


_OLDER = "(excluded.boot, excluded.connection) < (p.boot, p.connection)"
_SAME = "(excluded.boot, excluded.connection) = (p.boot, p.connection)"

_KEEP = text(f"""
WITH said AS (
    SELECT * FROM jsonb_to_recordset(cast(:words AS jsonb)) AS said (
        box text, boot bigint, connection bigint, online boolean, born boolean, heard_at timestamptz,
        buffered_messages bigint, heartbeat_at timestamptz)
), newest AS (
    SELECT DISTINCT ON (box) box, boot, connection FROM said ORDER BY box, boot DESC, connection DESC
), folded AS (
    SELECT box, n.boot, n.connection,
           bool_and(online) FILTER (WHERE s.boot = n.boot AND s.connection = n.connection) AS online,
           bool_or(born) FILTER (WHERE s.boot = n.boot AND s.connection = n.connection) AS born,
           max(heard_at) AS heard_at, max(heartbeat_at) AS heartbeat_at,
           (array_agg(buffered_messages ORDER BY heartbeat_at DESC NULLS LAST, buffered_messages))[1]
               AS buffered_messages
    FROM said s JOIN newest n USING (box) GROUP BY box, n.boot, n.connection
)
INSERT INTO telemetry.presence AS p
    (box, boot, connection, online, born, heard_at, firmware, configuration_hash, buffered_messages, heartbeat_at)
SELECT f.box, f.boot, f.connection, f.online, f.born, f.heard_at, b.firmware, b.configuration_hash,
       f.buffered_messages, f.heartbeat_at
FROM folded f LEFT JOIN telemetry.newest_birth b USING (box)
ORDER BY f.box
ON CONFLICT (box) DO UPDATE SET
    boot = CASE WHEN {_OLDER} THEN p.boot ELSE excluded.boot END,
    connection = CASE WHEN {_OLDER} THEN p.connection ELSE excluded.connection END,
    online = CASE WHEN {_OLDER} THEN p.online WHEN {_SAME} THEN p.online AND excluded.online ELSE excluded.online END,
    born = CASE WHEN {_OLDER} THEN p.born WHEN {_SAME} THEN p.born OR excluded.born ELSE excluded.born END,
    heard_at = greatest(p.heard_at, excluded.heard_at),
    firmware = excluded.firmware,
    configuration_hash = excluded.configuration_hash,
    buffered_messages = CASE WHEN p.heartbeat_at IS NULL OR excluded.heartbeat_at >= p.heartbeat_at
                             THEN excluded.buffered_messages ELSE p.buffered_messages END,
    heartbeat_at = greatest(p.heartbeat_at, excluded.heartbeat_at)""")  # noqa: S608 - our own constants


def keep_words(session: Session, words: Iterable[Word]) -> None:
    """Keep what is new of these words; the births among them must have been kept before."""
    said = list(words)
    session.execute(_KEEP, {"words": json.dumps([_row(word) for word in said])})
    keep_reports(
        session,
        (
            (word.box, word.content, None if word.retained else word.received_at)
            for word in said
            if not isinstance(word.content, Presence)
        ),
    )


def _row(word: Word) -> dict[str, Any]:
    content, received_at = word.content, word.received_at.isoformat()
    online = content.online if isinstance(content, Presence) else True
    is_heartbeat = isinstance(content, Heartbeat)
    return {
        "box": word.box,
        "boot": content.boot,
        "connection": content.connection,
        "online": online,
        "born": isinstance(content, Birth),
        "heard_at": received_at if online and not word.retained else None,
        "buffered_messages": content.buffered_messages if isinstance(content, Heartbeat) else None,
        "heartbeat_at": received_at if is_heartbeat else None,
    }
