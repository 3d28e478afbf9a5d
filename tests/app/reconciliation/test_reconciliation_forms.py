"""What the pages of reconciliation show in both languages, and what their forms make of what was typed."""

import csv
import io
import re
from datetime import date
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app import clock
from app.clock import Anchor
from app.instruments.models import Instrument
from app.people.models import Role
from app.reconciliation import contests, policies, ruling
from app.reconciliation.models import BoxVerdict, ControlTotal, Policy, RuleKind
from tests.app import builders
from tests.app.reconciliation.paying import paid_charge
from tests.app.reconciliation.world import World
from tests.telemetry.wire import at

PAGE = "/reconciliation-policies"
PAGES = ("reconciliation_pages.", "usage_pages.", "reports_pages.evidence")


def sit_down(client: FlaskClient, username: str) -> None:
    """Let the client's browser hold a person's log-in."""
    log_in = builders.bearer(client, username)["Authorization"].removeprefix("Bearer ")
    with client.session_transaction() as cookie:
        cookie["log_in"] = log_in


def test_every_page_opens_in_both_languages(world: World, app_: Flask, client: FlaskClient) -> None:
    """With something of each kind to show: an exception that is contested, an unpaid run, a rule, a policy."""
    charge = paid_charge(world, 10, 40)
    world.charge(100, 130)
    world.use(100, 130, until=160)
    world.use(200, 240, until=300)
    world.reconcile(minutes=300)
    clerk = world.person("clerk", Role.CLERK)
    holder = world.principal(world.holder_id)
    wish = ruling.Wish(
        instrument_id=world.instrument_id,
        kind=RuleKind.QUIET,
        valid_from=at(4000),
        valid_to=None,
        week=None,
        run_s_max=None,
        note="quiet",
    )
    body = {"verdicts": {"phantom": {"do": "refund", "amount_fen_max": 5}, "no_evidence": {"do": "nothing"}}}
    with world.database.transaction() as session:
        contest = contests.contest(session, session_id=charge, reason="broken", maker=holder, at=at(301))
        run = session.scalars(select(BoxVerdict).where(BoxVerdict.verdict == "unpaid")).one()
        ruling.make(session, wish, maker=clerk, at=at(302))
        policies.draft(session, body=body, sub_center_id=None, valid_from=at(302), note="n", maker=clerk, at=at(302))
        given = {"session_id": charge, "contest_id": contest.id, "box_verdict_id": run.id}
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(310), speed=1.0))
    opened: dict[str, int] = {}
    for username in ("clerk", "holder"):
        sit_down(client, username)
        for address in addresses(app_, given):
            opened[address] = min(opened.get(address, 999), client.get(address).status_code)
    assert len(opened) > 30
    assert {address: status for address, status in opened.items() if status != 200} == {}


def addresses(flask: Flask, given: dict[str, Any]) -> list[str]:
    """Give every page in both languages, those of money with an amount too."""
    with flask.test_request_context():
        adapter = flask.url_map.bind("localhost")
        return [
            adapter.build(rule.endpoint, {**given_to(rule.arguments, given), "lang": language, **more})
            for rule in flask.url_map.iter_rules()
            if rule.endpoint.startswith(PAGES) and "GET" in (rule.methods or ()) and rule.arguments <= given.keys()
            for language in ("zh", "en")
            for more in ({}, {"amount": "1.00", "answered": "1", "scope": "past", "only": "contested"})
        ]


def given_to(names: set[str], given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in names}


@pytest.mark.parametrize(
    ("typed", "limit"), [("", {}), ("0", {"amount_fen_max": 0}), ("12.50", {"amount_fen_max": 1250})]
)
def test_a_limit_of_nothing_is_a_limit(world: World, client: FlaskClient, typed: str, limit: dict[str, Any]) -> None:
    """With 0 no money moves without a person; only an empty field means whatever it comes to."""
    world.person("clerk", Role.CLERK)
    sit_down(client, "clerk")
    page = client.get(PAGE).get_data(as_text=True)
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)[0]
    form = {
        "csrf_token": token,
        "sub_center": "0",
        "valid_from": "2026-11-01",
        "contest_days": "7",
        "answer_days": "7",
        "note": "Decision No. 7.",
        "do-phantom": "refund",
        "percent-phantom": "100",
        "wait-phantom": "72",
        "limit-phantom": typed,
    }
    assert client.post(PAGE, data=form).status_code == 302
    with world.database.reader() as session:
        step = session.scalars(select(Policy)).one().body["verdicts"]["phantom"]
    assert step == {"do": "refund", "refund_percent": 100, "wait_h": 72, **limit}


def test_the_file_of_control_totals_has_every_line_that_its_sum_adds_up(world: World, client: FlaskClient) -> None:
    with world.database.transaction() as session:
        group = session.get_one(Instrument, world.instrument_id).group
        for instrument in [builders.instrument(session, in_group=group) for _ in range(14)]:
            for day in range(1, 31):
                sums = {"charge_s": 60, "box_s": 60, "overlap_s": 60, "charge_only_s": 0, "box_only_s": 0}
                made = {"instrument_id": instrument.id, "day": date(2026, 11, day), "computed_at": at(0)}
                session.add(ControlTotal(**made, **sums))
    world.person("clerk", Role.CLERK)
    sit_down(client, "clerk")
    with client.get("/control-totals?month=2026-11&format=csv&lang=en") as answer:
        *lines, total = csv.DictReader(io.StringIO(answer.get_data().decode("utf-8-sig")))
    assert (len(lines), total["Charged"]) == (420, "7 h 00 min")
