"""Top-ups in the browser: the customer pays online; at the counter one person enters and another approves."""

from typing import Any
from uuid import UUID, uuid4

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from app import clock, money, web
from app.asking import given_whole
from app.cards import service as cards
from app.errors import Code, Refusal
from app.people.models import Role
from app.presentation import CENTER
from app.security import principal, require
from app.texts import _
from app.topups import online, postings, service
from app.topups.models import TopUpMethod, TopUpStatus
from app.topups.service import Wish
from app.topups.stripe import Stripe

blueprint = Blueprint("topups_pages", __name__)

RECENT = 20
SUGGESTED_FEN = (100_00, 200_00, 500_00, 1_000_00)
NUMBER_LENGTH_MAX = 40
REFERENCE_LENGTH_MAX = 64
REASON_LENGTH_MAX = 200


@blueprint.get("/top-up")
@require(Role.CARDHOLDER)
def start() -> Any:
    """Ask which account and how much; show what was topped up before."""
    with web.database().reader() as session:
        return render_template(
            "topups/start.html",
            views=cards.accounts_of(session, reader=principal()),
            recent=service.list_top_ups(session, viewer=principal(), page_size=RECENT).items,
            suggested=SUGGESTED_FEN,
            minimum_fen=web.settings().top_up_fen_min,
        )


@blueprint.post("/top-up/review")
@require(Role.CARDHOLDER)
def review() -> Any:
    """Show what will be posted; nothing is begun yet."""
    g.section = "topups_pages.start"
    wish = _online_wish()
    with web.database().reader() as session:
        view = cards.account_view(session, account_id=wish.account_id, reader=principal())
        return render_template("topups/review.html", wish=wish, view=view, lines=_preview(session, wish))


@blueprint.post("/top-up")
@require(Role.CARDHOLDER)
def begin() -> Any:
    """Begin the top-up and lead to the payment page; the same form sent twice is one top-up."""
    top_up = online.begin(
        web.database(),
        gateway=Stripe(web.settings()),
        settings=web.settings(),
        wish=_online_wish(),
        customer=principal(),
    )
    if top_up.checkout_url is None:
        raise Refusal(Code.PAYMENT_SERVICE_UNAVAILABLE)
    return redirect(top_up.checkout_url)


@blueprint.get("/top-ups/<uuid:top_up_id>/return")
@require()
def came_back(top_up_id: UUID) -> Any:
    """Say how the payment stands, after asking the payment service itself: its message may still be on the way."""
    g.section = "topups_pages.start"
    viewer = principal()
    with web.database().reader() as session:
        top_up = service.get_top_up(session, top_up_id=top_up_id, viewer=viewer)
        waiting = top_up.method is TopUpMethod.ONLINE and top_up.status is TopUpStatus.AWAITING_PAYMENT
    asked = True
    if waiting:
        try:
            online.look(web.database(), gateway=Stripe(web.settings()), top_up_id=top_up_id)
        except Refusal:
            asked = False
    with web.database().reader() as session:
        top_up = service.get_top_up(session, top_up_id=top_up_id, viewer=viewer)
        return render_template("topups/came_back.html", top_up=top_up, asked=asked)


@blueprint.get("/counter")
@require(*CENTER)
def counter() -> Any:
    """Show the clerk's form, what waits for approval, and what was decided last."""
    viewer = principal()
    with web.database().reader() as session:
        waiting = service.list_top_ups(session, viewer=viewer, status=TopUpStatus.AWAITING_APPROVAL).items
        return render_template(
            "topups/counter.html",
            waiting=waiting,
            recent=service.list_top_ups(session, viewer=viewer, page_size=RECENT).items,
            lines={each.id: postings.preview(session, **_posted(each)) for each in waiting},
        )


@blueprint.post("/counter/review")
@require(Role.CLERK)
def review_counter() -> Any:
    """Show what the clerk entered and what will be posted when another person approves it."""
    g.section = "topups_pages.counter"
    number = "".join(request.form.get("number", "").split())[:NUMBER_LENGTH_MAX]
    with web.database().reader() as session:
        view = cards.find_account(session, number=number)
        wish = _counter_wish(account_id=view.account.id)
        return render_template("topups/review_counter.html", wish=wish, view=view, lines=_preview(session, wish))


@blueprint.post("/counter")
@require(Role.CLERK)
def enter() -> Any:
    """Enter money received; it is credited when another person approves it."""
    maker, at = principal(), clock.now()
    wish = _counter_wish(account_id=given_whole("account_id"))
    top_up = web.database().run(
        lambda session: service.begin_counter_top_up(session, wish=wish, maker=maker, settings=web.settings(), at=at)
    )
    flash(_("Top-up %(number)s waits for a second person's approval.", number=top_up.number), "good")
    return redirect(url_for("topups_pages.counter"))


@blueprint.post("/counter/<uuid:top_up_id>/decision")
@require(Role.APPROVER)
def decide(top_up_id: UUID) -> Any:
    """Approve, which posts what the list shows, or reject with a reason."""
    approve = request.form.get("decision") == "approve"
    reason = " ".join(request.form.get("reason", "").split())
    if len(reason) > REASON_LENGTH_MAX or (not approve and not reason):
        raise Refusal(Code.VALIDATION_FAILED, fields={"reason": [f"1–{REASON_LENGTH_MAX}"]})
    checker, at = principal(), clock.now()
    top_up = web.database().run(
        lambda session: service.decide(
            session, top_up_id=top_up_id, approve=approve, checker=checker, reason=reason, at=at
        )
    )
    done = _("Top-up %(number)s is credited.") if approve else _("Top-up %(number)s is rejected; nothing was posted.")
    flash(done % {"number": top_up.number}, "good")
    return redirect(url_for("topups_pages.counter"))


def _online_wish() -> Wish:
    return Wish(
        id=_request_id(), account_id=given_whole("account_id"), amount_fen=_amount_fen(), method=TopUpMethod.ONLINE
    )


def _counter_wish(*, account_id: int) -> Wish:
    method = request.form.get("method", "")
    if method not in (TopUpMethod.CASH, TopUpMethod.BANK_TRANSFER):
        raise Refusal(Code.VALIDATION_FAILED, fields={"method": ["cash, bank_transfer"]})
    reference = request.form.get("bank_reference", "").strip()
    if len(reference) > REFERENCE_LENGTH_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={"bank_reference": [f"≤ {REFERENCE_LENGTH_MAX}"]})
    return Wish(
        id=_request_id(),
        account_id=account_id,
        amount_fen=_amount_fen(),
        method=TopUpMethod(method),
        bank_reference=reference or None,
    )


def _request_id() -> UUID:
    """The id that makes a form sent twice one top-up; the review page makes it."""
    given = request.form.get("request_id")
    try:
        return uuid4() if given is None else UUID(given)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"request_id": ["UUID"]}) from error


def _amount_fen() -> int:
    text = request.form.get("amount", "") or request.form.get("suggested", "")
    try:
        return money.parse_yuan(text)
    except ValueError as error:
        raise Refusal(Code.VALIDATION_FAILED, fields={"amount": [_("An amount in yuan, such as 100.00")]}) from error


def _posted(top_up: Any) -> dict[str, Any]:
    return {"account_id": top_up.account_id, "amount_fen": top_up.amount_fen, "method": top_up.method}


def _preview(session: Any, wish: Wish) -> list[postings.Intended]:
    return postings.preview(session, account_id=wish.account_id, amount_fen=wish.amount_fen, method=wish.method)
