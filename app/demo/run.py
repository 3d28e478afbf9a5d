"""The demonstration: everything on one machine, and a small Chongqing that lives by itself until Ctrl-C."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.demo import seed
from app.demo.site import HOST, Ports, Site, free_port
from app.devices import service as devices
from app.devices.models import Terminal, TerminalStatus
from app.logs import configure as configure_logs
from app.supervisor import StartError
from telemetry import boxes
from telemetry.models import Box

KIOSK_PORT = 8101
ENROLMENT_S_MAX = 30.0
ENROLMENT_POLL_S = 0.1
COUNTER = ("clerk", "approver")


class Demonstration:
    """A site with its simulated boxes, terminals and people; the story and the kill test use the same one."""

    def __init__(self, folder: Path, *, speed: float, port: int) -> None:
        self.site = Site(folder, speed=speed, ports=Ports.near(port))
        self._plan_file = self.site.folder / "plan.json"
        self.plan: dict[str, Any] = {}

    def start_service(self) -> Database:
        """Start database and service; the first time, fill the database."""
        database = self.site.start_storage()
        settings = self.site.settings()
        with database.transaction() as session:
            if not seed.is_seeded(session):
                made = seed.seed(session, settings=settings, at=clock.now())
                self._first_plan(made)
        self.plan = self._todays_plan()
        with database.transaction() as session:
            for box in self.plan["boxes"]:
                # The password of a simulated box stands in the plan; one that staff changed since stays changed.
                if session.get_one(Box, box["code"]).verifier is None:
                    boxes.set_password(session, code=box["code"], password=box["password"], at=clock.now())
        self.site.start_service({box["code"]: box["password"] for box in self.plan["boxes"]})
        return database

    def start_boxes(self) -> None:
        """Start the collector boxes."""
        self.site.start("boxes", ["-m", "app.cli", "simulate", "boxes", "--plan", str(self._plan_file)])

    def start_terminal(self, terminal: dict[str, Any], database: Database) -> None:
        """Start one card terminal; a new one gets a fresh one-time code to enrol with."""
        with database.transaction() as session:
            code = _enrolment_code(session, terminal_id=UUID(terminal["id"]))
        self.site.start(
            f"terminal-{terminal['code']}",
            [
                *("-m", "card_terminal", "--simulate", "--server", self.site.url),
                *("--data", str(self.site.folder / "terminals" / terminal["code"])),
                *("--cards", str(self.site.folder / "cards")),
                *("--kiosk-port", terminal["kiosk"].rsplit(":", 1)[1]),
                *("--clock-anchor", str(self.site.anchor)),
                *(("--enrol-code", code) if code else ()),
            ],
            port=int(terminal["kiosk"].rsplit(":", 1)[1]),
            ends_by_itself=True,
        )
        if code:
            _approve_when_enrolled(database, terminal_id=UUID(terminal["id"]))

    def start_visitors(self) -> None:
        """Start the simulated people."""
        self.site.start("visitors", ["-m", "app.cli", "simulate", "visitors", "--plan", str(self._plan_file)])

    def keep_plan(self, **changes: Any) -> None:
        """Change the plan for the processes that start from now on."""
        self.plan |= changes
        self._write(self.plan)

    def _first_plan(self, made: seed.Seeded) -> None:
        cards_folder = self.site.folder / "cards"
        cards_folder.mkdir(exist_ok=True)
        for card in made.cards:
            (cards_folder / f"{card['name']}.json").write_text(json.dumps(card.pop("file")), encoding="utf-8")
        for box in made.boxes:
            box["password"] = self.site.box_password(box["code"])
        names = [{"name": card["name"], "pin": card["pin"]} for card in made.cards]
        for number, terminal in enumerate(made.terminals):
            # A few regular visitors per instrument.
            terminal["cards"] = [names[(number + step) % len(names)] for step in range(4)]
        self._write({"boxes": made.boxes, "terminals": made.terminals, "cards": made.cards})

    def _todays_plan(self) -> dict[str, Any]:
        """Give the plan with the addresses of this start."""
        plan: dict[str, Any] = json.loads(self._plan_file.read_text(encoding="utf-8"))
        for number, terminal in enumerate(plan["terminals"]):
            terminal["kiosk"] = f"http://{HOST}:{free_port(KIOSK_PORT + number)}"
        plan["service"] = self.site.url
        plan["counter"] = [{"username": name, "password": seed.PASSWORD} for name in COUNTER]
        plan["boxes_folder"] = str(self.site.folder / "boxes")
        plan["visitors_folder"] = str(self.site.folder / "visitors")
        self._write(plan)
        return plan

    def _write(self, plan: dict[str, Any]) -> None:
        descriptor = os.open(self._plan_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(plan, file, ensure_ascii=False, indent=1)


def run(*, folder: Path, speed: float, port: int, stop: threading.Event) -> int:
    """Run the demonstration until `stop` is set; give the exit status."""
    configure_logs("text", level=logging.WARNING)
    demonstration = Demonstration(folder, speed=speed, port=port)
    try:
        click.echo(f"Starting; data and logs are in {demonstration.site.folder}")
        database = demonstration.start_service()
        _tell(demonstration)
        demonstration.start_boxes()
        for terminal in demonstration.plan["terminals"]:
            if not stop.is_set():
                demonstration.start_terminal(terminal, database)
        demonstration.start_visitors()
        click.echo("Boxes, terminals and visitors are at work. Ctrl-C stops everything.")
        stop.wait()
    except StartError as error:
        if not stop.is_set():
            click.echo(str(error), err=True)
            return 1
    finally:
        click.echo("Stopping…")
        demonstration.site.stop()
    click.echo("Stopped. The data stays; the next start goes on from here.")
    return 0


def _enrolment_code(session: Session, *, terminal_id: UUID) -> str | None:
    terminal = session.get_one(Terminal, terminal_id)
    if terminal.status is not TerminalStatus.PENDING:
        return None
    return devices.new_enrolment_code(session, terminal_id=terminal_id, actor=seed.ACTOR, at=clock.now()).code


def _approve_when_enrolled(database: Database, *, terminal_id: UUID) -> None:
    """Compare the fingerprint of a terminal's new key, as an administrator does once; here both ends are ours."""
    give_up_at = time.monotonic() + ENROLMENT_S_MAX
    while time.monotonic() < give_up_at:
        with database.transaction() as session:
            terminal = devices.terminal_of(session, terminal_id=terminal_id)
            if terminal.status is TerminalStatus.COMPARING:
                fingerprint = devices.fingerprint_of(terminal)
                devices.approve(
                    session, terminal_id=terminal_id, fingerprint=fingerprint, actor=seed.ACTOR, at=clock.now()
                )
                return
        time.sleep(ENROLMENT_POLL_S)
    raise StartError(f"The terminal {terminal_id} did not enrol within {ENROLMENT_S_MAX:.0f} s; its log says why.")


def _tell(demonstration: Demonstration) -> None:
    """Print where to look and how to log in."""
    site = demonstration.site
    people = [*seed.chongqing()["staff"], *({**each, "role": "cardholder"} for each in seed.chongqing()["customers"])]
    click.echo(f"\n  The service            {site.url}")
    click.echo(f"  A terminal's screen    {demonstration.plan['terminals'][0]['kiosk']}  (and the next ports)")
    click.echo(
        f"  The clock runs {site.anchor.speed:g} times faster than life; it shows {clock.now():%Y-%m-%d %H:%M} UTC.\n"
    )
    click.echo(f"  Log in with the password {seed.PASSWORD} as")
    for person in people:
        click.echo(f"    {person['username']:<12} {person['role']:<20} {person['name']}")
    click.echo(f"  Every card's PIN is {seed.PIN}.\n")
