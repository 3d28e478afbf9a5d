"""The evidence of a charge as one JSON document: what the page draws, what people carry away, what programs read."""

from typing import Any

from marshmallow import fields

from app.cards import numbers
from app.fields import Moment, Strict, Whole
from app.instruments.models import CustomerClass
from app.reconciliation.models import Cause, ChargeVerdict, ContestStatus, Review
from app.reconciliation.records.schemas import UsageRecordSchema
from app.reports.service import Evidence
from app.sessions.models import CardSession, SessionStatus
from app.subsidies.models import DecisionStatus
from telemetry.states import State

FORMAT = "testcard-evidence-v1"


def _names(thing: Any) -> dict[str, str]:
    return {"zh": thing.name_zh, "en": thing.name_en}


def _masked(charge: CardSession) -> str:
    return numbers.masked_number(charge.card.face_number)


def _format(_found: Evidence) -> str:
    return FORMAT


def _told(description: str, **more: Any) -> dict[str, Any]:
    return {"description": description, **more}


class ChargeSchema(Strict):
    """The card session that was charged."""

    id = fields.UUID(required=True, metadata=_told("The card session; a terminal made the id."))
    status = fields.Enum(SessionStatus, by_value=True, required=True, metadata=_told("Where it stands."))
    instrument_code = fields.String(
        attribute="instrument.code", required=True, metadata=_told("The instrument.", example="CQ0002")
    )
    instrument = fields.Function(lambda charge: _names(charge.instrument), metadata=_told("Its name.", type="object"))
    unit = fields.Function(
        lambda charge: _names(charge.instrument.group.unit), metadata=_told("Its member unit.", type="object")
    )
    account_number = fields.String(attribute="account.number", required=True, metadata=_told("Which account paid."))
    customer_class = fields.Enum(
        CustomerClass, by_value=True, required=True, metadata=_told("Whose prices were applied.")
    )
    card_masked = fields.Function(
        _masked, metadata=_told("The card, by its last four digits.", type="string", example="**** 4711")
    )
    authorized_at = Moment(required=True, metadata=_told("When the card was accepted and money reserved."))
    started_at = Moment(required=True, allow_none=True, metadata=_told("Swipe-in."))
    ended_at = Moment(required=True, allow_none=True, metadata=_told("Swipe-out; null: still on."))
    duration_s = Whole(required=True, allow_none=True, metadata=_told("By the terminal's steady clock.", example=600))
    samples = Whole(required=True, metadata=_told("Samples that were entered.", example=0))
    held_fen = Whole(required=True, metadata=_told("Reserved at swipe-in.", example=30_00))
    amount_fen = Whole(required=True, allow_none=True, metadata=_told("Charged; the sum of the lines.", example=20_00))
    paid_principal_fen = Whole(required=True, metadata=_told("Of it from principal.", example=15_00))
    paid_subsidy_fen = Whole(required=True, metadata=_told("Of it from the subsidy purse.", example=5_00))
    price_lines = fields.List(fields.Dict(), required=True, metadata=_told("How the price came about, line by line."))
    tariff_snapshot = fields.Dict(
        required=True,
        metadata=_told("The price rules that held at swipe-in; their hash stands in the usage record's evidence."),
    )
    flags = fields.List(fields.String(), required=True, metadata=_told("What a person should know of the session."))


class CardEventSchema(Strict):
    """A message as the terminal signed it."""

    kind = fields.String(required=True, metadata=_told("started, meter, ended, reversal.", example="started"))
    terminal = fields.String(required=True, metadata=_told("The terminal's code.", example="T1"))
    seq = Whole(required=True, metadata=_told("Its number in the terminal's chain.", example=812))
    received_at = Moment(required=True, metadata=_told("When the server had it."))
    outcome = fields.String(required=True, metadata=_told("accepted, or parked for a person.", example="accepted"))
    message_hash = fields.String(
        required=True, metadata=_told("SHA-256 of the message: what the terminal's next message names.")
    )
    message = fields.String(required=True, metadata=_told("The signed message itself, a compact JWS."))


class CardEventsSchema(Strict):
    """What the terminal said, signed, about the session."""

    events = fields.List(
        fields.Nested(CardEventSchema), required=True, metadata=_told("In their order; of signs of life the last.")
    )
    meters = Whole(required=True, metadata=_told("How many signs of life there were.", example=11))
    public_key = fields.Function(
        lambda card: None if card.public_key is None else card.public_key.hex(),
        metadata=_told("The terminal's Ed25519 key, hex, that signed them.", type="string"),
    )


class PointSchema(Strict):
    """One point of the power curve."""

    at = Moment(required=True, metadata=_told("The beginning of the measured mean."))
    power_w = fields.Float(required=True, metadata=_told("Mean power.", example=212.5))
    state = fields.Enum(State, by_value=True, required=True, metadata=_told("What the instrument did then."))


class StretchSchema(Strict):
    """A time in one state."""

    start = Moment(required=True, metadata=_told("From."))
    end = Moment(required=True, metadata=_told("To."))
    state = fields.Enum(State, by_value=True, required=True, metadata=_told("off, standby, running or unknown."))


class RunSchema(Strict):
    """One collector session: the version that holds."""

    id = Whole(required=True, metadata=_told("Its id.", example=4711))
    version = Whole(required=True, metadata=_told("Its version; late data make a new one.", example=1))
    power_on_at = Moment(required=True, metadata=_told("Switched on, at most 15 minutes before the first run."))
    first_run_at = Moment(required=True, metadata=_told("The first run begins."))
    last_run_at = Moment(required=True, metadata=_told("The last run ends."))
    power_off_at = Moment(required=True, allow_none=True, metadata=_told("Switched off within 15 minutes; or null."))
    running_s = Whole(required=True, metadata=_told("Running, with short dips.", example=520))
    energy_wh = fields.Float(required=True, metadata=_told("Energy.", example=410.2))
    power_w_max = fields.Float(required=True, metadata=_told("Highest power.", example=612.0))
    quality = fields.String(
        required=True, metadata=_told("How good the evidence is: good, inferred, gaps, clock, cut.", example="good")
    )
    final = fields.Boolean(required=True, metadata=_told("The box has told everything that could change it."))


class WatchedSchema(Strict):
    """What the collector box saw around the charge."""

    box = fields.String(required=True, metadata=_told("The box.", example="BOX-CQ0002"))
    channel = Whole(required=True, metadata=_told("Its channel.", example=0))
    calibration_version = Whole(
        required=True, allow_none=True, metadata=_told("By which thresholds states were told apart.", example=1)
    )
    run_threshold_w = fields.Float(required=True, allow_none=True, metadata=_told("Running above it.", example=30.5))
    standby_threshold_w = fields.Float(
        required=True, allow_none=True, metadata=_told("On above it; null: off and standby look alike.", example=3.2)
    )
    measured = Whole(required=True, metadata=_told("How many readings the points stand for.", example=360))
    points = fields.List(
        fields.Nested(PointSchema),
        required=True,
        metadata=_told(
            "At most 2,000: all readings, or the first, the last, and both extremes of equal shares of time."
        ),
    )
    states = fields.List(
        fields.Nested(StretchSchema),
        required=True,
        metadata=_told("At most 2,000 stretches, gapless from all readings."),
    )
    gaps = fields.List(
        fields.List(Moment()), required=True, metadata=_told("From, to: the box said nothing, which is not off.")
    )
    runs = fields.List(fields.Nested(RunSchema), required=True, metadata=_told("Collector sessions of that time."))


class EvidenceVerdictSchema(Strict):
    """A version of the verdict; overlap + charge only = the charge, overlap + box only = the run."""

    version = Whole(required=True, metadata=_told("From 1 on.", example=1))
    verdict = fields.Enum(ChargeVerdict, by_value=True, required=True, metadata=_told("See the page of verdicts."))
    verified = fields.Boolean(attribute="verifies", required=True, metadata=_told("Whether the use is verified by it."))
    algorithm_version = Whole(required=True, metadata=_told("Of the matching.", example=1))
    tolerance_s = Whole(required=True, metadata=_told("What charge and use may differ by.", example=600))
    overlap_s = Whole(required=True, metadata=_told("Both card and run.", example=520))
    charge_only_s = Whole(required=True, metadata=_told("Card without run.", example=80))
    box_only_s = Whole(required=True, metadata=_told("Run without card, laid to this charge.", example=0))
    evidence = fields.Dict(
        required=True,
        metadata=_told("Ids, versions and sums it rests on, enough to decide again; hashed in the usage record."),
    )
    review = fields.Enum(Review, by_value=True, required=True, allow_none=True, metadata=_told("A person's word."))
    reviewed_by = fields.String(
        attribute="reviewed_by.name", dump_default=None, allow_none=True, metadata=_told("Whose word.")
    )
    review_note = fields.String(required=True, allow_none=True, metadata=_told("Her reason."))
    decided_at = Moment(required=True, metadata=_told("When."))
    superseded_at = Moment(required=True, allow_none=True, metadata=_told("Until when it held; null: it holds."))


class EvidenceDecisionSchema(Strict):
    """A subsidy decision with its trace, also when it is 0."""

    id = Whole(required=True, metadata=_told("Its id.", example=12))
    record_id = fields.UUID(
        attribute="usage_record.document_id", required=True, metadata=_told("The version of the record it is on.")
    )
    rule_code = fields.String(attribute="rule_set.code", required=True, metadata=_told("The rules.", example="CQ-CARD"))
    rule_version = Whole(attribute="rule_set.version", required=True, metadata=_told("Their version.", example=1))
    amount_fen = Whole(required=True, metadata=_told("What was granted.", example=4_50))
    status = fields.Enum(DecisionStatus, by_value=True, required=True, metadata=_told("granted, zero, clawed_back."))
    reason = fields.String(required=True, metadata=_told("Why so much.", example="granted"))
    inputs = fields.Dict(required=True, metadata=_told("The facts it was decided by: enough to decide again."))
    trace = fields.List(fields.Dict(), required=True, metadata=_told("Step by step, in both languages."))
    decided_at = Moment(required=True, metadata=_told("When."))
    clawed_back_at = Moment(required=True, allow_none=True, metadata=_told("When it was taken back."))


class ContestSchema(Strict):
    """The customer's word against the charge, and the answer."""

    status = fields.Enum(ContestStatus, by_value=True, required=True, metadata=_told("Where it stands."))
    reason = fields.String(required=True, metadata=_told("What the customer says."))
    made_at = Moment(required=True, metadata=_told("When."))
    answer_due_at = Moment(required=True, metadata=_told("By when an answer is owed."))
    answer = fields.String(required=True, allow_none=True, metadata=_told("The answer."))
    answered_at = Moment(required=True, allow_none=True, metadata=_told("When it came."))


class AdjustmentSchema(Strict):
    """Money of the charge that went back."""

    cause = fields.Enum(Cause, by_value=True, required=True, metadata=_told("policy, review or contest."))
    amount_fen = Whole(required=True, metadata=_told("What went back.", example=5_00))
    principal_fen = Whole(required=True, metadata=_told("Of it to principal.", example=5_00))
    subsidy_fen = Whole(required=True, metadata=_told("Of it to the subsidy purse.", example=0))
    note = fields.String(required=True, metadata=_told("Why."))
    posted_at = Moment(required=True, metadata=_told("When."))


class PostingSchema(Strict):
    """One transfer of the ledger. A hold and a void move no money yet."""

    transfer_id = fields.UUID(required=True, metadata=_told("Its id."))
    journal_id = fields.UUID(required=True, allow_none=True, metadata=_told("The voucher it belongs to."))
    phase = fields.String(required=True, metadata=_told("hold, post, void or move.", example="post"))
    debit = fields.String(attribute="debit.line.code", required=True, metadata=_told("Debited.", example="2241.01"))
    credit = fields.String(attribute="credit.line.code", required=True, metadata=_told("Credited.", example="2241.05"))
    amount_fen = Whole(required=True, metadata=_told("How much.", example=20_00))
    at = Moment(required=True, metadata=_told("Value date."))
    kind = fields.String(required=True, allow_none=True, metadata=_told("Of the voucher.", example="session_capture"))
    reference = fields.String(required=True, allow_none=True, metadata=_told("What the voucher refers to."))


class SealSchema(Strict):
    """What of the charge is sealed, and the proofs that anyone can check with docs/check_proof.py."""

    postings_block = fields.Integer(
        required=True, allow_none=True, metadata=_told("The block that seals the last posting.", example=812)
    )
    record_block = fields.Integer(
        required=True, allow_none=True, metadata=_told("The block that seals the newest record.", example=813)
    )
    waiting = fields.List(fields.UUID(), required=True, metadata=_told("What no block seals yet; a few seconds."))
    proofs = fields.List(
        fields.Dict(), required=True, metadata=_told("Of every posting, voucher and version of the record.")
    )


class EvidenceSchema(Strict):
    """Everything that speaks for or against one charge, in one document."""

    format = fields.Function(_format, metadata=_told("The form of this document.", type="string", example=FORMAT))
    made_at = Moment(required=True, metadata=_told("When this document was made."))
    start = Moment(required=True, metadata=_told("The charge begins."))
    end = Moment(required=True, metadata=_told("It ends, or what is known of it so far."))
    since = Moment(required=True, metadata=_told("What the box saw is shown from here."))
    until = Moment(required=True, metadata=_told("To here."))
    charge = fields.Nested(ChargeSchema, required=True, metadata=_told("What the card says."))
    card = fields.Nested(CardEventsSchema, required=True, metadata=_told("What the terminal signed."))
    watched = fields.Nested(
        WatchedSchema, required=True, allow_none=True, metadata=_told("What the box saw; null: none stood there.")
    )
    verdict = fields.Nested(
        EvidenceVerdictSchema, required=True, allow_none=True, metadata=_told("The verdict that holds.")
    )
    verdicts = fields.List(
        fields.Nested(EvidenceVerdictSchema), required=True, metadata=_told("All versions, newest first.")
    )
    records = fields.List(
        fields.Nested(UsageRecordSchema),
        attribute="record_versions",
        required=True,
        metadata=_told("All versions of the usage record, oldest first."),
    )
    decision = fields.Nested(
        EvidenceDecisionSchema, required=True, allow_none=True, metadata=_told("The newest subsidy decision.")
    )
    decisions = fields.List(
        fields.Nested(EvidenceDecisionSchema), required=True, metadata=_told("All of them, newest first.")
    )
    contests = fields.List(fields.Nested(ContestSchema), required=True, metadata=_told("What was contested."))
    adjustments = fields.List(fields.Nested(AdjustmentSchema), required=True, metadata=_told("What went back."))
    postings = fields.List(fields.Nested(PostingSchema), required=True, metadata=_told("Everything that was posted."))
    seal = fields.Nested(SealSchema, required=True, metadata=_told("How far it is sealed, with proofs."))


class ProofSchema(Strict):
    """The proof of one transfer, journal or usage record; docs/check_proof.py checks a list of them."""

    record = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata=_told("The fields of the row as they are hashed.", example={"amount_fen": "2000"}),
    )
    path = fields.List(
        fields.List(fields.String()),
        required=True,
        metadata=_told("From the row's hash to the block's root: left or right, and the neighbour's hash."),
    )
    blocks = fields.List(
        fields.Dict(keys=fields.String(), values=fields.String()),
        required=True,
        metadata=_told("The block that seals the row."),
    )
    document = fields.Dict(metadata=_told("Of a usage record, the text whose hash the row has."))


def document(found: Evidence) -> dict[str, Any]:
    """Give the evidence as the JSON document it is handed out as."""
    made: dict[str, Any] = EvidenceSchema().dump(found)
    return made
