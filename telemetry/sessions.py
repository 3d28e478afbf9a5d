"""From states to collector sessions: which runs are one use, when it was switched on and off, how good the evidence is.

Pure functions; source of the rules: `docs/explanation/telemetry.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from telemetry.states import Calibration, Dated, State, Stretch

CONTEXT_S = 900  # how far before and after the runs switching on and off still belong to them
REST_S_MARGIN = 60


class Quality(StrEnum):
    """How good the evidence is: the worst that holds, from best to worst."""

    GOOD = "good"
    INFERRED = "inferred"  # a part is known by the energy counter only
    GAPS = "gaps"  # a part is unknown
    CLOCK = "clock"  # the box's clock was not to be trusted: the times follow from its uptime
    CUT = "cut"  # the box fell silent while it ran: it may have begun earlier or ended later


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One collector session. Times in ms since 1970; `running_s` counts dips and gaps, of which `unknown_s` unseen."""

    power_on_ms: int
    first_run_ms: int
    last_run_ms: int
    power_off_ms: int | None
    running_s: int
    unknown_s: int
    energy_wh: float
    power_w_max: float
    quality: Quality
    calibration_version: int


def rest_s(calibration: Calibration) -> int:
    """Give the quiet time, in seconds, after which nothing can join what was before it."""
    return max(calibration.bridge_s, calibration.gap_s, CONTEXT_S) + REST_S_MARGIN


def uses(parts: Sequence[Stretch], *, calibrations: Sequence[Dated]) -> list[Use]:
    """Give the collector sessions within gapless stretches, in order of time."""
    by_version = {each.version: each.calibration for each in calibrations if each.calibration is not None}
    found: list[Use] = []
    for first, last in _joined_runs(parts, by_version):
        calibration = by_version[parts[first].version]
        if parts[last].end_ms - parts[first].start_ms >= calibration.run_s_min * 1000:
            found.append(_use(parts, first, last, not_before_ms=found[-1].last_run_ms if found else 0))
    return found


def _joined_runs(parts: Sequence[Stretch], by_version: dict[int, Calibration]) -> list[tuple[int, int]]:
    """Give (index of first, index of last) running stretch of runs that only short dips part."""
    joined: list[tuple[int, int]] = []
    quiet_ms = unknown_ms = 0
    for index, part in enumerate(parts):
        length_ms = part.end_ms - part.start_ms
        if part.state is State.UNKNOWN:
            unknown_ms += length_ms
        elif part.state is not State.RUNNING:
            quiet_ms += length_ms
        else:
            calibration = by_version[part.version]
            if joined and quiet_ms < calibration.bridge_s * 1000 and unknown_ms <= calibration.gap_s * 1000:
                joined[-1] = (joined[-1][0], index)
            else:
                joined.append((index, index))
            quiet_ms = unknown_ms = 0
    return joined


def _use(parts: Sequence[Stretch], first: int, last: int, *, not_before_ms: int) -> Use:
    within = parts[first : last + 1]
    first_run_ms, last_run_ms = parts[first].start_ms, parts[last].end_ms
    unknown_ms = sum(part.end_ms - part.start_ms for part in within if part.state is State.UNKNOWN)
    return Use(
        power_on_ms=max(_power_on_ms(parts, first), not_before_ms),
        first_run_ms=first_run_ms,
        last_run_ms=last_run_ms,
        power_off_ms=_power_off_ms(parts, last),
        running_s=(last_run_ms - first_run_ms) // 1000,
        unknown_s=unknown_ms // 1000,
        energy_wh=round(sum(part.energy_wh for part in within), 3),
        power_w_max=round(max(part.power_w_max for part in within), 3),
        quality=_quality(parts, first, last, has_unknown=unknown_ms > 0),
        calibration_version=parts[first].version,
    )


def _power_on_ms(parts: Sequence[Stretch], first: int) -> int:
    horizon_ms = parts[first].start_ms - CONTEXT_S * 1000
    on_ms = parts[first].start_ms
    for part in reversed(parts[:first]):
        if part.state is not State.STANDBY or on_ms <= horizon_ms:
            break
        on_ms = part.start_ms
    return max(on_ms, horizon_ms)


def _power_off_ms(parts: Sequence[Stretch], last: int) -> int | None:
    horizon_ms = parts[last].end_ms + CONTEXT_S * 1000
    for part in parts[last + 1 :]:
        if part.start_ms > horizon_ms:
            return None
        if part.state is State.OFF:
            return part.start_ms
        if part.state is not State.STANDBY:
            return None
    return None


def _quality(parts: Sequence[Stretch], first: int, last: int, *, has_unknown: bool) -> Quality:
    # Where the readings begin with a run, nobody saw it begin; where they end with one, it simply goes on.
    before = parts[first - 1].state if first else State.UNKNOWN
    after = parts[last + 1].state if last + 1 < len(parts) else State.RUNNING
    if State.UNKNOWN in (before, after):
        return Quality.CUT
    if any(part.clock_doubtful for part in parts[first : last + 1]):
        return Quality.CLOCK
    if has_unknown:
        return Quality.GAPS
    if any(part.inferred for part in parts[first : last + 1]):
        return Quality.INFERRED
    return Quality.GOOD
