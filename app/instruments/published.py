"""Published prices of real shared instruments as price rules: the demonstration charges by them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.instruments.models import CustomerClass


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTariff:
    """The rules for one customer class, or for everyone else."""

    customer_class: CustomerClass | None
    rules: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrice:
    """One instrument's prices as its owner published them; `reading` says how a gap of the source was read."""

    code: str
    source: str
    instrument: str
    tariffs: tuple[PublishedTariff, ...]
    currency: str = "CNY"
    reading: str = ""
    service_fee_basis_points: int = 0
    vat_basis_points: int = 0


@cache
def published_prices() -> dict[str, PublishedPrice]:
    """Give all published prices by code."""
    entries = json.loads((Path(__file__).parent / "published_prices.json").read_text(encoding="utf-8"))["prices"]
    return {entry["code"]: _price(entry) for entry in entries}


def _price(entry: dict[str, Any]) -> PublishedPrice:
    tariffs = tuple(
        PublishedTariff(
            customer_class=None if tariff["customer_class"] is None else CustomerClass(tariff["customer_class"]),
            rules=tariff["rules"],
        )
        for tariff in entry["tariffs"]
    )
    return PublishedPrice(**{**entry, "tariffs": tariffs})
