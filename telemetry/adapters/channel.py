"""What is known of one channel of a meter over time, and when it contradicts itself: then it is unknown, never off.

Power and the energy counter watch each other. A power that stands still while the counter does not move is stuck; a
power of 0 while the counter moves is below the meter's dead band, and then the counter says how much it is.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from telemetry.adapters.values import Flag, MeterReading

CHANNELS_MAX = 32
HISTORY_MAX = 4000
# A coarser counter would say of a whole run that nothing was used.
COUNTER_STEP_WH_MAX = 10.0
# A counter that was told after a gap must not be taken for what it was before.
COUNTED_LATER_MAX = timedelta(seconds=15)
STUCK_STEPS, STUCK_AFTER = 5, timedelta(minutes=10)
# No meter one can buy hides more than this; what counts more while it says 0 is broken.
DEAD_BAND_W_MAX = 10.0
STANDBY_STEPS = 2
# Counters are told once a minute, so for a while they still move by what was used before the power fell to 0.
SETTLED_AFTER = timedelta(minutes=2)
# A power supply at rest draws some current that does no work; this much does some.
APPARENT_VA_MAX = 50.0
SECONDS_PER_HOUR = 3600


class Doubt(StrEnum):
    """Why what a meter says is not believed."""

    STUCK = "stuck"  # the same power for long, and the counter does not move
    COUNTS_AT_ZERO = "counts_at_zero"  # no power, and the counter runs
    CURRENT_AT_ZERO = "current_at_zero"  # no power, and a current that must do work
    INVALID = "invalid"  # the meter says so itself


@dataclass(slots=True)
class _Expected:
    """What the counter should have counted since it last moved, and since when."""

    since: datetime
    until: datetime
    energy_wh: float = 0.0


@dataclass(frozen=True, slots=True)
class _Moment:
    """From `at` on this was the power, for as long as the meter was not silent since `fresh_at`."""

    at: datetime
    fresh_at: datetime
    power_w: float | None


@dataclass(slots=True)
class Channel:
    """Lays messages over each other; `silent_after` is how long a message speaks for."""

    silent_after: timedelta
    relay_on: bool | None = None
    is_cut_by_relay: bool = True
    is_measured: bool = False
    has_relay: bool = False
    by_clamp: bool = False
    voltage_v: float | None = None
    current_a: float | None = None
    energy_wh: float | None = None
    energy_step_wh: float | None = None
    device_energy_wh: float | None = None
    counted_at: datetime | None = None
    measured_at: datetime | None = None
    fresh_at: datetime | None = None
    doubt: Doubt | None = None
    _power_w: float | None = None
    _standby_w: float = 0.0
    _zero_since: datetime | None = None
    _zero_from: tuple[datetime, float] | None = None
    _expected: _Expected | None = None
    _history: deque[_Moment] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))

    def lay_over(self, reading: MeterReading, *, received_at: datetime, is_fresh: bool) -> None:
        """Take what a message says; one that is not fresh (kept by the broker) is no sign of life."""
        before_w = self._power_w
        self._lay_over_states(reading)
        self._check_current(reading)
        self._check_counter(before_w, reading, received_at)
        if reading.energy_wh is not None:
            self.energy_wh = reading.energy_wh
        if is_fresh and (reading.energy_wh is not None or reading.device_energy_wh is not None):
            self.counted_at = received_at
        if is_fresh:
            self.fresh_at = received_at

    def power_w(self, *, at: datetime) -> float | None:
        """Give the power, or None where nobody knows it."""
        if self.fresh_at is None or self._power_w is None or self.doubt is not None:
            return None
        if at - self.fresh_at > self.silent_after:
            return None
        return self._power_w or (0.0 if self.is_cut_off else self._standby_w)

    @property
    def is_cut_off(self) -> bool:
        """Say whether an open relay lets no current to what is measured."""
        return self.is_cut_by_relay and self.relay_on is False

    def trust_relay(self, *, is_trusted: bool) -> None:
        """Say whether an open relay means that nothing flows; else what was known by it alone is unknown again."""
        self.is_cut_by_relay = is_trusted
        if not is_trusted and not self.is_measured:
            self._power_w = None

    def remember(self, *, at: datetime, is_online: bool) -> None:
        """Keep what is known now, for whoever asks later what was then."""
        power_w = self.power_w(at=at) if is_online else None
        self._history.append(_Moment(at, self.fresh_at or at, power_w))

    def mean_w(self, *, start: datetime, end: datetime) -> float | None:
        """Give the mean power over a time, or None where a part of it is unknown."""
        until, watt_seconds = end, 0.0
        for moment in reversed(self._history):
            if moment.at >= until:
                continue
            is_silent = until - moment.fresh_at > self.silent_after
            if moment.power_w is None or is_silent:
                return None
            begin = max(moment.at, start)
            watt_seconds += moment.power_w * (until - begin).total_seconds()
            until = begin
            if begin == start:
                return watt_seconds / (end - start).total_seconds()
        return None

    def _lay_over_states(self, reading: MeterReading) -> None:
        self.measured_at = reading.at or self.measured_at
        if reading.relay_on is not None:
            self.relay_on = reading.relay_on
        if reading.voltage_v is not None:
            self.voltage_v = reading.voltage_v
        if reading.current_a is not None:
            self.current_a = reading.current_a
        if reading.energy_step_wh is not None:
            self.energy_step_wh = reading.energy_step_wh
        if reading.device_energy_wh is not None:
            self.device_energy_wh = reading.device_energy_wh
        if reading.power_w is not None:
            self._power_w = reading.power_w
        elif self.is_cut_off:
            self._power_w = 0.0  # with the relay open no current flows, whatever was measured before

    def _check_current(self, reading: MeterReading) -> None:
        if Flag.POWER_INVALID in reading.flags:
            self.doubt = Doubt.INVALID
        elif reading.power_w is not None:
            if self.doubt in (Doubt.INVALID, Doubt.CURRENT_AT_ZERO):
                self.doubt = None
            # Only within one message: a partial one may bring the power before the current.
            apparent_va = (reading.current_a or 0.0) * (reading.voltage_v or 0.0)
            if reading.power_w == 0 and not self.is_cut_off and apparent_va > APPARENT_VA_MAX:
                self.doubt = Doubt.CURRENT_AT_ZERO

    def _check_counter(self, before_w: float | None, reading: MeterReading, at: datetime) -> None:
        if self.energy_step_wh is None:
            return
        has_moved = reading.energy_wh is not None and reading.energy_wh != self.energy_wh
        if self._power_w != before_w or has_moved or self._expected is None:
            self._expected = _Expected(at, at)
            if self.doubt is Doubt.STUCK:
                self.doubt = None
        self._check_stuck(self._expected, reading, at)
        self._check_standby(reading, at, self.energy_step_wh)

    def _check_stuck(self, expected: _Expected, reading: MeterReading, at: datetime) -> None:
        passed = min(at - expected.until, self.silent_after)
        expected.energy_wh += (self._power_w or 0.0) * passed.total_seconds() / SECONDS_PER_HOUR
        expected.until = at
        is_counted = reading.energy_wh is not None and self.energy_wh is not None
        # Counters begin at some power too; what is below both says nothing.
        is_much = (self._power_w or 0.0) > DEAD_BAND_W_MAX
        is_late = is_much and expected.energy_wh > STUCK_STEPS * (self.energy_step_wh or 0.0)
        if is_counted and is_late and at - expected.since > STUCK_AFTER:
            self.doubt = Doubt.STUCK

    def _check_standby(self, reading: MeterReading, at: datetime, step_wh: float) -> None:
        if self._power_w != 0 or self.is_cut_off:
            self._zero_since, self._zero_from, self._standby_w = None, None, 0.0
            if self.doubt is Doubt.COUNTS_AT_ZERO:
                self.doubt = None
            return
        self._zero_since = self._zero_since or at
        if reading.energy_wh is None or at - self._zero_since < SETTLED_AFTER:
            return
        if self._zero_from is None or reading.energy_wh < self._zero_from[1]:
            self._zero_from = (at, reading.energy_wh)
            return
        since, from_wh = self._zero_from
        counted_wh, passed_s = reading.energy_wh - from_wh, (at - since).total_seconds()
        if counted_wh < STANDBY_STEPS * step_wh or passed_s <= 0:
            return
        mean_w = counted_wh * SECONDS_PER_HOUR / passed_s
        if mean_w <= DEAD_BAND_W_MAX:
            self._standby_w = round(mean_w, 3)
        elif self.doubt is None:
            self.doubt = Doubt.COUNTS_AT_ZERO


class Channels:
    """The channels of one device. A place is a channel or several whose sum is meant: the phases of one instrument."""

    def __init__(self, silent_after: timedelta) -> None:
        self._silent_after = silent_after
        self._channels: dict[int, Channel] = {}
        self._online = True

    def take_readings(self, readings: Iterable[MeterReading], *, received_at: datetime, retained: bool = False) -> None:
        """Lay what a message says over what is known; what the broker had kept is no sign of life."""
        told = list(readings)
        self._find_relays(told)
        for reading in told:
            if reading.online is not None:
                self._online = reading.online
            elif 0 <= reading.channel < CHANNELS_MAX and not self.is_repeated(reading):
                self._online = self._online or not retained
                self.channel(reading.channel).lay_over(reading, received_at=received_at, is_fresh=not retained)
        for channel in self._channels.values():
            channel.remember(at=received_at, is_online=self._online)

    def _find_relays(self, told: Sequence[MeterReading]) -> None:
        """Find out which relays cut off what is measured.

        A clamp may lie around any wire; and where a device has more relays than it measures, as a strip with one meter
        has, no single one says that nothing flows.
        """
        for reading in told:
            if reading.online is None and 0 <= reading.channel < CHANNELS_MAX:
                channel = self.channel(reading.channel)
                channel.by_clamp = channel.by_clamp or reading.by_clamp
                channel.has_relay = channel.has_relay or reading.relay_on is not None
                channel.is_measured = channel.is_measured or reading.power_w is not None
        relays = [channel for channel in self._channels.values() if channel.has_relay]
        is_shared = len(relays) > 1 and not all(channel.is_measured for channel in relays)
        for channel in self._channels.values():
            channel.trust_relay(is_trusted=not channel.by_clamp and not is_shared)

    def is_repeated(self, _reading: MeterReading) -> bool:
        """Say whether this is nothing but the last measurement, told again."""
        return False

    def power_w(self, *place: int, at: datetime) -> float | None:
        """Give the power of a place, or None where nobody knows it."""
        return _sum([self.channel(channel).power_w(at=at) for channel in place]) if self._online else None

    def mean_w(self, *place: int, start: datetime, end: datetime) -> float | None:
        """Give the mean power of a place over a time, or None where a part of it is unknown."""
        return _sum([self.channel(channel).mean_w(start=start, end=end) for channel in place])

    def energy_wh(self, *place: int, at: datetime) -> float | None:
        """Give the lifetime counter of a place as it was told last before `at`.

        None where there is none, where it is too coarse, and where only a later value is known.
        """
        channels = [self.channel(channel) for channel in place]
        if any(channel.counted_at is None or channel.counted_at > at + COUNTED_LATER_MAX for channel in channels):
            return None
        if any((channel.energy_step_wh or 0.0) > COUNTER_STEP_WH_MAX for channel in channels):
            return None
        if len(place) > 1 and sorted(place) == sorted(self._channels) and channels[0].device_energy_wh is not None:
            return channels[0].device_energy_wh
        return _sum([channel.energy_wh for channel in channels])

    def doubts(self, *place: int) -> list[Doubt]:
        """Give why a place is not believed, if it is not."""
        found = [self.channel(channel).doubt for channel in place]
        return sorted({doubt for doubt in found if doubt is not None})

    def known(self) -> list[int]:
        """Give the channels that the device has spoken of."""
        return sorted(self._channels)

    def channel(self, number: int) -> Channel:
        """Give what is known of one channel."""
        return self._channels.setdefault(number, Channel(self._silent_after))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None
