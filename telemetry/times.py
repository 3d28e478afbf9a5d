"""Moments as whole milliseconds since 1970, in which all pure code of telemetry counts."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Count whole milliseconds since 1970; what is finer is dropped."""
    return (moment - EPOCH) // _MILLISECOND


def from_ms(count: int) -> datetime:
    """Give the moment in UTC."""
    return EPOCH + count * _MILLISECOND
