"""A region in small on the real server: instruments with real terminal programs, people with cards, staff, a worker."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import select

from app import clock, web
from app.cards.models import Card, CardClass
from app.db import Database
from app.devices import service as devices
from app.people.models import Role
from app.people.principals import Grant, Principal
from app.sessions import ending
from app.sessions.models import OPEN_STATUSES, CardSession
from app.settings import Settings
from card_terminal.protocol import DeviceStatus, EnrolAnswer, Ev2Card, ReaderState, encode_public_key
from card_terminal.readers import Reading
from card_terminal.readers.ntag424 import EmulatedChip, Tear
from tests.app import taps
from tests.app.cards.bench import Bench, blank_chip, new_bench
from tests.app.taps import CardInHand, Site, Tap
from tests.card_terminal.disturbance import FaultyWire, RegionTime, ServerDeath
from tests.card_terminal.honest_server import TurnedClock
from tests.card_terminal.world import Killed, Station

# A Monday in Chongqing, some seconds into a minute, half an hour before prices change.
BEGIN = datetime(2026, 11, 2, 9, 30, 17, 400_000, tzinfo=UTC)
WRONG_PIN = "271828"
BASIS_POINTS = {"service_fee_basis_points": 500, "vat_basis_points": 600}

# None by the minute: a terminal is told every step of its price, and that takes longer than all else.
RULES: tuple[dict[str, Any], ...] = (
    {"per_hour": {"price_fen": 30_00, "increment_min": 15}},
    {"per_hour": {"price_fen": 120_00, "increment_min": 6, "minimum_min": 12}, "start_up_fen": 5_00},
    {
        "per_hour": {"price_fen": 60_00, "increment_min": 30},
        "windows": [{"from": "18:00", "to": "08:00", "percent": 50}],
    },
)


@dataclass(frozen=True, kw_only=True)
class Purse:
    """What a customer begins with; `shares` names the card whose account it is instead."""

    principal_fen: int = 0
    subsidy_fen: int = 0
    card_class: CardClass = CardClass.SUN
    shares: int | None = None


PURSES = (
    Purse(principal_fen=2_000_00, subsidy_fen=60_00),
    Purse(principal_fen=5_000_00),
    Purse(shares=1),
    Purse(principal_fen=50_00, subsidy_fen=12_34, card_class=CardClass.TYPED),
    Purse(principal_fen=23_45),
    Purse(principal_fen=900_00, subsidy_fen=45_67, card_class=CardClass.EV2),
)

_cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_number = itertools.count(1)


@dataclass
class _Admission:
    """Stands in the place of the enrolment that the server has already taken."""

    answer: EnrolAnswer
    devices: dict[str, Any] = field(default_factory=dict)

    def enrol_answer(self) -> EnrolAnswer:
        return self.answer


class Place:
    """One instrument with its terminal: a real program over its own disk, clocks and wire; it can be dead."""

    def __init__(self, folder: Path, *, tap: Tap, admission: Any, wire: FaultyWire, clock_: TurnedClock) -> None:
        folder.mkdir()
        (folder / "terminal.key").write_bytes(tap.key.private_bytes_raw())
        self.terminal_id, self.instrument_id = tap.terminal_id, tap.instrument_id
        self.wire, self.clock, self.is_alive = wire, clock_, True
        self.boots = itertools.count(2)
        faulty: Any = wire
        self.station = Station(folder, server=admission, wire=faulty, clock=clock_)
        wire.meanwhile = self._meanwhile

    def do(self, action: Callable[[Station], None]) -> None:
        """Have the program do something; it may die of it."""
        if not self.is_alive:
            return
        try:
            action(self.station)
        except Killed:
            self.die()

    def die(self) -> None:
        self.is_alive = False
        self.wire.before = lambda _place: None
        if self.station.store is not None:
            self.station.store.close()

    def start_again(self) -> None:
        """Do what systemd does; it may die of it again."""
        self.is_alive = True
        try:
            self.station.restart()
        except Killed:
            self.die()

    def reboot(self) -> None:
        """Start the machine anew: its even clock begins anew too."""
        if self.is_alive:
            self.die()
        self.clock.boot_key, self.clock.mono = f"boot {next(self.boots)}", 7_000
        self.start_again()

    def _meanwhile(self) -> None:
        self.station.delivery.deliver()
        self.station.delivery.say_hello(reader=ReaderState.OK)


@dataclass(kw_only=True)
class Region:
    """Everything that one run happens in; two regions of one shape know nothing of each other."""

    site: Site
    time: RegionTime
    places: list[Place]
    hands: list[CardInHand]
    chips: dict[int, EmulatedChip]
    """Of cards that prove themselves, by the place of their card in `hands`."""
    death: ServerDeath

    def pass_time(self, duration_ms: int, *, step_ms: int) -> None:
        """Let time pass everywhere; living terminals tend to themselves."""
        left_ms = duration_ms
        while left_ms > 0:
            self.time.turn(min(step_ms, left_ms))
            left_ms -= step_ms
            for place in self.places:
                place.do(lambda station: station.terminal.tick())

    def tap(
        self, place: Place, card: int, *, pin: str | None = None, minutes: int | None = None, torn: int | None = None
    ) -> None:
        """Hold a card to a terminal; a chip that proves itself may be taken away at one of its messages."""
        reading, chip = self._reading(card), self.chips.get(card)
        if chip is not None and torn is not None:
            chip.tear(torn, Tear.BEFORE)
        place.do(lambda station: station.terminal.tap(replace(reading, pin=pin, minutes=minutes)))
        if chip is not None:
            chip.leave_field()

    def _reading(self, card: int) -> Reading:
        hand, chip = self.hands[card], self.chips.get(card)
        if chip is not None:
            uid = chip.uid.hex().upper()
            return Reading(card=Ev2Card(uid=uid, atr=chip.atr.hex().upper()), identity=uid, chip=chip)
        return Reading(card=hand.show(), identity=hand.chip.uid if hand.chip is not None else hand.number)

    def open_session(self, place: Place) -> CardSession | None:
        """What the server believes to run at an instrument."""
        with self.site.database.reader() as session:
            return session.scalar(
                select(CardSession).where(
                    CardSession.instrument_id == place.instrument_id, CardSession.status.in_(OPEN_STATUSES)
                )
            )

    def close_by_staff(self, session_id: UUID) -> int | None:
        """Close as the group's page does, and give what the page said that this would charge; None if it failed."""
        operator = Principal(
            person_id=0,
            username="operator",
            name="operator",
            organisation_id=None,
            grants=(Grant(role=Role.GROUP_OPERATOR, group_id=self.site.group_id),),
        )
        at = clock.now()
        with self.site.database.reader() as session:
            said_fen = ending.closing(session, session_id=session_id, closer=operator, at=at).charged_fen
        with self.death.strikes():
            self.site.database.run(
                lambda session: ending.close_forgotten(session, session_id=session_id, closer=operator, at=at)
            )
            return said_fen
        return None

    def let_the_worker_run(self) -> None:
        """Do what the worker's job for forgotten sessions does."""
        at = clock.now()
        with self.death.strikes():
            while self.site.database.run(lambda session: ending.end_forgotten(session, at=at, limit=50)):
                pass


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What regions are built on: one server and one database for all of them."""

    app: Flask
    database: Database
    settings: Settings
    folder: Path
    death: ServerDeath
    bench: Bench
    """The station at which chips become cards."""

    @classmethod
    def over(cls, app: Flask, *, database: Database, settings: Settings, folder: Path) -> "Ground":
        with app.app_context():
            engines = (web.database().engine, database.engine)
        bench = new_bench(database, app.test_client(use_cookies=False))
        bench.settings = settings
        return cls(
            app=app, database=database, settings=settings, folder=folder, death=ServerDeath(engines), bench=bench
        )

    def new_region(self, *, purses: Sequence[Purse] = PURSES) -> Region:
        time = RegionTime(BEGIN)
        client = self.app.test_client(use_cookies=False)
        site = taps.new_site(self.database, self.settings, client, **BASIS_POINTS)
        region = Region(site=site, time=time, places=[], hands=[], chips={}, death=self.death)
        region.places.extend(self._place(site, rules, time=time) for rules in RULES)
        for number, purse in enumerate(purses):
            if purse.card_class is CardClass.EV2:
                region.chips[number] = blank_chip(next(_number))
                hand = self._make_chip_card(region.chips[number], purse)
            else:
                hand = self._make_card(region, purse)
            # The hash says itself how dear it is to check.
            site.change(Card, hand.id, pin_hash=_cheap.hash(taps.PIN))
            region.hands.append(hand)
        return region

    def _make_card(self, region: Region, purse: Purse) -> CardInHand:
        return region.site.card(
            principal_fen=purse.principal_fen,
            subsidy_fen=purse.subsidy_fen,
            secure=purse.card_class is CardClass.SUN,
            account_id=None if purse.shares is None else region.hands[purse.shares].account_id,
        )

    def _make_chip_card(self, chip: EmulatedChip, purse: Purse) -> CardInHand:
        card = self.bench.issue(chip)
        with self.database.transaction() as session:
            taps.put_money(session, card.account_id, principal_fen=purse.principal_fen, subsidy_fen=purse.subsidy_fen)
        return CardInHand(id=card.id, account_id=card.account_id, number=card.face_number)

    def _place(self, site: Site, rules: dict[str, Any], *, time: RegionTime) -> Place:
        tap = site.terminal(rules=rules)
        turned = TurnedClock(wall=time.epoch_ms)
        time.clocks.append(turned)
        return Place(
            self.folder / f"terminal-{next(_number)}",
            tap=tap,
            admission=_Admission(self._enrol_answer(tap)),
            wire=FaultyWire(site.client, time=time, death=self.death),
            clock_=turned,
        )

    def _enrol_answer(self, tap: Tap) -> EnrolAnswer:
        signer = self.database.run(
            lambda session: devices.server_signer(
                session, key_encryption_key=self.settings.key_encryption_key, at=clock.now()
            )
        )
        return EnrolAnswer(
            device_id=str(tap.terminal_id),
            server_key_id=signer.key_id,
            server_public_key=encode_public_key(signer.private_key.public_key()),
            status=DeviceStatus.ACTIVE,
            server_time=taps.now_ms(),
        )
