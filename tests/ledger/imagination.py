"""Draws what somebody might want of the ledger: mostly what is possible, then what is not, in every way there is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid5

from ledger import AMOUNT_MAX_FEN, CNY, AccountFlag, NewAccount, NewJournal, NewTransfer, TransferFlag
from tests.ledger.model import (
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    GREATEST,
    LINKED,
    PENDING,
    POST,
    VOID,
    ZERO,
    Books,
)

T = TypeVar("T")
SPACE = UUID("0193d1f0-0000-7000-8000-00000000f0de")
USD = 840
HOUR_S = 3600
LIMITED, ASSET = AccountFlag.DEBITS_MUST_NOT_EXCEED_CREDITS, AccountFlag.CREDITS_MUST_NOT_EXCEED_DEBITS
# An account "deep" is one on which sums near the end of their column are tried; no hold with a timeout goes there,
# because an overdue hold fills its column until its end is written down.
OPENING = {
    "bank": AccountFlag.NONE,
    "shop": AccountFlag.NONE,
    "card": LIMITED,
    "purse": LIMITED,
    "till": ASSET,
    "shut": AccountFlag.CLOSED,
    "deep bank": AccountFlag.NONE,
    "deep shop": AccountFlag.NONE,
    "deep fund": LIMITED,
    "usd bank": AccountFlag.NONE,
    "usd card": LIMITED,
}
SMALL, DEEP = range(1, 13), (1, 5, 2**62 - 1, 2**62, AMOUNT_MAX_FEN - 5, AMOUNT_MAX_FEN)
DATES = (None, None, None, datetime(2015, 6, 1, tzinfo=UTC), datetime(2022, 6, 1, tzinfo=UTC))
COUNTS = (0, 1, 1, 1, 2, 2, 3, 5)
DATA_128 = (None, None, UUID(int=7), UUID(int=8))
DATA = (0, 0, 7, 8)


def named(name: str) -> UUID:
    return uuid5(SPACE, name)


DEEP_ACCOUNTS = {named(name) for name in OPENING if name.startswith("deep")}


@dataclass(repr=False)
class Imagination:
    """Wishes with ids in a fixed but lawless order, so that the same draws give the same run."""

    books: Books
    chance: Random = field(default_factory=Random)
    sent: list[NewTransfer] = field(default_factory=list)
    journals: list[NewJournal] = field(default_factory=list)
    _count: int = 0

    def fresh(self) -> UUID:
        self._count += 1
        return named(f"number {self._count}")

    def one(self, choices: Sequence[T]) -> T:
        return self.chance.choice(choices)

    # --- accounts

    def opening(self) -> list[NewAccount]:
        return [
            NewAccount(id=named(name), code=1001, ledger=USD if name.startswith("usd") else CNY, flags=flags)
            for name, flags in OPENING.items()
        ]

    def endowment(self) -> list[NewTransfer]:
        """What lets most wishes come true: something on every account that may not go below nothing."""
        amounts = {"bank > card": 60, "shop > purse": 30, "till > bank": 40, "deep bank > deep fund": 2**62}
        return self._noted(
            [
                NewTransfer(
                    id=self.fresh(),
                    debit_account_id=named(line.split(" > ")[0]),
                    credit_account_id=named(line.split(" > ")[1]),
                    amount_fen=amount_fen,
                    code=1,
                )
                for line, amount_fen in amounts.items()
            ]
        )

    def accounts(self) -> list[NewAccount]:
        """A few new accounts or old ones again, some changed in one place, some linked."""
        wanted = []
        for _ in range(self.chance.randint(1, 4)):
            new = self.one([*self.books.accounts, NewAccount(id=self.fresh(), code=1001)])
            if self.one((False, True)):
                new = replace(new, **self.one(ACCOUNT_CHANGES))
            wanted.append(replace(new, flags=new.flags | AccountFlag(self.one([0, 0, 1]))))
        return wanted

    # --- transfers

    def batch(self) -> list[NewTransfer]:
        batch = []
        for _ in range(self.one([1, 1, 2, 4, 8, 16])):
            new = self.transfer()
            # A batch that is never linked is the common case; an open end is rare.
            batch.append(replace(new, flags=new.flags | LINKED) if self.chance.randint(0, 5) == 0 else new)
        return self._noted(batch)

    def transfer(self) -> NewTransfer:
        kinds = ("pay", "pay", "hold", "hold", "end", "end", "end", "balancing", "again", "again", "odd", "odd")
        return _kept_apart(self._imagined(self.one(kinds)))

    def _imagined(self, kind: str) -> NewTransfer:
        new: NewTransfer = getattr(self, kind)()
        return new

    def pay(self, flags: TransferFlag = TransferFlag.NONE, **fields: Any) -> NewTransfer:
        family = self.one(["", "", "", "", "deep ", "usd "])
        names = [name for name in OPENING if name.startswith(family) and (family or not name.startswith("usd"))]
        # The shut account is rare, as it is in life.
        debit, credit = self.chance.sample(names, 2, counts=[1 if name == "shut" else 9 for name in names])
        is_deep = "deep" in debit and "deep" in credit
        if flags & PENDING and "deep" not in debit + credit:
            fields.setdefault("timeout_s", self.one([0, HOUR_S, 2 * HOUR_S]))
        fields.setdefault("amount_fen", self.one(DEEP if is_deep else SMALL))
        return NewTransfer(
            id=self.fresh(),
            debit_account_id=named(debit),
            credit_account_id=named(credit),
            code=self.one([1, 2]),
            ledger=USD if family == "usd " else CNY,
            flags=flags,
            user_data_128=self.one(DATA_128),
            user_data_64=self.one(DATA),
            user_data_32=self.one(DATA),
            **fields,
        )

    def hold(self) -> NewTransfer:
        closing = self.one([TransferFlag.NONE] * 16 + [CLOSING_DEBIT, CLOSING_CREDIT, CLOSING_DEBIT | CLOSING_CREDIT])
        return self.pay(PENDING | closing)

    def balancing(self) -> NewTransfer:
        flags = self.one([BALANCING_DEBIT, BALANCING_CREDIT, BALANCING_DEBIT | BALANCING_CREDIT])
        pending = self.one([*[TransferFlag.NONE] * 5, *[PENDING] * 3, PENDING | CLOSING_DEBIT])
        return self.pay(flags | pending, amount_fen=self.one([None, *range(0, 31, 3)]))

    def end(self) -> NewTransfer:
        """Post or void what is held, mostly saying no more than needed."""
        holds = [made for made in self.books.transfers if made.flags & PENDING]
        if not holds:
            return self.hold()
        hold = self.one(holds[-6:])
        new = NewTransfer(id=self.fresh(), pending_id=hold.id, flags=self.one([POST, POST, VOID]), ledger=0)
        said: dict[str, Any] = {
            "debit_account_id": hold.debit_account_id,
            "credit_account_id": hold.credit_account_id,
            "ledger": hold.ledger,
            "code": hold.code,
            "amount_fen": self.one([hold.amount_fen, max(0, hold.amount_fen - 1), hold.amount_fen // 2, 0]),
            "user_data_128": UUID(int=9),
            "user_data_64": 9,
            "user_data_32": 9,
        }
        return replace(
            new, **{name: said[name] for name in self.chance.sample(sorted(said), self.one([0, 0, 1, 1, 2]))}
        )

    def again(self) -> NewTransfer:
        """Send what was sent before: as it was, or changed in one place or two."""
        return self._changed(self.one(self.sent), self.one([0, 1, 1, 1, 2]))

    def odd(self) -> NewTransfer:
        """Spoil a new wish in one place or two."""
        return self._changed(self._imagined(self.one(("pay", "hold", "balancing", "end"))), self.one([1, 1, 2]))

    def _changed(self, new: NewTransfer, places: int) -> NewTransfer:
        for name in self.chance.sample(sorted(CHANGES), places):
            new = replace(new, **{name: self.one([*CHANGES[name], new.id] if name == "pending_id" else CHANGES[name])})
        return new

    def _noted(self, batch: list[NewTransfer]) -> list[NewTransfer]:
        self.sent += batch
        return batch

    # --- journals

    def journal(self) -> NewJournal:
        """A new voucher, or an old one again, some under another's id or key, some changed."""
        new = replace(self.wish("charge"), transfers=self._draft())
        if self.journals and self.chance.randint(0, 2) == 0:
            old = self.one(self.journals)
            new = self.one([old, old, replace(new, idempotency_key=old.idempotency_key), replace(new, id=old.id)])
            if self.chance.randint(0, 2) == 0:
                new = replace(new, text="other words")
            elif self.chance.randint(0, 2) == 0:
                new = replace(new, value_at=DATES[-2])
        self.journals.append(new)
        return new

    def reversal(self) -> tuple[UUID, NewJournal]:
        """The id of a journal that was sent, or of none, and what is wanted for its reversal."""
        original = self.one([*(journal.id for journal in self.journals[:4]), self.fresh()])
        return original, self.one([self.wish("reversal"), self.wish("reversal", number=original)])

    def _draft(self) -> tuple[NewTransfer, ...]:
        """Lines of a voucher: anything, or what is likely to be posted, so that there is something to reverse."""
        likely = (self.pay, self.pay, self.hold, self.end)
        lines = [self.one(likely)() if self.one((True, False)) else self.transfer() for _ in range(self.one(COUNTS))]
        return tuple(self._noted(lines))

    def wish(self, kind: str, *, number: UUID | None = None) -> NewJournal:
        """A voucher without lines; with a number, the same one each time."""
        id_ = uuid5(number, kind) if number else self.fresh()
        return NewJournal(
            id=id_,
            kind=kind,
            reference=str(id_)[:4],
            text="words",
            actor="desk",
            idempotency_key=str(id_),
            transfers=(),
            value_at=None if number else self.one(DATES),
        )


def _kept_apart(new: NewTransfer) -> NewTransfer:
    """Keep great amounts on deep accounts, and timeouts off them."""
    if new.flags & (POST | VOID):
        return new
    sides = {new.debit_account_id, new.credit_account_id}
    if sides & DEEP_ACCOUNTS and new.timeout_s:
        new = replace(new, timeout_s=0)
    if not sides <= DEEP_ACCOUNTS and (new.amount_fen or 0) > max(SMALL) ** 3:
        new = replace(new, amount_fen=max(SMALL))
    return new


# Each field with the values that have a meaning of their own: none, zero, the greatest, another's, nobody's.
IDS = (None, ZERO, GREATEST, named("nobody"), named("bank"), named("card"), named("usd bank"), named("shut"))
NOT_TOGETHER = (POST | VOID, POST | PENDING, VOID | BALANCING_DEBIT, POST | BALANCING_CREDIT, VOID | CLOSING_CREDIT)
CHANGES: dict[str, Sequence[Any]] = {
    "id": (ZERO, GREATEST),
    "debit_account_id": IDS,
    "credit_account_id": IDS,
    "amount_fen": (None, 0, 3, 200),
    "ledger": (0, CNY, USD),
    "code": (0, 0, 1, 3),
    "flags": (*TransferFlag, *NOT_TOGETHER, TransferFlag(512), TransferFlag.NONE, TransferFlag.NONE),
    "pending_id": (None, ZERO, GREATEST, named("nobody"), named("number 1"), named("number 2")),
    "timeout_s": (0, HOUR_S),
    "user_data_128": (None, UUID(int=5)),
    "user_data_64": (0, 5),
    "user_data_32": (0, 5),
}
ACCOUNT_CHANGES: tuple[dict[str, Any], ...] = (
    *({"id": id_} for id_ in (ZERO, GREATEST)),
    *({"flags": AccountFlag(number)} for number in (0, 2, 4, 6, 8, 32)),
    *({"ledger": number} for number in (0, USD)),
    *({"code": number} for number in (0, 2002)),
    *({"user_data_128": UUID(int=5)}, {"user_data_64": 5}, {"user_data_32": 5}),
)
