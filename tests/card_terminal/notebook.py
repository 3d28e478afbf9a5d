"""What people saw on the screens, written down as it happened: the measure of what the ledger must say."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from card_terminal.flow import State
from card_terminal.protocol import EndCause, Ended, EventKind, read_event
from tests.card_terminal.region import Place, Region


@dataclass(kw_only=True)
class Stay:
    """One session as its person lived it; times by the clock on the wall of the room, which is right."""

    session_id: UUID
    place: int
    card: int
    seen_at: datetime
    gone_at: datetime | None = None
    """When the screen no longer showed it."""
    tapped_at: datetime | None = None
    """The last tap that began an end."""
    was_rebooted: bool = False
    began_in_the_dark: bool = False
    """The machine was started anew before she saw that it had begun."""
    said_elapsed_ms: int | None = None
    """What the receipt on the screen said, if she saw it."""


@dataclass
class Notebook:
    """All stays of a run, and what staff read on their page before they closed one."""

    region: Region
    stays: dict[UUID, Stay] = field(default_factory=dict)
    at_place: dict[int, Stay] = field(default_factory=dict)
    last_card: dict[int, int] = field(default_factory=dict)
    """Whose card began what runs, or begins, at a place."""
    rebooted: set[int] = field(default_factory=set)
    """Machines that were started anew since their screen was last lit."""
    closed_by_staff: dict[UUID, int] = field(default_factory=dict)
    closed_at: dict[UUID, datetime] = field(default_factory=dict)

    def note_tap(self, place: int, card: int) -> None:
        """Write down whose card was last shown where nothing runs."""
        if place not in self.at_place:
            self.last_card[place] = card

    def note_reboot(self, place: int) -> None:
        self.rebooted.add(place)
        if place in self.at_place:
            self.at_place[place].was_rebooted = True

    def look(self) -> None:
        """Look at every screen that is lit."""
        for number, place in enumerate(self.region.places):
            if place.is_alive:
                self._look_at(number, place)
                self.rebooted.discard(number)

    def _look_at(self, number: int, place: Place) -> None:
        screen, now = place.station.terminal.screen, self.region.time.moment
        known = self.at_place.get(number)
        shown = screen.session.session_id if screen.session else None
        if known is not None and known.session_id != shown:
            known.gone_at = now
            if screen.receipt is not None and screen.receipt.session_id == known.session_id:
                known.said_elapsed_ms = screen.receipt.elapsed_ms
            del self.at_place[number]
        if shown is None:
            return
        if number not in self.at_place:
            assert shown not in self.stays, "a session that was over came back"
            stay = Stay(
                session_id=shown,
                place=number,
                card=self.last_card[number],
                seen_at=now,
                began_in_the_dark=number in self.rebooted,
            )
            self.stays[shown] = self.at_place[number] = stay
        if screen.state is State.ENDING:
            since = timedelta(milliseconds=place.clock.mono - screen.since_mono_ms)
            self.at_place[number].tapped_at = now - since


def ended_of(stay: Stay, place: Place, *, authorized_at: datetime) -> Ended:
    """Give the end that the terminal reported, and assert that it is what the person lived."""
    assert place.station.store is not None
    with place.station.store.transaction() as connection:
        rows = connection.execute(
            "SELECT message FROM event WHERE kind = ? AND session_id = ?", (str(EventKind.ENDED), str(stay.session_id))
        ).fetchall()
    assert len(rows) == 1, f"{stay.session_id} ended {len(rows)} times"
    ended = read_event(rows[0][0], key=place.station.key.public_key()).body
    assert isinstance(ended, Ended)
    assert stay.gone_at is not None
    assert ended.elapsed_ms <= _ms(stay.gone_at - authorized_at), "more time than there was"
    if stay.was_rebooted or not stay.began_in_the_dark:
        assert ended.lower_bound is stay.was_rebooted
    if not ended.lower_bound and ended.cause is EndCause.TAPPED:
        assert stay.tapped_at is not None, "ended by nobody's tap"
        assert _ms(stay.tapped_at - stay.seen_at) <= ended.elapsed_ms <= _ms(stay.tapped_at - authorized_at)
    if stay.said_elapsed_ms is not None:
        assert ended.elapsed_ms == stay.said_elapsed_ms, "the receipt said another time than the journal"
    return ended


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
