"""Simulated people with cards: most tap in and out as they should; some forget, some pay for nothing, some do not pay.

They do what people do and no more: they hold a card to a terminal (its loopback page, as a finger would) and ask the
counter for a top-up over the JSON API when the card is empty. Who does what follows from the run's time alone, so a
restarted process goes on with the same visit.
"""

import json
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import requests
import structlog

from app import clock
from app.demo.boxes import programme_of
from app.demo.client import Api, ApiError, top_up_at_counter

LOOK_AHEAD = timedelta(hours=12)
TIMEOUT_S = 30
TOP_UP_FEN = 2_000_00
EMPTY = frozenset({"INSUFFICIENT_FUNDS"})
TAPS = 3

log = structlog.get_logger(__name__)


class Conduct(StrEnum):
    """How a visitor behaves; the weights make every verdict appear within an hour of looking."""

    HONEST = "honest"
    FORGETS = "forgets"
    PAYS_FOR_NOTHING = "pays_for_nothing"
    DOES_NOT_PAY = "does_not_pay"


WEIGHTS = {Conduct.HONEST: 76, Conduct.FORGETS: 8, Conduct.PAYS_FOR_NOTHING: 8, Conduct.DOES_NOT_PAY: 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One card at one terminal: the two moments it is held to the reader."""

    card: str
    pin: str
    starts_at: datetime
    ends_at: datetime


def run(plan: Mapping[str, Any], *, anchor: clock.Anchor, stop: threading.Event) -> None:
    """Visit all terminals of the plan until `stop` is set."""
    _ = anchor
    threads = [
        threading.Thread(target=Visitor(terminal, plan=plan, stop=stop).run, name=terminal["code"], daemon=True)
        for terminal in plan["terminals"]
    ]
    for thread in threads:
        thread.start()
    stop.wait()


class Visitor:
    """Whoever comes to one terminal, one after the other."""

    def __init__(self, terminal: Mapping[str, Any], *, plan: Mapping[str, Any], stop: threading.Event) -> None:
        self._terminal = terminal
        self._plan = plan
        self._stop = stop
        boxes = {box["code"]: box for box in plan["boxes"]}
        self._programme = programme_of(boxes[terminal["visits_follow"]])
        self._memory = Path(plan["visitors_folder"]) / f"{terminal['code']}.json"
        self._memory.parent.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Make visits until told to stop; whatever one visit meets, the next one comes."""
        self._finish_interrupted()
        while not self._stop.is_set():
            for visit in self.visits(clock.now(), clock.now() + LOOK_AHEAD):
                if not self._make(visit):
                    break

    def visits(self, start: datetime, end: datetime) -> Iterator[Visit]:
        """Give the visits of a period: for every true run of the instrument what somebody makes of it."""
        for run_start, run_end in self._programme.runs(start, end):
            visit = self._visit(run_start, run_end)
            if visit is not None and visit.starts_at >= start:
                yield visit

    def _visit(self, run_start: datetime, run_end: datetime) -> Visit | None:
        chance = random.Random(f"{self._terminal['code']} {run_start.isoformat()}")  # noqa: S311 - play, not secrets
        conduct = chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
        card = chance.choice(self._terminal["cards"])
        if conduct is Conduct.DOES_NOT_PAY:
            return None
        starts_at = run_start - timedelta(seconds=chance.randint(60, 180))
        ends_at = run_end + timedelta(seconds=chance.randint(60, 180))
        if conduct is Conduct.FORGETS:
            ends_at = run_end + timedelta(minutes=chance.randint(30, 40))
        if conduct is Conduct.PAYS_FOR_NOTHING:
            # Far enough from this run and from the one before that nobody could mistake it for either.
            starts_at, ends_at = run_start - timedelta(minutes=19), run_start - timedelta(minutes=12)
        return Visit(card=card["name"], pin=card["pin"], starts_at=starts_at, ends_at=ends_at)

    def _make(self, visit: Visit) -> bool:
        """Wait, tap, wait, tap; a visit that is over already is left out. Say whether to look at the next one."""
        if visit.ends_at <= clock.now():
            return True
        if not self._wait_until(visit.starts_at):
            return False
        if not self._tap_in(visit):
            return True
        self._memory.write_text(json.dumps({"card": visit.card, "pin": visit.pin}), encoding="utf-8")
        self._wait_until(visit.ends_at)
        self._tap_out(visit.card, visit.pin)
        return not self._stop.is_set()

    def _tap_in(self, visit: Visit) -> bool:
        minutes = int((visit.ends_at - visit.starts_at) / timedelta(minutes=1)) + 30
        for _ in range(TAPS):
            view = self._tap(visit.card, pin=visit.pin, minutes=minutes)
            if view.get("state") == "active":
                return True
            refusal = (view.get("refusal") or {}).get("code")
            log.info("tap_refused", terminal=self._terminal["code"], card=visit.card, refusal=refusal)
            if refusal in EMPTY and not self._top_up(visit.card):
                return False
            self._stop.wait(1.0)
        return False

    def _tap_out(self, card: str, pin: str) -> None:
        while not self._stop.is_set():
            view = self._tap(card, pin=pin)
            if view.get("state") not in {"active", None}:
                self._memory.unlink(missing_ok=True)
                return
            self._stop.wait(1.0)

    def _finish_interrupted(self) -> None:
        """Tap out the card that was left in a running session when the demonstration was stopped."""
        if not self._memory.exists():
            return
        left = json.loads(self._memory.read_text(encoding="utf-8"))
        state = None
        while not self._stop.wait(1.0) and state is None:
            state = self._state()
        if state == "active":
            self._tap_out(left["card"], left["pin"])
        self._memory.unlink(missing_ok=True)

    def _tap(self, card: str, *, pin: str, minutes: int | None = None) -> dict[str, Any]:
        body = {"card": card, "pin": pin, **({"minutes": minutes} if minutes else {})}
        return self._ask("POST", "/tap", body)

    def _state(self) -> str | None:
        state = self._ask("GET", "/state").get("state")
        return None if state in {None, "enrolling"} else str(state)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = requests.request(method, f"{self._terminal['kiosk']}{path}", json=body, timeout=TIMEOUT_S)
            found: dict[str, Any] = answer.json()
        except requests.RequestException:
            return {}
        return found

    def _top_up(self, card: str) -> bool:
        """Bring money to the counter: one person enters it, another approves it."""
        accounts = {each["name"]: each["account_id"] for each in self._plan["cards"]}
        clerk, approver = (
            Api(self._plan["service"], username=each["username"], password=each["password"])
            for each in self._plan["counter"]
        )
        try:
            with clerk, approver:
                top_up_at_counter(clerk, approver, account_id=accounts[card], amount_fen=TOP_UP_FEN)
        except (ApiError, requests.RequestException) as error:
            log.warning("top_up_failed", card=card, why=str(error)[:200])
            return False
        return True

    def _wait_until(self, moment: datetime) -> bool:
        while not self._stop.is_set():
            left_s = (moment - clock.now()).total_seconds()
            if left_s <= 0:
                return True
            self._stop.wait(min(0.2, left_s))
        return False
