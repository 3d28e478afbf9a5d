"""Money, times and months as people read them."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app.labels import LABELS
from app.money import parse_yuan
from app.periods import Month, day_began
from app.presentation import duration, hours, moment, percent, plain_yuan, zone_name
from app.reconciliation.models import BoxVerdictKind, ChargeVerdict, Review
from app.sessions.models import SessionStatus
from app.subsidies.deciding import Reason
from app.subsidies.models import DecisionStatus
from app.topups.models import TopUpMethod, TopUpStatus

SITE = ZoneInfo("Asia/Shanghai")


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_money_always_has_two_decimals_and_reads_back(amount_fen: int) -> None:
    text = plain_yuan(amount_fen)
    assert text.lstrip("−")[0] == "¥"
    assert text[-3] == "."
    assert parse_yuan(text.replace("−", "-").replace("¥", "")) == amount_fen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 00 min"), (86_400, "24 h 00 min")],
)
def test_a_duration_reads_in_its_own_size(app_: Flask, seconds: int, text: str) -> None:
    with app_.test_request_context("/?lang=en"):
        assert duration(seconds) == text
        assert duration(timedelta(seconds=seconds)) == text


def test_moments_are_shown_at_the_site_and_say_so(app_: Flask) -> None:
    with app_.test_request_context("/?lang=en"):
        written = moment(datetime(2026, 11, 22, 16, 30, tzinfo=UTC))
        assert "2026-11-23 00:30" in written
        assert "+08:00" in written
        assert zone_name() == "Beijing time (UTC+08:00)"
        assert hours(5400) == "1.5 h"


def test_a_share_of_nothing_is_no_zero() -> None:
    assert (percent(0, 0), percent(1, 3), percent(2, 2)) == ("–", "33%", "100%")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("session", SessionStatus),
        ("verdict", ChargeVerdict),
        ("box_verdict", BoxVerdictKind),
        ("review", Review),
        ("decision", DecisionStatus),
        ("decision_reason", Reason),
        ("top_up", TopUpStatus),
        ("method", TopUpMethod),
    ],
)
def test_every_value_that_people_meet_has_a_word(kind: str, values: type[StrEnum]) -> None:
    assert {str(value) for value in values} <= set(LABELS[kind])


def test_a_word_that_a_template_always_says_speaks_the_readers_language(app_: Flask) -> None:
    template = app_.jinja_env.from_string('{{ "cash"|label("method") }}')
    said = []
    for language in ("zh", "en"):
        with app_.test_request_context(f"/?lang={language}"):
            said.append(template.render())
    assert said == ["现金", "Cash"]


@given(st.datetimes(datetime(2000, 1, 2), datetime(2990, 1, 1)))  # noqa: DTZ001 - the zone comes below
def test_every_moment_lies_in_its_month_and_the_months_join(at: datetime) -> None:
    moment_ = at.replace(tzinfo=UTC)
    month = Month.of(moment_, zone=SITE)
    assert month.since(SITE) <= moment_ < month.until(SITE)
    assert month.next.previous == month == month.previous.next
    assert month.previous.until(SITE) == month.since(SITE)
    assert Month.parse(str(month)) == month
    assert day_began(moment_, zone=SITE) <= moment_


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-00", "2026-1", "１９９９-01", "2026-11-01", "9999-01"])
def test_what_is_no_month_is_none(text: str) -> None:
    assert Month.parse(text) is None
