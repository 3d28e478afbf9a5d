"""How boxes are to measure, by the word of a person: kept in versions, and compared with what they say holds."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from telemetry.commands import Configuration, encode_configuration, parse_configuration
from telemetry.errors import Refusal, TelemetryRefused
from telemetry.models import Box, BoxConfiguration, NewestBirth
from telemetry.reports import said_by

CLOCK_S_MAX = 30
"""A box without a clock of its own whose idea of the time is further off is told the time."""


class Standing(StrEnum):
    """What became of what a person wants of a box."""

    IN_FORCE = "in_force"  # its newest birth names it
    REFUSED = "refused"  # it was told, and said no
    TOLD = "told"  # it was told, and has not answered yet
    WAITING = "waiting"  # it could not be told yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The configuration that a person wants of a box, and what became of it."""

    row: BoxConfiguration
    configuration: Configuration
    standing: Standing
    refused: str = ""


class Due(NamedTuple):
    """A box that is online and should be told something: the time, or a configuration in its version."""

    shard: int
    box: str
    needs_time: bool
    configuration: Configuration | None
    version: int | None


# Whose newest word says that its clock is not set, and is wrong by more than a message takes.
_UNTIMED = """
SELECT r.box FROM telemetry.box_report r
WHERE NOT r.synced AND r.received_at IS NOT NULL
  AND (r.device_at IS NULL OR abs(extract(epoch FROM r.received_at - r.device_at)) > :clock_s_max)
  AND NOT EXISTS (
      SELECT FROM telemetry.box_report n WHERE n.box = r.box
      AND (n.boot, n.connection, n.uptime_ms) > (r.boot, r.connection, r.uptime_ms))"""
_UNLIKE = """
SELECT c.box, c.version, c.content FROM (
    SELECT DISTINCT ON (box) box, version, content, configuration_hash FROM telemetry.box_configuration
    ORDER BY box, version DESC
) c JOIN telemetry.newest_birth b ON b.box = c.box AND b.configuration_hash <> c.configuration_hash"""
_DUE = text(f"""
WITH untimed AS ({_UNTIMED}), unlike AS ({_UNLIKE})
SELECT b.shard, b.code, u.box IS NOT NULL AS needs_time, c.content, c.version
FROM telemetry.box b
JOIN telemetry.presence p ON p.box = b.code AND p.online AND p.born
LEFT JOIN untimed u ON u.box = b.code
LEFT JOIN unlike c ON c.box = b.code
WHERE b.revoked_at IS NULL AND b.shard = ANY(:shards) AND (u.box IS NOT NULL OR c.box IS NOT NULL)
ORDER BY b.code""")  # noqa: S608 - our own constants

_COUNT_UNLIKE = text("""
SELECT count(*) FROM (
    SELECT DISTINCT ON (box) box, configuration_hash FROM telemetry.box_configuration ORDER BY box, version DESC
) c
JOIN telemetry.box x ON x.code = c.box AND x.revoked_at IS NULL
LEFT JOIN telemetry.newest_birth b ON b.box = c.box
WHERE b.configuration_hash IS DISTINCT FROM c.configuration_hash""")


def configure(session: Session, *, code: str, configuration: Configuration, by: str, at: datetime) -> BoxConfiguration:
    """Want a box to measure like this from now on: the ingest tells it until its birth says that it does.

    The same again is no new version. Raises TelemetryRefused with box_unknown, box_revoked or channel_unknown.
    """
    box = session.scalar(select(Box).where(Box.code == code).with_for_update())
    if box is None:
        raise TelemetryRefused(Refusal.BOX_UNKNOWN)
    if box.revoked_at is not None:
        raise TelemetryRefused(Refusal.BOX_REVOKED)
    if any(channel >= box.channels for channel in (*(configuration.channels or ()), *configuration.thresholds)):
        raise TelemetryRefused(Refusal.CHANNEL_UNKNOWN)
    newest = _newest(session, code)
    if newest is not None and newest.configuration_hash == configuration.hash():
        return newest
    row = BoxConfiguration(
        box=code,
        version=1 if newest is None else newest.version + 1,
        content=encode_configuration(configuration=configuration),
        configuration_hash=configuration.hash(),
        set_at=at,
        set_by=by,
        told_at=None,
        command_id=None,
    )
    session.add(row)
    session.flush()
    return row


def wanted(session: Session, *, code: str) -> Wanted | None:
    """Give what is wanted of a box now, and what became of it; None: it measures as it was delivered."""
    row = _newest(session, code)
    if row is None:
        return None
    birth, said = session.get(NewestBirth, code), said_by(session, [code]).get(code)
    standing = Standing.WAITING if row.told_at is None else Standing.TOLD
    refused = ""
    if birth is not None and birth.configuration_hash == row.configuration_hash:
        standing = Standing.IN_FORCE
    elif (
        row.told_at is not None
        and (said is not None and said.command_refused and said.born_at is not None)
        and said.born_at >= row.told_at  # what was refused is not named: the moment says which it was
    ):
        standing, refused = Standing.REFUSED, said.command_refused
    return Wanted(row=row, configuration=parse_configuration(dict(row.content)), standing=standing, refused=refused)


def configurations(session: Session, *, code: str, limit: int) -> list[BoxConfiguration]:
    """Give what was wanted of a box, the newest first."""
    return list(
        session.scalars(
            select(BoxConfiguration)
            .where(BoxConfiguration.box == code)
            .order_by(BoxConfiguration.version.desc())
            .limit(limit)
        )
    )


def due(session: Session, *, shards: Collection[int]) -> list[Due]:
    """Give the boxes of these shards that listen now and should be told the time or a configuration."""
    rows = session.execute(_DUE, {"shards": sorted(shards), "clock_s_max": CLOCK_S_MAX})
    return [
        Due(
            shard=row.shard,
            box=row.code,
            needs_time=row.needs_time,
            configuration=None if row.content is None else parse_configuration(row.content),
            version=row.version,
        )
        for row in rows
    ]


def unlike(session: Session) -> int:
    """Say how many boxes in service do not measure as they are to, whether they listen now or not."""
    return session.scalar(_COUNT_UNLIKE) or 0


def note_told(session: Session, *, box: str, version: int, command_id: int, at: datetime) -> None:
    """Write down that a box is about to be told a configuration."""
    session.execute(
        update(BoxConfiguration)
        .where(BoxConfiguration.box == box, BoxConfiguration.version == version)
        .values(told_at=at, command_id=command_id)
    )


def _newest(session: Session, code: str) -> BoxConfiguration | None:
    return session.scalar(
        select(BoxConfiguration).where(BoxConfiguration.box == code).order_by(BoxConfiguration.version.desc()).limit(1)
    )
