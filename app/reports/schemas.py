"""What the JSON doors of reports give: a charge's evidence, a statement, the ledger view, the wall."""

from marshmallow import fields

from app.cards import numbers
from app.fields import Moment, Strict, Whole
from app.reconciliation.models import ChargeVerdict
from app.sessions.models import CardSession, SessionStatus
from app.subsidies.models import DecisionStatus
from telemetry.states import State


def _masked(charge: CardSession) -> str:
    return numbers.masked_number(charge.card.face_number)


class PeriodQuery(Strict):
    """A time by value date; without it, the present month of the site."""

    since = Moment(load_default=None, metadata={"description": "At or after.", "example": "2026-11-01T00:00:00+08:00"})
    until = Moment(load_default=None, metadata={"description": "Before.", "example": "2026-12-01T00:00:00+08:00"})


class ChargeSchema(Strict):
    """The card session that was charged."""

    id = fields.UUID(required=True)
    status = fields.Enum(SessionStatus, by_value=True, required=True)
    instrument_code = fields.String(attribute="instrument.code", required=True, metadata={"example": "CQ0002"})
    card_masked = fields.Function(_masked, metadata={"type": "string", "example": "**** 4711"})
    authorized_at = Moment(required=True)
    started_at = Moment(required=True, allow_none=True)
    ended_at = Moment(required=True, allow_none=True)
    duration_s = Whole(required=True, allow_none=True, metadata={"example": 600})
    held_fen = Whole(required=True, metadata={"example": 30_00})
    amount_fen = Whole(required=True, allow_none=True, metadata={"example": 20_00})
    paid_principal_fen = Whole(required=True, metadata={"example": 15_00})
    paid_subsidy_fen = Whole(required=True, metadata={"example": 5_00})
    price_lines = fields.List(fields.Dict(), required=True)
    tariff_snapshot = fields.Dict(required=True, metadata={"description": "The price rules that held at swipe-in."})
    flags = fields.List(fields.String(), required=True)


class PointSchema(Strict):
    """One point of the power curve."""

    at = Moment(required=True)
    power_w = fields.Float(required=True, metadata={"example": 212.5})
    state = fields.Enum(State, by_value=True, required=True)


class RunSchema(Strict):
    """One collector session: the version that holds."""

    id = Whole(required=True, metadata={"example": 4711})
    version = Whole(required=True, metadata={"example": 1})
    first_run_at = Moment(required=True)
    last_run_at = Moment(required=True)
    running_s = Whole(required=True, metadata={"example": 520})
    final = fields.Boolean(required=True)


class WatchedSchema(Strict):
    """What the collector box saw around the charge."""

    box = fields.String(required=True, metadata={"example": "BOX-CQ0002"})
    channel = Whole(required=True, metadata={"example": 0})
    run_threshold_w = fields.Float(required=True, allow_none=True, metadata={"example": 30.5})
    runs = fields.List(fields.Nested(RunSchema), required=True)
    gaps = fields.List(
        fields.List(Moment()),
        required=True,
        metadata={"description": "From, to: the box said nothing, which is not off."},
    )
    points = fields.List(fields.Nested(PointSchema), required=True, metadata={"description": "At most 2,000."})


class EvidenceVerdictSchema(Strict):
    """The verdict that holds; overlap + charge only = the charge, overlap + box only = the run."""

    version = Whole(required=True, metadata={"example": 1})
    verdict = fields.Enum(ChargeVerdict, by_value=True, required=True)
    algorithm_version = Whole(required=True, metadata={"example": 1})
    tolerance_s = Whole(required=True, metadata={"example": 600})
    overlap_s = Whole(required=True, metadata={"example": 520})
    charge_only_s = Whole(required=True, metadata={"example": 80})
    box_only_s = Whole(required=True, metadata={"example": 0})
    evidence = fields.Dict(
        required=True, metadata={"description": "Ids and versions it rests on: enough to decide again."}
    )
    decided_at = Moment(required=True)


class RecordSchema(Strict):
    """The verified usage record."""

    id = Whole(required=True, metadata={"example": 12})
    external = fields.Boolean(required=True)
    started_at = Moment(required=True)
    ended_at = Moment(required=True)
    charged_s = Whole(required=True, metadata={"example": 600})
    effective_s = Whole(required=True, metadata={"example": 520})
    amount_fen = Whole(required=True, metadata={"example": 20_00})
    paid_principal_fen = Whole(required=True, metadata={"example": 15_00})
    paid_subsidy_fen = Whole(required=True, metadata={"example": 5_00})
    verified_at = Moment(required=True)
    superseded_at = Moment(required=True, allow_none=True)


class EvidenceDecisionSchema(Strict):
    """The subsidy decision with its trace, also when it is 0."""

    id = Whole(required=True, metadata={"example": 12})
    rule_code = fields.String(attribute="rule_set.code", required=True, metadata={"example": "CQ-CARD"})
    rule_version = Whole(attribute="rule_set.version", required=True, metadata={"example": 1})
    amount_fen = Whole(required=True, metadata={"example": 4_50})
    status = fields.Enum(DecisionStatus, by_value=True, required=True)
    reason = fields.String(required=True, metadata={"example": "granted"})
    trace = fields.List(fields.Dict(), required=True)
    decided_at = Moment(required=True)


class PostingSchema(Strict):
    """One transfer of the ledger. A hold and a void move no money yet."""

    transfer_id = fields.UUID(required=True)
    phase = fields.String(required=True, metadata={"description": "hold, post, void or move.", "example": "post"})
    debit = fields.String(attribute="debit.line.code", required=True, metadata={"example": "2241.01"})
    credit = fields.String(attribute="credit.line.code", required=True, metadata={"example": "2241.05"})
    amount_fen = Whole(required=True, metadata={"example": 20_00})
    at = Moment(required=True)
    kind = fields.String(required=True, allow_none=True, metadata={"example": "session_capture"})
    reference = fields.String(required=True, allow_none=True)


class EvidenceSchema(Strict):
    """Everything that speaks for or against one charge."""

    charge = fields.Nested(ChargeSchema, required=True)
    watched = fields.Nested(WatchedSchema, required=True, allow_none=True)
    verdict = fields.Nested(EvidenceVerdictSchema, required=True, allow_none=True)
    record = fields.Nested(RecordSchema, required=True, allow_none=True)
    decision = fields.Nested(EvidenceDecisionSchema, required=True, allow_none=True)
    postings = fields.List(fields.Nested(PostingSchema), required=True)
    sealed_block = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The block that seals the postings.", "example": 812}
    )


class ProofSchema(Strict):
    """The proof of one transfer or journal; docs/check_proof.py checks a list of them without this service."""

    record = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "The fields of the row as they are hashed.", "example": {"amount_fen": "2000"}},
    )
    path = fields.List(
        fields.List(fields.String()),
        required=True,
        metadata={"description": "From the row's hash to the block's root: left or right, and the neighbour's hash."},
    )
    blocks = fields.List(
        fields.Dict(keys=fields.String(), values=fields.String()),
        required=True,
        metadata={"description": "The block that seals the row."},
    )


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
