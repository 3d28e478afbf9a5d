"""Contests: the customer's word against a charge, the list of those who answer, and the answer with its postings."""

from typing import Any
from uuid import UUID

from flask import flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import page_links, page_number
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import plain_yuan
from app.reconciliation import adjusting, contests, recording
from app.reconciliation.models import ContestStatus
from app.reconciliation.pages.common import ANSWERERS, SECTION, STAFF, blueprint, given_note, read_amount
from app.security import principal, require
from app.texts import _


@blueprint.get("/contests")
@require(Role.GROUP_OPERATOR, *STAFF)
def contest_list() -> Any:
    """List the contests, the one whose answer is due first on top."""
    page, asked = page_number(), request.args.get("status", "")
    with web.database().reader() as session:
        found = contests.list_contests(
            session,
            reader=principal(),
            at=clock.now(),
            status=ContestStatus(asked) if asked in set(ContestStatus) else None,
            page=page,
        )
        return render_template(
            "reconciliation/contests.html",
            found=found,
            asked=asked,
            statuses=tuple(ContestStatus),
            links=page_links(page, has_more=found.has_more),
        )


@blueprint.get("/charges/<uuid:session_id>/contest")
@require(Role.CARDHOLDER)
def contest_form(session_id: UUID) -> Any:
    """Ask the customer why she contests the charge, or show what became of her contest."""
    g.section = "reports_pages.charges"
    with web.database().reader() as session:
        row = contests.own_charge(session, session_id=session_id, maker=principal())
        return render_template(
            "reconciliation/contest_form.html",
            charge=row,
            contest=contests.contest_of(session, session_id),
            until=contests.contestable_until(session, row),
            adjustments=adjusting.adjustments_of(session, session_id),
        )


@blueprint.post("/charges/<uuid:session_id>/contest")
@require(Role.CARDHOLDER)
def contest(session_id: UUID) -> Any:
    """Contest a charge."""
    reason, maker, at = given_note("reason"), principal(), clock.now()
    web.database().run(
        lambda session: contests.contest(session, session_id=session_id, reason=reason, maker=maker, at=at)
    )
    flash(_("Your contest is with the people of the instrument. You see the answer here."), "good")
    return redirect(url_for("reconciliation_pages.contest_form", session_id=session_id))


@blueprint.post("/contests/<int:contest_id>/take-back")
@require(Role.CARDHOLDER)
def take_back(contest_id: int) -> Any:
    """Take one's own contest back."""
    maker, at = principal(), clock.now()
    found = web.database().run(lambda session: contests.take_back(session, contest_id=contest_id, maker=maker, at=at))
    flash(_("The contest is taken back."), "good")
    return redirect(url_for("reports_pages.evidence", session_id=found.session_id))


@blueprint.get("/contests/<int:contest_id>")
@require(*ANSWERERS)
def answer_form(contest_id: int) -> Any:
    """Show a contest with the charge; with an amount, what giving it back would post."""
    g.section = SECTION if not principal().has(Role.GROUP_OPERATOR) else "reports_pages.on_now"
    amount_fen = read_amount(request.args.get("amount", ""))
    with web.database().reader() as session:
        found = contests.get_contest(session, contest_id=contest_id, reader=principal().acting_as(*ANSWERERS))
        row, back = found.session, adjusting.given_back(session, found.session_id)
        verdict = recording.current_verdict(session, row)
        return render_template(
            "reconciliation/answer.html",
            contest=found,
            charge=row,
            verdict=verdict,
            overdue=found.status is ContestStatus.CONTESTED and found.answer_due_at < clock.now(),
            left_fen=(row.amount_fen or 0) - back.amount_fen,
            suggested_fen=0 if verdict is None else adjusting.due_fen(row, verdict, back=back),
            adjustments=adjusting.adjustments_of(session, row.id),
            amount_fen=amount_fen,
            plan=adjusting.plan(session, row, amount_fen=amount_fen) if amount_fen else None,
        )


@blueprint.post("/contests/<int:contest_id>")
@require(*ANSWERERS)
def answer(contest_id: int) -> Any:
    """Uphold the charge, or give back what was shown."""
    text, outcome = given_note("answer"), request.form.get("outcome", "")
    if outcome not in {"uphold", "adjust"}:
        raise Refusal(Code.VALIDATION_FAILED, fields={"outcome": ["uphold, adjust"]})
    amount_fen = read_amount(request.form.get("amount", "")) if outcome == "adjust" else 0
    if outcome == "adjust" and amount_fen == 0:
        raise Refusal(Code.ADJUSTMENT_TOO_LARGE)
    answerer, at = principal().acting_as(*ANSWERERS), clock.now()
    web.database().run(
        lambda session: contests.answer(
            session, contest_id=contest_id, amount_fen=amount_fen, text=text, answerer=answerer, at=at
        )
    )
    if amount_fen:
        flash(_("%(amount)s went back to the card; the customer sees it.", amount=plain_yuan(amount_fen)), "good")
    else:
        flash(_("The charge is upheld; the customer sees your answer."), "good")
    return redirect(url_for("reconciliation_pages.contest_list"))
