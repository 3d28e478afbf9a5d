"""Settings of one terminal: from the environment (TERMINAL_…) or from flags; every mistake reported at once."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import Env, EnvValidationError, ValidationError, validate

from card_terminal.clock import Anchor
from card_terminal.readers.choosing import ReaderKind

PREFIX = "TERMINAL_"
PORT_MAX = 65_535


class SettingsError(Exception):
    """The environment and the flags make no valid settings; the message names every mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between two terminals running the same program."""

    server_url: str
    data_dir: Path
    cards_dir: Path
    enrolment_code: str | None
    simulate: bool
    reader: ReaderKind
    reader_device: str
    kiosk_port: int
    confirm_s: int
    clock_anchor: Anchor | None
    log_format: str


def load(arguments: Sequence[str]) -> Settings:
    """Read the settings; a flag is another way to set its variable, and wins.

    Raises SettingsError that lists every wrong value, or SystemExit for --help and unknown flags.
    """
    os.environ.update(_flags(arguments))
    env = Env(eager=False, prefix=PREFIX)
    values = _read(env)
    try:
        env.seal()
    except EnvValidationError as error:
        named = error.error_messages if isinstance(error.error_messages, Mapping) else {"settings": [str(error)]}
        mistakes = "\n".join(f"  {name}: {'; '.join(why)}" for name, why in named.items())
        raise SettingsError(f"These settings are wrong:\n{mistakes}") from error
    if values["cards_dir"] is None:
        values["cards_dir"] = values["data_dir"] / "cards"
    return Settings(**values)


def _read(env: Env) -> dict[str, Any]:
    anchor = env.str("CLOCK_ANCHOR", None, validate=_anchor)
    return {
        "server_url": env.str("SERVER", "http://127.0.0.1:8000", validate=_web_address),
        "data_dir": env.path("DATA", Path("var/terminal")),
        "cards_dir": env.path("CARDS", None),
        "enrolment_code": env.str("ENROL_CODE", None),
        "simulate": env.bool("SIMULATE", default=False),
        "reader": env.enum("READER", ReaderKind.PCSC, enum=ReaderKind, by_value=True),
        "reader_device": env.str("READER_DEVICE", ""),
        "kiosk_port": env.int("KIOSK_PORT", 8090, validate=validate.Range(min=0, max=PORT_MAX)),
        "confirm_s": env.int("CONFIRM_S", 3, validate=validate.Range(min=0, max=60)),
        "clock_anchor": _parsed(anchor),
        "log_format": env.str("LOG_FORMAT", "json", validate=validate.OneOf(["json", "text"])),
    }


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    parser = argparse.ArgumentParser(prog="testcard-terminal", description="The program at the instrument.")
    parser.add_argument("--server", metavar="URL", help="the service's address")
    parser.add_argument("--data", metavar="DIR", help="where the journal and the key are kept")
    parser.add_argument("--cards", metavar="DIR", help="the simulated cards (default: cards in DATA)")
    parser.add_argument("--enrol-code", metavar="CODE", help="the one-time code of a new terminal")
    parser.add_argument("--simulate", action="store_const", const="1", help="cards are files: try it without a reader")
    parser.add_argument("--reader", metavar="KIND", help="pcsc, or wedge: a reader that poses as a keyboard")
    parser.add_argument(
        "--reader-device", metavar="NAME", help="a part of the reader's name on PC/SC; for wedge its device, or -"
    )
    parser.add_argument("--kiosk-port", metavar="PORT", help="where the page is shown, on 127.0.0.1 (0: any)")
    parser.add_argument("--confirm-s", metavar="SECONDS", help="the countdown before a start and an end")
    parser.add_argument("--clock-anchor", metavar="REAL,SIMULATED,SPEED", help="a simulated clock")
    parser.add_argument("--log-format", metavar="FORMAT", help="json or text")
    given = vars(parser.parse_args(arguments))
    return {PREFIX + name.upper(): value for name, value in given.items() if value is not None}


def _web_address(value: str) -> None:
    if urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname:
        raise ValidationError("must be an http or https address")


def _anchor(value: str | None) -> None:
    try:
        if value is not None:
            Anchor.parse(value)
    except ValueError as error:
        raise ValidationError('must be "real,simulated,speed": two ISO 8601 moments and a positive number') from error


def _parsed(anchor: str | None) -> Anchor | None:
    try:
        return Anchor.parse(anchor) if anchor else None
    except ValueError:
        return None  # already among the mistakes
