"""Ledger stories an accountant can read: a table a story, a line an event, and what must become of it.

    account  card:7     limited                 may not spend what it does not have
    pay      bank   card:7   100.00   as t1     ok
    pay up-to card:7 shop     80.00             ok 54.50
    hold     card:7 shop      60.00   as h1     for 60s    ok
    capture  h1     45.50                       ok
    void     h1                                 pending_transfer_already_posted
    balance  card:7  54.50    held 0.00
    state    h1      posted
    later    61s                                the clock moves on
    sweep    1                                  the sweeper finds so many
    journal  k1                                 ok
      pay    bank   card:7   10.00
    reverse  k1      as k2                      ok
    journal  k3  1 lines dated 2020-10-31       posted
      pay    bank   card:7   10.00
    close-month 2020-10 by anna                 closed
    ask-to-reopen 2020-10 by anna               reopening_asked
    reopen   2020-10 by bert                    reopened

A line that ends in `+` is linked with the next one. After every story the books must balance.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid5

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database
from ledger import (
    AccountFlag,
    CreateTransferStatus,
    NewAccount,
    NewJournal,
    NewTransfer,
    TransferFlag,
    TransferResult,
    ask_to_reopen,
    audit,
    balances,
    close_period,
    create_accounts,
    create_transfers,
    expire_pending,
    pending_transfers,
    post_journal,
    reopen_period,
    reverse_journal,
)
from tests.owner import without_triggers

T = TypeVar("T")
SPACE = UUID("0193d1f0-0000-7000-8000-000000000000")
FLAGS = {
    "limited": AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS,
    "asset": AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS,
    "free": AccountFlag.NONE,
}
# Every stored moment, so that a story can let time pass without waiting for it.
CLOCKS = {
    "accounts": ("created_at",),
    "balances": ("last_at",),
    "transfers": ("timestamp", "value_at"),
    "journals": ("value_at", "created_at"),
    "pending_transfers": ("expires_at", "ended_at"),
    "period_events": ("starts_at", "ends_at", "at"),
}
MONTHS = 12


def fen(yuan: str) -> int:
    whole, _, part = yuan.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0") or 0)


def day(text_: str) -> datetime:
    """Read 2020-10-31, or 2020-10 for the first of the month."""
    return datetime.strptime(text_ if text_.count("-") > 1 else f"{text_}-01", "%Y-%m-%d").replace(tzinfo=UTC)


def month(text_: str) -> tuple[datetime, datetime]:
    """Read 2020-10 as the month's bounds."""
    starts_at = day(text_)
    following = (starts_at.year + starts_at.month // MONTHS, starts_at.month % MONTHS + 1)
    return starts_at, datetime(*following, 1, tzinfo=UTC)


def ident(name: str, *, story: str = "") -> UUID:
    return uuid5(SPACE, story + name)


def pass_time(database: Database, seconds: int, *, tables: Iterable[str] = CLOCKS) -> None:
    """Move everything written so far into the past: for the ledger that is the same as waiting."""
    with database.transaction() as session:
        without_triggers(session)
        for table in tables:
            sets = ", ".join(f"{column} = {column} - make_interval(secs => :seconds)" for column in CLOCKS[table])
            session.execute(text(f"UPDATE ledger.{table} SET {sets}"), {"seconds": seconds})  # noqa: S608 - names from above


@dataclass
class Books:
    """The interpreter: tells a story to a real database and checks each answer."""

    database: Database
    title: str = ""
    _chain: list[tuple[str, NewTransfer, str]] = field(default_factory=list)
    _count: int = 0

    def tell(self, story: str) -> None:
        lines = [line.split("#")[0].rstrip() for line in story.splitlines()]
        steps = iter([line for line in lines if line.strip()])
        for line in steps:
            self._step(line, steps)
        with self.database.reader() as session:
            assert audit(session) == []

    def ident(self, name: str) -> UUID:
        """Give the id of a name in this story."""
        return ident(name, story=self.title)

    def _step(self, line: str, following: Iterator[str]) -> None:
        verb, *words = line.split()
        match verb:
            case "account":
                self._account(*words)
            case "pay" | "hold" | "capture" | "void" | "close":
                self._event(line)
            case "balance":
                self._balance(line, name=words[0], amount=words[1], held=words[3])
            case "state":
                with self.database.reader() as session:
                    state = pending_transfers(session, [self.ident(words[0])])[self.ident(words[0])]
                assert state.value == words[1], line
            case "later":
                pass_time(self.database, int(words[0].removesuffix("s")))
            case "sweep":
                assert self._run(expire_pending) == int(words[0]), line
            case "journal":
                self._journal(line, following=following)
            case "reverse":
                self._reverse(line)
            case "close-month" | "ask-to-reopen" | "reopen":
                self._period(line)
            case _:
                raise ValueError(f"The stories know no {verb!r}")

    def _account(self, name: str, flag: str) -> None:
        new = NewAccount(id=self.ident(name), code=1001, flags=FLAGS[flag])
        (result,) = self._run(lambda session: create_accounts(session, [new]))
        assert result.ok, result

    def _event(self, line: str) -> None:
        is_linked = line.endswith("+")
        transfer, rest = self.parse(line.removesuffix("+"))
        flags = transfer.flags | TransferFlag.LINKED if is_linked else transfer.flags
        self._chain.append((line, replace(transfer, flags=flags), " ".join(rest)))
        if is_linked:
            return
        chain, self._chain = self._chain, []
        results = self._run(lambda session: create_transfers(session, [transfer for _, transfer, _ in chain]))
        for (text_, _, expected), result in zip(chain, results, strict=True):
            assert describe(result, expected) == expected, text_

    def parse(self, line: str) -> tuple[NewTransfer, list[str]]:
        """Read one event; give it and the words that follow it."""
        line, name = _take(line, r"\bas (\S+)")
        line, timeout = _take(line, r"\bfor (\d+)s")
        line, up_to = _take(line, r"\b(up-to)\b")
        verb, *words = line.split()
        self._count += 1
        flags = TransferFlag.BALANCING_DEBIT if up_to else TransferFlag.NONE
        if verb in ("capture", "void"):
            amount = words.pop(1) if re.fullmatch(r"\d+\.\d\d", words[1]) else None
            ending = TransferFlag.POST_PENDING_TRANSFER if verb == "capture" else TransferFlag.VOID_PENDING_TRANSFER
            return NewTransfer(
                id=self.ident(name or f"{verb} {self._count}"),
                pending_id=self.ident(words[0]),
                amount_fen=fen(amount) if amount else None,
                flags=ending,
            ), words[1:]
        if verb in ("hold", "close"):
            flags |= TransferFlag.PENDING
        if verb == "close":
            flags |= TransferFlag.CLOSING_DEBIT | TransferFlag.BALANCING_DEBIT
        return NewTransfer(
            id=self.ident(name or f"{verb} {self._count}"),
            debit_account_id=self.ident(words[0]),
            credit_account_id=self.ident(words[1]),
            amount_fen=None if words[2] == "all" else fen(words[2]),
            code=1,
            flags=flags,
            timeout_s=int(timeout or 0),
        ), words[3:]

    def _balance(self, line: str, *, name: str, amount: str, held: str) -> None:
        with self.database.reader() as session:
            found = balances(session, [self.ident(name)])[self.ident(name)]
        sign = -1 if amount.startswith("-") else 1
        pending_fen = found.debits_pending_fen + found.credits_pending_fen
        assert (found.credit_balance_fen, pending_fen) == (sign * fen(amount.lstrip("-")), fen(held)), line

    def _journal(self, line: str, *, following: Iterator[str]) -> None:
        rest, dated = _take(line, r"\bdated (\S+)")
        _, key, count, _, *expected = rest.split()
        events = tuple(self.parse(next(following))[0] for _ in range(int(count)))
        journal = NewJournal(
            id=self.ident(f"journal {key}"),
            kind="story",
            reference=key,
            text=f"Story {key}",
            actor="accountant",
            idempotency_key=f"{self.title}{key}",
            transfers=events,
            value_at=day(dated) if dated else None,
        )
        result = self._run(lambda session: post_journal(session, journal))
        found = [result.status.value] + (["again"] if result.replayed else [])
        assert " ".join([*found, *([result.failed.value] if result.failed else [])]) == " ".join(expected), line

    def _reverse(self, line: str) -> None:
        rest, dated = _take(line, r"\bdated (\S+)")
        _, key, _, under, expected = rest.split()
        result = self._run(
            lambda session: reverse_journal(
                session,
                self.ident(f"journal {key}"),
                id=self.ident(f"journal {under}"),
                reason="a mistake",
                actor="accountant",
                idempotency_key=f"{self.title}{under}",
                value_at=day(dated) if dated else None,
            )
        )
        assert result.status.value == expected, line

    def _period(self, line: str) -> None:
        verb, name, _, actor, expected = line.split()
        starts_at, ends_at = month(name)
        wish: dict[str, Any] = {"starts_at": starts_at, "ends_at": ends_at, "actor": actor}
        match verb:
            case "close-month":
                result = self._run(lambda session: close_period(session, **wish))
            case "ask-to-reopen":
                result = self._run(lambda session: ask_to_reopen(session, **wish, reason="a mistake"))
            case _:
                result = self._run(lambda session: reopen_period(session, **wish))
        assert result.status.value == expected, line

    def _run(self, work: Callable[[Session], T]) -> T:
        return self.database.run(work)


def describe(result: TransferResult, expected: str) -> str:
    """Say the result in the story's words; the amount only where the story asks for it."""
    if result.status is not CreateTransferStatus.CREATED:
        return result.status.value
    amount_fen = result.amount_fen or 0
    return f"ok {amount_fen // 100}.{amount_fen % 100:02}" if expected.startswith("ok ") else "ok"


def _take(line: str, pattern: str) -> tuple[str, str | None]:
    found = re.search(pattern, line)
    return (line, None) if found is None else (line[: found.start()] + line[found.end() :], found.group(1))
