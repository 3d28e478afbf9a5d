"""The whole way of money online, in a browser: ask, check, pay on the hosted page, come back, see it on the card."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.settings import Settings
from app.topups.models import TopUp, TopUpStatus
from tests.app.reconciliation.world import World
from tests.app.topups.hosted import hosted_site
from tests.pages.conftest import Visitor

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def base(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """The site beside a payment service, instead of the site alone."""
    with hosted_site(settings, folder=tmp_path) as url:
        yield url


def test_what_a_cardholder_pays_on_the_hosted_page_is_on_her_card(world: World, enter: Callable[..., Visitor]) -> None:
    holder = enter()
    page = holder.log_in("holder")
    holder.visit("/cards?lang=en")
    assert page.inner_text(".purse .available") == "¥0.00"
    page.get_by_role("link", name="Top up").first.click()
    page.fill("#amount", "123.45")
    holder.press("Continue")
    assert "1012.01 Payment service clearing" in page.inner_text(".postings")
    page.get_by_role("button", name="Go to the payment page").click()
    page.wait_for_url("**/pay/cs_test_*")
    assert "¥123.45" in page.inner_text(".amount")
    holder.check()
    page.get_by_role("button", name="Cancel and go back").click()
    expect(page.locator(".claim")).to_have_text("The payment of ¥123.45 is not confirmed yet.")
    holder.check()

    page.get_by_role("link", name="Back to the payment page").click()
    page.get_by_role("button", name="Pay", exact=False).first.click()
    page.wait_for_url(f"{holder.base}/top-ups/*/return?*")
    expect(page.locator(".claim")).to_have_text("¥123.45 are on the card.")  # asked for or told: credited once
    holder.check()
    page.get_by_role("link", name="My cards").last.click()
    assert page.inner_text(".purse .available") == "¥123.45"
    holder.follow(page.get_by_role("link", name="Statement"))
    assert "¥123.45" in page.inner_text("tbody tr:last-child")
    with world.database.reader() as session:
        assert session.query(TopUp).one().status is TopUpStatus.CREDITED
