"""Usage records written by a command: the documents that are sealed as JSON lines, or a table."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock, web
from app.exports import FileFormat, write_text
from app.exports.command import opened, site, write_sheet
from app.fields import YEAR_MIN
from app.reconciliation.models import UsageRecord
from app.reconciliation.records import sheets
from app.reconciliation.records.document import canonical, digest_of, document_of
from app.reconciliation.records.reading import Wanted, every_record
from app.spans import Span, days_span

ROWS_AT_ONCE = 1_000


def print_records(
    *, form: str, first: date | None, last: date | None, all_versions: bool, out: Path | None, language: str
) -> None:
    """Write the records of uses that ended in these days, newest first; every version in the order of writing."""
    with site(language) as session, opened(out) as file:
        zone = web.settings().site_timezone
        span = days_span(first or date(YEAR_MIN, 1, 1), last or clock.now().astimezone(zone).date(), zone=zone)
        wanted = Wanted(since=span.since, until=span.until)
        if form == "json":
            found = _versions(session, span) if all_versions else every_record(session, wanted=wanted)
            write_text(lambda text: text.writelines(_line(record) for record in found), file)
        else:
            write_sheet(sheets.records_sheet(every_record(session, wanted=wanted), span=span), FileFormat(form), file)


def _line(record: UsageRecord) -> str:
    """Write a record so that its hash can be made of it: the canonical form itself, and beside it what holds."""
    superseded_at = None if record.superseded_at is None else record.superseded_at.isoformat()
    beside = json.dumps({"sha256": digest_of(record).hex(), "superseded_at": superseded_at})
    return f'{{"record":{canonical(document_of(record)).decode()},"seal":{beside}}}\n'


def _versions(session: Session, span: Span) -> Iterator[UsageRecord]:
    return iter(
        session.scalars(
            select(UsageRecord)
            .where(UsageRecord.ended_at >= span.since, UsageRecord.ended_at < span.until)
            .order_by(UsageRecord.id)
            .execution_options(yield_per=ROWS_AT_ONCE)
        )
    )
