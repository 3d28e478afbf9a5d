"""What the JSON doors of accounting take and give. Balances are debits less credits, in fen."""

from typing import Any

from marshmallow import ValidationError, fields, validate

from app.accounting.models import DraftKind, DraftStatus
from app.books import BookRole, Element, OwnerKind
from app.fields import INTEGER_MAX, PAGE_MAX, PAGE_SIZE_MAX, YEAR_MAX, YEAR_MIN, Moment, PageQuery, Strict, Text, Whole
from ledger import PeriodAction, PeriodState

FEN: dict[str, Any] = {"example": 100_00}
MONTH: dict[str, Any] = {"description": "A month of the site's calendar.", "example": "2026-10"}
CURSOR: dict[str, Any] = {
    "description": "Where the page begins: `cursor` of the page before.",
    "example": "2026-10-03T09:00:00+00:00~018f2e3c-7a4b-7c1d-9e2f-3a4b5c6d7e8f",
}


class Fen(fields.Integer):
    """An amount of fen, which may be below zero."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=True, metadata=FEN, **kwargs)


class DaysQuery(Strict):
    """Which days: a month, or from one day to another, both included; the present month without any."""

    month = fields.String(load_default="", validate=validate.Length(max=7), metadata=MONTH)
    since = fields.String(
        load_default="", validate=validate.Length(max=10), metadata={"description": "First day.", "example": ""}
    )
    until = fields.String(
        load_default="", validate=validate.Length(max=10), metadata={"description": "Last day.", "example": ""}
    )


class CursorQuery(DaysQuery):
    """Which days, and which page of them."""

    after = fields.String(load_default="", validate=validate.Length(max=100), metadata={**CURSOR, "example": ""})
    page_size = fields.Integer(
        load_default=50, validate=validate.Range(min=1, max=PAGE_SIZE_MAX), metadata={"example": 50}
    )


class VouchersQuery(CursorQuery):
    """Which vouchers."""

    kind = fields.String(load_default="", validate=validate.Length(max=64), metadata={"example": "manual_voucher"})
    words = fields.String(
        load_default="",
        validate=validate.Length(max=200),
        metadata={"description": "Looked for in reference, text and actor.", "example": ""},
    )


class TrialDetailQuery(DaysQuery):
    """Which days, and which page of the single accounts."""

    page = fields.Integer(load_default=1, validate=validate.Range(min=1, max=PAGE_MAX), metadata={"example": 1})
    page_size = fields.Integer(
        load_default=100, validate=validate.Range(min=1, max=PAGE_SIZE_MAX), metadata={"example": 100}
    )


class ChartLineSchema(Strict):
    """One line of the chart of accounts."""

    role = fields.Enum(BookRole, by_value=True, required=True, metadata={"example": "principal"})
    code = fields.String(required=True, metadata={"example": "2241.01"})
    name_zh = fields.String(required=True, metadata={"example": "其他应付款—卡本金"})
    name_en = fields.String(required=True, metadata={"example": "Card principal"})
    number = fields.Integer(
        required=True, metadata={"description": "What the ledger keeps of its accounts.", "example": 224101}
    )
    element = fields.Enum(Element, by_value=True, required=True, metadata={"example": "liability"})
    grows_by_debit = fields.Boolean(required=True, metadata={"example": False})
    limited = fields.Boolean(
        required=True, metadata={"description": "Whether it is kept from falling below zero.", "example": True}
    )
    owner_kind = fields.Enum(OwnerKind, by_value=True, required=True, metadata={"example": "card"})


class ChartSchema(Strict):
    """The chart of accounts as this site has it, in order of the codes."""

    lines = fields.List(fields.Nested(ChartLineSchema), required=True)


class OwnerSchema(Strict):
    """Whose an account is."""

    kind = fields.Enum(OwnerKind, by_value=True, required=True, metadata={"example": "card"})
    id = fields.Integer(required=True, metadata={"example": 7})
    code = fields.String(required=True, metadata={"example": "6347868173"})
    name_zh = fields.String(required=True, metadata={"example": "某某生物科技有限公司"})
    name_en = fields.String(required=True, metadata={"example": "Some Biotech Ltd."})


class BookAccountSchema(Strict):
    """One ledger account."""

    id = fields.UUID(required=True)
    code = fields.String(required=True, metadata={"example": "2241.01"})
    name_zh = fields.String(required=True, metadata={"example": "其他应付款—卡本金"})
    name_en = fields.String(required=True, metadata={"example": "Card principal"})
    owner = fields.Nested(OwnerSchema, required=True, allow_none=True)


class SumsSchema(Strict):
    """What an account or a code did in a period."""

    opening_fen = Fen()
    debits_fen = Fen()
    credits_fen = Fen()
    closing_fen = Fen()


class TrialGroupSchema(Strict):
    """One code of the trial balance; `role` is null for a number of no role."""

    code = fields.String(required=True, metadata={"example": "2241.01"})
    name_zh = fields.String(required=True, metadata={"example": "其他应付款—卡本金"})
    name_en = fields.String(required=True, metadata={"example": "Card principal"})
    role = fields.Enum(
        BookRole, by_value=True, required=True, allow_none=True, attribute="line.role", dump_default=None
    )
    accounts = fields.Integer(required=True, metadata={"description": "How many accounts it sums up.", "example": 2})
    sums = fields.Nested(SumsSchema, required=True)


class TrialBalanceSchema(Strict):
    """The trial balance of [since, until) by value date."""

    since = Moment(required=True, metadata={"example": "2026-10-01T00:00:00+08:00"})
    until = Moment(required=True, metadata={"example": "2026-11-01T00:00:00+08:00"})
    groups = fields.List(fields.Nested(TrialGroupSchema), required=True)
    total = fields.Nested(SumsSchema, required=True)
    difference_fen = fields.Integer(required=True, metadata={"description": "0 in sound books.", "example": 0})


class TrialAccountSchema(Strict):
    """A single account of the trial balance."""

    account = fields.Nested(BookAccountSchema, required=True)
    sums = fields.Nested(SumsSchema, required=True)


class TrialDetailSchema(Strict):
    """A page of the single accounts behind one code."""

    line = fields.Nested(ChartLineSchema, required=True)
    total = fields.Nested(SumsSchema, required=True)
    accounts = fields.List(fields.Nested(TrialAccountSchema), required=True)
    count = fields.Integer(required=True, metadata={"example": 2})


class VoucherLineSchema(Strict):
    """One side of one account in a voucher."""

    account = fields.Nested(BookAccountSchema, required=True)
    debit_fen = Fen()
    credit_fen = Fen()


class VoucherSchema(Strict):
    """A posted voucher; `number` is its place in its month."""

    id = fields.UUID(required=True)
    month = fields.String(required=True, metadata=MONTH)
    number = fields.Integer(required=True, allow_none=True, metadata={"example": 12})
    kind = fields.String(required=True, metadata={"example": "manual_voucher"})
    reference = fields.String(required=True, metadata={"example": "V261003-K7Q2M4XA"})
    text = fields.String(required=True, metadata={"example": "柜台现金存入银行"})
    actor = fields.String(required=True, metadata={"example": "approver"})
    value_at = Moment(required=True, metadata={"example": "2026-10-03T00:00:00+08:00"})
    booked_at = Moment(required=True, metadata={"example": "2026-10-03T10:12:13+08:00"})
    reverses_id = fields.UUID(required=True, allow_none=True)
    reversed_by_id = fields.UUID(required=True, allow_none=True)
    amount_fen = Fen()
    lines = fields.List(fields.Nested(VoucherLineSchema), required=True)


class VouchersSchema(Strict):
    """A page of vouchers, newest value date first."""

    vouchers = fields.List(fields.Nested(VoucherSchema), required=True)
    cursor = fields.String(required=True, metadata={**CURSOR, "description": "Of the next page; empty on the last."})


class AccountLineSchema(Strict):
    """One posted transfer as its account sees it."""

    transfer_id = fields.UUID(required=True, attribute="entry.transfer_id")
    value_at = Moment(required=True, attribute="entry.value_at")
    journal_id = fields.UUID(required=True, allow_none=True, attribute="entry.journal_id")
    kind = fields.String(required=True, allow_none=True, attribute="entry.kind")
    reference = fields.String(required=True, allow_none=True, attribute="entry.reference")
    text = fields.String(required=True, allow_none=True, attribute="entry.text")
    counter = fields.Nested(BookAccountSchema, required=True)
    debit_fen = Fen(attribute="entry.debit_fen")
    credit_fen = Fen(attribute="entry.credit_fen")
    balance_fen = Fen(attribute="entry.balance_fen")


class AccountStatementSchema(Strict):
    """A page of an account's statement, the oldest line first."""

    account = fields.Nested(BookAccountSchema, required=True)
    since = Moment(required=True, metadata={"example": "2026-10-01T00:00:00+08:00"})
    until = Moment(required=True, metadata={"example": "2026-11-01T00:00:00+08:00"})
    opening_fen = Fen()
    lines = fields.List(fields.Nested(AccountLineSchema), required=True)
    closing_fen = Fen()
    cursor = fields.String(required=True, metadata={**CURSOR, "description": "Of the next page; empty on the last."})


class WishLineSchema(Strict):
    """An amount on one side of one account; the other side is 0."""

    role = fields.Enum(BookRole, by_value=True, required=True, metadata={"example": "client_bank"})
    owner_id = Whole(load_default=0, metadata={"description": "Card account, unit or fund; 0 for the center's own."})
    debit_fen = Whole(load_default=0, maximum=INTEGER_MAX // 100, metadata={"example": 100_00})
    credit_fen = Whole(load_default=0, maximum=INTEGER_MAX // 100, metadata={"example": 0})


class NewDraftSchema(Strict):
    """A manual voucher to be approved by another person."""

    id = fields.UUID(
        required=True,
        metadata={
            "description": "Made by the asker; asking again with the same id and content is asking once.",
            "example": "018f2e3c-7a4b-7c1d-9e2f-3a4b5c6d7e8f",
        },
    )
    text = Text(required=True, maximum=200, metadata={"example": "柜台现金存入银行"})
    value_on = fields.Date(required=True, metadata={"example": "2026-10-03"}, validate=lambda day: _this_age(day.year))
    lines = fields.List(fields.Nested(WishLineSchema), required=True, validate=validate.Length(min=2, max=100))


class NewReversalSchema(Strict):
    """The reversal of a posted voucher, to be approved by another person."""

    id = fields.UUID(required=True, metadata={"example": "018f2e3c-7a4b-7c1d-9e2f-3a4b5c6d7e8f"})
    text = Text(required=True, maximum=200, metadata={"description": "Why.", "example": "记错"})
    value_on = fields.Date(required=True, metadata={"example": "2026-10-03"}, validate=lambda day: _this_age(day.year))


class DraftSchema(Strict):
    """A draft and what became of it."""

    id = fields.UUID(required=True)
    number = fields.String(required=True, metadata={"example": "V261003-K7Q2M4XA"})
    kind = fields.Enum(DraftKind, by_value=True, required=True, metadata={"example": "manual"})
    status = fields.Enum(DraftStatus, by_value=True, required=True, metadata={"example": "waiting"})
    text = fields.String(required=True, metadata={"example": "柜台现金存入银行"})
    value_at = Moment(required=True, metadata={"example": "2026-10-03T00:00:00+08:00"})
    reverses_id = fields.UUID(required=True, allow_none=True)
    maker_id = Whole(required=True, metadata={"example": 7})
    checker_id = Whole(required=True, allow_none=True, metadata={"example": None})
    reason = fields.String(required=True, metadata={"example": ""})
    journal_id = fields.UUID(required=True, allow_none=True)
    created_at = Moment(required=True, metadata={"example": "2026-10-03T10:12:13+08:00"})
    decided_at = Moment(required=True, allow_none=True, metadata={"example": None})


class PreviewLineSchema(Strict):
    """A line that will be posted, and what its account stands at before and after."""

    line = fields.Nested(VoucherLineSchema, required=True)
    before_fen = Fen()
    after_fen = Fen()


class DraftViewSchema(Strict):
    """A draft with what approving it would post now."""

    draft = fields.Nested(DraftSchema, required=True)
    preview = fields.List(fields.Nested(PreviewLineSchema), required=True)


class DraftsQuery(PageQuery):
    """Which drafts."""

    status = fields.Enum(DraftStatus, by_value=True, load_default=None, metadata={"example": "waiting"})


class DraftsSchema(Strict):
    """A page of drafts, newest first."""

    drafts = fields.List(fields.Nested(DraftSchema), required=True)
    total = Whole(required=True, metadata={"example": 1})


class DecisionSchema(Strict):
    """A second person's yes."""

    reason = Text(minimum=0, maximum=200, load_default="", metadata={"example": ""})


class ReasonSchema(Strict):
    """A reason that must be given."""

    reason = Text(required=True, maximum=200, metadata={"example": "Not on the bank statement."})


class MonthStepSchema(Strict):
    """Who did what to a month."""

    action = fields.Enum(PeriodAction, by_value=True, required=True, metadata={"example": "closed"})
    actor = fields.String(required=True, metadata={"example": "finance"})
    reason = fields.String(required=True, metadata={"example": ""})
    at = Moment(required=True, metadata={"example": "2026-11-02T10:12:13+08:00"})


class MonthSchema(Strict):
    """One month and where it stands."""

    month = fields.String(required=True, metadata=MONTH)
    state = fields.Enum(PeriodState, by_value=True, required=True, metadata={"example": "open"})
    is_over = fields.Boolean(required=True, metadata={"example": True})
    drafts = fields.Integer(required=True, metadata={"description": "Drafts that wait in it.", "example": 0})
    top_ups = fields.Integer(required=True, metadata={"description": "Top-ups that wait in it.", "example": 0})
    closable = fields.Boolean(required=True, metadata={"example": True})
    askable = fields.Boolean(required=True, metadata={"example": False})
    reopenable = fields.Boolean(required=True, metadata={"example": False})
    steps = fields.List(fields.Nested(MonthStepSchema), required=True)


class MonthsSchema(Strict):
    """All months, newest first."""

    months = fields.List(fields.Nested(MonthSchema), required=True)


def _this_age(year: int) -> None:
    if not YEAR_MIN <= year < YEAR_MAX:
        raise ValidationError(f"Must lie between the years {YEAR_MIN} and {YEAR_MAX}.")
