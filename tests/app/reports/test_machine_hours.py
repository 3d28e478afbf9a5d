"""Hours by instrument and period: measured beside verified, for those who look after the instrument."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from app import periods
from app.errors import Code, Refusal
from app.instruments.models import Instrument
from app.people.models import Role
from app.reports import service
from telemetry.vocabularies import NAMES
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import at

HOUR = 3600
SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_measured_stand_beside_verified_hours_and_only_time_that_has_passed_counts(world: World) -> None:
    world.charge(8, 72, duration_s=64 * 60)
    world.reconcile(minutes=130)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        found = service.machine_hours(session, reader=manager, since=at(-60), until=at(9_999), at=at(130))
    (line,) = found.lines
    assert (line.measured.total_s, line.measured.running_s, line.measured.uses) == (130 * 60, HOUR, 1)
    assert (line.measured.unknown_s, line.measured.period_s) == (HOUR, 190 * 60)
    assert line.measured.effective_s == (10 + 60 + 15) * 60
    assert line.verified.uses == 1
    assert found.measured == line.measured


def test_an_instrument_is_allowed_its_own_warm_up_and_after_treatment(world: World) -> None:
    with world.database.transaction() as session:
        instrument = session.get_one(Instrument, world.instrument_id)
        instrument.warm_up_min, instrument.after_treatment_min = 4, 40
    world.charge(0, 130, duration_s=130 * 60)
    world.reconcile(minutes=130)
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    with world.database.reader() as session:
        found = service.machine_hours(session, reader=manager, since=at(0), until=at(130), at=at(130))
    assert found.measured.effective_s == (4 + 60 + 40) * 60


def test_hours_of_months_add_up_to_those_of_the_whole(world: World) -> None:
    manager = world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    bounds = periods.bounds(at(-50_000), at(130), by="day", zone=SHANGHAI)
    with world.database.reader() as session:
        days = service.machine_hours_of(
            session, instrument_id=world.instrument_id, reader=manager, bounds=bounds, at=at(130)
        )
        whole = service.machine_hours_of(
            session, instrument_id=world.instrument_id, reader=manager, bounds=(bounds[0], bounds[-1]), at=at(130)
        )
    assert len(days.lines) == len(bounds) - 1
    assert days.measured == whole.measured


def test_another_sub_center_and_a_cardholder_see_no_hours(world: World) -> None:
    with world.database.transaction() as session:
        elsewhere_id = builders.sub_center(session).id
    stranger = world.person("stranger", Role.SUB_CENTER_MANAGER, sub_center_id=elsewhere_id)
    holder = world.principal(world.holder_id)
    with world.database.reader() as session:
        for reader in (stranger, holder):
            with pytest.raises(Refusal) as refused:
                service.machine_hours_of(
                    session, instrument_id=world.instrument_id, reader=reader, bounds=(at(0), at(9)), at=at(130)
                )
            assert refused.value.code is Code.NOT_FOUND
        with pytest.raises(Refusal) as refused:
            service.machine_hours(session, reader=holder, since=at(0), until=at(9), at=at(130))
        assert refused.value.code is Code.FORBIDDEN


def test_a_time_is_parted_at_the_midnights_of_the_site() -> None:
    since = datetime(2026, 12, 30, 15, 0, tzinfo=UTC)
    until = datetime(2027, 2, 1, 0, 0, tzinfo=UTC)
    months = periods.bounds(since, until, by="month", zone=SHANGHAI)
    assert months == [since, datetime(2027, 1, 1, tzinfo=SHANGHAI), datetime(2027, 2, 1, tzinfo=SHANGHAI), until]
    days = periods.bounds(since, datetime(2026, 12, 31, 16, 0, tzinfo=UTC), by="day", zone=SHANGHAI)
    assert days == [since, datetime(2026, 12, 31, tzinfo=SHANGHAI), datetime(2027, 1, 1, tzinfo=SHANGHAI)]
    assert periods.bounds(since, until, by="whole", zone=SHANGHAI) == [since, until]


def test_programs_read_hours_by_month_with_the_states_in_the_words_of_others(world: World, client: FlaskClient) -> None:
    world.person("manager", Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
    manager = builders.bearer(client, "manager")
    period = {"since": "2026-04-01T00:00:00+08:00", "until": "2026-06-01T00:00:00+08:00"}
    address = f"/api/v1/reports/machine-hours/{world.instrument_id}"
    found = client.get(address, query_string=period, headers=manager).get_json()
    assert [line["measured"]["running_s"] for line in found["lines"]] == [0, HOUR]
    assert [line["since"][:10] for line in found["lines"]] == ["2026-04-01", "2026-05-01"]
    assert {each["state"]: each["semi_e10"] for each in found["state_names"]} == {
        "running": "Productive",
        "standby": "Standby",
        "off": "Nonscheduled",
        "unknown": "",
    }
    all_of_them = client.get("/api/v1/reports/machine-hours", query_string=period, headers=manager).get_json()
    assert [line["measured"]["running_s"] for line in all_of_them["lines"]] == [HOUR]
    reversed_ = {"since": period["until"], "until": period["since"]}
    assert client.get(address, query_string=reversed_, headers=manager).get_json()["code"] == "TIMES_REVERSED"
    too_long = {**period, "until": "2028-06-01T00:00:00+08:00"}
    assert client.get(address, query_string=too_long, headers=manager).status_code == 422


def test_the_page_of_states_in_other_vocabularies_says_what_exports_say() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "states.md").read_text(encoding="utf-8")
    for state, names in NAMES.items():
        words = (
            f"{names.lads_device} / {names.lads_functional_unit}".strip(" /"),
            *(names.machinery_item, names.packml, names.semi_e10),
        )
        assert "| ".join([f"| {state} ", *(f"{word or '–'} " for word in words)]) + "|" in page
