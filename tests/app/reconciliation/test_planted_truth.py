"""A month of Chongqing's 1,469 instruments with the truth known: every verdict is right, and every second adds up."""

from app.reconciliation.cases import Settings
from app.reconciliation.matching import control_totals, decide
from app.reconciliation.spans import Span, intersect, seconds, union
from tests.app.reconciliation.planted import Planter, Score, delivered

INSTRUMENTS = 1_469
LEAST = 0.995


def test_planted_truth_of_a_month_is_found_in_every_verdict_and_control_totals_are_exact() -> None:
    """2% phantom, 3% unpaid, 3% over-charged, clock offsets, gaps, duplicates, late data."""
    score = Score()
    for number in range(INSTRUMENTS):
        month = Planter(number).whole()
        outcome = decide(delivered(month, seed=number), settings=Settings())
        score.add(month, outcome)
        totals = control_totals(outcome)
        charged = union(Span(charge.start_s, charge.end_s) for charge in month.charges)
        ran = union(Span(run.start_s, run.end_s) for run in month.runs)
        assert totals.overlap_s == seconds(intersect(charged, ran))
        assert (totals.charge_s, totals.box_s) == (seconds(charged), seconds(ran))
    assert sum(score.true.values()) > 30_000
    wrong = {verdict: rates for verdict, rates in score.worst().items() if min(rates) < LEAST}
    assert not wrong, (wrong, score.confused.most_common(10))
    assert len(score.true) == 16  # every verdict but the provisional ones; both kinds have a box_suspect
