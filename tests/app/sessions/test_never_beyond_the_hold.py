"""For every tariff, and whatever extends and restarts a session sees: its charge is never above what was held."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from app.sessions.charging import Terms
from app.sessions.offline.prices import dearest
from card_terminal.protocol import OFFLINE_MINUTES_MAX, TariffSnapshot, Words, minutes_payable, most_fen
from card_terminal.session import MS_PER_MINUTE, RunningSession
from tests.app.instruments.test_pricing_properties import rules, starts

DAY = timedelta(days=1)
# Time passes, the machine starts anew, or more is asked for while the card has so much money.
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), st.integers(0, 200 * MS_PER_MINUTE)),
        st.tuples(st.just("reboots"), st.integers(0, 60_000)),
        st.tuples(st.just("extends"), st.integers(0, 3_000_00)),
    ),
    max_size=8,
)


def terms(written: dict[str, Any]) -> Terms:
    words = {"zh": "", "en": ""}
    return Terms(snapshot={"rules": written, "timezone": "Asia/Shanghai", "customer_class": "company", "words": words})


def running(minutes: int) -> RunningSession:
    return RunningSession(
        session_id=UUID(int=1),
        card="··1",
        card_mark="0" * 64,
        name_masked="李*",
        minutes_asked=minutes,
        minutes_total=minutes,
        held_fen=0,
        available_fen=0,
        latest_end_ms=0,
        tariff=TariffSnapshot(text=Words(zh="", en="")),
        boot=1,
        since_mono_ms=0,
    )


@settings(deadline=None, max_examples=50)
@given(rules(), starts, st.integers(1, 180), st.integers(0, 3_000_00), happenings)
def test_the_charge_is_never_above_the_hold(
    written: dict[str, Any], start: datetime, asked_min: int, money_fen: int, happened: list[tuple[str, int]]
) -> None:
    price = terms(written)
    granted_min = price.minutes_payable(money_fen, at_most=asked_min, at_least=1, at=start)
    if granted_min is None:
        return
    session, held_fen, mono_ms = running(granted_min), price.hold_fen(minutes=granted_min, at=start), 0
    for what, value in happened:
        if session.is_spent(mono_ms):
            break
        if what == "passes":
            mono_ms += value
        elif what == "reboots":
            counted_ms = session.elapsed_ms(max(0, mono_ms - value))
            session = replace(session, boot=session.boot + 1, counted_ms=counted_ms, since_mono_ms=5, lower_bound=True)
            mono_ms = 5
        else:
            total_min = session.minutes_total + asked_min
            at_least = session.minutes_total + 1
            more = price.minutes_payable(held_fen + value, at_most=total_min, at_least=at_least, at=start)
            if more is not None:
                session, held_fen = replace(session, minutes_total=more), price.hold_fen(minutes=more, at=start)
                assert held_fen <= price.hold_fen(minutes=total_min, at=start)
    elapsed = timedelta(seconds=session.elapsed_ms(mono_ms) // 1000)
    assert price.price(duration=elapsed, samples=1, at=start).amount_fen <= held_fen


@settings(deadline=None, max_examples=30)
@given(rules(), starts, st.integers(0, 24 * 60 * 60), st.lists(st.integers(1, OFFLINE_MINUTES_MAX), max_size=6))
def test_no_session_of_an_offline_list_costs_more_than_its_schedule_says(
    written: dict[str, Any], start: datetime, after_s: int, lengths_min: list[int]
) -> None:
    price = terms(written)
    began = start + timedelta(seconds=after_s)
    for minutes in lengths_min:
        most = price.dearest_fen(minutes=minutes, since=start, until=start + DAY)
        assert price.price(duration=timedelta(minutes=minutes), samples=1, at=began).amount_fen <= most


def test_a_schedule_is_as_long_as_an_offline_session_may_be() -> None:
    price = terms({"per_hour": {"price_fen": 30_00}})
    at = datetime(2026, 5, 4, 2, tzinfo=UTC)
    shown = dearest(price, since=at, until=at + DAY)
    assert len(shown.schedule) == OFFLINE_MINUTES_MAX
    assert most_fen(shown.schedule, 120) == 60_00
    assert minutes_payable(shown, 60_49) == 120
