"""A sub-center sees its own units' money and people, and nobody else's; the center sees the sum of all."""

from datetime import timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app import clock
from app.errors import Code, Refusal
from app.people.models import Role
from app.people.principals import Principal
from app.reconciliation import queue, unpaid
from app.reconciliation.models import BoxVerdictKind
from app.reports import service
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import RUN_W, STANDBY_W

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def charge(world: World) -> UUID:
    charge = world.charge(8, 72, duration_s=64 * 60)
    world.charge(80, 95, duration_s=15 * 60)
    world.reconcile(minutes=130)
    return charge


@pytest.fixture
def stranger(world: World) -> Principal:
    """The manager of another sub-center, which has an instrument of its own."""
    with world.database.transaction() as session:
        other = builders.sub_center(session)
        builders.instrument(
            session, in_group=builders.group(session, of_unit=builders.unit(session, in_sub_center=other))
        )
        other_id = other.id
    return world.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=other_id)


def test_the_tree_adds_up_and_the_verified_share_is_of_the_charged_time(world: World, charge: UUID) -> None:
    _ = charge
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    now = clock.now()
    with world.database.reader() as session:
        view = service.ledger_view(session, reader=manager, since=now - timedelta(days=1), until=now)
    (sub_center,) = view.sub_centers
    (unit,) = sub_center.children
    (group,) = unit.children
    (instrument,) = group.children
    assert sub_center.figures == unit.figures == group.figures == instrument.figures == view.total
    assert view.total.income_fen == 1_000_00
    assert (view.total.charged_s, view.total.verified_s) == (79 * 60, 64 * 60)
    assert (view.total.charges, view.total.verified_charges) == (2, 1)


def test_a_charge_counts_in_the_time_in_which_it_ended(world: World, charge: UUID) -> None:
    _ = charge
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        ended = service.evidence(session, session_id=charge, reader=manager, at=clock.now()).end
        until_then = service.ledger_view(session, reader=manager, since=ended - timedelta(days=1), until=ended)
        from_then = service.ledger_view(session, reader=manager, since=ended, until=ended + timedelta(days=1))
    assert (until_then.total.charges, from_then.total.charges) == (0, 2)


def test_another_sub_center_sees_nothing_of_it(world: World, charge: UUID, stranger: Principal) -> None:
    now = clock.now()
    with world.database.reader() as session:
        view = service.ledger_view(session, reader=stranger, since=now - timedelta(days=1), until=now)
        assert view.total.charges == 0
        assert {node.name_zh for node in view.sub_centers}.isdisjoint({"中心直属单位"})
        wall = service.wall(session, reader=stranger, at=now)
        (tile,) = wall.tiles
        assert tile.place.instrument.id != world.instrument_id
        assert wall.happenings == ()
        assert queue.queue(session, reader=stranger, wanted=queue.Wanted(), at=now).total == 0
        for look in (
            lambda: service.evidence(session, session_id=charge, reader=stranger, at=now),
            lambda: service.unit_account(session, unit_id=world.unit_id, reader=stranger),
            lambda: service.charges_of_instrument(
                session, instrument_id=world.instrument_id, reader=stranger, since=now, until=now
            ),
        ):
            with pytest.raises(Refusal) as refused:
                look()
            assert refused.value.code is Code.NOT_FOUND


def test_a_cardholder_sees_the_own_evidence_and_no_ledger(world: World, charge: UUID) -> None:
    holder = world.principal(world.holder_id)
    now = clock.now()
    with world.database.reader() as session:
        found = service.evidence(session, session_id=charge, reader=holder, at=now)
        assert found.verdict is not None
        assert found.record is not None
        assert service.charges_of_customer(session, reader=holder).total == 2
        for look in (
            lambda: service.ledger_view(session, reader=holder, since=now, until=now),
            lambda: service.wall(session, reader=holder, at=now),
        ):
            with pytest.raises(Refusal) as refused:
                look()
            assert refused.value.code is Code.FORBIDDEN


def test_the_exceptions_are_the_charges_that_the_box_does_not_confirm(world: World, charge: UUID) -> None:
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        (line,) = queue.queue(session, reader=manager, wanted=queue.Wanted(), at=clock.now()).lines
        assert line.charge.id != charge
        alike = queue.Wanted(verdict=line.verdict.verdict)
        assert queue.queue(session, reader=manager, wanted=alike, at=clock.now()).total == 1


@pytest.mark.usefixtures("charge")
def test_a_run_that_nobody_paid_for_is_told_to_who_looks_after_it(world: World, stranger: Principal) -> None:
    world.play((20, RUN_W), (40, STANDBY_W))
    world.reconcile(minutes=190)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        (use,) = unpaid.list_uses(session, reader=manager, zone=SHANGHAI).uses
        assert (use.run.instrument_id, use.unpaid_s, use.run.evidence["charges"]) == (world.instrument_id, 20 * 60, [])
        assert unpaid.list_uses(session, reader=manager, zone=SHANGHAI, page_size=1).has_more is False
        assert unpaid.list_uses(session, reader=stranger, zone=SHANGHAI).total == 0


def test_a_run_that_began_before_its_card_names_the_charge_beside_it(world: World) -> None:
    late = world.charge(40, 72, duration_s=32 * 60)
    world.reconcile(minutes=130)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        (use,) = unpaid.list_uses(session, reader=manager, zone=SHANGHAI).uses
    assert (use.run.verdict, use.unpaid_s) == (BoxVerdictKind.UNPAID_HEAD, 30 * 60)
    assert use.run.evidence["charges"] == [str(late)]
