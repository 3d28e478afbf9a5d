"""Every published price is expressible, and comes out as its owner published it."""

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.instruments.models import CustomerClass
from app.instruments.price_rules import parse_rules
from app.instruments.price_texts import describe
from app.instruments.pricing import price
from app.instruments.published import PublishedPrice, published_prices
from app.money import yuan
from tests.conftest import DATA

CHONGQING = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 2, 9, 0, tzinfo=CHONGQING)
OWN = CustomerClass.OWN_UNIT
COMPANY = CustomerClass.COMPANY
ACADEMIC = CustomerClass.ACADEMIC


def amount(code: str, customer: CustomerClass, *, hours: float = 0, **usage: Any) -> str:
    tariffs = {tariff.customer_class: tariff.rules for tariff in published_prices()[code].tariffs}
    rules = parse_rules(tariffs.get(customer) or tariffs[None])
    end = START + timedelta(hours=hours)
    return yuan(
        price(
            rules, started_at=START, ended_at=end, site_timezone=CHONGQING, customer_class=customer, **usage
        ).amount_fen
    )


@pytest.mark.parametrize(
    ("code", "customer", "usage", "published"),
    [
        ("anaerobic", OWN, {"hours": 2}, "440.00"),
        ("anaerobic", OWN, {"hours": 24}, "660.00"),
        ("anaerobic", COMPANY, {"hours": 1}, "350.00"),
        ("anaerobic", COMPANY, {"hours": 48}, "2,600.00"),
        ("liquid-chromatograph", COMPANY, {"samples": 3}, "600.00"),
        ("liquid-chromatograph", COMPANY, {"samples": 4}, "760.00"),
        ("liquid-chromatograph", COMPANY, {"samples": 1, "components": 2}, "360.00"),
        ("centrifuge", COMPANY, {"hours": 20, "samples": 1}, "30,500.00"),
        ("consolidation", COMPANY, {"hours": 49}, "540.00"),
        ("nmr-1h", COMPANY, {"samples": 2}, "300.00"),
        ("nmr-13c", OWN, {"hours": 2.5}, "300.00"),
        ("nmr-13c", COMPANY, {"hours": 2.5}, "375.00"),
        ("nmr-13c", OWN, {"hours": 2.5, "urgent": True}, "450.00"),
        ("nmr-variable-temperature", OWN, {"hours": 1.5}, "600.00"),
        ("mpms", COMPANY, {"hours": 1}, "230.00"),
        ("mpms", OWN, {"hours": 1}, "115.00"),
        ("mpms-m-h", OWN, {"hours": 1}, "150.00"),
        ("mpms-laboratory", OWN, {"hours": 1}, "45.00"),
        ("mpms-laboratory-m-h", OWN, {"hours": 1}, "60.00"),
        ("xrd-scan", COMPANY, {"samples": 1}, "80.00"),
        ("xrd-scan", OWN, {"samples": 1}, "40.00"),
        ("xrd-step-scan", COMPANY, {"hours": 1}, "120.00"),
        ("xrd-step-scan", OWN, {"hours": 1}, "60.00"),
        ("xrd-started-hour", OWN, {"hours": 0.1}, "600.00"),
        ("xrd-started-hour", ACADEMIC, {"hours": 1.1}, "2,000.00"),
        ("xrd-started-hour", COMPANY, {"hours": 61 / 60}, "4,000.00"),
        ("least-booking", COMPANY, {"hours": 1}, "400.00"),
        ("seebeck", OWN, {"samples": 1}, "300.00"),
        ("seebeck", COMPANY, {"samples": 2}, "700.00"),
        ("seebeck-own-use", OWN, {"hours": 1}, "150.00"),
        ("seebeck-training", OWN, {"hours": 1}, "400.00"),
        ("seebeck-training", OWN, {"hours": 1, "options": ["second_time"]}, "600.00"),
        ("account-discount", COMPANY, {"hours": 1, "options": ["prepaid"]}, "90.00"),
        ("account-discount", COMPANY, {"hours": 1, "options": ["term"]}, "90.00"),
        ("account-discount", COMPANY, {"hours": 1, "options": ["entrusted"]}, "50.00"),
        ("sample-record", COMPANY, {"hours": 0.5}, "500.00"),
        ("sample-record", COMPANY, {"hours": 3}, "1,300.00"),
    ],
)
def test_a_published_price_comes_out(code: str, customer: CustomerClass, usage: dict[str, Any], published: str) -> None:
    assert amount(code, customer, **usage) == published


@pytest.mark.parametrize("found", published_prices().values(), ids=lambda found: found.code)
def test_a_published_price_can_be_said_in_words(found: PublishedPrice) -> None:
    for tariff in found.tariffs:
        assert describe(parse_rules(tariff.rules)).zh
    assert found.source


def test_no_published_price_list_is_left_out() -> None:
    # tests/data/prices.json: price lists as their owners published them, collected with their sources.
    lists = json.loads((DATA / "prices.json").read_text(encoding="utf-8"))["prices"]
    ours = {(found.source, found.instrument.partition(",")[0]) for found in published_prices().values()}
    assert {(entry["source"], entry["instrument"].partition(",")[0]) for entry in lists} == ours


def test_what_the_platform_and_the_state_keep_stands_at_the_unit() -> None:
    found = published_prices()["anaerobic"]
    assert (found.service_fee_basis_points, found.vat_basis_points) == (15_00, 3_00)
