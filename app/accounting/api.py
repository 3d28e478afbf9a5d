"""JSON doors of accounting: finance drafts, approvers decide, the auditor reads."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import flask_smorest
from sqlalchemy.orm import Session

from app import clock
from app.accounting import schemas, service
from app.accounting.cursors import cursor_text, read_cursor
from app.accounting.models import VoucherDraft
from app.accounting.service import Wanted, Wish, WishLine
from app.books import BookRole
from app.errors import Code, Refusal
from app.people.models import Role
from app.periods import Month
from app.problems import refuses
from app.security import change, principal, require
from app.spans import Span, read_span
from app.web import database, settings

READERS = (Role.FINANCE, Role.APPROVER, Role.AUDITOR)
READING = (Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.VALIDATION_FAILED, Code.TIMES_REVERSED)
DRAFTING = (
    Code.NOT_LOGGED_IN,
    Code.FORBIDDEN,
    Code.VALIDATION_FAILED,
    Code.REQUEST_ID_USED,
    Code.VALUE_DATE_WRONG,
    Code.PERIOD_CLOSED,
)
DECIDING = (Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.SAME_PERSON, Code.ALREADY_DECIDED)
REOPENING = (Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.PERIOD_NOT_REOPENABLE, Code.SAME_PERSON)

blueprint = flask_smorest.Blueprint(
    "accounting",
    __name__,
    url_prefix="/api/v1/accounting",
    description="Trial balance, vouchers, account statements, manual vouchers by two people, month close.",
)


@blueprint.get("/chart")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.response(HTTPStatus.OK, schemas.ChartSchema)
@require(*READERS)
def get_chart() -> dict[str, Any]:
    """Give the chart of accounts as this site has it."""
    return {"lines": service.chart_lines()}


@blueprint.get("/trial-balance")
@refuses(blueprint, *READING)
@blueprint.arguments(schemas.DaysQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.TrialBalanceSchema)
@require(*READERS)
def get_trial_balance(query: dict[str, Any]) -> service.TrialBalance:
    """Give the trial balance of some days by value date."""
    span = _span(query)
    with database().reader() as session:
        return service.trial_balance(session, since=span.since, until=span.until)


@blueprint.get("/trial-balance/<role>")
@refuses(blueprint, *READING, Code.NOT_FOUND)
@blueprint.arguments(schemas.TrialDetailQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.TrialDetailSchema)
@require(*READERS)
def get_trial_detail(query: dict[str, Any], role: str) -> service.TrialDetail:
    """Give a page of the single accounts of a role with their sums."""
    if role not in set(BookRole):
        raise Refusal(Code.NOT_FOUND)
    span = _span(query)
    with database().reader() as session:
        return service.trial_detail(
            session,
            role=BookRole(role),
            since=span.since,
            until=span.until,
            page=query["page"],
            page_size=query["page_size"],
        )


@blueprint.get("/accounts/<uuid:account_id>/statement")
@refuses(blueprint, *READING, Code.NOT_FOUND)
@blueprint.arguments(schemas.CursorQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.AccountStatementSchema)
@require(*READERS)
def get_account_statement(query: dict[str, Any], account_id: UUID) -> dict[str, Any]:
    """Give a page of an account's statement by value date."""
    span = _span(query)
    with database().reader() as session:
        found = service.account_statement(
            session,
            account_id=account_id,
            since=span.since,
            until=span.until,
            page_size=query["page_size"],
            after=read_cursor(query["after"]),
        )
    return {
        "account": found.account,
        "since": found.since,
        "until": found.until,
        "opening_fen": found.opening_fen,
        "lines": found.lines,
        "closing_fen": found.closing_fen,
        "cursor": cursor_text(found.cursor),
    }


@blueprint.get("/vouchers")
@refuses(blueprint, *READING)
@blueprint.arguments(schemas.VouchersQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.VouchersSchema)
@require(*READERS)
def list_vouchers(query: dict[str, Any]) -> dict[str, Any]:
    """Give a page of vouchers, newest value date first."""
    span = _span(query)
    wanted = Wanted(
        since=span.since, until=span.until, kind=query["kind"] or None, words=query["words"].strip() or None
    )
    with database().reader() as session:
        found = service.list_vouchers(
            session,
            wanted,
            zone=settings().site_timezone,
            page_size=query["page_size"],
            after=read_cursor(query["after"]),
        )
    return {"vouchers": found.vouchers, "cursor": cursor_text(found.cursor)}


@blueprint.get("/vouchers/<uuid:journal_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.VoucherSchema)
@require(*READERS)
def get_voucher(journal_id: UUID) -> service.Voucher:
    """Give one voucher with its lines."""
    with database().reader() as session:
        return service.voucher_view(session, journal_id=journal_id, zone=settings().site_timezone).voucher


@blueprint.post("/vouchers/<uuid:journal_id>/reversal")
@refuses(blueprint, *DRAFTING, Code.NOT_FOUND, Code.VOUCHER_NOT_REVERSIBLE)
@blueprint.arguments(schemas.NewReversalSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.DraftSchema)
@require(Role.FINANCE)
def draft_reversal(body: dict[str, Any], journal_id: UUID) -> VoucherDraft:
    """Draft the reversal of a voucher. For finance; it is posted when another person approves it."""
    maker, at, zone = principal(), clock.now(), settings().site_timezone
    return database().run(
        lambda session: service.draft_reversal(
            session,
            draft_id=body["id"],
            journal_id=journal_id,
            text=body["text"],
            value_on=body["value_on"],
            maker=maker,
            zone=zone,
            at=at,
        )
    )


@blueprint.post("/drafts")
@refuses(blueprint, *DRAFTING, Code.VOUCHER_UNBALANCED, Code.BOOK_NOT_OPEN)
@blueprint.arguments(schemas.NewDraftSchema)
@blueprint.response(HTTPStatus.CREATED, schemas.DraftSchema)
@require(Role.FINANCE)
def draft_voucher(body: dict[str, Any]) -> VoucherDraft:
    """Draft a manual voucher. For finance; it is posted when another person approves it."""
    maker, at, zone = principal(), clock.now(), settings().site_timezone
    lines = tuple(WishLine(**line) for line in body["lines"])
    wish = Wish(id=body["id"], text=body["text"], value_on=body["value_on"], lines=lines)
    return database().run(lambda session: service.draft_voucher(session, wish=wish, maker=maker, zone=zone, at=at))


@blueprint.get("/drafts")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.arguments(schemas.DraftsQuery, location="query")
@blueprint.response(HTTPStatus.OK, schemas.DraftsSchema)
@require(*READERS)
def list_drafts(query: dict[str, Any]) -> service.Found:
    """Give a page of drafts, newest first."""
    with database().reader() as session:
        return service.list_drafts(session, **query)


@blueprint.get("/drafts/<uuid:draft_id>")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND)
@blueprint.response(HTTPStatus.OK, schemas.DraftViewSchema)
@require(*READERS)
def get_draft(draft_id: UUID) -> dict[str, Any]:
    """Give a draft with what approving it would post now."""
    with database().reader() as session:
        draft = service.get_draft(session, draft_id=draft_id)
        return {"draft": draft, "preview": service.preview(session, draft)}


@blueprint.post("/drafts/<uuid:draft_id>/approve")
@refuses(blueprint, *DECIDING)
@blueprint.arguments(schemas.DecisionSchema)
@blueprint.response(HTTPStatus.OK, schemas.DraftSchema)
@require(Role.APPROVER)
def approve_draft(body: dict[str, Any], draft_id: UUID) -> VoucherDraft:
    """Approve a draft, which posts it. For approvers, never for who drafted it. Look at its status: see `reason`."""
    return _decide(draft_id, approve=True, reason=body["reason"])


@blueprint.post("/drafts/<uuid:draft_id>/reject")
@refuses(blueprint, *DECIDING, Code.VALIDATION_FAILED)
@blueprint.arguments(schemas.ReasonSchema)
@blueprint.response(HTTPStatus.OK, schemas.DraftSchema)
@require(Role.APPROVER)
def reject_draft(body: dict[str, Any], draft_id: UUID) -> VoucherDraft:
    """Reject a draft with a reason. For approvers, never for who drafted it."""
    return _decide(draft_id, approve=False, reason=body["reason"])


@blueprint.post("/drafts/<uuid:draft_id>/withdraw")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.ALREADY_DECIDED)
@blueprint.response(HTTPStatus.OK, schemas.DraftSchema)
@require(Role.FINANCE)
def withdraw_draft(draft_id: UUID) -> VoucherDraft:
    """Take one's own draft back before anybody decided."""
    maker, at = principal(), clock.now()
    return database().run(lambda session: service.withdraw(session, draft_id=draft_id, maker=maker, at=at))


@blueprint.get("/months")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN)
@blueprint.response(HTTPStatus.OK, schemas.MonthsSchema)
@require(*READERS)
def list_months() -> dict[str, Any]:
    """Give every month with its state and what waits in it, newest first."""
    with database().reader() as session:
        return {"months": service.list_months(session, zone=settings().site_timezone, at=clock.now())}


@blueprint.post("/months/<month>/close")
@refuses(blueprint, Code.NOT_LOGGED_IN, Code.FORBIDDEN, Code.NOT_FOUND, Code.PERIOD_NOT_CLOSABLE, Code.TRY_AGAIN)
@blueprint.response(HTTPStatus.OK, schemas.MonthSchema)
@require(Role.FINANCE)
def close_month(month: str) -> service.MonthView:
    """Close a month that is over: from then on nothing is posted with a value date in it. For finance."""
    return change(service.close_month, month=_month(month), zone=settings().site_timezone)


@blueprint.post("/months/<month>/ask-to-reopen")
@refuses(blueprint, *REOPENING, Code.VALIDATION_FAILED)
@blueprint.arguments(schemas.ReasonSchema)
@blueprint.response(HTTPStatus.OK, schemas.MonthSchema)
@require(Role.FINANCE)
def ask_to_reopen(body: dict[str, Any], month: str) -> service.MonthView:
    """Ask to reopen the month that was closed last, with the reason. For finance."""
    return change(service.ask_to_reopen, month=_month(month), reason=body["reason"], zone=settings().site_timezone)


@blueprint.post("/months/<month>/reopen")
@refuses(blueprint, *REOPENING)
@blueprint.response(HTTPStatus.OK, schemas.MonthSchema)
@require(Role.APPROVER)
def reopen_month(month: str) -> service.MonthView:
    """Open a month again. For approvers, never for who asked."""
    return change(service.reopen_month, month=_month(month), zone=settings().site_timezone)


@blueprint.post("/months/<month>/keep-closed")
@refuses(blueprint, *REOPENING)
@blueprint.response(HTTPStatus.OK, schemas.MonthSchema)
@require(Role.APPROVER)
def keep_closed(month: str) -> service.MonthView:
    """Refuse the wish to reopen a month. For approvers."""
    return change(service.keep_closed, month=_month(month), zone=settings().site_timezone)


def _span(query: dict[str, Any]) -> Span:
    return read_span(query, zone=settings().site_timezone, at=clock.now())


def _month(text: str) -> Month:
    found = Month.parse(text)
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def _decide(draft_id: UUID, *, approve: bool, reason: str) -> VoucherDraft:
    checker, at = principal(), clock.now()

    def work(session: Session) -> VoucherDraft:
        return service.decide(session, draft_id=draft_id, approve=approve, checker=checker, reason=reason, at=at)

    return database().run(work)
