"""How boxes say that they are: clock, losses, doubts, the command they obeyed; kept so that no order matters.

Of each box the newest birth and the newest heartbeat by (boot, connection, uptime) are kept. The same word twice is one
word; what the broker had kept of it proves no moment, so a moment of receipt is that of its first live copy.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from telemetry.messages import Birth, Heartbeat
from telemetry.models import BoxReport
from telemetry.times import from_ms

BIRTH, HEARTBEAT = "birth", "hb"

_KEEP = text("""
INSERT INTO telemetry.box_report AS r
    (box, kind, boot, connection, uptime_ms, received_at, device_at, synced, lost, doubts, epoch, is_new_epoch,
     command_id, command_refused, indicative)
SELECT box, kind, boot, connection, uptime_ms, received_at, device_at, synced, lost, doubts, epoch, is_new_epoch,
       command_id, command_refused, indicative
FROM jsonb_to_recordset(cast(:reports AS jsonb)) AS said (
    box text, kind text, boot bigint, connection bigint, uptime_ms bigint, received_at timestamptz,
    device_at timestamptz, synced boolean, lost bigint, doubts jsonb, epoch text, is_new_epoch boolean,
    command_id bigint, command_refused text, indicative bigint[])
ORDER BY box, kind
ON CONFLICT (box, kind) DO UPDATE SET
    boot = excluded.boot, connection = excluded.connection, uptime_ms = excluded.uptime_ms,
    received_at = CASE WHEN (excluded.boot, excluded.connection, excluded.uptime_ms)
                           = (r.boot, r.connection, r.uptime_ms)
                       THEN least(r.received_at, excluded.received_at) ELSE excluded.received_at END,
    device_at = excluded.device_at, synced = excluded.synced, lost = excluded.lost, doubts = excluded.doubts,
    epoch = excluded.epoch, is_new_epoch = excluded.is_new_epoch, command_id = excluded.command_id,
    command_refused = excluded.command_refused, indicative = excluded.indicative
WHERE (excluded.boot, excluded.connection, excluded.uptime_ms) >= (r.boot, r.connection, r.uptime_ms)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a box says of itself now; None and empty: it has not said."""

    synced: bool | None = None
    lost: int | None = None
    doubts: dict[int, tuple[str, ...]]
    indicative: tuple[int, ...] = ()
    epoch: str = ""
    is_new_epoch: bool = False
    command_id: int | None = None
    command_refused: str = ""
    born_at: datetime | None = None
    """When its newest birth came; None also for one that only the broker had kept."""


NOTHING_SAID = Said(doubts={})


def keep_reports(session: Session, words: Iterable[tuple[str, Birth | Heartbeat, datetime | None]]) -> None:
    """Keep of each box its newest birth and heartbeat; the moment is that of a live receipt, None of a retained one."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for box, content, received_at in words:
        row = _row(box, content, received_at)
        before = newest.get((box, row["kind"]))
        if before is None or _age(row) > _age(before):
            newest[box, row["kind"]] = row
        elif _age(row) == _age(before):
            before["received_at"] = min(filter(None, (before["received_at"], row["received_at"])), default=None)
    if newest:
        session.execute(_KEEP, {"reports": json.dumps(list(newest.values()))})


def said_by(session: Session, boxes: Iterable[str]) -> dict[str, Said]:
    """Give what these boxes say of themselves, where they have said anything."""
    rows: dict[str, dict[str, BoxReport]] = {}
    for row in session.scalars(select(BoxReport).where(BoxReport.box.in_(list(boxes)))):
        rows.setdefault(row.box, {})[row.kind] = row
    return {box: _said(found.get(BIRTH), found.get(HEARTBEAT)) for box, found in rows.items()}


def _said(birth: BoxReport | None, heartbeat: BoxReport | None) -> Said:
    both = [each for each in (birth, heartbeat) if each is not None]
    newest = max(both, key=lambda each: (each.boot, each.connection, each.uptime_ms))
    # Doubts of a boot before this one were about a meter that has been asked anew since.
    is_now = heartbeat is not None and heartbeat.boot == newest.boot
    doubts = heartbeat.doubts if heartbeat is not None and is_now else None
    return Said(
        synced=newest.synced,
        lost=newest.lost,
        doubts={int(channel): tuple(found) for channel, found in sorted((doubts or {}).items())},
        indicative=() if birth is None else tuple(birth.indicative or ()),
        epoch="" if birth is None else birth.epoch or "",
        is_new_epoch=birth is not None and bool(birth.is_new_epoch),
        command_id=None if birth is None else birth.command_id,
        command_refused="" if birth is None else birth.command_refused or "",
        born_at=None if birth is None else birth.received_at,
    )


def _row(box: str, content: Birth | Heartbeat, received_at: datetime | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "box": box,
        "kind": BIRTH if isinstance(content, Birth) else HEARTBEAT,
        "boot": content.boot,
        "connection": content.connection,
        "uptime_ms": content.uptime_ms,
        "received_at": None if received_at is None else received_at.isoformat(),
        "device_at": None if content.device_ms is None else from_ms(content.device_ms).isoformat(),
        "synced": content.synced,
        "lost": content.lost,
    }
    if isinstance(content, Heartbeat):
        return row | {"doubts": {str(channel): list(found) for channel, found in content.doubts.items()}}
    return row | {
        "epoch": content.epoch,
        "is_new_epoch": content.is_new_epoch,
        "command_id": content.command_id,
        "command_refused": content.command_refused,
        "indicative": list(content.indicative),
    }


def _age(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["boot"], row["connection"], row["uptime_ms"]
