"""Paying online: whatever the network does, one wish is one payment page, and no money is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from app import clock
from app.db import Database
from app.errors import Code
from app.settings import Settings
from app.topups import online, service
from app.topups.fake_psp import Config, FakePsp
from app.topups.gateway import Checkout, CheckoutOrder, GatewayRefusedError
from app.topups.models import TopUp, TopUpMethod, TopUpStatus
from app.topups.service import Wish
from app.topups.stripe import Stripe
from tests.app.topups.conftest import Center, Counter, refusal_of
from tests.app.topups.money import principal_fen
from tests.app.topups.network import Fault, Network


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[FakePsp]:
    """The fake payment service without anybody to tell: its messages are only listed."""
    psp = FakePsp(Config(file=tmp_path / "psp.sqlite3", api_key="sk_test_x", receiver=None))
    psp.start()
    yield psp
    psp.stop()


@pytest.fixture
def network(psp: FakePsp) -> Iterator[Network]:
    network = Network(psp.url)
    yield network
    network.close()


@dataclass(frozen=True, slots=True)
class Shop:
    """A customer at the service's online counter."""

    database: Database
    center: Center
    settings: Settings
    psp: FakePsp

    @property
    def gateway(self) -> Stripe:
        return Stripe(self.settings)

    def begin(self, wish_id: UUID | None = None, **values: Any) -> TopUp:
        given = {"gateway": self.gateway, "settings": self.settings, "customer": self.center.customer, **values}
        wish = Wish(
            id=wish_id or uuid4(),
            account_id=self.center.account_id,
            amount_fen=100_00,
            method=TopUpMethod.ONLINE,
        )
        return online.begin(self.database, wish=wish, **given)

    def look(self, top_up: TopUp) -> online.Look:
        return online.look(self.database, gateway=self.gateway, top_up_id=top_up.id)

    def cancel(self, top_up: TopUp) -> online.Look:
        return online.cancel(self.database, gateway=self.gateway, top_up_id=top_up.id)

    def pages(self) -> list[dict[str, Any]]:
        """All payment pages the payment service has made."""
        with self.psp.store.work() as work:
            return work.objects("checkout.session")

    def principal_fen(self) -> int:
        return principal_fen(self.database, self.center.account_id)


@pytest.fixture
def shop(database: Database, center: Center, settings: Settings, psp: FakePsp, network: Network) -> Shop:
    return Shop(database, center, replace(settings, psp_base_url=network.url, psp_timeout_s=0.5), psp)


def pay(top_up: TopUp) -> None:
    """Press the button on the payment page."""
    assert top_up.checkout_url is not None
    answer = requests.post(top_up.checkout_url, data={"action": "pay"}, allow_redirects=False, timeout=5)
    assert answer.status_code == 303


def test_a_customer_pays_on_the_page_and_the_return_credits_her(shop: Shop) -> None:
    top_up = shop.begin()
    assert top_up.status is TopUpStatus.AWAITING_PAYMENT
    pay(top_up)
    seen = shop.look(top_up)
    assert (seen.top_up.status, seen.mismatches) == (TopUpStatus.CREDITED, ())
    assert shop.principal_fen() == 100_00


def test_looking_before_the_payment_books_nothing(shop: Shop) -> None:
    assert shop.look(shop.begin()).top_up.status is TopUpStatus.AWAITING_PAYMENT
    assert shop.principal_fen() == 0


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_an_unknown_outcome_stays_pending_and_the_next_try_makes_no_second_page(
    shop: Shop, network: Network, fault: Fault
) -> None:
    wish_id = uuid4()
    network.fault = fault
    assert refusal_of(lambda: shop.begin(wish_id)) is Code.PAYMENT_SERVICE_UNAVAILABLE
    with shop.database.reader() as session:
        assert session.get_one(TopUp, wish_id).status is TopUpStatus.AWAITING_PAYMENT
    network.fault = Fault.NONE
    top_up = shop.begin(wish_id)
    assert [page["url"] for page in shop.pages()] == [top_up.checkout_url]
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in network.seen}
    bodies = {body for *_, body in network.seen}
    assert (keys, len(bodies)) == ({f"topup:{top_up.number}:1"}, 1)


class Dies(Stripe):
    """The process dies after the payment service has answered and before anything is written down."""

    def create_checkout(self, order: CheckoutOrder) -> Checkout:
        super().create_checkout(order)
        raise SystemExit


def test_a_crash_between_call_and_outcome_makes_no_second_page(shop: Shop) -> None:
    wish_id = uuid4()
    with pytest.raises(SystemExit):
        shop.begin(wish_id, gateway=Dies(shop.settings))
    top_up = shop.begin(wish_id)
    assert [page["url"] for page in shop.pages()] == [top_up.checkout_url]


def test_no_transaction_is_open_while_the_payment_service_is_asked(shop: Shop) -> None:
    open_during_call: list[int] = []

    class Watched(Stripe):
        def create_checkout(self, order: CheckoutOrder) -> Checkout:
            open_during_call.append(shop.database.engine.pool.checkedout())  # type: ignore[attr-defined]
            return super().create_checkout(order)

    shop.begin(gateway=Watched(shop.settings))
    assert open_during_call == [0]


def test_eight_presses_of_the_button_make_one_page(shop: Shop) -> None:
    wish_id = uuid4()
    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(lambda _: shop.begin(wish_id).checkout_url, range(8)))
    assert urls == {page["url"] for page in shop.pages()}
    assert len(urls) == 1


def test_a_definite_refusal_is_told_and_the_next_try_is_a_new_attempt(shop: Shop, network: Network) -> None:
    class Refuses(Stripe):
        def create_checkout(self, order: CheckoutOrder) -> Checkout:
            raise GatewayRefusedError(f"parameter_invalid: {order.number}")

    wish_id = uuid4()
    assert refusal_of(lambda: shop.begin(wish_id, gateway=Refuses(shop.settings))) is Code.PAYMENT_SERVICE_REFUSED
    top_up = shop.begin(wish_id)
    assert top_up.attempt == 2
    assert network.seen[-1][2]["Idempotency-Key"] == f"topup:{top_up.number}:2"


def test_a_wrong_key_is_a_definite_refusal(shop: Shop) -> None:
    stranger = replace(shop.settings, psp_api_key="sk_test_other")
    assert refusal_of(lambda: shop.begin(gateway=Stripe(stranger))) is Code.PAYMENT_SERVICE_REFUSED


def test_a_page_whose_time_is_over_is_not_given_out_again(shop: Shop) -> None:
    top_up = shop.begin()
    with shop.database.transaction() as session:
        session.get_one(TopUp, top_up.id).checkout_expires_at = clock.real_now() - timedelta(seconds=1)
    assert refusal_of(lambda: shop.begin(top_up.id)) is Code.TOP_UP_ENDED


def test_a_customer_who_goes_back_frees_her_cap(shop: Shop) -> None:
    top_up = shop.begin()
    assert shop.cancel(top_up).top_up.status is TopUpStatus.EXPIRED
    assert shop.pages()[0]["status"] == "expired"
    assert refusal_of(lambda: shop.begin(top_up.id)) is Code.TOP_UP_ENDED


def test_cancelling_after_paying_credits_all_the_same(shop: Shop) -> None:
    top_up = shop.begin()
    pay(top_up)
    assert shop.cancel(top_up).top_up.status is TopUpStatus.CREDITED
    assert shop.principal_fen() == 100_00


def test_cancelling_and_paying_at_once_agree_with_the_payment_service(shop: Shop) -> None:
    for _ in range(5):
        top_up = shop.begin()
        before_fen = shop.principal_fen()
        both = threading.Barrier(2)

        def press(button: Callable[[TopUp], object], top_up: TopUp = top_up, both: threading.Barrier = both) -> None:
            both.wait()
            button(top_up)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(press, [pay, shop.cancel]))
        page = next(page for page in shop.pages() if page["id"] == top_up.checkout_id)
        status = shop.look(top_up).top_up.status
        credited_fen = shop.principal_fen() - before_fen
        expected = {"complete": (TopUpStatus.CREDITED, 100_00), "expired": (TopUpStatus.EXPIRED, 0)}
        assert (status, credited_fen) == expected[page["status"]]


def test_only_own_accounts_can_be_topped_up_online(shop: Shop) -> None:
    assert refusal_of(lambda: shop.begin(customer=shop.center.stranger)) is Code.NOT_FOUND
    assert shop.pages() == []


def test_a_poll_finds_what_was_never_delivered_once(shop: Shop) -> None:
    top_ups = [shop.begin() for _ in range(3)]
    for top_up in top_ups:
        pay(top_up)
    assert online.poll_events(shop.database, shop.settings) == 6
    assert shop.principal_fen() == 300_00
    assert online.poll_events(shop.database, shop.settings) == 0


def test_a_poll_without_an_answer_begins_again_where_the_last_whole_one_ended(shop: Shop, network: Network) -> None:
    top_up = shop.begin()
    pay(top_up)
    network.fault = Fault.SERVER_ERROR
    assert online.poll_events(shop.database, shop.settings) == 0
    network.fault = Fault.NONE
    assert online.poll_events(shop.database, shop.settings) == 2
    assert shop.principal_fen() == 100_00


def test_a_poll_reads_more_than_one_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.topups.stripe.EVENTS_PER_PAGE", 2)
    for _ in range(4):
        pay(shop.begin())
    assert online.poll_events(shop.database, shop.settings) == 8
    assert shop.principal_fen() == 400_00


def test_a_site_without_a_payment_service_polls_nothing(shop: Shop) -> None:
    assert online.poll_events(shop.database, replace(shop.settings, psp_api_key="")) == 0


def test_what_is_asked_of_a_payment_service_that_answers_another_amount_is_reported(shop: Shop) -> None:
    top_up = shop.begin()
    with shop.psp.store.work() as work:
        page = work.find(top_up.checkout_id or "")
        assert page is not None
        work.keep({**page, "amount_total": None, "metadata": {}, "currency": "usd"})
    seen = shop.look(top_up)
    assert set(seen.mismatches) == {"amount_fen", "currency", "top_up_number"}
    assert seen.top_up.status is TopUpStatus.AWAITING_PAYMENT


def test_the_payment_page_lives_in_real_time_whatever_the_sites_clock_shows(shop: Shop) -> None:
    real = clock.real_now()
    clock.set_anchor(clock.Anchor(real=real, simulated=real + timedelta(days=40), speed=30))
    top_up = shop.begin()
    pay(top_up)
    assert shop.look(top_up).top_up.status is TopUpStatus.CREDITED
    assert top_up.checkout_expires_at is not None
    assert top_up.checkout_expires_at - real <= service.CHECKOUT_LIFETIME + timedelta(seconds=5)


@pytest.mark.parametrize("ask", [online.look, online.cancel])
def test_looking_at_or_cancelling_a_counter_or_an_unknown_top_up_finds_nothing(
    shop: Shop, counter: Counter, ask: Callable[..., online.Look]
) -> None:
    for top_up_id in (counter.begin(amount_fen=100_00).id, uuid4()):
        asked = partial(ask, shop.database, gateway=shop.gateway, top_up_id=top_up_id)
        assert refusal_of(asked) is Code.NOT_FOUND
