"""Verdicts, exceptions, reviews and usage records over HTTP, each person within her own walls."""

from dataclasses import replace
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app import clock, web
from app.clock import Anchor
from app.errors import Code, Refusal
from app.people.models import Role, RoleGrant
from app.people.service import principal_of
from app.reconciliation import service
from app.reconciliation.models import ControlTotal, Review
from app.reconciliation.reading import list_exceptions
from app.sessions.models import CardSession
from app.settings import Settings
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import STANDBY_W, at

ROOT = "/api/v1/reconciliation"
NOTE = "看过仪器日志，样品表与机时一致。"


@pytest.fixture
def staffed(world: World) -> World:
    """One matched charge, one phantom, one unpaid run; a manager here and one elsewhere."""
    world.charge(10, 70)
    world.charge(150, 180)
    world.use(14, 66, until=90)
    world.use(90, 110, until=250)
    world.reconcile(minutes=250)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.transaction() as session:
        elsewhere = builders.sub_center(session).id
    world.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=elsewhere)
    world.person("nobody", Role.CARDHOLDER)
    return world


@pytest.mark.usefixtures("staffed")
def test_everyone_sees_the_verdicts_that_concern_her_and_no_others(client: FlaskClient) -> None:
    seen = {
        name: client.get(f"{ROOT}/verdicts", headers=builders.bearer(client, name)).get_json()
        for name in ("holder", "manager", "stranger", "nobody")
    }
    assert {name: page["total"] for name, page in seen.items()} == {
        "holder": 2,
        "manager": 2,
        "stranger": 0,
        "nobody": 0,
    }
    assert {row["verdict"] for row in seen["holder"]["verdicts"]} == {"matched", "phantom"}
    assert all(row["overlap_s"] + row["charge_only_s"] in (3600, 1800) for row in seen["holder"]["verdicts"])


def test_one_charge_shows_all_its_versions_only_to_whom_it_concerns(staffed: World, client: FlaskClient) -> None:
    address = f"{ROOT}/verdicts/{staffed.charges[0]}"
    answer = client.get(address, headers=builders.bearer(client, "holder"))
    assert [row["version"] for row in answer.get_json()["verdicts"]] == [1]
    assert client.get(address, headers=builders.bearer(client, "stranger")).status_code == 404
    assert client.get(f"{ROOT}/verdicts/{uuid4()}", headers=builders.bearer(client, "holder")).status_code == 404
    assert client.get(address).status_code == 401


@pytest.mark.usefixtures("staffed")
def test_exceptions_and_unpaid_use_are_for_the_staff(client: FlaskClient) -> None:
    manager = builders.bearer(client, "manager")
    exceptions = client.get(f"{ROOT}/exceptions", headers=manager).get_json()
    assert [row["verdict"] for row in exceptions["verdicts"]] == ["phantom"]
    unpaid = client.get(f"{ROOT}/unpaid-use", headers=manager).get_json()["unpaid_use"]
    assert [(row["verdict"], 15 * 60 < row["unpaid_s"] <= 20 * 60) for row in unpaid] == [("unpaid", True)]
    for address in ("exceptions", "unpaid-use"):
        assert client.get(f"{ROOT}/{address}", headers=builders.bearer(client, "holder")).status_code == 403
        answer = client.get(f"{ROOT}/{address}", headers=builders.bearer(client, "stranger")).get_json()
        assert answer["total"] == 0


def test_a_reviewed_charge_is_verified_by_name_and_leaves_the_queue(staffed: World, client: FlaskClient) -> None:
    address = f"{ROOT}/verdicts/{staffed.charges[1]}/review"
    body = {"outcome": "verified", "note": NOTE}
    assert client.post(address, json=body, headers=builders.bearer(client, "stranger")).status_code == 404
    manager = builders.bearer(client, "manager")
    made = client.post(address, json=body, headers=manager)
    assert made.status_code == 201
    assert {key: made.get_json()[key] for key in ("verdict", "verified", "reviewed_by", "version")} == {
        "verdict": "phantom",
        "verified": True,
        "reviewed_by": "manager",
        "version": 2,
    }
    assert client.get(f"{ROOT}/exceptions", headers=manager).get_json()["total"] == 0
    assert len(client.get("/api/v1/usage-records", headers=manager).get_json()["usage_records"]) == 2
    again = client.post(address, json=body, headers=manager)
    assert (again.status_code, again.get_json()["code"]) == (409, "NOT_REVIEWABLE")


def test_a_review_needs_a_reason_in_words(staffed: World, client: FlaskClient) -> None:
    address = f"{ROOT}/verdicts/{staffed.charges[1]}/review"
    manager = builders.bearer(client, "manager")
    for body in ({"outcome": "verified"}, {"outcome": "verified", "note": " "}, {"outcome": "matched", "note": NOTE}):
        assert client.post(address, json=body, headers=manager).status_code == 422


def test_a_role_decides_only_where_it_was_given_whatever_else_she_sees(staffed: World, client: FlaskClient) -> None:
    """An auditor sees everything, and an operator answers for her group: together they decide no other's charges."""
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(300), speed=1.0))
    with staffed.database.transaction() as session:
        abroad = builders.group(session, of_unit=builders.unit(session, in_sub_center=builders.sub_center(session)))
        both = builders.person(session, username="both", role=Role.GROUP_OPERATOR, group_id=abroad.id)
        session.add(RoleGrant(person_id=both.id, role=Role.AUDITOR))
        session.add(RoleGrant(person_id=both.id, role=Role.SUB_CENTER_MANAGER, sub_center_id=abroad.unit.sub_center_id))
    headers, phantom = builders.bearer(client, "both"), staffed.charges[1]
    wish = {"session_id": str(phantom), "reason": "仪器故障，未能测试。"}
    made = client.post(f"{ROOT}/contests", json=wish, headers=builders.bearer(client, "holder")).get_json()
    asked = [
        (f"{ROOT}/contests/{made['id']}/answer", {"amount_fen": 0, "answer": NOTE}),
        (f"{ROOT}/verdicts/{phantom}/review", {"outcome": "verified", "note": NOTE}),
        (f"{ROOT}/verdicts/{phantom}/rerun", None),
    ]
    assert [client.post(address, json=body, headers=headers).status_code for address, body in asked] == [404] * 3
    assert client.get(f"{ROOT}/exceptions", headers=headers).get_json()["total"] == 1


def test_a_rerun_gives_the_verdict_that_holds(staffed: World, client: FlaskClient) -> None:
    address = f"{ROOT}/verdicts/{staffed.charges[0]}/rerun"
    answer = client.post(address, headers=builders.bearer(client, "manager"))
    assert (answer.status_code, answer.get_json()["version"]) == (200, 1)
    assert client.post(address, headers=builders.bearer(client, "holder")).status_code == 403


def test_a_rerun_goes_by_the_days_of_the_site(world: World, app_: Flask, settings: Settings) -> None:
    charge = world.charge(10, 70)
    world.use(14, 66, until=120)
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    hawaii = replace(settings, site_timezone=ZoneInfo("Pacific/Honolulu"))
    web.equip(app_, database=world.database, settings=hawaii)
    client = app_.test_client()
    answer = client.post(f"{ROOT}/verdicts/{charge}/rerun", headers=builders.bearer(client, "manager"))
    assert answer.status_code == 200
    with world.database.reader() as session:
        assert session.scalars(select(ControlTotal.day)).all() == [at(10).astimezone(hawaii.site_timezone).date()]


@pytest.mark.usefixtures("staffed")
def test_verdicts_can_be_asked_for_by_instrument_and_word(client: FlaskClient) -> None:
    holder = builders.bearer(client, "holder")
    phantoms = client.get(f"{ROOT}/verdicts", query_string={"verdict": "phantom"}, headers=holder).get_json()
    assert [row["verdict"] for row in phantoms["verdicts"]] == ["phantom"]
    elsewhere = {"instrument_id": 999}
    assert client.get(f"{ROOT}/verdicts", query_string=elsewhere, headers=holder).get_json()["total"] == 0
    for wrong in ({"instrument_id": 2**70}, {"instrument_id": 0}, {"verdict": "paid"}, {"page": 0}):
        assert client.get(f"{ROOT}/verdicts", query_string=wrong, headers=holder).status_code == 422


def test_nobody_reviews_her_own_use(world: World) -> None:
    charge = world.charge(10, 70)
    world.play((120, STANDBY_W))
    world.reconcile(minutes=120)
    with world.database.transaction() as session:
        holder = builders.person(session, username="clerk-with-card", role=Role.CLERK)
        row = session.get_one(CardSession, charge)
        row.card.holder_id = holder.id
        session.refresh(holder, ["grants"])
        reader = principal_of(holder)
    with pytest.raises(Refusal), world.database.transaction() as session:
        service.review(session, session_id=charge, outcome=Review.VERIFIED, note=NOTE, reader=reader, at=at(130))


def set_flags(world: World, charge: UUID, *flags: str) -> None:
    with world.database.transaction() as session:
        session.get_one(CardSession, charge).flags = list(flags)


def test_a_session_that_nobody_ended_waits_for_a_person_also_when_its_box_confirms_the_charge(world: World) -> None:
    forgotten = world.charge(10, 70)
    world.use(10, 70, until=120)
    world.reconcile(minutes=120)
    clerk = world.person("clerk", Role.CLERK)
    assert world.verdict(forgotten) == "matched"
    set_flags(world, forgotten, "lower_bound")
    with world.database.transaction() as session:
        assert list_exceptions(session, reader=clerk)[1] == 0
        with pytest.raises(Refusal) as refused:
            service.review(session, session_id=forgotten, outcome=Review.VERIFIED, note=NOTE, reader=clerk, at=at(130))
        assert refused.value.code is Code.NOT_REVIEWABLE
    set_flags(world, forgotten, "auto_ended", "lower_bound")
    with world.database.transaction() as session:
        assert list_exceptions(session, reader=clerk)[1] == 1
        service.review(session, session_id=forgotten, outcome=Review.VERIFIED, note=NOTE, reader=clerk, at=at(130))
        assert list_exceptions(session, reader=clerk)[1] == 0


def test_new_evidence_asks_for_a_new_review(world: World) -> None:
    charge = world.charge(10, 70)
    world.play((5, STANDBY_W))
    later = 71 + 3 * 1440
    world.reconcile(minutes=later)
    clerk = world.person("clerk", Role.CLERK)
    with world.database.transaction() as session:
        service.review(session, session_id=charge, outcome=Review.VERIFIED, note=NOTE, reader=clerk, at=at(later))
    assert len(world.records()) == 1
    world.play((135, STANDBY_W))
    world.reconcile(minutes=later + 5)
    world.database.run(lambda session: service.rerun(session, session_id=charge, reader=clerk, at=at(later + 6)))
    assert (world.verdict(charge), world.records()) == ("phantom", [])
    with world.database.transaction() as session:
        assert list_exceptions(session, reader=clerk)[1] == 1


def test_a_contest_is_made_and_answered_over_http_each_by_her_own(staffed: World, client: FlaskClient) -> None:
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(300), speed=1.0))
    wish = {"session_id": str(staffed.charges[1]), "reason": "仪器故障，未能测试。"}
    holder, manager = builders.bearer(client, "holder"), builders.bearer(client, "manager")
    assert client.post(f"{ROOT}/contests", json=wish, headers=builders.bearer(client, "nobody")).status_code == 404
    made = client.post(f"{ROOT}/contests", json=wish, headers=holder)
    assert (made.status_code, made.get_json()["status"]) == (201, "contested")
    assert client.post(f"{ROOT}/contests", json=wish, headers=holder).get_json()["code"] == "NOT_CONTESTABLE"
    address = f"{ROOT}/contests/{made.get_json()['id']}/answer"
    answer = {"amount_fen": 0, "answer": "采集盒显示正常运行。"}
    assert client.post(address, json=answer, headers=builders.bearer(client, "stranger")).status_code == 404
    assert client.post(address, json=answer, headers=holder).status_code == 403
    assert client.post(address, json=answer, headers=manager).get_json()["status"] == "upheld"
    assert client.get(f"{ROOT}/contests", headers=holder).get_json()["contests"][0]["answer"] == answer["answer"]


@pytest.mark.usefixtures("staffed")
def test_control_totals_over_http_add_up_and_stay_within_the_walls(client: FlaskClient) -> None:
    query = "since=2026-05-01&until=2026-05-31"
    found = client.get(f"{ROOT}/control-totals?{query}", headers=builders.bearer(client, "manager")).get_json()
    assert found["total"] >= 1
    for each in (found["sums"], *found["totals"]):
        assert each["charge_s"] == each["overlap_s"] + each["charge_only_s"]
        assert each["box_s"] == each["overlap_s"] + each["box_only_s"]
    strange = client.get(f"{ROOT}/control-totals?{query}", headers=builders.bearer(client, "stranger")).get_json()
    assert (strange["total"], strange["sums"]["charge_s"]) == (0, 0)
    assert client.get(f"{ROOT}/control-totals?{query}", headers=builders.bearer(client, "holder")).status_code == 403
