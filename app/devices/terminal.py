"""The doors through which a terminal becomes one of ours and learns its configuration."""

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from app import clock
from app.devices import configuration, messages, service, wire
from app.devices.messages import Answered
from app.devices.models import Terminal, TerminalStatus
from app.web import settings
from card_terminal import protocol

blueprint = Blueprint(
    "devices_terminal", __name__, url_prefix="/terminal/v1", description="Card terminals: enrolment and configuration."
)


_STATUS = {
    TerminalStatus.COMPARING: protocol.DeviceStatus.PENDING,
    TerminalStatus.ENROLLED: protocol.DeviceStatus.ACTIVE,
}


@blueprint.route("/enroll", methods=["POST"])
@blueprint.doc(**wire.documented("Introduce a new terminal by a one-time code and its key."))
def enroll() -> Response:
    """Bind the key that a terminal brings to the terminal that the code was made for."""
    at = clock.now()

    def work(session: Session, message: str) -> Answered:
        terminal = service.enrol(session, message=message, at=at)
        signer = service.server_signer(session, key_encryption_key=settings().key_encryption_key, at=at)
        return messages.accepted(
            protocol.EnrolAnswer(
                device_id=str(terminal.id),
                server_key_id=signer.key_id,
                server_public_key=protocol.encode_public_key(signer.private_key.public_key()),
                status=_STATUS[terminal.status],
                server_time=messages.epoch_ms(at),
            )
        )

    return wire.answer_enrolment(work, at=at)


@blueprint.route("/config", methods=["POST"])
@blueprint.doc(**wire.documented("Give the configuration, signed by the server."))
def config() -> Response:
    """Give prices and texts for this terminal's instrument."""
    at = clock.now()

    def question(session: Session, terminal: Terminal, asked: protocol.Config) -> protocol.ConfigAnswer:
        _ = asked.have_version
        signer = service.server_signer(session, key_encryption_key=settings().key_encryption_key, at=at)
        current = configuration.current(
            session, terminal=terminal, zone=settings().site_timezone, help_phone=settings().help_phone, at=at
        )
        signed = protocol.sign_config(current, key=signer.private_key, key_id=signer.key_id)
        return protocol.ConfigAnswer(config=signed, server_time=messages.epoch_ms(at))

    return wire.answer_query("config", question, at=at)
