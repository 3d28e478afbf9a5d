"""The doors of personalisation stations: enrolment, a chip put down, its answers.

A station is no terminal: it stands at no instrument, has no offline list and reports no events (ADR 0450).
"""

from collections.abc import Callable
from datetime import datetime

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from app import clock
from app.cards import stations, works
from app.cards.models import Station
from app.devices import messages, wire
from app.devices import service as devices
from app.devices.messages import Answered
from app.web import settings
from card_terminal import protocol

blueprint = Blueprint(
    "cards_terminal", __name__, url_prefix="/terminal/v1", description="Personalisation stations: enrolment and relay."
)


@blueprint.route("/station/enroll", methods=["POST"])
@blueprint.doc(**wire.documented("Introduce a new station by a one-time code and its key."))
def enroll() -> Response:
    """Bind the key that a station brings to the station that the code was made for."""
    at = clock.now()

    def work(session: Session, message: str) -> Answered:
        station = stations.enrol(session, message=message, at=at)
        signer = devices.server_signer(session, key_encryption_key=settings().key_encryption_key, at=at)
        return messages.accepted(
            protocol.EnrolAnswer(
                device_id=str(station.id),
                server_key_id=signer.key_id,
                server_public_key=protocol.encode_public_key(signer.private_key.public_key()),
                status=protocol.DeviceStatus.ACTIVE,
                server_time=messages.epoch_ms(at),
            )
        )

    return wire.answer_enrolment(work, at=at)


@blueprint.route("/station/begin", methods=["POST"])
@blueprint.doc(**wire.documented("Say that a chip was put on the station; what to ask it is the answer."))
def begin() -> Response:
    """Begin a tap of the card that waits for this station."""
    at = clock.now()
    return _hear("station/begin", works.begin_tap, at=at)


@blueprint.route("/station/step", methods=["POST"])
@blueprint.doc(**wire.documented("Bring the chip's answers; what to ask it next is the answer."))
def step() -> Response:
    """Go on with a tap."""
    at = clock.now()
    return _hear("station/step", works.continue_tap, at=at)


def _hear(name: str, do: Callable[..., protocol.StationAnswer], *, at: datetime) -> Response:
    def work(session: Session, message: str) -> Answered:
        station: Station
        station, query = stations.hear(session, message=message, name=name, at=at)
        answer = do(session, station=station, said=query.body, message=message, settings=settings(), at=at)
        return messages.accepted(answer)

    return wire.answer_message(work)
