"""Calibration: the worklist, and for one channel what its power looks like, what was tried, and what holds."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from app import clock, web
from app.asking import asked_text, digits, given_whole
from app.devices.boxes import calibrating
from app.devices.boxes.calibrating import BRIDGE_S_DEFAULT, DAYS_DEFAULT, DAYS_MAX, DAYS_MIN, Work
from app.devices.boxes.power import power_histogram
from app.devices.boxes.visibility import box_of, present_places
from app.devices.models import CalibrationAttempt
from app.devices.pages.common import READERS, blueprint, power_w
from app.devices.pages.pictures import histogram_picture
from app.errors import Code, Refusal
from app.people.models import Role
from app.security import change, principal, require
from app.texts import _
from telemetry import boxes as telemetry_boxes


@blueprint.get("/devices/calibration")
@require(*READERS)
def worklist() -> Any:
    """Show the channels whose calibration needs a person."""
    with web.database().reader() as session:
        return render_template(
            "devices/worklist.html", tasks=calibrating.worklist(session, reader=principal()), works=Work
        )


@blueprint.get("/devices/boxes/<string:code>/channels/<int:channel>/calibration")
@require(*READERS)
def calibration(code: str, channel: int) -> Any:
    """Show one channel's power and thresholds; with `run` in the address, what other thresholds would make of it."""
    at = clock.now()
    run_w = power_w(asked_text("run"), name="run")
    standby_w = power_w(asked_text("standby"), name="standby")
    with web.database().reader() as session:
        box = box_of(session, code=code, reader=principal())
        if channel >= box.channels:
            raise Refusal(Code.NOT_FOUND)
        attempt = _asked_attempt(session, code=code, channel=channel)
        if attempt is not None and attempt.run_threshold_w is not None:
            run_w, standby_w = attempt.run_threshold_w, attempt.standby_threshold_w
        dated = telemetry_boxes.calibrations(session, code=code, channel=channel)
        present = dated[-1].calibration if dated else None
        bridge_s = _bridge_s(asked_text("bridge"), default=BRIDGE_S_DEFAULT if present is None else present.bridge_s)
        histogram = power_histogram(session, box=code, channel=channel, at=at)
        return render_template(
            "devices/calibration.html",
            box=box,
            channel=channel,
            place=present_places(session, [code]).get((code, channel)),
            present=present,
            attempt=attempt,
            attempts=[each for each in calibrating.attempts(session, box=code) if each.channel == channel],
            run_w=run_w,
            standby_w=standby_w,
            bridge_s=bridge_s,
            bridge_s_max=calibrating.BRIDGE_S_MAX,
            preview=None
            if run_w is None or histogram is None
            else calibrating.preview(
                session,
                box=code,
                channel=channel,
                run_threshold_w=run_w,
                standby_threshold_w=standby_w,
                bridge_s=bridge_s,
                at=at,
            ),
            picture=None if histogram is None else histogram_picture(histogram, present=present, proposed_w=run_w),
            days=(DAYS_MIN, DAYS_DEFAULT, DAYS_MAX),
        )


@blueprint.post("/devices/boxes/<string:code>/channels/<int:channel>/calibration/start")
@require(Role.ADMIN)
def start_calibration(code: str, channel: int) -> Any:
    """Let the program look for thresholds in the last days; nothing changes by it."""
    attempt: CalibrationAttempt = change(calibrating.start, box=code, channel=channel, days=given_whole("days"))
    if attempt.reason is None:
        flash(_("Thresholds were found. Nothing has changed yet: compare, and let them hold below."), "good")
    return redirect(url_for("devices_pages.calibration", code=code, channel=channel, attempt=attempt.id))


@blueprint.post("/devices/boxes/<string:code>/channels/<int:channel>/calibration")
@require(Role.ADMIN)
def set_calibration(code: str, channel: int) -> Any:
    """Let thresholds hold: those of an attempt, or those that a person typed."""
    run_w = power_w(request.form.get("run", ""), name="run")
    standby_w = power_w(request.form.get("standby", ""), name="standby")
    attempt_id = given_whole("attempt") if request.form.get("attempt") else None
    bridge_s = _bridge_s(request.form.get("bridge", ""), default=BRIDGE_S_DEFAULT)
    since = request.form.get("since", "")

    def work(session: Session, *, actor: str, at: Any) -> None:
        stands_since = calibrating.stands_since(session, box=code, channel=channel)
        valid_from = stands_since if since == "placement" and stands_since is not None else at
        if attempt_id is not None:
            calibrating.adopt(
                session, attempt_id=attempt_id, bridge_s=bridge_s, valid_from=valid_from, actor=actor, at=at
            )
        elif run_w is None:
            raise Refusal(Code.THRESHOLDS_WRONG)
        else:
            calibrating.set_by_hand(
                session,
                box=code,
                channel=channel,
                run_threshold_w=run_w,
                standby_threshold_w=standby_w,
                bridge_s=bridge_s,
                valid_from=valid_from,
                actor=actor,
                at=at,
            )

    change(work)
    flash(_("The thresholds hold. Sessions since then are computed anew, and what was judged by them is too."), "good")
    return redirect(url_for("devices_pages.calibration", code=code, channel=channel))


def _bridge_s(text: str, *, default: int) -> int:
    """Read seconds as a person types them. Raises Refusal VALIDATION_FAILED."""
    typed = text.strip()
    if not typed:
        return default
    number = digits(typed)
    bridge_s = -1 if number is None else number
    calibrating.check_bridge(bridge_s)
    return bridge_s


def _asked_attempt(session: Session, *, code: str, channel: int) -> CalibrationAttempt | None:
    text = asked_text("attempt")
    if not (text.isascii() and text.isdigit()):
        return None
    found = calibrating.attempt_of(session, attempt_id=int(text), reader=principal())
    if (found.box, found.channel) != (code, channel):
        raise Refusal(Code.NOT_FOUND)
    return found
