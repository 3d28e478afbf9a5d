"""The accountant's view of the whole ledger, by value date: trial balance, vouchers (凭证), everything in order.

Only what was posted counts: a hold, its void and its expiry move nothing, and a hold posted in part counts for that
part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from ledger.posting import TRANSFER_COLUMNS, execute
from ledger.values import ID_MAX, ID_ZERO, Transfer

PAGE_MAX = 1_000
# Neither a hold (2), nor its void (8), nor its expiry (256): those move no money. Nor does a transfer of nothing.
POSTED = "transfers.flags & 266 = 0 AND amount_fen > 0"
STREAMED_ROWS = 1_000

# Each side is added up by itself first: two scans cost less than turning every transfer into two rows.
TRIAL_BALANCE = f"""
WITH sides AS (
    SELECT debit_account_id AS account_id,
           coalesce(sum(amount_fen) FILTER (WHERE value_at < %(since)s AND {POSTED}), 0) AS opening_fen,
           coalesce(sum(amount_fen) FILTER (WHERE value_at >= %(since)s AND {POSTED}), 0) AS debits_fen,
           0 AS credits_fen
    FROM ledger.transfers WHERE value_at < %(until)s GROUP BY 1
    UNION ALL
    SELECT credit_account_id,
           -coalesce(sum(amount_fen) FILTER (WHERE value_at < %(since)s AND {POSTED}), 0),
           0,
           coalesce(sum(amount_fen) FILTER (WHERE value_at >= %(since)s AND {POSTED}), 0)
    FROM ledger.transfers WHERE value_at < %(until)s GROUP BY 1
),
sums AS (
    SELECT account_id, sum(opening_fen)::bigint AS opening_fen, sum(debits_fen)::bigint AS debits_fen,
           sum(credits_fen)::bigint AS credits_fen
    FROM sides GROUP BY account_id
)
SELECT id, ledger, code, user_data_64, opening_fen, debits_fen, credits_fen, opening_fen + debits_fen - credits_fen
FROM sums JOIN ledger.accounts ON id = account_id
WHERE (opening_fen, debits_fen, credits_fen) <> (0, 0, 0)
ORDER BY ledger, code, user_data_64, id
"""  # noqa: S608 - constants only

VOUCHER = """
SELECT journals.id, journals.kind, journals.reference, journals.text, journals.actor, journals.value_at,
       journals.created_at, journals.reverses_id, reversals.id AS reversed_by_id
FROM ledger.journals LEFT JOIN ledger.journals AS reversals ON reversals.reverses_id = journals.id
"""
VOUCHERS = f"""{VOUCHER}
WHERE journals.value_at >= %(since)s AND journals.value_at < %(until)s
  AND (%(kind)s::text IS NULL OR journals.kind = %(kind)s)
  AND (%(words)s::text IS NULL OR
       strpos(lower(concat_ws(' ', journals.reference, journals.text, journals.actor)), lower(%(words)s)) > 0)
  AND (journals.value_at, journals.id) {{beyond}} (%(after_at)s::timestamptz, %(after_id)s)
  AND EXISTS (SELECT FROM ledger.transfers WHERE journal_id = journals.id AND {POSTED})
ORDER BY journals.value_at {{direction}}, journals.id {{direction}} LIMIT %(limit)s
"""
POSTED_IN = f"""
SELECT {TRANSFER_COLUMNS} FROM ledger.transfers WHERE journal_id = ANY(%(ids)s::uuid[]) AND {POSTED}
ORDER BY timestamp, id
"""  # noqa: S608 - constants only

ENTRIES = f"""
SELECT (transfers.value_at AT TIME ZONE %(zone)s)::date AS day, coalesce(journal_id, transfers.id) AS entry_id,
       journals.kind, journals.reference, journals.text, journals.actor, journals.reverses_id,
       debit_account_id, credit_account_id, amount_fen
FROM ledger.transfers LEFT JOIN ledger.journals ON journals.id = journal_id
WHERE transfers.value_at < %(until)s AND {POSTED}
ORDER BY 1, coalesce(journals.value_at, transfers.value_at), 2, timestamp, transfers.id
"""  # noqa: S608 - constants only
# A month's balance stands there for every account that moved in it; the last day's for every account that ever moved.
DAY_BALANCES = f"""
WITH moves AS (
    SELECT debit_account_id AS account_id, date_trunc('month', value_at AT TIME ZONE %(zone)s)::date AS month,
           sum(amount_fen) AS fen
    FROM ledger.transfers WHERE value_at < %(until)s AND {POSTED} GROUP BY 1, 2
    UNION ALL
    SELECT credit_account_id, date_trunc('month', value_at AT TIME ZONE %(zone)s)::date, -sum(amount_fen)
    FROM ledger.transfers WHERE value_at < %(until)s AND {POSTED} GROUP BY 1, 2
),
months AS (
    SELECT account_id, (month + interval '1 month - 1 day')::date AS day,
           sum(sum(fen)) OVER (PARTITION BY account_id ORDER BY month)::bigint AS balance_fen
    FROM moves GROUP BY account_id, month
),
last AS (
    SELECT ((%(until)s::timestamptz - interval '1 microsecond') AT TIME ZONE %(zone)s)::date AS day
)
SELECT days.day, account_id, balance_fen
FROM (
    SELECT months.day, account_id, balance_fen FROM months, last WHERE months.day < last.day
    UNION ALL
    SELECT last.day, account_id, sum(fen)::bigint FROM moves, last GROUP BY last.day, account_id
) AS days JOIN ledger.accounts ON id = account_id
ORDER BY days.day, ledger, code, user_data_64, id
"""  # noqa: S608 - constants only


class TrialLine(NamedTuple):
    """One account in a trial balance; opening and closing are debits minus credits."""

    account_id: UUID
    ledger: int
    code: int
    user_data_64: int
    opening_fen: int
    debits_fen: int
    credits_fen: int
    closing_fen: int


class BookPlace(NamedTuple):
    """A place in the books' order, which is by value date and then by id: the cursor of their pages."""

    value_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A journal with what it posted, in the order it was booked."""

    id: UUID
    kind: str
    reference: str
    text: str
    actor: str
    value_at: datetime
    created_at: datetime
    reverses_id: UUID | None
    reversed_by_id: UUID | None
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherPage:
    """Some vouchers in the order asked for; `cursor` is the next page's `after`, None on the last."""

    vouchers: tuple[Voucher, ...]
    cursor: BookPlace | None


class Movement(NamedTuple):
    """An amount that went from one account to another."""

    debit_account_id: UUID
    credit_account_id: UUID
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookEntry:
    """What one voucher posted on one day; a transfer without a journal is an entry of its own.

    `id` is the journal's, or else the transfer's, and the journal's words are then None.
    """

    day: date
    id: UUID
    kind: str | None
    reference: str | None
    text: str | None
    actor: str | None
    reverses_id: UUID | None
    movements: tuple[Movement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBalances:
    """What accounts stood at when a day had ended, in fen, debits minus credits."""

    day: date
    accounts: tuple[tuple[UUID, int], ...]


def trial_balance(session: Session, *, since: datetime, until: datetime) -> list[TrialLine]:
    """Give every account with an opening balance or a movement in the period, by ledger, code, owner and id.

    `since` is inclusive, `until` exclusive. In every ledger the openings sum to zero, so do the closings, and debits
    equal credits. Reads every transfer before `until`; lifts this transaction's statement timeout to ten minutes.
    Raises ValueError for a period that ends before it begins.
    """
    if until < since:
        raise ValueError(f"The period ends at {until}, before it begins at {since}")
    allow_long_reads(session)
    return [TrialLine._make(row) for row in execute(session, TRIAL_BALANCE, {"since": since, "until": until})]


def voucher(session: Session, journal_id: UUID) -> Voucher | None:
    """Give one journal with what it posted (a hold posts nothing); None if there is no such journal."""
    found = _vouchers(session, execute(session, f"{VOUCHER} WHERE journals.id = %(id)s", {"id": journal_id}))
    return found[0] if found else None


def vouchers(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    kind: str | None = None,
    words: str | None = None,
    newest_first: bool = True,
    limit: int = 100,
    after: BookPlace | None = None,
) -> VoucherPage:
    """Give one page of the vouchers that posted something, by value date.

    `since` is inclusive, `until` exclusive; `words` are looked for in reference, text and actor, upper or lower case;
    `after` is the cursor of the page before, in either direction. At most 1,000 vouchers a page. Raises ValueError for
    a limit outside 1..1,000.
    """
    check_limit(limit)
    outside: tuple[object, UUID] = ("infinity", ID_MAX) if newest_first else ("-infinity", ID_ZERO)
    after_at, after_id = after or outside
    beyond, direction = ("<", "DESC") if newest_first else (">", "ASC")
    rows = execute(
        session,
        VOUCHERS.format(beyond=beyond, direction=direction),
        {
            "since": since,
            "until": until,
            "kind": kind,
            "words": words,
            "after_at": after_at,
            "after_id": after_id,
            "limit": limit + 1,
        },
    )
    found = _vouchers(session, rows[:limit])
    cursor = BookPlace(found[-1].value_at, found[-1].id) if len(rows) > limit else None
    return VoucherPage(vouchers=tuple(found), cursor=cursor)


def book_entries(session: Session, *, until: datetime, zone: ZoneInfo) -> Iterator[BookEntry]:
    """Give everything posted with a value date before `until`, day by day in `zone`, without keeping it.

    A voucher whose transfers bear several dates is one entry on each. Lifts this transaction's statement timeout to ten
    minutes.
    """
    rows = _stream(session, ENTRIES, {"until": until, "zone": zone.key})
    for _, group in groupby(rows, key=itemgetter(0, 1)):
        first, *others = group
        yield BookEntry(
            day=first.day,
            id=first.entry_id,
            kind=first.kind,
            reference=first.reference,
            text=first.text,
            actor=first.actor,
            reverses_id=first.reverses_id,
            movements=tuple(Movement._make(row[-3:]) for row in (first, *others)),
        )


def day_balances(session: Session, *, until: datetime, zone: ZoneInfo) -> Iterator[DayBalances]:
    """Give what accounts stood at by value date: month by month those that moved in it, on the last day all of them.

    The last day is the one that `until`, exclusive, falls into or ends. Lifts this transaction's statement timeout to
    ten minutes.
    """
    rows = _stream(session, DAY_BALANCES, {"until": until, "zone": zone.key})
    for day, group in groupby(rows, key=itemgetter(0)):
        yield DayBalances(day=day, accounts=tuple((row.account_id, row.balance_fen) for row in group))


def check_limit(limit: int) -> None:
    """Raise ValueError for a page of no lines or of more than 1,000."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"A page has 1 to {PAGE_MAX} lines, not {limit}")


def allow_long_reads(session: Session) -> None:
    """Let this transaction's statements take ten minutes each: what reads all of the books takes its time."""
    execute(session, "SET LOCAL statement_timeout = '10min'", {}, reads=False)


def _vouchers(session: Session, heads: Sequence[Any]) -> list[Voucher]:
    posted: dict[UUID, list[Transfer]] = {head.id: [] for head in heads}
    for row in execute(session, POSTED_IN, {"ids": list(posted)}):
        transfer = Transfer._make(row)
        if transfer.journal_id is not None:
            posted[transfer.journal_id].append(transfer)
    return [Voucher(**head._asdict(), transfers=tuple(posted[head.id])) for head in heads]


def _stream(session: Session, sql: str, parameters: dict[str, object]) -> Iterator[Any]:
    """Give a statement's rows through a cursor of the server, some at a time."""
    allow_long_reads(session)
    options = {"stream_results": True, "yield_per": STREAMED_ROWS}
    return iter(session.connection().exec_driver_sql(sql, parameters, execution_options=options))
