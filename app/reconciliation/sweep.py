"""One sweep over all starts: which charges and runs share a second, for how long, and which hang together.

Arrays in, arrays out, any number of instruments at once; a million charges and a million runs take about a second. What
follows from it for each component is said in `matching`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Stretches(NamedTuple):
    """Stretches of time in whole seconds, half open, in any order; `lane` keeps instruments apart."""

    start_s: Integers
    end_s: Integers
    lane: Integers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found.

    `charge_component` and `run_component` number the components in order of time (of lane and time), from 0. The pairs
    are all charges and runs that share at least one second, in order of the charge's start, then the run's.
    """

    charge_component: Integers
    run_component: Integers
    components: int
    pair_charge: Integers
    pair_run: Integers
    pair_overlap_s: Integers


def stretches(edges: Sequence[tuple[int, int]]) -> Stretches:
    """Give (start, end) pairs as arrays."""
    both = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return Stretches(both[:, 0], both[:, 1])


def sweep(*, charges: Stretches, runs: Stretches) -> Swept:
    """Find components and overlapping pairs.

    A stretch without length shares no second with any other, but falls into the component that runs at its moment.
    Raises ValueError if only one of the two names lanes.
    """
    charges, runs = _in_lanes(charges, runs)
    count = len(charges.start_s)
    starts = np.concatenate((charges.start_s, runs.start_s))
    ends = np.concatenate((charges.end_s, runs.end_s))
    # What ends first comes first among equals, so that one without length opens no component of the others.
    order = np.lexsort((ends, starts))
    labels = _components(starts, ends, order)
    charge_order = order[order < count]
    run_order = order[order >= count] - count
    pair_charge, pair_run, overlap_s = _pairs(charges, runs, charge_order=charge_order, run_order=run_order)
    return Swept(
        charge_component=labels[:count],
        run_component=labels[count:],
        components=int(labels.max()) + 1 if len(labels) else 0,
        pair_charge=pair_charge,
        pair_run=pair_run,
        pair_overlap_s=overlap_s,
    )


def _in_lanes(charges: Stretches, runs: Stretches) -> tuple[Stretches, Stretches]:
    """Lay the lanes one behind the other on one axis of time, so that no stretch of one can touch another's."""
    if (charges.lane is None) != (runs.lane is None):
        raise ValueError("lanes are named for charges and runs, or for neither")
    if charges.lane is None or runs.lane is None:
        return charges, runs
    edges = [each for each in (*charges[:2], *runs[:2]) if len(each)]
    if not edges:
        return charges, runs
    first_s = min(int(each.min()) for each in edges)
    width_s = max(int(each.max()) for each in edges) - first_s + 1
    return (
        Stretches(charges.start_s - first_s + charges.lane * width_s, charges.end_s - first_s + charges.lane * width_s),
        Stretches(runs.start_s - first_s + runs.lane * width_s, runs.end_s - first_s + runs.lane * width_s),
    )


def _components(starts: Integers, ends: Integers, order: Integers) -> Integers:
    """Number the components: one begins where the next start is not before the latest end so far."""
    labels = np.empty(len(starts), dtype=np.int64)
    if len(starts):
        latest_end_s = np.maximum.accumulate(ends[order])
        begins = np.empty(len(starts), dtype=np.int64)
        begins[0] = 0
        begins[1:] = starts[order][1:] >= latest_end_s[:-1]
        labels[order] = np.cumsum(begins)
    return labels


def _pairs(
    charges: Stretches, runs: Stretches, *, charge_order: Integers, run_order: Integers
) -> tuple[Integers, Integers, Integers]:
    """Join charges with runs: of the runs in order of start, those from the first that may reach into the charge."""
    charge_start_s, charge_end_s = charges.start_s[charge_order], charges.end_s[charge_order]
    run_start_s, run_end_s = runs.start_s[run_order], runs.end_s[run_order]
    first = np.searchsorted(np.maximum.accumulate(run_end_s), charge_start_s, side="right")
    beyond = np.searchsorted(run_start_s, charge_end_s, side="left")
    counts = np.maximum(beyond - first, 0)
    charge = np.repeat(np.arange(len(charge_order)), counts)
    # The candidates of each charge are consecutive runs: number them from its first one on.
    run = np.arange(len(charge)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    overlap_s = np.minimum(charge_end_s[charge], run_end_s[run]) - np.maximum(charge_start_s[charge], run_start_s[run])
    real = overlap_s > 0
    return charge_order[charge[real]], run_order[run[real]], overlap_s[real]
