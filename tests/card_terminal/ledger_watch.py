"""What must hold in the books at every moment, whatever has just gone wrong."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from app.books import Book, BookRole
from card_terminal.protocol import EventKind
from tests.card_terminal.region import Place, Region

OPEN = {"held", "active", "stale"}
NOTHING_HELD = {"void", "refused"}

_SESSIONS = text("""
SELECT s.id, s.terminal_id, s.account_id, s.status, s.held_fen, s.amount_fen,
       coalesce(sum(p.amount_fen) FILTER (WHERE p.state = 'open'), 0)::bigint AS open_fen
FROM app.card_session s
LEFT JOIN app.session_hold h ON h.session_id = s.id
LEFT JOIN ledger.pending_transfers p ON p.id = h.transfer_id
WHERE s.instrument_id = ANY(:instruments) GROUP BY s.id
""")
_TOMBSTONES = text("SELECT session_id FROM app.session_tombstone WHERE terminal_id = ANY(:terminals)")
_CHAINS = text("SELECT id, last_seq FROM app.terminal WHERE id = ANY(:terminals)")
_PURSES = text("""
SELECT id, debits_pending_fen AS held_fen, credits_posted_fen - debits_posted_fen - debits_pending_fen AS free_fen
FROM ledger.balances WHERE id = ANY(:books)
""")
_TRIAL = text("""
SELECT sum(debits_posted_fen) - sum(credits_posted_fen) AS posted_fen,
       sum(debits_pending_fen) - sum(credits_pending_fen) AS pending_fen
FROM ledger.balances
""")
_EVENTS = text("""
SELECT seq, message, chained, kind, outcome, reason, session_id FROM app.terminal_event
WHERE terminal_id = :terminal ORDER BY seq, chained DESC
""")


@dataclass(frozen=True, kw_only=True)
class SessionState:
    terminal_id: UUID
    account_id: int
    status: str
    held_fen: int
    amount_fen: int | None
    open_fen: int


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """One look at everything."""

    sessions: dict[UUID, SessionState]
    tombstones: set[UUID]
    last_seq: dict[UUID, int]
    held_fen: dict[UUID, int]


def look(region: Region) -> Ledger:
    """Read the books, and assert what one look can show."""
    terminals = [place.terminal_id for place in region.places]
    with region.site.database.reader() as session:
        rows = session.execute(_SESSIONS, {"instruments": [place.instrument_id for place in region.places]}).all()
        tombstones = set(session.scalars(_TOMBSTONES, {"terminals": terminals}))
        chains = session.execute(_CHAINS, {"terminals": terminals}).all()
        purses = session.execute(_PURSES, {"books": list(_books(region))}).all()
        trial = session.execute(_TRIAL).one()
    assert (trial.posted_fen, trial.pending_fen) == (0, 0), "the trial balance is not zero"
    assert all(purse.free_fen >= 0 for purse in purses), "more was held or charged than was there"
    found = Ledger(
        sessions={
            row.id: SessionState(
                terminal_id=row.terminal_id,
                account_id=row.account_id,
                status=row.status,
                held_fen=row.held_fen,
                amount_fen=row.amount_fen,
                open_fen=row.open_fen,
            )
            for row in rows
        },
        tombstones=tombstones,
        last_seq={row.id: row.last_seq for row in chains},
        held_fen={row.id: row.held_fen for row in purses},
    )
    _check_holds(found, region)
    return found


def _books(region: Region) -> dict[UUID, int]:
    """The books of all purses with the account whose they are."""
    accounts = {hand.account_id for hand in region.hands}
    roles = (BookRole.PRINCIPAL, BookRole.SUBSIDY_PURSE)
    return {Book(role, account).id: account for account in accounts for role in roles}


def _check_holds(found: Ledger, region: Region) -> None:
    held_by_account = dict.fromkeys((hand.account_id for hand in region.hands), 0)
    for id_, each in found.sessions.items():
        should_hold_fen = each.held_fen if each.status in OPEN else 0
        assert each.open_fen == should_hold_fen, f"{id_} is {each.status} and holds {each.open_fen}"
        assert (each.amount_fen or 0) <= each.held_fen, f"{id_} was charged beyond its hold"
        assert (each.amount_fen is not None) == (each.status in {"captured", "auto_ended"}), f"{id_} {each.status}"
        held_by_account[each.account_id] += each.open_fen
    for book, account in _books(region).items():
        held_by_account[account] -= found.held_fen[book]
    assert not any(held_by_account.values()), "money is held for no session"


def check_terminal(place: Place, ledger: Ledger) -> None:
    """What a terminal believes and shows is what the server has."""
    station = place.station
    assert station.store is not None
    acked_seq, last_seq = station.journal.acked_seq(), station.journal.last_seq()
    assert acked_seq <= ledger.last_seq[place.terminal_id] <= last_seq, "believes that the server has what it has not"
    with station.store.transaction() as connection:
        rows = connection.execute(
            "SELECT seq, session_id FROM event WHERE kind = ? AND session_id IS NOT NULL", (str(EventKind.REVERSAL),)
        ).fetchall()
    for seq, name in rows:
        session = ledger.sessions.get(UUID(name))
        if seq <= ledger.last_seq[place.terminal_id]:
            assert session is not None or UUID(name) in ledger.tombstones, "a reversal left no trace"
            assert session is None or session.status in NOTHING_HELD, f"{name} was reversed and is {session.status}"
    if last_seq == acked_seq and station.journal.session() is None and station.journal.pending() is None:
        left = [each for each in ledger.sessions.values() if each.terminal_id == place.terminal_id]
        assert not any(each.status in OPEN for each in left), "owes nothing and runs nothing, and yet something is held"
    receipt = station.view()["receipt"]
    if receipt is not None and receipt["amount_fen"] is not None:
        shown = ledger.sessions[UUID(receipt["session_id"])]
        assert receipt["amount_fen"] == shown.amount_fen, "the receipt says another amount than the books"


def check_chain(place: Place, region: Region, *, closed_by_others: set[UUID]) -> None:
    """The server has exactly the terminal's events, each once; parked is only what others had ended before."""
    assert place.station.store is not None
    with place.station.store.transaction() as connection:
        written = connection.execute("SELECT seq, message FROM event ORDER BY seq").fetchall()
    with region.site.database.reader() as session:
        kept = session.execute(_EVENTS, {"terminal": place.terminal_id}).all()
    assert [(row.seq, row.message) for row in kept if row.chained] == [tuple(each) for each in written]
    assert all(row.chained for row in kept), "a number was used twice"
    for row in kept:
        if row.outcome == "parked":
            assert row.session_id in closed_by_others, f"{row.kind} of {row.session_id} was parked: {row.reason}"
