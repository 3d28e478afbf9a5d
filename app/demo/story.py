"""The main job once, headless, over HTTP, with a real trace: top up, tap, the box watches, tap, verdict, subsidy.

Beside it somebody pays for an instrument that nobody uses, and gets the money back without asking.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import requests

from app import clock, sealing
from app.db import Database
from app.demo import boxes, seed
from app.demo.client import TIMEOUT_S, Api, ApiError
from app.demo.run import Demonstration
from app.logs import configure as configure_logs
from app.money import yuan
from app.supervisor import StartError

CUSTOMER, CARD, MANAGER = "cardholder", "cardholder", "manager"
INSTRUMENT = "CQ0002"
# Of another customer at another sub-center, whose instrument rests all the while.
IDLE_CUSTOMER, IDLE_CARD, IDLE_INSTRUMENT = "wang.fang", "wang-fang", "CQ0019"
# Two hours of the washer trace in which nothing runs.
IDLE_TRACE, IDLE = "washer", (1337581000, 1337588200)
TOP_UP_FEN = 300_00
# A run of the projector trace of 8 min 46 s, played from four minutes before it.
RUN = (1326667082, 1326667608)
BEFORE_S, AFTER_S = 240, 7_200
TAP_IN, TAP_OUT = timedelta(seconds=BEFORE_S - 120), timedelta(seconds=BEFORE_S + RUN[1] - RUN[0] + 90)
SUBSIDY_PERCENT = 30
PORT = 8200
PATIENCE_S = 60.0
POLL_S = 0.2


class StoryError(Exception):
    """Something did not come out as it must; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened, in words and in numbers."""

    name: str
    text: str
    values: dict[str, Any]


@dataclass(slots=True)
class Told:
    """What has happened so far; each step is handed to `listener` as soon as it is over."""

    listener: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)

    def tell(self, name: str, text: str, **values: Any) -> None:
        """Add a step."""
        step = Step(name=name, text=text, values=values)
        self.steps.append(step)
        self.listener(step)


def run(*, as_json: bool, speed: float) -> int:
    """Tell the story; give the exit status, 0 only if all of it held."""
    configure_logs("text", level=logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="testcard-try-"))
    told = Told(listener=(lambda _step: None) if as_json else _print_step)
    started_s = time.monotonic()
    mistake = ""
    try:
        tell(folder, told, speed=speed)
    except (StoryError, StartError, ApiError, requests.RequestException) as error:
        mistake = f"{error} (data and logs are kept in {folder})"
    else:
        shutil.rmtree(folder, ignore_errors=True)
    held = not mistake
    if as_json:
        steps = [{"step": step.name, "text": step.text, **step.values} for step in told.steps]
        seconds = round(time.monotonic() - started_s, 1)
        click.echo(
            json.dumps({"held": held, "mistake": mistake, "seconds": seconds, "steps": steps}, ensure_ascii=False)
        )
    elif mistake:
        click.echo(f"  It did not hold: {mistake}", err=True)
    return 0 if held else 1


def tell(folder: Path, told: Told, *, speed: float) -> None:
    """Play the main job on a fresh site in `folder`. Raises StoryError at the first thing that is not as it must be."""
    with _site(folder, speed=speed) as (demonstration, database):
        told.tell(
            "start", "broker, payment service, web, worker, ingest and database are up", url=demonstration.site.url
        )
        people = (CUSTOMER, IDLE_CUSTOMER, MANAGER)
        with ExitStack() as stack:
            customer, idle_customer, manager = (stack.enter_context(_log_in(demonstration, each)) for each in people)
            story = Story(
                demonstration, database, customer=customer, idle_customer=idle_customer, manager=manager, told=told
            )
            story.top_up()
            story.box_starts()
            session_id = story.tap_in()
            story.box_watches()
            story.tap_out(session_id)
            story.reconcile(session_id)
            story.subsidy()
            story.adjustment()
            story.ledger_view()
            story.books_balance()


class Story:
    """The steps of the main job; each checks its own numbers."""

    def __init__(
        self,
        demonstration: Demonstration,
        database: Database,
        *,
        customer: Api,
        idle_customer: Api,
        manager: Api,
        told: Told,
    ) -> None:
        self._demonstration = demonstration
        self._database = database
        self._customer = customer
        self._idle_customer = idle_customer
        self._manager = manager
        self._told = told
        self._terminal, self._idle_terminal = (_terminal(demonstration, each) for each in (INSTRUMENT, IDLE_INSTRUMENT))
        self._box, self._idle_box = (_box(demonstration, each) for each in (INSTRUMENT, IDLE_INSTRUMENT))
        self._card, self._idle_card = (_card(demonstration, each) for each in (CARD, IDLE_CARD))
        self._before = self._account()
        self._evidence: dict[str, Any] = {}

    def top_up(self) -> None:
        """Pay online on the payment service's own page; its signed message credits the card."""
        wish = {"id": str(uuid4()), "account_id": self._card["account_id"], "amount_fen": TOP_UP_FEN}
        begun = self._customer.post("/top-ups/online", wish)
        requests.post(
            begun["checkout_url"], data={"action": "pay"}, allow_redirects=False, timeout=TIMEOUT_S
        ).raise_for_status()
        found = _wait(
            lambda: self._customer.get(f"/top-ups/{wish['id']}"), lambda top_up: top_up["status"] == "credited"
        )
        before, after = self._before["principal_fen"], self._account()["principal_fen"]
        _must_be("the principal after the top-up", after, before + TOP_UP_FEN)
        self._told.tell(
            "top_up",
            f"¥{yuan(TOP_UP_FEN)} paid online, top-up {found['number']}; principal ¥{yuan(before)} → ¥{yuan(after)}",
            amount_fen=TOP_UP_FEN,
            principal_fen=after,
        )
        self._before = self._account()

    def box_starts(self) -> None:
        """Let the collector box replay the trace, and put the terminal beside the instrument."""
        for terminal in (self._terminal, self._idle_terminal):
            self._demonstration.start_terminal(terminal, self._database)
        self._box["slices"] = [[RUN[0] - BEFORE_S, RUN[1] + AFTER_S]]
        self._idle_box["slices"] = [list(IDLE)]
        self._idle_box["trace"] = IDLE_TRACE
        self._box["starts_at"] = self._idle_box["starts_at"] = None
        self._demonstration.keep_plan(boxes=[self._box, self._idle_box])
        self._demonstration.start_boxes()
        file = boxes.began(self._box, folder=Path(self._demonstration.plan["boxes_folder"]))
        _wait(file.exists, bool)
        self._played_since = datetime.fromisoformat(file.read_text(encoding="ascii"))

    def tap_in(self) -> str:
        """Hold the card to the reader: the price of the time asked for is held on the ledger."""
        _sleep_until(self._played_since + TAP_IN)
        view = self._tap(wanted="active", minutes=30)
        session = view["session"]
        idle = self._tap(wanted="active", minutes=30, at=self._idle_terminal, card=self._idle_card)["session"]
        self._idle_session_id = str(idle["session_id"])
        account = self._account()
        _must_be("the amount held", account["held_fen"], session["held_fen"])
        self._told.tell(
            "tap_in",
            f"{session['card']} at {self._terminal['code']}: {session['minutes_total']} min held for "
            f"¥{yuan(session['held_fen'])}, ¥{yuan(account['available_fen'])} left to spend",
            session_id=session["session_id"],
            held_fen=session["held_fen"],
        )
        return str(session["session_id"])

    def box_watches(self) -> None:
        """Wait until the box says by itself that the instrument runs."""
        state = _wait(self._live_state, lambda live: live is not None and live["state"] == "running")
        self._told.tell(
            "box",
            f"{self._box['code']} measures {state['power_w']:.0f} W: running, by the real trace {self._box['trace']}",
            box=self._box["code"],
            power_w=state["power_w"],
        )

    def tap_out(self, session_id: str) -> None:
        """Hold the card to the reader again: what was used is captured, the rest of the hold is given back."""
        _sleep_until(self._played_since + TAP_OUT)
        self._tap(wanted="receipt")
        self._tap(wanted="receipt", at=self._idle_terminal, card=self._idle_card)
        charge = _wait(
            lambda: self._customer.get(f"/sessions/{session_id}"), lambda found: found["status"] == "captured"
        )
        account = self._account()
        _must_be("the amount held after the capture", account["held_fen"], 0)
        spent_fen = self._before["principal_fen"] - account["principal_fen"]
        _must_be(
            "what the purses paid", charge["amount_fen"], charge["paid_principal_fen"] + charge["paid_subsidy_fen"]
        )
        _must_be("what left the principal", spent_fen, charge["paid_principal_fen"])
        self._charge = charge
        self._told.tell(
            "tap_out",
            f"{charge['duration_s'] // 60} min {charge['duration_s'] % 60} s: ¥{yuan(charge['amount_fen'])} captured, "
            f"¥{yuan(charge['paid_principal_fen'])} of it from the principal",
            amount_fen=charge["amount_fen"],
            paid_principal_fen=charge["paid_principal_fen"],
            duration_s=charge["duration_s"],
        )

    def reconcile(self, session_id: str) -> None:
        """Wait for the final verdict and the verified usage record, as the evidence document shows them."""
        document = _wait(
            lambda: self._customer.get(f"/reports/evidence/{session_id}"),
            lambda found: _record(found) is not None and found["decision"] is not None,
        )
        verdict, record = document["verdict"], _record(document) or {}
        _must_be("the verdict", verdict["verdict"], "matched")
        _must_be(
            "charge = overlap + charge only",
            verdict["overlap_s"] + verdict["charge_only_s"],
            self._charge["duration_s"],
        )
        _must_be("the record's amount", record["amount_fen"], self._charge["amount_fen"])
        self._evidence = document
        self._told.tell(
            "verdict",
            f"matched: {verdict['overlap_s']} s of the charge and of the box's run are the same time",
            verdict=verdict["verdict"],
            overlap_s=verdict["overlap_s"],
            charge_only_s=verdict["charge_only_s"],
            box_only_s=verdict["box_only_s"],
        )
        self._told.tell(
            "record",
            f"verified usage record {record['id']}: {record['effective_s'] / 3600:.2f} h effective, "
            f"¥{yuan(record['amount_fen'])}",
            record_id=record["id"],
            effective_s=record["effective_s"],
            amount_fen=record["amount_fen"],
        )

    def subsidy(self) -> None:
        """Check the subsidy: a share of the principal that was paid, rounded down, on the subsidy purse at once."""
        decision, account = self._evidence["decision"], self._account()
        expected_fen = self._charge["paid_principal_fen"] * SUBSIDY_PERCENT // 100
        _must_be("the subsidy", decision["amount_fen"], expected_fen)
        _must_be("the subsidy purse", account["subsidy_fen"], self._before["subsidy_fen"] + expected_fen)
        self._told.tell(
            "subsidy",
            f"{SUBSIDY_PERCENT}% of ¥{yuan(self._charge['paid_principal_fen'])} principal = ¥{yuan(expected_fen)}, "
            f"on the card at once",
            amount_fen=expected_fen,
            subsidy_purse_fen=account["subsidy_fen"],
        )

    def adjustment(self) -> None:
        """Check that what was charged for an instrument that rested went back by itself, by the published policy."""
        document = _wait(
            lambda: self._idle_customer.get(f"/reports/evidence/{self._idle_session_id}"),
            lambda found: bool(found["adjustments"]),
        )
        charged_fen = self._idle_customer.get(f"/sessions/{self._idle_session_id}")["amount_fen"]
        (adjustment,) = document["adjustments"]
        _must_be("the verdict over the idle instrument", document["verdict"]["verdict"], "phantom")
        _must_be("what went back of its charge", adjustment["amount_fen"], charged_fen)
        self._told.tell(
            "adjustment",
            f"{self._idle_card['name']} paid ¥{yuan(charged_fen)} at {self._idle_terminal['code']} where nothing ran: "
            f"all of it went back by itself",
            amount_fen=charged_fen,
        )

    def ledger_view(self) -> None:
        """Look as the sub-center's manager does: the same charge, hours and subsidy, and what the unit is owed."""
        view = self._manager.get("/reports/ledger-view")
        sub_center = view["sub_centers"][0]
        unit = next(unit for unit in sub_center["children"] if unit["figures"]["charges"])
        _must_be("the sub-center's income", sub_center["figures"]["income_fen"], self._charge["amount_fen"])
        _must_be(
            "the sub-center's subsidy", sub_center["figures"]["subsidy_fen"], self._evidence["decision"]["amount_fen"]
        )
        kept_fen = self._charge["amount_fen"] - unit["owed_fen"]
        self._told.tell(
            "ledger_view",
            f"{sub_center['name_en']}: income ¥{yuan(self._charge['amount_fen'])}, owed to {unit['name_en']} "
            f"¥{yuan(unit['owed_fen'])} after ¥{yuan(kept_fen)} service fee and VAT",
            income_fen=sub_center["figures"]["income_fen"],
            owed_fen=unit["owed_fen"],
            verified_s=sub_center["figures"]["verified_s"],
        )

    def books_balance(self) -> None:
        """Prove from the transfers alone that every balance is right, and from the seals that no row was touched."""
        key = sealing.seal_key(self._demonstration.site.settings().key_encryption_key)
        sealing.seal_due(self._database, key=key)
        found = sealing.verify(self._database, key=key)
        _must_be("what verifying the books finds", [str(finding) for finding in found.findings], [])
        self._told.tell(
            "books", f"books balance, {found.sealed_rows} rows sealed", findings=0, sealed_rows=found.sealed_rows
        )

    def _account(self) -> dict[str, Any]:
        balances: dict[str, Any] = self._customer.get(f"/accounts/{self._card['account_id']}")["balances"]
        return balances

    def _live_state(self) -> dict[str, Any] | None:
        wall = self._manager.get("/reports/wall")
        found: dict[str, Any] | None = next(
            (each["live"] for each in wall["instruments"] if each["code"] == INSTRUMENT), None
        )
        return found

    def _tap(
        self,
        *,
        wanted: str,
        minutes: int | None = None,
        at: dict[str, Any] | None = None,
        card: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Hold the card to the terminal until it shows the wanted screen; people try twice, too."""
        terminal, held = at or self._terminal, card or self._card
        body = {"card": held["name"], "pin": held["pin"], **({"minutes": minutes} if minutes else {})}

        def tap() -> dict[str, Any]:
            answer = requests.post(f"{terminal['kiosk']}/tap", json=body, timeout=TIMEOUT_S)
            view: dict[str, Any] = answer.json()
            return view

        shown: dict[str, Any] = _wait(tap, lambda view: view.get("state") == wanted, every_s=1.0)
        return shown


@contextmanager
def _site(folder: Path, *, speed: float) -> Iterator[tuple[Demonstration, Database]]:
    demonstration = Demonstration(folder, speed=speed, port=PORT)
    try:
        yield demonstration, demonstration.start_service()
    finally:
        demonstration.site.stop()


def _log_in(demonstration: Demonstration, username: str) -> Api:
    return Api(demonstration.site.url, username=username, password=seed.PASSWORD)


def _terminal(demonstration: Demonstration, instrument: str) -> dict[str, Any]:
    terminals: list[dict[str, Any]] = demonstration.plan["terminals"]
    return next(terminal for terminal in terminals if terminal["instrument"] == instrument)


def _box(demonstration: Demonstration, instrument: str) -> dict[str, Any]:
    boxes: list[dict[str, Any]] = demonstration.plan["boxes"]
    return next(box for box in boxes if box["instrument"] == instrument)


def _card(demonstration: Demonstration, name: str) -> dict[str, Any]:
    cards: list[dict[str, Any]] = demonstration.plan["cards"]
    return next(card for card in cards if card["name"] == name)


def _sleep_until(moment: datetime) -> None:
    while clock.now() < moment:
        time.sleep(POLL_S)


def _wait(ask: Callable[[], Any], enough: Callable[[Any], bool], *, every_s: float = POLL_S) -> Any:
    """Ask until the answer is enough. Raises StoryError with the last answer when that takes too long."""
    give_up_at_s = time.monotonic() + PATIENCE_S
    while True:
        answer = ask()
        if enough(answer):
            return answer
        if time.monotonic() > give_up_at_s:
            raise StoryError(f"waited {PATIENCE_S:.0f} s in vain; the last answer was {str(answer)[:500]}")
        time.sleep(every_s)


def _record(evidence: dict[str, Any]) -> dict[str, Any] | None:
    """Give the version of the usage record that holds, of an evidence document."""
    versions = (each["record"] for each in evidence["records"] if each["holds"])
    found: dict[str, Any] | None = next(versions, None)
    return found


def _must_be(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise StoryError(f"{what} is {found}, must be {expected}")


def _print_step(step: Step) -> None:
    click.echo(f"  {step.name:<12} {step.text}")
