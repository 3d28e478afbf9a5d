"""Thresholds from a week of real power without labels, held against the runs that a person marked."""

from pathlib import Path

import pytest

from telemetry.box.programme import load, reference_runs
from telemetry.calibration import CalibrationRefusal, RefusalReason, calibrate
from telemetry.sessions import uses
from telemetry.states import Calibration, Dated, Reading, stretches

TRACES = Path(__file__).parents[1] / "data" / "traces"
WEEK_MS = 7 * 86_400_000
DAY_S = 86_400


def first_week(readings: list[Reading]) -> list[Reading]:
    return [reading for reading in readings if reading.end_ms <= readings[0].start_ms + WEEK_MS]


@pytest.mark.parametrize("name", ["projector", "washer"])
def test_every_real_run_is_found_and_the_hours_are_right_within_1_5_percent(name: str) -> None:
    readings = list(load(name).readings())
    calibration = calibrate(first_week(readings))
    assert isinstance(calibration, Calibration)
    dated = [Dated(valid_from_ms=0, version=1, calibration=calibration)]
    found = uses(stretches(readings, calibrations=dated), calibrations=dated)
    reference = reference_runs(name)
    missed = [
        run
        for run in reference
        if not any(use.first_run_ms < run[1] * 1000 and use.last_run_ms > run[0] * 1000 for use in found)
    ]
    assert missed == []
    hours_s = sum(use.running_s for use in found)
    assert hours_s == pytest.approx(sum(end_s - start_s for start_s, end_s in reference), rel=0.015)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("coffee_periodic_heater", RefusalReason.CYCLIC),
        ("printer_fuser_gaps", RefusalReason.NOT_SEPARABLE),
    ],
)
def test_what_is_no_instrument_is_refused_with_its_reason(name: str, reason: RefusalReason) -> None:
    refusal = calibrate(first_week(list(load(name, folder=TRACES).readings())))
    assert isinstance(refusal, CalibrationRefusal)
    assert refusal.reason is reason


def days(count: float, *hours_and_powers: tuple[float, float]) -> list[Reading]:
    """The same day over and over, as (hours, watts)."""
    powers = [power_w for hours, power_w in hours_and_powers for _ in range(round(hours * 60))]
    return [Reading(start_ms=0, step_ms=60_000, powers_w=(powers * 30)[: round(count * 1440)])]


def refusal_of(readings: list[Reading]) -> RefusalReason | None:
    found = calibrate(readings)
    return found.reason if isinstance(found, CalibrationRefusal) else None


def test_less_than_a_day_is_insufficient() -> None:
    assert refusal_of(days(0.9, (8, 100.0), (16, 2.0))) is RefusalReason.INSUFFICIENT
    assert refusal_of([]) is RefusalReason.INSUFFICIENT
    assert refusal_of(days(1, (8, 100.0), (16, 2.0))) is None


def test_a_constant_power_is_not_separable() -> None:
    assert refusal_of(days(7, (24, 25.0))) is RefusalReason.NOT_SEPARABLE


def test_what_runs_nearly_always_is_always_on() -> None:
    assert refusal_of(days(7, (23.5, 800.0), (0.5, 10.0))) is RefusalReason.ALWAYS_ON


def test_an_instrument_used_ten_times_a_day_by_people_is_no_fridge() -> None:
    busy = [(8.0, 5.0), *[(0.4, 300.0), (0.2, 5.0)] * 12, (8.8, 5.0)]
    assert refusal_of(days(7, *busy)) is None


def test_a_fridge_is_no_instrument() -> None:
    assert refusal_of(days(7, *[(0.25, 90.0), (0.5, 2.0)] * 32)) is RefusalReason.CYCLIC


def test_off_is_parted_from_standby_where_the_power_shows_it() -> None:
    found = calibrate(days(7, (8, 0.0), (8, 20.0), (8, 900.0)))
    assert isinstance(found, Calibration)
    assert found.standby_threshold_w is not None
    assert 0.5 < found.standby_threshold_w < 20 < found.run_threshold_w < 900


def test_an_idle_of_twenty_watts_is_standby_though_it_was_never_off() -> None:
    found = calibrate(days(7, (16, 20.0), (8, 900.0)))
    assert isinstance(found, Calibration)
    assert found.standby_threshold_w is not None
    assert 0.5 < found.standby_threshold_w < 20
