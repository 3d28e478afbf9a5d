"""Offline use is off until somebody switches it on for an instrument; how it stands at each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import errors
from app.devices.models import Terminal, TerminalStatus
from app.instruments.models import Instrument
from app.people import service as people
from app.sessions.models import OfflineAllowance, OfflineList, OfflineReserve, OfflineSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineLine:
    """One terminal: whether it may start alone, by which list, and what is held for that."""

    terminal: Terminal
    instrument: Instrument
    enabled: bool
    strict: bool
    content: OfflineList | None
    cards: int
    allowed_fen: int
    reserved_fen: int


def switch(
    session: Session, *, instrument_id: int, enabled: bool, strict: bool, actor: str, at: datetime
) -> OfflineSetting:
    """Let the terminals of an instrument start alone, or no more; the next lists follow it.

    `strict` holds each card's limit in the ledger. Raises Refusal NOT_FOUND.
    """
    instrument = session.get(Instrument, instrument_id)
    if instrument is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    setting = session.get(OfflineSetting, instrument_id, with_for_update=True)
    if setting is None:
        setting = OfflineSetting(instrument_id=instrument_id)
        session.add(setting)
    setting.enabled, setting.strict = enabled, strict
    setting.changed_by, setting.changed_at = actor, at
    people.audit(
        session,
        actor=actor,
        action="offline.switch",
        subject=f"instrument:{instrument.code}",
        detail={"enabled": enabled, "strict": strict},
        at=at,
    )
    session.flush()
    return setting


def lines(session: Session, *, limit: int, offset: int = 0) -> list[OfflineLine]:
    """Give every terminal that is in use, by instrument and code, with its newest list."""
    newest = (
        select(OfflineList.terminal_id, func.max(OfflineList.version).label("version"))
        .group_by(OfflineList.terminal_id)
        .subquery()
    )
    # An outer join's row may be none, which the statement's type does not say.
    rows: Sequence[Any] = session.execute(
        select(Terminal, Instrument, OfflineSetting, OfflineList)
        .join(Instrument, Instrument.id == Terminal.instrument_id)
        .outerjoin(OfflineSetting, OfflineSetting.instrument_id == Instrument.id)
        .outerjoin(newest, newest.c.terminal_id == Terminal.id)
        .outerjoin(OfflineList, (OfflineList.terminal_id == Terminal.id) & (OfflineList.version == newest.c.version))
        .where(Terminal.status == TerminalStatus.ENROLLED)
        .order_by(Instrument.code, Terminal.code)
        .limit(limit)
        .offset(offset)
    ).all()
    allowed, reserved = _allowed(session), _reserved(session)
    found = []
    for terminal, instrument, setting, content in rows:
        cards, allowed_fen = allowed.get((terminal.id, content.version if content else 0), (0, 0))
        found.append(
            OfflineLine(
                terminal=terminal,
                instrument=instrument,
                enabled=setting.enabled if setting else False,
                strict=setting.strict if setting else True,
                content=content,
                cards=cards,
                allowed_fen=allowed_fen,
                reserved_fen=reserved.get(terminal.id, 0),
            )
        )
    return found


def _allowed(session: Session) -> dict[tuple[UUID, int], tuple[int, int]]:
    """Give how many cards each terminal's newest list has, and what they may spend together."""
    newest = (
        select(OfflineList.terminal_id, func.max(OfflineList.version).label("version"))
        .group_by(OfflineList.terminal_id)
        .subquery()
    )
    found = session.execute(
        select(
            OfflineAllowance.terminal_id,
            OfflineAllowance.version,
            func.count(),
            func.sum(OfflineAllowance.limit_fen),
        )
        .join(
            newest,
            (newest.c.terminal_id == OfflineAllowance.terminal_id) & (newest.c.version == OfflineAllowance.version),
        )
        .group_by(OfflineAllowance.terminal_id, OfflineAllowance.version)
    )
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in found}


def _reserved(session: Session) -> dict[UUID, int]:
    found = session.execute(
        select(OfflineReserve.terminal_id, func.sum(OfflineReserve.held_fen)).group_by(OfflineReserve.terminal_id)
    )
    return {row[0]: int(row[1]) for row in found}
