"""What the devices' JSON doors take and give."""

from marshmallow import fields, validate

from app.devices.boxes.listing import Order, Show
from app.devices.models import AlarmKind, Revocation, Settlement, TerminalStatus
from app.fields import Moment, PageQuery, Strict, Text, Whole
from telemetry.configurations import Standing
from telemetry.models import CHANNELS_MAX
from telemetry.states import State

CODE = validate.Regexp(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", error="Up to 32 letters, digits, dots and dashes.")
CHANNEL_MAX = 63


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
    enrolled_at = Moment(required=True, allow_none=True, metadata={"description": "When its key came."})
    approved_at = Moment(
        required=True, allow_none=True, metadata={"description": "When a person had compared its fingerprint."}
    )
    approved_by = fields.String(required=True, metadata={"example": "admin"})
    revoked_at = Moment(required=True, allow_none=True)
    revocation = fields.Enum(Revocation, by_value=True, required=True, allow_none=True)
    last_seen_at = Moment(required=True, allow_none=True)
    app_version = fields.String(required=True, metadata={"example": "0.1.0"})
    reader = fields.String(required=True, metadata={"example": "ok"})
    unsent = Whole(required=True, metadata={"description": "Events it still owes.", "example": 0})
    last_seq = Whole(required=True, metadata={"example": 42})
    clock_ahead_ms = Whole(
        required=True,
        allow_none=True,
        metadata={"description": "Of its wall clock at its last hello; below 0, behind.", "example": 120},
    )
    config_version = Whole(required=True, metadata={"description": "The newest there is.", "example": 3})
    shown_config_version = Whole(
        required=True, allow_none=True, metadata={"description": "What it has, by its own word.", "example": 3}
    )
    running_session_id = fields.UUID(required=True, allow_none=True)


class RevocationSchema(Strict):
    """Why a terminal is trusted no more."""

    why = fields.Enum(Revocation, by_value=True, load_default=Revocation.RETIRED, metadata={"example": "stolen"})


class FingerprintSchema(Strict):
    """What the terminal's screen shows."""

    fingerprint = Text(
        required=True,
        minimum=12,
        maximum=100,
        metadata={"description": "All of it, or its end from twelve characters.", "example": "9C01-77E4-B1D0"},
    )


class ReplacementSchema(RevocationSchema):
    """The code of the terminal that comes in the place of another, and why the other goes."""

    code = fields.String(required=True, validate=CODE, metadata={"example": "CQU-T-01-2"})
    why = fields.Enum(Revocation, by_value=True, load_default=Revocation.REPLACED, metadata={"example": "replaced"})


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


class BoxQuery(PageQuery):
    """Which boxes."""

    show = fields.Enum(Show, by_value=True, load_default=Show.IN_SERVICE)
    order = fields.Enum(Order, by_value=True, load_default=Order.CODE)
    search = fields.String(
        load_default="", validate=validate.Length(max=100), metadata={"description": "Of code or instrument."}
    )


class ChannelSchema(Strict):
    """A channel of a box now."""

    channel = Whole(required=True, metadata={"example": 0})
    instrument_id = Whole(required=True, allow_none=True, metadata={"example": 1})
    state = fields.Enum(State, by_value=True, required=True)
    power_w = fields.Float(required=True, allow_none=True, metadata={"example": 212.5})
    newest_reading_at = Moment(required=True, allow_none=True)
    is_indicative = fields.Boolean(required=True, metadata={"description": "Its meter may tell old values."})
    doubts = fields.List(
        fields.String(metadata={"example": "stuck"}),
        required=True,
        metadata={"description": "Why the box does not believe this meter."},
    )


class BoxSchema(Strict):
    """A box, how it is, and what is missing of it."""

    code = fields.String(required=True, metadata={"example": "cb-abcd2345"})
    shard = Whole(required=True, maximum=63, metadata={"example": 7})
    enrolled_at = Moment(required=True)
    revoked_at = Moment(required=True, allow_none=True)
    password_set_at = Moment(required=True, allow_none=True)
    heard_at = Moment(required=True, allow_none=True)
    clock_behind_s = fields.Float(
        required=True, allow_none=True, metadata={"description": "In the last day; below 0, ahead.", "example": 0.4}
    )
    missing_messages = Whole(required=True)
    lost_messages = Whole(required=True, metadata={"description": "The box itself no longer has them."})
    backlog_messages = Whole(required=True, metadata={"description": "What the box keeps, by its own word."})
    quality = fields.Float(
        required=True, allow_none=True, metadata={"description": "Share of the last week that it told.", "example": 1.0}
    )
    dead_letters = Whole(required=True, metadata={"description": "Of the last 30 days."})
    alarms = Whole(required=True, metadata={"description": "Open ones."})
    is_clock_set = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "By its own word; null: it has not said."}
    )
    given_up_messages = Whole(
        required=True, allow_none=True, metadata={"description": "By its own word, before we had them, ever."}
    )
    boot_count_id = fields.String(required=True, metadata={"description": "Of the file that counts its starts."})
    is_boot_count_new = fields.Boolean(required=True)
    channels = fields.List(fields.Nested(ChannelSchema), required=True)


class BoxesSchema(Strict):
    """A page of boxes, and how many there are."""

    boxes = fields.List(fields.Nested(BoxSchema), required=True)
    total = Whole(required=True)


class ThresholdSchema(Strict):
    """Where a channel begins to run and where it comes to rest, so that the box tells it at once."""

    channel = Whole(required=True, maximum=CHANNELS_MAX - 1, metadata={"example": 0})
    run_w = fields.Float(required=True, metadata={"example": 60.0})
    rest_w = fields.Float(required=True, metadata={"example": 20.0})


class NewConfigurationSchema(Strict):
    """How a box is to measure; a message spans at most an hour."""

    sample_s = Whole(minimum=1, maximum=60, load_default=10, metadata={"example": 10})
    batch = Whole(
        minimum=1, maximum=600, load_default=60, metadata={"description": "Samples in a message.", "example": 60}
    )
    heartbeat_s = Whole(minimum=10, maximum=3600, load_default=60, metadata={"example": 60})
    channels = fields.List(
        Whole(maximum=CHANNELS_MAX - 1),
        load_default=None,
        allow_none=True,
        metadata={"description": "Null: all that it has.", "example": [0]},
    )
    thresholds = fields.List(
        fields.Nested(ThresholdSchema), load_default=[], validate=validate.Length(max=CHANNELS_MAX)
    )


class ConfigurationSchema(Strict):
    """How a box is to measure, and what became of it; without a version it measures by its own file."""

    box = fields.String(required=True, metadata={"example": "cb-abcd2345"})
    version = Whole(required=True, allow_none=True, metadata={"example": 1})
    standing = fields.Enum(Standing, by_value=True, required=True, allow_none=True)
    refused = fields.String(required=True, metadata={"description": "Why the box refused it."})
    set_at = Moment(required=True, allow_none=True)
    set_by = fields.String(required=True, allow_none=True)
    told_at = Moment(required=True, allow_none=True)
    wanted_hash = fields.String(required=True, allow_none=True)
    reported_hash = fields.String(
        required=True, allow_none=True, metadata={"description": "Of what holds, by the box's own word."}
    )
    configuration = fields.Nested(NewConfigurationSchema, required=True, allow_none=True)


class NewBoxSchema(Strict):
    """A box to enrol; the same request again makes no second one."""

    request_id = fields.UUID(required=True, metadata={"example": "7b9f2f0e-0000-4000-8000-000000000001"})
    channels = Whole(minimum=1, maximum=CHANNELS_MAX, load_default=1, metadata={"example": 1})
    instrument_id = Whole(
        minimum=1, load_default=None, allow_none=True, metadata={"description": "That channel 0 meters.", "example": 1}
    )


class BoxPasswordSchema(Strict):
    """What a box logs in to the broker with; the password is told only now."""

    code = fields.String(required=True, metadata={"example": "cb-abcd2345"})
    shard = Whole(required=True, maximum=63, metadata={"example": 7})
    password = fields.String(required=True)


class AlarmQuery(PageQuery):
    """Which alarms."""

    is_open = fields.Boolean(load_default=True, data_key="open", metadata={"description": "Those that are open."})


class AlarmSchema(Strict):
    """Something wrong, from when to when."""

    id = Whole(required=True)
    kind = fields.Enum(AlarmKind, by_value=True, required=True)
    subject = fields.String(required=True, metadata={"example": "cb-abcd2345/0"})
    box = fields.String(required=True, allow_none=True, metadata={"example": "cb-abcd2345"})
    channel = Whole(required=True, allow_none=True, metadata={"example": 0})
    instrument_id = Whole(required=True, allow_none=True, metadata={"description": "Where the box stands now."})
    detail = fields.Dict(required=True, metadata={"description": "The figures behind it."})
    opened_at = Moment(required=True)
    closed_at = Moment(required=True, allow_none=True)
    acknowledged_at = Moment(required=True, allow_none=True)
    acknowledged_by = fields.String(required=True, allow_none=True)
    note = fields.String(required=True)


class AlarmsSchema(Strict):
    """A page of alarms."""

    alarms = fields.List(fields.Nested(AlarmSchema), required=True)


class AcknowledgementSchema(Strict):
    """What a person does about an alarm."""

    note = Text(minimum=0, maximum=500, load_default="", metadata={"example": "电工今天下午去现场。"})


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
    settlement = fields.Enum(Settlement, by_value=True, required=True, allow_none=True)


class ParkedEventsSchema(Strict):
    """A page of parked events."""

    events = fields.List(fields.Nested(ParkedEventSchema), required=True)
