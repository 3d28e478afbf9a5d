from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import clock

REAL = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_simulated_clock_runs_as_many_times_faster_as_it_says() -> None:
    anchor = clock.Anchor(real=REAL, simulated=REAL + timedelta(days=3), speed=30)
    assert anchor.at(REAL + timedelta(minutes=2)) == REAL + timedelta(days=3, hours=1)


def test_who_is_given_some_minutes_has_them_also_where_the_clock_runs_faster_than_life() -> None:
    quarter = timedelta(minutes=15)
    assert clock.allowing(quarter) == quarter
    for speed, allowed in ((60.0, timedelta(hours=15)), (1.0, quarter), (0.0, quarter)):
        clock.set_anchor(clock.Anchor(real=REAL, simulated=REAL, speed=speed))
        assert clock.allowing(quarter) == allowed


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from([1.0, 30.0, 60.5]))
def test_an_anchor_survives_its_text_form(moment: datetime, speed: float) -> None:
    anchor = clock.Anchor(real=REAL, simulated=moment, speed=speed)
    assert clock.Anchor.parse(str(anchor)) == anchor


@pytest.mark.parametrize("text", ["", "now", "2026-11-01,2026-11-01", "a,b,c", "2026-11-01,2026-11-01,fast"])
def test_a_wrong_anchor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        clock.Anchor.parse(text)
