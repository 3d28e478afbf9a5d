"""Thresholds from a week of real power without labels, held against the runs that a person marked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from telemetry.box.programme import load, reference_runs
from telemetry.calibration import CalibrationRefusal, RefusalReason, calibrate
from telemetry.sessions import uses
from telemetry.states import Calibration, Dated, Reading, stretches
from tests.telemetry import planted
from tests.telemetry.planted import DAY_S, Planted

TRACES = Path(__file__).parents[1] / "data" / "traces"
WEEK_MS = 7 * 86_400_000


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


def made_of(found: Planted) -> tuple[Calibration | CalibrationRefusal, int, int]:
    """What a week alone teaches, and the uses and seconds that come of it."""
    readings = list(found.readings())
    calibration = calibrate(readings)
    if isinstance(calibration, CalibrationRefusal):
        return calibration, 0, 0
    dated = [Dated(valid_from_ms=0, version=1, calibration=calibration)]
    made = uses(stretches(readings, calibrations=dated), calibrations=dated)
    return calibration, len(made), sum(use.running_s for use in made)


INSTRUMENTS: dict[str, Callable[[], Planted]] = {
    "standby by day and night": partial(planted.two_levels, 1, idle_w=20, run_w=900, share=0.05),
    "sampled every 60 s": partial(planted.two_levels, 2, idle_w=20, run_w=300, step_s=60, share=0.05),
    "of 6 W over 1 W": partial(planted.two_levels, 3, idle_w=1, run_w=6, share=0.03, watts=0.1, step_s=60),
    "of 3.5 W over nothing": partial(planted.two_levels, 4, idle_w=0, run_w=3.5, watts=0.1, step_s=60),
    "behind a meter that shows 15 W too much": partial(
        planted.two_levels, 5, idle_w=5, run_w=300, offset_w=15, step_s=60
    ),
    "behind a meter that knows only even watts": partial(
        planted.two_levels, 6, idle_w=1, run_w=40, quantum_w=2, watts=0.5, step_s=60
    ),
    "off, long standby, short runs": partial(
        planted.three_levels, 7, off_w=0, standby_w=20, run_w=900, on_h=9, run_h=0.6, step_s=60, share=0.03
    ),
    "off, short standby, long runs": partial(
        planted.three_levels, 8, off_w=0.4, standby_w=30, run_w=200, on_h=10, run_h=6, step_s=60, share=0.03
    ),
    "off, a standby of 4 W, runs of 60 W": partial(
        planted.three_levels, 9, off_w=0, standby_w=4, run_w=60, on_h=10, run_h=2.5, step_s=60, watts=0.1
    ),
    "off that the meter shows as 12 W, standby, runs": partial(
        planted.three_levels, 10, off_w=12, standby_w=60, run_w=500, on_h=10, run_h=4, step_s=60, share=0.03
    ),
    "used for one hour a week": partial(
        planted.rare, 11, idle_w=1, run_w=200, run_h=1, quantum_w=2, watts=0.6, step_s=60
    ),
    "with steady steps while it runs": partial(planted.stepping, 12, idle_w=20, levels_w=(90, 150, 400, 1000), off_w=0),
    "that heats and then turns to and fro": partial(
        planted.heater_and_motor, 13, idle_w=1.5, motor_w=80, heater_w=1500
    ),
    "with an autosampler's dips and whole nights": partial(planted.autosampler, 14),
}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_an_instrument_is_calibrated_without_labels(name: str) -> None:
    truth = INSTRUMENTS[name]()
    calibration, count, running_s = made_of(truth)
    assert isinstance(calibration, Calibration)
    assert count == len(truth.runs)
    assert running_s == pytest.approx(truth.running_s, rel=0.015)


def without(trace: Callable[[], Planted], *missing: tuple[float, float]) -> Planted:
    """The same without these spans of days: the box was not heard."""
    found = trace()
    found.missing = [(round(since * DAY_S), round(until * DAY_S)) for since, until in missing]
    return found


NO_INSTRUMENTS: dict[str, tuple[RefusalReason, Callable[[], Planted]]] = {
    "a fridge": (RefusalReason.CYCLIC, partial(planted.thermostat, 1, on_min=15, off_min=35, run_w=90, step_s=60)),
    "a slow freezer": (
        RefusalReason.CYCLIC,
        partial(planted.thermostat, 2, on_min=45, off_min=45, run_w=140, idle_w=6),
    ),
    "a fridge that people open by day": (
        RefusalReason.CYCLIC,
        partial(planted.thermostat, 3, on_min=12, off_min=30, run_w=90, busier_by_day=1.7, jitter=0.3, step_s=60),
    ),
    "a quick thermostat": (
        RefusalReason.CYCLIC,
        partial(planted.thermostat, 4, on_min=2, off_min=3, run_w=1500, step_s=60),
    ),
    "a heater of ten-second pulses": (
        RefusalReason.CYCLIC,
        partial(planted.thermostat, 5, on_min=0.17, off_min=6, run_w=1500, idle_w=18),
    ),
    "a fridge never heard at night": (
        RefusalReason.CYCLIC,
        partial(
            without,
            partial(planted.thermostat, 6, on_min=15, off_min=35, run_w=90, step_s=60),
            *[(day, day + 0.25) for day in range(7)],
        ),
    ),
    "a fridge with days of silence": (
        RefusalReason.CYCLIC,
        partial(without, partial(planted.thermostat, 7, on_min=15, off_min=35, run_w=90, step_s=60), (2.2, 4.9)),
    ),
    "a freezer that defrosts": (RefusalReason.CYCLIC, partial(planted.defrosting, 8)),
    "standby with noise": (RefusalReason.NOT_SEPARABLE, partial(planted.steady, 9, 25, share=0.1)),
    "rounding to even watts": (RefusalReason.NOT_SEPARABLE, partial(planted.steady, 10, 1, quantum_w=2, watts=0.6)),
    "flicker": (RefusalReason.NOT_SEPARABLE, partial(planted.flicker, 11, 5, 500)),
    "power that wanders over two decades": (RefusalReason.NOT_SEPARABLE, partial(planted.spread, 12, 2, 500)),
    "single samples of a fuser": (
        RefusalReason.NOT_SEPARABLE,
        partial(planted.spikes, 13, base_w=12, spike_w=500, a_day=60),
    ),
    "runs of twice the standby": (
        RefusalReason.NOT_SEPARABLE,
        partial(planted.two_levels, 14, idle_w=20, run_w=45, share=0.05),
    ),
    "runs under an offset of 60 W": (
        RefusalReason.NOT_SEPARABLE,
        partial(planted.two_levels, 15, idle_w=1, run_w=40, offset_w=60, share=0.05),
    ),
    "a pump that is off for an hour a day": (
        RefusalReason.ALWAYS_ON,
        partial(planted.nearly_always, 16, run_w=800, idle_w=0, off_h_a_day=1),
    ),
    "a pump that pauses for minutes": (
        RefusalReason.ALWAYS_ON,
        partial(planted.nearly_always, 17, run_w=60, idle_w=2, off_h_a_day=0.1),
    ),
    "half a day of a fridge": (
        RefusalReason.INSUFFICIENT,
        partial(planted.thermostat, 18, on_min=15, off_min=35, run_w=90, days=0.5),
    ),
    "an instrument that ran for five minutes": (
        RefusalReason.INSUFFICIENT,
        partial(planted.rare, 19, idle_w=20, run_w=300, run_h=0.08),
    ),
}


@pytest.mark.parametrize("name", NO_INSTRUMENTS)
def test_what_is_no_instrument_is_refused_for_what_it_is(name: str) -> None:
    reason, trace = NO_INSTRUMENTS[name]
    refusal, _, _ = made_of(trace())
    assert isinstance(refusal, CalibrationRefusal)
    assert refusal.reason is reason


def test_what_was_sent_twice_makes_no_second_day() -> None:
    half = list(planted.thermostat(1, on_min=15, off_min=35, run_w=90, days=0.6).readings())
    refusal = calibrate(sorted([*half, *half], key=lambda reading: reading.start_ms))
    assert isinstance(refusal, CalibrationRefusal)
    assert refusal.reason is RefusalReason.INSUFFICIENT
    assert refusal.known_s == 0.6 * DAY_S
