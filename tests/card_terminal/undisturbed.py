"""The same visits again in a region where nothing goes wrong, and the books of both in one form."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text

import ledger
from app.books import Book, BookRole
from app.sessions.models import CardSession, SessionStatus
from tests.app import taps
from tests.card_terminal.notebook import Notebook, Stay, ended_of
from tests.card_terminal.region import Place, Region

TICK_MS = 120_000
CHARGED = (SessionStatus.CAPTURED, SessionStatus.AUTO_ENDED)
# What a disturbance may write on a session; every other flag would be a fault of ours.
FLAGS_OF_DISTURBANCES = {"lower_bound", "auto_ended", "closed_by_staff"}

_MOVED = text("""
SELECT debit_account_id AS debit, credit_account_id AS credit, sum(amount_fen)::bigint AS fen FROM ledger.transfers
WHERE journal_id = :journal AND flags & :unmoved = 0 GROUP BY 1, 2
""")
_UNMOVED = int(
    ledger.TransferFlag.PENDING
    | ledger.TransferFlag.VOID_PENDING_TRANSFER
    | ledger.TransferFlag.EXPIRED_PENDING_TRANSFER
)


class How(IntEnum):
    """How a visit came to its end."""

    BY_PERSON = 1
    BY_STAFF = 2
    BY_WORKER = 3


class Visit(NamedTuple):
    """A charged session as people would tell it: who, where, from when, for how long, and who ended it."""

    authorized_at: datetime
    place: int
    card: int
    minutes: int
    over_at: datetime
    how: How


class Bill(NamedTuple):
    """A charged session as the books have it, in names that mean the same in both regions."""

    card: int
    place: int
    status: str
    duration_s: int | None
    amount_fen: int | None
    principal_fen: int
    subsidy_fen: int
    moved: frozenset[tuple[str, str, int]]


@dataclass(frozen=True, kw_only=True)
class Books:
    bills: list[Bill]
    balances: dict[str, int]


def visits_of(notebook: Notebook, *, auto_ended_at: dict[UUID, datetime]) -> list[Visit]:
    """Give the visits that must be charged, and assert that the server charged exactly these, as people were told."""
    region = notebook.region
    rows = _charged_sessions(region)
    visits = []
    for stay in notebook.stays.values():
        said_fen = notebook.closed_by_staff.get(stay.session_id)
        row = rows.pop(stay.session_id, None)
        if row is None:
            assert said_fen == 0, f"{stay} was seen on a screen and is charged nowhere"
            continue
        assert set(row.flags) <= FLAGS_OF_DISTURBANCES, row.flags
        if said_fen is not None:
            assert row.amount_fen == said_fen, "staff were told another amount"
        visits.append(_visit(stay, row, notebook, auto_ended_at=auto_ended_at))
    assert not rows, f"charged, and on no screen: {list(rows)}"
    return sorted(visits)


def _visit(stay: Stay, row: CardSession, notebook: Notebook, *, auto_ended_at: dict[UUID, datetime]) -> Visit:
    ended = ended_of(stay, notebook.region.places[stay.place], authorized_at=row.authorized_at)
    how, over_at = How.BY_PERSON, row.authorized_at + timedelta(milliseconds=ended.elapsed_ms)
    if stay.session_id in notebook.closed_by_staff:
        how, over_at = How.BY_STAFF, notebook.closed_at[stay.session_id]
    elif row.status is SessionStatus.AUTO_ENDED:
        how, over_at = How.BY_WORKER, auto_ended_at[stay.session_id]
    return Visit(row.authorized_at, stay.place, stay.card, row.minutes, over_at, how)


def live(region: Region, visits: list[Visit]) -> None:
    """Let people make these visits, with nothing going wrong."""
    steps = [(visit.authorized_at, number, True) for number, visit in enumerate(visits)]
    steps += [(visit.over_at, number, False) for number, visit in enumerate(visits)]
    running = 0
    for at, number, begins in sorted(steps, key=lambda step: (step[0], step[1], not step[2])):
        visit = visits[number]
        place = region.places[visit.place]
        left_ms = round((at - region.time.moment).total_seconds() * 1000)
        region.pass_time(left_ms, step_ms=TICK_MS if running else left_ms)
        running += 1 if begins else -1
        if begins:
            _begin(region, place, visit)
        else:
            _end(region, place, visit)


def _begin(region: Region, place: Place, visit: Visit) -> None:
    terminal = place.station.terminal
    # Seconds since the last visit are a matter of screens, not of money.
    terminal._last_reading = terminal._last_tap = ("", 0)
    region.tap(place, visit.card, pin=taps.PIN, minutes=visit.minutes)
    terminal.confirm()
    assert terminal.screen.session is not None, terminal.screen
    place.station.delivery.deliver()
    if visit.how is not How.BY_PERSON:
        # Nobody and nothing at the instrument ends it, so that the server must.
        place.die()


def _end(region: Region, place: Place, visit: Visit) -> None:
    if visit.how is not How.BY_PERSON:
        open_session = region.open_session(place)
        assert open_session is not None
        if visit.how is How.BY_STAFF:
            region.close_by_staff(open_session.id)
        else:
            region.let_the_worker_run()
        place.start_again()
        place.station.keep_in_touch()
    elif place.station.terminal.screen.session is not None:
        place.station.terminal._last_tap = ("", 0)
        place.station.terminal._last_reading = ("", 0)
        region.tap(place, visit.card)
        place.station.terminal.confirm()
    place.station.delivery.deliver()
    assert place.station.terminal.screen.session is None


def books_of(region: Region) -> Books:
    """Give everything that was charged, and what stands in every account that it touched."""
    names = _names(region)
    cards = {hand.id: number for number, hand in enumerate(region.hands)}
    places = {place.instrument_id: number for number, place in enumerate(region.places)}
    bills = []
    with region.site.database.reader() as session:
        for row in _charged_sessions(region).values():
            moved = session.execute(_MOVED, {"journal": row.capture_journal_id, "unmoved": _UNMOVED}).all()
            bills.append(
                (
                    row.authorized_at,
                    Bill(
                        card=cards[row.card_id],
                        place=places[row.instrument_id],
                        status=str(row.status),
                        duration_s=row.duration_s,
                        amount_fen=row.amount_fen,
                        principal_fen=row.paid_principal_fen,
                        subsidy_fen=row.paid_subsidy_fen,
                        moved=frozenset((names[each.debit], names[each.credit], each.fen) for each in moved),
                    ),
                )
            )
        stands = ledger.balances(session, list(names))
    balances: Counter[str] = Counter()
    for book, name in names.items():
        balances[f"{name}, posted"] = stands[book].credit_balance_fen
        balances[f"{name}, held"] = stands[book].debits_pending_fen + stands[book].credits_pending_fen
    return Books(bills=[bill for _at, bill in sorted(bills)], balances=dict(balances))


def _charged_sessions(region: Region) -> dict[UUID, CardSession]:
    instruments = [place.instrument_id for place in region.places]
    query = select(CardSession).where(CardSession.instrument_id.in_(instruments), CardSession.status.in_(CHARGED))
    with region.site.database.reader() as session:
        return {row.id: row for row in session.scalars(query)}


def _names(region: Region) -> dict[UUID, str]:
    owners: dict[tuple[BookRole, Any], str] = {}
    for number, hand in enumerate(region.hands):
        for role in (BookRole.PRINCIPAL, BookRole.SUBSIDY_PURSE):
            owners.setdefault((role, hand.account_id), f"{role} of card {number}")
    for role in (BookRole.UNIT_PAYABLE, BookRole.SERVICE_FEE, BookRole.VAT):
        owners[role, region.site.unit_id] = str(role)
    return {Book(role, owner).id: name for (role, owner), name in owners.items()}
