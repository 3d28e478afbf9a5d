"""Silence rules: the list with its history, a new rule, and the end of one."""

from typing import Any

from flask import flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import asked_whole, given_whole, page_links, page_number
from app.errors import Code, Refusal
from app.reconciliation import ruling
from app.reconciliation.models import RuleKind
from app.reconciliation.pages.common import DECIDERS, SECTION, STAFF, blueprint, decider, given_day, given_note, zone
from app.reconciliation.silence import DAY_MINUTES, Week
from app.security import principal, require
from app.texts import _

PAGE_SIZE = 50
MINUTE_S = 60
CLOCK_PARTS = 2


@blueprint.get("/silence-rules")
@require(*STAFF)
def silence_rules() -> Any:
    """List what is normal at which instrument, by whom it was said, and what no longer holds."""
    g.section = SECTION
    page = page_number()
    with web.database().reader() as session:
        found = ruling.list_rules(
            session,
            reader=principal(),
            instrument_id=asked_whole("instrument") or None,
            page=page,
            page_size=PAGE_SIZE,
        )
        return render_template(
            "reconciliation/rules.html",
            rules=found,
            instruments=ruling.instruments_of(session, reader=decider()),
            kinds=tuple(RuleKind),
            at=clock.now(),
            links=page_links(page, has_more=len(found) == PAGE_SIZE),
        )


@blueprint.post("/silence-rules")
@require(*DECIDERS)
def make_rule() -> Any:
    """Say what is normal at an instrument."""
    kind, site = request.form.get("kind", ""), zone()
    if kind not in set(RuleKind):
        raise Refusal(Code.VALIDATION_FAILED, fields={"kind": [", ".join(RuleKind)]})
    background = kind == RuleKind.BACKGROUND
    since = given_day("since", zone=site)
    if since is None:
        raise AssertionError("a required day is there")
    wish = ruling.Wish(
        instrument_id=given_whole("instrument"),
        kind=RuleKind(kind),
        valid_from=since,
        valid_to=given_day("until", zone=site, required=False),
        week=_week(),
        run_s_max=given_whole("run_minutes") * MINUTE_S if background else None,
        note=given_note(),
    )
    maker, at = decider(), clock.now()
    web.database().run(lambda session: ruling.make(session, wish, maker=maker, at=at))
    flash(_("The rule holds; what it touches is decided anew within seconds."), "good")
    return redirect(url_for("reconciliation_pages.silence_rules"))


@blueprint.post("/silence-rules/<int:rule_id>/end")
@require(*DECIDERS)
def end_rule(rule_id: int) -> Any:
    """Let a rule hold no longer."""
    ender, at = decider(), clock.now()
    web.database().run(lambda session: ruling.end(session, rule_id=rule_id, ender=ender, at=at))
    flash(_("The rule has ended; what it said of the past stays said."), "good")
    return redirect(url_for("reconciliation_pages.silence_rules"))


def _week() -> Week | None:
    days = frozenset(int(day) for day in request.form.getlist("weekday") if day in set("0123456"))
    if not days:
        return None
    return Week(days=days, from_minute=_minute("from"), until_minute=_minute("to"))


def _minute(name: str) -> int:
    parts = request.form.get(name, "").split(":")
    if len(parts) != CLOCK_PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["HH:MM"]})
    minute = int(parts[0]) * MINUTE_S + int(parts[1])
    if minute > DAY_MINUTES:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: ["HH:MM"]})
    return minute
