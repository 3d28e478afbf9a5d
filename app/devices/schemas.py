"""What the devices' JSON doors take and give."""

from marshmallow import fields, validate

from app.devices.models import TerminalStatus
from app.fields import Moment, PageQuery, Strict, Text, Whole

CODE = validate.Regexp(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", error="Up to 32 letters, digits, dots and dashes.")
CHANNEL_MAX = 63
SEQ_MAX = 2**53 - 1
HASH = validate.Regexp(r"^[0-9a-f]{64}$", error="64 hex digits.")


class NewTerminalSchema(Strict):
    """A terminal to create."""

    code = fields.String(required=True, validate=CODE, metadata={"example": "CQU-T-01"})
    instrument_id = Whole(required=True, minimum=1, metadata={"example": 1})


class TerminalSchema(Strict):
    """A terminal, and how it was when it was last heard."""

    id = fields.UUID(required=True)
    code = fields.String(required=True, metadata={"example": "CQU-T-01"})
    instrument_id = Whole(required=True, metadata={"example": 1})
    status = fields.Enum(TerminalStatus, by_value=True, required=True)
    fingerprint = fields.String(
        required=True,
        metadata={"description": "Compare it with the terminal's screen.", "example": "3F2A-9C01-77E4-B1D0"},
    )
    enrolled_at = Moment(required=True, allow_none=True)
    last_seen_at = Moment(required=True, allow_none=True)
    app_version = fields.String(required=True, metadata={"example": "0.1.0"})
    reader = fields.String(required=True, metadata={"example": "ok"})
    unsent = Whole(required=True, metadata={"description": "Events it still owes.", "example": 0})
    last_seq = Whole(required=True, metadata={"example": 42})


class EnrolmentCodeSchema(Strict):
    """A terminal with the code by which it may enrol once, shown only now."""

    terminal = fields.Nested(TerminalSchema, required=True)
    code = fields.String(required=True, metadata={"example": "K3JQ7WZ2M5TXB4AN"})
    expires_at = Moment(required=True)


class TerminalsSchema(Strict):
    """A page of terminals."""

    terminals = fields.List(fields.Nested(TerminalSchema), required=True)


class NewPlacementSchema(Strict):
    """Which channel of which collector box meters which instrument from now on."""

    box = fields.String(required=True, validate=CODE, metadata={"example": "BOX-001"})
    channel = Whole(maximum=CHANNEL_MAX, load_default=0, metadata={"example": 0})
    instrument_id = Whole(required=True, minimum=1, metadata={"example": 1})


class PlacementSchema(Strict):
    """Where a box stands or stood."""

    id = Whole(required=True)
    box = fields.String(required=True, metadata={"example": "BOX-001"})
    channel = Whole(required=True, metadata={"example": 0})
    instrument_id = Whole(required=True, metadata={"example": 1})
    valid_from = Moment(required=True)
    valid_to = Moment(required=True, allow_none=True)


class PlacementsSchema(Strict):
    """A page of placements."""

    placements = fields.List(fields.Nested(PlacementSchema), required=True)


class ParkedQuery(PageQuery):
    """Which parked events."""

    resolved = fields.Boolean(load_default=False, metadata={"description": "Those that a person has dealt with."})


class ParkedEventSchema(Strict):
    """An event that fitted nowhere."""

    terminal_id = fields.UUID(required=True)
    terminal_code = fields.String(required=True, metadata={"example": "CQU-T-01"})
    instrument_id = Whole(required=True, metadata={"example": 1})
    seq = Whole(required=True, metadata={"example": 17})
    message_hash = fields.String(required=True)
    kind = fields.String(required=True, metadata={"example": "ended"})
    session_id = fields.UUID(required=True, allow_none=True)
    reason = fields.String(required=True, metadata={"example": "ENDED_TWICE"})
    body = fields.Dict(required=True)
    received_at = Moment(required=True)
    resolved_at = Moment(required=True, allow_none=True)
    resolved_by = fields.String(required=True)
    resolution = fields.String(required=True)


class ParkedEventsSchema(Strict):
    """A page of parked events."""

    events = fields.List(fields.Nested(ParkedEventSchema), required=True)


class ResolutionSchema(Strict):
    """Which parked event, and what became of it."""

    terminal_id = fields.UUID(required=True)
    seq = Whole(required=True, minimum=1, maximum=SEQ_MAX, metadata={"example": 17})
    message_hash = fields.String(required=True, validate=HASH, metadata={"example": "0" * 64})
    resolution = Text(required=True, maximum=500, metadata={"example": "机组确认当日重复刷卡，已按一次收费。"})
