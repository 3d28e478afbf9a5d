"""A meter over time: what it says is laid over, averaged, and not believed where it contradicts itself."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.adapters.channel import Channels, Doubt
from telemetry.adapters.meter import SILENT_AFTER, Family, Meter
from telemetry.adapters.values import MeterReading

NOW = datetime(2026, 9, 9, 10, 0, tzinfo=UTC)
STEP = 0.1


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def device() -> Channels:
    return Channels(timedelta(seconds=90))


def say(meter: Channels, minutes: float, power_w: float | None, energy_wh: float | None = None, **more: float) -> None:
    reading = MeterReading(power_w=power_w, energy_wh=energy_wh, energy_step_wh=STEP, **more)  # type: ignore[arg-type]
    meter.take_readings([reading], received_at=at(minutes))


def test_the_mean_of_a_sample_weighs_each_power_by_its_time() -> None:
    meter = device()
    say(meter, 0, 100.0)
    say(meter, 0.5, 200.0)
    assert meter.mean_w(0, start=at(0), end=at(1)) == 150.0
    assert meter.mean_w(0, start=at(0.4), end=at(0.5)) == 100.0
    assert meter.mean_w(0, start=at(0.25), end=at(0.75)) == 150.0


def test_before_the_first_message_and_after_the_silence_nothing_is_known() -> None:
    meter = device()
    say(meter, 1, 100.0)
    assert meter.mean_w(0, start=at(0.9), end=at(1.1)) is None
    assert meter.mean_w(0, start=at(2), end=at(2.5)) == 100.0
    assert meter.mean_w(0, start=at(2.4), end=at(2.6)) is None


def test_a_box_that_was_asleep_does_not_paint_the_past_with_the_present() -> None:
    meter = device()
    say(meter, 0, 5.0, 1000.0)
    say(meter, 10, 2000.0, 1100.0)
    assert meter.mean_w(0, start=at(0.5), end=at(1)) == 5.0
    assert meter.mean_w(0, start=at(5), end=at(5.5)) is None
    assert meter.energy_wh(0, at=at(5)) is None
    assert meter.energy_wh(0, at=at(10)) == 1100.0


@given(st.lists(st.tuples(st.integers(0, 80), st.floats(0, 5000)), min_size=1, max_size=20), st.integers(0, 20))
def test_a_mean_lies_between_the_least_and_the_greatest(steps: list[tuple[int, float]], start: int) -> None:
    meter = device()
    second = 0
    for wait, power_w in steps:
        second += wait
        say(meter, second / 60, power_w)
    mean_w = meter.mean_w(0, start=at(start / 60), end=at((start + 10) / 60))
    powers = [power_w for _, power_w in steps]
    assert mean_w is None or min(powers) - 1e-6 <= mean_w <= max(powers) + 1e-6


def test_a_power_that_stands_still_while_the_counter_does_is_stuck_and_unknown() -> None:
    meter = device()
    for minute in range(9):
        say(meter, minute, 300.0, 1000.0)
    assert meter.power_w(0, at=at(8)) == 300.0
    for minute in range(9, 12):
        say(meter, minute, 300.0, 1000.0)
    assert meter.doubts(0) == [Doubt.STUCK]
    assert meter.power_w(0, at=at(11)) is None
    say(meter, 12, 300.0, 1005.0)
    assert meter.power_w(0, at=at(12)) == 300.0


def test_a_steady_load_that_is_counted_is_no_stuck_value() -> None:
    meter = device()
    for minute in range(60):
        say(meter, minute, 300.0, 1000.0 + minute * 5)
    assert meter.doubts(0) == []


def test_a_standby_below_the_dead_band_is_seen_by_the_counter() -> None:
    meter = device()
    for minute in range(31):
        say(meter, minute, 0.0, round(1000.0 + minute * 0.02, 3))
    assert meter.power_w(0, at=at(30)) == pytest.approx(1.2, rel=0.05)
    say(meter, 31, 250.0, 1003.0)
    assert meter.power_w(0, at=at(31)) == 250.0
    say(meter, 32, 0.0, 1007.0)
    assert meter.power_w(0, at=at(32)) == 0.0


def test_the_counter_of_the_minute_before_is_no_standby() -> None:
    meter = device()
    say(meter, 0, 2000.0, 1000.0)
    say(meter, 0.5, 0.0, 1000.0)
    say(meter, 1, None, 1016.0)
    for minute in range(2, 10):
        say(meter, minute, 0.0, 1016.0)
    assert meter.power_w(0, at=at(9)) == 0.0


def test_a_power_of_nothing_that_counts_much_is_not_believed() -> None:
    meter = device()
    for minute in range(6):
        say(meter, minute, 0.0, 1000.0 + minute * 5)
    assert meter.doubts(0) == [Doubt.COUNTS_AT_ZERO]
    assert meter.power_w(0, at=at(5)) is None
    say(meter, 6, 290.0, 1030.0)
    assert meter.power_w(0, at=at(6)) == 290.0


def test_no_power_with_a_current_that_must_do_work_is_unknown_and_not_off() -> None:
    meter = device()
    say(meter, 0, 0.0, current_a=3.1, voltage_v=230.0)
    assert meter.doubts(0) == [Doubt.CURRENT_AT_ZERO]
    assert meter.power_w(0, at=at(0)) is None
    say(meter, 1, 0.0, current_a=0.039, voltage_v=234.3)
    assert meter.power_w(0, at=at(1)) == 0.0


def test_a_partial_message_is_not_held_against_an_older_current() -> None:
    meter = device()
    say(meter, 0, 700.0, current_a=3.1, voltage_v=230.0)
    say(meter, 0.1, 0.0)
    assert meter.power_w(0, at=at(0.1)) == 0.0


def test_what_the_broker_kept_is_no_sign_of_life() -> None:
    meter = Meter(Family.TASMOTA)
    meter.take("tele/p/SENSOR", b'{"ENERGY":{"Total":1.5,"Power":40}}', received_at=at(0), retained=True)
    assert meter.power_w(0, at=at(0)) is None
    assert meter.mean_w(0, start=at(0), end=at(0.1)) is None
    meter.take("tele/p/SENSOR", b'{"ENERGY":{"Total":1.5,"Power":41}}', received_at=at(1))
    assert meter.power_w(0, at=at(1)) == 41.0


def test_a_shelly_whose_clock_was_set_back_is_still_heard() -> None:
    meter = Meter(Family.SHELLY)
    for minute, ts in ((0, 1788945300.0), (1, 1788940000.0)):
        raw = b'{"method":"NotifyStatus","params":{"ts":%f,"switch:0":{"apower":%d.5}}}' % (ts, minute)
        meter.take("p/events/rpc", raw, received_at=at(minute))
    assert meter.power_w(0, at=at(1)) == 1.5


def test_two_notifications_of_one_moment_both_count() -> None:
    meter = Meter(Family.SHELLY)
    for apower in (10, 900):
        raw = b'{"method":"NotifyStatus","params":{"ts":1788945300.88,"switch:0":{"apower":%d}}}' % apower
        meter.take("p/events/rpc", raw, received_at=at(0))
    assert meter.power_w(0, at=at(0)) == 900.0


def test_the_gap_of_a_plug_that_keeps_nothing_is_bridged_by_its_total() -> None:
    meter = Meter(Family.TASMOTA)
    meter.take("tele/p/SENSOR", b'{"ENERGY":{"Total":1.500,"Power":100}}', received_at=at(0))
    before_wh = meter.energy_wh(0, at=at(1))
    meter.take("tele/p/LWT", b"Offline", received_at=at(2))
    assert meter.mean_w(0, start=at(3), end=at(4)) is None
    meter.take("tele/p/LWT", b"Online", received_at=at(62))
    meter.take("tele/p/SENSOR", b'{"ENERGY":{"Total":1.600,"Power":100}}', received_at=at(62))
    assert (before_wh, meter.energy_wh(0, at=at(62))) == (1500.0, 1600.0)


def test_a_counter_of_whole_kilowatt_hours_bridges_nothing() -> None:
    meter = Meter(Family.TASMOTA)
    meter.take("tele/p/SENSOR", b'{"ENERGY":{"Total":25,"Power":100}}', received_at=at(0))
    assert meter.energy_wh(0, at=at(0)) is None


def test_the_phases_of_one_instrument_are_summed_and_all_must_be_known() -> None:
    meter = Meter(Family.TASMOTA)
    raw = b'{"ENERGY":{"Total":1.5,"Power":[10,20,30],"Current":[0.1,0.2,0.3],"Voltage":230}}'
    meter.take("tele/p/SENSOR", raw, received_at=at(0))
    assert meter.power_w(0, 1, 2, at=at(0)) == 60.0
    assert meter.energy_wh(0, 1, 2, at=at(0)) == 1500.0
    assert meter.energy_wh(0, 1, at=at(0)) is None
    assert meter.power_w(0, 3, at=at(0)) is None


def test_the_energy_of_a_three_phase_shelly_comes_from_its_other_component() -> None:
    meter = Meter(Family.SHELLY)
    meter.take("p/status/em:0", b'{"id":0,"total_act_power":2413.8}', received_at=at(0))
    meter.take("p/status/emdata:0", b'{"id":0,"total_act":5000.25}', received_at=at(0))
    assert (meter.power_w(0, at=at(0)), meter.energy_wh(0, at=at(0))) == (2413.8, 5000.25)


@pytest.mark.parametrize("family", list(Family))
def test_silence_is_unknown_in_every_family(family: Family) -> None:
    meter = Meter(family)
    meter.take_readings([MeterReading(power_w=7.0)], received_at=at(0))
    end = at(0) + SILENT_AFTER[family]
    assert meter.mean_w(0, start=end - timedelta(seconds=10), end=end) == 7.0
    assert meter.mean_w(0, start=end, end=end + timedelta(seconds=10)) is None
