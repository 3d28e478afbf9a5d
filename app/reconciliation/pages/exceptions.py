"""The exception queue and the decision on one charge, with what would be posted before it is."""

from typing import Any
from uuid import UUID

from flask import flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import asked_whole, here, page_links, page_number
from app.errors import Code, Refusal
from app.presentation import plain_yuan
from app.reconciliation import adjusting, contests, policies, queue, recording, service
from app.reconciliation.models import ADJUSTING, ChargeVerdict, Review
from app.reconciliation.pages.common import DECIDERS, SECTION, STAFF, blueprint, decider, given_note, read_amount
from app.reconciliation.queue import Order, Wanted
from app.security import principal, require
from app.sessions.models import FLAGS_TO_REVIEW
from app.texts import _


@blueprint.get("/exceptions")
@require(*STAFF)
def exceptions() -> Any:
    """Show the charges that wait for a person, filtered and sorted, and the sessions that are overdue."""
    verdict, order = request.args.get("verdict", ""), request.args.get("order", "")
    wanted = Wanted(
        verdict=ChargeVerdict(verdict) if verdict in set(policies.EXCEPTIONAL) else None,
        instrument_id=asked_whole("instrument") or None,
        contested=request.args.get("which") == "contested",
        adjusted=request.args.get("which") == "adjusted",
        order=Order(order) if order in set(Order) else Order.OLDEST,
        page=page_number(),
    )
    with web.database().reader() as session:
        found = queue.queue(session, reader=principal(), wanted=wanted, at=clock.now())
        return render_template(
            "reconciliation/exceptions.html",
            found=found,
            wanted=wanted,
            which=request.args.get("which", ""),
            flags_to_review=FLAGS_TO_REVIEW,
            verdicts=policies.EXCEPTIONAL,
            orders=tuple(Order),
            here=here,
            links=page_links(wanted.page, has_more=found.has_more),
        )


@blueprint.get("/exceptions/<uuid:session_id>")
@require(*DECIDERS)
def decision(session_id: UUID) -> Any:
    """Ask for a decision on one charge; with an amount, show what giving it back would post."""
    g.section = SECTION
    amount_fen = read_amount(request.args.get("amount", ""))
    with web.database().reader() as session:
        row = service.charge_of(session, session_id=session_id, reader=decider())
        verdict = recording.current_verdict(session, row)
        if verdict is None:
            raise Refusal(Code.NOT_REVIEWABLE)
        back = adjusting.given_back(session, session_id)
        return render_template(
            "reconciliation/decision.html",
            charge=row,
            verdict=verdict,
            reviewable=service.needs_person(session, verdict),
            contest=contests.contest_of(session, session_id),
            adjustments=adjusting.adjustments_of(session, session_id),
            held=policies.held_for(session, row),
            left_fen=(row.amount_fen or 0) - back.amount_fen,
            suggested_fen=adjusting.due_fen(row, verdict, back=back),
            amount_fen=amount_fen,
            plan=adjusting.plan(session, row, amount_fen=amount_fen) if amount_fen else None,
        )


@blueprint.post("/exceptions/<uuid:session_id>")
@require(*DECIDERS)
def decide(session_id: UUID) -> Any:
    """Verify, uphold, or give back under the person's name."""
    note, chosen = given_note(), request.form.get("outcome", "")
    if chosen not in set(Review):
        raise Refusal(Code.VALIDATION_FAILED, fields={"outcome": [", ".join(Review)]})
    outcome = Review(chosen)
    amount_fen = read_amount(request.form.get("amount", "")) if outcome in ADJUSTING else 0
    reader, at = decider(), clock.now()
    web.database().run(
        lambda session: service.review(
            session, session_id=session_id, outcome=outcome, note=note, reader=reader, at=at, amount_fen=amount_fen
        )
    )
    if amount_fen:
        flash(_("%(amount)s went back to the card; the customer sees it.", amount=plain_yuan(amount_fen)), "good")
    else:
        flash(_("Your word stands beside the evidence; the box's verdict is kept."), "good")
    return redirect(url_for("reconciliation_pages.exceptions"))
