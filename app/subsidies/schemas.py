"""What the JSON doors of subsidies take and give."""

from typing import Any

from marshmallow import ValidationError, fields, validate

from app.fields import Moment, PageQuery, Strict, Text, Whole
from app.subsidies.conditions import FactValue
from app.subsidies.models import DecisionStatus

CODE = validate.Regexp(r"^[A-Z0-9-]{2,32}$", error="2 to 32 capitals, digits or dashes.")
CLAIMS_MAX = 50
# A rule set is small; what is larger is a mistake or an attack.
BODY_FIELDS_MAX = 40


class TraceStepSchema(Strict):
    """One line of the explanation of a decision."""

    step = fields.String(required=True, metadata={"example": "tier"})
    amount_fen = Whole(required=True, metadata={"description": "What stands after this step.", "example": 9600})
    zh = fields.String(required=True, metadata={"example": "市级及以上科技项目 30%：96.00 元"})
    en = fields.String(required=True, metadata={"example": "Municipal or higher science project, 30%: 96.00"})


class DecisionSchema(Strict):
    """What a rule set gave for one verified use, and why; also when it gave nothing."""

    id = Whole(required=True, metadata={"example": 12})
    session_id = fields.UUID(required=True)
    usage_record_id = Whole(required=True, metadata={"example": 12})
    account_id = Whole(required=True, metadata={"example": 7})
    instrument_code = fields.String(required=True, metadata={"example": "CQ-0001"})
    rule_code = fields.String(required=True, metadata={"example": "CQ-CARD"})
    rule_version = Whole(required=True, metadata={"example": 1})
    amount_fen = Whole(required=True, metadata={"example": 9600})
    status = fields.Enum(DecisionStatus, by_value=True, required=True, metadata={"example": "granted"})
    reason = fields.String(required=True, metadata={"example": "granted"})
    trace = fields.List(fields.Nested(TraceStepSchema), required=True)
    decided_at = Moment(required=True)
    clawed_back_at = Moment(required=True, allow_none=True)


class DecisionsSchema(Strict):
    """A page of decisions, newest first."""

    decisions = fields.List(fields.Nested(DecisionSchema), required=True)


class DecisionsQuery(PageQuery):
    """Which page of decisions."""


class RerunSchema(Strict):
    """A stored decision decided again from its stored facts and rule version."""

    same = fields.Boolean(required=True, metadata={"description": "Amount, reason and every step are the same."})
    decision = fields.Nested(DecisionSchema, required=True)
    amount_fen = Whole(required=True, metadata={"description": "What it comes to again.", "example": 9600})
    reason = fields.String(required=True, metadata={"example": "granted"})
    trace = fields.List(fields.Nested(TraceStepSchema), required=True)


class FundSchema(Strict):
    """A fund with its money in one year of the authority."""

    id = Whole(required=True, metadata={"example": 1})
    code = fields.String(required=True, metadata={"example": "CQ"})
    name_zh = fields.String(required=True, metadata={"example": "重庆市共享补贴资金"})
    name_en = fields.String(required=True, metadata={"example": "Chongqing sharing fund"})
    budget_fen_per_year = Whole(required=True, metadata={"example": 200000000})
    year = Whole(required=True, metadata={"example": 2026})
    held_fen = Whole(required=True, metadata={"description": "What its ledger account holds.", "example": 200000000})
    granted_fen = Whole(required=True, metadata={"description": "Granted for uses of this year.", "example": 9600})
    left_fen = Whole(required=True, metadata={"description": "What can still be granted.", "example": 199990400})


class FundsSchema(Strict):
    """All funds."""

    funds = fields.List(fields.Nested(FundSchema), required=True)


class NewFundSchema(Strict):
    """A fund to open."""

    code = fields.String(required=True, validate=CODE, metadata={"example": "CQ"})
    name_zh = Text(required=True, metadata={"example": "重庆市共享补贴资金"})
    name_en = Text(required=True, metadata={"example": "Chongqing sharing fund"})
    budget_fen_per_year = Whole(required=True, minimum=1, metadata={"example": 200000000})


class ReceiptSchema(Strict):
    """Fiscal money that arrived for a fund."""

    amount_fen = Whole(required=True, minimum=1, maximum=10**13, metadata={"example": 200000000})
    reference = Text(
        required=True,
        maximum=64,
        metadata={"description": "Of the payment at the bank: it counts once.", "example": "FB-1"},
    )


class RuleSetSchema(Strict):
    """One published version of a rule set."""

    id = Whole(required=True, metadata={"example": 1})
    code = fields.String(required=True, metadata={"example": "CQ-CARD"})
    version = Whole(required=True, metadata={"example": 1})
    valid_from = Moment(required=True)
    valid_to = Moment(required=True, allow_none=True)
    fund_code = fields.String(required=True, metadata={"example": "CQ"})
    source = fields.String(required=True)
    body = fields.Dict(required=True, metadata={"description": "As docs/reference/subsidy-rules.md describes it."})


class RuleSetsSchema(Strict):
    """Published versions, and the bodies that come with the product to start from."""

    rule_sets = fields.List(fields.Nested(RuleSetSchema), required=True)
    shipped = fields.List(fields.Dict(), required=True)


class NewRuleSetSchema(Strict):
    """The next version of a rule set."""

    body = fields.Dict(
        required=True,
        keys=fields.String(),
        validate=validate.Length(max=BODY_FIELDS_MAX),
        metadata={"description": "As docs/reference/subsidy-rules.md describes it."},
    )
    fund_id = Whole(required=True, minimum=1, metadata={"example": 1})
    valid_from = Moment(required=True, metadata={"example": "2027-01-01T00:00:00+08:00"})


class EndRuleSetSchema(Strict):
    """When the newest version of a rule set ends."""

    valid_to = Moment(required=True, metadata={"example": "2027-01-01T00:00:00+08:00"})


class FactValueField(fields.Raw):
    """A text, a truth value or a whole number: what a condition can compare."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> FactValue:
        _ = attr, data, kwargs
        if not isinstance(value, str | bool | int):
            raise ValidationError("A text, a truth value or a whole number.")
        return value


class FactsSchema(Strict):
    """What is known of one claim; docs/reference/subsidy-rules.md names the facts."""

    base_fen = fields.Dict(
        required=True,
        keys=fields.String(validate=validate.OneOf(["paid_principal", "service_income", "instrument_value"])),
        values=Whole(),
        metadata={"example": {"paid_principal": 32000}},
    )
    values = fields.Dict(
        load_default=dict,
        keys=fields.String(validate=validate.Length(1, 64)),
        values=FactValueField(),
        validate=validate.Length(max=40),
        metadata={"example": {"verified": True, "project.level": "municipal"}},
    )
    granted_fen = fields.Dict(
        load_default=dict,
        keys=fields.String(validate=validate.Length(1, 64)),
        values=Whole(),
        validate=validate.Length(max=20),
        metadata={"example": {"organisation/year": 100000}},
    )
    used_before = fields.List(
        fields.String(validate=validate.OneOf(["project", "invoice"])),
        load_default=list,
        validate=validate.Length(max=2),
    )


class TrialSchema(Strict):
    """Claims to try a rule set on; nothing is granted and nothing is kept."""

    body = fields.Dict(required=True, keys=fields.String(), validate=validate.Length(max=BODY_FIELDS_MAX))
    claims = fields.List(fields.Nested(FactsSchema), required=True, validate=validate.Length(1, CLAIMS_MAX))
    budget_fen = Whole(required=True, metadata={"description": "What the fund would hold.", "example": 20000000})


class TrialDecisionSchema(Strict):
    """What one claim would come to."""

    amount_fen = Whole(required=True, metadata={"example": 9600})
    wanted_fen = Whole(required=True, metadata={"description": "From a full fund.", "example": 9600})
    reason = fields.String(required=True, metadata={"example": "granted"})
    trace = fields.List(fields.Nested(TraceStepSchema), required=True)


class TrialResultSchema(Strict):
    """What the claims would come to, in their order."""

    decisions = fields.List(fields.Nested(TrialDecisionSchema), required=True)


class RelatedPartySchema(Strict):
    """Two organisations that are related (关联方): use between them earns no subsidy."""

    organisation_id = Whole(required=True, minimum=1, metadata={"example": 3})
    other_id = Whole(required=True, minimum=1, metadata={"example": 4})
    source = Text(required=True, metadata={"description": "Where this is written.", "example": "企业信用信息公示系统"})
