"""What an alarm says, in one sentence with the figures that opened it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from app import labels
from app.devices.models import Alarm, AlarmKind
from app.presentation import duration, local
from app.texts import _

OFFSET_EXACT_S = 3_600
DAY_S = 86_400


def alarm_words(alarm: Alarm) -> str:
    """Say what is wrong, and since when as far as it is known."""
    return _WORDS[alarm.kind](alarm.detail)


def offset_words(offset_s: float) -> str:
    """Say how a clock goes."""
    size_s = abs(offset_s)
    if size_s < 1:
        return _("Its clock is right.")
    span = _("%(days)d days", days=int(size_s // DAY_S)) if size_s >= 2 * DAY_S else _exact(size_s)
    if offset_s > 0:
        return _("Its clock is %(span)s behind.", span=span)
    return _("Its clock is %(span)s ahead.", span=span)


def _exact(size_s: float) -> str:
    return f"{size_s:,.0f} s" if size_s < OFFSET_EXACT_S else duration(timedelta(seconds=size_s))


def _silent(detail: dict[str, Any]) -> str:
    if not detail.get("heard_at"):
        return _("It has not been heard once since it was placed.")
    return _("Nothing has been heard of it since %(moment)s.", moment=_moment(detail["heard_at"]))


def _no_readings(detail: dict[str, Any]) -> str:
    return _("The box lives, but its meter has given nothing since %(moment)s.", moment=_moment(detail["newest_at"]))


def _clock(detail: dict[str, Any]) -> str:
    if detail.get("unset"):
        return _("Its clock was never set; its uptime counts instead.")
    return offset_words(float(detail["offset_s"]))


def _signature(detail: dict[str, Any]) -> str:
    return _(
        "At its threshold of %(power)s W %(how)s.",
        power=f"{detail['run_threshold_w']:,.1f}",
        how=labels.find(detail["how"], "drift").word,
    )


def _stuck(detail: dict[str, Any]) -> str:
    if detail["power_w"] == 0:
        return _("It shows 0 W while its energy counter goes on.")
    return _("It has shown %(power)s W and nothing else for hours.", power=f"{detail['power_w']:,.1f}")


def _backlog(detail: dict[str, Any]) -> str:
    return _("It keeps %(count)d messages that we have not acknowledged, and more each time.", count=detail["messages"])


def _ingest_words(detail: dict[str, Any]) -> str:
    if detail.get("shards"):
        return _(
            "No worker takes the messages of %(count)d shards with boxes (%(shards)s).",
            count=len(detail["shards"]),
            shards=", ".join(f"{shard:02d}" for shard in detail["shards"]),
        )
    return _("Nothing has come in from any box since %(moment)s.", moment=_moment(detail["newest_at"]))


def _moment(text: str) -> str:
    return local(datetime.fromisoformat(text)).strftime("%Y-%m-%d %H:%M")


_WORDS: dict[AlarmKind, Callable[[dict[str, Any]], str]] = {
    AlarmKind.SILENT: _silent,
    AlarmKind.NO_READINGS: _no_readings,
    AlarmKind.CLOCK: _clock,
    AlarmKind.SIGNATURE: _signature,
    AlarmKind.STUCK: _stuck,
    AlarmKind.BACKLOG: _backlog,
    AlarmKind.INGEST_LOST: _ingest_words,
}
