"""The canonical form of a usage record: the bytes whose hash the books seal, made from nothing but the record's row.

It is JSON as RFC 8785 writes it: sorted keys, no blanks, whole numbers only, moments in UTC with microseconds. The form
never changes; another one would be `-v2`, beside this one.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from app.books import NAMESPACE
from app.reconciliation.models import UsageRecord

KIND = "usage-record"
FORMAT = "testcard-usage-record-v1"
PLAIN = (
    *("version", "withdrawn", "external", "charged_s", "effective_s", "running_s", "overlap_s"),
    # Beside their codes, for these are what readers join and add up by.
    *("instrument_id", "group_id", "unit_id", "sub_center_id", "account_id", "verdict_id"),
    *("energy_wh", "amount_fen", "paid_principal_fen", "paid_subsidy_fen", "algorithm_version", "verified_by"),
)
RENAMED = {
    "account_number": "account",
    "instrument_code": "instrument",
    "unit_code": "unit",
    "sub_center_code": "sub_center",
}
MOMENTS = ("started_at", "ended_at", "verified_at")


def document_id_of(session_id: UUID, *, version: int) -> UUID:
    """Give the id under which the books know a version; it follows from the use, so a retry writes the same."""
    return uuid5(NAMESPACE, f"{KIND}:{session_id}:{version}")


def document_of(record: UsageRecord) -> dict[str, Any]:
    """Give a usage record as the document that is sealed: everything it says, but for when it was superseded."""
    return {
        "format": FORMAT,
        "id": str(record.document_id),
        "session": str(record.session_id),
        "supersedes": None if record.previous_digest is None else record.previous_digest.hex(),
        "verdict": record.verdict_kind.value,
        "customer_class": record.customer_class.value,
        "evidence": record.evidence,
        **{name: getattr(record, name) for name in PLAIN},
        **{written: getattr(record, name) for name, written in RENAMED.items()},
        **{name: moment_text(getattr(record, name)) for name in MOMENTS},
    }


def digest_of(record: UsageRecord) -> bytes:
    """Give the SHA-256 of a record's canonical form."""
    return hashlib.sha256(canonical(document_of(record))).digest()


def canonical(document: Any) -> bytes:
    """Give a document of texts, whole numbers, truth values, lists and objects as RFC 8785 writes it.

    Raises TypeError for a number that is not whole: two programs may write it differently.
    """
    _refuse_fractions(document)
    return _compact(document)


def json_digest(document: Any) -> str:
    """Give the SHA-256 in hex of JSON that others keep, such as a tariff snapshot, in the same compact form."""
    return hashlib.sha256(_compact(document)).hexdigest()


def moment_text(moment: datetime) -> str:
    """Write a moment as the document has it: 2026-11-01T00:00:00.000000Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def _refuse_fractions(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"a canonical document has no form for {value}")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_fractions(part)
