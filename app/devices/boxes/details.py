"""One box: where it stood, what its clock did, which messages are missing, how it was calibrated."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.orm import Session, joinedload

from app.devices.boxes import alarms, calibrating
from app.devices.boxes.alarms import SeenAlarm
from app.devices.boxes.listing import BoxLine, lines_of
from app.devices.boxes.visibility import box_of
from app.devices.models import BoxPlacement, CalibrationAttempt
from app.people.principals import Principal
from telemetry.configurations import Wanted, wanted
from telemetry.models import CalibrationVersion, ClockOffset, DeriveTrouble, HighWater

CLOCK_DAYS = 30
ROWS_MAX = 50
HOLES_MAX = 100

_CLOCK_BY_DAY = text("""
SELECT (received_at AT TIME ZONE :zone)::date AS day, count(*) AS live,
       min(extract(epoch FROM received_at - device_at - (ended_at - started_at)))
           FILTER (WHERE synced AND device_at IS NOT NULL) AS offset_s
FROM telemetry.message
WHERE box = :box AND channel = ANY(:channels) AND kind = 'm' AND NOT buffered AND started_at >= :since
GROUP BY 1 ORDER BY 1""")
_HOLES = text("""
SELECT boot, seq + 1 AS first, following - 1 AS last FROM (
    SELECT m.boot, m.seq, lead(m.seq, 1, h.known_seq + 1) OVER (PARTITION BY m.boot ORDER BY m.seq) AS following
    FROM (
        SELECT boot, seq FROM telemetry.message WHERE box = :box
        UNION SELECT boot, complete_seq FROM telemetry.high_water WHERE box = :box
    ) m JOIN telemetry.high_water h ON h.box = :box AND h.boot = m.boot
    WHERE m.seq >= h.complete_seq AND h.complete_seq < h.known_seq
) numbered WHERE following > seq + 1 ORDER BY boot DESC, first LIMIT :limit""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockDay:
    """A day of the box's clock: by how much it was behind ours at the least; None: it never claimed to know."""

    day: date
    live_messages: int
    offset_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Consecutive messages of one boot that have not come, though later ones have."""

    boot: int
    first: int
    last: int

    @property
    def messages(self) -> int:
        """How many are missing."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDetails:
    """All that is known of one box."""

    line: BoxLine
    placements: tuple[BoxPlacement, ...]
    boots: tuple[tuple[HighWater, ClockOffset | None], ...]
    clock_days: tuple[ClockDay, ...]
    holes: tuple[Hole, ...]
    versions: tuple[CalibrationVersion, ...]
    attempts: tuple[CalibrationAttempt, ...]
    open_alarms: tuple[SeenAlarm, ...]
    closed_alarms: tuple[SeenAlarm, ...]
    trouble: DeriveTrouble | None  # its readings could not be made into sessions
    wanted: Wanted | None  # how it is to measure; None: as its own file says


def details(session: Session, *, code: str, reader: Principal, zone: ZoneInfo, at: datetime) -> BoxDetails:
    """Give one box that the reader may see. Raises Refusal NOT_FOUND."""
    box = box_of(session, code=code, reader=reader)
    (line,) = lines_of(session, [box], at=at)
    return BoxDetails(
        line=line,
        placements=tuple(placements_of(session, code=code)),
        boots=tuple(_boots(session, code)),
        clock_days=tuple(clock_days(session, code=code, channels=box.channels, zone=zone, at=at)),
        holes=tuple(holes(session, code=code)),
        versions=tuple(
            session.scalars(
                select(CalibrationVersion)
                .where(CalibrationVersion.box == code)
                .order_by(CalibrationVersion.channel, CalibrationVersion.version.desc())
                .limit(ROWS_MAX)
            )
        ),
        attempts=tuple(calibrating.attempts(session, box=code)),
        open_alarms=tuple(alarms.open_alarms(session, reader=reader, box=code)),
        closed_alarms=tuple(alarms.closed_alarms(session, reader=reader, box=code, limit=20)),
        trouble=session.get(DeriveTrouble, code),
        wanted=wanted(session, code=code),
    )


def placements_of(session: Session, *, code: str) -> list[BoxPlacement]:
    """Give where a box stands and stood, the newest first."""
    return list(
        session.scalars(
            select(BoxPlacement)
            .options(joinedload(BoxPlacement.instrument))
            .where(BoxPlacement.box == code)
            .order_by(BoxPlacement.valid_from.desc(), BoxPlacement.id.desc())
            .limit(ROWS_MAX)
        )
    )


def clock_days(session: Session, *, code: str, channels: int, zone: ZoneInfo, at: datetime) -> list[ClockDay]:
    """Give the clock's offset by day of the site, for the last 30 days in which it sent live messages."""
    rows = session.execute(
        _CLOCK_BY_DAY,
        {
            "box": code,
            "channels": list(range(channels)),
            "since": at - timedelta(days=CLOCK_DAYS),
            "zone": zone.key,
        },
    )
    return [
        ClockDay(
            day=row.day,
            live_messages=row.live,
            offset_s=None if row.offset_s is None else round(float(row.offset_s), 1),
        )
        for row in rows
    ]


def holes(session: Session, *, code: str) -> list[Hole]:
    """Give the gaps in a box's numbers, the newest boot first."""
    rows = session.execute(_HOLES, {"box": code, "limit": HOLES_MAX})
    return [Hole(boot=row.boot, first=row.first, last=row.last) for row in rows]


def _boots(session: Session, code: str) -> list[tuple[HighWater, ClockOffset | None]]:
    rows = session.execute(
        select(HighWater, ClockOffset)
        .outerjoin(ClockOffset, (ClockOffset.box == HighWater.box) & (ClockOffset.boot == HighWater.boot))
        .where(HighWater.box == code)
        .order_by(HighWater.boot.desc())
        .limit(ROWS_MAX)
    )
    return [(high_water, offset) for high_water, offset in rows]
