"""What a terminal shows and does: made from its instrument, with a version that grows whenever the content changes."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.devices.models import Terminal
from app.instruments import pricing
from app.instruments import service as instruments
from app.instruments.models import CustomerClass
from app.money import yuan
from card_terminal import protocol
from card_terminal.protocol.shapes import to_dict

# Who stands before an idle terminal is not known: it shows what most outside customers pay.
SHOWN_CLASS = CustomerClass.COMPANY
NO_PRICE = protocol.Words(zh="暂无收费标准", en="No price yet")


def current(
    session: Session, *, terminal: Terminal, zone: ZoneInfo, help_phone: str = "", at: datetime
) -> protocol.TerminalConfig:
    """Give the configuration that holds now; other content than last time has the next version."""
    content = replace(_content(session, terminal, zone=zone, at=at), help_phone=help_phone)
    content_hash = hashlib.sha256(json.dumps(to_dict(content), sort_keys=True).encode()).hexdigest()
    if content_hash == terminal.config_hash:
        return replace(content, version=terminal.config_version)
    version = session.scalars(
        update(Terminal)
        .where(Terminal.id == terminal.id)
        .values(config_version=Terminal.config_version + 1, config_hash=content_hash)
        .returning(Terminal.config_version)
    ).one()
    return replace(content, version=version)


def price_words(
    tariff: dict[str, Any], *, customer_class: CustomerClass, zone: ZoneInfo, at: datetime
) -> protocol.Words:
    """Say what one hour from now costs by a tariff's snapshot: short enough for a terminal, true for every rule."""
    parsed = pricing.parse_rules(tariff["rules"])
    charge = pricing.price(
        parsed,
        started_at=at,
        ended_at=at + timedelta(hours=1),
        site_timezone=zone,
        customer_class=customer_class,
        samples=1,
        changes=pricing.parse_changes(tariff["changes"]),
    )
    sample_zh, sample_en = ("、1 样品", ", 1 sample") if parsed.per_sample else ("", "")
    amount = yuan(charge.amount_fen)
    return protocol.Words(zh=f"1 小时{sample_zh} {amount} 元", en=f"1 hour{sample_en} {amount} yuan")


def _content(session: Session, terminal: Terminal, *, zone: ZoneInfo, at: datetime) -> protocol.TerminalConfig:
    instrument = instruments.get_instrument(session, instrument_id=terminal.instrument_id)
    unit = instrument.group.unit
    tariff = instruments.tariff_at(session, instrument_id=instrument.id, customer_class=SHOWN_CLASS, at=at)
    return protocol.TerminalConfig(
        version=0,
        instrument=protocol.Words(zh=instrument.name_zh, en=instrument.name_en),
        unit=protocol.Words(zh=unit.name_zh, en=unit.name_en),
        price=price_words(tariff, customer_class=SHOWN_CLASS, zone=zone, at=at) if tariff else NO_PRICE,
        minutes_default=instrument.typical_session_min,
    )
