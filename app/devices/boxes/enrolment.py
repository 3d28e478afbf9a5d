"""Boxes come in, move, get a new password and go; the password is seen once, and kept is only what checks it."""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import errors
from app.devices.models import BoxPlacement
from app.instruments.models import Instrument
from app.people import service as people
from telemetry import boxes
from telemetry.models import CHANNELS_MAX, Box
from telemetry.passwords import new_password

CODE_BYTES = 5
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPassword:
    """The one time that a password is seen."""

    box: Box
    password: str = field(repr=False)


def enrol_box(
    session: Session, *, request_id: UUID, channels: int, instrument_id: int | None = None, actor: str, at: datetime
) -> BoxPassword:
    """Make a box with code, shard and password; its channel 0 meters an instrument from now on if one is named.

    The code follows from `request_id`, so that a request whose answer was lost makes no second box. Raises Refusal:
    REQUEST_ID_USED with the box's code, VALIDATION_FAILED for the channels, NOT_FOUND for the instrument.
    """
    if not 1 <= channels <= CHANNELS_MAX:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields={"channels": [f"1–{CHANNELS_MAX}"]})
    code = code_of(request_id)
    if session.get(Box, code) is not None:
        raise errors.Refusal(errors.Code.REQUEST_ID_USED, box=code)
    boxes.enrol(session, code=code, channels=channels, at=at)
    _write_down(session, code, "box.enrol", detail={"channels": channels}, actor=actor, at=at)
    given = _give_password(session, code=code, at=at)
    if instrument_id is not None:
        place_box(session, box=code, channel=0, instrument_id=instrument_id, actor=actor, at=at)
    return given


def code_of(request_id: UUID) -> str:
    """Give the code of the box that a request makes: short enough for a label, and nobody's choice."""
    digest = hashlib.sha256(request_id.bytes).digest()[:CODE_BYTES]
    return f"cb-{base64.b32encode(digest).decode().lower()}"


def rotate_password(session: Session, *, code: str, actor: str, at: datetime) -> BoxPassword:
    """Give a box a new password; the old one holds until the broker has read the new one, and not a moment longer.

    Raises Refusal: NOT_FOUND, BOX_REVOKED.
    """
    box_in_service(session, code)
    given = _give_password(session, code=code, at=at)
    _write_down(session, code, "box.rotate_password", detail={}, actor=actor, at=at)
    return given


def revoke_box(session: Session, *, code: str, actor: str, at: datetime) -> Box:
    """Take no more messages of a box, and end where it stands; doing it again changes nothing.

    What it has told stays evidence. Raises Refusal NOT_FOUND.
    """
    box = _known(session, code)
    if box.revoked_at is None:
        boxes.revoke(session, code=code, at=at)
        for placement in _present(session, code):
            # Whatever else happened at this very moment: a revoked box stands nowhere.
            placement.valid_to = max(at, placement.valid_from + MOMENT)
        _write_down(session, code, "box.revoke", detail={}, actor=actor, at=at)
    return box


def place_box(
    session: Session, *, box: str, channel: int, instrument_id: int, actor: str, at: datetime
) -> BoxPlacement:
    """Say that from now on this channel of this box meters that instrument; what it metered before ends now.

    What it measured until now stays with the instrument where it stood. Its calibration ends with the move to another
    instrument: until somebody calibrates it there, what it sees there says nothing. Raises Refusal: NOT_FOUND for the
    instrument, the box or the channel, BOX_REVOKED, ALREADY_DECIDED when the box moved after `at`.
    """
    if session.get(Instrument, instrument_id) is None or channel >= box_in_service(session, box).channels:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    current = _present_channel(session, box=box, channel=channel)
    if current is not None:
        if current.instrument_id == instrument_id:
            return current
        _end(current, at=at)
        session.flush()
    before = _newest_place(session, box=box, channel=channel)
    if before is not None and before.instrument_id != instrument_id:
        # What its power means there is not known until somebody calibrates it there.
        boxes.end_calibration(session, code=box, channel=channel, at=at)
    placement = BoxPlacement(box=box, channel=channel, instrument_id=instrument_id, valid_from=at)
    session.add(placement)
    session.flush()
    moved_from = None if current is None else current.instrument_id
    detail: dict[str, Any] = {"channel": channel, "instrument_id": instrument_id, "moved_from": moved_from}
    _write_down(session, box, "box.place", detail=detail, actor=actor, at=at)
    return placement


def take_away(session: Session, *, box: str, channel: int, actor: str, at: datetime) -> None:
    """Say that this channel meters nothing from now on. Raises Refusal: NOT_FOUND, ALREADY_DECIDED."""
    current = _present_channel(session, box=box, channel=channel)
    if current is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    _end(current, at=at)
    _write_down(session, box, "box.take_away", detail={"channel": channel}, actor=actor, at=at)


def box_in_service(session: Session, code: str) -> Box:
    """Give a box that was not revoked, locked: one change at a time. Raises Refusal: NOT_FOUND, BOX_REVOKED."""
    box = _known(session, code)
    if box.revoked_at is not None:
        raise errors.Refusal(errors.Code.BOX_REVOKED)
    return box


def _give_password(session: Session, *, code: str, at: datetime) -> BoxPassword:
    password = new_password()
    boxes.set_password(session, code=code, password=password, at=at)
    return BoxPassword(box=session.get_one(Box, code), password=password)


def _known(session: Session, code: str) -> Box:
    """Give a box, locked: one change at a time."""
    box = session.get(Box, code, with_for_update=True, populate_existing=True)
    if box is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return box


def _present(session: Session, code: str) -> list[BoxPlacement]:
    return list(
        session.scalars(
            select(BoxPlacement)
            .where(BoxPlacement.box == code, BoxPlacement.valid_to.is_(None))
            .order_by(BoxPlacement.channel)
            .with_for_update()
        )
    )


def _present_channel(session: Session, *, box: str, channel: int) -> BoxPlacement | None:
    return next((each for each in _present(session, box) if each.channel == channel), None)


def _newest_place(session: Session, *, box: str, channel: int) -> BoxPlacement | None:
    return session.scalar(
        select(BoxPlacement)
        .where(BoxPlacement.box == box, BoxPlacement.channel == channel)
        .order_by(BoxPlacement.valid_from.desc(), BoxPlacement.id.desc())
        .limit(1)
    )


def _end(placement: BoxPlacement, *, at: datetime) -> None:
    if placement.valid_from >= at:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    placement.valid_to = at


def _write_down(session: Session, code: str, action: str, *, detail: dict[str, Any], actor: str, at: datetime) -> None:
    people.audit(session, actor=actor, action=action, subject=f"box:{code}", detail=detail, at=at)
