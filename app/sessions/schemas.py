"""What the sessions' JSON doors take and give."""

from marshmallow import fields, validate

from app.fields import INTEGER_MAX, Moment, PageQuery, Strict, Whole
from app.instruments.models import CustomerClass
from app.sessions.models import Flag, SessionStatus


class SessionsQuery(PageQuery):
    """Which sessions."""

    status = fields.Enum(SessionStatus, by_value=True, load_default=None, metadata={"example": "captured"})
    account_id = fields.Integer(
        load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX), metadata={"example": 3}
    )
    instrument_id = fields.Integer(
        load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX), metadata={"example": 1}
    )
    since = Moment(load_default=None, metadata={"description": "Swiped in at or after.", "example": None})
    until = Moment(load_default=None, metadata={"description": "Swiped in before.", "example": None})
    to_review = fields.Boolean(load_default=False, metadata={"description": "Only those that a person should look at."})


class PriceLineSchema(Strict):
    """One line of a charge."""

    kind = fields.String(required=True, metadata={"example": "hours"})
    zh = fields.String(required=True, metadata={"example": "10 分钟 × 30.00 元/小时"})
    en = fields.String(required=True, metadata={"example": "10 min × 30.00 yuan/h"})
    quantity = Whole(required=True, metadata={"example": 10})
    unit_price_fen = Whole(required=True, metadata={"example": 30_00})
    amount_fen = fields.Integer(required=True, metadata={"example": 5_00})


class SessionSchema(Strict):
    """A card session: who used what, when, and what it cost."""

    id = fields.UUID(required=True)
    status = fields.Enum(SessionStatus, by_value=True, required=True)
    instrument_id = Whole(required=True, metadata={"example": 1})
    instrument_code = fields.String(required=True, metadata={"example": "CQU-HPLC-01"})
    terminal_code = fields.String(required=True, metadata={"example": "CQU-T-01"})
    account_id = Whole(required=True, metadata={"example": 3})
    card_masked = fields.String(required=True, metadata={"example": "**** 4711"})
    customer_class = fields.Enum(CustomerClass, by_value=True, required=True)
    authorized_at = Moment(required=True)
    latest_end_at = Moment(required=True)
    started_at = Moment(required=True, allow_none=True)
    ended_at = Moment(required=True, allow_none=True)
    duration_s = Whole(required=True, allow_none=True, metadata={"example": 600})
    minutes = Whole(required=True, metadata={"description": "What the hold pays for.", "example": 60})
    samples = Whole(required=True, metadata={"example": 0})
    held_fen = Whole(required=True, metadata={"description": "What was reserved in all.", "example": 30_00})
    amount_fen = Whole(required=True, allow_none=True, metadata={"description": "What was charged.", "example": 5_00})
    paid_principal_fen = Whole(required=True, metadata={"example": 5_00})
    paid_subsidy_fen = Whole(required=True, metadata={"example": 0})
    price_lines = fields.List(fields.Nested(PriceLineSchema), required=True)
    refusal = fields.String(required=True, metadata={"description": "Why nothing was held.", "example": ""})
    flags = fields.List(fields.Enum(Flag, by_value=True), required=True)


class SessionsSchema(Strict):
    """A page of sessions, the newest first."""

    sessions = fields.List(fields.Nested(SessionSchema), required=True)


class OfflineTerminalSchema(Strict):
    """A terminal, whether it may start sessions while the server is away, and what is held for that."""

    terminal_code = fields.String(required=True, metadata={"example": "CQU-T-01"})
    instrument_id = Whole(required=True, metadata={"example": 1})
    instrument_code = fields.String(required=True, metadata={"example": "CQU-HPLC-01"})
    enabled = fields.Boolean(required=True)
    strict = fields.Boolean(required=True, metadata={"description": "Each card's limit is held in the ledger."})
    list_version = Whole(required=True, metadata={"description": "The newest list; 0 before the first.", "example": 7})
    valid_until = Moment(required=True, allow_none=True)
    taken_at = Moment(
        required=True, allow_none=True, metadata={"description": "When the terminal said that it has this list."}
    )
    cards = Whole(required=True, metadata={"example": 12})
    allowed_fen = Whole(required=True, metadata={"description": "What its cards may spend together.", "example": 0})
    reserved_fen = Whole(required=True, metadata={"description": "What is held for that.", "example": 0})


class OfflineTerminalsSchema(Strict):
    """A page of terminals by instrument."""

    terminals = fields.List(fields.Nested(OfflineTerminalSchema), required=True)


class OfflineSettingSchema(Strict):
    """Whether the terminals of an instrument may start sessions while the server is away."""

    enabled = fields.Boolean(required=True, metadata={"example": False})
    strict = fields.Boolean(
        load_default=True, metadata={"description": "Hold each card's limit in the ledger.", "example": True}
    )
