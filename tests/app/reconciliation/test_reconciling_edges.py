"""Long chains of charges, one piece that fails, a use that shrinks over midnight: nothing stops or is stale."""

from datetime import timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from app.cli import commands
from app.people.models import Role
from app.reconciliation import evidence, rerunning, service
from app.reconciliation.deciding import DEFAULT_ZONE, Decided, decide_stretch
from app.reconciliation.models import ControlTotal
from app.reconciliation.spans import Span
from app.reconciliation.times import to_s
from app.sessions.models import CardSession
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import STANDBY_W, at

HAND_OVERS = 250


def test_a_chain_of_hand_overs_is_gathered_whole_however_long(world: World) -> None:
    world.charge(0, 31)
    with world.database.transaction() as session:
        first = session.scalars(select(CardSession)).one()
        columns = {each.key: getattr(first, each.key) for each in CardSession.__mapper__.column_attrs}
        for number in range(1, HAND_OVERS):
            times = {"started_at": at(30 * number), "ended_at": at(30 * number + 31)}
            session.add(CardSession(**{**columns, **times, "id": uuid4()}))
    beginning = Span(to_s(at(5)), to_s(at(10)))
    with world.database.reader() as session:
        found = evidence.gather(
            session, instrument_id=world.instrument_id, stretch=beginning, zone=DEFAULT_ZONE, at=at(30 * HAND_OVERS + 1)
        )
    assert found.hull == Span(to_s(at(0)), to_s(at(30 * (HAND_OVERS - 1) + 31)))
    assert len(found.case.charges) == HAND_OVERS


@pytest.fixture
def broken(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two instruments with a charge each; the pieces of the first cannot be decided."""
    with world.database.transaction() as session:
        other_id = builders.instrument(session).id
    world.charge(10, 70)
    world.charge(10, 70, instrument_id=other_id)
    world.play((120, STANDBY_W))

    def sometimes(session: Any, *, instrument_id: int, **how: Any) -> Decided:
        if instrument_id == world.instrument_id:
            raise AssertionError("these seconds do not add up")
        return decide_stretch(session, instrument_id=instrument_id, **how)

    monkeypatch.setattr(rerunning, "decide_stretch", sometimes)
    return world


def test_a_piece_that_fails_is_told_and_keeps_no_other_from_being_decided_anew(broken: World) -> None:
    report = rerunning.rerun_all(
        broken.database, since=at(-1440), until=at(1440), zone=DEFAULT_ZONE, now=lambda: at(5 * 1440)
    )
    (failure,) = report.failures
    assert (failure.error, failure.since) == ("AssertionError", at(-1440))
    assert report.pieces == report.pieces_total == 2
    assert [broken.verdict(charge) for charge in broken.charges] == ["none", "no_evidence"]


def test_the_command_names_the_pieces_that_failed_and_ends_with_an_error(
    broken: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "TESTCARD_DATABASE_URL": database_url,
        "TESTCARD_SECRET_KEY": "s" * 32,
        "TESTCARD_KEY_ENCRYPTION_KEY": "00" * 32,
    }.items():
        monkeypatch.setenv(name, value)
    _ = broken
    told = CliRunner().invoke(commands, ["reconcile", "--full", "--from", "2026-05-04", "--until", "2026-05-05"])
    assert told.exit_code == 1
    assert "1 of 2 pieces could not be decided" in told.output
    assert "AssertionError" in told.output


def test_a_use_that_shrinks_back_over_midnights_leaves_no_stale_day(world: World) -> None:
    """The story begins at 16:00 in Shanghai: minutes 480 and 1,920 are midnights."""
    charge = world.charge(470, 1930)
    world.play((1990, STANDBY_W))
    world.reconcile(minutes=1990)
    clerk = world.person("clerk", Role.CLERK)

    def days() -> list[int]:
        with world.database.reader() as session:
            return [each // 60 for each in session.scalars(select(ControlTotal.charge_s).order_by(ControlTotal.day))]

    def corrected(start: int, end: int) -> list[int]:
        with world.database.transaction() as session:
            session.execute(
                update(CardSession).where(CardSession.id == charge).values(started_at=at(start), ended_at=at(end))
            )
        world.database.run(lambda session: service.rerun(session, session_id=charge, reader=clerk, at=at(2000)))
        return days()

    assert days() == [10, 1440, 10]
    assert corrected(470, 475) == [5, 0, 0]
    assert corrected(470, 1930) == [10, 1440, 10]
    assert corrected(1925, 1930) == [0, 0, 5]


def test_a_day_without_use_gets_no_line_of_its_own(world: World) -> None:
    world.charge(10, 70)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    with world.database.reader() as session:
        lines = session.scalars(select(ControlTotal)).all()
    assert [each.day for each in lines] == [at(10).astimezone(ZoneInfo("Asia/Shanghai")).date()]
    assert lines[0].computed_at - at(120) < timedelta(minutes=1)
