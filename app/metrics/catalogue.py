"""Every metric by name, with its kind, its labels and what it means; docs/reference/metrics.md says the same."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A counter only grows; a gauge goes up and down."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; `help` is the sentence that Prometheus shows."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _counter(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=f"testcard_{name}_total", kind=Kind.COUNTER, help=help_, labels=labels)


def _gauge(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name=f"testcard_{name}", kind=Kind.GAUGE, help=help_, labels=labels)


INGEST = (
    _counter("ingest_received", "Messages that ingest took from the broker."),
    _counter("ingest_stored", "Measurements and events that were not there before."),
    _counter("ingest_duplicates", "Measurements and events that were there already."),
    _counter("ingest_dead_letters", "Messages that were put among the dead letters."),
    _counter("ingest_batches", "Transactions of ingest."),
    _counter("ingest_wait_seconds", "Time from a batch's oldest receipt to its storing, summed over batches."),
    _gauge("ingest_newest_wait_seconds", "The longest such time among the newest batch of every worker."),
    _gauge("ingest_newest_batch_timestamp_seconds", "When the newest batch was received."),
)
BOXES = (
    _gauge("boxes", "Boxes: enrolled, placed at an instrument, online, revoked.", "state"),
    _gauge("box_missing_messages", "Messages that boxes have written and that have not come: holes."),
    _gauge("box_lost_messages", "Messages that boxes themselves no longer have."),
    _gauge(
        "box_backlog_messages", "Messages that boxes keep because we have not acknowledged them, by their own word."
    ),
    _gauge("box_given_up_messages", "Messages that boxes had to give up before we had them, by their own word."),
    _gauge("boxes_clock_unset", "Boxes whose own clock is not set, by their own word."),
    _gauge("boxes_in_doubt", "Boxes that do not believe one of their meters."),
    _gauge("boxes_not_as_configured", "Boxes that do not measure yet as they are to."),
    _gauge("box_oldest_check_age_seconds", "How long ago the channel was looked at that has waited longest."),
    _gauge("dead_letters_unseen", "Dead letters that nobody has looked at.", "reason"),
    _gauge("alarms_open", "Alarms that are open.", "kind"),
    _gauge("alarms_unacknowledged", "Open alarms that nobody has acknowledged."),
)
SESSIONS = (
    _gauge("dirty_ranges", "Stretches of channels whose collector sessions are to be computed anew."),
    _gauge(
        "boxes_not_derived", "Boxes whose readings could not be made into collector sessions; they are tried again."
    ),
    _gauge("collector_sessions_provisional", "Collector sessions that late data may still change."),
    _gauge("collector_sessions_oldest_provisional_age_seconds", "How long ago the oldest of them ended."),
)
RECONCILIATION = (
    _gauge("reconciliation_due", "Stretches that wait to be reconciled, also those whose time has not come."),
    _gauge("reconciliation_overdue", "Of these, stretches whose time has come."),
    _gauge("reconciliation_oldest_due_age_seconds", "For how long the oldest of them has waited."),
    _gauge("charge_verdicts", "Verdicts over charges that hold now.", "verdict"),
    _gauge("run_verdicts", "Verdicts over runs of boxes that hold now.", "verdict"),
    _gauge("exceptions_open", "Charges that wait for a person."),
    _gauge("usage_records", "Verified usage records that hold now."),
)
BOOKS = (
    _gauge("unsealed_rows", "Rows of the books that no seal covers yet."),
    _gauge("unsealed_oldest_age_seconds", "How long ago the oldest of them was written."),
)
TERMINALS = (
    _gauge("terminal_events_parked", "Events of terminals that fitted nowhere and wait for a person."),
    _gauge("terminal_events_unsent", "Events that terminals still owe, by their own word."),
)
JOBS = (
    _counter("job_runs", "Runs of a job of the worker.", "job"),
    _counter("job_failures", "Runs that failed.", "job"),
    _counter("job_done", "Things that a job did.", "job"),
    _counter("job_seconds", "Time that a job took, over all runs.", "job"),
    _gauge("job_newest_duration_seconds", "How long the newest run took.", "job"),
    _gauge("job_newest_success_timestamp_seconds", "When a job last succeeded.", "job"),
)
METRICS = (*INGEST, *BOXES, *SESSIONS, *RECONCILIATION, *BOOKS, *TERMINALS, *JOBS)
