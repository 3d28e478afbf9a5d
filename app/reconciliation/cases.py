"""What the matching of charges with box runs takes in and gives back: frozen values in whole seconds."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from app.reconciliation.models import BoxVerdictKind, ChargeVerdict, RuleKind
from app.reconciliation.spans import Spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a site may set; every verdict keeps the tolerance that came of it. Source: telemetry.md, Reconciliation."""

    head_padding_s: int = 300
    """Preparing a sample before the run, and the least overlap that ties a long run to a charge."""
    tail_padding_s: int = 600
    """Cleaning up after the run."""
    warm_up_s_max: int = 900
    after_treatment_s_max: int = 900
    tolerance_s: int = 600
    tolerance_percent: int = 5
    unknown_percent_max: int = 20
    minimum_use_s: int = 300
    """An unpaid run below this is no use: a self-test, a lamp check."""
    merge_gap_s: int = 900
    """A run may still grow while the box has not told this much after it."""

    @property
    def settling_s(self) -> int:
        """How far past the end of a charge the box must have told everything."""
        return self.tail_padding_s + self.merge_gap_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A card session; an open one holds its time up to now and keeps its component provisional."""

    id: str
    start_s: int
    end_s: int
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A collector session: from first to last run, with the power around it where the box saw it."""

    id: int
    version: int
    power_on_s: int
    start_s: int
    end_s: int
    power_off_s: int | None
    running_s: int
    quality: str = "good"
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A silence rule as it falls into a stretch of time: when it holds, and for background how long a run may be."""

    id: int
    kind: RuleKind
    spans: Spans
    run_s_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of one instrument in a stretch of time.

    `unknown`: when the box said nothing. `settled_s`: up to here the box has told everything. `given_up_s`: what ended
    before is decided with what there is, however silent the box. `rules`: what named people said is normal here.
    """

    charges: tuple[Charge, ...]
    runs: tuple[Run, ...]
    unknown: Spans
    settled_s: int
    given_up_s: int
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of a run lies in a charge, and whether the run is taken as this charge's own."""

    run_id: int
    version: int
    quality: str
    overlap_s: int
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeDecision:
    """The verdict over a charge; length of the charge = overlap_s + charge_only_s.

    `box_only_s`: unpaid running laid to this charge. `idle_s`: charged time that neither a run, its preparation, nor
    silence of the box explains. `effective_s`: warm-up, test and after-treatment within the charge. `rules`: ids of the
    silence rules that made the verdict what it is.
    """

    charge_id: str
    verdict: ChargeVerdict
    tolerance_s: int
    overlap_s: int
    charge_only_s: int
    box_only_s: int
    idle_s: int
    unknown_s: int
    effective_s: int
    runs: tuple[Share, ...]
    rules: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDecision:
    """The verdict over a run; length of the run = overlap_s + box_only_s.

    Running nobody paid for is `head_s` before the first own charge, else `tail_s`; without an own charge all is head.
    What is left of box_only_s is time at which a second box of the instrument saw another run. `excused_s` of both fell
    into maintenance: nobody owes for it.
    """

    run_id: int
    version: int
    verdict: BoxVerdictKind
    overlap_s: int
    box_only_s: int
    head_s: int
    tail_s: int
    excused_s: int
    charges: tuple[str, ...]
    rules: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verdict for every charge and every run of the case, in order of start."""

    charges: tuple[ChargeDecision, ...]
    runs: tuple[RunDecision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTotals:
    """charge_s = overlap_s + charge_only_s and box_s = overlap_s + box_only_s, with one and the same overlap."""

    charge_s: int
    box_s: int
    overlap_s: int
    charge_only_s: int
    box_only_s: int


def evidence(decision: ChargeDecision | RunDecision) -> dict[str, Any]:
    """Give a decision as the JSON that is stored with its verdict."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(decision)))
    return document


def canonical(outcome: Outcome) -> bytes:
    """Give an outcome as bytes: the same inputs give the same bytes."""
    return json.dumps(asdict(outcome), sort_keys=True, separators=(",", ":")).encode()
