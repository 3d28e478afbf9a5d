"""What the JSON doors of reconciliation take and give."""

from marshmallow import fields, validate

from app.devices.models import Settlement
from app.fields import INTEGER_MAX, Moment, PageQuery, Strict, Text, Whole
from app.reconciliation.models import BoxVerdictKind, ChargeVerdict, ContestStatus, Review


class SettlementSchema(Strict):
    """What to do with which parked event, and why."""

    terminal_id = fields.UUID(required=True, metadata={"example": "7b9f2f0e-0000-4000-8000-000000000001"})
    seq = Whole(required=True, minimum=1, maximum=2**53 - 1, metadata={"example": 17})
    message_hash = fields.String(
        required=True, validate=validate.Regexp(r"^[0-9a-f]{64}$"), metadata={"example": "0" * 64}
    )
    settlement = fields.Enum(Settlement, by_value=True, required=True, metadata={"example": "dismissed"})
    resolution = Text(required=True, maximum=500, metadata={"example": "机组确认当日重复刷卡，已按一次收费。"})
    minutes = Whole(
        minimum=0,
        maximum=7 * 24 * 60,
        load_default=None,
        allow_none=True,
        metadata={"description": "To charge by hand; only with `charged`.", "example": 30},
    )


class VerdictsQuery(PageQuery):
    """Which verdicts."""

    verdict = fields.Enum(ChargeVerdict, by_value=True, load_default=None, metadata={"example": "over_charged"})
    instrument_id = fields.Integer(load_default=None, validate=validate.Range(1, INTEGER_MAX), metadata={"example": 3})


class RunShareSchema(Strict):
    """A run of the box and how much of it lies in the charge."""

    run_id = Whole(required=True, metadata={"example": 4711})
    version = Whole(required=True, metadata={"example": 1})
    quality = fields.String(required=True, metadata={"example": "good"})
    overlap_s = Whole(required=True, metadata={"example": 3120})
    own = fields.Boolean(required=True, metadata={"description": "Whether the run is taken as this charge's own."})


class VerdictSchema(Strict):
    """A verdict over one charge, with the sums it rests on; the words are in docs/reference/verdicts.md."""

    session_id = fields.UUID(required=True)
    instrument_code = fields.String(required=True, metadata={"example": "CQ-0001"})
    started_at = Moment(required=True)
    ended_at = Moment(required=True)
    version = Whole(required=True, metadata={"example": 2})
    verdict = fields.Enum(ChargeVerdict, by_value=True, required=True, metadata={"example": "matched"})
    verified = fields.Boolean(required=True, metadata={"description": "By itself or by a person's review."})
    tolerance_s = Whole(required=True, metadata={"example": 600})
    overlap_s = Whole(required=True, metadata={"description": "Charged and run."})
    charge_only_s = Whole(required=True, metadata={"description": "Charged, not run."})
    box_only_s = Whole(required=True, metadata={"description": "Run, not charged, laid to this charge."})
    idle_s = Whole(required=True, metadata={"description": "Charged, and explained by nothing."})
    unknown_s = Whole(required=True, metadata={"description": "The box said nothing."})
    runs = fields.List(fields.Nested(RunShareSchema), required=True)
    algorithm_version = Whole(required=True, metadata={"example": 1})
    decided_at = Moment(required=True)
    superseded_at = Moment(required=True, allow_none=True)
    review = fields.Enum(Review, by_value=True, required=True, allow_none=True)
    reviewed_by = fields.String(required=True, allow_none=True, metadata={"example": "王芳"})
    review_note = fields.String(required=True, allow_none=True)


class VerdictsSchema(Strict):
    """A page of verdicts."""

    verdicts = fields.List(fields.Nested(VerdictSchema), required=True)
    total = Whole(required=True, metadata={"example": 3})


class ReviewSchema(Strict):
    """A person's word on a charge that did not verify by itself."""

    outcome = fields.Enum(
        Review,
        by_value=True,
        required=True,
        metadata={
            "description": "verified: the use was real and as charged; upheld: the verdict stands; adjusted: amount_fen"
            " goes back; adjusted_verified: it goes back and what is left is verified."
        },
    )
    amount_fen = Whole(load_default=0, metadata={"example": 0})
    note = Text(required=True, minimum=5, maximum=1000, metadata={"example": "看过仪器日志，样品表与机时一致。"})


class UnpaidUseSchema(Strict):
    """A run nobody paid for, in whole or in part; `id` is what an answer names."""

    id = Whole(required=True, metadata={"example": 12})
    collector_session_id = Whole(required=True, metadata={"example": 4711})
    instrument_code = fields.String(required=True, metadata={"example": "CQ-0001"})
    started_at = Moment(required=True)
    ended_at = Moment(required=True)
    verdict = fields.Enum(BoxVerdictKind, by_value=True, required=True, metadata={"example": "unpaid"})
    unpaid_s = Whole(required=True, metadata={"example": 2400})
    charges = fields.List(fields.UUID(), required=True, metadata={"description": "Charges the run belongs to."})


class UnpaidUsesSchema(Strict):
    """A page of unpaid use."""

    unpaid_use = fields.List(fields.Nested(UnpaidUseSchema), required=True)
    total = Whole(required=True, metadata={"example": 3})


class ContestsQuery(PageQuery):
    """Which contests."""

    status = fields.Enum(ContestStatus, by_value=True, load_default=None, metadata={"example": "contested"})


class NewContestSchema(Strict):
    """Why the charge is wrong."""

    session_id = fields.UUID(required=True)
    reason = Text(required=True, minimum=5, maximum=1000, metadata={"example": "仪器故障，未能测试。"})


class AnswerSchema(Strict):
    """The answer to a contest: with 0 the charge is upheld, else so much goes back to the card."""

    amount_fen = Whole(required=True, metadata={"example": 40000})
    answer = Text(required=True, minimum=5, maximum=1000, metadata={"example": "确系仪器故障，全额退还。"})


class ContestSchema(Strict):
    """A customer's word against a charge, and the answer."""

    id = Whole(required=True, metadata={"example": 3})
    session_id = fields.UUID(required=True)
    status = fields.Enum(ContestStatus, by_value=True, required=True)
    reason = fields.String(required=True)
    made_at = Moment(required=True)
    answer_due_at = Moment(required=True)
    answer = fields.String(required=True, allow_none=True)
    answered_at = Moment(required=True, allow_none=True)


class ContestsSchema(Strict):
    """A page of contests, open ones due first on top; how many there are, and how many answers are overdue."""

    contests = fields.List(fields.Nested(ContestSchema), required=True)
    total = Whole(required=True, metadata={"example": 2})
    overdue = Whole(required=True, metadata={"example": 0})


class TotalsQuery(PageQuery):
    """Which days and instrument."""

    since = fields.Date(required=True, metadata={"example": "2026-11-01"})
    until = fields.Date(required=True, metadata={"example": "2026-11-30", "description": "The last day."})
    instrument_id = fields.Integer(load_default=None, validate=validate.Range(1, INTEGER_MAX), metadata={"example": 3})


class SumsSchema(Strict):
    """Seconds: charge_s = overlap_s + charge_only_s, and box_s = overlap_s + box_only_s."""

    charge_s = Whole(required=True, metadata={"example": 3600})
    box_s = Whole(required=True, metadata={"example": 3300})
    overlap_s = Whole(required=True, metadata={"example": 3200})
    charge_only_s = Whole(required=True, metadata={"example": 400})
    box_only_s = Whole(required=True, metadata={"example": 100})


class ControlTotalSchema(SumsSchema):
    """One instrument's day."""

    instrument_code = fields.String(required=True, metadata={"example": "CQ-0001"})
    day = fields.Date(required=True, metadata={"example": "2026-11-02"})


class ControlTotalsSchema(Strict):
    """A page of control totals, and the sums of all that were asked for."""

    totals = fields.List(fields.Nested(ControlTotalSchema), required=True)
    sums = fields.Nested(SumsSchema, required=True)
    total = Whole(required=True, metadata={"example": 30})
