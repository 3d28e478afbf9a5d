"""How a box is to measure: what is wanted, what the box says of it, and the form that wants something else."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from app import web
from app.asking import given_whole
from app.devices.boxes import configuring
from app.devices.boxes.visibility import box_of
from app.devices.pages.common import READERS, blueprint, power_w
from app.errors import Code, Refusal
from app.people.models import Role
from app.security import change, principal, require
from app.texts import _
from telemetry import configurations, reports
from telemetry.commands import Configuration, Threshold
from telemetry.models import CHANNELS_MAX, Presence


@blueprint.get("/devices/boxes/<string:code>/configuration")
@require(*READERS)
def configuration(code: str) -> Any:
    """Show how a box is to measure, whether it does, and what was wanted before."""
    with web.database().reader() as session:
        box = box_of(session, code=code, reader=principal())
        wanted = configurations.wanted(session, code=code)
        presence = session.get(Presence, code)
        return render_template(
            "devices/configuration.html",
            box=box,
            wanted=wanted,
            shown=Configuration() if wanted is None else wanted.configuration,
            said=reports.said_by(session, [code]).get(code, reports.NOTHING_SAID),
            reported_hash=None if presence is None else presence.configuration_hash,
            versions=configurations.configurations(session, code=code, limit=configuring.VERSIONS_MAX),
        )


@blueprint.post("/devices/boxes/<string:code>/configuration")
@require(Role.ADMIN)
def configure(code: str) -> Any:
    """Want a box to measure in another way."""
    present = _channels("present")
    measured = _channels("measure")
    change(
        configuring.configure_box,
        code=code,
        sample_s=given_whole("sample_s"),
        batch=given_whole("batch"),
        heartbeat_s=given_whole("heartbeat_s"),
        channels=None if measured == present else measured,
        thresholds=_thresholds(present),
    )
    flash(_("It is written down. The box is told as soon as it listens, and says whether it obeys."), "good")
    return redirect(url_for("devices_pages.configuration", code=code))


def _channels(name: str) -> tuple[int, ...]:
    numbers = [text for text in request.form.getlist(name) if text.isascii() and text.isdecimal()]
    if len(numbers) > CHANNELS_MAX:
        raise Refusal(Code.VALIDATION_FAILED, fields={name: [f"0–{CHANNELS_MAX - 1}"]})
    return tuple(sorted({int(text[:3]) for text in numbers}))


def _thresholds(channels: tuple[int, ...]) -> dict[int, Threshold]:
    """Read a pair of watts for each channel; a channel with neither has none."""
    found: dict[int, Threshold] = {}
    for channel in channels:
        names = f"run_w_{channel}", f"rest_w_{channel}"
        run_w, rest_w = (power_w(request.form.get(name, ""), name=name) for name in names)
        if (run_w is None) != (rest_w is None):
            raise Refusal(Code.VALIDATION_FAILED, fields={names[run_w is not None]: [_("Both or neither.")]})
        if run_w is not None and rest_w is not None:
            found[channel] = Threshold(run_w=run_w, rest_w=rest_w)
    return found
