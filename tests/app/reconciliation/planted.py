"""A month of a region with the truth known: uses, frauds, forgotten cards, silences and clocks that nobody trusts."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from app.reconciliation.cases import Case, Charge, Outcome, Rule, Run
from app.reconciliation.models import RuleKind
from app.reconciliation.spans import Span, union

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MONTH_S = 30 * DAY_S
# What is left of a clock's offset after correction.
JITTER_S = 45
# Between two uses: longer than all paddings, so that the truth of one is not that of another.
REST_S = 45 * MINUTE_S
Thing = TypeVar("Thing", Charge, Run)


@dataclass(slots=True)
class Month:
    """One instrument's month, and what must be said of it: verdict by id of the charge or run."""

    charges: list[Charge] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    unknown: list[Span] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    truth: dict[str | int, str] = field(default_factory=dict)


class Planter:
    """Plants the uses of one instrument, one after the other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a test must come out the same
        self.month = Month()
        self.at_s = self.random.randrange(0, 4 * HOUR_S)
        self._number = 0

    def whole(self) -> Month:
        """Plant a month; the shares are those of the issue."""
        kinds: list[tuple[float, Callable[[], None]]] = [
            (0.02, self.phantom),
            (0.03, self.unpaid),
            (0.03, self.over_charged),
            (0.03, self.under_charged),
            (0.02, self.early_start),
            (0.02, self.silent_box),
            (0.03, self.short_silence),
            (0.01, self.untrusted_clock),
            (0.02, self.background),
            (0.01, self.maintenance),
            (0.01, self.lamp_check),
            (0.005, self.no_length),
            (0.005, self.exempt),
            (0.10, self.hand_over),
            (0.10, self.several_runs),
            (0.56, self.plain),
        ]
        while self.at_s < MONTH_S:
            plant = self.random.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]
            plant()
            self.at_s += REST_S + self.random.randrange(0, 72 * HOUR_S)
        return self.month

    def plain(self) -> None:
        charge = self.charge(self.length(), "matched")
        self.run(charge.start_s + self.minutes(0, 4), charge.end_s - self.minutes(0, 8), "covered")

    def several_runs(self) -> None:
        charge = self.charge(self.length(least=60), "matched_split")
        middle_s = (charge.start_s + charge.end_s) // 2
        self.run(charge.start_s + self.minutes(0, 4), middle_s, "covered")
        self.run(middle_s + self.minutes(3, 12), charge.end_s - self.minutes(0, 8), "covered")

    def hand_over(self) -> None:
        first = self.charge(self.length(), "matched_shared")
        second = self.charge(self.length(), "matched_shared")
        self.run(first.start_s + self.minutes(0, 4), second.end_s - self.minutes(0, 8), "covered")

    def phantom(self) -> None:
        self.charge(self.length(), "phantom")

    def over_charged(self) -> None:
        charge = self.charge(self.length(least=120), "over_charged")
        length_s = charge.end_s - charge.start_s
        self.run(charge.start_s + self.minutes(0, 4), charge.start_s + length_s // self.random.randint(2, 4), "covered")

    def under_charged(self) -> None:
        charge = self.charge(self.length(), "under_charged")
        tail_s = max(15 * MINUTE_S, (charge.end_s - charge.start_s) // 10)
        ends_s = charge.end_s + tail_s + self.minutes(0, 60)
        self.run(charge.start_s + self.minutes(0, 4), ends_s, "unpaid_tail")

    def early_start(self) -> None:
        self.at_s += 90 * MINUTE_S
        charge = self.charge(self.length(), "under_charged")
        head_s = max(15 * MINUTE_S, (charge.end_s - charge.start_s) // 10)
        self.run(charge.start_s - head_s - self.minutes(0, 20), charge.end_s - self.minutes(0, 8), "unpaid_head")

    def unpaid(self) -> None:
        self.run(self.at_s, self.at_s + self.length(), "unpaid")

    def lamp_check(self) -> None:
        self.run(self.at_s, self.at_s + self.minutes(1, 3), "below_minimum")

    def background(self) -> None:
        """A pump that starts by itself: at most twenty minutes, in the rule's hours."""
        run = self.run(self.at_s + 5 * MINUTE_S, self.at_s + 5 * MINUTE_S + self.minutes(8, 18), "background")
        self.rule(RuleKind.BACKGROUND, Span(run.start_s - 300, run.end_s + 300), run_s_max=20 * MINUTE_S)

    def maintenance(self) -> None:
        run = self.run(self.at_s, self.at_s + self.length(), "maintenance")
        self.rule(RuleKind.MAINTENANCE, Span(run.start_s - 60, run.end_s + 60))

    def no_length(self) -> None:
        self.charge(0, "exempt")

    def exempt(self) -> None:
        charge = self.charge(self.length(), "exempt")
        self.rule(RuleKind.EXEMPT, Span(charge.start_s, charge.start_s + 1))

    def silent_box(self) -> None:
        """Of the use the box saw the first part at most; silence accuses nobody."""
        charge = self.charge(self.length(least=60), "no_evidence")
        quarter_s = (charge.end_s - charge.start_s) // 4
        begins_s = charge.start_s + self.random.randint(1, 2) * quarter_s
        self.month.unknown.append(Span(begins_s, charge.end_s + REST_S // 2))
        self.run(charge.start_s + self.minutes(0, 4), begins_s, "covered", quality="cut")

    def short_silence(self) -> None:
        """A gap of a tenth of the charge cuts the run in two."""
        charge = self.charge(self.length(least=60), "matched_split")
        gap_s = (charge.end_s - charge.start_s) // 10
        middle_s = (charge.start_s + charge.end_s) // 2
        self.month.unknown.append(Span(middle_s, middle_s + gap_s))
        self.run(charge.start_s + self.minutes(0, 4), middle_s, "covered", quality="cut")
        self.run(middle_s + gap_s, charge.end_s - self.minutes(0, 8), "covered", quality="gaps")

    def untrusted_clock(self) -> None:
        """The box's clock is off by more than any tolerance, and says so."""
        self.at_s += 60 * MINUTE_S
        charge = self.charge(self.length(least=90, most=150), "box_suspect")
        offset_s = self.random.choice((-1, 1)) * self.minutes(28, 40)
        self.run(charge.start_s + offset_s, charge.end_s + offset_s, "box_suspect", quality="clock")

    def charge(self, length_s: int, verdict: str) -> Charge:
        self._number += 1
        made = Charge(id=f"c{self._number}", start_s=self.at_s, end_s=self.at_s + length_s)
        self.at_s = made.end_s
        self.month.charges.append(made)
        self.month.truth[made.id] = verdict
        return made

    def run(self, start_s: int, end_s: int, verdict: str, *, quality: str = "good") -> Run:
        self._number += 1
        start_s += self.random.randint(-JITTER_S, JITTER_S)
        end_s = max(end_s + self.random.randint(-JITTER_S, JITTER_S), start_s + 60)
        made = Run(
            id=self._number,
            version=1,
            power_on_s=start_s - self.random.randrange(0, 10 * MINUTE_S),
            start_s=start_s,
            end_s=end_s,
            power_off_s=None,
            running_s=end_s - start_s,
            quality=quality,
        )
        self.month.runs.append(made)
        self.month.truth[made.id] = verdict
        self.at_s = max(self.at_s, end_s)
        return made

    def rule(self, kind: RuleKind, span: Span, *, run_s_max: int | None = None) -> None:
        self._number += 1
        self.month.rules.append(Rule(id=self._number, kind=kind, spans=(span,), run_s_max=run_s_max))

    def minutes(self, least: int, most: int) -> int:
        return self.random.randint(least * MINUTE_S, most * MINUTE_S)

    def length(self, *, least: int = 30, most: int = 300) -> int:
        return self.minutes(least, most)


def delivered(month: Month, *, seed: int) -> Case:
    """The month as it comes in: late, in any order, repeated, runs first in versions that are still growing."""
    chance = random.Random(seed)  # noqa: S311 - a test must come out the same
    messages: list[Charge | Run] = [*month.charges, *month.runs, *chance.choices(month.charges, k=5)]
    for run in chance.choices(month.runs, k=10):
        messages += [run, replace(run, version=0, end_s=run.start_s + (run.end_s - run.start_s) // 2, final=False)]
    chance.shuffle(messages)
    held: dict[str | int, Charge | Run] = {}
    for message in messages:
        before = held.get(message.id)
        if not (isinstance(before, Run) and isinstance(message, Run) and before.version >= message.version):
            held[message.id] = message
    return Case(
        charges=tuple(each for each in held.values() if isinstance(each, Charge)),
        runs=tuple(each for each in held.values() if isinstance(each, Run)),
        unknown=union(month.unknown),
        settled_s=2 * MONTH_S,
        given_up_s=0,
        rules=tuple(month.rules),
    )


@dataclass(slots=True)
class Score:
    """How often each verdict was said, was the truth, and was both."""

    said: Counter[str] = field(default_factory=Counter)
    true: Counter[str] = field(default_factory=Counter)
    both: Counter[str] = field(default_factory=Counter)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, month: Month, outcome: Outcome) -> None:
        for node, verdict in _verdicts(outcome):
            truth = month.truth[node]
            self.said[verdict] += 1
            self.true[truth] += 1
            if truth == verdict:
                self.both[verdict] += 1
            else:
                self.confused[truth, verdict] += 1

    def worst(self) -> dict[str, tuple[float, float]]:
        """Precision and recall by verdict."""
        return {
            verdict: (self.both[verdict] / max(1, self.said[verdict]), self.both[verdict] / count)
            for verdict, count in self.true.items()
        }


def _verdicts(outcome: Outcome) -> Iterator[tuple[str | int, str]]:
    for charge in outcome.charges:
        yield charge.charge_id, charge.verdict.value
    for run in outcome.runs:
        yield run.run_id, run.verdict.value
