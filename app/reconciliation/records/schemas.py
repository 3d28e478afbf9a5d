"""Usage records over JSON: the document that is sealed, the list, the feed of changes, hours."""

from typing import Any

from marshmallow import fields, validate

from app.fields import INTEGER_MAX, Moment, Strict, Whole
from app.instruments.models import CustomerClass
from app.reconciliation.models import ChargeVerdict, UsageRecord
from app.reconciliation.records.document import FORMAT, digest_of, document_of
from app.reconciliation.records.reading import PAGE_SIZE_MAX

MOMENT = {"format": "date-time", "example": "2026-11-01T08:00:00.000000Z"}


class FilterQuery(Strict):
    """Which records; what is left out narrows nothing."""

    since = Moment(load_default=None, metadata={"description": "The use ended at or after this."})
    until = Moment(load_default=None, metadata={"description": "The use ended before this."})
    instrument_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))
    group_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))
    unit_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))
    sub_center_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))
    account_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))
    organisation_id = fields.Integer(
        load_default=None,
        validate=validate.Range(min=1, max=INTEGER_MAX),
        metadata={"description": "The customer's organisation."},
    )
    customer_class = fields.Enum(CustomerClass, by_value=True, load_default=None)
    external = fields.Boolean(load_default=None)
    by_person = fields.Boolean(
        load_default=None, metadata={"description": "Verified by a person's word, or by box and card alone."}
    )
    verified = fields.Boolean(
        load_default=True, metadata={"description": "False: versions that hold no longer, superseded or withdrawn."}
    )


class RecordsQuery(FilterQuery):
    """A page of them: `after` is the `next` of the page before."""

    after = fields.String(load_default="", validate=validate.Length(max=100))
    limit = fields.Integer(load_default=50, validate=validate.Range(min=1, max=PAGE_SIZE_MAX))


class ChangesQuery(Strict):
    """Where to read on."""

    after = fields.String(
        load_default="",
        validate=validate.Length(max=100),
        metadata={"description": "The `next` of the last page you kept; empty: from the beginning."},
    )
    limit = fields.Integer(load_default=PAGE_SIZE_MAX, validate=validate.Range(min=1, max=PAGE_SIZE_MAX))


class HoursQuery(Strict):
    """The time, and the instrument if only one is asked for."""

    since = Moment(required=True, metadata={"example": "2026-01-01T00:00:00+08:00"})
    until = Moment(required=True, metadata={"example": "2027-01-01T00:00:00+08:00"})
    instrument_id = fields.Integer(load_default=None, validate=validate.Range(min=1, max=INTEGER_MAX))


class RunEvidenceSchema(Strict):
    """A collector session taken as the use's own."""

    id = Whole(required=True, metadata={"description": "The collector session's id.", "example": 4711})
    version = Whole(required=True, metadata={"description": "Its version that was looked at.", "example": 1})
    overlap_s = Whole(required=True, metadata={"description": "Its seconds within the charge.", "example": 3300})
    box = fields.String(
        required=True, allow_none=True, metadata={"description": "The collector box.", "example": "BOX-CQ0002"}
    )
    channel = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The channel of the box.", "example": 0}
    )


class VerdictEvidenceSchema(Strict):
    """The verdict that the record follows from."""

    version = Whole(required=True, metadata={"description": "The verdict's version.", "example": 1})
    sha256 = fields.String(required=True, metadata={"description": "Hash of its evidence, in the same form."})


class TariffEvidenceSchema(Strict):
    """The price rules that were applied."""

    ids = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "The tariff at swipe-in, then those that came into force before the end."},
    )
    sha256 = fields.String(required=True, metadata={"description": "Hash of the tariff snapshot, in the same form."})


class RecordEvidenceSchema(Strict):
    """What the record rests on, with versions; the long parts by their hash."""

    runs = fields.List(
        fields.Nested(RunEvidenceSchema), required=True, metadata={"description": "Collector sessions of this use."}
    )
    verdict = fields.Nested(
        VerdictEvidenceSchema, required=True, metadata={"description": "The verdict it follows from."}
    )
    tariffs = fields.Nested(TariffEvidenceSchema, required=True, metadata={"description": "The prices applied."})


class UsageDocumentSchema(Strict):
    """A version of a usage record as it is sealed: its hash over RFC 8785 stands in the books."""

    format = fields.String(
        required=True, metadata={"description": "The form of this document, with its version.", "example": FORMAT}
    )
    id = fields.UUID(required=True, metadata={"description": "Under which the books know this version."})
    session = fields.UUID(required=True, metadata={"description": "The card session, the same in all versions."})
    version = Whole(required=True, metadata={"description": "From 1 on, without a gap.", "example": 1})
    supersedes = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "SHA-256 in hex of the version before; null in the first."},
    )
    withdrawn = fields.Boolean(
        required=True, metadata={"description": "True: the use is verified no longer, and no version holds."}
    )
    instrument = fields.String(required=True, metadata={"description": "The instrument's code.", "example": "CQ-0001"})
    instrument_id = Whole(required=True, metadata={"description": "Its id.", "example": 1})
    group_id = Whole(required=True, metadata={"description": "Its group (机组) at that time.", "example": 1})
    unit_id = Whole(required=True, metadata={"description": "Its member unit at that time.", "example": 1})
    sub_center_id = Whole(
        required=True, allow_none=True, metadata={"description": "The unit's sub-center at that time.", "example": 1}
    )
    unit = fields.String(required=True, metadata={"description": "Code of the member unit.", "example": "CQU"})
    sub_center = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Code of the sub-center; null: the center's own.", "example": "SC-LAB"},
    )
    account = fields.String(required=True, metadata={"description": "Number of the card account that paid."})
    account_id = Whole(required=True, metadata={"description": "Its id.", "example": 7})
    customer_class = fields.Enum(
        CustomerClass, by_value=True, required=True, metadata={"description": "Whose prices were applied."}
    )
    external = fields.Boolean(
        required=True, metadata={"description": "对外服务: for others than the instrument's own unit."}
    )
    started_at = fields.String(required=True, metadata={"description": "Swipe-in, UTC.", **MOMENT})
    ended_at = fields.String(required=True, metadata={"description": "Swipe-out, UTC.", **MOMENT})
    charged_s = Whole(required=True, metadata={"description": "From swipe-in to swipe-out.", "example": 3600})
    effective_s = Whole(
        required=True, metadata={"description": "有效机时: warm-up, test, after-treatment.", "example": 3300}
    )
    running_s = Whole(required=True, metadata={"description": "Its own runs within the charge.", "example": 3200})
    overlap_s = Whole(required=True, metadata={"description": "Any run within the charge.", "example": 3200})
    energy_wh = Whole(required=True, metadata={"description": "Energy of its own runs.", "example": 410})
    amount_fen = Whole(
        required=True, metadata={"description": "What was charged and did not go back.", "example": 500_00}
    )
    paid_principal_fen = Whole(required=True, metadata={"description": "Of it from principal.", "example": 320_00})
    paid_subsidy_fen = Whole(
        required=True, metadata={"description": "Of it from the subsidy purse.", "example": 180_00}
    )
    verdict = fields.Enum(
        ChargeVerdict, by_value=True, required=True, metadata={"description": "What reconciliation said."}
    )
    verdict_id = Whole(required=True, metadata={"description": "The version of the verdict.", "example": 12})
    algorithm_version = Whole(required=True, metadata={"description": "Of the matching.", "example": 1})
    verified_by = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Login name of the person whose word verified it; null: box and card alone."},
    )
    verified_at = fields.String(
        required=True, metadata={"description": "When this version was written, UTC.", **MOMENT}
    )
    evidence = fields.Nested(
        RecordEvidenceSchema, required=True, metadata={"description": "What it rests on, with versions."}
    )


class UsageRecordSchema(Strict):
    """A version of a usage record with its hash and whether it holds now."""

    record = fields.Nested(
        UsageDocumentSchema, required=True, metadata={"description": "The record in the form that is sealed."}
    )
    sha256 = fields.String(required=True, metadata={"description": "Of the record in its canonical form."})
    holds = fields.Boolean(required=True, metadata={"description": "This version holds now."})
    superseded_at = Moment(
        required=True,
        allow_none=True,
        metadata={"description": "When it ceased to hold, or never did; null: it holds."},
    )


def version_of(record: UsageRecord) -> dict[str, Any]:
    """Give a version as `UsageRecordSchema` writes it."""
    return {
        "record": document_of(record) | {"verdict": record.verdict_kind, "customer_class": record.customer_class},
        "sha256": digest_of(record).hex(),
        "holds": record.superseded_at is None,
        "superseded_at": record.superseded_at,
    }


class UsageRecordsSchema(Strict):
    """A page of usage records, newest use first."""

    usage_records = fields.List(fields.Nested(UsageRecordSchema), required=True)
    next = fields.String(required=True, metadata={"description": "For `after`; empty: this was the last page."})


class TotalsSchema(Strict):
    """What all records of a filter come to."""

    records = Whole(required=True, metadata={"example": 120})
    charged_s = Whole(required=True, metadata={"example": 432_000})
    effective_s = Whole(required=True, metadata={"example": 410_000})
    external_s = Whole(required=True, metadata={"example": 300_000})
    amount_fen = Whole(required=True, metadata={"example": 60_000_00})
    paid_principal_fen = Whole(required=True, metadata={"example": 48_000_00})
    paid_subsidy_fen = Whole(required=True, metadata={"example": 12_000_00})


class ChangesSchema(Strict):
    """A page of the feed in the order of the books."""

    changes = fields.List(fields.Nested(UsageRecordSchema), required=True)
    next = fields.String(required=True, metadata={"description": "Keep it with what you took, and read on from it."})
    complete = fields.Boolean(required=True, metadata={"description": "Nothing more for now; ask again later."})


class InstrumentHoursSchema(Strict):
    """Seconds of verified use of one instrument in the time."""

    instrument_id = Whole(required=True, metadata={"example": 1})
    instrument_code = fields.String(required=True, metadata={"example": "CQ-0001"})
    uses = Whole(required=True, metadata={"example": 120})
    charged_s = Whole(required=True, metadata={"example": 432_000})
    effective_s = Whole(required=True, metadata={"description": "有效机时.", "example": 410_000})
    external_s = Whole(required=True, metadata={"description": "对外服务机时, effective.", "example": 300_000})
    external_uses = Whole(required=True, metadata={"example": 90})


class HoursSchema(Strict):
    """Hours of verified use by instrument; those without any are left out."""

    since = Moment(required=True)
    until = Moment(required=True)
    instruments = fields.List(fields.Nested(InstrumentHoursSchema), required=True)


class RecordProofSchema(Strict):
    """The proof that the books hold a record's hash; docs/check_proof.py checks a list of them."""

    record = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    path = fields.List(fields.List(fields.String()), required=True)
    blocks = fields.List(fields.Dict(keys=fields.String(), values=fields.String()), required=True)
    document = fields.Dict(required=True, metadata={"description": "The record whose hash is proved."})
