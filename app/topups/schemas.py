"""What the JSON doors of top-ups take and give."""

from marshmallow import fields, validate

from app.fields import Moment, PageQuery, Strict, Text, Whole
from app.topups.models import EventStatus, PaymentOutcome, PaymentProblem, TopUpMethod, TopUpStatus

COUNTER_METHODS = (TopUpMethod.CASH.value, TopUpMethod.BANK_TRANSFER.value)
REQUEST_ID = {
    "description": "Made by the asker; asking again with the same id and content is asking once.",
    "example": "018f2e3c-7a4b-7c1d-9e2f-3a4b5c6d7e8f",
}


class NewCounterTopUpSchema(Strict):
    """Money received at the counter."""

    id = fields.UUID(required=True, metadata=REQUEST_ID)
    account_id = Whole(minimum=1, required=True, metadata={"example": 1})
    amount_fen = Whole(minimum=1, required=True, metadata={"description": "In fen.", "example": 100_00})
    method = fields.Enum(
        TopUpMethod,
        by_value=True,
        required=True,
        validate=validate.OneOf([TopUpMethod.CASH, TopUpMethod.BANK_TRANSFER]),
        metadata={"enum": list(COUNTER_METHODS), "example": "cash"},
    )
    bank_reference = Text(
        maximum=64,
        load_default=None,
        allow_none=True,
        metadata={"description": "The bank's number of the transfer; for a bank transfer only.", "example": None},
    )


class NewOnlineTopUpSchema(Strict):
    """Money to be paid online by the customer."""

    id = fields.UUID(required=True, metadata=REQUEST_ID)
    account_id = Whole(minimum=1, required=True, metadata={"example": 1})
    amount_fen = Whole(minimum=1, required=True, metadata={"description": "In fen.", "example": 100_00})


class DecisionSchema(Strict):
    """A second person's decision."""

    reason = Text(
        minimum=0, maximum=200, load_default="", metadata={"description": "Why; shown to the clerk.", "example": ""}
    )


class RejectionSchema(Strict):
    """A second person's refusal, with its reason."""

    reason = Text(required=True, maximum=200, metadata={"example": "Not on the bank statement."})


class TopUpSchema(Strict):
    """Money on its way into a card account, or there."""

    id = fields.UUID(required=True)
    number = fields.String(required=True, metadata={"example": "T261122-K7Q2M4XA"})
    account_id = Whole(required=True, metadata={"example": 1})
    amount_fen = Whole(required=True, metadata={"example": 100_00})
    method = fields.Enum(TopUpMethod, by_value=True, required=True, metadata={"example": "online"})
    status = fields.Enum(TopUpStatus, by_value=True, required=True, metadata={"example": "awaiting_payment"})
    maker_id = Whole(required=True, metadata={"example": 7})
    checker_id = Whole(required=True, allow_none=True, metadata={"example": None})
    bank_reference = fields.String(required=True, allow_none=True, metadata={"example": None})
    reason = fields.String(required=True, metadata={"example": ""})
    checkout_url = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Where the customer pays.", "example": "https://checkout.stripe.com/c/pay/cs_test_1"},
    )
    created_at = Moment(required=True, metadata={"example": "2026-11-22T10:00:00+08:00"})
    decided_at = Moment(required=True, allow_none=True, metadata={"example": None})


class TopUpsSchema(Strict):
    """A page of top-ups, newest first."""

    top_ups = fields.List(fields.Nested(TopUpSchema), required=True)
    total = Whole(required=True, metadata={"description": "How many there are on all pages.", "example": 1})


class TopUpsQuery(PageQuery):
    """Which top-ups."""

    status = fields.Enum(TopUpStatus, by_value=True, load_default=None, metadata={"example": "awaiting_approval"})
    account_id = fields.Integer(
        load_default=None, validate=validate.Range(min=1, max=2**53 - 1), metadata={"example": 1}
    )


class LookSchema(Strict):
    """A top-up after a look at the payment service."""

    top_up = fields.Nested(TopUpSchema, required=True)
    mismatches = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Fields in which the payment page is not what was asked for.", "example": []},
    )


class PaymentProblemSchema(Strict):
    """An online payment that was not simply credited."""

    key = fields.String(required=True, metadata={"example": "pi:pi_3Nk:credit"})
    top_up_number = fields.String(required=True, metadata={"example": "T261122-K7Q2M4XA"})
    amount_fen = fields.Integer(required=True, allow_none=True, metadata={"example": 60_00})
    currency = fields.String(required=True, metadata={"example": "cny"})
    outcome = fields.Enum(PaymentOutcome, by_value=True, required=True, metadata={"example": "unidentified"})
    problem = fields.Enum(PaymentProblem, by_value=True, required=True, metadata={"example": "other_amount"})
    received_at = Moment(required=True, metadata={"example": "2026-11-22T10:00:00+08:00"})


class PaymentProblemsSchema(Strict):
    """A page of payments that need a person, newest first."""

    payments = fields.List(fields.Nested(PaymentProblemSchema), required=True)
    total = Whole(required=True, metadata={"example": 1})


class DeliverySchema(Strict):
    """What became of a delivered event."""

    event = fields.String(required=True, metadata={"example": "evt_1"})
    status = fields.Enum(EventStatus, by_value=True, required=True, metadata={"example": "done"})
