"""Events that come late, twice, in the wrong order or with an impossible time: kept, and never a silent zero."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

import ledger
from app import clock
from app.books import Book, BookRole, TransferCode
from app.db import Database
from app.people.models import Role
from app.people.principals import Grant, Principal
from app.sessions import ending, money
from app.sessions.models import CardSession, SessionStatus
from app.settings import Settings
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import Site

CANCELLED = protocol.ReversalReason.CANCELLED


def test_a_reversal_gives_the_whole_hold_back(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=50_00, subsidy_fen=10_00), uuid4()
    terminal.hold(card, session_id=session_id)

    results = terminal.report(*[protocol.Reversal(session_id=session_id, reason=CANCELLED)] * 2)

    assert [result["status"] for result in results] == ["accepted", "accepted"]
    assert site.session(session_id).status is SessionStatus.VOID
    assert (site.balances(card).available_fen, site.balances(card).held_fen) == (60_00, 0)


def test_a_reversal_that_overtakes_its_authorize_wins(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    reversal = protocol.Reversal(session_id=session_id, reason=protocol.ReversalReason.NO_ANSWER)

    assert terminal.report(reversal)[0]["status"] == "accepted"

    assert terminal.hold(card, session_id=session_id).get_json()["code"] == "SESSION_REVERSED"
    assert site.balances(card).held_fen == 0


def test_a_reversal_of_a_running_session_waits_for_a_person(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))

    result = terminal.report(protocol.Reversal(session_id=session_id, reason=CANCELLED))[0]

    assert (result["status"], result["reason"]) == ("parked", "REVERSED_AFTER_START")
    assert site.session(session_id).status is SessionStatus.ACTIVE


def test_an_end_before_the_start_waits_for_a_person(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)

    result = terminal.end(session_id, minutes=5)

    assert (result["status"], result["reason"]) == ("parked", "ENDED_BEFORE_STARTED")
    assert "amount_fen" not in result
    assert site.session(session_id).status is SessionStatus.HELD


def test_a_second_end_charges_nothing_and_waits_for_a_person(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    terminal.end(session_id, minutes=1)

    result = terminal.end(session_id, minutes=2)

    assert (result["status"], result["reason"]) == ("parked", "ENDED_TWICE")
    assert site.balances(card).available_fen == 99_50


def test_events_of_a_session_nobody_knows_wait_for_a_person(site: Site) -> None:
    terminal, session_id = site.terminal(), uuid4()

    results = terminal.report(protocol.Started(session_id=session_id))

    assert (results[0]["status"], results[0]["reason"]) == ("parked", "SESSION_UNKNOWN")


def test_a_terminal_cannot_end_the_session_of_another(site: Site) -> None:
    here, there, card, session_id = site.terminal(), site.terminal(), site.card(), uuid4()
    here.hold(card, session_id=session_id)
    here.report(protocol.Started(session_id=session_id))

    assert there.end(session_id, minutes=1)["reason"] == "SESSION_OF_ANOTHER_TERMINAL"
    assert site.session(session_id).status is SessionStatus.ACTIVE


def test_more_time_than_passed_is_charged_as_what_passed_and_flagged(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=120, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=10))

    ended = terminal.end(session_id, minutes=100)

    row = site.session(session_id)
    assert ended["amount_fen"] == 5_00
    assert row.flags == ["implausible_duration"]
    assert row.ended_at is not None
    assert row.ended_at <= clock.now()


def test_a_server_whose_clock_went_back_still_takes_the_end_of_a_session(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=-10))

    ended = terminal.end(session_id, minutes=1)

    assert (ended["status"], ended["amount_fen"]) == ("accepted", 50)


NIGHT_AT_HALF = {"per_hour": {"price_fen": 60_00}, "windows": [{"from": "18:00", "to": "08:00", "percent": 50}]}


@pytest.mark.parametrize("wall", [timedelta(0), timedelta(hours=3), timedelta(hours=-3)], ids=str)
@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=45), timedelta(hours=1, seconds=50)], ids=str)
def test_how_late_a_start_is_told_and_by_which_clock_changes_no_price(
    site: Site, late: timedelta, wall: timedelta
) -> None:
    clock.set_anchor(
        clock.Anchor(real=clock.real_now(), simulated=datetime(2026, 11, 2, 9, 49, 30, tzinfo=UTC), speed=0.0)
    )
    terminal, card, session_id = site.terminal(rules=NIGHT_AT_HALF), site.card(), uuid4()
    terminal.hold(card, minutes=30, session_id=session_id)
    wall_ms = taps.now_ms() + int(wall.total_seconds() * 1000)
    started = terminal.event(protocol.Started(session_id=session_id), wall_ms=wall_ms)
    ended = terminal.event(
        protocol.Ended(session_id=session_id, elapsed_ms=20 * 60_000, cause=protocol.EndCause.TAPPED), wall_ms=wall_ms
    )

    taps.advance(late)
    terminal.deliver(started)
    taps.advance(max(timedelta(minutes=20) - late, timedelta(0)))
    charged = terminal.deliver(ended)[0]["amount_fen"]

    row = site.session(session_id)
    # Eleven minutes by day at 1 yuan and nine by night at half of it, from 17:49 to 18:09.
    assert (charged, row.started_at, row.flags) == (11_00 + 4_50, row.authorized_at, [])


def test_a_reboot_that_hid_time_is_flagged(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))

    terminal.end(session_id, minutes=1, lower_bound=True)

    assert site.session(session_id).flags == ["lower_bound"]


def test_samples_beyond_the_hold_are_charged_up_to_the_hold_and_flagged(site: Site) -> None:
    terminal = site.terminal(rules={"per_sample": {"price_fen": 20_00}})
    card, session_id = site.card(principal_fen=100_00), uuid4()
    held = terminal.hold(card, session_id=session_id).get_json()
    terminal.report(protocol.Started(session_id=session_id))

    ended = terminal.end(session_id, minutes=1, samples=3)

    row = site.session(session_id)
    assert (held["held_fen"], ended["amount_fen"]) == (20_00, 20_00)
    assert row.flags == ["over_hold"]
    assert [(line["kind"], line["amount_fen"]) for line in row.price_lines] == [("samples", 60_00), ("waived", -40_00)]


def test_service_fee_and_vat_are_taken_from_what_the_unit_earned(
    database: Database, settings: Settings, client: FlaskClient
) -> None:
    site = taps.new_site(database, settings, client, service_fee_basis_points=500, vat_basis_points=600)
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=7))

    terminal.end(session_id, minutes=7)

    # 3.50: fee 17.5 and VAT 21 fen, each rounded half up.
    assert site.book_fen(BookRole.SERVICE_FEE, site.unit_id) == 18
    assert site.book_fen(BookRole.VAT, site.unit_id) == 21
    assert site.book_fen(BookRole.UNIT_PAYABLE, site.unit_id) == 3_50 - 18 - 21


@pytest.mark.parametrize(("minutes", "fen"), [(1, 50), (7, 3_50), (10, 5_00), (13, 6_50), (160, 80_00)])
def test_the_worked_prices_come_out_to_the_fen(site: Site, minutes: int, fen: int) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, minutes=160, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=minutes))

    assert terminal.end(session_id, minutes=minutes)["amount_fen"] == fen


def test_signs_of_life_are_kept_and_tampering_is_put_before_a_person(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)

    results = terminal.report(
        protocol.Started(session_id=session_id),
        protocol.Meter(session_id=session_id, elapsed_ms=300_000),
        protocol.CardRefused(code="CARD_LOST"),
        protocol.ClockStep(step_ms=-3_600_000),
        protocol.ReaderDown(detail="unplugged"),
        protocol.ReaderUp(),
        protocol.Tamper(what="case opened"),
    )

    assert [result["status"] for result in results] == ["accepted"] * 6 + ["parked"]
    assert site.session(session_id).metered_s == 300


def test_a_session_nobody_ended_is_stale_and_then_charged_what_was_held(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))

    assert _end_forgotten(site, after=timedelta(minutes=29)) == 0
    terminal.report(protocol.Meter(session_id=session_id, elapsed_ms=29 * 60_000))
    assert _end_forgotten(site, after=timedelta(minutes=29)) == 0
    assert _end_forgotten(site, after=timedelta(minutes=3)) == 1
    assert site.session(session_id).status is SessionStatus.STALE
    assert _end_forgotten(site, after=timedelta(hours=1)) == 0
    assert _end_forgotten(site, after=timedelta(hours=1)) == 1

    row = site.session(session_id)
    assert (row.status, row.flags, row.amount_fen) == (SessionStatus.AUTO_ENDED, ["auto_ended"], 30_00)
    assert row.ended_at == row.latest_end_at
    assert terminal.end(session_id, minutes=20)["reason"] == "ENDED_TWICE"
    assert site.balances(card).available_fen == 70_00


def test_the_bill_of_a_session_closed_by_hand_is_that_of_the_times_it_shows(site: Site) -> None:
    """Parts of a second that are not shown must not reach into one more minute."""
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    started_at = datetime(2026, 11, 23, 10, 0, 49, 600_000, tzinfo=UTC)
    site.change(CardSession, session_id, started_at=started_at, latest_end_at=started_at + timedelta(hours=1))
    operator = Principal(
        person_id=0,
        username="operator",
        name="operator",
        organisation_id=None,
        grants=(Grant(role=Role.GROUP_OPERATOR, group_id=site.group_id),),
    )

    at = started_at + timedelta(seconds=70.7)
    with site.database.reader() as session:
        said = ending.closing(session, session_id=session_id, closer=operator, at=at)
    closed = site.database.run(
        lambda session: ending.close_forgotten(session, session_id=session_id, closer=operator, at=at)
    )

    assert closed.ended_at == datetime(2026, 11, 23, 10, 1, 59, 600_000, tzinfo=UTC)
    assert closed.amount_fen == said.charged_fen == 50


def test_a_stale_session_can_still_be_ended_by_its_terminal(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    _end_forgotten(site, after=timedelta(minutes=61))

    ended = terminal.end(session_id, minutes=40)

    assert (ended["status"], ended["amount_fen"]) == ("accepted", 20_00)
    assert site.session(session_id).status is SessionStatus.CAPTURED


def test_a_hold_that_never_started_is_given_back_when_its_time_is_over(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)

    _end_forgotten(site, after=timedelta(minutes=61))

    assert site.session(session_id).status is SessionStatus.VOID
    assert site.balances(card).available_fen == 100_00


def _end_forgotten(site: Site, *, after: timedelta) -> int:
    at = taps.advance(after)
    return site.database.run(lambda session: ending.end_forgotten(session, at=at, limit=200))


def test_a_hold_that_was_gone_before_the_end_is_charged_from_the_purses_and_flagged(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(money, "HOLD_TIMEOUT_S", 1)
    terminal, card, session_id = site.terminal(), site.card(principal_fen=60_00, subsidy_fen=1_00), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    time.sleep(1.1)  # the hold's life follows the database's own clock
    assert site.balances(card).held_fen == 0
    taps.advance(timedelta(minutes=10))

    ended = terminal.end(session_id, minutes=10)

    row = site.session(session_id)
    assert (ended["amount_fen"], row.paid_subsidy_fen, row.paid_principal_fen) == (5_00, 1_00, 4_00)
    assert row.flags == ["hold_expired"]


def test_an_end_that_the_ledger_refuses_waits_for_a_person_and_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    more_than_the_unit_has = ledger.NewTransfer(
        id=uuid4(),
        debit_account_id=Book(BookRole.UNIT_PAYABLE, site.unit_id).id,
        credit_account_id=Book(BookRole.SERVICE_FEE, site.unit_id).id,
        amount_fen=1_000_00,
        code=TransferCode.SESSION_SERVICE_FEE,
    )
    monkeypatch.setattr(money, "_shares", lambda *_row_and_unit, **_amount: [more_than_the_unit_has])

    ended = terminal.end(session_id, minutes=1)

    assert (ended["status"], ended["reason"]) == ("parked", "LEDGER_REFUSED")
    assert site.session(session_id).status is SessionStatus.ACTIVE
    assert site.balances(card).held_fen == 30_00
    assert terminal.report(protocol.ReaderUp())[0]["status"] == "accepted"


def test_sessions_that_cannot_be_ended_keep_no_other_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "ENDS_AT_ONCE", 1)
    broken = [uuid4(), uuid4()]
    sound = uuid4()
    for session_id in (*broken, sound):
        terminal = site.terminal()
        terminal.hold(site.card(), minutes=60, session_id=session_id)
        terminal.report(protocol.Started(session_id=session_id))
    _end_forgotten(site, after=timedelta(minutes=61))
    _end_forgotten(site, after=timedelta(minutes=1))
    _end_forgotten(site, after=timedelta(minutes=1))
    for session_id in broken:
        site.change(CardSession, session_id, tariff_snapshot={})

    assert _end_forgotten(site, after=timedelta(hours=3)) == 1

    assert site.session(sound).status is SessionStatus.AUTO_ENDED
    assert [site.session(session_id).status for session_id in broken] == [SessionStatus.STALE] * 2


def test_a_use_priced_by_samples_that_nobody_counted_costs_one_sample_and_is_flagged(site: Site) -> None:
    terminal, card, session_id = site.terminal(rules={"per_sample": {"price_fen": 20_00}}), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    assert terminal.end(session_id, minutes=0.5)["amount_fen"] == 20_00
    row = site.session(session_id)
    assert (row.samples, row.flags) == (1, ["samples_assumed"])
