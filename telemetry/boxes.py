"""Enrolment, revocation and calibration of boxes."""

from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from telemetry.errors import Refusal, TelemetryRefused
from telemetry.messages import CODE, shard_of
from telemetry.models import CHANNELS_MAX, Box, CalibrationVersion, ChannelState, DirtyRange
from telemetry.passwords import verifier_of
from telemetry.states import Calibration, Dated
from telemetry.times import from_ms, to_ms

# What `telemetry.derive` tries to take for a box: nobody judges its readings while this is held.
LOCK_DERIVE = text("SELECT pg_advisory_xact_lock(hashtextextended('telemetry.derive:' || :box, 0))")
# "Until the newest": later than any reading, and still a moment that every driver can carry.
NONE = "none"
FAR_FUTURE = datetime.fromisoformat("9999-01-01T00:00:00+00:00")


def enrol(session: Session, *, code: str, channels: int = 1, at: datetime) -> Box:
    """Make a box known, so that its messages are taken.

    Raises TelemetryRefused with box_code_wrong, channel_unknown (not 1 to 16 channels) or box_exists.
    """
    if CODE.fullmatch(code) is None:
        raise TelemetryRefused(Refusal.BOX_CODE_WRONG)
    if not 1 <= channels <= CHANNELS_MAX:
        raise TelemetryRefused(Refusal.CHANNEL_UNKNOWN)
    if session.get(Box, code) is not None:
        raise TelemetryRefused(Refusal.BOX_EXISTS)
    box = Box(code=code, shard=shard_of(code), channels=channels, enrolled_at=at, revoked_at=None)
    session.add(box)
    session.flush()
    return box


def revoke(session: Session, *, code: str, at: datetime) -> None:
    """Take no more messages of a box from now on; doing it again changes nothing. Raises box_unknown."""
    box = _locked(session, code=code)
    if box.revoked_at is None:
        box.revoked_at = at
        session.flush()


def set_password(session: Session, *, code: str, password: str, at: datetime) -> None:
    """Let a box log in at the broker with this password and with no other, as soon as the broker has read it.

    Kept is only what checks it. Raises box_unknown or box_revoked.
    """
    box = _locked(session, code=code)
    if box.revoked_at is not None:
        raise TelemetryRefused(Refusal.BOX_REVOKED)
    box.verifier, box.password_set_at = verifier_of(password), at
    session.flush()


def verifiers(session: Session) -> dict[str, str]:
    """Give the boxes that the broker is to let in, by code in order, with what checks their passwords."""
    rows = session.execute(
        select(Box.code, Box.verifier).where(Box.revoked_at.is_(None), Box.verifier.is_not(None)).order_by(Box.code)
    )
    return {code: verifier for code, verifier in rows if verifier is not None}


def set_calibration(
    session: Session,
    *,
    code: str,
    channel: int,
    calibration: Calibration,
    at: datetime,
    recompute_by: str | None = None,
) -> CalibrationVersion:
    """Let a calibration hold from `at` on, and have the sessions from there computed anew.

    A moment after the newest reading needs no more. Where readings after `at` were judged by another calibration, the
    person must be named who wants them judged anew: final sessions are then superseded by new versions that name the
    new calibration, as by late data. Raises box_unknown, channel_unknown, thresholds_wrong or already_judged.
    """
    box = _locked(session, code=code)
    if not 0 <= channel < box.channels:
        raise TelemetryRefused(Refusal.CHANNEL_UNKNOWN)
    if not 0 < (calibration.standby_threshold_w or calibration.run_threshold_w / 2) < calibration.run_threshold_w:
        raise TelemetryRefused(Refusal.THRESHOLDS_WRONG)
    session.execute(LOCK_DERIVE, {"box": code})
    newest = _newest_version(session, code=code, channel=channel)
    state = session.get(ChannelState, (code, channel), populate_existing=True)
    is_judged = newest is not None and state is not None and state.last_live_at > at
    if is_judged and recompute_by is None:
        raise TelemetryRefused(Refusal.ALREADY_JUDGED)
    row = CalibrationVersion(
        box=code,
        channel=channel,
        version=(newest or 0) + 1,
        valid_from=at,
        method=calibration.method,
        run_threshold_w=calibration.run_threshold_w,
        standby_threshold_w=calibration.standby_threshold_w,
        hysteresis_decades=calibration.hysteresis_decades,
        bridge_s=calibration.bridge_s,
        run_s_min=calibration.run_s_min,
        gap_s=calibration.gap_s,
        recomputed_by=recompute_by if is_judged else None,
    )
    session.add_all([row, DirtyRange(box=code, channel=channel, from_at=at, until_at=FAR_FUTURE)])
    session.flush()
    return row


def end_calibration(session: Session, *, code: str, channel: int, at: datetime) -> None:
    """Let no calibration hold from `at` on, until the next: the channel meters something else now.

    Where none holds nothing changes. Raises box_unknown, channel_unknown.
    """
    box = _locked(session, code=code)
    if not 0 <= channel < box.channels:
        raise TelemetryRefused(Refusal.CHANNEL_UNKNOWN)
    session.execute(LOCK_DERIVE, {"box": code})
    dated = calibrations(session, code=code, channel=channel)
    if not dated or dated[-1].calibration is None:
        return
    row = CalibrationVersion(
        box=code,
        channel=channel,
        version=(_newest_version(session, code=code, channel=channel) or 0) + 1,
        valid_from=max(at, from_ms(dated[-1].valid_from_ms)),
        method=NONE,
        run_threshold_w=None,
        standby_threshold_w=None,
        hysteresis_decades=0.0,
        bridge_s=0,
        run_s_min=0,
        gap_s=0,
        recomputed_by=None,
    )
    session.add_all([row, DirtyRange(box=code, channel=channel, from_at=at, until_at=FAR_FUTURE)])
    session.flush()


def _newest_version(session: Session, *, code: str, channel: int) -> int | None:
    return session.scalar(
        select(func.max(CalibrationVersion.version)).where(
            CalibrationVersion.box == code, CalibrationVersion.channel == channel
        )
    )


def calibrations(session: Session, *, code: str, channel: int) -> list[Dated]:
    """Give every calibration of a channel with the moment from which it holds or none does, oldest first."""
    rows = session.scalars(
        select(CalibrationVersion)
        .where(CalibrationVersion.box == code, CalibrationVersion.channel == channel)
        .order_by(CalibrationVersion.valid_from, CalibrationVersion.version)
    )
    return [
        Dated(
            valid_from_ms=to_ms(row.valid_from),
            version=row.version,
            calibration=None
            if row.run_threshold_w is None
            else Calibration(
                run_threshold_w=row.run_threshold_w,
                standby_threshold_w=row.standby_threshold_w,
                method=row.method,
                hysteresis_decades=row.hysteresis_decades,
                bridge_s=row.bridge_s,
                run_s_min=row.run_s_min,
                gap_s=row.gap_s,
            ),
        )
        for row in rows
    ]


def _locked(session: Session, *, code: str) -> Box:
    box = session.scalar(select(Box).where(Box.code == code).with_for_update())
    if box is None:
        raise TelemetryRefused(Refusal.BOX_UNKNOWN)
    return box
