"""Instruments: where they belong, what they cost whom and since when, and which of them earn a subsidy."""

from app.instruments.service.homes import (
    create_group,
    create_instrument,
    create_sub_center,
    create_unit,
    customer_class_of,
    get_instrument,
    list_instruments,
    lock_instrument,
    set_allowances,
)
from app.instruments.service.listings import collaborative_ids, list_as_collaborative
from app.instruments.service.quotes import Quote, quote
from app.instruments.service.tariffs import end_tariff, set_tariff, snapshot, tariff_at, tariffs_at, tariffs_of

__all__ = [
    "Quote",
    "collaborative_ids",
    "create_group",
    "create_instrument",
    "create_sub_center",
    "create_unit",
    "customer_class_of",
    "end_tariff",
    "get_instrument",
    "list_as_collaborative",
    "list_instruments",
    "lock_instrument",
    "quote",
    "set_allowances",
    "set_tariff",
    "snapshot",
    "tariff_at",
    "tariffs_at",
    "tariffs_of",
]
