"""From power to states to uses, by rule; without a database."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from telemetry.sessions import CONTEXT_S, Quality, Use, rest_s, uses
from telemetry.spans import clipped, power_spans
from telemetry.states import Calibration, Dated, Reading, State, Stretch, is_gapless, rests, stretches
from telemetry.windows import Window, within

CALIBRATION = Calibration(run_threshold_w=40.0, standby_threshold_w=1.5)
DATED = [Dated(valid_from_ms=0, version=1, calibration=CALIBRATION)]
OFF, STANDBY, RUN = 0.0, 5.0, 100.0
MINUTE_MS = 60_000


def reading(start_min: float, *powers_w: float, step_ms: int = 10_000, energy_wh: float | None = None) -> Reading:
    return Reading(start_ms=int(start_min * MINUTE_MS), step_ms=step_ms, powers_w=powers_w, energy_wh=energy_wh)


def minutes(*spans: tuple[float | None, float]) -> list[Reading]:
    """Readings of consecutive (power or None for silence, minutes)."""
    found: list[Reading] = []
    start = 0.0
    for power_w, length in spans:
        if power_w is not None:
            found.append(reading(start, *[power_w] * round(length * 6)))
        start += length
    return found


def states(readings: Iterable[Reading], dated: list[Dated] = DATED) -> list[tuple[State, float]]:
    return [(part.state, (part.end_ms - part.start_ms) / MINUTE_MS) for part in stretches(readings, calibrations=dated)]


def found_uses(*spans: tuple[float | None, float]) -> list[Use]:
    return uses(stretches(minutes(*spans), calibrations=DATED), calibrations=DATED)


def test_off_standby_and_running_are_told_apart() -> None:
    assert states(minutes((OFF, 10), (STANDBY, 5), (RUN, 20), (STANDBY, 5))) == [
        (State.OFF, 10),
        (State.STANDBY, 5),
        (State.RUNNING, 20),
        (State.STANDBY, 5),
    ]


def test_power_between_the_two_thresholds_keeps_the_state_it_came_from() -> None:
    assert states(minutes((RUN, 5), (38.0, 5), (STANDBY, 5), (42.0, 5))) == [(State.RUNNING, 10), (State.STANDBY, 10)]


def test_after_fifteen_minutes_between_off_and_standby_it_is_forgotten_where_it_came_from() -> None:
    assert states(minutes((STANDBY, 5), (1.4, 20))) == [(State.STANDBY, 20), (State.OFF, 5)]
    idle = stretches(minutes((1.6, 60)), calibrations=DATED)
    assert list(rests(idle, gap_s=900)) == [(15 * MINUTE_MS, 60 * MINUTE_MS)]


def test_silence_is_unknown_and_not_off() -> None:
    assert states(minutes((OFF, 10), (None, 30), (OFF, 10))) == [(State.OFF, 10), (State.UNKNOWN, 30), (State.OFF, 10)]


def test_without_a_calibration_nothing_is_known() -> None:
    later = [Dated(valid_from_ms=10 * MINUTE_MS, version=1, calibration=CALIBRATION)]
    assert states(minutes((RUN, 10), (RUN, 10)), later) == [(State.UNKNOWN, 10), (State.RUNNING, 10)]


def over_a_gap(
    before_w: float, after_w: float, *, used_wh: float, gap_min: float = 30, counter_wh: float = 1000.0
) -> list[tuple[State, float, bool]]:
    """What is made of ten minutes, a gap, ten minutes, where the counter says what the gap took."""
    before = reading(0, *[before_w] * 60, energy_wh=counter_wh)
    after = reading(10 + gap_min, *[after_w] * 60, energy_wh=counter_wh + used_wh + after_w / 6)
    parts = stretches([before, after], calibrations=DATED)
    return [(part.state, round(part.energy_wh, 2), part.inferred) for part in parts]


def test_a_gap_is_inferred_where_the_energy_counter_has_both_ends() -> None:
    before = reading(0, *[STANDBY] * 60), reading(10, *[RUN] * 60, energy_wh=1000.0)
    after = reading(50, *[RUN] * 60, energy_wh=1000 + 50 + 100 / 6)
    parts = stretches([*before, after], calibrations=DATED)
    assert [(part.state, part.inferred) for part in parts[1:]] == [
        (State.RUNNING, False),
        (State.RUNNING, True),
        (State.RUNNING, False),
    ]
    assert round(parts[2].energy_wh, 3) == 50.0
    (use,) = uses(parts, calibrations=DATED)
    assert (use.quality, use.unknown_s, use.running_s) == (Quality.INFERRED, 0, 3000)


def test_a_gap_in_standby_whose_energy_is_that_of_standby_is_standby() -> None:
    assert over_a_gap(STANDBY, STANDBY, used_wh=2.5)[1] == (State.STANDBY, 2.5, True)
    assert over_a_gap(OFF, OFF, used_wh=0.0, gap_min=600)[1] == (State.OFF, 0.0, True)


def test_a_gap_into_which_a_run_would_fit_is_unknown() -> None:
    # The mean over the night is that of standby, and it might as well have been off but for one run.
    assert over_a_gap(OFF, OFF, used_wh=50.0, gap_min=600)[1] == (State.UNKNOWN, 0, False)
    assert over_a_gap(STANDBY, STANDBY, used_wh=2.5 + 10)[1] == (State.UNKNOWN, 0, False)


def test_a_gap_between_runs_into_which_a_pause_would_fit_is_unknown() -> None:
    assert over_a_gap(RUN, RUN, used_wh=25.0)[1] == (State.UNKNOWN, 0, False)
    assert over_a_gap(RUN, RUN, used_wh=45.0)[1] == (State.RUNNING, 45.0, True)


def test_a_gap_in_standby_without_its_energy_is_unknown_for_it_may_have_been_off() -> None:
    assert over_a_gap(STANDBY, STANDBY, used_wh=0.0, gap_min=240)[1] == (State.UNKNOWN, 0, False)


def test_a_gap_between_two_states_is_unknown_for_nobody_saw_the_change() -> None:
    assert over_a_gap(OFF, STANDBY, used_wh=1.0)[1][0] is State.UNKNOWN
    assert over_a_gap(RUN, STANDBY, used_wh=30.0)[1][0] is State.UNKNOWN


def test_a_counter_that_was_reset_infers_nothing() -> None:
    before, after = reading(0, *[RUN] * 60, energy_wh=1000.0), reading(40, *[RUN] * 60, energy_wh=20.0)
    assert states([before, after])[1] == (State.UNKNOWN, 30)


def test_a_counter_that_went_round_or_was_exchanged_for_a_greater_one_infers_nothing() -> None:
    assert over_a_gap(RUN, RUN, used_wh=50.0 - 99_999, counter_wh=99_980.0)[1][0] is State.UNKNOWN
    assert over_a_gap(RUN, RUN, used_wh=70_000.0)[1][0] is State.UNKNOWN


def test_readings_that_overlap_count_once() -> None:
    doubled = [reading(0, *[RUN] * 60), reading(5, *[RUN] * 60), reading(15, *[OFF] * 6)]
    assert states(doubled) == [(State.RUNNING, 15), (State.OFF, 1)]


def test_short_steps_are_averaged() -> None:
    assert states([reading(0, *[0.0, 200.0] * 60, step_ms=1000)]) == [(State.RUNNING, 2)]


def test_a_dip_under_five_minutes_belongs_to_the_run() -> None:
    (use,) = found_uses((STANDBY, 20), (RUN, 30), (STANDBY, 4.5), (RUN, 30), (STANDBY, 20))
    assert use.running_s == 64.5 * 60
    assert len(found_uses((STANDBY, 20), (RUN, 30), (STANDBY, 5), (RUN, 30), (STANDBY, 20))) == 2


def test_an_autosamplers_dips_make_one_use_of_a_night_and_a_longer_bridge_joins_slower_ones() -> None:
    night = [(STANDBY, 20.0), *[(RUN, 22.0), (STANDBY, 4.0)] * 20, (STANDBY, 30.0)]
    (use,) = found_uses(*night)
    assert use.running_s == (20 * 22 + 19 * 4) * 60
    slow = [(STANDBY, 20.0), *[(RUN, 22.0), (STANDBY, 9.0)] * 5, (STANDBY, 30.0)]
    assert len(found_uses(*slow)) == 5
    patient = [Dated(valid_from_ms=0, version=1, calibration=replace(CALIBRATION, bridge_s=600))]
    assert len(uses(stretches(minutes(*slow), calibrations=patient), calibrations=patient)) == 1


def test_warming_up_belongs_to_the_session_and_is_not_running() -> None:
    (use,) = found_uses((OFF, 30), (STANDBY, 12), (RUN, 30), (STANDBY, 8), (OFF, 30))
    assert use.power_on_ms == 30 * MINUTE_MS
    assert (use.first_run_ms, use.last_run_ms) == (42 * MINUTE_MS, 72 * MINUTE_MS)
    assert use.power_off_ms == 80 * MINUTE_MS
    assert use.running_s == 30 * 60


def test_a_run_under_a_minute_is_none() -> None:
    assert found_uses((STANDBY, 20), (RUN, 5 / 6), (STANDBY, 20)) == []
    assert len(found_uses((STANDBY, 20), (RUN, 1), (STANDBY, 20))) == 1


def test_a_short_silence_within_a_run_is_bridged_and_told() -> None:
    (use,) = found_uses((STANDBY, 20), (RUN, 30), (None, 15), (RUN, 30), (STANDBY, 20))
    assert (use.running_s, use.unknown_s, use.quality) == (75 * 60, 15 * 60, Quality.GAPS)


def test_a_long_silence_cuts_the_session_on_both_sides() -> None:
    first, second = found_uses((STANDBY, 20), (RUN, 30), (None, 16), (RUN, 30), (STANDBY, 20))
    assert (first.quality, second.quality) == (Quality.CUT, Quality.CUT)
    assert first.power_off_ms is None


def test_a_run_that_the_box_found_under_way_may_have_begun_earlier() -> None:
    (use,) = found_uses((RUN, 30), (STANDBY, 20))
    assert use.quality is Quality.CUT


def test_a_run_that_goes_on_is_not_cut() -> None:
    (use,) = found_uses((STANDBY, 20), (RUN, 30))
    assert use.quality is Quality.GOOD


def test_switching_on_and_off_belongs_to_the_session() -> None:
    (use,) = found_uses((OFF, 30), (STANDBY, 10), (RUN, 30), (STANDBY, 5), (OFF, 30))
    assert use.power_on_ms == 30 * MINUTE_MS
    assert (use.first_run_ms, use.last_run_ms) == (40 * MINUTE_MS, 70 * MINUTE_MS)
    assert use.power_off_ms == 75 * MINUTE_MS
    assert use.energy_wh == 50.0


def test_standby_for_days_is_not_warming_up() -> None:
    (use,) = found_uses((STANDBY, 2000), (RUN, 30), (STANDBY, 2000))
    assert use.first_run_ms - use.power_on_ms == CONTEXT_S * 1000
    assert use.power_off_ms is None


def test_a_new_calibration_counts_from_its_day() -> None:
    strict = Calibration(run_threshold_w=400.0, standby_threshold_w=1.5)
    dated = [*DATED, Dated(valid_from_ms=60 * MINUTE_MS, version=2, calibration=strict)]
    parts = stretches(minutes((STANDBY, 20), (RUN, 20), (STANDBY, 20), (RUN, 20)), calibrations=dated)
    assert [use.calibration_version for use in uses(parts, calibrations=dated)] == [1]


POWERS = st.sampled_from([OFF, 1.4, 1.6, STANDBY, 38.0, 42.0, RUN])
SPANS = st.lists(st.tuples(POWERS | st.none(), st.integers(1, 40)), min_size=1, max_size=25)


@given(SPANS)
def test_states_leave_no_gap_and_lose_no_energy(spans: list[tuple[float | None, float]]) -> None:
    readings = minutes(*spans)
    parts = stretches(readings, calibrations=DATED)
    assert is_gapless(parts)
    used_wh = sum(sum(each.powers_w) * each.step_ms for each in readings) / 3_600_000
    assert abs(sum(part.energy_wh for part in parts) - used_wh) < 1e-6


def test_a_use_that_a_silence_ends_is_cut_also_where_its_window_ends_with_the_silence() -> None:
    readings = minutes((STANDBY, 20), (RUN, 30), (None, 17), (RUN, 30), (STANDBY, 20))
    whole = stretches(readings, calibrations=DATED)
    silence = (50 * MINUTE_MS, 67 * MINUTE_MS)
    assert silence in list(rests(whole, gap_s=900))
    view = within(readings, cut_from=None, cut_until=silence)
    (use,) = _between(stretches(view.readings, calibrations=DATED), view)
    assert use.quality is Quality.CUT


def test_a_rest_between_off_and_standby_needs_the_quarter_of_an_hour_before_it() -> None:
    readings = minutes((1.4, 1), (1.4, 14), (1.6, 1), (OFF, 15))
    (rest,) = rests(whole := stretches(readings, calibrations=DATED), gap_s=CALIBRATION.gap_s)
    view = within(readings, cut_from=rest, cut_until=None)
    spans = [
        clipped(power_spans(each, calibrations=DATED), start_ms=rest[0], end_ms=rest[1])
        for each in (whole, stretches(view.readings, calibrations=DATED))
    ]
    assert spans[0] == spans[1]


@given(SPANS, st.data())
def test_between_two_rests_it_does_not_matter_what_is_outside(
    spans: list[tuple[float | None, float]], data: st.DataObject
) -> None:
    readings = counted(minutes(*spans), gaps_w=data.draw(st.lists(POWERS | st.none(), min_size=25, max_size=25)))
    whole = stretches(readings, calibrations=DATED)
    quiet_ms = rest_s(CALIBRATION) * 1000
    found = [rest for rest in rests(whole, gap_s=CALIBRATION.gap_s) if rest[1] - rest[0] >= quiet_ms]
    if not found:
        return
    first = data.draw(st.integers(0, len(found)))
    last = data.draw(st.integers(first, len(found)))
    cut_from = found[first - 1] if first else None
    cut_until = found[last] if last < len(found) else None
    view = within(readings, cut_from=cut_from, cut_until=cut_until)
    parts = stretches(view.readings, calibrations=DATED)
    assert _between(parts, view) == _between(whole, view)
    low_ms, high_ms = _ends_ms(view)
    here, everywhere = (
        clipped(power_spans(each, calibrations=DATED), start_ms=low_ms, end_ms=high_ms) for each in (parts, whole)
    )
    assert here == everywhere


def counted(readings: list[Reading], *, gaps_w: list[float | None]) -> list[Reading]:
    """The same with a lifetime counter, and what it counted in each gap; None: it was reset there."""
    found: list[Reading] = []
    counter_wh = 1000.0
    for reading, gap_w in zip(readings, gaps_w, strict=False):
        gap_h = (reading.start_ms - found[-1].end_ms) / 3_600_000 if found else 0.0
        counter_wh = 0.0 if gap_w is None else counter_wh + gap_w * gap_h
        counter_wh += sum(reading.powers_w) * reading.step_ms / 3_600_000
        found.append(replace(reading, energy_wh=counter_wh))
    return found


def _ends_ms(view: Window) -> tuple[int, int]:
    return (
        0 if view.cut_from_ms is None else view.cut_from_ms,
        2**62 if view.cut_until_ms is None else view.cut_until_ms,
    )


def _between(parts: list[Stretch], view: Window) -> list[Use]:
    low_ms, high_ms = _ends_ms(view)
    return [use for use in uses(parts, calibrations=DATED) if low_ms <= use.first_run_ms < high_ms]
