"""What the JSON doors of reports give but for evidence: a statement, the ledger view, the wall."""

from marshmallow import fields, validate

from app.fields import Moment, Strict, Whole
from telemetry.states import State


class PeriodQuery(Strict):
    """A time by value date; without it, the present month of the site."""

    since = Moment(load_default=None, metadata={"description": "At or after.", "example": "2026-11-01T00:00:00+08:00"})
    until = Moment(load_default=None, metadata={"description": "Before.", "example": "2026-12-01T00:00:00+08:00"})


class MoneySchema(Strict):
    """Both purses and the debt."""

    principal_fen = fields.Integer(required=True, metadata={"example": 300_00})
    subsidy_fen = fields.Integer(required=True, metadata={"example": 12_00})
    debt_fen = fields.Integer(required=True, metadata={"example": 0})


class StatementLineSchema(Strict):
    """One voucher as the customer sees it."""

    at = Moment(required=True)
    kind = fields.String(required=True, metadata={"example": "session_capture"})
    reference = fields.String(required=True)
    text = fields.String(required=True)
    change = fields.Nested(MoneySchema, required=True)
    after = fields.Nested(MoneySchema, required=True)
    session_id = fields.UUID(attribute="charge.id", allow_none=True)


class StatementSchema(Strict):
    """All movements of an account in [since, until): opening + lines = closing."""

    account_number = fields.String(attribute="view.account.number", required=True)
    since = Moment(required=True)
    until = Moment(required=True)
    opening = fields.Nested(MoneySchema, required=True)
    lines = fields.List(fields.Nested(StatementLineSchema), required=True)
    closing = fields.Nested(MoneySchema, required=True)
    complete = fields.Boolean(
        required=True, metadata={"description": "False: more than 5,000 movements; ask for less."}
    )


class FiguresSchema(Strict):
    """What a part of the tree did in the time."""

    charges = Whole(required=True, metadata={"example": 12})
    income_fen = Whole(required=True, metadata={"example": 240_00})
    charged_s = Whole(required=True, metadata={"example": 7200})
    verified_s = Whole(required=True, metadata={"example": 6900})
    verified_charges = Whole(required=True, metadata={"example": 11})
    subsidy_fen = Whole(required=True, metadata={"example": 72_00})
    effective_s = Whole(required=True, metadata={"description": "有效机时 of verified use.", "example": 6800})
    external_s = Whole(required=True, metadata={"description": "对外服务机时 of it.", "example": 5400})


class NodeSchema(Strict):
    """A line of the tree: sub_center, unit, group or instrument."""

    level = fields.String(required=True, metadata={"example": "unit"})
    id = fields.Integer(required=True, allow_none=True, metadata={"example": 1})
    name_zh = fields.String(required=True, metadata={"example": "重庆大学"})
    name_en = fields.String(required=True, metadata={"example": "Chongqing University"})
    figures = fields.Nested(FiguresSchema, required=True)
    owed_fen = fields.Integer(required=True, allow_none=True, metadata={"description": "Known for units and above."})
    children = fields.List(fields.Nested(lambda: NodeSchema()), required=True)  # noqa: PLW0108 - the class is not there yet


class LedgerViewSchema(Strict):
    """The tree of all units you may see, over [since, until)."""

    since = Moment(required=True)
    until = Moment(required=True)
    sub_centers = fields.List(fields.Nested(NodeSchema), required=True)


class LiveSchema(Strict):
    """What is known of an instrument now; unknown is not off."""

    state = fields.Enum(State, by_value=True, required=True)
    power_w = fields.Float(required=True, allow_none=True, metadata={"example": 212.5})
    since = Moment(required=True, allow_none=True)
    last_live_at = Moment(required=True, allow_none=True)


class TileSchema(Strict):
    """One instrument on the wall."""

    code = fields.String(attribute="place.instrument.code", required=True, metadata={"example": "CQ0002"})
    name_zh = fields.String(attribute="place.instrument.name_zh", required=True)
    name_en = fields.String(attribute="place.instrument.name_en", required=True)
    box = fields.String(attribute="place.box", required=True, allow_none=True)
    live = fields.Nested(LiveSchema, attribute="place.live", required=True)
    session_id = fields.UUID(attribute="charge.id", allow_none=True)
    runs_without_card = fields.Boolean(required=True)


class WallSchema(Strict):
    """What happens now on the instruments you look after."""

    instruments = fields.List(fields.Nested(TileSchema), attribute="tiles", required=True)


class MeasuredHoursSchema(Strict):
    """What the boxes measured, in seconds: total + off + idle + unknown = the whole period."""

    period_s = Whole(required=True, metadata={"example": 2_592_000})
    total_s = Whole(required=True, metadata={"description": "Switched on (总机时).", "example": 612_000})
    running_s = Whole(required=True, metadata={"description": "In uses.", "example": 401_400})
    effective_s = Whole(
        required=True,
        metadata={
            "description": "With warm-up and after-treatment up to the allowance (有效机时).",
            "example": 455_000,
        },
    )
    off_s = Whole(required=True, metadata={"example": 1_900_000})
    idle_s = Whole(required=True, metadata={"description": "Not running; on or off not told apart.", "example": 0})
    unknown_s = Whole(required=True, metadata={"description": "No box told. It is not off.", "example": 80_000})
    unseen_s = Whole(required=True, metadata={"description": "Part of running_s: short silences.", "example": 300})
    uses = Whole(required=True, metadata={"description": "Uses that began in the period.", "example": 42})
    provisional = fields.Boolean(required=True, metadata={"description": "Late data may still change it."})


class VerifiedHoursSchema(Strict):
    """What card and box together prove, in seconds."""

    uses = Whole(required=True, metadata={"example": 40})
    charged_s = Whole(required=True, metadata={"example": 430_000})
    effective_s = Whole(required=True, metadata={"example": 425_000})
    external_s = Whole(required=True, metadata={"description": "For other units (对外服务机时).", "example": 120_000})
    external_uses = Whole(required=True, metadata={"example": 9})


class HoursLineSchema(Strict):
    """One instrument in one time."""

    instrument_id = fields.Integer(attribute="instrument.id", required=True, metadata={"example": 1})
    code = fields.String(attribute="instrument.code", required=True, metadata={"example": "CQ0002"})
    name_zh = fields.String(attribute="instrument.name_zh", required=True)
    name_en = fields.String(attribute="instrument.name_en", required=True)
    since = Moment(required=True)
    until = Moment(required=True)
    measured = fields.Nested(MeasuredHoursSchema, required=True)
    verified = fields.Nested(VerifiedHoursSchema, required=True)


class StateNamesSchema(Strict):
    """What a state of ours is called in other models; empty: they have no word that would be true."""

    state = fields.Enum(State, by_value=True, required=True)
    lads_device = fields.String(required=True, metadata={"example": "Operate"})
    lads_functional_unit = fields.String(required=True, metadata={"example": "Running"})
    machinery_item = fields.String(required=True, metadata={"example": "Executing"})
    packml = fields.String(required=True, metadata={"example": "Execute"})
    semi_e10 = fields.String(required=True, metadata={"example": "Productive"})


class MachineHoursSchema(Strict):
    """Machine-hours of instruments over [since, until), or up to now where that is earlier."""

    since = Moment(required=True)
    until = Moment(required=True)
    lines = fields.List(fields.Nested(HoursLineSchema), required=True)
    state_names = fields.List(fields.Nested(StateNamesSchema), required=True)


class InstrumentHoursQuery(PeriodQuery):
    """A time of at most 400 days, and how to part it."""

    by = fields.String(
        load_default="month",
        validate=validate.OneOf(("month", "day", "whole")),
        metadata={"description": "month or day of the site's calendar, or whole.", "example": "month"},
    )
