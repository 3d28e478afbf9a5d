"""The journal: every step that touches money is signed, chained and on the disk before anybody sees its effect.

Each method is one transaction, so a kill finds the terminal before a step or after it, never within.
"""

import json
import sqlite3
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from card_terminal.clock import Clock
from card_terminal.identity import Identity
from card_terminal.offline import counters, rules
from card_terminal.protocol import (
    CHAIN_START,
    CardRefused,
    EndCause,
    Ended,
    Event,
    EventBody,
    EventKind,
    EventResult,
    EventsAnswer,
    ExtendAnswer,
    Meter,
    Reversal,
    ReversalReason,
    Started,
    chain_hash,
    sign_event,
)
from card_terminal.protocol.shapes import parse, to_dict
from card_terminal.session import PendingAuthorization, RunningSession
from card_terminal.store import Store, keep_facts

Kept = TypeVar("Kept")


class Journal:
    """The events of this terminal, and the session and the question that they leave open."""

    def __init__(self, store: Store, *, clock: Clock, identity: Identity) -> None:
        self._store = store
        self._clock = clock
        self._identity = identity
        self.boot = self._enter_boot()

    def _enter_boot(self) -> int:
        """Count the machine's starts; a session from an earlier one goes on with what was surely counted."""
        boot = int(self._store.fact("boot") or 0)
        pulse_ms = int(self._store.fact("pulse_ms") or 0)
        now_ms = self._clock.mono_ms()
        if self._store.fact("boot_key") == self._clock.boot_key and now_ms >= pulse_ms:
            return boot
        session = self.session()
        with self._store.transaction() as connection:
            keep_facts(connection, boot=str(boot + 1), boot_key=self._clock.boot_key, pulse_ms=str(now_ms))
            if session is not None:
                counted_ms = session.elapsed_ms(pulse_ms)
                carried = replace(session, boot=boot + 1, since_mono_ms=now_ms, counted_ms=counted_ms, lower_bound=True)
                keep_facts(connection, session=_dump(carried))
        return boot + 1

    def pulse(self) -> None:
        """Note that the terminal lives, so that a power cut costs the count no more than the time since."""
        self._store.keep(pulse_ms=str(self._clock.mono_ms()))

    # What is open

    def session(self) -> RunningSession | None:
        """Give the session that runs, as of the last step."""
        return _load(RunningSession, self._store.fact("session"))

    def pending(self) -> PendingAuthorization | None:
        """Give the authorization whose answer was not heard."""
        return _load(PendingAuthorization, self._store.fact("pending"))

    # Steps

    def remember(self, pending: PendingAuthorization) -> None:
        """Keep a question about money before it is asked."""
        self._store.keep(pending=_dump(pending))

    def start(self, session: RunningSession) -> None:
        """Begin the session that the server granted, or this terminal by its offline list."""
        with self._store.transaction() as connection:
            self._append(connection, Started(session_id=session.session_id, offline=session.offline))
            if session.offline is not None:
                counters.begin(connection, session.session_id, session.offline)
            keep_facts(connection, session=_dump(session), pending=None)

    def refuse(self, code: str) -> None:
        """Note a card that was turned away; a question that was open is answered by it."""
        with self._store.transaction() as connection:
            self._append(connection, CardRefused(code=code))
            keep_facts(connection, pending=None)

    def reverse(self, session_id: UUID, *, reason: ReversalReason) -> None:
        """Give up a question without an answer: the server must void what it may have held, now or later."""
        with self._store.transaction() as connection:
            self._append(connection, Reversal(session_id=session_id, reason=reason))
            keep_facts(connection, pending=None)

    def meter(self, session: RunningSession) -> None:
        """Report the time so far."""
        elapsed_ms = session.elapsed_ms(self._clock.mono_ms())
        with self._store.transaction() as connection:
            self._append(
                connection,
                Meter(session_id=session.session_id, elapsed_ms=elapsed_ms, lower_bound=session.lower_bound),
            )

    def extend(self, session: RunningSession, *, answer: ExtendAnswer) -> RunningSession:
        """Keep the bigger hold, and give the session with it. A hold is never taken for smaller than it was."""
        extended = replace(
            session,
            minutes_total=max(answer.minutes_total, session.minutes_total),
            held_fen=answer.held_fen,
            available_fen=answer.available_fen,
            latest_end_ms=answer.latest_end_ms,
        )
        self._store.keep(session=_dump(extended))
        return extended

    def end(self, session: RunningSession, *, at_mono_ms: int, cause: EndCause) -> Ended:
        """Close the session with the time used until `at_mono_ms`, and give what is reported of it."""
        ended = Ended(
            session_id=session.session_id,
            elapsed_ms=session.elapsed_ms(at_mono_ms),
            cause=cause,
            lower_bound=session.lower_bound,
        )
        with self._store.transaction() as connection:
            seq = self._append(connection, ended)
            if session.offline is not None:
                spent_fen = rules.spent_fen(session.tariff.schedule, elapsed_ms=ended.elapsed_ms)
                counters.finish(connection, session.session_id, spent_fen=spent_fen, seq=seq)
            keep_facts(connection, session=None)
        return ended

    def record(self, body: EventBody) -> None:
        """Report anything that opens and closes nothing."""
        with self._store.transaction() as connection:
            self._append(connection, body)

    def _append(self, connection: sqlite3.Connection, body: EventBody) -> int:
        last = connection.execute("SELECT seq, message FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        event = Event(
            seq=last[0] + 1 if last else 1,
            prev=chain_hash(last[1]) if last else CHAIN_START,
            boot=self.boot,
            mono_ms=self._clock.mono_ms(),
            wall_ms=self._clock.wall_ms(),
            body=body,
        )
        message = sign_event(event, key=self._identity.key, device_id=self._identity.device_id)
        session_id = getattr(body, "session_id", None)
        connection.execute(
            "INSERT INTO event (seq, kind, session_id, message) VALUES (?, ?, ?, ?)",
            (event.seq, str(event.kind), str(session_id) if session_id else None, message),
        )
        keep_facts(connection, pulse_ms=str(event.mono_ms))
        return event.seq

    # What the server has

    def last_seq(self) -> int:
        """Give the number of the last event, 0 before the first."""
        with self._store.transaction() as connection:
            return int(connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])

    def acked_seq(self) -> int:
        """Give the number up to which the server has stored all events."""
        return int(self._store.fact("acked_seq") or 0)

    def unsent_count(self) -> int:
        """Give how many events the server does not have yet."""
        return self.last_seq() - self.acked_seq()

    def unsent(self, *, limit: int) -> list[str]:
        """Give the oldest events that the server does not have, in order."""
        query = "SELECT message FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._store.transaction() as connection:
            return [str(row[0]) for row in connection.execute(query, (self.acked_seq(), limit))]

    def acknowledge(self, answer: EventsAnswer) -> None:
        """Keep what became of the events, and how far the server is with them.

        Never further than what was sent: a server that knows more numbers than this disk would else hide new events.
        """
        sent_seq = max((result.seq for result in answer.results), default=answer.acked_seq)
        with self._store.transaction() as connection:
            for result in answer.results:
                connection.execute("UPDATE event SET result = ? WHERE seq = ?", (_dump(result), result.seq))
            keep_facts(connection, acked_seq=str(min(answer.acked_seq, sent_seq)))

    def rewind(self, acked_seq: int) -> None:
        """Believe the server about how far it is: after a restore it may need what it once had."""
        self._store.keep(acked_seq=str(acked_seq))

    def result_of(self, kind: EventKind, session_id: UUID) -> EventResult | None:
        """Give the last thing that the server said of an event of this kind in a session."""
        query = """
            SELECT result FROM event WHERE kind = ? AND session_id = ? AND result IS NOT NULL ORDER BY seq DESC LIMIT 1
        """
        with self._store.transaction() as connection:
            row = connection.execute(query, (str(kind), str(session_id))).fetchone()
        return _load(EventResult, row[0]) if row else None


def _dump(value: object) -> str:
    return json.dumps(to_dict(value), ensure_ascii=False)


def _load(shape: type[Kept], text: str | None) -> Kept | None:
    if text is None:
        return None
    content: Any = json.loads(text)
    return parse(shape, content, where="journal", strict=False)
