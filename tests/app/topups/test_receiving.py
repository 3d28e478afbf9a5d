"""Messages of the payment service: in any order and number they give the same books, and nothing is dropped."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import ledger
from app import books, clock
from app.books import BookRole
from app.cards.models import AccountStatus, CardAccount
from app.cards.service import open_account
from app.db import Database
from app.topups import online, postings, receiving, service
from app.topups.models import EventStatus, PaymentProblem, PspEvent, TopUp, TopUpMethod, TopUpStatus
from app.topups.service import Wish
from app.topups.stripe import event_of
from tests.app.topups import messages
from tests.app.topups.conftest import Counter
from tests.app.topups.messages import Payload
from tests.app.topups.money import balance_fen, debt_fen, owe, principal_fen


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the payment service's tests: begins top-ups, and hears nothing of HTTP."""

    counter: Counter

    def begin(self, amount_fen: int = 100_00, *, account_id: int | None = None) -> TopUp:
        center = self.counter.center
        wish = Wish(
            id=uuid4(),
            account_id=account_id or center.account_id,
            amount_fen=amount_fen,
            method=TopUpMethod.ONLINE,
        )
        return self.counter.database.run(
            lambda session: service.begin_online_top_up(
                session,
                wish=wish,
                maker=center.customer,
                settings=self.counter.settings,
                at=clock.now(),
                real_at=clock.real_now(),
            )
        )

    def hears(self, *payloads: Payload) -> EventStatus:
        """Let the service receive messages one after the other; say what became of the last."""
        statuses = [
            online.deliver(self.counter.database, event=event_of(payload), livemode=False) for payload in payloads
        ]
        return statuses[-1]

    def status(self, top_up: TopUp) -> TopUpStatus:
        with self.counter.database.reader() as session:
            return session.get_one(TopUp, top_up.id).status

    def problems(self) -> list[PaymentProblem | None]:
        with self.counter.database.reader() as session:
            return [payment.problem for payment in service.list_payment_problems(session).items]


@pytest.fixture
def customer(counter: Counter) -> Customer:
    return Customer(counter)


@dataclass(frozen=True, slots=True)
class Tale:
    """What may happen to one top-up at the payment service, and what the books must say in the end."""

    messages: Callable[[TopUp], list[Payload]]
    status: TopUpStatus
    credited: bool = False
    unidentified_fen: int = 0


TALES = {
    "paid at once": Tale(
        lambda top_up: [messages.completed(top_up), messages.succeeded(top_up)], TopUpStatus.CREDITED, credited=True
    ),
    "paid later": Tale(
        lambda top_up: [
            messages.completed_unpaid(top_up),
            messages.paid_later(top_up),
            messages.succeeded(top_up),
        ],
        TopUpStatus.CREDITED,
        credited=True,
    ),
    "failed later": Tale(
        lambda top_up: [messages.completed_unpaid(top_up), messages.failed_later(top_up)], TopUpStatus.FAILED
    ),
    "expired": Tale(lambda top_up: [messages.expired(top_up)], TopUpStatus.EXPIRED),
    "failed, expired, and paid after all": Tale(
        lambda top_up: [messages.failed_later(top_up), messages.expired(top_up), messages.succeeded(top_up)],
        TopUpStatus.CREDITED,
        credited=True,
    ),
    "another amount": Tale(
        lambda top_up: [
            messages.completed(top_up, amount_total=60_00),
            messages.succeeded(top_up, amount=60_00, amount_received=60_00),
        ],
        TopUpStatus.AWAITING_PAYMENT,
        unidentified_fen=60_00,
    ),
    "paid twice": Tale(
        lambda top_up: [messages.succeeded(top_up), messages.succeeded(top_up, id=f"pi_again_{top_up.number}")],
        TopUpStatus.CREDITED,
        credited=True,
        unidentified_fen=100_00,
    ),
    "a stranger's payment": Tale(
        lambda top_up: [messages.succeeded(top_up, metadata={"order": "7"}), messages.event("charge.refunded", {})],
        TopUpStatus.AWAITING_PAYMENT,
    ),
}


@given(
    tales=st.lists(st.sampled_from(sorted(TALES)), min_size=1, max_size=4),
    owed_fen=st.sampled_from([0, 30_00, 250_00]),
    data=st.data(),
)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_order_and_repetition_gives_the_same_books(
    customer: Customer, tales: list[str], owed_fen: int, data: st.DataObject
) -> None:
    database = customer.counter.database
    with database.transaction() as session:
        account = open_account(
            session, person_id=customer.counter.center.customer.person_id, actor="test", at=clock.now()
        )
        if owed_fen:
            owe(session, account.id, amount_fen=owed_fen)
    before_fen = -balance_fen(database, BookRole.UNIDENTIFIED)
    top_ups = [customer.begin(account_id=account.id) for _ in tales]
    told = [message for top_up, tale in zip(top_ups, tales, strict=True) for message in TALES[tale].messages(top_up)]
    repeated = data.draw(st.lists(st.sampled_from(told), max_size=len(told)))
    customer.hears(*data.draw(st.permutations(told + repeated)))

    paid_fen = sum(100_00 for tale in tales if TALES[tale].credited)
    assert debt_fen(database, account.id) == max(0, owed_fen - paid_fen)
    assert principal_fen(database, account.id) == max(0, paid_fen - owed_fen)
    unidentified_fen = -balance_fen(database, BookRole.UNIDENTIFIED) - before_fen
    assert unidentified_fen == sum(TALES[tale].unidentified_fen for tale in tales)
    assert [customer.status(top_up) for top_up in top_ups] == [TALES[tale].status for tale in tales]
    with database.reader() as session:
        assert ledger.audit(session) == []


@pytest.mark.parametrize("kinds", [("succeeded",), ("succeeded", "completed", "paid_later")])
def test_eight_deliveries_at_once_credit_once(customer: Customer, kinds: tuple[str, ...]) -> None:
    for round_ in range(1, 4):
        top_up = customer.begin()
        payloads = [getattr(messages, kind)(top_up) for kind in kinds]
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(customer.hears, [payloads[number % len(payloads)] for number in range(8)]))
        assert statuses == {EventStatus.DONE}
        assert customer.counter.principal_fen() == round_ * 100_00


MISFITS: list[tuple[Payload, PaymentProblem, int]] = [
    ({"amount_received": 60_00}, PaymentProblem.OTHER_AMOUNT, 60_00),
    ({"metadata": {"topup_no": "T000000-NOSUCH00"}}, PaymentProblem.UNKNOWN_TOP_UP, 100_00),
    ({"currency": "usd"}, PaymentProblem.OTHER_CURRENCY, 0),
    ({"amount_received": None}, PaymentProblem.NO_AMOUNT, 0),
    ({"amount_received": True}, PaymentProblem.NO_AMOUNT, 0),
    ({"amount_received": 100_00.0}, PaymentProblem.NO_AMOUNT, 0),
    ({"amount_received": 0}, PaymentProblem.NO_AMOUNT, 0),
    ({"amount_received": 2**70}, PaymentProblem.NO_AMOUNT, 0),
    ({"id": None}, PaymentProblem.NO_PAYMENT_INTENT, 0),
]


def test_money_that_does_not_fit_is_kept_apart_and_listed(customer: Customer) -> None:
    expected_fen = 0
    for changes, problem, unidentified_fen in MISFITS:
        top_up = customer.begin()
        assert customer.hears(messages.succeeded(top_up, **changes)) is EventStatus.DONE
        expected_fen += unidentified_fen
        assert customer.counter.principal_fen() == 0
        assert -balance_fen(customer.counter.database, BookRole.UNIDENTIFIED) == expected_fen, problem
        assert customer.problems()[0] is problem
        assert customer.status(top_up) is TopUpStatus.AWAITING_PAYMENT


def test_a_message_of_test_mode_books_nothing_on_a_live_site(customer: Customer) -> None:
    top_up = customer.begin()
    for payload in (messages.succeeded(top_up), messages.expired(top_up)):
        online.deliver(customer.counter.database, event=event_of(payload), livemode=True)
    assert customer.counter.principal_fen() == 0
    assert customer.problems() == [PaymentProblem.OTHER_MODE]
    assert customer.status(top_up) is TopUpStatus.AWAITING_PAYMENT


def test_a_payment_for_a_closed_account_is_kept_apart(customer: Customer) -> None:
    top_up = customer.begin()
    with customer.counter.database.transaction() as session:
        session.get_one(CardAccount, top_up.account_id).status = AccountStatus.CLOSED
    customer.hears(messages.succeeded(top_up))
    assert customer.problems() == [PaymentProblem.ACCOUNT_CLOSED]
    assert -balance_fen(customer.counter.database, BookRole.UNIDENTIFIED) == 100_00


def test_a_message_without_amount_does_not_stand_in_the_way_of_one_with_it(customer: Customer) -> None:
    top_up = customer.begin()
    customer.hears(messages.completed(top_up, amount_total=None))
    assert customer.problems() == [PaymentProblem.NO_AMOUNT]
    customer.hears(messages.succeeded(top_up))
    assert customer.counter.principal_fen() == 100_00
    assert customer.problems() == []


def test_messages_that_contradict_each_other_are_listed_and_book_once(customer: Customer) -> None:
    top_up = customer.begin()
    customer.hears(messages.succeeded(top_up), messages.completed(top_up, amount_total=60_00))
    assert customer.counter.principal_fen() == 100_00
    assert customer.problems() == [PaymentProblem.CONTRADICTION]


def test_a_second_payment_of_one_top_up_is_kept_apart(customer: Customer) -> None:
    top_up = customer.begin()
    customer.hears(messages.succeeded(top_up), messages.succeeded(top_up, id="pi_again"))
    assert customer.counter.principal_fen() == 100_00
    assert -balance_fen(customer.counter.database, BookRole.UNIDENTIFIED) == 100_00
    assert customer.problems() == [PaymentProblem.PAID_BEFORE]


def test_unpaid_completed_credits_nothing(customer: Customer) -> None:
    top_up = customer.begin()
    assert customer.hears(messages.completed_unpaid(top_up)) is EventStatus.DONE
    assert customer.counter.principal_fen() == 0
    assert customer.status(top_up) is TopUpStatus.AWAITING_PAYMENT


def test_the_end_of_an_earlier_page_does_not_end_the_present_one(customer: Customer) -> None:
    top_up = customer.begin()
    with customer.counter.database.transaction() as session:
        session.get_one(TopUp, top_up.id).checkout_id = "cs_present"
    customer.hears(messages.expired(top_up))
    assert customer.status(top_up) is TopUpStatus.AWAITING_PAYMENT


def test_a_failed_event_is_kept_and_done_when_it_comes_again(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = messages.succeeded(customer.begin())

    def fail(*_: object, **__: object) -> None:
        raise books.PostingError("the ledger says no")

    with monkeypatch.context() as broken:
        broken.setattr(postings, "credit_account", fail)
        with pytest.raises(books.PostingError):
            customer.hears(payload)
    assert _event_status(customer.counter.database, payload) is EventStatus.FAILED
    assert customer.counter.principal_fen() == 0
    assert customer.hears(payload) is EventStatus.DONE
    assert customer.counter.principal_fen() == 100_00


def test_an_event_that_was_only_seen_is_processed_when_it_comes_again(customer: Customer) -> None:
    payload = messages.succeeded(customer.begin())
    with customer.counter.database.transaction() as session:
        receiving.remember_failure(session, event_of(payload), reason="killed", at=clock.now())
        session.get_one(PspEvent, payload["id"]).status = EventStatus.RECEIVED
    assert customer.hears(payload) is EventStatus.DONE
    assert customer.counter.principal_fen() == 100_00


def test_a_done_event_stays_done_whatever_fails_later(customer: Customer) -> None:
    payload = messages.succeeded(customer.begin())
    customer.hears(payload)
    with customer.counter.database.transaction() as session:
        receiving.remember_failure(session, event_of(payload), reason="late", at=clock.now())
    assert _event_status(customer.counter.database, payload) is EventStatus.DONE


def test_old_pages_expire_and_money_that_comes_after_all_is_credited(customer: Customer) -> None:
    top_up, fresh = customer.begin(), customer.begin()
    with customer.counter.database.transaction() as session:
        session.get_one(TopUp, top_up.id).checkout_expires_at = clock.real_now() - service.EXPIRY_GRACE * 2
    done = customer.counter.database.run(lambda session: service.expire_old(session, at=clock.now(), limit=10))
    assert (done, customer.status(top_up), customer.status(fresh)) == (
        1,
        TopUpStatus.EXPIRED,
        TopUpStatus.AWAITING_PAYMENT,
    )
    customer.hears(messages.completed(top_up))
    assert customer.status(top_up) is TopUpStatus.CREDITED


def _event_status(database: Database, payload: Payload) -> EventStatus:
    with database.reader() as session:
        return session.get_one(PspEvent, payload["id"]).status
