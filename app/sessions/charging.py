"""The price rules of one session: copied at swipe-in as a snapshot, and applied from then on whatever changes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.cards.models import CardAccount
from app.devices.configuration import price_words
from app.instruments import pricing
from app.instruments import service as instruments
from app.instruments.models import CustomerClass, Instrument
from app.sessions.models import CardSession
from card_terminal import protocol

# How far ahead a terminal is told what each minute costs; an extension gets no new table.
SCHEDULE_MIN = 8 * 60
SCHEDULE_MIN_MAX = 24 * 60
WHOLE_PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a session costs, by its snapshot: rules and announced changes as JSON, customer class and zone."""

    snapshot: dict[str, Any]

    @property
    def customer_class(self) -> CustomerClass:
        """Who pays which price."""
        return CustomerClass(self.snapshot["customer_class"])

    @property
    def words(self) -> protocol.Words:
        """The price in words, as a person reads it before she starts."""
        return protocol.Words(**self.snapshot["words"])

    def price(self, *, duration: timedelta, samples: int, at: datetime) -> pricing.Charge:
        """Give the charge of a session that began at `at`."""
        return pricing.price(
            self._rules,
            started_at=at,
            ended_at=at + duration,
            site_timezone=self._zone,
            customer_class=self.customer_class,
            samples=samples,
            changes=self._changes,
        )

    def dearest_fen(self, *, minutes: int, since: datetime, until: datetime) -> int:
        """Give the most that so many minutes can cost that begin between two moments; one sample is reckoned.

        Every hour counts at the highest percentage of the day, and where prices change on the way, as if it were paid
        by each of them: more than any session pays, and quick to reckon.
        """
        changed = [each.rules for each in self._changes if each.holds_from < until + timedelta(minutes=minutes)]
        return sum(self._flat_fen(rules, minutes=minutes, at=since) for rules in (self._rules, *changed))

    def _flat_fen(self, rules: pricing.PriceRules, *, minutes: int, at: datetime) -> int:
        charge = pricing.price(
            replace(rules, windows=()),
            started_at=at,
            ended_at=at + timedelta(minutes=minutes),
            site_timezone=self._zone,
            customer_class=self.customer_class,
            samples=1,
        )
        percent = max(WHOLE_PERCENT, *(window.percent for window in rules.windows), WHOLE_PERCENT)
        # Each piece of time at a percentage of its own is a line, and each line is rounded.
        rounding_fen = 2 * len(rules.windows) + 1 if rules.windows else 0
        return -(-charge.amount_fen * percent // WHOLE_PERCENT) + rounding_fen

    @property
    def counts_samples(self) -> bool:
        """Whether the price depends on how many samples were measured."""
        return self._rules.per_sample is not None

    def hold_fen(self, *, minutes: int, at: datetime) -> int:
        """Give the most that so many minutes from about `at` can cost."""
        return pricing.hold_for(
            self._rules,
            minutes=minutes,
            starts_at=at,
            site_timezone=self._zone,
            customer_class=self.customer_class,
            changes=self._changes,
        )

    def minutes_payable(self, available_fen: int, *, at_most: int, at_least: int, at: datetime) -> int | None:
        """Give how many minutes can be held for with this money, or None if not even `at_least`.

        A longer session never costs less, so the border is found by halving.
        """
        if self.hold_fen(minutes=at_least, at=at) > available_fen:
            return None
        payable, beyond = at_least, at_most + 1
        if self.hold_fen(minutes=at_most, at=at) <= available_fen:
            return at_most
        while beyond - payable > 1:
            middle = (payable + beyond) // 2
            if self.hold_fen(minutes=middle, at=at) <= available_fen:
                payable = middle
            else:
                beyond = middle
        return payable

    def for_terminal(self, *, minutes: int, at: datetime) -> protocol.TariffSnapshot:
        """Give the price as a terminal shows it while the session runs."""
        steps = pricing.cost_steps(
            self._rules,
            minutes=min(max(minutes, SCHEDULE_MIN), SCHEDULE_MIN_MAX),
            started_at=at,
            site_timezone=self._zone,
            customer_class=self.customer_class,
            changes=self._changes,
        )
        return protocol.TariffSnapshot(
            text=self.words, schedule=tuple(protocol.CostStep(minute=minute, cost_fen=cost) for minute, cost in steps)
        )

    @cached_property
    def _rules(self) -> pricing.PriceRules:
        return pricing.parse_rules(self.snapshot["rules"])

    @cached_property
    def _changes(self) -> tuple[pricing.Change, ...]:
        # Sessions of before tariffs could split them keep none.
        return pricing.parse_changes(self.snapshot.get("changes", ()))

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.snapshot["timezone"])


def terms_for(
    session: Session, *, instrument: Instrument, account: CardAccount, zone: ZoneInfo, at: datetime
) -> Terms | None:
    """Give what this customer would pay for this instrument now, or None when no tariff is for her."""
    customer_class = instruments.customer_class_of(
        session, organisation_id=_organisation_id(account), instrument_id=instrument.id
    )
    snapshot = instruments.tariff_at(session, instrument_id=instrument.id, customer_class=customer_class, at=at)
    if snapshot is None:
        return None
    words = price_words(snapshot, customer_class=customer_class, zone=zone, at=at)
    return Terms(snapshot={**snapshot, "timezone": str(zone), "words": {"zh": words.zh, "en": words.en}})


def terms_of(row: CardSession) -> Terms:
    """Give what was agreed at swipe-in."""
    return Terms(snapshot=row.tariff_snapshot)


def _organisation_id(account: CardAccount) -> int | None:
    if account.organisation_id is not None:
        return account.organisation_id
    return account.person.organisation_id if account.person is not None else None
