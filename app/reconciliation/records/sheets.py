"""Usage records as a table that somebody takes away, as the page shows it."""

from collections.abc import Iterable, Iterator

from app import clock, labels
from app.exports import Column, Form, Row, Sheet, Tone
from app.presentation import customer, local, local_name, zone_name
from app.reconciliation.models import UsageRecord
from app.reconciliation.records.document import digest_of
from app.reconciliation.records.reading import Totals
from app.spans import Span
from app.texts import _

MINUTE_S = 60


def records_sheet(
    records: Iterable[UsageRecord],
    *,
    span: Span,
    filters: tuple[tuple[str, str], ...] = (),
    totals: Totals | None = None,
) -> Sheet:
    """Lay the records out, newest use first, with a line of sums if they are given."""
    columns = (
        Column(_("Swipe-in"), Form.MOMENT, 16),
        Column(_("Swipe-out"), Form.MOMENT, 16),
        Column(_("Instrument"), width=12),
        Column(_("Name"), width=24),
        Column(_("Unit"), width=10),
        Column(_("Sub-center"), width=10, on_paper=False),
        Column(_("Customer"), width=22),
        Column(_("Class"), width=12, on_paper=False),
        Column(_("External"), width=8),
        Column(_("Charged, min"), Form.COUNT, 10),
        Column(_("Effective, min"), Form.COUNT, 10),
        Column(_("Energy, Wh"), Form.COUNT, 10, on_paper=False),
        Column(_("Amount"), Form.MONEY, 12),
        Column(_("Principal"), Form.MONEY, 12),
        Column(_("Subsidy balance"), Form.MONEY, 12, on_paper=False),
        Column(_("Verdict"), width=18),
        Column(_("Verified by"), width=12, on_paper=False),
        Column(_("Number"), width=36, on_paper=False),
        Column(_("SHA-256"), width=64, on_paper=False),
    )
    return Sheet(
        title=_("Usage records"),
        stem=f"usage-records-{span.stem}",
        facts=((_("Days"), f"{span} ({zone_name()})"), *filters),
        columns=columns,
        rows=_rows(records, totals),
        note=_("Made at %(moment)s, %(zone)s.", moment=f"{local(clock.now()):%Y-%m-%d %H:%M}", zone=zone_name()),
        page_word=lambda page, pages: _("Page %(page)s of %(pages)s", page=page, pages=pages),
        missing_word=_("Characters that the printed font lacks stand as 〓: "),
    )


def verified_by(record: UsageRecord) -> str:
    """Say on whose word the record stands."""
    return record.verified_by or _("box and card")


def _rows(records: Iterable[UsageRecord], totals: Totals | None) -> Iterator[Row]:
    for record in records:
        yield Row(
            (
                local(record.started_at).replace(tzinfo=None),
                local(record.ended_at).replace(tzinfo=None),
                record.instrument_code,
                local_name(record.instrument),
                record.unit_code,
                record.sub_center_code,
                customer(record.session.account),
                str(labels.find(record.customer_class, "customer_class").word),
                _("yes") if record.external else _("no"),
                record.charged_s // MINUTE_S,
                record.effective_s // MINUTE_S,
                record.energy_wh,
                record.amount_fen,
                record.paid_principal_fen,
                record.paid_subsidy_fen,
                str(labels.find(record.verdict_kind, "verdict").word),
                verified_by(record),
                str(record.session_id),
                digest_of(record).hex(),
            )
        )
    if totals is not None:
        sums = (totals.amount_fen, totals.paid_principal_fen, totals.paid_subsidy_fen)
        minutes = (totals.charged_s // MINUTE_S, totals.effective_s // MINUTE_S)
        word = _("%(count)d uses", count=totals.records)
        yield Row((None, None, word, *(None,) * 6, *minutes, None, *sums, *(None,) * 4), Tone.TOTAL)
