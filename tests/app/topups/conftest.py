"""A center with open books, a customer with a card account, and the people who receive money."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.books import center_books, open_books
from app.cards.service import open_account
from app.db import Database
from app.errors import Code, Refusal
from app.people.models import Person, Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.settings import Settings
from app.topups import service
from app.topups.models import TopUp, TopUpMethod
from app.topups.service import Wish
from tests.app import builders
from tests.app.topups import money


@dataclass(frozen=True, slots=True, kw_only=True)
class Center:
    """Who takes part in a top-up."""

    clerk: Principal
    approver: Principal
    second_approver: Principal
    customer: Principal
    stranger: Principal
    account_id: int
    organisation_account_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """The counter at work: each call is one committed transaction."""

    database: Database
    center: Center
    settings: Settings

    def begin(self, **values: Any) -> TopUp:
        """The clerk enters cash for the customer's own account, unless told otherwise."""
        wish = Wish(**{"id": uuid4(), "account_id": self.center.account_id, "method": TopUpMethod.CASH, **values})
        return self.database.run(
            lambda session: service.begin_counter_top_up(
                session, wish=wish, maker=self.center.clerk, settings=self.settings, at=clock.now()
            )
        )

    def decide(self, top_up: TopUp, **values: Any) -> TopUp:
        """The approver approves, unless told otherwise."""
        given = {"checker": self.center.approver, "approve": True, **values}
        return self.database.run(lambda session: service.decide(session, top_up_id=top_up.id, at=clock.now(), **given))

    def principal_fen(self) -> int:
        """What the customer's own card account holds."""
        return money.principal_fen(self.database, self.center.account_id)


def refusal_of(work: Callable[[], object]) -> Code | None:
    """Do the work and say how it was refused, if it was."""
    try:
        work()
    except Refusal as refusal:
        assert isinstance(refusal.code, Code)  # noqa: PT017 - the code is the answer
        return refusal.code
    return None


@pytest.fixture
def counter(database: Database, center: Center, settings: Settings) -> Counter:
    return Counter(database=database, center=center, settings=settings)


@pytest.fixture
def center(database: Database) -> Center:
    with database.transaction() as session:
        open_books(session, center_books())
        company = builders.organisation(session)
        customer = builders.person(session, username="li.na", role=Role.CARDHOLDER, organisation_id=company.id)
        own = open_account(session, person_id=customer.id, actor="test", at=clock.now())
        shared = open_account(session, organisation_id=company.id, actor="test", at=clock.now())
        return Center(
            clerk=_principal(session, builders.person(session, username="clerk", role=Role.CLERK)),
            approver=_principal(session, builders.person(session, username="approver", role=Role.APPROVER)),
            second_approver=_principal(session, builders.person(session, username="approver2", role=Role.APPROVER)),
            customer=_principal(session, customer),
            stranger=_principal(session, builders.person(session, username="stranger", role=Role.CARDHOLDER)),
            account_id=own.id,
            organisation_account_id=shared.id,
        )


def _principal(session: Session, person: Person) -> Principal:
    session.refresh(person, ["grants"])
    return principal_of(person)
