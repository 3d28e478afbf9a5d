"""The sentences about a charge say the same as its price line, its box and its clock."""

from uuid import UUID

import pytest
from flask import Flask

from app import clock
from app.db import Database
from app.people.models import Role
from app.reports import service, wording
from app.reports.service import Evidence
from tests.app.reconciliation.world import World


def looked_at(world: World, charge: UUID) -> Evidence:
    auditor = world.person("auditor", Role.AUDITOR)
    with world.database.reader() as session:
        return service.evidence(session, session_id=charge, reader=auditor, at=clock.now())


def test_the_sentence_names_the_minutes_that_the_price_line_bills(world: World, app_: Flask) -> None:
    # 00:02:34 – 01:01:28 are 58 min 54 s, and 59 minutes of the price, which drops the seconds of both ends.
    found = looked_at(world, world.charge(2 + 34 / 60, 61 + 28 / 60, duration_s=58 * 60 + 54))
    with app_.test_request_context("/?lang=en"):
        assert "charged for 59 min" in wording.claim(found)


@pytest.mark.parametrize(("samples", "why"), [(0, "no samples were entered"), (2, "")])
def test_a_use_paid_by_the_sample_says_why_it_cost_nothing(
    world: World, app_: Flask, *, samples: int, why: str
) -> None:
    snapshot = {"rules": {"per_sample": {"tiers": [{"from_sample": 1, "price_fen": 100_00}]}}}
    nothing = {"paid_principal_fen": 0, "paid_subsidy_fen": 0}
    charge = world.charge(2, 62, tariff_snapshot=snapshot, samples=samples, **nothing)
    with app_.test_request_context("/?lang=en"):
        said = wording.nothing_billed(looked_at(world, charge).charge)
    assert why in said
    assert bool(said) == bool(why)


def test_a_charge_without_a_box_does_not_blame_a_silent_one(database: Database, app_: Flask) -> None:
    world = World(database, with_box=False)
    charge = world.charge(2, 62, duration_s=3600)
    world.reconcile(minutes=20_000)
    found = looked_at(world, charge)
    with app_.test_request_context("/?lang=en"):
        assert "No collector box stood" in wording.reason(found.verdict)


def test_the_picture_of_a_fresh_charge_ends_now(world: World) -> None:
    found = looked_at(world, world.charge(8, 129, duration_s=121 * 60))
    assert found.until <= clock.now()
