"""What is only read: trial balance, vouchers, account statements, the chart, the whole books as files."""

from typing import Any
from uuid import UUID

from flask import Response, redirect, render_template, request, url_for

import ledger
from app import books, clock, web
from app.accounting import service, sheets
from app.accounting.cursors import cursor_text, read_cursor
from app.accounting.pages.common import READERS, asked_span, blueprint, span_links
from app.accounting.service import Wanted
from app.asking import asked_text, here, page_links, page_number
from app.books import BookRole
from app.errors import Code, Refusal
from app.exports.download import send_sheet, send_text, wanted_format
from app.security import require
from app.spans import days_span, read_day
from app.texts import _

PAGE_SIZE = 50
LINES_ON_PAGE = 100
PROGRAMS = {
    "beancount": (ledger.write_beancount, "beancount"),
    "hledger": (ledger.write_hledger, "journal"),
}
# A text file of the whole books is made in one go while a browser waits.
TRANSFERS_MAX = 500_000


@blueprint.get("/")
def home() -> Any:
    """Lead to the trial balance."""
    return redirect(url_for("accounting_pages.trial_balance"))


@blueprint.get("/trial-balance")
@require(*READERS)
def trial_balance() -> Any:
    """Show what every code of the chart stood at, moved, and stands at."""
    span, form = asked_span(), wanted_format()
    with web.database().reader() as session:
        balance = service.trial_balance(session, since=span.since, until=span.until)
    if form is not None:
        return send_sheet(sheets.trial_sheet(balance, span=span), form)
    return render_template("accounting/trial_balance.html", balance=balance, sides=service.sides, **span_links(span))


@blueprint.get("/trial-balance/<role>")
@require(*READERS)
def trial_detail(role: str) -> Any:
    """Show the single accounts behind one code."""
    if role not in set(BookRole):
        raise Refusal(Code.NOT_FOUND)
    span, form, page = asked_span(), wanted_format(), page_number()
    with web.database().reader() as session:
        detail = service.trial_detail(
            session,
            role=BookRole(role),
            since=span.since,
            until=span.until,
            page=1 if form else page,
            page_size=form.lines_max if form else LINES_ON_PAGE,
        )
    if form is not None:
        if detail.has_more:
            raise Refusal(Code.EXPORT_TOO_LARGE, maximum_lines=form.lines_max)
        return send_sheet(sheets.trial_detail_sheet(detail, span=span), form)
    return render_template(
        "accounting/trial_detail.html",
        detail=detail,
        sides=service.sides,
        pages=page_links(page, has_more=detail.has_more),
        **span_links(span),
    )


@blueprint.get("/accounts/<uuid:account_id>")
@require(*READERS)
def account(account_id: UUID) -> Any:
    """Show the statement of one ledger account."""
    span, form = asked_span(), wanted_format()
    days: dict[str, Any] = {"account_id": account_id, "since": span.since, "until": span.until}
    with web.database().reader() as session:
        statement = service.account_statement(
            session, **days, page_size=LINES_ON_PAGE, after=read_cursor(request.args.get("after", ""))
        )
        if form is not None:
            lines = service.all_lines(session, **days)
            return send_sheet(sheets.statement_sheet(statement, lines, span=span), form)
    return render_template(
        "accounting/account.html",
        statement=statement,
        next_url=here(after=cursor_text(statement.cursor)) if statement.cursor else "",
        first_url=here() if request.args.get("after") else "",
        **span_links(span),
    )


@blueprint.get("/vouchers")
@require(*READERS)
def vouchers() -> Any:
    """List the vouchers of a time, narrowed by kind and words."""
    span, form, zone = asked_span(), wanted_format(), web.settings().site_timezone
    kind, words = asked_text("kind"), asked_text("words")
    wanted = Wanted(since=span.since, until=span.until, kind=kind or None, words=words or None)
    with web.database().reader() as session:
        if form is not None:
            filters = ((_("Kind"), sheets.kind_word(kind) if kind else ""), (_("Search"), words))
            facts = tuple(each for each in filters if each[1])
            found = service.all_vouchers(session, wanted, zone=zone)
            return send_sheet(sheets.vouchers_sheet(found, span=span, filters=facts), form)
        listed = service.list_vouchers(
            session, wanted, zone=zone, page_size=PAGE_SIZE, after=read_cursor(request.args.get("after", ""))
        )
    return render_template(
        "accounting/vouchers.html",
        listed=listed,
        kinds=sheets.POSTING_KINDS,
        kind=kind,
        words=words,
        next_url=here(after=cursor_text(listed.cursor)) if listed.cursor else "",
        first_url=here() if request.args.get("after") else "",
        **span_links(span),
    )


@blueprint.get("/vouchers/<uuid:journal_id>")
@require(*READERS)
def voucher(journal_id: UUID) -> Any:
    """Show one voucher: what it posted, why, who, when, and what it reverses or is reversed by."""
    form = wanted_format()
    with web.database().reader() as session:
        view = service.voucher_view(session, journal_id=journal_id, zone=web.settings().site_timezone)
        original = ledger.voucher(session, journal_id)
    if form is not None:
        return send_sheet(sheets.voucher_sheet(view), form)
    return render_template(
        "accounting/voucher.html",
        view=view,
        file_url=here,
        reversible=original is not None and service.is_reversible(original) and view.waiting is None,
    )


@blueprint.get("/chart")
@require(*READERS)
def chart() -> Any:
    """Show the chart of accounts as this site has it."""
    return render_template("accounting/chart.html", lines=service.chart_lines(), shipped=books.shipped_chart())


@blueprint.get("/files")
@require(*READERS)
def files() -> Any:
    """Offer the whole books as files for other programs."""
    return render_template("accounting/files.html", today=clock.now().astimezone(web.settings().site_timezone).date())


@blueprint.get("/files/<program>")
@require(*READERS)
def whole_books(program: str) -> Response:
    """Give everything posted up to a day as a file that beancount or hledger checks."""
    if program not in PROGRAMS:
        raise Refusal(Code.NOT_FOUND)
    write, ending = PROGRAMS[program]
    zone = web.settings().site_timezone
    last = read_day("until", request.args.get("until", "") or f"{clock.now().astimezone(zone):%Y-%m-%d}")
    until = days_span(last, last, zone=zone).until
    with web.database().reader() as session:
        if service.count_transfers(session, until=until, limit=TRANSFERS_MAX) > TRANSFERS_MAX:
            raise Refusal(Code.EXPORT_TOO_LARGE, maximum_lines=TRANSFERS_MAX)
        return send_text(
            lambda out: write(session, out, names=service.plain_text_names, until=until, zone=zone),
            name=f"books-{last}.{ending}",
        )
