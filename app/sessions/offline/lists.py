"""The offline list of a terminal: signed when it is asked for, and known to be taken."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.cards import numbers
from app.cards.keys import KeyRing
from app.cards.models import Card, KeyReason
from app.devices import messages
from app.devices import service as devices
from app.devices.models import Terminal
from app.sessions.models import (
    OfflineAllowance,
    OfflineList,
    OfflineReserve,
)
from app.settings import Settings
from card_terminal import protocol
from card_terminal.crypto.keys import KeySlot
from card_terminal.protocol import ProtocolError, RefusalCode
from card_terminal.protocol.shapes import parse


def newest(session: Session, terminal_id: UUID) -> OfflineList | None:
    """Give the newest list of a terminal, or None before the first."""
    return session.scalar(
        select(OfflineList).where(OfflineList.terminal_id == terminal_id).order_by(OfflineList.version.desc()).limit(1)
    )


def signed(
    session: Session, *, terminal: Terminal, asked: protocol.OfflineListQuery, settings: Settings, at: datetime
) -> protocol.OfflineListAnswer:
    """Give the newest list of a terminal, signed, its cards' keys sealed for the key that the terminal brings.

    Raises ProtocolError: OFFLINE_NO_LIST before the first, MESSAGE_INVALID for a sealing key that is none.
    """
    content = newest(session, terminal.id)
    if content is None:
        raise ProtocolError(RefusalCode.OFFLINE_NO_LIST, terminal.code)
    allowances = _covered(session, content)
    ring = KeyRing(
        session=session,
        key_encryption_key=settings.key_encryption_key,
        actor=f"terminal:{terminal.code}",
        reason=KeyReason.OFFLINE_LIST,
        at=at,
    )
    keys = ring.card_keys(KeySlot.OFFLINE, [(each.uid, each.key_version) for each, _limit in allowances])
    listed = [(each, limit, key) for (each, limit), key in zip(allowances, keys, strict=True) if key is not None]
    device_id = str(terminal.id)
    wire = protocol.OfflineList(
        version=content.version,
        device_id=device_id,
        valid_from=messages.epoch_ms(content.valid_from),
        valid_until=messages.epoch_ms(content.valid_until),
        terminal_limit_fen=protocol.OFFLINE_TERMINAL_FEN_MAX,
        unsent_max=protocol.OFFLINE_UNSENT_MAX,
        sessions_per_card=protocol.OFFLINE_SESSIONS_PER_CARD,
        tariffs=tuple(parse(protocol.TariffSnapshot, each["shown"]) for each in content.tariffs),
        cards=tuple(_on_the_wire(each, limit_fen=limit_fen) for each, limit_fen, _key in listed),
        hot_uids=tuple(content.hot_uids),
    )
    if listed:
        sealed = protocol.seal_card_keys(
            [key for _each, _limit, key in listed],
            receiver=asked.sealing_key,
            device_id=device_id,
            version=content.version,
        )
        wire = replace(wire, sealed_keys=sealed)
    signer = devices.server_signer(session, key_encryption_key=settings.key_encryption_key, at=at)
    return protocol.OfflineListAnswer(
        offline_list=protocol.sign_offline_list(wire, key=signer.private_key, key_id=signer.key_id),
        server_time=messages.epoch_ms(at),
    )


def heard(session: Session, *, terminal: Terminal, hello: protocol.Hello, at: datetime) -> int:
    """Keep that a terminal has taken a list, once all that it did by earlier ones is here; give its newest version."""
    found = newest(session, terminal.id)
    if found is None:
        return 0
    if hello.last_seq <= terminal.last_seq and 0 < hello.offline_version <= found.version:
        taken = session.get(OfflineList, (terminal.id, hello.offline_version))
        if taken is not None and taken.taken_at is None:
            taken.taken_at = at
    return found.version


def allowances_of(session: Session, content: OfflineList) -> Sequence[OfflineAllowance]:
    """Give the cards of a list, each with its holder."""
    return session.scalars(
        select(OfflineAllowance)
        .where(OfflineAllowance.terminal_id == content.terminal_id, OfflineAllowance.version == content.version)
        .options(joinedload(OfflineAllowance.card).joinedload(Card.holder))
        .order_by(OfflineAllowance.card_id)
    ).all()


def _covered(session: Session, content: OfflineList) -> list[tuple[OfflineAllowance, int]]:
    """Give the cards of a list with what each may spend by it, in strict mode at most what is held for it now.

    Since the list was made, a use by the list before it may have been told of and paid from the same reserve.
    """
    allowances = allowances_of(session, content)
    if not content.strict:
        return [(each, each.limit_fen) for each in allowances]
    held = select(OfflineReserve.card_id, OfflineReserve.held_fen)
    rows = session.execute(held.where(OfflineReserve.terminal_id == content.terminal_id))
    held_fen = {row[0]: int(row[1]) for row in rows}
    shown = [parse(protocol.TariffSnapshot, each["shown"]) for each in content.tariffs]
    limits = [(each, min(each.limit_fen, held_fen.get(each.card_id, 0))) for each in allowances]
    return [(each, limit) for each, limit in limits if limit and protocol.minutes_payable(shown[each.tariff], limit)]


def _on_the_wire(allowance: OfflineAllowance, *, limit_fen: int) -> protocol.OfflineCard:
    return protocol.OfflineCard(
        reference=allowance.card_id,
        uid=allowance.uid.hex().upper(),
        key_version=allowance.key_version,
        card=numbers.masked_number(allowance.card.face_number),
        name_masked=numbers.masked_name(allowance.card.holder.name),
        limit_fen=limit_fen,
        tariff=allowance.tariff,
    )
