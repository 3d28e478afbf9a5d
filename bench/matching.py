"""A million charges against a million runs: the sweep that reconciliation uses beside the plain numpy one.

Both get the same arrays in random order and must find the same pairs with the same seconds. The plain one only joins;
the product's sweep also cuts everything into components, by which every verdict is decided whole. `decide` is the way
to verdicts with their evidence, on a part of the same data.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from app.reconciliation.cases import Case, Charge, Run, Settings
from app.reconciliation.matching import control_totals, decide
from app.reconciliation.sweep import Integers, Stretches, Swept, sweep
from bench import report

INSTRUMENTS = 1_469
YEAR_S = 365 * 86_400
DECIDED_INSTRUMENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000, help="charges, and as many runs")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    charges, runs = planted(asked.rows, np.random.default_rng(20))
    ratios, ours_s, plain_s = [], [], []
    for _ in range(asked.rounds):
        # In turns, so that what else the machine does hits both.
        seconds, (charge, run, overlap_s) = timed(lambda: plain_sweep(charges, runs))
        plain_s.append(seconds)
        seconds, swept = timed(lambda: sweep(charges=charges, runs=runs))
        ours_s.append(seconds)
        ratios.append(ours_s[-1] / plain_s[-1])
        assert same_pairs(swept, charge, run, overlap_s)
    decided, decide_s = decide_part(charges, runs)
    ratio = report.quantile(ratios, 0.5)
    report.table(
        [
            ("plain numpy sweep", report.quantile(plain_s, 0.5)),
            ("sweep of the product", report.quantile(ours_s, 0.5)),
        ],
        head=("what", "s (middle round)"),
    )
    report.summary(
        "matching",
        {
            "time_vs_numpy": ratio,
            "goal": 3.0,
            "charges": len(charges.start_s),
            "runs": len(runs.start_s),
            "pairs": len(swept.pair_charge),
            "components": swept.components,
            "sweep_s": report.quantile(ours_s, 0.5),
            "numpy_s": report.quantile(plain_s, 0.5),
            "verdicts_per_s": decided / decide_s,
        },
    )


def planted(rows: int, random: np.random.Generator) -> tuple[Stretches, Stretches]:
    """Charges one after the other on each instrument, and a run in each, or early, late, split, missing, extra."""
    lane = random.integers(0, INSTRUMENTS, rows)
    start_s = random.integers(0, YEAR_S, rows)
    end_s = start_s + random.integers(900, 4 * 3600, rows)
    run_start_s = start_s + random.integers(-600, 1200, rows)
    run_end_s = np.maximum(end_s + random.integers(-1800, 1800, rows), run_start_s + 60)
    # Three in a hundred runs belong to no charge.
    stray = random.random(rows) < 0.03
    shift_s = np.where(stray, random.integers(0, YEAR_S, rows) - start_s, 0)
    order = random.permutation(rows)
    return (
        Stretches(start_s, end_s, lane),
        Stretches((run_start_s + shift_s)[order], (run_end_s + shift_s)[order], lane[order]),
    )


def plain_sweep(charges: Stretches, runs: Stretches) -> tuple[Integers, Integers, Integers]:
    """What one writes first: lay the instruments on one axis, sort both, search, and cut."""
    assert charges.lane is not None
    assert runs.lane is not None
    width_s = 2 * YEAR_S
    charge_start, charge_end = charges.start_s + charges.lane * width_s, charges.end_s + charges.lane * width_s
    run_start, run_end = runs.start_s + runs.lane * width_s, runs.end_s + runs.lane * width_s
    charge_order, run_order = np.argsort(charge_start, kind="stable"), np.argsort(run_start, kind="stable")
    charge_start, charge_end = charge_start[charge_order], charge_end[charge_order]
    run_start, run_end = run_start[run_order], run_end[run_order]
    first = np.searchsorted(np.maximum.accumulate(run_end), charge_start, side="right")
    counts = np.maximum(np.searchsorted(run_start, charge_end, side="left") - first, 0)
    charge = np.repeat(np.arange(len(charge_order)), counts)
    run = np.arange(len(charge)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    overlap_s = np.minimum(charge_end[charge], run_end[run]) - np.maximum(charge_start[charge], run_start[run])
    real = overlap_s > 0
    return charge_order[charge[real]], run_order[run[real]], overlap_s[real]


def same_pairs(swept: Swept, charge: Integers, run: Integers, overlap_s: Integers) -> bool:
    """Say whether both sweeps found the same, in whatever order."""
    ours = np.lexsort((swept.pair_run, swept.pair_charge))
    plain = np.lexsort((run, charge))
    return (
        np.array_equal(swept.pair_charge[ours], charge[plain])
        and np.array_equal(swept.pair_run[ours], run[plain])
        and np.array_equal(swept.pair_overlap_s[ours], overlap_s[plain])
    )


def decide_part(charges: Stretches, runs: Stretches) -> tuple[int, float]:
    """Decide some instruments' year whole; gives how many verdicts that were, and the seconds."""
    decided, seconds = 0, 0.0
    for lane in range(DECIDED_INSTRUMENTS):
        case = case_of(charges, runs, lane)
        took_s, outcome = timed(lambda case=case: decide(case, settings=Settings()))
        control_totals(outcome)
        seconds += took_s
        decided += len(outcome.charges) + len(outcome.runs)
    return decided, seconds


def case_of(charges: Stretches, runs: Stretches, lane: int) -> Case:
    def of_lane(each: Stretches) -> list[tuple[int, int]]:
        assert each.lane is not None
        mine = each.lane == lane
        return list(zip(each.start_s[mine].tolist(), each.end_s[mine].tolist(), strict=True))

    return Case(
        charges=tuple(Charge(id=f"c{n}", start_s=start, end_s=end) for n, (start, end) in enumerate(of_lane(charges))),
        runs=tuple(
            Run(
                id=n,
                version=1,
                power_on_s=start,
                start_s=start,
                end_s=end,
                power_off_s=None,
                running_s=end - start,
            )
            for n, (start, end) in enumerate(of_lane(runs))
        ),
        unknown=(),
        settled_s=10 * YEAR_S,
        given_up_s=0,
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
