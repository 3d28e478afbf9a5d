"""A year of Chongqing's figures from messages to verdicts: 1,469 instruments, 910,000 machine-hours, on a part of it.

The real ways, without a broker: bytes are read, checked and stored as the ingest stores them, made into collector
sessions, and reconciled with charges, day after day. `--instruments` and `--days` say how much of the year; what the
whole of it would take is reckoned from the rates.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from app.books import center_books, open_books
from app.cards.models import Card, CardClass, CardStatus
from app.cards.service import open_account
from app.db import Database
from app.devices.models import BoxPlacement, Terminal, TerminalStatus
from app.embedded import EmbeddedPostgres
from app.instruments.models import CustomerClass
from app.people.models import Role
from app.reconciliation import service as reconciliation
from app.reconciliation.models import BoxVerdict, Verdict
from app.sessions.models import CardSession, SessionStatus
from bench import report
from migrations import upgrade
from telemetry import boxes
from telemetry.derive import derive
from telemetry.ingest import Arrival, store
from telemetry.messages import shard_of
from telemetry.states import Calibration
from tests.app import builders

INSTRUMENTS, MACHINE_HOURS, YEAR_DAYS = 1_469, 910_000, 365
STARTED = datetime(2026, 1, 5, tzinfo=UTC)
SAMPLES, STEP_S = 60, 10
MESSAGE_S = SAMPLES * STEP_S
DAY_S = 86_400
MESSAGES_A_DAY = DAY_S // MESSAGE_S
STANDBY_W, RUN_W = 5.0, 100.0
USE_S = 2 * 3600
BATCH = 1_000
LIMIT = 500
# Of all uses; the issue's shares.
PHANTOM, UNPAID, OVER_CHARGED = 0.02, 0.03, 0.03


@dataclass(slots=True)
class Clocked:
    """Seconds and counts by stage."""

    seconds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, stage: str, work: Callable[[], int]) -> int:
        started = time.perf_counter()
        done = work()
        self.seconds[stage] += time.perf_counter() - started
        self.counts[stage] += done
        return done

    def rate(self, stage: str) -> float:
        return self.counts[stage] / max(self.seconds[stage], 1e-9)


@dataclass(slots=True)
class Use:
    """One planted use: when the instrument ran and when the card was in, in seconds of the day."""

    run: tuple[int, int] | None
    charge: tuple[int, int] | None
    truth: str


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instruments", type=int, default=100)
    parser.add_argument("--days", type=int, default=7)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="testcard-bench-"))
    folder.chmod(0o755)  # PostgreSQL's system user must reach its data in it
    postgres = EmbeddedPostgres(folder / "postgres", options=("synchronous_commit=on", "max_wal_size=4GB"))
    postgres.start()
    try:
        postgres.ensure_database()
        upgrade(postgres.url())
        database = Database(postgres.url())
        measure(database, instruments=asked.instruments, days=asked.days)
        database.close()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(database: Database, *, instruments: int, days: int) -> None:
    site = Region(database, instruments)
    clocked, truth = Clocked(), Counter[str]()
    for day in range(days + 1):
        # One more day in which nothing is used, so that the boxes tell all about the last one.
        uses = [site.plan(number, quiet=day == days) for number in range(instruments)]
        truth.update(use.truth for each in uses for use in each)
        messages = [message for number in range(instruments) for message in site.messages(number, day, uses[number])]
        clocked.take("ingest", lambda messages=messages: site.ingest(messages))
        clocked.take("derive", lambda day=day: site.derive(day))
        site.charge(day, uses)
        clocked.take("reconcile", lambda day=day: site.reconcile(day))
    verdicts = site.verdicts()
    hours = sum(site.ran_s) / 3600
    total_s = sum(clocked.seconds.values())
    share = hours / MACHINE_HOURS
    report.table(
        [(stage, clocked.counts[stage], clocked.seconds[stage], clocked.rate(stage)) for stage in clocked.seconds],
        head=("stage", "messages, pieces, verdicts", "s", "a second"),
    )
    report.summary(
        "year",
        {
            "instruments": instruments,
            "days": days,
            "machine_hours": hours,
            "share_of_the_year": share,
            "messages": clocked.counts["ingest"],
            "messages_per_s": clocked.rate("ingest"),
            "messages_to_sessions_per_s": clocked.counts["ingest"] / clocked.seconds["derive"],
            "verdicts": sum(verdicts.values()),
            "verdicts_written": clocked.counts["reconcile"],
            "verdicts_per_s": clocked.rate("reconcile"),
            "seconds": total_s,
            "planted_as_found": sum((truth & verdicts).values()) / max(1, sum(truth.values())),
            "whole_year_hours_of_work": total_s / share / 3600,
        },
    )


class Region:
    """Instruments with a box and a terminal each, one customer, and the messages and charges of their days."""

    def __init__(self, database: Database, instruments: int) -> None:
        self.database = database
        self.random = random.Random(7)
        self.ran_s: list[int] = [0] * instruments
        self.charges_a_day = MACHINE_HOURS * 3600 / INSTRUMENTS / YEAR_DAYS / USE_S
        self.places: list[tuple[int, UUID]] = []
        with database.transaction() as session:
            open_books(session, center_books())
            group = builders.group(session, of_unit=builders.unit(session, in_sub_center=builders.sub_center(session)))
            customer = builders.organisation(session)
            holder = builders.person(session, username="holder", role=Role.CARDHOLDER, organisation_id=customer.id)
            self.account_id = open_account(session, organisation_id=customer.id, actor="bench", at=STARTED).id
            card = Card(
                account_id=self.account_id,
                holder_id=holder.id,
                face_number="6210000000000007",
                card_class=CardClass.TYPED,
                status=CardStatus.ISSUED,
                pin_hash="-",
                expires_on=date(2030, 1, 1),
                issued_at=STARTED,
            )
            session.add(card)
            session.flush()
            self.card_id = card.id
            for number in range(instruments):
                instrument = builders.instrument(session, in_group=group)
                terminal = Terminal(
                    id=UUID(int=number + 1),
                    code=f"T{number}",
                    instrument_id=instrument.id,
                    status=TerminalStatus.ENROLLED,
                    created_at=STARTED,
                )
                boxes.enrol(session, code=box(number), at=STARTED)
                boxes.set_calibration(
                    session,
                    code=box(number),
                    channel=0,
                    calibration=Calibration(run_threshold_w=40.0, standby_threshold_w=1.5),
                    at=STARTED - timedelta(days=1),
                )
                session.add_all(
                    [
                        terminal,
                        BoxPlacement(
                            box=box(number),
                            channel=0,
                            instrument_id=instrument.id,
                            valid_from=STARTED - timedelta(days=1),
                        ),
                    ]
                )
                self.places.append((instrument.id, terminal.id))

    def plan(self, number: int, *, quiet: bool) -> list[Use]:
        """Plant the uses of one instrument's day between 8 and 20 o'clock, mostly none or one."""
        uses: list[Use] = []
        at_s = 8 * 3600 + self.random.randrange(0, 3600)
        while not quiet and at_s < 18 * 3600 and self.random.random() < self.charges_a_day * 0.6:
            uses.append(self._use(at_s))
            ends = [end for span in (uses[-1].run, uses[-1].charge) if span for end in span]
            at_s = max(ends) + 3600
            if uses[-1].run is not None:
                self.ran_s[number] += uses[-1].run[1] - uses[-1].run[0]
        return uses

    def _use(self, at_s: int) -> Use:
        length_s = self.random.randrange(USE_S // 2, 3 * USE_S // 2, STEP_S)
        run = (at_s + 120, at_s + length_s - 240)
        chance = self.random.random()
        if chance < PHANTOM:
            return Use(None, (at_s, at_s + length_s), "phantom")
        if chance < PHANTOM + UNPAID:
            return Use(run, None, "unpaid")
        if chance < PHANTOM + UNPAID + OVER_CHARGED:
            return Use(run, (at_s, at_s + length_s + USE_S), "over_charged")
        return Use(run, (at_s, at_s + length_s), "matched")

    def messages(self, number: int, day: int, uses: list[Use]) -> Iterator[Arrival]:
        """The day of one box, ten minutes a message."""
        topic = f"cb/v1/{shard_of(box(number)):02d}/{box(number)}/m"
        powers = [STANDBY_W] * (DAY_S // STEP_S)
        for use in uses:
            if use.run is not None:
                first, last = use.run[0] // STEP_S, use.run[1] // STEP_S
                powers[first:last] = [RUN_W] * (last - first)
        for place in range(MESSAGES_A_DAY):
            since_s = day * DAY_S + place * MESSAGE_S
            began = STARTED + timedelta(seconds=since_s)
            content = {
                "v": 1,
                "boot": 1,
                "seq": day * MESSAGES_A_DAY + place + 1,
                "c": 0,
                "t0": int(began.timestamp() * 1000),
                "up0": float(since_s),
                "dt": STEP_S * 1000,
                "p": powers[place * SAMPLES : (place + 1) * SAMPLES],
                "e": None,
                "sync": 1,
                "h": 0,
            }
            received_at = began + timedelta(seconds=MESSAGE_S + 1)
            yield Arrival(topic=topic, payload=json.dumps(content).encode(), received_at=received_at)

    def ingest(self, messages: list[Arrival]) -> int:
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            self.database.run(lambda session, batch=batch: store(session, batch))  # type: ignore[misc]
        return len(messages)

    def derive(self, day: int) -> int:
        return self._until_done(lambda session: derive(session, now=ends(day), limit=50))

    def charge(self, day: int, uses: list[list[Use]]) -> None:
        """Write the day's card sessions as the terminals' messages leave them."""
        began = STARTED + timedelta(days=day)
        with self.database.transaction() as session:
            for (instrument_id, terminal_id), planted in zip(self.places, uses, strict=True):
                for use in planted:
                    if use.charge is not None:
                        session.add(self._row(instrument_id, terminal_id, began, use.charge))

    def _row(self, instrument_id: int, terminal_id: UUID, began: datetime, charge: tuple[int, int]) -> CardSession:
        start_at, end_at = (began + timedelta(seconds=second) for second in charge)
        return CardSession(
            id=UUID(int=self.random.getrandbits(128)),
            terminal_id=terminal_id,
            instrument_id=instrument_id,
            card_id=self.card_id,
            account_id=self.account_id,
            customer_class=CustomerClass.COMPANY,
            status=SessionStatus.CAPTURED,
            tariff_snapshot={},
            minutes=60,
            held_fen=0,
            authorized_at=start_at,
            latest_end_at=end_at,
            started_at=start_at,
            ended_at=end_at,
            duration_s=charge[1] - charge[0],
            amount_fen=100_00,
            paid_principal_fen=100_00,
        )

    def reconcile(self, day: int) -> int:
        return self._until_done(lambda session: reconciliation.reconcile(session, at=ends(day), limit=LIMIT))

    def verdicts(self) -> Counter[str]:
        """What holds in the end."""
        with self.database.reader() as session:
            charges = session.execute(
                select(Verdict.verdict, func.count()).where(Verdict.superseded_at.is_(None)).group_by(Verdict.verdict)
            )
            runs = session.execute(
                select(BoxVerdict.verdict, func.count())
                .where(BoxVerdict.superseded_at.is_(None))
                .group_by(BoxVerdict.verdict)
            )
            return Counter({row[0].value: int(row[1]) for row in (*charges, *runs)})

    def _until_done(self, work: Callable[[Any], int]) -> int:
        done = 0
        while new := self.database.run(work):
            done += new
        return done


def box(number: int) -> str:
    return f"cb-{number:06d}"


def ends(day: int) -> datetime:
    return STARTED + timedelta(days=day + 1, seconds=2)


if __name__ == "__main__":
    main()
