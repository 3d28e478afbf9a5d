"""How a box is to measure, by the word of an administrator: checked field by field, kept in versions, audited."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from app import errors
from app.devices.boxes.enrolment import box_in_service
from app.people import service as people
from telemetry import configurations
from telemetry.commands import HEARTBEAT_S_MAX, HEARTBEAT_S_MIN, Configuration, Threshold
from telemetry.messages import POWER_W_MAX, SAMPLES_MAX, SPAN_MS_MAX, STEP_MS_MAX
from telemetry.models import BoxConfiguration

SAMPLE_S_MAX, SPAN_S_MAX = STEP_MS_MAX // 1000, SPAN_MS_MAX // 1000
VERSIONS_MAX = 50


def configure_box(
    session: Session,
    *,
    code: str,
    sample_s: int,
    batch: int,
    heartbeat_s: int,
    channels: tuple[int, ...] | None,
    thresholds: Mapping[int, Threshold],
    actor: str,
    at: datetime,
) -> BoxConfiguration:
    """Want a box to measure like this; it is told as soon as it listens. The same again is no new version.

    `channels` None measures all that it has; thresholds let it tell a change at once, and decide nothing here. Raises
    Refusal: NOT_FOUND, BOX_REVOKED, VALIDATION_FAILED with every field that cannot be.
    """
    box = box_in_service(session, code)
    wanted = Configuration(
        sample_s=sample_s,
        batch=batch,
        heartbeat_s=heartbeat_s,
        channels=None if channels is None else tuple(sorted(set(channels))),
        thresholds=dict(sorted(thresholds.items())),
    )
    wrong = _wrong(wanted, channels=box.channels)
    if wrong:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, fields=wrong)
    before = configurations.wanted(session, code=code)
    row = configurations.configure(session, code=code, configuration=wanted, by=actor, at=at)
    if before is None or before.row.version != row.version:
        people.audit(
            session,
            actor=actor,
            action="box.configure",
            subject=f"box:{code}",
            detail={
                "version": row.version,
                "before": None if before is None else before.row.content,
                "after": row.content,
            },
            at=at,
        )
    return row


def _wrong(wanted: Configuration, *, channels: int) -> dict[str, list[str]]:
    """Name every field that no box of so many channels could obey, with what may stand there."""
    wrong: dict[str, list[str]] = {}
    if not 1 <= wanted.sample_s <= SAMPLE_S_MAX:
        wrong["sample_s"] = [f"1–{SAMPLE_S_MAX}"]
    batch_max = min(SAMPLES_MAX, SPAN_S_MAX // max(wanted.sample_s, 1))
    if not 1 <= wanted.batch <= batch_max:
        wrong["batch"] = [f"1–{batch_max}"]
    if not HEARTBEAT_S_MIN <= wanted.heartbeat_s <= HEARTBEAT_S_MAX:
        wrong["heartbeat_s"] = [f"{HEARTBEAT_S_MIN}–{HEARTBEAT_S_MAX}"]
    if wanted.channels is not None and not (wanted.channels and all(0 <= each < channels for each in wanted.channels)):
        wrong["channels"] = [f"0–{channels - 1}"]
    for channel, threshold in wanted.thresholds.items():
        is_known = 0 <= channel < channels
        # Written so that what is no number at all fails as well.
        if not (is_known and 0 < threshold.rest_w <= threshold.run_w <= POWER_W_MAX):
            wrong["thresholds"] = [f"0 < rest_w ≤ run_w ≤ {POWER_W_MAX:,.0f}; 0–{channels - 1}"]
    return wrong
