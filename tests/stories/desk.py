"""An instrument's terminal on the virtual reader, and people with cards, for the stories that go the whole way."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

import ledger
from app import clock
from app.books import Book, BookRole
from app.cards import service as cards
from app.cards.models import Card
from app.devices import service as devices
from app.sessions.models import CardSession, OfflineReserve, SessionStatus
from app.sessions.offline import making, switching
from card_terminal.flow import State
from card_terminal.protocol import ReaderState
from card_terminal.readers.ntag424 import EmulatedChip
from tests.app import taps
from tests.app.cards.bench import Bench
from tests.app.taps import Site
from tests.card_terminal.live_terminal import QUICK, LiveTerminal, ShiftedClock
from tests.card_terminal.virtual_reader import LyingCard, Pcscd, wait_until
from tests.stories.server import Server


class Desk:
    """An instrument with its terminal, a counter with a station, and people with cards."""

    def __init__(self, folder: Path, *, site: Site, server: Server, pcscd: Pcscd, bench: Bench) -> None:
        self.site, self.server, self.pcscd, self.bench = site, server, pcscd, bench
        self._folder = folder
        self.clock = ShiftedClock()
        self.terminal: LiveTerminal
        self.instrument_id = 0

    def open(self, **instrument_values: Any) -> LiveTerminal:
        """Enrol a terminal at an instrument of its own, and let it run."""
        self.instrument_id = at_instrument = self.site.terminal(**instrument_values).instrument_id
        made = self.site.database.run(
            lambda session: devices.create_terminal(
                session, code="T-whole", instrument_id=at_instrument, actor="test", at=clock.now()
            )
        )
        self.terminal = LiveTerminal(self._folder, url=self.server.url, code=made.code, clock=self.clock)
        taps.approve(self.site.database, made.terminal.id)
        self.terminal.start()
        return self.terminal

    def card(self, number: int = 1, *, principal_fen: int = 5_000_00) -> tuple[EmulatedChip, Card]:
        """A card made at the counter, with money."""
        chip = EmulatedChip(uid=b"\x04" + number.to_bytes(6))
        card = self.bench.issue(chip)
        self.site.database.run(lambda session: taps.put_money(session, card.account_id, principal_fen=principal_fen))
        chip.apdus.clear()
        return chip, card

    def put(self, chip: EmulatedChip) -> LyingCard:
        return LyingCard(chip, port=self.pcscd.port)

    def tap(self, chip: EmulatedChip, state: State, *, code: str | None = None) -> None:
        """Hold a card to the reader until a state shows, then take it away."""
        card = self.put(chip)
        try:
            self.terminal.wait_for(state, code=code)
        finally:
            card.take_away()
        # What bounces is no tap.
        time.sleep(QUICK.debounce_ms / 1000)

    def pass_by(self, duration: timedelta) -> None:
        """Let time pass for the terminal and for the server; for the server first, who must not hear of a future."""
        taps.advance(duration)
        # Between two looks of the terminal, which would else see its two clocks part.
        self.terminal.do(lambda _terminal: self.clock.pass_by(duration // timedelta(milliseconds=1)))

    def start(self, chip: EmulatedChip) -> None:
        """Start at the beginning of a minute, for seconds are dropped: then a price is no matter of luck."""
        self.pass_by(timedelta(minutes=1) - timedelta(seconds=clock.now().second))
        self.tap(chip, State.ACTIVE)

    def use(self, chip: EmulatedChip, *, minutes: int) -> None:
        """Start, and end after so many minutes."""
        self.start(chip)
        self.pass_by(timedelta(minutes=minutes))
        self.end(chip)

    def end(self, chip: EmulatedChip) -> None:
        """End, and have the receipt read."""
        self.tap(chip, State.ENDING)
        self.terminal.wait_for(State.RECEIPT)
        self.terminal.do(lambda each: each.back())

    def get_offline_list(self) -> None:
        """Switch offline use on at this instrument, and wait until its terminal has the list."""
        site, at = self.site, clock.now()
        site.database.run(
            lambda session: switching.switch(
                session, instrument_id=self.instrument_id, enabled=True, strict=True, actor="admin", at=at
            )
        )
        self.get_newer_list()

    def get_newer_list(self) -> None:
        """Have the list made that is due, and wait until the terminal has it."""
        before = self.terminal.offline.version
        assert making.prepare_due(self.site.database, settings=self.site.settings, at=clock.now(), limit=10) > 0
        self.terminal.delivery.say_hello(reader=ReaderState.OK)
        wait_until(lambda: self.terminal.offline.version > before, what="the list")
        self.terminal.delivery.say_hello(reader=ReaderState.OK)

    def sessions(self) -> list[CardSession]:
        with self.site.database.reader() as session:
            return list(session.query(CardSession).order_by(CardSession.authorized_at))

    def money(self, card: Card) -> cards.AccountBalances:
        with self.site.database.reader() as session:
            return cards.account_balances(session, [card.account_id])[card.account_id]

    def wait_for_all(self, *statuses: SessionStatus) -> None:
        """Wait until the server has heard everything, and see what it made of the sessions, the oldest first."""
        # It would do so by itself, but it is patient with a server that was away.
        wait_until(self.terminal.delivery.deliver, what="all is told")
        found = [row.status for row in self.sessions()]
        assert found == list(statuses), found

    def assert_charged(self, card: Card, *amounts_fen: int, of_fen: int = 5_000_00) -> None:
        """See that these sessions were charged, that the units and the center got it, and that nothing else is held."""
        found_fen = [row.amount_fen for row in self.sessions() if row.amount_fen]
        assert found_fen == list(amounts_fen), found_fen
        money, charged_fen = self.money(card), sum(amounts_fen)
        assert (money.principal_fen, money.subsidy_fen, money.debt_fen) == (of_fen - charged_fen, 0, 0), money
        takers = [
            Book(BookRole.UNIT_PAYABLE, self.site.unit_id).id,
            Book(BookRole.SERVICE_FEE).id,
            Book(BookRole.VAT).id,
        ]
        with self.site.database.reader() as session:
            reserved_fen = session.scalar(select(func.coalesce(func.sum(OfflineReserve.held_fen), 0)))
            # A book that nothing has ever come to is not there yet.
            earned = ledger.balances(session, takers).values()
            earned_fen = sum(balance.credit_balance_fen for balance in earned)
        assert (money.held_fen, earned_fen) == (reserved_fen, charged_fen), (money, earned)
