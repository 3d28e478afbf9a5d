"""Moments as whole seconds since 1970 and back: what the pure parts of reconciliation reckon in."""

from datetime import UTC, datetime


def to_s(moment: datetime) -> int:
    """Give a moment in whole seconds since 1970; part seconds are dropped."""
    return int(moment.timestamp() // 1)


def from_s(moment_s: int) -> datetime:
    """Give the moment at these seconds since 1970."""
    return datetime.fromtimestamp(moment_s, UTC)
