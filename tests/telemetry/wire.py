"""What the tests of telemetry say in: a box that speaks by hand, and a server that listens without a network."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from app.db import Database
from telemetry import boxes
from telemetry.derive import derive
from telemetry.ingest import Acknowledgement, Arrival, store
from telemetry.messages import shard_of
from telemetry.models import CollectorSession, DeadLetter, PowerSpan
from telemetry.queries import sessions_between
from telemetry.states import Calibration
from telemetry.times import to_ms

START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
BOX = "cb-001"
STANDBY_W, RUN_W = 5.0, 100.0
CALIBRATION = Calibration(run_threshold_w=40.0, standby_threshold_w=1.5)


def at(minutes: float) -> datetime:
    """The moment so many minutes after the start of every story."""
    return START + timedelta(minutes=minutes)


def topic(kind: str, *, box: str = BOX) -> str:
    return f"cb/v1/{shard_of(box):02d}/{box}/{kind}"


def payload(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def minute(seq: int, power_w: float | Sequence[float], **changes: Any) -> dict[str, Any]:
    """The message of minute `seq` (from 1) since the start: six samples of 10 s."""
    powers = list(power_w) if isinstance(power_w, Sequence) else [power_w] * 6
    return {
        "v": 1,
        "boot": 1,
        "seq": seq,
        "c": 0,
        "t0": to_ms(at(seq - 1)),
        "up0": (seq - 1) * 60.0,
        "dt": 10_000,
        "p": powers,
        "e": None,
        "sync": 1,
        "h": 0,
        **changes,
    }


def day(*spans: tuple[int, float], boot: int = 1) -> list[dict[str, Any]]:
    """Messages for consecutive spans of (minutes, power)."""
    messages: list[dict[str, Any]] = []
    for minutes, power_w in spans:
        for _ in range(minutes):
            messages.append(minute(len(messages) + 1, power_w, boot=boot))
    return messages


class Server:
    """Ingest and derive on a database, driven by hand."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def enrol(self, box: str = BOX, *, channels: int = 1, calibration: Calibration | None = CALIBRATION) -> None:
        with self.database.transaction() as session:
            boxes.enrol(session, code=box, channels=channels, at=at(0))
            for channel in range(channels if calibration is not None else 0):
                assert calibration is not None
                boxes.set_calibration(session, code=box, channel=channel, calibration=calibration, at=at(-10_000))

    def receive(self, *arrivals: Arrival) -> list[Acknowledgement]:
        with self.database.transaction() as session:
            return store(session, arrivals)

    def measured(self, messages: Iterable[dict[str, Any]], *, box: str = BOX, delay_s: float = 1.0) -> int:
        """Take `m` messages that each came `delay_s` after their end; gives the last acknowledged number."""
        acknowledgements = self.receive(*(arrival(message, box=box, delay_s=delay_s) for message in messages))
        return acknowledgements[-1].seq if acknowledgements else 0

    def says(self, kind: str, content: dict[str, Any] | bytes, *, received_at: datetime = START, **where: str) -> None:
        raw = content if isinstance(content, bytes) else payload(content)
        self.receive(Arrival(topic=topic(kind, **where), payload=raw, received_at=received_at))

    def derive(self, *, now: datetime = START) -> None:
        for _ in range(100):
            with self.database.transaction() as session:
                if derive(session, now=now) == 0:
                    return
        raise AssertionError("derive never comes to an end")

    def sessions(self, *, box: str = BOX, channel: int = 0) -> list[CollectorSession]:
        with self.database.transaction() as session:
            return sessions_between(session, box=box, channel=channel, start=at(-100_000), end=at(1_000_000))

    def evidence(self, *, box: str = BOX) -> bytes:
        """The current sessions and power spans as bytes, without what only tells their history."""
        history = {"id", "version", "supersedes_id", "superseded_at", "changed_at", "change"}
        columns = [column.name for column in CollectorSession.__table__.columns if column.name not in history]
        rows = [{name: str(getattr(row, name)) for name in columns} for row in self.sessions(box=box)]
        return json.dumps(
            [rows, [(str(row.started_at), str(row.ended_at), row.power) for row in self.spans(box=box)]]
        ).encode()

    def spans(self, *, box: str = BOX, channel: int = 0) -> list[PowerSpan]:
        with self.database.transaction() as session:
            return list(
                session.scalars(
                    select(PowerSpan)
                    .where(PowerSpan.box == box, PowerSpan.channel == channel)
                    .order_by(PowerSpan.started_at)
                )
            )

    def dead_reasons(self) -> list[str]:
        with self.database.transaction() as session:
            return [row.reason for row in session.query(DeadLetter).order_by(DeadLetter.id)]


def arrival(message: dict[str, Any], *, box: str = BOX, delay_s: float = 1.0) -> Arrival:
    ended_at = at(0) + timedelta(seconds=message["up0"] + message["dt"] / 1000 * len(message["p"]))
    return Arrival(
        topic=topic("m", box=box), payload=payload(message), received_at=ended_at + timedelta(seconds=delay_s)
    )
