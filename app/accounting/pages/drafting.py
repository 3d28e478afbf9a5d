"""Vouchers by two people: finance drafts and sees what will be posted, an approver decides."""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from app import clock, money, problems, web
from app.accounting import service
from app.accounting.models import DraftStatus, VoucherDraft
from app.accounting.pages.common import READERS, TEXT_LENGTH_MAX, blueprint
from app.accounting.service import Wish, WishLine
from app.asking import given_text, page_links, page_number
from app.books import BookRole, OwnerKind
from app.books import chart as current_chart
from app.errors import Code, Refusal, RefusalText
from app.people.models import Role
from app.presentation import chinese
from app.security import principal, require
from app.spans import read_day
from app.texts import _

PAGE_SIZE = 30
LINES_SHOWN, LINES_MORE, LINES_MAX = 6, 6, 60
FIELD_LENGTH_MAX = 40


@dataclass(frozen=True, slots=True)
class EnteredLine:
    """A line as it was typed."""

    role: str = ""
    owner: str = ""
    debit: str = ""
    credit: str = ""

    @property
    def is_empty(self) -> bool:
        """Say whether nothing was typed."""
        return not (self.role or self.owner or self.debit or self.credit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A form as it was typed, so that it can be shown again with what is wrong."""

    text: str
    value_on: str
    lines: tuple[EnteredLine, ...]


@blueprint.get("/drafts")
@require(*READERS)
def drafts() -> Any:
    """List the drafts: what waits first, then what was decided last."""
    page = page_number()
    with web.database().reader() as session:
        waiting = service.list_drafts(session, status=DraftStatus.WAITING, page_size=200)
        found = service.list_drafts(session, page=page, page_size=PAGE_SIZE)
    return render_template(
        "accounting/drafts.html",
        waiting=waiting.drafts,
        found=found.drafts,
        links=page_links(page, has_more=page * PAGE_SIZE < found.total),
    )


@blueprint.get("/drafts/new")
@require(Role.FINANCE)
def new_draft() -> Any:
    """Ask for text, value date and lines."""
    asked = request.args.get("lines", "")
    count = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 3 else LINES_SHOWN  # noqa: PLR2004 - digits
    lines = (EnteredLine(),) * min(max(count, LINES_SHOWN), LINES_MAX)
    return _form(Entered(text="", value_on=_today().isoformat(), lines=lines))


@blueprint.post("/drafts/review")
@require(Role.FINANCE)
def review_draft() -> Any:
    """Show what the draft would post; nothing is saved yet. What is wrong is said above the form as it was typed."""
    entered = _entered()
    if "more" in request.form:
        return _form(_with_more_lines(entered))
    if "change" in request.form:
        return _form(entered)
    try:
        with web.database().reader() as session:
            wish = _wish(session, entered)
            lines = service.check_wish(session, wish, zone=web.settings().site_timezone, at=clock.now())
    except Refusal as refusal:
        return _form(entered, refusal=refusal), problems.text_of(refusal.code).status
    return render_template("accounting/draft_review.html", wish=wish, entered=entered, lines=lines)


@blueprint.post("/drafts")
@require(Role.FINANCE)
def save_draft() -> Any:
    """Save the draft; it is posted when another person approves it. The same form sent twice is one draft."""
    maker, at, zone, entered = principal(), clock.now(), web.settings().site_timezone, _entered()

    def work(session: Session) -> VoucherDraft:
        wish = _wish(session, entered)
        return service.draft_voucher(session, wish=wish, maker=maker, zone=zone, at=at)

    return _drafted(web.database().run(work))


@blueprint.get("/drafts/<uuid:draft_id>")
@require(*READERS)
def draft(draft_id: UUID) -> Any:
    """Show a draft with what approving it posts, or what became of it."""
    with web.database().reader() as session:
        found = service.get_draft(session, draft_id=draft_id)
        lines = service.preview(session, found)
    return render_template("accounting/draft.html", draft=found, lines=lines)


@blueprint.post("/drafts/<uuid:draft_id>/decision")
@require(Role.APPROVER)
def decide_draft(draft_id: UUID) -> Any:
    """Approve, which posts, or reject with a reason."""
    approve = request.form.get("decision") == "approve"
    reason = given_text("reason", required=not approve)
    checker, at = principal(), clock.now()
    found = web.database().run(
        lambda session: service.decide(
            session, draft_id=draft_id, approve=approve, checker=checker, reason=reason, at=at
        )
    )
    if found.status is DraftStatus.POSTED:
        flash(_("Voucher %(number)s is posted.", number=found.number), "good")
        return redirect(url_for("accounting_pages.voucher", journal_id=found.journal_id))
    if found.status is DraftStatus.REFUSED:
        flash(_("The ledger refused %(number)s; nothing was posted.", number=found.number), "bad")
    else:
        flash(_("%(number)s is rejected; nothing was posted.", number=found.number), "good")
    return redirect(url_for("accounting_pages.draft", draft_id=draft_id))


@blueprint.post("/drafts/<uuid:draft_id>/withdrawal")
@require(Role.FINANCE)
def withdraw_draft(draft_id: UUID) -> Any:
    """Take one's own draft back."""
    maker, at = principal(), clock.now()
    found = web.database().run(lambda session: service.withdraw(session, draft_id=draft_id, maker=maker, at=at))
    flash(_("%(number)s is withdrawn; nothing was posted.", number=found.number), "good")
    return redirect(url_for("accounting_pages.draft", draft_id=draft_id))


@blueprint.get("/vouchers/<uuid:journal_id>/reversal")
@require(Role.FINANCE)
def reversal(journal_id: UUID) -> Any:
    """Show what a reversal would post, and ask why."""
    with web.database().reader() as session:
        view = service.voucher_view(session, journal_id=journal_id, zone=web.settings().site_timezone)
        lines = service.preview_reversal(session, journal_id=journal_id)
    return render_template(
        "accounting/reversal.html", view=view, lines=lines, request_id=uuid4(), today=_today().isoformat()
    )


@blueprint.post("/vouchers/<uuid:journal_id>/reversal")
@require(Role.FINANCE)
def draft_reversal(journal_id: UUID) -> Any:
    """Draft the reversal; it is posted when another person approves it."""
    maker, at, zone = principal(), clock.now(), web.settings().site_timezone
    text, value_on, draft_id = given_text("text"), read_day("value_on", request.form.get("value_on", "")), _request_id()
    found = web.database().run(
        lambda session: service.draft_reversal(
            session,
            draft_id=draft_id,
            journal_id=journal_id,
            text=text,
            value_on=value_on,
            maker=maker,
            zone=zone,
            at=at,
        )
    )
    return _drafted(found)


def _drafted(found: VoucherDraft) -> Any:
    flash(_("%(number)s waits for a second person's approval.", number=found.number), "good")
    return redirect(url_for("accounting_pages.draft", draft_id=found.id))


def _form(entered: Entered, *, refusal: Refusal | None = None) -> str:
    said: RefusalText | None = None if refusal is None else problems.text_of(refusal.code)
    return render_template(
        "accounting/draft_form.html",
        entered=entered,
        lines=service.chart_lines(),
        refusal=refusal,
        sentence=said and (said.zh if chinese() else said.en),
        advice=said and (said.advice_zh if chinese() else said.advice_en),
    )


def _entered() -> Entered:
    columns = [request.form.getlist(name)[:LINES_MAX] for name in ("role", "owner", "debit", "credit")]
    lines = tuple(
        EnteredLine(*(each.strip()[:FIELD_LENGTH_MAX] for each in (role, owner, debit, credit)))
        for role, owner, debit, credit in zip(*columns, strict=False)
    )
    return Entered(text=given_text("text", required=False), value_on=request.form.get("value_on", "")[:10], lines=lines)


def _with_more_lines(entered: Entered) -> Entered:
    count = min(len(entered.lines) + LINES_MORE, LINES_MAX)
    empty = (EnteredLine(),) * (count - len(entered.lines))
    return Entered(text=entered.text, value_on=entered.value_on, lines=entered.lines + empty)


def _wish(session: Session, entered: Entered) -> Wish:
    """Read the form. Raises Refusal VALIDATION_FAILED that names the line, and BOOK_NOT_OPEN for an unknown owner."""
    if not entered.text:
        raise Refusal(Code.VALIDATION_FAILED, fields={"text": [f"1–{TEXT_LENGTH_MAX}"]})
    return Wish(
        id=_request_id(),
        text=entered.text,
        value_on=read_day("value_on", entered.value_on),
        lines=tuple(
            _wish_line(session, line, number=number)
            for number, line in enumerate(entered.lines, start=1)
            if not line.is_empty
        ),
    )


def _wish_line(session: Session, line: EnteredLine, *, number: int) -> WishLine:
    if line.role not in set(BookRole):
        raise Refusal(Code.VALIDATION_FAILED, fields={_("line %(number)d", number=number): [_("Choose an account.")]})
    role = BookRole(line.role)
    return WishLine(
        role=role,
        owner_id=_owner_id(session, role, line.owner, number=number),
        debit_fen=_amount_fen(line.debit, number=number),
        credit_fen=_amount_fen(line.credit, number=number),
    )


def _owner_id(session: Session, role: BookRole, code: str, *, number: int) -> int:
    kind = current_chart()[role].owner_kind
    if kind is OwnerKind.CENTER:
        if code:
            why = _("This account belongs to the center; leave the owner empty.")
            raise Refusal(Code.VALIDATION_FAILED, fields={_("line %(number)d", number=number): [why]})
        return 0
    owner = service.find_owner(session, kind=kind, code=code)
    if owner is None:
        raise Refusal(Code.BOOK_NOT_OPEN, fields={_("line %(number)d", number=number): [code or "–"]})
    return owner.id


def _amount_fen(text: str, *, number: int) -> int:
    if not text:
        return 0
    try:
        return money.parse_yuan(text)
    except ValueError as error:
        why = _("An amount in yuan, such as 100.00")
        raise Refusal(Code.VALIDATION_FAILED, fields={_("line %(number)d", number=number): [why]}) from error


def _request_id() -> UUID:
    """The id that makes a form sent twice one draft; the page before made it."""
    given = request.form.get("request_id")
    try:
        return uuid4() if given is None else UUID(given)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"request_id": ["UUID"]}) from error


def _today() -> date:
    return clock.now().astimezone(web.settings().site_timezone).date()
