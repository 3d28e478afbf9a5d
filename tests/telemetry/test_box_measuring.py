"""How samples become messages: batches and gaps of each channel, events, counters that go round or are reset."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from telemetry.box.counter import Counter
from telemetry.box.measuring import Measurement, Recorder
from telemetry.commands import Configuration, Threshold
from telemetry.messages import parse
from telemetry.times import to_ms
from tests.telemetry.wire import START, payload

ROUND_WH = 1_000_000.0


@dataclass
class Script:
    """Gives the powers it is told, one a sample; its counter counts 1 Wh a sample, known or not."""

    powers_w: list[float | None]
    rollover_wh: float | None = None
    asked: int = field(default=0)

    def mean_w(self, *, start: datetime, start_up_s: float, seconds: float) -> float | None:  # noqa: ARG002
        self.asked += 1
        return self.powers_w[self.asked - 1]

    def energy_wh(self, *, at: datetime, up_s: float) -> float | None:  # noqa: ARG002
        return up_s / 10


def record(recorder: Recorder, *, samples: int, first_up_s: float = 0.0) -> list[dict[str, Any]]:
    """Take so many samples of 10 s, and then what is under way; gives each message as the wire has it."""
    recorder.begin(up_s=first_up_s, counters={})
    found: list[dict[str, Any]] = []
    up_s = first_up_s
    for _ in range(samples):
        up_s += 10
        now = START + timedelta(seconds=up_s)
        found += as_said(recorder.sample(now=now, up_s=up_s), now, up_s)
    return found + as_said(recorder.close(now=START + timedelta(seconds=up_s), up_s=up_s), now, up_s)


def as_said(measured: list[Measurement], now: datetime, up_s: float) -> list[dict[str, Any]]:
    said = [{"kind": each.kind, **each.content(now=now, up_s=up_s)} for each in measured]
    for content in said:  # whatever a box says must be taken by the server
        parse(content["kind"], payload=payload({**content, "boot": 1, "seq": 1, "sync": 1, "h": 0}))
    return said


def recorder(*scripts: Script, **how: Any) -> Recorder:
    return Recorder(scripts, Configuration(**how))


def test_a_batch_says_when_it_began_on_both_clocks_and_what_the_counter_said_at_its_end() -> None:
    said = record(recorder(Script([1.0, 2.0, 3.0]), batch=2), samples=3, first_up_s=100.0)
    assert [(each["p"], each["up0"], each["e"]) for each in said] == [([1.0, 2.0], 100.0, 12.0), ([3.0], 120.0, 13.0)]
    assert said[0]["t0"] == to_ms(START + timedelta(seconds=100))
    assert said[0]["dt"] == 10_000


def test_where_a_meter_does_not_answer_its_own_batch_ends_and_no_other() -> None:
    broken, whole = Script([1.0, None, 3.0]), Script([7.0, 7.0, 7.0])
    said = record(recorder(broken, whole, batch=3), samples=3)
    assert [(each["c"], each["up0"], each["p"]) for each in said] == [
        (0, 0.0, [1.0]),
        (1, 0.0, [7.0, 7.0, 7.0]),
        (0, 20.0, [3.0]),
    ]


def test_only_the_channels_of_the_configuration_are_measured() -> None:
    off = Script([1.0] * 3)
    said = record(recorder(off, Script([2.0] * 3), batch=3, channels=(1,)), samples=3)
    assert [each["c"] for each in said] == [1]
    assert off.asked == 0


def test_time_that_was_slept_through_is_left_out_and_not_counted_into_what_was_before() -> None:
    box = recorder(Script([1.0, 2.0]), batch=60)
    box.begin(up_s=0.0, counters={})
    box.sample(now=START, up_s=10.0)
    (before,) = as_said(box.skip_to(5000.0), START, 5000.0)
    assert (before["p"], before["e"]) == ([1.0], None)
    assert box.next_up_s == 5010.0


def test_an_event_tells_each_change_once_and_between_the_thresholds_nothing_changes() -> None:
    powers = [5.0, 50.0, 120.0, 50.0, 120.0, 20.0, None, None, 50.0, 30.0]
    how = {"batch": 60, "thresholds": {0: Threshold(run_w=100.0, rest_w=40.0)}}
    events = [each for each in record(recorder(Script(powers), **how), samples=10) if each["kind"] == "ev"]
    assert [(each["up"], each["s"]) for each in events] == [
        (0.0, "rest"),
        (20.0, "run"),
        (50.0, "rest"),
        (60.0, "unknown"),
        (90.0, "rest"),
    ]


def test_without_thresholds_there_are_no_events() -> None:
    assert {each["kind"] for each in record(recorder(Script([5.0, 5000.0])), samples=2)} == {"m"}


@given(
    powers=st.lists(st.none() | st.floats(0, 5000), min_size=1, max_size=60),
    batch=st.integers(1, 8),
    channels=st.integers(1, 3),
)
def test_every_known_sample_is_said_once_at_its_time(powers: list[float | None], batch: int, channels: int) -> None:
    said = record(recorder(*(Script(powers) for _ in range(channels)), batch=batch), samples=len(powers))
    for channel in range(channels):
        known: dict[float, float] = {}
        for each in said:
            for index, power_w in enumerate(each["p"] if each["c"] == channel else ()):
                assert known.setdefault(each["up0"] + 10 * index, power_w) == power_w
        expected = {10.0 * index: round(power_w, 3) for index, power_w in enumerate(powers) if power_w is not None}
        assert known == expected
        assert sum(len(each["p"]) for each in said if each["c"] == channel) == len(expected)


def test_a_counter_that_goes_round_goes_on() -> None:
    counter = Counter()
    said = [counter.take(raw, rollover_wh=ROUND_WH) for raw in (999_990.0, 999_999.0, 4.0, 10.0)]
    assert said == [999_990.0, 999_999.0, 1_000_004.0, 1_000_010.0]
    assert counter.resets == 0


def test_a_counter_that_was_reset_falls_so_that_nobody_fills_a_gap_with_it() -> None:
    counter = Counter()
    assert [counter.take(raw, rollover_wh=None) for raw in (500.0, 510.0, 0.0, 3.0)] == [500.0, 510.0, 0.0, 3.0]
    assert counter.resets == 1
    # Also where a display goes round: 510 is not near its end.
    counter = Counter(raw_wh=510.0)
    assert counter.take(0.0, rollover_wh=ROUND_WH) == 0.0


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=100), st.floats(0, ROUND_WH - 1))
def test_over_any_number_of_rounds_the_counter_counts_what_was_used(uses_wh: list[float], start_wh: float) -> None:
    counter, true_wh = Counter(), start_wh
    for used_wh in (0.0, *uses_wh):
        true_wh += used_wh
        said_wh = counter.take(true_wh % ROUND_WH, rollover_wh=ROUND_WH)
    assert abs(said_wh - true_wh) < 0.01
    assert counter.resets == 0
