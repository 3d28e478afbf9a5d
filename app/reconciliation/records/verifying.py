"""Whether the usage records still are what the books sealed: every hash made anew, every chain of versions walked."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from app.reconciliation.models import UsageRecord
from app.reconciliation.records.document import KIND, digest_of
from ledger.models import Document

ROWS_AT_ONCE = 1_000
FINDINGS_MAX = 1_000
"""After so many the rest is not read: somebody has to look at these first."""
SENTENCES = {
    "record_changed": "A usage record has the hash that stands in the books.",
    "record_unknown": "The books know every usage record.",
    "record_missing": "Every usage record that the books know is there.",
    "record_chain": "Each version of a usage record names the hash of the version before it.",
    "record_holds": "The newest version of a usage record holds unless it withdraws, and no other one does.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFinding:
    """A usage record that is not what was written; `record_id` is None of one that is gone."""

    check: str
    record_id: int | None
    document_id: UUID
    session_id: UUID | None
    version: int | None
    derived: str
    found: str

    @property
    def sentence(self) -> str:
        """What should be so."""
        return SENTENCES[self.check]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsVerification:
    """How many versions were read, and every finding in the order in which the records were written."""

    records: int
    findings: tuple[RecordFinding, ...]


def verify_records(session: Session) -> RecordsVerification:
    """Make every record's hash anew and compare it with the books; that these stand is for `ledger.verify` to say.

    Lifts this transaction's statement timeout to ten minutes.
    """
    session.execute(text("SET LOCAL statement_timeout = '10min'"))
    reading = _Reading()
    rows = session.execute(
        select(UsageRecord, Document.digest)
        .outerjoin(Document, (Document.id == UsageRecord.document_id) & (Document.kind == KIND))
        .order_by(UsageRecord.session_id, UsageRecord.version)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    for record, sealed in rows:
        reading.take(record, sealed)
        # Only the row at hand is looked at again; a million of them need not stay in memory.
        session.expunge(record)
        if len(reading.findings) >= FINDINGS_MAX:
            break
    else:
        reading.end()
    missing = _missing(session)
    found = sorted(reading.findings, key=lambda finding: finding.record_id or 0)
    return RecordsVerification(records=reading.records, findings=(*found, *missing))


class _Last(NamedTuple):
    """The version read before."""

    record: UsageRecord
    digest: bytes


class _Reading:
    """One walk over all versions, use by use."""

    def __init__(self) -> None:
        self.records = 0
        self.findings: list[RecordFinding] = []
        self._last: _Last | None = None

    def take(self, record: UsageRecord, sealed: bytes | None) -> None:
        self.records += 1
        digest = _digest_of(record)
        if sealed is None:
            self._find("record_unknown", record, derived=digest.hex(), found="not in the books")
        elif digest != sealed:
            self._find("record_changed", record, derived=sealed.hex(), found=digest.hex())
        before = self._last
        if before is not None and before.record.session_id == record.session_id:
            self._follow(before, record)
        else:
            self.end()
            if record.version != 1 or record.previous_digest is not None:
                self._find("record_chain", record, derived="version 1 of its use", found=f"version {record.version}")
        self._last = _Last(record, digest)

    def end(self) -> None:
        """Look at the newest version of the use that was read last: nothing follows it."""
        if self._last is not None:
            record = self._last.record
            if record.superseded_at != (record.verified_at if record.withdrawn else None):
                self._find("record_holds", record, derived=_word(record.withdrawn), found=_moment(record.superseded_at))

    def _follow(self, before: _Last, record: UsageRecord) -> None:
        if record.version != before.record.version + 1 or record.previous_digest != before.digest:
            derived = f"version {before.record.version + 1} after {before.digest.hex()}"
            previous = "nothing" if record.previous_digest is None else record.previous_digest.hex()
            self._find("record_chain", record, derived=derived, found=f"version {record.version} after {previous}")
        ended_at = before.record.verified_at if before.record.withdrawn else record.verified_at
        if before.record.superseded_at != ended_at:
            found = _moment(before.record.superseded_at)
            self._find("record_holds", before.record, derived=f"superseded at {ended_at.isoformat()}", found=found)

    def _find(self, check: str, record: UsageRecord, *, derived: str, found: str) -> None:
        self.findings.append(
            RecordFinding(
                check=check,
                record_id=record.id,
                document_id=record.document_id,
                session_id=record.session_id,
                version=record.version,
                derived=derived,
                found=found,
            )
        )


def _digest_of(record: UsageRecord) -> bytes:
    try:
        return digest_of(record)
    except TypeError:
        # Somebody wrote a number into the evidence that no record was ever written with.
        return b""


def _missing(session: Session) -> list[RecordFinding]:
    gone = session.execute(
        select(Document.id, Document.digest)
        .where(Document.kind == KIND, ~exists().where(UsageRecord.document_id == Document.id))
        .order_by(Document.xid, Document.id)
        .limit(FINDINGS_MAX)
    )
    return [
        RecordFinding(
            check="record_missing",
            record_id=None,
            document_id=id_,
            session_id=None,
            version=None,
            derived=digest.hex(),
            found="no such record",
        )
        for id_, digest in gone
    ]


def _word(withdrawn: bool) -> str:  # noqa: FBT001 - the row's own column
    return "does not hold" if withdrawn else "holds"


def _moment(moment: datetime | None) -> str:
    return "holds" if moment is None else f"superseded at {moment.isoformat()}"
