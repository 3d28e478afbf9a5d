"""Terminals and server through thousands of disturbed steps: the ledger of the undisturbed run comes out.

Real terminal programs with their SQLite journals speak to the real server over PostgreSQL. Hypothesis mixes what
people, staff and time do with what goes wrong: processes killed around any transaction and message, machines started
anew, messages lost, doubled, late and out of order, answers lost, a server that is away or dies between two statements,
wall clocks that jump. In the end all is quiet, and the same people make the same visits in a second region where
nothing ever goes wrong.

*The same visits* are those that people saw begin on a screen, written down in a notebook as it happened, and not what
the server believes. What a screen refused, or called "not charged", is no visit. A visit begins when the money was held
(as its statement says) and lasts as long as the receipt says; the notebook asserts that this is the time from the
screen that said "started" to the tap, and no more than that if a machine was started anew in between. A session that
staff closed is closed by them at the same moment, and one that nobody ended within two hours of its paid time is given
up by the worker at the same moment; staff who closed a session that the server had not heard start were told that it
would cost nothing, so that is no visit either.

Every bill (who, where, how long, how much from which purse, which accounts it moved) and every balance of both regions
must be equal, to the fen. `ledger_watch` looks after every step.
"""

import itertools
import logging
import os
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import hypothesis
import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import ledger
from app.db import Database
from app.settings import Settings
from card_terminal.client import TRIES
from tests.app import taps
from tests.app.conftest import app_, equipped_app, settings
from tests.card_terminal import ledger_watch
from tests.card_terminal.disturbance import DeathAt, Fault
from tests.card_terminal.notebook import Notebook
from tests.card_terminal.region import PURSES, RULES, WRONG_PIN, Ground, Place, Region
from tests.card_terminal.undisturbed import Books, books_of, live, visits_of
from tests.card_terminal.world import Station

__all__ = ["app_", "equipped_app", "settings"]

MINUTE_MS = 60_000
# With all the other tests a taste of it; `make disturbed` goes the whole way of ten thousand.
STEPS = int(os.environ.get("DISTURBED_STEPS") or (1_000 if os.environ.get("REQUIRE_ALL") == "1" else 200))
# A region lives through so many steps; then the next one begins.
STEPS_OF_A_REGION = max(20, min(250, STEPS // 4))
WRONG_PINS_MAX = 3
OLD_MESSAGES_AGAIN = 25

PLACES = st.integers(0, len(RULES) - 1)
CARDS = st.integers(0, len(PURSES) - 1)
PINS = st.sampled_from([taps.PIN] * 5 + [WRONG_PIN, None])
MINUTES = st.sampled_from([5, 12, 30, 60])
HOUR_MS = 60 * MINUTE_MS
JUMPS_MS = [-3 * HOUR_MS, -70_000, -1_500, 3_000, 80_000, 3 * HOUR_MS]
PLACE = {"place": PLACES}
# At which of its messages a chip is taken away.
TORN = st.none() | st.integers(0, 5)
# What goes wrong between a tap and what follows from it: each try in the same way, or a death some steps later.
DEADLY = ["before session/authorize is sent", "after session/authorize was done", "after events was done"]
MISHAPS = st.none() | st.none() | st.sampled_from(Fault) | st.sampled_from(DEADLY) | st.integers(0, 12)

# What may happen, how often of a hundred, and the rest of the sentence.
DEEDS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "moments": (8, {"seconds": st.integers(1, 15)}),
    "start": (16, PLACE | {"card": CARDS, "minutes": MINUTES, "mishap": MISHAPS}),
    "end": (12, PLACE | {"waits": st.booleans(), "mishap": MISHAPS}),
    "tap": (5, PLACE | {"card": CARDS, "pin": PINS, "minutes": MINUTES | st.none(), "torn": TORN}),
    "type_pin": (2, PLACE | {"pin": PINS}),
    "confirm": (3, PLACE),
    "change_her_mind": (1, PLACE),
    "work": (10, {"minutes": st.integers(1, 40), "seconds": st.integers(0, 59)}),
    "go_home": (1, {"hours": st.integers(1, 2)}),
    "keep_in_touch": (4, PLACE),
    "worker": (3, {}),
    "staff_close": (1, PLACE),
    "disturb": (10, PLACE | {"faults": st.lists(st.sampled_from(Fault), min_size=1, max_size=3)}),
    "cut_the_cable": (2, PLACE | {"minutes": st.integers(1, 200)}),
    "server_goes": (1, {"minutes": st.integers(1, 30)}),
    "server_will_die": (4, {"statement": st.integers(0, 60)}),
    "old_message_arrives": (5, PLACE | {"number": st.integers(0, 10_000)}),
    "program_will_die": (7, PLACE | {"step": st.integers(0, 25)}),
    "program_starts_again": (1, PLACE),
    "machine_starts_again": (3, PLACE | {"off_s": st.sampled_from([0, 20, 20, 90, 90, 600, 600, 3 * 3600])}),
    "wall_jumps": (1, PLACE | {"jump_ms": st.sampled_from(JUMPS_MS)}),
}


@st.composite
def deeds(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """One thing that happens; in one strategy, because Hypothesis leaves whole rules out of a run."""
    name = draw(st.sampled_from([name for name, (weight, _values) in DEEDS.items() for _ in range(weight)]))
    return name, draw(st.fixed_dictionaries(DEEDS[name][1]))


class DisturbedRun(RuleBasedStateMachine):
    """One region from its first tap to the evening."""

    ground: ClassVar[Ground]
    seen: ClassVar[Counter[str]] = Counter()

    region: Region
    notebook: Notebook

    @initialize()
    def open(self) -> None:
        self.region = self.ground.new_region()
        self.notebook = Notebook(self.region)
        self.auto_ended_at: dict[UUID, datetime] = {}
        self.wrong_pins: Counter[int] = Counter()
        self.dark: set[int] = set()
        """Machines without power; everywhere else a dead program is started anew within seconds."""
        self.done: Counter[str] = Counter()
        self.posts_looked_at = -1

    def teardown(self) -> None:
        if hasattr(self, "notebook"):
            self.be_quiet()
            self.compare()

    @rule(deed=deeds())
    def happens(self, deed: tuple[str, dict[str, Any]]) -> None:
        name, values = deed
        getattr(self, name)(**values)
        self.done.update(("steps", name))
        self.notebook.look()
        self._look()

    # People

    def tap(self, place: int, card: int, *, pin: str | None, minutes: int | None, torn: int | None) -> None:
        at = self.region.places[place]
        if at.is_alive and self._may_try(card, pin):
            self.notebook.note_tap(place, card)
            self.region.tap(at, card, pin=pin, minutes=minutes, torn=torn)

    def start(self, place: int, card: int, minutes: int, mishap: Fault | int | str | None) -> None:
        """The whole beginning as most people do it: a tap, and patience."""
        at = self.region.places[place]
        if at.is_alive and self._may_try(card, taps.PIN):
            self.notebook.note_tap(place, card)
            self.region.tap(at, card, pin=taps.PIN, minutes=minutes)
            self._goes_wrong(at, mishap)
        self._pass(4_000, step_ms=1_000)

    def type_pin(self, place: int, pin: str | None) -> None:
        card = self.notebook.last_card.get(place)
        if pin is not None and card is not None and self._may_try(card, pin):
            self.region.places[place].do(lambda station: station.terminal.enter_pin(pin))

    def confirm(self, place: int) -> None:
        self.region.places[place].do(lambda station: station.terminal.confirm())

    def change_her_mind(self, place: int) -> None:
        self.region.places[place].do(lambda station: station.terminal.back())

    def end(self, place: int, mishap: Fault | int | str | None, *, waits: bool) -> None:
        """Whose session it is taps again."""
        stay = self.notebook.at_place.get(place)
        if stay is not None and self.region.places[place].is_alive:
            self.region.tap(self.region.places[place], stay.card)
            self.notebook.look()
            self._goes_wrong(self.region.places[place], mishap)
            if waits:
                self._pass(4_000, step_ms=1_000)

    # Time

    def moments(self, seconds: int) -> None:
        self._pass(seconds * 1_000, step_ms=1_000)

    def work(self, minutes: int, seconds: int) -> None:
        self._pass(minutes * MINUTE_MS + seconds * 1_000, step_ms=20_000)

    def go_home(self, hours: int) -> None:
        self._pass(hours * 60 * MINUTE_MS, step_ms=3 * MINUTE_MS)

    # Programs

    def keep_in_touch(self, place: int) -> None:
        self.region.places[place].do(lambda station: station.keep_in_touch())

    def worker(self) -> None:
        self._let_the_worker_run()

    def staff_close(self, place: int) -> None:
        open_session = self.region.open_session(self.region.places[place])
        said_fen = None if open_session is None else self.region.close_by_staff(open_session.id)
        if open_session is not None and said_fen is not None:
            self.notebook.closed_by_staff[open_session.id] = said_fen
            self.notebook.closed_at[open_session.id] = self.region.time.moment

    # What goes wrong

    def disturb(self, place: int, faults: list[Fault]) -> None:
        self.region.places[place].wire.faults.extend(faults)

    def cut_the_cable(self, place: int, minutes: int) -> None:
        wire = self.region.places[place].wire
        wire.down_until = self.region.time.moment + timedelta(minutes=minutes)

    def server_goes(self, minutes: int) -> None:
        for place in range(len(self.region.places)):
            self.cut_the_cable(place, minutes)

    def server_will_die(self, statement: int) -> None:
        self.region.death.arm(statement)

    def old_message_arrives(self, place: int, number: int) -> None:
        self.region.places[place].wire.deliver_wandering(number)

    def program_will_die(self, place: int, step: int) -> None:
        if self.region.places[place].is_alive:
            self.region.places[place].wire.before = DeathAt(step)

    def program_starts_again(self, place: int) -> None:
        if self.region.places[place].is_alive:
            self.region.places[place].die()
        self.region.places[place].start_again()

    def machine_starts_again(self, place: int, off_s: int) -> None:
        if self.region.places[place].is_alive:
            self.region.places[place].die()
        self.dark.add(place)
        self._pass(off_s * 1_000, step_ms=max(20_000, off_s * 1_000 // 60))
        self.dark.discard(place)
        self.notebook.note_reboot(place)
        self.region.places[place].reboot()

    def wall_jumps(self, place: int, jump_ms: int) -> None:
        self.region.places[place].clock.wall += jump_ms

    # In the evening

    def be_quiet(self) -> None:
        """Mend everything, let everybody end what she began, and let everything be told."""
        region = self.region
        region.death.arm(None)
        for place in region.places:
            place.wire.before, place.wire.down_until = lambda _place: None, region.time.moment
            place.wire.faults.clear()
            for name, body in place.wire.wandering:
                place.wire.deliver(name, body)
            if not place.is_alive:
                place.start_again()
        for _ in range(3):
            for number in range(len(region.places)):
                self._go_home_at_last(number)
        self._let_the_worker_run()
        for place in region.places:
            assert place.station.journal.unsent_count() == 0, "an event that is never acknowledged"
            assert region.open_session(place) is None, "something is held for nobody"
        self._look(force=True)

    def _go_home_at_last(self, number: int) -> None:
        place = self.region.places[number]
        place.do(lambda station: station.keep_in_touch())
        self._pass(20_000, step_ms=4_000)
        stay = self.notebook.at_place.get(number)
        if stay is not None:
            self.region.tap(place, stay.card)
            self.notebook.look()
            self._pass(5_000, step_ms=1_000)

    def compare(self) -> None:
        """Live through the same visits undisturbed, and compare all bills and balances."""
        others = {*self.notebook.closed_by_staff, *self.auto_ended_at}
        for place in self.region.places:
            ledger_watch.check_chain(place, self.region, closed_by_others=others)
        visits = visits_of(self.notebook, auto_ended_at=self.auto_ended_at)
        books = books_of(self.region)
        for place in self.region.places:
            for name, body in place.wire.sent[-OLD_MESSAGES_AGAIN:]:
                place.wire.deliver(name, body)
        assert books_of(self.region) == books, "old messages changed the books"
        undisturbed = self.ground.new_region()
        live(undisturbed, visits)
        _assert_equal(books, books_of(undisturbed))
        if visits:
            self.seen.update(self.done)
            self.seen.update(["regions", *(f"visits ended {visit.how.name}" for visit in visits)])
        self.seen["server deaths"] = self.region.death.deaths
        for region in (self.region, undisturbed):
            for place in region.places:
                place.die()

    # Parts

    def _goes_wrong(self, place: Place, mishap: Fault | int | str | None) -> None:
        if isinstance(mishap, Fault):
            place.wire.faults[:0] = [mishap] * TRIES
        elif mishap is not None and place.is_alive:
            place.wire.before = DeathAt(mishap)

    def _may_try(self, card: int, pin: str | None) -> bool:
        """Nobody types a wrong PIN so often that the card is locked: that is another story."""
        if pin == WRONG_PIN:
            self.wrong_pins[card] += 1
        return pin != WRONG_PIN or self.wrong_pins[card] <= WRONG_PINS_MAX

    def _pass(self, duration_ms: int, *, step_ms: int) -> None:
        left_ms = duration_ms
        while left_ms > 0:
            self.region.pass_time(min(step_ms, left_ms), step_ms=step_ms)
            left_ms -= step_ms
            self.notebook.look()
            for number, place in enumerate(self.region.places):
                if not place.is_alive and number not in self.dark:
                    place.start_again()
        for place in self.region.places:
            place.do(_deliver)
        self.notebook.look()

    def _let_the_worker_run(self) -> None:
        before = ledger_watch.look(self.region).sessions
        self.region.let_the_worker_run()
        after = ledger_watch.look(self.region).sessions
        for id_, each in after.items():
            if each.status == "auto_ended" and before[id_].status != "auto_ended":
                self.auto_ended_at[id_] = self.region.time.moment

    def _look(self, *, force: bool = False) -> None:
        posts = sum(place.wire.posts for place in self.region.places)
        if posts != self.posts_looked_at or force:
            self.posts_looked_at = posts
            found = ledger_watch.look(self.region)
            for place in self.region.places:
                self._check(place, found)

    def _check(self, place: Place, found: ledger_watch.Ledger) -> None:
        if place.is_alive:
            place.do(lambda _station: ledger_watch.check_terminal(place, found))


def _deliver(station: Station) -> None:
    station.delivery.deliver()


def _assert_equal(disturbed: Books, undisturbed: Books) -> None:
    for one, other in itertools.zip_longest(disturbed.bills, undisturbed.bills):
        assert one == other
    assert disturbed == undisturbed


@pytest.fixture
def ground(app_: Flask, database: Database, settings: Settings, tmp_path: Path) -> Ground:
    return Ground.over(app_, database=database, settings=settings, folder=tmp_path)


@pytest.mark.timeout(3_600)
def test_thousands_of_disturbed_steps_end_with_the_ledger_of_the_undisturbed_run(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DisturbedRun, "ground", ground, raising=False)
    monkeypatch.setattr(DisturbedRun, "seen", Counter())
    # Each of many thousand requests writes a line, and pytest would keep them all.
    monkeypatch.setattr(logging.root.manager, "disable", logging.WARNING)
    run_state_machine_as_test(
        DisturbedRun,
        settings=hypothesis.settings(
            # The first few that Hypothesis draws are nearly empty, and do not count.
            max_examples=4 + STEPS * 11 // 10 // (STEPS_OF_A_REGION - 1),
            stateful_step_count=STEPS_OF_A_REGION,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            deadline=None,
            database=None,
        ),
    )
    with ground.database.transaction() as session:
        assert ledger.audit(session) == []
    with capsys.disabled():
        print(dict(DisturbedRun.seen))  # noqa: T201 - what has been tried belongs to the result
    assert DisturbedRun.seen["steps"] >= STEPS
