"""What people read of reconciliation: verdicts, exceptions, unpaid use; each within her own walls."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session, joinedload

from app.errors import Code, Refusal
from app.people.principals import Principal
from app.reconciliation.models import UNPAID_USE, VERIFYING, Adjustment, BoxVerdict, Cause, ChargeVerdict, Verdict
from app.reconciliation.policies import EXCEPTIONAL, leaves_alone
from app.reconciliation.visibility import managed_by, owned_by
from app.sessions.models import FLAGS_TO_REVIEW, CardSession


def list_verdicts(
    session: Session,
    *,
    reader: Principal,
    verdict: ChargeVerdict | None = None,
    instrument_id: int | None = None,
    page: int = 1,
    page_size: int = 50,
) -> tuple[list[Verdict], int]:
    """Give a page of the verdicts that hold now over charges the reader may see, newest first, and how many there are.

    Those are charges of her own accounts and of instruments she manages.
    """
    query = _current().where(or_(owned_by(reader), managed_by(reader)))
    if verdict is not None:
        query = query.where(Verdict.verdict == verdict)
    if instrument_id is not None:
        query = query.where(CardSession.instrument_id == instrument_id)
    return _page(session, query, page=page, page_size=page_size)


def list_exceptions(
    session: Session, *, reader: Principal, page: int = 1, page_size: int = 50
) -> tuple[list[Verdict], int]:
    """Give a page of the charges that wait for a person, among the instruments the reader manages."""
    return _page(session, _current().where(open_exception(), managed_by(reader)), page=page, page_size=page_size)


def open_exception() -> ColumnElement[bool]:
    """Condition on `Verdict` and `CardSession`: a person should look, and nobody has reviewed it.

    It does not verify and does not wait for a box, unless a policy says that nothing follows from it; or a policy gave
    money back, and late data say that the charge was right; or the session itself calls for a person.
    """
    unclear = and_(Verdict.verdict.in_(EXCEPTIONAL), ~leaves_alone(Verdict.verdict))
    return and_(Verdict.review.is_(None), or_(unclear, refunded_in_error(), called_for_by_its_session()))


def called_for_by_its_session() -> ColumnElement[bool]:
    """Condition on `Verdict` and `CardSession`: nobody ended it, or its terminal told what a person must weigh."""
    flagged = CardSession.flags.has_any(array([str(each) for each in FLAGS_TO_REVIEW]))
    return and_(Verdict.verdict != ChargeVerdict.PROVISIONAL, flagged)


def refunded_in_error() -> ColumnElement[bool]:
    """Condition on `Verdict`: it verifies, though a policy has given money back by an earlier version."""
    refunded = exists().where(
        Adjustment.session_id == Verdict.session_id, Adjustment.cause == Cause.POLICY, Adjustment.amount_fen > 0
    )
    return and_(Verdict.verdict.in_(VERIFYING), refunded)


def versions_of(session: Session, *, session_id: UUID, reader: Principal) -> list[Verdict]:
    """Give all versions of the verdict over one charge, oldest first. Raises Refusal NOT_FOUND."""
    found = list(
        session.scalars(
            select(Verdict)
            .join(CardSession, CardSession.id == Verdict.session_id)
            .where(Verdict.session_id == session_id, or_(owned_by(reader), managed_by(reader)))
            .options(joinedload(Verdict.session).joinedload(CardSession.instrument), joinedload(Verdict.reviewed_by))
            .order_by(Verdict.version)
        )
    )
    if not found:
        raise Refusal(Code.NOT_FOUND)
    return found


def list_unpaid_use(
    session: Session, *, reader: Principal, page: int = 1, page_size: int = 50
) -> tuple[list[BoxVerdict], int]:
    """Give a page of the runs nobody paid for, in whole or in part, on instruments the reader manages."""
    query = select(BoxVerdict).where(
        BoxVerdict.superseded_at.is_(None),
        BoxVerdict.verdict.in_(UNPAID_USE),
        managed_by(reader, instrument_id=BoxVerdict.instrument_id),
    )
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    ordered = query.options(joinedload(BoxVerdict.instrument)).order_by(BoxVerdict.started_at.desc(), BoxVerdict.id)
    return list(session.scalars(ordered.limit(page_size).offset((page - 1) * page_size))), total


def _current() -> Select[Verdict]:
    return (
        select(Verdict)
        .join(CardSession, CardSession.id == Verdict.session_id)
        .where(Verdict.superseded_at.is_(None))
        .options(joinedload(Verdict.session).joinedload(CardSession.instrument), joinedload(Verdict.reviewed_by))
    )


def _page(session: Session, query: Select[Verdict], *, page: int, page_size: int) -> tuple[list[Verdict], int]:
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Verdict.id).subquery())) or 0
    ordered = query.order_by(Verdict.decided_at.desc(), Verdict.id.desc())
    return list(session.scalars(ordered.limit(page_size).offset((page - 1) * page_size))), total
