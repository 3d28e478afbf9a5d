"""A few instruments for some days, the truth known: messages through the real ingest, sessions, verdicts, totals."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, select

from app.db import Database
from app.devices.models import BoxPlacement
from app.reconciliation import rerunning
from app.reconciliation.deciding import DEFAULT_ZONE
from app.reconciliation.models import BoxVerdict, ControlTotal, Verdict
from telemetry.ingest import Arrival
from telemetry.times import to_ms
from tests.app import builders
from tests.app.reconciliation.world import LONG_BEFORE, World
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, at, minute, payload, topic

DAY = 1440
END = 3 * DAY + 240
MESSAGE, SAMPLE_S = 10, 10
# To decide a charge and the runs beside it, all told; a promise of a box and a rule are read once a batch.
STATEMENTS_MAX = 24
Minutes = tuple[int, int]


@dataclass(slots=True)
class Planted:
    """What truly happened at one instrument, in minutes, and what must be said of it; what came late stands apart."""

    box: str
    instrument_id: int = 0
    charges: list[tuple[Minutes, str]] = field(default_factory=list)
    runs: list[tuple[Minutes, str]] = field(default_factory=list)
    silent: list[Minutes] = field(default_factory=list)
    late_from: int = END

    def plain(self, start: int) -> None:
        self.charges.append(((start, start + 90), "matched"))
        self.runs.append(((start + 2, start + 86), "covered"))

    def phantom(self, start: int) -> None:
        self.charges.append(((start, start + 60), "phantom"))

    def unpaid(self, start: int) -> None:
        self.runs.append(((start, start + 60), "unpaid"))

    def forgotten(self, start: int) -> None:
        self.charges.append(((start, start + 150), "over_charged"))
        self.runs.append(((start + 2, start + 50), "covered"))

    def too_short(self, start: int) -> None:
        self.charges.append(((start, start + 60), "under_charged"))
        self.runs.append(((start + 2, start + 100), "unpaid_tail"))

    def unseen(self, start: int) -> None:
        """The box loses its power within the use, and comes back with another boot."""
        self.charges.append(((start, start + 80), "no_evidence"))
        self.runs.append(((start + 2, start + 30), "covered"))
        self.silent.append((start + 30, start + 130))


def planted(world: World) -> list[Planted]:
    one, two, three = Planted(BOX, world.instrument_id), Planted("cb-002"), Planted("cb-003", late_from=2 * DAY)
    for kind, start in ((one.plain, 60), (one.phantom, 360), (one.unpaid, 660), (one.plain, 960)):
        kind(start)
    for kind, start in ((one.forgotten, DAY + 60), (one.plain, DAY + 660), (one.too_short, 2 * DAY + 360)):
        kind(start)
    for kind, start in ((two.plain, 60), (two.unseen, DAY + 60), (two.plain, DAY + 660)):
        kind(start)
    for kind, start in ((two.phantom, 2 * DAY + 60), (two.unpaid, 2 * DAY + 360)):
        kind(start)
    for kind, start in ((three.forgotten, 60), (three.plain, DAY + 420)):  # over midnight, at minute 480
        kind(start)
    for kind, start in ((three.plain, 2 * DAY + 60), (three.phantom, 2 * DAY + 360), (three.unpaid, 2 * DAY + 660)):
        kind(start)
    return [one, two, three]


def arrivals(truth: Planted) -> Iterator[tuple[int, Arrival]]:
    """Give what the box sends, with the minute in which each message begins."""
    boot = seq = began = 0
    runs = [span for span, _ in truth.runs]
    for start in range(0, END, MESSAGE):
        if any(since <= start < until for since, until in truth.silent):
            seq = 0
            continue
        if seq == 0:
            boot, began = boot + 1, start
        seq += 1
        moments = [start + number * SAMPLE_S / 60 for number in range(MESSAGE * 60 // SAMPLE_S)]
        message = {
            **minute(seq, STANDBY_W, boot=boot),
            "t0": to_ms(at(start)),
            "up0": (start - began) * 60.0,
            "p": [RUN_W if any(since <= each < until for since, until in runs) else STANDBY_W for each in moments],
        }
        received_at = at(start + MESSAGE) + timedelta(seconds=1)
        yield (
            start,
            Arrival(topic=topic("m", box=truth.box), payload=payload(message), received_at=received_at),
        )


class Region:
    """The planted instruments in a database."""

    def __init__(self, database: Database) -> None:
        self.world = World(database)
        self.truths = planted(self.world)
        for truth in self.truths[1:]:
            with database.transaction() as session:
                truth.instrument_id = builders.instrument(session).id
                session.add(
                    BoxPlacement(box=truth.box, channel=0, instrument_id=truth.instrument_id, valid_from=LONG_BEFORE)
                )
            self.world.server.enrol(truth.box)
        self.charged: dict[UUID, str] = {}
        for truth in self.truths:
            for (start, end), verdict in truth.charges:
                charge = self.world.charge(start, end, instrument_id=truth.instrument_id)
                self.charged[charge] = verdict

    def tell(self, wanted: Iterable[Arrival], *, seed: int) -> None:
        """Let messages come in any order, each tenth of them twice."""
        chance = random.Random(seed)  # noqa: S311 - a test must come out the same
        messages = list(wanted)
        messages += chance.sample(messages, len(messages) // 10)
        chance.shuffle(messages)
        for begin in range(0, len(messages), 400):
            self.world.server.receive(*messages[begin : begin + 400])
        self.world.server.derive(now=at(END))

    def told(self, *, late: bool) -> list[Arrival]:
        return [each for truth in self.truths for start, each in arrivals(truth) if (start >= truth.late_from) is late]

    def reconcile(self, *, minutes: float = END) -> int:
        written, more = 0, 1
        while more:
            more = self.world.reconcile(minutes=minutes)
            written += more
        return written

    def verdicts(self) -> dict[UUID, str]:
        with self.world.database.reader() as session:
            rows = session.scalars(select(Verdict).where(Verdict.superseded_at.is_(None)))
            return {row.session_id: row.verdict.value for row in rows}

    def run_verdicts(self) -> list[tuple[int, Minutes, str]]:
        with self.world.database.reader() as session:
            rows = session.scalars(select(BoxVerdict).where(BoxVerdict.superseded_at.is_(None)))
            return sorted(
                (row.instrument_id, (_minute(row.started_at), _minute(row.ended_at)), row.verdict.value) for row in rows
            )

    def totals(self) -> dict[tuple[int, date], tuple[int, int, int, int, int]]:
        with self.world.database.reader() as session:
            return {
                (row.instrument_id, row.day): (
                    *(row.charge_s, row.box_s, row.overlap_s, row.charge_only_s, row.box_only_s),
                )
                for row in session.scalars(select(ControlTotal).where(ControlTotal.charge_s + ControlTotal.box_s > 0))
            }

    def history(self) -> tuple[Any, ...]:
        """Everything that a second run might add to."""
        with self.world.database.reader() as session:
            return tuple(tuple(session.scalars(select(table.id).order_by(table.id))) for table in (Verdict, BoxVerdict))


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect what the database is asked meanwhile."""
    asked: list[str] = []

    def listen(*about: Any) -> None:
        asked.append(str(about[2]))

    event.listen(database.engine, "before_cursor_execute", listen)
    yield asked
    event.remove(database.engine, "before_cursor_execute", listen)


def _minute(moment: Any) -> int:
    return int((moment - at(0)).total_seconds() // 60)


def _true_totals(truth: Planted) -> dict[tuple[int, date], tuple[int, int, int, int, int]]:
    """Count the truth minute by minute, in another way than the program adds it up."""
    counts: dict[tuple[int, date], list[int]] = {}
    for moment in range(END):
        charged = any(start <= moment < end for (start, end), _ in truth.charges)
        ran = any(start <= moment < end for (start, end), _ in truth.runs)
        if charged or ran:
            day = at(moment).astimezone(DEFAULT_ZONE).date()
            sums = counts.setdefault((truth.instrument_id, day), [0] * 5)
            for place, holds in enumerate((charged, ran, charged and ran, charged and not ran, ran and not charged)):
                sums[place] += 60 * holds
    return {key: (a, b, c, d, e) for key, (a, b, c, d, e) in counts.items()}


@pytest.fixture
def region(database: Database) -> Region:
    return Region(database)


def test_what_was_planted_comes_out_of_the_database_exactly_and_a_second_run_changes_nothing(region: Region) -> None:
    region.tell(region.told(late=False), seed=1)
    with statements(region.world.database) as asked:
        region.reconcile()
    assert len(asked) <= STATEMENTS_MAX * len(region.charged), len(asked)
    waiting = {verdict for verdict in region.verdicts().values() if verdict == "provisional"}
    assert waiting, "nothing was late"
    region.tell(region.told(late=True), seed=2)
    region.reconcile(minutes=END + 30)

    assert region.verdicts() == region.charged
    assert region.run_verdicts() == sorted(
        (truth.instrument_id, span, verdict) for truth in region.truths for span, verdict in truth.runs
    )
    assert region.totals() == {key: sums for truth in region.truths for key, sums in _true_totals(truth).items()}

    history, totals = region.history(), region.totals()
    region.tell(region.told(late=True), seed=3)
    assert region.reconcile(minutes=END + 60) == 0
    report = rerunning.rerun_all(
        region.world.database, since=at(-DAY), until=at(END), zone=DEFAULT_ZONE, now=lambda: at(END + 60)
    )
    assert (report.changed, report.failures) == (0, [])
    assert (region.history(), region.totals()) == (history, totals)
