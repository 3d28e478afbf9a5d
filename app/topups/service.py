"""Top-ups: begun at the counter by a clerk and decided by a second person, or begun online by the customer."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

import sqlalchemy.exc
from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session, joinedload

from app import books, clock
from app.cards.models import AccountStatus, CardAccount
from app.cards.service import account_balances, own_accounts
from app.db import violated
from app.errors import Code, Refusal
from app.people.principals import Principal
from app.people.service import audit
from app.settings import Settings
from app.topups import postings
from app.topups.gateway import Checkout
from app.topups.models import TRANSITIONS, PspPayment, TopUp, TopUpEvent, TopUpMethod, TopUpStatus

# How long a payment page stays open. The payment service wants between 30 minutes and 24 hours, counted when it first
# hears of it: an hour leaves half an hour in which a retry may be the first that reaches it.
CHECKOUT_LIFETIME = timedelta(hours=1)
# The payment service itself tells us that a page is over; so much later we stop waiting for it to say so.
EXPIRY_GRACE = timedelta(minutes=15)
OPEN = (TopUpStatus.AWAITING_APPROVAL, TopUpStatus.AWAITING_PAYMENT)
PAGE_SIZE_MAX = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A top-up as somebody asks for it. The asker makes the id, so that asking twice is asking once."""

    id: UUID
    account_id: int
    amount_fen: int
    method: TopUpMethod
    bank_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[T]):
    """One page of a list, newest first, and how long the whole list is."""

    items: Sequence[T]
    total: int


def begin_counter_top_up(session: Session, *, wish: Wish, maker: Principal, settings: Settings, at: datetime) -> TopUp:
    """Record money that a clerk received; it is credited when a second person approves.

    The same wish again gives the same top-up. Cash of 5,000 yuan and more of an organisation, 50,000 of a person, must
    come by bank transfer instead (单用途商业预付卡管理办法). Refuses NOT_FOUND, ACCOUNT_NOT_ACTIVE, AMOUNT_TOO_SMALL,
    AMOUNT_TOO_LARGE, BALANCE_CAP_EXCEEDED, BANK_REFERENCE_USED, REQUEST_ID_USED.
    """
    top_up = _begin(session, wish=wish, maker=maker, settings=settings, at=at)
    return _save(session, top_up, maker=maker, at=at)


def begin_online_top_up(
    session: Session, *, wish: Wish, maker: Principal, settings: Settings, at: datetime, real_at: datetime
) -> TopUp:
    """Record that a customer wants to pay online; `app.topups.online` asks the payment service after the commit.

    The same wish again gives the same top-up. Refuses NOT_FOUND for an account that is not the customer's, else as at
    the counter.
    """
    if not session.scalar(select(CardAccount.id).where(CardAccount.id == wish.account_id, own_accounts(maker))):
        raise Refusal(Code.NOT_FOUND)
    top_up = _begin(session, wish=wish, maker=maker, settings=settings, at=at)
    top_up.checkout_expires_at = top_up.checkout_expires_at or _whole_second(real_at + CHECKOUT_LIFETIME)
    return _save(session, top_up, maker=maker, at=at)


def decide(
    session: Session, *, top_up_id: UUID, approve: bool, checker: Principal, reason: str = "", at: datetime
) -> TopUp:
    """Approve a counter top-up, which credits it, or reject it.

    Refuses NOT_FOUND, SAME_PERSON for whoever entered it, ACCOUNT_NOT_ACTIVE for a closed account, ALREADY_DECIDED
    unless the same person decides the same again.
    """
    top_up = lock(session, TopUp.id == top_up_id)
    if top_up is None or top_up.method is TopUpMethod.ONLINE:
        raise Refusal(Code.NOT_FOUND)
    if top_up.maker_id == checker.person_id:
        raise Refusal(Code.SAME_PERSON)
    event = TopUpEvent.APPROVED if approve else TopUpEvent.REFUSED
    wanted = TRANSITIONS[TopUpStatus.AWAITING_APPROVAL, event]
    if top_up.status is not TopUpStatus.AWAITING_APPROVAL:
        if (top_up.checker_id, top_up.status) == (checker.person_id, wanted):
            return top_up
        raise Refusal(Code.ALREADY_DECIDED, status=top_up.status.value)
    if approve:
        _credit_counter(session, top_up, checker=checker, at=at)
    move(top_up, event, at=at)
    top_up.checker_id = checker.person_id
    top_up.reason = reason
    action = "top_up.approve" if approve else "top_up.reject"
    _audit(session, top_up, actor=checker.username, action=action, at=at, detail={"reason": reason})
    return top_up


def remember_checkout(session: Session, *, top_up_id: UUID, checkout: Checkout, mismatches: Sequence[str]) -> TopUp:
    """Write down the payment page that the payment service made."""
    top_up = _locked(session, top_up_id)
    top_up.checkout_id = top_up.checkout_id or checkout.id
    if top_up.checkout_id == checkout.id:
        top_up.checkout_url = checkout.url
        top_up.reason = f"mismatch: {', '.join(mismatches)}" if mismatches else ""
    return top_up


def remember_refusal(session: Session, *, top_up_id: UUID, attempt: int, reason: str, real_at: datetime) -> TopUp:
    """Write down that the payment service said no, and open a new attempt: the old one would hear the same again."""
    top_up = _locked(session, top_up_id)
    if top_up.attempt == attempt and top_up.checkout_id is None:
        top_up.attempt += 1
        top_up.checkout_expires_at = _whole_second(real_at + CHECKOUT_LIFETIME)
        top_up.reason = reason
    return top_up


def expire_old(session: Session, *, at: datetime, limit: int) -> int:
    """End online top-ups whose payment page has been over for a while, so that they no longer count as pending.

    Safe against a late payment: money that comes after all is still credited.
    """
    # The page's time is the payment service's, and that is real time.
    over = TopUp.checkout_expires_at < clock.real_now() - EXPIRY_GRACE
    found = session.scalars(
        select(TopUp)
        .where(TopUp.status == TopUpStatus.AWAITING_PAYMENT, over)
        .order_by(TopUp.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for top_up in found:
        move(top_up, TopUpEvent.CHECKOUT_EXPIRED, at=at)
    return len(found)


def get_top_up(session: Session, *, top_up_id: UUID, viewer: Principal) -> TopUp:
    """Give one top-up that the viewer may see. Refuses NOT_FOUND."""
    found = session.scalar(_visible_top_ups(viewer).where(TopUp.id == top_up_id))
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def list_top_ups(
    session: Session,
    *,
    viewer: Principal,
    status: TopUpStatus | None = None,
    account_id: int | None = None,
    page: int = 1,
    page_size: int = 50,
) -> Found[TopUp]:
    """Give the top-ups that the viewer may see: the center all, a customer those of the own accounts."""
    wanted = _visible_top_ups(viewer)
    if status is not None:
        wanted = wanted.where(TopUp.status == status)
    if account_id is not None:
        wanted = wanted.where(TopUp.account_id == account_id)
    total = session.scalar(select(func.count()).select_from(wanted.order_by(None).subquery())) or 0
    size = min(page_size, PAGE_SIZE_MAX)
    rows = wanted.order_by(TopUp.created_at.desc(), TopUp.id).limit(size).offset((page - 1) * size)
    return Found(items=session.scalars(rows).all(), total=total)


def list_payment_problems(session: Session, *, page: int = 1, page_size: int = 50) -> Found[PspPayment]:
    """Give the online payments that were not simply credited, for finance to look at."""
    wanted = select(PspPayment).where(PspPayment.problem.is_not(None))
    total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    size = min(page_size, PAGE_SIZE_MAX)
    rows = wanted.order_by(PspPayment.received_at.desc(), PspPayment.id).limit(size).offset((page - 1) * size)
    return Found(items=session.scalars(rows).all(), total=total)


def top_up_number(top_up_id: UUID, *, at: datetime, settings: Settings) -> str:
    """Give the number a person reads aloud: the site's date and eight letters of the id."""
    day = at.astimezone(settings.site_timezone)
    # The last 40 bits are random in every version of UUID that a client would make.
    return f"T{day:%y%m%d}-{base64.b32encode(top_up_id.bytes[-5:]).decode()}"


def lock(session: Session, which: ColumnElement[bool]) -> TopUp | None:
    """Give one top-up and keep it from changing until this transaction ends."""
    return session.scalar(select(TopUp).where(which).with_for_update().execution_options(populate_existing=True))


def move(top_up: TopUp, event: TopUpEvent, *, at: datetime) -> bool:
    """Let an event happen to a top-up; say whether it changed anything."""
    status = TRANSITIONS.get((top_up.status, event))
    if status is None:
        return False
    top_up.status = status
    top_up.decided_at = at
    return True


def _begin(session: Session, *, wish: Wish, maker: Principal, settings: Settings, at: datetime) -> TopUp:
    """Give the top-up of a wish, checked against all limits but not saved; or the one the same wish made before."""
    # The lock makes the wishes for one account queue, so that together they cannot pass the cap.
    account = session.scalar(
        select(CardAccount).where(CardAccount.id == wish.account_id).with_for_update(key_share=True)
    )
    if account is None:
        raise Refusal(Code.NOT_FOUND)
    reference = " ".join((wish.bank_reference or "").split()) or None
    if (wish.method is TopUpMethod.BANK_TRANSFER) != (reference is not None):
        raise Refusal(Code.VALIDATION_FAILED, bank_reference="goes with a bank transfer, and only with it")
    if (before := session.get(TopUp, wish.id)) is not None:
        _check_same(before, wish=wish, reference=reference, maker=maker)
        return before
    if account.status is not AccountStatus.ACTIVE:
        raise Refusal(Code.ACCOUNT_NOT_ACTIVE)
    _check_amount(wish, account=account, settings=settings)
    _check_cap(session, wish, account=account, settings=settings)
    online = wish.method is TopUpMethod.ONLINE
    return TopUp(
        id=wish.id,
        number=top_up_number(wish.id, at=at, settings=settings),
        account_id=wish.account_id,
        amount_fen=wish.amount_fen,
        method=wish.method,
        status=TopUpStatus.AWAITING_PAYMENT if online else TopUpStatus.AWAITING_APPROVAL,
        maker_id=maker.person_id,
        bank_reference=reference,
        attempt=1,
        reason="",
        created_at=at,
    )


def _check_same(before: TopUp, *, wish: Wish, reference: str | None, maker: Principal) -> None:
    kept = (before.account_id, before.amount_fen, before.method, before.bank_reference, before.maker_id)
    if kept != (wish.account_id, wish.amount_fen, wish.method, reference, maker.person_id):
        raise Refusal(Code.REQUEST_ID_USED)


def _check_amount(wish: Wish, *, account: CardAccount, settings: Settings) -> None:
    if wish.amount_fen < settings.top_up_fen_min:
        raise Refusal(Code.AMOUNT_TOO_SMALL, minimum_fen=settings.top_up_fen_min)
    if wish.amount_fen > settings.top_up_fen_max:
        raise Refusal(Code.AMOUNT_TOO_LARGE, maximum_fen=settings.top_up_fen_max)
    if wish.method is TopUpMethod.CASH:
        is_person = account.person_id is not None
        bank_from_fen = settings.cash_fen_max_person if is_person else settings.cash_fen_max_organisation
        # The regulation asks for a bank transfer from this amount on, so cash ends one fen below it.
        if wish.amount_fen >= bank_from_fen:
            raise Refusal(Code.AMOUNT_TOO_LARGE, maximum_fen=bank_from_fen - 1)


def _check_cap(session: Session, wish: Wish, *, account: CardAccount, settings: Settings) -> None:
    """Hold a person's principal, with what is on its way and less what will repay a debt, under the cap."""
    if account.person_id is None:
        return
    # Pending before balance: what is credited in between counts twice, which refuses too much and never too little.
    pending_fen = session.scalar(
        select(func.coalesce(func.sum(TopUp.amount_fen), 0)).where(
            TopUp.account_id == account.id, TopUp.status.in_(OPEN)
        )
    )
    money = account_balances(session, [account.id])[account.id]
    room_fen = settings.person_balance_cap_fen - money.principal_fen + money.debt_fen - int(pending_fen or 0)
    if wish.amount_fen > room_fen:
        raise Refusal(Code.BALANCE_CAP_EXCEEDED, maximum_fen=max(0, room_fen))


def _save(session: Session, top_up: TopUp, *, maker: Principal, at: datetime) -> TopUp:
    if top_up in session:
        return top_up
    session.add(top_up)
    try:
        session.flush()
    except sqlalchemy.exc.IntegrityError as error:
        match violated(error):
            case "uq_top_up_bank_reference":
                raise Refusal(Code.BANK_REFERENCE_USED) from error
            case "pk_top_up" | "uq_top_up_number":
                raise Refusal(Code.REQUEST_ID_USED) from error
        raise
    _audit(session, top_up, actor=maker.username, action="top_up.begin", at=at, detail={})
    return top_up


def _credit_counter(session: Session, top_up: TopUp, *, checker: Principal, at: datetime) -> None:
    account = session.get_one(CardAccount, top_up.account_id)
    if account.status is AccountStatus.CLOSED:
        raise Refusal(Code.ACCOUNT_NOT_ACTIVE)
    voucher = books.Voucher(
        key=f"topup:{top_up.number}:credit",
        reference=top_up.number,
        text=f"柜台充值 {top_up.number}" + (f" 流水号 {top_up.bank_reference}" if top_up.bank_reference else ""),
        actor=checker.username,
        value_at=at,
    )
    postings.credit_account(
        session, voucher, account_id=top_up.account_id, amount_fen=top_up.amount_fen, method=top_up.method
    )


def _locked(session: Session, top_up_id: UUID) -> TopUp:
    top_up = lock(session, TopUp.id == top_up_id)
    if top_up is None:
        raise Refusal(Code.NOT_FOUND)
    return top_up


def _visible_top_ups(viewer: Principal) -> Select[TopUp]:
    wanted = select(TopUp).join(TopUp.account).options(joinedload(TopUp.account))
    return wanted.where(true() if viewer.sees_everything else own_accounts(viewer))


def _whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _audit(session: Session, top_up: TopUp, *, actor: str, action: str, at: datetime, detail: dict[str, str]) -> None:
    detail = {"number": top_up.number, "amount_fen": str(top_up.amount_fen), "method": top_up.method.value, **detail}
    audit(session, actor=actor, action=action, subject=f"top_up:{top_up.id}", detail=detail, at=at)
