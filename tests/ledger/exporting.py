"""Books to export, and the export as a text."""

import io
import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.db import Database
from ledger import AccountName, NamedAccount, Root
from tests.ledger.bookkeeping import DAY, TICK, Desk, on
from tests.owner import without_triggers

SHANGHAI = ZoneInfo("Asia/Shanghai")
NAMES = {
    "bank": AccountName(Root.ASSETS, ("1002", "银行存款"), "银行存款—客户资金"),
    "card": AccountName(Root.LIABILITIES, ("2241-01 principal", "card 7"), 'Card "7"; principal'),
    "income": AccountName(Root.INCOME, ("service fee",), "Service fee"),
}
number = itertools.count()
UNTIL, NEXT_YEAR = on("03-10"), on("12-31") + 400 * DAY
Write = Callable[..., int]


def opened(database: Database) -> Desk:
    desk = Desk(database)
    desk.open(*NAMES)
    return desk


def told(desk: Desk) -> Desk:
    """A top-up and a use in January, a use in February that is taken back in March, a hold posted in part."""
    desk.journal("1", "bank > card 100.00", at=on("01-10"), kind="top_up", words=("T-1", "Top-up", "clerk 3"))
    desk.journal("2", "card > income 30.00", "card > income 0.05", at=on("01-31 16:00"))
    desk.reverse("2", at=on("03-02"))
    desk.hold("h", "card > income 9.00", at=on("03-03"))
    desk.capture("h", 4_50)
    desk.redate("capture h", timestamp=on("03-04"))
    desk.hold("open", "card > income 8.00", at=on("03-04"))
    return desk


def fresh_books(database: Database, events: Sequence[tuple[str, str, int, int, bool]] = ()) -> Desk:
    """Begin anew with events of debit and credit account, fen, day of the year, and whether there is a voucher."""
    with database.transaction() as session:
        without_triggers(session)
        session.execute(
            text(
                "TRUNCATE ledger.transfers, ledger.journals, ledger.pending_transfers, ledger.balances, ledger.accounts"
            )
        )
    desk = Desk(database, title=f"{next(number)} ")
    desk.open(*NAMES, "other")
    for name, (debit, credit, fen, day, has_voucher) in enumerate(events):
        line = f"{debit} > {credit} {fen // 100}.{fen % 100:02d}"
        at = on("01-01") + day * DAY
        if has_voucher:
            desk.journal(f"{name}", line, at=at)
        else:
            desk.pay(f"{name}", line)
            desk.redate(f"{name}", timestamp=at + name * TICK)
    return desk


def export(
    desk: Desk,
    write: Write,
    *,
    until: datetime = UNTIL,
    name: Callable[[NamedAccount], AccountName] | None = None,
    title: str = "Books",
) -> str:
    def by_name(account: NamedAccount) -> AccountName:
        name = desk.names.get(account.id, "")
        return NAMES.get(name) or AccountName(Root.EQUITY, (name or account.id.hex,))

    out = io.StringIO()
    with desk.database.reader() as session:
        write(session, out, names=name or by_name, until=until, zone=SHANGHAI, title=title)
    return out.getvalue()
