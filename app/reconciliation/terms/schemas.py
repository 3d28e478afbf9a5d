"""What the JSON doors of rules, policies and answers take and give."""

from marshmallow import fields, validate

from app.fields import INTEGER_MAX, Moment, PageQuery, Strict, Text, Whole
from app.reconciliation.models import PolicyStatus, RuleKind, UnpaidAction
from app.reconciliation.silence import DAY_MINUTES, WEEK_DAYS

NOTE = {"minimum": 5, "maximum": 1000}
POLICY_BODY = {
    "verdicts": {"phantom": {"do": "refund", "refund_percent": 100, "wait_h": 24, "amount_fen_max": 200_000}},
    "contest_days": 7,
    "answer_days": 7,
}


class RulesQuery(PageQuery):
    """Whose rules."""

    instrument_id = fields.Integer(load_default=None, validate=validate.Range(1, INTEGER_MAX), metadata={"example": 3})


class WeekSchema(Strict):
    """Certain days and minutes of the site's day; a window that does not end after it begins ends on the next day."""

    days = fields.List(
        Whole(maximum=WEEK_DAYS - 1),
        required=True,
        validate=validate.Length(min=1, max=WEEK_DAYS),
        metadata={"description": "0 is Monday.", "example": [0, 1, 2, 3, 4]},
    )
    from_minute = Whole(required=True, maximum=DAY_MINUTES, metadata={"example": 1320})
    until_minute = Whole(required=True, maximum=DAY_MINUTES, metadata={"example": 360})


class NewRuleSchema(Strict):
    """A silence rule to lay down."""

    instrument_id = Whole(required=True, minimum=1, metadata={"example": 3})
    kind = fields.Enum(RuleKind, by_value=True, required=True, metadata={"example": "quiet"})
    valid_from = Moment(required=True)
    valid_to = Moment(load_default=None, allow_none=True)
    week = fields.Nested(
        WeekSchema, load_default=None, allow_none=True, metadata={"description": "Null: all the time."}
    )
    run_s_max = Whole(
        load_default=None, allow_none=True, metadata={"description": "Of background runs only.", "example": None}
    )
    note = Text(required=True, **NOTE, metadata={"example": "空压机夜间自动启动。"})


class RuleSchema(NewRuleSchema):
    """A silence rule, by whom, and since when it holds no longer."""

    id = Whole(required=True, metadata={"example": 5})
    made_by = fields.String(required=True, metadata={"example": "王芳"})
    made_at = Moment(required=True)
    ended_by = fields.String(required=True, allow_none=True)
    ended_at = Moment(required=True, allow_none=True)


class RulesSchema(Strict):
    """A page of silence rules."""

    rules = fields.List(fields.Nested(RuleSchema), required=True)


class NewPolicySchema(Strict):
    """A policy to draft; its body is checked whole, and the field that is wrong is named."""

    body = fields.Dict(keys=fields.String(), required=True, metadata={"example": POLICY_BODY})
    sub_center_id = Whole(
        minimum=1,
        load_default=None,
        allow_none=True,
        metadata={"description": "Null: for all that have none of their own.", "example": None},
    )
    valid_from = Moment(required=True)
    note = Text(required=True, **NOTE, metadata={"example": "经 2026 年第三次平台会议通过。"})


class PolicyDecisionSchema(Strict):
    """Publish a draft, or decline it."""

    publish = fields.Boolean(required=True, truthy={True}, falsy={False})


class PolicySchema(NewPolicySchema):
    """A version of a policy with its two people."""

    id = Whole(required=True, metadata={"example": 2})
    version = Whole(required=True, metadata={"example": 1})
    status = fields.Enum(PolicyStatus, by_value=True, required=True)
    valid_to = Moment(required=True, allow_none=True)
    drafted_by = fields.String(required=True, metadata={"example": "王芳"})
    drafted_at = Moment(required=True)
    decided_by = fields.String(required=True, allow_none=True)
    decided_at = Moment(required=True, allow_none=True)


class PoliciesSchema(Strict):
    """Every version of the policies that concern you, the newest first."""

    policies = fields.List(fields.Nested(PolicySchema), required=True)


class NewUnpaidAnswerSchema(Strict):
    """What you make of use that nobody paid for; an invoice names the account of whoever used the instrument."""

    action = fields.Enum(UnpaidAction, by_value=True, required=True, metadata={"example": "explained"})
    note = Text(required=True, **NOTE, metadata={"example": "工程师验收测试，见记录。"})
    account_number = Text(
        minimum=0,
        maximum=40,
        load_default="",
        metadata={"description": "For an invoice, and only for one.", "example": ""},
    )


class UnpaidAnswerSchema(Strict):
    """An answer to unpaid use; nothing is posted by it."""

    id = Whole(required=True, metadata={"example": 7})
    box_verdict_id = Whole(required=True, metadata={"example": 4711})
    action = fields.Enum(UnpaidAction, by_value=True, required=True)
    note = fields.String(required=True)
    rule_id = Whole(required=True, allow_none=True, metadata={"description": "The rule that maintenance made."})
    account_number = fields.String(required=True, allow_none=True)
    amount_fen = Whole(required=True, allow_none=True, metadata={"description": "Of the drafted invoice."})
    made_by = fields.String(required=True)
    made_at = Moment(required=True)
