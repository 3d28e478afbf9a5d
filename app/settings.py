"""Settings: one frozen value, read once from the environment, every mistake reported at once."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from environs import Env, EnvValidationError, ValidationError, validate

from app.books import ChartError, read_chart
from telemetry.messages import SETS

MINIMUM_SECRET_LENGTH = 32


class SettingsError(Exception):
    """The environment does not make valid settings; the message names every mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between two sites running the same code."""

    var_dir: Path
    database_url: str
    secret_key: str
    key_encryption_key: bytes
    public_url: str
    site_timezone: ZoneInfo
    secure_cookies: bool
    clock_anchor: str | None
    mqtt_host: str
    mqtt_port: int
    mqtt_username: str
    mqtt_password: str
    mqtt_tls: bool
    mqtt_ca_file: Path | None
    ingest_sets: int
    psp_base_url: str
    psp_api_key: str
    psp_api_version: str
    psp_webhook_secrets: tuple[str, ...]
    psp_timeout_s: float
    metrics_token: str
    log_format: str
    login_lifetime: timedelta
    chart_file: Path | None
    top_up_fen_min: int
    top_up_fen_max: int
    person_balance_cap_fen: int
    cash_fen_max_organisation: int
    cash_fen_max_person: int
    proxies: int = 0
    """So many proxies of our own stand before the service, each adding to X-Forwarded-For where a request came from."""
    help_phone: str = ""
    """Whom people at a terminal call."""
    taps_per_terminal_max: int = 60
    """Cards shown to one terminal in a minute; beyond it, no person taps."""
    taps_per_card_max: int = 20
    wrong_pins_per_terminal_max: int = 15
    """In ten minutes, whosever cards they were."""
    wrong_codes_max: int = 20
    """Wrong enrolment codes in ten minutes from one address."""
    uid_card_fen_per_day_max: int = 0
    """What a card that is only known by its UID may hold and be charged in a day; 0: such cards are refused."""
    old_key_encryption_key: bytes = b""
    """Set only while `testcard keys rewrap` runs: the key that wrapped what is in the database."""

    @property
    def takes_uid_cards(self) -> bool:
        """Whether cards may be bound and used by a bare UID, which anybody can copy."""
        return self.uid_card_fen_per_day_max > 0


def load(environ_file: Path | None = None) -> Settings:
    """Read the settings from the environment, and from a file of the same names if one is given.

    Raises SettingsError that lists every wrong or missing value.
    """
    env = Env(eager=False, prefix="TESTCARD_")
    if environ_file is not None:
        env.read_env(str(environ_file), recurse=False)
    values = _read(env)
    try:
        env.seal()
    except EnvValidationError as error:
        named = error.error_messages if isinstance(error.error_messages, Mapping) else {"settings": [str(error)]}
        mistakes = "\n".join(f"  {name}: {'; '.join(why)}" for name, why in named.items())
        raise SettingsError(f"These settings are wrong or missing:\n{mistakes}") from error
    return Settings(**values)


def _read(env: Env) -> dict[str, Any]:
    return {
        "var_dir": env.path("VAR_DIR", Path("var")),
        "database_url": env.str("DATABASE_URL", validate=_postgresql_url),
        "secret_key": env.str("SECRET_KEY", validate=validate.Length(min=MINIMUM_SECRET_LENGTH)),
        "key_encryption_key": _key(env),
        "old_key_encryption_key": _old_key(env),
        "public_url": env.str("PUBLIC_URL", "http://127.0.0.1:8000"),
        "site_timezone": _zone(env),
        "secure_cookies": env.bool("SECURE_COOKIES", default=True),
        "clock_anchor": env.str("CLOCK_ANCHOR", None),
        "mqtt_host": env.str("MQTT_HOST", "127.0.0.1"),
        "mqtt_port": env.int("MQTT_PORT", 1883),
        "mqtt_username": env.str("MQTT_USERNAME", "ingest"),
        "mqtt_password": env.str("MQTT_PASSWORD", ""),
        "mqtt_tls": env.bool("MQTT_TLS", default=False),
        "mqtt_ca_file": env.path("MQTT_CA_FILE", None, validate=_readable),
        "ingest_sets": env.int("INGEST_SETS", 16, validate=validate.OneOf(SETS)),
        "psp_base_url": env.str("PSP_BASE_URL", "https://api.stripe.com"),
        "psp_api_key": env.str("PSP_API_KEY", ""),
        "psp_api_version": env.str("PSP_API_VERSION", "2026-09-30"),
        "psp_webhook_secrets": tuple(env.list("PSP_WEBHOOK_SECRETS", [])),
        "psp_timeout_s": env.float("PSP_TIMEOUT_S", 10.0),
        # Without it nobody reads the metrics.
        "metrics_token": env.str("METRICS_TOKEN", "", validate=_secret_or_none),
        "proxies": env.int("PROXIES", 0, validate=validate.Range(min=0, max=5)),
        "help_phone": env.str("HELP_PHONE", "", validate=validate.Length(max=40)),
        "taps_per_terminal_max": env.int("TAPS_PER_TERMINAL_MAX", 60, validate=validate.Range(min=1)),
        "taps_per_card_max": env.int("TAPS_PER_CARD_MAX", 20, validate=validate.Range(min=1)),
        "wrong_pins_per_terminal_max": env.int("WRONG_PINS_PER_TERMINAL_MAX", 15, validate=validate.Range(min=1)),
        "wrong_codes_max": env.int("WRONG_CODES_MAX", 20, validate=validate.Range(min=1)),
        "uid_card_fen_per_day_max": env.int("UID_CARD_FEN_PER_DAY_MAX", 0, validate=validate.Range(min=0)),
        "log_format": env.str("LOG_FORMAT", "json", validate=validate.OneOf(["json", "text"])),
        "login_lifetime": env.timedelta("LOGIN_LIFETIME", timedelta(hours=12)),
        "chart_file": env.path("CHART_FILE", None, validate=_chart),
        "top_up_fen_min": env.int("TOP_UP_FEN_MIN", 10_00),
        "top_up_fen_max": env.int("TOP_UP_FEN_MAX", 999_999_99),
        "person_balance_cap_fen": env.int("PERSON_BALANCE_CAP_FEN", 5_000_00),
        "cash_fen_max_organisation": env.int("CASH_FEN_MAX_ORGANISATION", 5_000_00),
        "cash_fen_max_person": env.int("CASH_FEN_MAX_PERSON", 50_000_00),
    }


def _secret_or_none(value: str) -> None:
    if value and len(value) < MINIMUM_SECRET_LENGTH:
        raise ValidationError(f"must have {MINIMUM_SECRET_LENGTH} characters or more, or be left out")


def _postgresql_url(value: str) -> None:
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValidationError("must start with postgresql://; `make run` starts an embedded server and sets it")


def _key(env: Env) -> bytes:
    """The key that wraps card and server keys: 32 bytes as 64 hex digits, never in the database (terminal.md)."""
    text = env.str("KEY_ENCRYPTION_KEY", validate=validate.Regexp(r"^[0-9a-fA-F]{64}$", error="must be 64 hex digits"))
    try:
        return bytes.fromhex(text) if text else b""
    except (TypeError, ValueError):
        return b""


def _readable(value: Path) -> None:
    try:
        value.read_bytes()
    except OSError as error:
        raise ValidationError("cannot be read") from error


def _old_key(env: Env) -> bytes:
    form = r"^([0-9a-fA-F]{64})?$"
    text = env.str("OLD_KEY_ENCRYPTION_KEY", "", validate=validate.Regexp(form, error="must be 64 hex digits"))
    try:
        return bytes.fromhex(text or "")
    except (TypeError, ValueError):
        return b""


def _chart(value: Path) -> None:
    try:
        read_chart(value)
    except ChartError as error:
        raise ValidationError(error.mistakes) from error


def _zone(env: Env) -> ZoneInfo:
    name = env.str("SITE_TIMEZONE", "Asia/Shanghai", validate=_zone_name)
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, ZoneInfoNotFoundError):
        return ZoneInfo("UTC")


def _zone_name(value: str) -> None:
    try:
        ZoneInfo(value)
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise ValidationError("is no time zone of the tz database") from error


def fresh_secrets() -> dict[str, str]:
    """New secrets for a site that has none yet, by environment name."""
    return {
        "TESTCARD_SECRET_KEY": secrets.token_urlsafe(48),
        "TESTCARD_KEY_ENCRYPTION_KEY": secrets.token_hex(32),
        "TESTCARD_MQTT_PASSWORD": secrets.token_urlsafe(24),
        "TESTCARD_METRICS_TOKEN": secrets.token_urlsafe(32),
        "TESTCARD_PSP_API_KEY": f"sk_test_{secrets.token_hex(16)}",
        "TESTCARD_PSP_WEBHOOK_SECRETS": f"whsec_{secrets.token_hex(16)}",
    }
