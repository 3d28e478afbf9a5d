"""What every page shares: the forms of money and time, words for values, navigation, languages, versioned assets."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy.exc
from flask import Flask, current_app, g, has_request_context, request, url_for
from flask_babel import get_locale
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from app import clock, labels, money, web
from app.books import chart
from app.people.models import Role
from app.security import Principal, principal_or_none
from app.texts import Sentence, _, _l

STATIC = Path(__file__).parent / "static"
YEAR_S = 365 * 24 * 3600
CENTER = (Role.CLERK, Role.APPROVER, Role.FINANCE, Role.AUDITOR, Role.ADMIN)


class Named(Protocol):
    """Anything with a name in both languages."""

    @property
    def name_zh(self) -> str: ...  # noqa: D102
    @property
    def name_en(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Language:
    """A language the pages speak; the code is what `?lang=` takes, the tag what HTML takes."""

    code: str
    tag: str
    name: str


LANGUAGES = (Language("zh", "zh-Hans-CN", "中文"), Language("en", "en", "English"))


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation, shown to those who hold one of the roles; without roles, to everyone."""

    endpoint: str
    label: Sentence
    icon: str
    roles: tuple[Role, ...] = ()


NAVIGATION = (
    Entry("reports_pages.today", _l("Today"), "layout-dashboard", CENTER),
    Entry("cards_pages.accounts", _l("My cards"), "wallet", (Role.CARDHOLDER,)),
    Entry("reports_pages.charges", _l("Charges"), "receipt", (Role.CARDHOLDER,)),
    Entry("topups_pages.start", _l("Top up"), "coins", (Role.CARDHOLDER,)),
    Entry("reports_pages.on_now", _l("On now"), "activity", (Role.GROUP_OPERATOR,)),
    Entry("reports_pages.wall", _l("Live wall"), "layout-grid", (Role.SUB_CENTER_MANAGER, *CENTER)),
    Entry("reports_pages.ledger_view", _l("Ledger view"), "report-money", (Role.SUB_CENTER_MANAGER, *CENTER)),
    Entry(
        "reports_pages.machine_hours",
        _l("Machine-hours"),
        "hourglass",
        (Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, *CENTER),
    ),
    Entry(
        "usage_pages.usage_records",
        _l("Usage records"),
        "shield-check",
        (Role.GROUP_OPERATOR, Role.SUB_CENTER_MANAGER, Role.CARDHOLDER, *CENTER),
    ),
    Entry("accounting_pages.trial_balance", _l("Books"), "scale", (Role.FINANCE, Role.APPROVER, Role.AUDITOR)),
    Entry("reconciliation_pages.exceptions", _l("Exceptions"), "alert-triangle", (Role.SUB_CENTER_MANAGER, *CENTER)),
    Entry("topups_pages.counter", _l("Counter"), "cash", CENTER),
    Entry("cards_pages.center", _l("Cards"), "credit-card", CENTER),
    Entry("devices_pages.overview", _l("Devices"), "plug-connected", CENTER),
    Entry("devices_pages.boxes", _l("Boxes"), "plug-connected", (Role.SUB_CENTER_MANAGER,)),
    Entry("reports_pages.catalog", _l("Instruments"), "microscope"),
)


def install(flask: Flask) -> None:
    """Give templates their filters and what every page shows."""
    flask.jinja_env.filters.update(
        yuan=yuan,
        yuan_field=money.yuan,
        moment=moment,
        day=day,
        clock_time=clock_time,
        duration=duration,
        hours=hours,
        percent=percent,
        local_name=local_name,
        label=_label,
        tone=lambda value, kind: labels.find(value, kind).tone,
        local=local,
        customer=customer,
        masked=masked_number,
        spaced=lambda number: " ".join(number[place : place + 4] for place in range(0, len(number), 4)),
        book_line=lambda book: chart()[book.role],
    )
    flask.jinja_env.trim_blocks = True
    flask.jinja_env.lstrip_blocks = True
    flask.context_processor(_context)
    # Every address of an asset carries its hash, so a browser may keep it for good.
    flask.config["SEND_FILE_MAX_AGE_DEFAULT"] = YEAR_S


def yuan(amount_fen: int | None) -> Markup:
    """Write an amount of fen as money: ¥1,234.50; a missing amount is a dash."""
    if amount_fen is None:
        return Markup('<span class="money quiet">–</span>')
    return Markup('<span class="money{}">{}</span>').format(
        " negative" if amount_fen < 0 else "", plain_yuan(amount_fen)
    )


def plain_yuan(amount_fen: int) -> str:
    """Write an amount of fen as plain text: ¥1,234.50, −¥0.05."""
    return f"{'−' if amount_fen < 0 else ''}¥{money.yuan(abs(amount_fen))}"


def local(at: datetime) -> datetime:
    """Give a moment in the site's zone."""
    return at.astimezone(web.settings().site_timezone)


def moment(at: datetime | None, *, seconds: bool = False) -> Markup:
    """Write a moment in the site's zone; hovering shows the zone, machines read the offset."""
    if at is None:
        return Markup('<span class="quiet">–</span>')
    here = local(at)
    text = here.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time class="nowrap" datetime="{}" title="{}">{}</time>').format(
        here.isoformat(timespec="seconds"), zone_name(), text
    )


def clock_time(at: datetime | None, *, seconds: bool = False) -> Markup:
    """Write only the time of the day, for lists of one day."""
    if at is None:
        return Markup('<span class="quiet">–</span>')
    here = local(at)
    text = here.strftime("%H:%M:%S" if seconds else "%H:%M")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        here.isoformat(timespec="seconds"), here.strftime("%Y-%m-%d %H:%M:%S ") + zone_name(), text
    )


def clock_time_text(at: datetime) -> str:
    """Write the time of the day as plain text, for sentences."""
    return local(at).strftime("%H:%M")


def day(at: datetime | date | None) -> str:
    """Write a day of the site's zone."""
    if at is None:
        return "–"
    return (local(at) if isinstance(at, datetime) else at).strftime("%Y-%m-%d")


def duration(seconds: float | timedelta | None) -> str:
    """Write a duration in hours and minutes, below a minute in seconds."""
    if seconds is None:
        return "–"
    total = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    if total < 60:  # noqa: PLR2004 - seconds of a minute
        return _("%(seconds)d s", seconds=total)
    hours_part, minutes_part = divmod(total // 60, 60)
    if hours_part == 0:
        return _("%(minutes)d min", minutes=minutes_part)
    return _("%(hours)d h %(minutes)02d min", hours=hours_part, minutes=minutes_part)


def hours(seconds: int | None) -> str:
    """Write machine-hours with one decimal."""
    return "–" if seconds is None else _("%(hours)s h", hours=f"{seconds / 3600:,.1f}")


def percent(part: int, whole: int) -> str:
    """Write a share; of nothing it is a dash, not a zero."""
    return f"{100 * part / whole:.0f}%" if whole else "–"


def local_name(thing: Named | None) -> str:
    """Give the name in the reader's language; where there is none, the Chinese one."""
    if thing is None:
        return "–"
    return thing.name_zh if chinese() else (thing.name_en or thing.name_zh)


class Account(Protocol):
    """A card account, with the person or the organisation it belongs to."""

    number: Any
    person: Any
    organisation: Any


def customer(account: Account) -> str:
    """Name the customer of a card account."""
    if account.organisation is not None:
        return local_name(account.organisation)
    return str(account.person.name if account.person is not None else account.number)


def masked_number(face_number: str) -> str:
    """Write a card's number so that it can be recognised but not typed."""
    return f"**** {face_number[-4:]}"


def chinese() -> bool:
    """Say whether the reader reads Chinese."""
    return str(get_locale()).startswith("zh")


def zone_name() -> str:
    """Name the site's zone with its present offset."""
    zone = web.settings().site_timezone
    offset = clock.now().astimezone(zone).strftime("%z")
    name = _("Beijing time") if zone.key in ("Asia/Shanghai", "Asia/Chongqing") else zone.key
    return f"{name} (UTC{offset[:3]}:{offset[3:]})"


def asset(name: str) -> str:
    """Give the address of a static file with a part of its hash, so that a new version has a new address."""
    return url_for("static", filename=name, v=_version(name))


@cache
def _version(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def language_url(code: str) -> str:
    """Give the present page in another language; after a form, its address without what was sent."""
    values: dict[str, Any] = dict(request.args.lists()) | dict(request.view_args or {})
    if request.endpoint is None or request.endpoint == "static" or "GET" not in (request.url_rule.methods or ()):  # type: ignore[union-attr]
        return url_for("people_pages.log_in", lang=code)
    return url_for(request.endpoint, **(values | {"lang": code}))


def url_for_or(endpoint: str, default: str) -> str:
    """Give an address where the page exists, else the default."""
    return url_for(endpoint) if endpoint in current_app.view_functions else default


@pass_context
def _label(_context: Context, value: StrEnum | str | None, kind: str) -> Sentence:
    """Give the word for a value. Asking for the context keeps Jinja from settling on one language when it compiles."""
    return labels.find(value, kind).word


def _person() -> Principal | None:
    """The person behind the request, also on the page that says the database is away."""
    try:
        return principal_or_none()
    except sqlalchemy.exc.SQLAlchemyError:
        return None


def _navigation(person: Principal | None) -> list[dict[str, Any]]:
    open_to = [
        entry
        for entry in NAVIGATION
        if entry.endpoint in current_app.view_functions
        and (not entry.roles or (person is not None and person.has(*entry.roles)))
    ]
    here = g.get("section", request.endpoint)
    return [
        {"url": url_for(entry.endpoint), "label": entry.label, "icon": entry.icon, "current": entry.endpoint == here}
        for entry in open_to
    ]


def _context() -> dict[str, Any]:
    if not has_request_context():
        return {}
    person = _person()
    code = "zh" if chinese() else "en"
    return {
        "asset": asset,
        "language": next(language for language in LANGUAGES if language.code == code),
        "languages": LANGUAGES,
        "language_url": language_url,
        "url_for_or": url_for_or,
        "navigation": _navigation(person),
        "person": person,
        "Role": Role,
        "now": clock.now(),
        "zone_name": zone_name(),
    }
