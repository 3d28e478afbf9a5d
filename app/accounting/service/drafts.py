"""Manual vouchers and reversals by two people: one drafts, another one decides, and only then the ledger posts."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy.exc
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import ledger
from app.accounting.models import TRANSITIONS, DraftEvent, DraftKind, DraftStatus, VoucherDraft, VoucherDraftLine
from app.accounting.service.vouchers import WHOLE_DRAFT
from app.accounting.service.wishes import (
    Wish,
    WishLine,
    check_value_date,
    check_wish,
    is_reversible,
    post,
    value_moment,
    wish_lines,
)
from app.books import BookRole, chart
from app.db import violated
from app.errors import Code, Refusal
from app.people.principals import Principal
from app.people.service import audit
from ledger.models import Account, Transfer

PAGE_SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of drafts, newest first, and how many there are."""

    drafts: Sequence[VoucherDraft]
    total: int


def draft_voucher(session: Session, *, wish: Wish, maker: Principal, zone: ZoneInfo, at: datetime) -> VoucherDraft:
    """Draft a manual voucher; the same wish again gives the same draft. Refuses like `check_wish`; REQUEST_ID_USED."""
    if (before := _same_before(session, wish.id, maker)) is not None:
        if _content(before) != (wish.text, value_moment(wish.value_on, zone=zone), None, wish.lines):
            raise Refusal(Code.REQUEST_ID_USED)
        return before
    check_wish(session, wish, zone=zone, at=at)
    draft = _new(
        DraftKind.MANUAL,
        draft_id=wish.id,
        text=wish.text,
        value_at=value_moment(wish.value_on, zone=zone),
        maker=maker,
        at=at,
    )
    draft.lines = [
        VoucherDraftLine(
            position=position,
            role=line.role,
            owner_id=line.owner_id,
            debit_fen=line.debit_fen,
            credit_fen=line.credit_fen,
        )
        for position, line in enumerate(wish.lines)
    ]
    return _save(session, draft, maker=maker, at=at)


def draft_reversal(
    session: Session,
    *,
    draft_id: UUID,
    journal_id: UUID,
    text: str,
    value_on: date,
    maker: Principal,
    zone: ZoneInfo,
    at: datetime,
) -> VoucherDraft:
    """Draft the reversal of a posted voucher; `text` says why. The same again gives the same draft.

    Raises Refusal: NOT_FOUND, VOUCHER_NOT_REVERSIBLE, VALUE_DATE_WRONG, PERIOD_CLOSED, REQUEST_ID_USED.
    """
    if (before := _same_before(session, draft_id, maker)) is not None:
        if _content(before) != (text, value_moment(value_on, zone=zone), journal_id, ()):
            raise Refusal(Code.REQUEST_ID_USED)
        return before
    original = ledger.voucher(session, journal_id)
    if original is None:
        raise Refusal(Code.NOT_FOUND)
    if not is_reversible(original):
        raise Refusal(Code.VOUCHER_NOT_REVERSIBLE)
    check_value_date(session, value_on, zone=zone, at=at)
    draft = _new(
        DraftKind.REVERSAL,
        draft_id=draft_id,
        text=text,
        value_at=value_moment(value_on, zone=zone),
        maker=maker,
        at=at,
    )
    draft.reverses_id = journal_id
    return _save(session, draft, maker=maker, at=at)


def decide(
    session: Session, *, draft_id: UUID, approve: bool, checker: Principal, reason: str = "", at: datetime
) -> VoucherDraft:
    """Approve a draft, which posts it, or reject it. What the ledger refuses is not posted, and the draft says why.

    Refuses NOT_FOUND, SAME_PERSON for whoever drafted it, ALREADY_DECIDED unless the same person decides the same
    again.
    """
    draft = _locked(session, draft_id)
    if draft.maker_id == checker.person_id:
        raise Refusal(Code.SAME_PERSON)
    if draft.status is not DraftStatus.WAITING:
        wanted = {DraftStatus.POSTED, DraftStatus.REFUSED} if approve else {DraftStatus.REJECTED}
        if draft.checker_id == checker.person_id and draft.status in wanted:
            return draft
        raise Refusal(Code.ALREADY_DECIDED, status=draft.status.value)
    event = DraftEvent.DECLINED
    draft.reason = reason
    if approve:
        result = post(session, draft, actor=checker.username)
        event = DraftEvent.APPROVED if result.ok else DraftEvent.LEDGER_REFUSED
        if result.ok:
            draft.journal_id = result.journal_id
        else:
            draft.reason = str(result.failed or result.status)
    draft.checker_id = checker.person_id
    return _end(session, draft, event, actor=checker.username, at=at)


def withdraw(session: Session, *, draft_id: UUID, maker: Principal, at: datetime) -> VoucherDraft:
    """Take one's own draft back before anybody decided. Refuses NOT_FOUND, for others' drafts too; ALREADY_DECIDED."""
    draft = _locked(session, draft_id)
    if draft.maker_id != maker.person_id:
        raise Refusal(Code.NOT_FOUND)
    if draft.status is DraftStatus.WITHDRAWN:
        return draft
    if draft.status is not DraftStatus.WAITING:
        raise Refusal(Code.ALREADY_DECIDED, status=draft.status.value)
    return _end(session, draft, DraftEvent.TAKEN_BACK, actor=maker.username, at=at)


def get_draft(session: Session, *, draft_id: UUID) -> VoucherDraft:
    """Give one draft. Raises Refusal NOT_FOUND."""
    found = session.scalar(select(VoucherDraft).where(VoucherDraft.id == draft_id).options(*WHOLE_DRAFT))
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def list_drafts(session: Session, *, status: DraftStatus | None = None, page: int = 1, page_size: int = 50) -> Found:
    """Give a page of drafts, newest first."""
    wanted = select(VoucherDraft)
    if status is not None:
        wanted = wanted.where(VoucherDraft.status == status)
    total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    size = min(page_size, PAGE_SIZE_MAX)
    rows = (
        wanted.options(*WHOLE_DRAFT)
        .order_by(VoucherDraft.created_at.desc(), VoucherDraft.id)
        .limit(size)
        .offset((page - 1) * size)
    )
    return Found(drafts=session.scalars(rows).all(), total=total)


def waiting_in(session: Session, *, since: datetime, until: datetime) -> Sequence[VoucherDraft]:
    """Give the drafts that wait for a decision and bear a value date of [since, until)."""
    wanted = select(VoucherDraft).where(
        VoucherDraft.status == DraftStatus.WAITING, VoucherDraft.value_at >= since, VoucherDraft.value_at < until
    )
    return session.scalars(wanted.options(*WHOLE_DRAFT).order_by(VoucherDraft.value_at, VoucherDraft.number)).all()


def credited_by_hand_fen(session: Session, role: BookRole) -> int:
    """Give what vouchers made here, reversals included, have put on the credit side of a role's accounts."""
    wanted = (
        select(func.coalesce(func.sum(Transfer.amount_fen), 0))
        .join(VoucherDraft, VoucherDraft.journal_id == Transfer.journal_id)
        .join(Account, Account.id == Transfer.credit_account_id)
        .where(Account.code == chart()[role].number)
    )
    return int(session.scalar(wanted) or 0)


def _same_before(session: Session, draft_id: UUID, maker: Principal) -> VoucherDraft | None:
    """Give the draft of that id if this person made it before. Raises Refusal REQUEST_ID_USED for another's."""
    before = session.scalar(select(VoucherDraft).where(VoucherDraft.id == draft_id).options(*WHOLE_DRAFT))
    if before is not None and before.maker_id != maker.person_id:
        raise Refusal(Code.REQUEST_ID_USED)
    return before


def _content(draft: VoucherDraft) -> tuple[str, datetime, UUID | None, tuple[WishLine, ...]]:
    return draft.text, draft.value_at, draft.reverses_id, wish_lines(draft)


def _new(
    kind: DraftKind, *, draft_id: UUID, text: str, value_at: datetime, maker: Principal, at: datetime
) -> VoucherDraft:
    return VoucherDraft(
        id=draft_id,
        number=_number(draft_id, value_at=value_at),
        kind=kind,
        status=DraftStatus.WAITING,
        text=text,
        value_at=value_at,
        maker_id=maker.person_id,
        reason="",
        created_at=at,
    )


def _number(draft_id: UUID, *, value_at: datetime) -> str:
    """Give the number a person reads aloud: the value date and eight letters of the id."""
    # The last 40 bits are random in every version of UUID that a client would make.
    return f"V{value_at:%y%m%d}-{base64.b32encode(draft_id.bytes[-5:]).decode()}"


def _save(session: Session, draft: VoucherDraft, *, maker: Principal, at: datetime) -> VoucherDraft:
    session.add(draft)
    try:
        session.flush()
    except sqlalchemy.exc.IntegrityError as error:
        match violated(error):
            case "uq_voucher_draft_reverses_id":
                raise Refusal(Code.VOUCHER_NOT_REVERSIBLE) from error
            case "pk_voucher_draft" | "uq_voucher_draft_number":
                raise Refusal(Code.REQUEST_ID_USED) from error
        raise
    _audit(session, draft, action="voucher.draft", actor=maker.username, at=at)
    return get_draft(session, draft_id=draft.id)


def _locked(session: Session, draft_id: UUID) -> VoucherDraft:
    found = session.scalar(
        select(VoucherDraft)
        .where(VoucherDraft.id == draft_id)
        .options(*WHOLE_DRAFT)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise Refusal(Code.NOT_FOUND)
    return found


def _end(session: Session, draft: VoucherDraft, event: DraftEvent, *, actor: str, at: datetime) -> VoucherDraft:
    draft.status = TRANSITIONS[draft.status, event]
    draft.decided_at = at
    _audit(session, draft, action=f"voucher.{event}", actor=actor, at=at)
    session.flush()
    session.refresh(draft, ["checker"])
    return draft


def _audit(session: Session, draft: VoucherDraft, *, action: str, actor: str, at: datetime) -> None:
    detail = {"number": draft.number, "status": draft.status.value, "reason": draft.reason}
    audit(session, actor=actor, action=action, subject=f"voucher:{draft.id}", detail=detail, at=at)
